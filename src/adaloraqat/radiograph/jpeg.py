"""Tell a JPEG that was cut short from a whole one.

Decoders fill what is missing with a flat grey and report success, as long as an end marker stands somewhere.
A film with a flat lower border looks the same, so the question is put to the decoder: bytes laid before the
end marker change the picture only where the decoder was still waiting for data.
"""

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_START_OF_SCAN, _PROGRESSIVE, _LOSSLESS, _END = 0xDA, 0xC2, 0xC3, b"\xff\xd9"
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")  # ends a scan; stuffed zeros and restarts do not
_NOISE = np.random.default_rng(0).integers(0, 255, 1024, dtype=np.uint8).tobytes()  # no 0xFF: no marker
_PROBE = _NOISE + b"".join(bytes((0xFF, 0xD0 + turn % 8)) + _NOISE for turn in range(16))  # and restarts


def ends_early(
    data: bytes, pixels: NDArray[np.generic], decode: Callable[[bytes], NDArray[np.generic]]
) -> bool:
    """Tell whether a JPEG ends before its last block.

    Only a picture whose last block is flat can have been filled up, and only such a one is decoded again; of
    a progressive JPEG the lower part may be blurred instead, so that it always is.

    Args:
        data: the JPEG.
        pixels: (H, W) or (H, W, C) as `decode` gives them of `data`.
        decode: decodes a JPEG; may raise.
    """
    kind, end = _scan(data)
    probe = _NOISE if kind == _LOSSLESS else _PROBE  # lossless decoders stop at a restart they did not expect
    if kind == _PROGRESSIVE:
        end = data.rfind(_END)
    else:
        last = pixels[-((pixels.shape[0] - 1) % 8 + 1) :, -((pixels.shape[1] - 1) % 8 + 1) :]
        if not (last == last[0, 0]).all():
            return False
    return end > 0 and not np.array_equal(decode(data[:end] + probe + data[end:]), pixels)


def is_well_formed(data: bytes) -> bool:
    """Tell whether a JPEG is a start, segments without a gap, one scan, an end marker (and padding)."""
    if not data.startswith(b"\xff\xd8"):
        return False
    kind, end = _scan(data)
    return kind >= 0 and end > 0 and data[end : end + 2] == _END and len(data) - end <= 4


def _scan(data: bytes) -> tuple[int, int]:
    """Return the kind of frame (C0 to CF) and where the first scan ends; -1 for what is not there."""
    place, frame = 2, -1
    while place + 4 <= len(data) and data[place] == 0xFF:
        kind = data[place + 1]
        if kind in _ALONE or kind == 0xFF:
            place += 1 if kind == 0xFF else 2
            continue
        if kind & 0xF0 == 0xC0 and kind not in (0xC4, 0xC8, 0xCC):
            frame = kind
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
        if kind == _START_OF_SCAN:
            found = _MARKER.search(data, place)
            return frame, found.start() if found else -1
    return frame, -1
