"""Challenge cases (CVPR 2024 "MedSAM on Laptop"): many objects an image, and volumes slice by slice."""

from adaloraqat.bundle.challenge.propagation import PROPAGATIONS
from adaloraqat.bundle.challenge.segment import CaseResult, ObjectResult, segment_case

__all__ = ["PROPAGATIONS", "CaseResult", "ObjectResult", "segment_case"]
