"""Three collections of COVID-19 films by Qatar University and others, which partly hold the same films.

QaTa-COV19 version 2: 9,258 films of COVID-19 with outlines of the infection; no lung masks.
`QaTa-COV19-v2/{Train Set,Test Set}/Images/covid_1.png` and `.../Ground-truths/mask_covid_1.png`; films of
BIMCV keep their names, `sub-S09345_ses-E23117_run-1_bp-chest_vp-ap_dx.png`, which tell patient and view.
Layout: https://www.kaggle.com/datasets/aysendegerli/qatacov19-dataset, as read by the public loaders that
name `QaTa-COV19-v2/Train Set/Images` and `Ground-truths`. Degerli et al., Health Inf Sci Syst 9:15, 2021
(doi:10.1007/s13755-021-00146-8), and OSegNet, ICIP 2022, for version 2.

COVID-19 Radiography Database: 21,165 films of four classes with lung masks.
`COVID-19_Radiography_Dataset/{COVID,Lung_Opacity,Normal,Viral Pneumonia}/{images,masks}/COVID-1.png`, and one
`COVID.metadata.xlsx` a class. Films 299 x 299 px, masks 256 x 256 px (RGB): the masks are brought onto the
films' grid. The archive names no patient. Masks are made by a U-Net and people together; whether the part
behind the heart belongs to them is not documented. Layout:
https://www.kaggle.com/datasets/tawsifurrahman/covid19-radiography-database and its README.md.txt; Chowdhury
et al., IEEE Access 8:132665, 2020; Rahman et al., Comput Biol Med 132:104319, 2021.

COVID-QU-Ex: 33,920 films with lung masks, and a part of them with infection masks.
`Lung Segmentation Data/Lung Segmentation Data/{Train,Val,Test}/{COVID-19,Non-COVID,Normal}/{images,lung
masks}/` and `Infection Segmentation Data/Infection Segmentation Data/{Train,Val,Test}/{...}/{images,lung
masks,infection masks}/`, file names equal in `images` and masks (`covid_1.png`, `non_COVID (1).png`, `Normal
(1).png`), 256 x 256 px. Film and mask names do not tell the patient, but those that keep BIMCV's or Kermany's
name. Layout: https://www.kaggle.com/datasets/anasmohammedtahir/covidqu, as read by `covid_qu_ex.py` of
torch-em. Tahir et al., Comput Biol Med 139:105002, 2021 (doi:10.1016/j.compbiomed.2021.105002). It contains
films of the other two: see `docs/data.md`.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from adaloraqat.datasets.listing import Listed, Listing, by_stem, files_below, paired
from adaloraqat.datasets.names import patient_in, view_in
from adaloraqat.errors import ManifestError
from adaloraqat.radiograph.formats import PICTURE_SUFFIXES

LICENCES = {
    "qata_cov19": "films and outlines: as on the Kaggle page of QaTa-COV19; research with citation",
    "covid19_radiography": (
        "films: of their collections (BIMCV, RSNA, Kermany, SIRM and others); research with citation"
    ),
    "covid_qu_ex": "as on the Kaggle page of COVID-QU-Ex; films of their collections; research with citation",
}
RADIOGRAPHY_CLASSES = {
    "COVID": "COVID-19",
    "Lung_Opacity": "lung opacity",
    "Normal": "normal",
    "Viral Pneumonia": "viral pneumonia",
}
_QATA_SPLITS = {"train": "train", "test": "test"}
_CLASSES = {"COVID-19": "COVID-19", "Non-COVID": "pneumonia, not COVID-19", "Normal": "normal"}
_SPLITS = {"Train": "train", "Val": "val", "Test": "test"}
_MASKS = {"lungs": "lung masks", "infection": "infection masks"}
_SUBSETS = {"lungs": "Lung Segmentation Data", "infection": "Infection Segmentation Data"}


def list_qata_cov19(root: Path, kind: str) -> Listing:
    """List films and infection masks below `root`; version 1 is left out where version 2 is there.

    Raises:
        ManifestError: no folder `Images` has a `Ground-truths` beside it.

    """
    pictures = files_below(root, PICTURE_SUFFIXES)
    if any("v2" in part for path in pictures for part in path.relative_to(root).parts[:-1]):
        pictures = [path for path in pictures if not any(part.endswith("-v1") for part in path.parts)]
    listed: list[Listed] = []
    notices: list[str] = []
    for folder in sorted({path.parent for path in pictures if path.parent.name.lower() == "images"}):
        images = by_stem(path for path in pictures if path.parent == folder)
        truth = folder.parent / "Ground-truths"
        masks = {
            path.stem.removeprefix("mask_"): path for path in pictures if path.parent == truth
        }  # mask_covid_1.png outlines covid_1.png
        division = (folder.parent.name.split() or [""])[0].lower()
        stems, without = paired(images, masks)
        listed += [
            _listed(
                "qata_cov19", stem, images[stem], masks[stem], kind, "COVID-19", _QATA_SPLITS.get(division)
            )
            for stem in stems
        ]
        notices += without
    if not listed:
        raise ManifestError(
            f"{root.name} holds no film of QaTa-COV19: give the folder with Train Set/Images and "
            "Train Set/Ground-truths."
        )
    return Listing(tuple(listed), tuple(notices))


def list_covid19_radiography(root: Path, kind: str) -> Listing:
    """List the films below `root` that have a mask of their name.

    Raises:
        ManifestError: none of the four class folders with `images/` and `masks/` is there.

    """
    pictures = files_below(root, PICTURE_SUFFIXES)
    listed: list[Listed] = []
    notices: list[str] = []
    for name, diagnosis in RADIOGRAPHY_CLASSES.items():
        images = by_stem(path for path in pictures if path.parts[-3:-1] == (name, "images"))
        masks = by_stem(path for path in pictures if path.parts[-3:-1] == (name, "masks"))
        if not images:
            notices.append(f"The class {name} is missing: no folder {name}/images holds a film.")
        stems, without = paired(images, masks)
        listed += [
            _listed("covid19_radiography", stem, images[stem], masks[stem], kind, diagnosis) for stem in stems
        ]
        notices += without
    if not listed:
        raise ManifestError(
            f"{root.name} holds no film of the COVID-19 Radiography Database: give the folder that holds "
            "COVID/images and COVID/masks."
        )
    return Listing(tuple(listed), tuple(notices))


def list_covid_qu_ex(root: Path, kind: str) -> Listing:
    """List the films below `root` that have masks of `kind`: lungs, or infection (in its own subset only).

    Raises:
        ManifestError: none of the class folders with such masks is there.

    """
    pictures = files_below(root, PICTURE_SUFFIXES)
    chosen, notices = _subset(root, pictures, kind)
    listed: list[Listed] = []
    for split in _SPLITS:
        for name, diagnosis in _CLASSES.items():
            inside = [path for path in chosen if path.parts[-4:-2] == (split, name)]
            images = by_stem(path for path in inside if path.parent.name == "images")
            masks = by_stem(path for path in inside if path.parent.name == _MASKS[kind])
            stems, without = paired(images, masks, f"in {split}/{name} ")
            listed += [
                _listed("covid_qu_ex", stem, images[stem], masks[stem], kind, diagnosis, _SPLITS[split])
                for stem in stems
            ]
            notices += without
    if not listed:
        raise ManifestError(
            f"{root.name} holds no film of COVID-QU-Ex with {_MASKS[kind]}: give the folder that holds "
            f"{_SUBSETS[kind]}."
        )
    return Listing(tuple(_unique(listed)), tuple(notices))


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


def _unique(films: list[Listed]) -> list[Listed]:
    """Give films of one stem in several folders ids of their own; they stay one patient."""
    often = Counter(film.id for film in films)
    return [
        replace(film, id=f"{film.split}-{film.diagnosis}-{film.id}") if often[film.id] > 1 else film
        for film in films
    ]


def _listed(
    source: str, stem: str, image: Path, mask: Path, kind: str, diagnosis: str, split: str | None = None
) -> Listed:
    return Listed(
        id=stem,
        source=source,
        image=image,
        mask=mask,
        patient_id=patient_in(stem) or stem,
        split=split,
        outlines=kind,
        diagnosis=diagnosis,
        licence=LICENCES[source],
        view=view_in(stem),
    )
