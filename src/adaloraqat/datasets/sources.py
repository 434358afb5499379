"""The sources that `data index` knows: their readers, what they outline, how many films were published."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from adaloraqat.datasets import (
    covid_collections,
    folder,
    jsrt,
    montgomery_shenzhen,
    nnunet,
    siim_acr,
    v7_covid19,
)
from adaloraqat.datasets.listing import Listing
from adaloraqat.datasets.manifest import LUNG_KINDS
from adaloraqat.errors import ManifestError


@dataclass(frozen=True)
class Source:
    """One kind of data.

    `reader(folder, kind)` lists it. `kinds` are the mask kinds it has, its own first; empty where anything
    may be outlined, so that the caller says. `published` gives the numbers of films that count as complete,
    per mask kind. `licence` is in words, for the reader of a manifest.
    """

    name: str
    title: str
    reader: Callable[[Path, Any], Listing]
    kinds: tuple[str, ...] = ()
    published: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    licence: str = "as its owner says"

    def kind(self, wanted: str | None) -> str | None:
        """Return the mask kind to index: the source's own without a wish; "lungs" means any lung convention.

        Raises:
            ManifestError: the source does not outline what is wanted.

        """
        if not self.kinds:
            return wanted
        if wanted is None or wanted in self.kinds:
            return wanted or self.kinds[0]
        lungs = [kind for kind in self.kinds if kind in LUNG_KINDS]
        if wanted == "lungs" and lungs:
            return lungs[0]
        raise ManifestError(
            f"{self.title} has masks of {' or '.join(self.kinds)}, not {wanted}: use --mask "
            f"{self.kinds[0]}, or another source for {wanted}."
        )

    def listing(self, path: Path, wanted: str | None = None) -> Listing:
        """List the films at `path` with masks of the kind `wanted`, and say so where films are missing.

        Raises:
            ManifestError: nothing of this source is there, or it does not outline what is wanted.

        """
        kind = self.kind(wanted)
        listing = self.reader(path.resolve(), kind)
        missing = self._missing(kind, len(listing.films))
        return Listing(listing.films, (*listing.notices, *missing), listing.failures)

    def _missing(self, kind: str | None, count: int) -> list[str]:
        counts = self.published.get(kind or "", ())
        if not counts or count in counts:
            return []
        whole = f"{max(counts):,}"
        relation = "fewer" if count < max(counts) else "more"
        return [
            f"{self.title}: {count:,} films with masks were found, "
            f"{abs(max(counts) - count):,} {relation} than the {whole} that were published."
        ]


def _challenge(reader: str) -> Callable[[Path, Any], Listing]:
    """A reader of the challenge's room, which is imported by the first call: this room does without it."""

    def read(path: Path, kind: str | None) -> Listing:
        return getattr(import_module("adaloraqat.challenge.sources"), reader)(path, kind)

    return read


_ALL = (
    Source("jsrt", "JSRT", jsrt.list_jsrt, ("lung-field", "heart", "clavicles"),
           {"lung-field": (247,), "heart": (247,), "clavicles": (247,)}, jsrt.LICENCE),
    Source("qata_cov19", "QaTa-COV19", covid_collections.list_qata_cov19, ("infection",),
           {"infection": (9258,)}, covid_collections.LICENCES["qata_cov19"]),
    Source("covid19_radiography", "COVID-19 Radiography Database",
           covid_collections.list_covid19_radiography, ("lungs",), {"lungs": (21165,)},
           covid_collections.LICENCES["covid19_radiography"]),
    Source("covid_qu_ex", "COVID-QU-Ex", covid_collections.list_covid_qu_ex, ("lungs", "infection"),
           {"lungs": (33920,), "infection": (2913, 5826)}, covid_collections.LICENCES["covid_qu_ex"]),
    Source("siim_acr", "SIIM-ACR Pneumothorax", siim_acr.list_siim_acr, ("pneumothorax",),
           {"pneumothorax": (10675, 12047)}, siim_acr.LICENCE),
    Source("montgomery", "Montgomery", partial(montgomery_shenzhen.list_tuberculosis, sets=("montgomery",)),
           ("lung-field",), {"lung-field": (138,)}, montgomery_shenzhen.LICENCES["montgomery"]),
    Source("shenzhen", "Shenzhen", partial(montgomery_shenzhen.list_tuberculosis, sets=("shenzhen",)),
           ("lung-field",), {"lung-field": (566,)}, montgomery_shenzhen.LICENCES["shenzhen"]),
    Source("montgomery_shenzhen", "Montgomery and Shenzhen",
           montgomery_shenzhen.list_tuberculosis, ("lung-field",), {"lung-field": (704,)},
           "; ".join(montgomery_shenzhen.LICENCES.values())),
    Source("v7_covid19", "V7 COVID-19 X-ray", v7_covid19.list_v7_covid19, ("whole-lung",),
           licence=v7_covid19.LICENCE),
    Source("medsam_npz", "MedSAM challenge files", _challenge("list_medsam_npz"),
           licence="as the data set that the file's name tells; collected for the CVPR 2024 challenge"),
    Source("nnunet", "nnU-Net", nnunet.list_nnunet),
    Source("folder", "Folders images/ and masks/", folder.list_folder),
    Source("modalities", "Folders <modality>/<data set>/ of images/ and masks/",
           _challenge("list_modalities")),
    Source("manifest", "Manifest", folder.list_manifest),
)  # fmt: skip

SOURCES = {source.name: source for source in _ALL}
"""Every source by its name."""


def find_source(name: str) -> Source:
    """Return a source by its name; `-` and capitals do not matter.

    Raises:
        ManifestError: there is no such source.

    """
    source = SOURCES.get(name.lower().replace("-", "_"))
    if source is None:
        raise ManifestError(f"There is no source {name!r}: choose one of {', '.join(SOURCES)}.")
    return source
