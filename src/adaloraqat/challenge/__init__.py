"""The challenge "MedSAM on Laptop" (CVPR 2024): images and volumes with a box for each of many objects.

A room of its own: nobody who reads the way of a chest film need pass it.
"""

from adaloraqat.challenge.archive import write_npz
from adaloraqat.challenge.case import Case, VolumeBox, is_case, open_case
from adaloraqat.challenge.overlay import write_case_overlay
from adaloraqat.challenge.propagation import PROPAGATIONS
from adaloraqat.challenge.segment import CaseResult, ObjectResult, Step, segment_case

__all__ = [
    "PROPAGATIONS",
    "Case",
    "CaseResult",
    "ObjectResult",
    "Step",
    "VolumeBox",
    "is_case",
    "open_case",
    "segment_case",
    "write_case_overlay",
    "write_npz",
]
