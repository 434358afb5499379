"""COVID-19 Radiography Database: 21,165 films of four classes with lung masks.

`COVID-19_Radiography_Dataset/{COVID,Lung_Opacity,Normal,Viral Pneumonia}/{images,masks}/COVID-1.png`, and one
`COVID.metadata.xlsx` a class. Films 299 x 299 px, masks 256 x 256 px (RGB): the masks are brought onto the
films' grid. The archive names no patient. Masks are made by a U-Net and people together; whether the part
behind the heart belongs to them is not documented.
Layout: https://www.kaggle.com/datasets/tawsifurrahman/covid19-radiography-database and its README.md.txt;
Chowdhury et al., IEEE Access 8:132665, 2020; Rahman et al., Comput Biol Med 132:104319, 2021.
"""

from pathlib import Path

from adaloraqat.datasets.listing import Listed, Listing, by_stem, files_below, paired
from adaloraqat.datasets.names import patient_in, view_in
from adaloraqat.errors import ManifestError
from adaloraqat.radiograph.formats import PICTURE_SUFFIXES

LICENCE = "films: of their collections (BIMCV, RSNA, Kermany, SIRM and others); research with citation"
CLASSES = {
    "COVID": "COVID-19",
    "Lung_Opacity": "lung opacity",
    "Normal": "normal",
    "Viral Pneumonia": "viral pneumonia",
}


def list_covid19_radiography(root: Path, kind: str) -> Listing:
    """List the films below `root` that have a mask of their name.

    Raises:
        ManifestError: none of the four class folders with `images/` and `masks/` is there.

    """
    pictures = files_below(root, PICTURE_SUFFIXES)
    listed: list[Listed] = []
    notices: list[str] = []
    for name, diagnosis in CLASSES.items():
        images = by_stem(path for path in pictures if path.parts[-3:-1] == (name, "images"))
        masks = by_stem(path for path in pictures if path.parts[-3:-1] == (name, "masks"))
        if not images:
            notices.append(f"The class {name} is missing: no folder {name}/images holds a film.")
        stems, without = paired(images, masks)
        listed += [_listed(stem, images[stem], masks[stem], kind, diagnosis) for stem in stems]
        notices += without
    if not listed:
        raise ManifestError(
            f"{root.name} holds no film of the COVID-19 Radiography Database: give the folder that holds "
            "COVID/images and COVID/masks."
        )
    return Listing(tuple(listed), tuple(notices))


def _listed(stem: str, image: Path, mask: Path, kind: str, diagnosis: str) -> Listed:
    return Listed(
        id=stem,
        source="covid19_radiography",
        image=image,
        mask=mask,
        patient_id=patient_in(stem) or stem,
        outlines=kind,
        diagnosis=diagnosis,
        licence=LICENCE,
        view=view_in(stem),
    )
