"""Phantoms: plausible chest films with known lungs and heart, from a seed."""

from adaloraqat.datasets.phantom.draw import Phantom, draw_phantom
from adaloraqat.datasets.phantom.site import PHANTOM_SITES, PhantomSite
from adaloraqat.datasets.phantom.write import write_phantoms

__all__ = [
    "PHANTOM_SITES",
    "Phantom",
    "PhantomSite",
    "draw_phantom",
    "write_phantoms",
]
