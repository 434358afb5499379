"""Who made an object: the program, the model and the SHA-256 of its weights; and that it is research."""

from dataclasses import dataclass
from typing import Any

from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from adaloraqat import __version__
from adaloraqat.bundle import Bundle
from adaloraqat.bundle.format import DECODER, ENCODER

RESEARCH = "Research only, not for diagnosis: lungs by AdaLoRA-QAT"
"""Stands in the description of each series and its content (at most 64 characters)."""

MANUFACTURER = "AdaLoRA-QAT developers"
FAMILY = codes.cid7162.ArtificialIntelligence


@dataclass(frozen=True)
class Origin:
    """What made the outline.

    Attributes:
        model: the bundle's name.
        outlines: what its mask outlines, in words.
        weights: (file, SHA-256) of the graphs that hold the weights.
    """

    model: str
    outlines: str
    weights: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, bundle: Bundle) -> "Origin":
        """Return the origin of a bundle's results."""
        weights = tuple((name, bundle.files[name].sha256) for name in (ENCODER, DECODER))
        return cls(bundle.name, bundle.outlines, weights)

    @property
    def algorithm(self) -> str:
        """The algorithm's name."""
        return f"AdaLoRA-QAT {self.model}"[:64]

    @property
    def version(self) -> str:
        """The program's version."""
        return __version__

    @property
    def parameters(self) -> dict[str, str]:
        """The algorithm's parameters: the SHA-256 of its weights."""
        return {f"SHA-256 of {name}": digest for name, digest in self.weights}

    def equipment(self, series: int) -> dict[str, Any]:
        """Return what all of highdicom's objects take: equipment, new UIDs, the number of the series."""
        return {
            "series_instance_uid": generate_uid(prefix=None),
            "series_number": series,
            "sop_instance_uid": generate_uid(prefix=None),
            "instance_number": 1,
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": self.algorithm,
            "software_versions": f"adaloraqat {__version__}",
            "device_serial_number": self.weights[0][1][:64],
            "series_description": RESEARCH,
        }
