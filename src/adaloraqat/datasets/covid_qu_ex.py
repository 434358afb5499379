"""COVID-QU-Ex: 33,920 films with lung masks, and a part of them with infection masks.

`Lung Segmentation Data/Lung Segmentation Data/{Train,Val,Test}/{COVID-19,Non-COVID,Normal}/{images,lung
masks}/` and `Infection Segmentation Data/Infection Segmentation Data/{Train,Val,Test}/{...}/{images,lung
masks,infection masks}/`, file names equal in `images` and masks (`covid_1.png`, `non_COVID (1).png`, `Normal
(1).png`), 256 x 256 px. Film and mask names do not tell the patient, but those that keep BIMCV's or Kermany's
name. Layout: https://www.kaggle.com/datasets/anasmohammedtahir/covidqu, as read by `covid_qu_ex.py` of
torch-em. Tahir et al., Comput Biol Med 139:105002, 2021 (doi:10.1016/j.compbiomed.2021.105002).

It contains films of QaTa-COV19 and of what the COVID-19 Radiography Database contains: see `docs/data.md`.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from adaloraqat.datasets.listing import Listed, Listing, by_stem, files_below, paired
from adaloraqat.datasets.names import patient_in, view_in
from adaloraqat.errors import ManifestError
from adaloraqat.radiograph.formats import PICTURE_SUFFIXES

LICENCE = "as on the Kaggle page of COVID-QU-Ex; films of their collections; research with citation"
_CLASSES = {"COVID-19": "COVID-19", "Non-COVID": "pneumonia, not COVID-19", "Normal": "normal"}
_SPLITS = {"Train": "train", "Val": "val", "Test": "test"}
_MASKS = {"lungs": "lung masks", "infection": "infection masks"}
_SUBSETS = {"lungs": "Lung Segmentation Data", "infection": "Infection Segmentation Data"}


def list_covid_qu_ex(root: Path, kind: str) -> Listing:
    """List the films below `root` that have masks of `kind`: lungs, or infection (in its own subset only).

    Raises:
        ManifestError: none of the class folders with such masks is there.

    """
    pictures = files_below(root, PICTURE_SUFFIXES)
    chosen, notices = _subset(root, pictures, kind)
    listed: list[Listed] = []
    for split in _SPLITS:
        for name in _CLASSES:
            inside = [path for path in chosen if path.parts[-4:-2] == (split, name)]
            images = by_stem(path for path in inside if path.parent.name == "images")
            masks = by_stem(path for path in inside if path.parent.name == _MASKS[kind])
            stems, without = paired(images, masks, f"in {split}/{name} ")
            listed += [_listed(images[stem], masks[stem], kind) for stem in stems]
            notices += without
    if not listed:
        raise ManifestError(
            f"{root.name} holds no film of COVID-QU-Ex with {_MASKS[kind]}: give the folder that holds "
            f"{_SUBSETS[kind]}."
        )
    return Listing(tuple(_unique(listed)), tuple(notices))


def _unique(films: list[Listed]) -> list[Listed]:
    """Give films of one stem in several folders ids of their own; they stay one patient."""
    often = Counter(film.id for film in films)
    return [
        replace(film, id=f"{film.split}-{film.diagnosis}-{film.id}") if often[film.id] > 1 else film
        for film in films
    ]


def _subset(root: Path, pictures: list[Path], kind: str) -> tuple[list[Path], list[str]]:
    """Return the pictures of the subset for `kind`: both hold the same films, which must not come twice."""

    def within(subset: str) -> list[Path]:
        return [path for path in pictures if subset in path.parent.parts]

    chosen = within(_SUBSETS[kind])
    if chosen or root.name == _SUBSETS[kind]:
        return chosen or pictures, []
    other = within(_SUBSETS["infection" if kind == "lungs" else "lungs"])
    if kind == "lungs" and other:
        return other, ["Only the infection subset is present: its lung masks are indexed."]
    return pictures if not other else [], []


def _listed(image: Path, mask: Path, kind: str) -> Listed:
    split, name = image.parts[-4:-2]
    return Listed(
        id=image.stem,
        source="covid_qu_ex",
        image=image,
        mask=mask,
        patient_id=patient_in(image.stem) or image.stem,
        split=_SPLITS[split],
        outlines=kind,
        diagnosis=_CLASSES[name],
        licence=LICENCE,
        view=view_in(image.stem),
    )
