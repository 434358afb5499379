"""The bundle on disk: a folder with `bundle.json` and the ONNX files it vouches for.

`load_bundle` reads nothing it has not checked: the format version, the required keys, that every file lies
inside the folder, and its SHA-256. What it refuses, it refuses with one sentence (`BundleError`).
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from adaloraqat.bundle.expected_quality import QualityModel
from adaloraqat.bundle.shipped import is_model_name, kept_bundle, names_told, shipped_path
from adaloraqat.errors import BundleError
from adaloraqat.files import sha256, write_json
from adaloraqat.radiograph.preprocess import Preprocessing

FORMAT_VERSION = 1
DOCUMENT = "bundle.json"
ENCODER = "encoder.onnx"
DECODER = "decoder.onnx"
MASK_PROMPT = "mask_prompt.onnx"
"""In bundles that take points and masks beside boxes: what a mask adds to the embedding."""
STRUCTURES = "structures.onnx"
"""In bundles that tell right lung, left lung and heart apart: what an embedding says of them."""
MIRRORED_LIMIT = 0.5
"""Probability from which on a film counts as mirrored, unless its bundle says otherwise."""
BOX_LABELS = (2, 3)
"""What SAM calls the two corners of a box among points; 1 is a point on what is wanted, 0 one off it."""
NO_POINT = -1
"""SAM's label of the empty point that goes with points without a box."""
OPENVINO_IR = {
    ENCODER: ("openvino/encoder.xml", "openvino/encoder.bin"),
    DECODER: ("openvino/decoder.xml", "openvino/decoder.bin"),
    MASK_PROMPT: ("openvino/mask_prompt.xml", "openvino/mask_prompt.bin"),
    STRUCTURES: ("openvino/structures.xml", "openvino/structures.bin"),
}
"""The same graphs as OpenVINO IR (structure, weights), in bundles that were exported `--to openvino`."""

WeightRange = Literal["portable", "full", "none"]
WEIGHT_RANGES: tuple[WeightRange, ...] = get_args(WeightRange)
"""Of stored integers: |q| <= 63 (exact on every CPU), |q| <= 127 (needs VNNI), and no integers."""


@dataclass(frozen=True)
class StoredPrecision:
    """How the weights are stored: the policy's name, the integer range used, the precision of each module.

    `weight_range` is one of `WEIGHT_RANGES`.
    """

    policy: str
    weight_range: WeightRange
    modules: Mapping[str, str]


AutomaticPrompt = Literal["whole", "proposed-box", "proposed-lungs"]
AUTOMATIC_PROMPTS: tuple[AutomaticPrompt, ...] = get_args(AutomaticPrompt)
"""What stands in for a box that nobody gave: the film, a proposer's box of both lungs, or one box a lung."""
WHOLE, PROPOSED_BOX, PROPOSED_LUNGS = AUTOMATIC_PROMPTS


@dataclass(frozen=True)
class Prompt:
    """How the model wants to be prompted, and whether its quality output was trained.

    Attributes:
        second_pass: whether a whole film is decoded once more with the box of its first mask.
        quality_trained: whether the predicted IoU means anything.
        accepts_box: False for a network without prompts: its masks are of the whole film, always.
        automatic: one of `AUTOMATIC_PROMPTS`; other than `whole` for models not trained on whole films.
        proposer: name of the shipped model that proposes boxes; None: the default proposer.
        masks_trained: whether it learnt from masks as prompts, as SAM did, and as a recipe with clicks does.
            MedSAM and LiteMedSAM did not: handed on, their masks make the next answer worse.
    """

    second_pass: bool
    quality_trained: bool
    accepts_box: bool = True
    automatic: AutomaticPrompt = WHOLE
    proposer: str | None = None
    masks_trained: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return what stands in `bundle.json`; what is usual, and came later than the format, is left out."""
        usual = {"automatic": WHOLE, "proposer": None, "masks_trained": False}
        return {key: value for key, value in asdict(self).items() if (key, value) not in usual.items()}


@dataclass(frozen=True)
class FileRecord:
    """Hash and size (bytes) that a bundle vouches for."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class _Document:
    """What `bundle.json` must hold, by its keys; further keys are left alone."""

    format_version: int
    name: str
    architecture: dict[str, Any]
    preprocessing: dict[str, Any]
    precision: StoredPrecision
    prompt: Prompt
    outlines: str
    training: dict[str, Any]
    parameters: dict[str, Any]
    ranks: dict[str, Any]
    metrics: dict[str, Any]
    parity: dict[str, Any]
    licence: str
    intended_use: str
    files: dict[str, FileRecord]
    smallest_part: float = 0.0
    structures: dict[str, Any] = field(default_factory=dict)
    quality: dict[str, Any] | None = None


REQUIRED = tuple(
    one.name for one in fields(_Document) if one.default is MISSING and one.default_factory is MISSING
)
"""The keys without which a `bundle.json` is refused."""

_CHOICES: dict[str, Any] = {"precision.weight_range": WeightRange, "prompt.automatic": AutomaticPrompt}
_KINDS = {
    "int_type": "a whole number",
    "string_type": "a text",
    "dict_type": "an object",
    "mapping_type": "an object",
    "dataclass_type": "an object",
    "bool_type": "true or false",
    "float_type": "a number from 0 to 1",
}
"""What pydantic's errors ask for, in words."""


@dataclass(frozen=True)
class Bundle:
    """A checked bundle. `folder` is where it lies; every other field stands in its `bundle.json`."""

    folder: Path
    format_version: int
    name: str
    architecture: Mapping[str, Any]
    preprocessing: Preprocessing
    precision: StoredPrecision
    prompt: Prompt
    outlines: str
    training: Mapping[str, Any]
    parameters: Mapping[str, Any]
    ranks: Mapping[str, Any]
    metrics: Mapping[str, Any]
    parity: Mapping[str, Any]
    licence: str
    intended_use: str
    files: Mapping[str, FileRecord]
    smallest_part: float = 0.0
    """Parts smaller than this share of the largest are removed, holes below it filled; 0 changes nothing."""
    structures: Mapping[str, Any] = field(default_factory=dict)
    """Of a bundle that `has_structures`: `mirrored_limit`, and what the head was trained and validated on."""
    quality: QualityModel | None = None
    """How the expected Dice of a mask is computed; None: not calibrated, only the predicted IoU is known."""

    @property
    def encoder(self) -> Path:
        """The encoder: `image` (1, C, S, S) float32 -> `embedding` (1, D, g, g) float32."""
        return self.folder / ENCODER

    @property
    def decoder(self) -> Path:
        """The decoder: `embedding`, `boxes` (N, 4) model pixels -> `logits` (N, 4g, 4g), `quality` (N,).

        Where the bundle `accepts_points`, the optional input `labels` (N or 1, T) int64 says what the points
        of `boxes` (N, 2T) are.
        """
        return self.folder / DECODER

    @property
    def accepts_points(self) -> bool:
        """Whether points and masks can be given too."""
        return MASK_PROMPT in self.files

    @property
    def mask_prompt(self) -> Path:
        """Of a bundle that `accepts_points`: `mask` (1, 1, 4g, 4g) logits -> `dense` (1, D, g, g)."""
        return self.folder / MASK_PROMPT

    @property
    def has_structures(self) -> bool:
        """Whether the model tells right lung, left lung and heart apart."""
        return STRUCTURES in self.files

    @property
    def mirrored_limit(self) -> float:
        """Of a bundle that `has_structures`: the probability from which on a film counts as mirrored."""
        return float(self.structures.get("mirrored_limit", MIRRORED_LIMIT))

    @property
    def structures_graph(self) -> Path:
        """Of a bundle that `has_structures`: `embedding` (1, D, g, g) -> `structures` (1, 3, n, n),
        `mirrored` (1,).

        Both are logits: of the lung at the image's left, the other lung and the heart; of a mirrored film.
        """
        return self.folder / STRUCTURES

    def openvino_graph(self, graph: str) -> Path:
        """What OpenVINO reads for `graph`, a key of `OPENVINO_IR`: its IR if the bundle has it, else ONNX.

        Inputs and outputs are the same.
        """
        structure, weights = OPENVINO_IR[graph]
        return self.folder / (structure if {structure, weights} <= set(self.files) else graph)


def load_bundle(name_or_path: str | os.PathLike[str]) -> Bundle:
    """Load and check a bundle: an installed model by its name, or a folder by its path.

    Raises:
        BundleError: it is missing, damaged, not a bundle, from a newer format, or a hash differs.
    """
    folder = _find(name_or_path)
    bundle = parse_bundle(folder, _read_document(folder))
    for name, record in bundle.files.items():
        _check_file(folder, name, record)
    return bundle


def write_bundle(folder: str | os.PathLike[str], fields: Mapping[str, Any], files: Iterable[str]) -> Bundle:
    """Hash `files` (names inside `folder`), write `bundle.json` last, and return the bundle loaded back.

    `fields` are the keys of `REQUIRED` except `format_version` and `files`; further keys are kept.

    Raises:
        BundleError: a field is missing or of the wrong type, or a file is not there.
        OutputError: the folder cannot be written.
    """
    root = Path(folder)
    records = {name: _record(root / name) for name in sorted(files)}
    document = {"format_version": FORMAT_VERSION, **fields, "files": records}
    parse_bundle(root, document)
    write_json(root / DOCUMENT, document)
    return load_bundle(root.absolute())  # a path, whatever installed model has its name


def parse_bundle(folder: Path, document: Mapping[str, Any]) -> Bundle:
    """Turn the content of a `bundle.json` into a `Bundle`; the files themselves are not looked at.

    Raises:
        BundleError: the version is newer, or a key is missing or of the wrong type.
    """
    where = folder.name
    _check_version(where, document)
    read = _validated(where, document)
    for required in (ENCODER, DECODER):
        if required not in read.files:
            raise _damaged(where, f"its {DOCUMENT} does not list {required}")
    for name in read.files:
        _check_inside(where, name)
    if not 0 <= read.smallest_part <= 1:
        raise _damaged(where, f"'smallest_part' in its {DOCUMENT} is not a number from 0 to 1")
    limit = read.structures.get("mirrored_limit", MIRRORED_LIMIT)
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 <= limit <= 1:
        raise _damaged(where, f"'structures.mirrored_limit' in its {DOCUMENT} is not a number from 0 to 1")
    preprocessing, quality = _preprocessing(where, read.preprocessing), _quality(where, read.quality)
    checked = {"preprocessing": preprocessing, "quality": quality}
    return Bundle(folder=folder, **{**vars(read), **checked})


def _find(name_or_path: str | os.PathLike[str]) -> Path:
    given = os.fspath(name_or_path)
    if is_model_name(given):
        return shipped_path(given)
    kept = kept_bundle(given)
    if kept is not None:
        return kept
    try:
        return _folder(Path(given))
    except OSError as error:  # pathlib passes on what is neither there nor missing
        raise BundleError(
            f"{Path(given).name!r} cannot be opened ({error.strerror}): check the path and its permissions."
        ) from error


def _folder(path: Path) -> Path:
    if path.name == DOCUMENT and path.is_file():
        path = path.parent
    if not path.exists():
        raise BundleError(
            f"There is no model called or stored at {path.name!r}: name one that is installed "
            f"({names_told()}), give the path of a bundle folder, or download published weights with "
            "`adaloraqat weights get NAME`, of those that `adaloraqat weights list` shows."
        )
    if not (path / DOCUMENT).is_file():
        raise BundleError(
            f"{path.name!r} is not a bundle, because it holds no {DOCUMENT}: give a folder written by "
            f"`adaloraqat export`, or the name of an installed model ({names_told()})."
        )
    return path


def _read_document(folder: Path) -> dict[str, Any]:
    try:
        document = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(folder.name, f"its {DOCUMENT} cannot be read") from error
    if not isinstance(document, dict):
        raise _damaged(folder.name, f"its {DOCUMENT} is not a JSON object")
    return document


def _check_version(where: str, document: Mapping[str, Any]) -> None:
    version = document.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise BundleError(
            f"{where!r} is not an adaloraqat bundle, because its {DOCUMENT} states no format version: "
            f"give a folder written by `adaloraqat export`."
        )
    if version > FORMAT_VERSION:
        raise BundleError(
            f"The bundle {where!r} has format {version}, and this version reads formats up to "
            f"{FORMAT_VERSION}: update adaloraqat, or export the bundle again."
        )


def _validated(where: str, document: Mapping[str, Any]) -> _Document:
    from pydantic import TypeAdapter, ValidationError  # late: what reads no bundle does not wait for it

    # read as JSON, because strict reading of Python values would ask for instances of the data classes
    try:
        return TypeAdapter(_Document).validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    label = ".".join(map(str, first["loc"]))
    if not label:  # a text that is no Unicode, or nested too deeply
        raise _damaged(where, f"its {DOCUMENT} cannot be read")
    if first["type"] == "missing":
        raise _damaged(where, f"its {DOCUMENT} lacks {label!r}")
    choices = get_args(_CHOICES.get(label))
    wanted = f"one of {', '.join(choices)}" if choices else _KINDS.get(first["type"], "valid")
    raise _damaged(where, f"{label!r} in its {DOCUMENT} is not {wanted}")


def _preprocessing(where: str, values: Mapping[str, Any]) -> Preprocessing:
    try:
        return Preprocessing.from_dict(dict(values))
    except Exception as error:  # from_dict may refuse a foreign document in any way
        raise _damaged(where, f"'preprocessing' in its {DOCUMENT} is not valid") from error


def _quality(where: str, values: Mapping[str, Any] | None) -> QualityModel | None:
    if values is None:
        return None
    try:
        return QualityModel.from_dict(values)
    except ValueError as error:
        raise _damaged(where, f"'quality' in its {DOCUMENT} is not valid") from error


def _check_inside(where: str, name: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if not name or path.is_absolute() or ".." in path.parts or ":" in name:
        raise BundleError(
            f"The bundle {where!r} is refused, because it names a file outside its own folder: "
            f"use a bundle from a source you trust."
        )


def _check_file(folder: Path, name: str, record: FileRecord) -> None:
    path = folder / name
    try:
        if not path.is_file():
            raise _damaged(folder.name, f"its file {name} is missing")
        if not path.resolve().is_relative_to(folder.resolve()):
            raise BundleError(
                f"The bundle {folder.name!r} is refused, because {name} is a link out of its folder: "
                f"use a bundle from a source you trust."
            )
        matches = path.stat().st_size == record.bytes and sha256(path) == record.sha256.lower()
    except OSError as error:
        raise _damaged(folder.name, f"its file {name} cannot be read") from error
    if not matches:
        raise _damaged(folder.name, f"its file {name} is not the one exported (size or SHA-256 differ)")


def _record(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BundleError(f"The bundle {path.parent.name!r} cannot be written: {path.name} is missing.")
    return {"sha256": sha256(path), "bytes": path.stat().st_size}


def _damaged(where: str, what: str) -> BundleError:
    return BundleError(f"The bundle {where!r} is damaged: {what}; copy or export it again.")
