"""Which decoder reads which DICOM transfer syntax: one table, and what is said of those that none reads.

Each syntax has one decoder, so that a film gives the same pixels everywhere. `apart`: it runs in the helper
process (`helper`), because damaged bytes can end its process. gdcm 3.2 ends at a lossless JPEG of more than
16 bits and at JPEG 2000 of 38 bits and more, so it decodes only what nothing else here does. OpenJPEG is C
that parses a format as rich as JPEG 2000.
"""

from importlib.util import find_spec
from typing import Any, NamedTuple

from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

_JPEG_LS = "pyjpegls"  # the one decoder that pip leaves out where a Python is too new for it


class Decoder(NamedTuple):
    """A decoder by pydicom's name of it ("" for its own code), and whether it runs in the helper process."""

    plugin: str
    apart: bool = False


DECODERS: dict[UID, Decoder] = {
    ImplicitVRLittleEndian: Decoder(""),
    ExplicitVRLittleEndian: Decoder(""),
    ExplicitVRBigEndian: Decoder(""),
    DeflatedExplicitVRLittleEndian: Decoder(""),
    RLELossless: Decoder("pydicom"),
    JPEGBaseline8Bit: Decoder("pillow"),
    JPEGExtended12Bit: Decoder("pillow"),  # the 8-bit ones; no permitted decoder reads 12 bits
    JPEGLSLossless: Decoder(_JPEG_LS),
    JPEGLSNearLossless: Decoder(_JPEG_LS),
    JPEGLossless: Decoder("gdcm", apart=True),
    JPEGLosslessSV1: Decoder("gdcm", apart=True),
    JPEG2000Lossless: Decoder("pylibjpeg", apart=True),
    JPEG2000: Decoder("pylibjpeg", apart=True),
    HTJ2KLossless: Decoder("pylibjpeg", apart=True),
    HTJ2KLosslessRPCL: Decoder("pylibjpeg", apart=True),
    HTJ2K: Decoder("pylibjpeg", apart=True),
}

JPEG_2000 = frozenset((JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K))
"""The syntaxes whose stream says by itself how many bits its values have, and whether they are signed."""

_STANDARD = "1.2.840.10008."
_KINDS = (
    ("1.2.840.10008.1.2.4.110", "JPEG XL"),
    ("1.2.840.10008.1.2.4.111", "JPEG XL"),
    ("1.2.840.10008.1.2.4.112", "JPEG XL"),
    ("1.2.840.10008.1.2.4.92", "multi-component JPEG 2000"),
    ("1.2.840.10008.1.2.4.93", "multi-component JPEG 2000"),
    ("1.2.840.10008.1.2.4.94", "JPIP, where the pixels lie on a server"),
    ("1.2.840.10008.1.2.4.95", "JPIP, where the pixels lie on a server"),
    ("1.2.840.10008.1.2.4.204", "JPIP, where the pixels lie on a server"),
    ("1.2.840.10008.1.2.4.205", "JPIP, where the pixels lie on a server"),
    ("1.2.840.10008.1.2.4.10", "a video"),
    ("1.2.840.10008.1.2.7.", "a video"),
)


def unknown_syntax(syntax: Any) -> str | None:
    """Return why nothing decodes a transfer syntax, as a part of a sentence; None where something does."""
    if not isinstance(syntax, UID):  # one changed byte can make two values of it
        return "its transfer syntax is damaged"
    if syntax in DECODERS:
        absent = DECODERS[syntax].plugin == _JPEG_LS and find_spec("jpeg_ls") is None
        return f"its pixels are JPEG-LS, for which there is no decoder here ({_JPEG_LS})" if absent else None
    known = next((kind for start, kind in _KINDS if syntax == start or syntax.startswith(start)), None)
    if known is not None:
        return f"its pixels are {known} (transfer syntax {syntax}), which cannot be read here"
    if not syntax.startswith(_STANDARD):
        return f"its transfer syntax {_shown(syntax)} is private to its manufacturer"
    if syntax.is_transfer_syntax:
        return f"its pixels ({syntax.name}, transfer syntax {syntax}) are of a type that cannot be read here"
    return f"its transfer syntax {_shown(syntax)} is not known"


def _shown(syntax: UID) -> str:
    """Return a UID as far as it is one: a damaged header may hold anything."""
    return "".join(letter for letter in str(syntax)[:64] if letter.isdigit() or letter == ".") or "(damaged)"
