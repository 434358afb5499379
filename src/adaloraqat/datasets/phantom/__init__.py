"""Phantoms: plausible chest films with known lungs and heart, and plain cases of other looks, from a seed."""

from adaloraqat.datasets.phantom.cases import MODALITIES, write_case_phantoms
from adaloraqat.datasets.phantom.draw import Phantom, draw_phantom
from adaloraqat.datasets.phantom.site import PHANTOM_SITES, PhantomSite
from adaloraqat.datasets.phantom.slices import PhantomCase, draw_volume
from adaloraqat.datasets.phantom.ultrasound import draw_ultrasound
from adaloraqat.datasets.phantom.write import write_phantoms

__all__ = [
    "MODALITIES",
    "PHANTOM_SITES",
    "Phantom",
    "PhantomCase",
    "PhantomSite",
    "draw_phantom",
    "draw_ultrasound",
    "draw_volume",
    "write_case_phantoms",
    "write_phantoms",
]
