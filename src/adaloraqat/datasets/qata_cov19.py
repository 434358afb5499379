"""QaTa-COV19 version 2: 9,258 films of COVID-19 with outlines of the infection. It has no lung masks.

`QaTa-COV19-v2/{Train Set,Test Set}/Images/covid_1.png` and `.../Ground-truths/mask_covid_1.png`; films of
BIMCV keep their names, `sub-S09345_ses-E23117_run-1_bp-chest_vp-ap_dx.png`, which tell patient and view.
Layout: https://www.kaggle.com/datasets/aysendegerli/qatacov19-dataset, as read by the public loaders that
name `QaTa-COV19-v2/Train Set/Images` and `Ground-truths`. Degerli et al., Health Inf Sci Syst 9:15, 2021
(doi:10.1007/s13755-021-00146-8), and OSegNet, ICIP 2022, for version 2.
"""

from pathlib import Path

from adaloraqat.datasets.listing import Listed, Listing, by_stem, files_below, paired
from adaloraqat.datasets.names import patient_in, view_in
from adaloraqat.errors import ManifestError
from adaloraqat.radiograph.formats import PICTURE_SUFFIXES

LICENCE = "films and outlines: as on the Kaggle page of QaTa-COV19; research with citation"
_SPLITS = {"train": "train", "test": "test"}


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
        stems, without = paired(images, masks)
        listed += [_listed(stem, images[stem], masks[stem], kind) for stem in stems]
        notices += without
    if not listed:
        raise ManifestError(
            f"{root.name} holds no film of QaTa-COV19: give the folder with Train Set/Images and "
            "Train Set/Ground-truths."
        )
    return Listing(tuple(listed), tuple(notices))


def _listed(stem: str, image: Path, mask: Path, kind: str) -> Listed:
    division = image.parents[1].name.split()[0].lower()
    return Listed(
        id=stem,
        source="qata_cov19",
        image=image,
        mask=mask,
        patient_id=patient_in(stem) or stem,
        split=_SPLITS.get(division),
        outlines=kind,
        diagnosis="COVID-19",
        licence=LICENCE,
        view=view_in(stem),
    )
