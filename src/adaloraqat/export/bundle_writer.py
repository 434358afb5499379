"""Writing a trained model as a bundle: ONNX, OpenVINO IR, and the `bundle.json` that vouches for them."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import adaloraqat
from adaloraqat.bundle import Bundle, load_bundle, write_bundle
from adaloraqat.bundle.cpu import weight_range_warning
from adaloraqat.bundle.format import DECODER, DOCUMENT, ENCODER, MASK_PROMPT, OPENVINO_IR
from adaloraqat.bundle.runtimes import openvino_package
from adaloraqat.datasets.names import some_of
from adaloraqat.errors import OutputError
from adaloraqat.export.mask_parity import parity_shortfalls
from adaloraqat.export.onnx_export import export_decoder, export_encoder, export_mask_prompt
from adaloraqat.files import check_folder, umask
from adaloraqat.lowrank import adapters_of
from adaloraqat.models.families import SegmentationModel, accepts_boxes
from adaloraqat.models.sam import architecture_of, count_parameters
from adaloraqat.quantize.integer import convert
from adaloraqat.quantize.policy import PrecisionPolicy, weighted_names
from adaloraqat.radiograph import Preprocessing

logger = logging.getLogger(__name__)

LICENCE = "Research use only; see LICENSE-WEIGHTS."
INTENDED_USE = "Research on chest radiographs. Not a medical device: no diagnosis, no treatment decision."

_NO_PARAMETERS = (
    "_scale",
    "_zero_point",
    "running_mean",
    "running_var",
)  # endings of other tensors in a file


def export_bundle(
    model: SegmentationModel,
    folder: str | os.PathLike[str],
    *,
    policy: PrecisionPolicy,
    preprocessing: Preprocessing,
    name: str,
    outlines: str,
    second_pass: bool = False,
    smallest_part: float = 0.0,
    quality_trained: bool = False,
    training: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    trainable: Mapping[str, int] | None = None,
    ranks: Mapping[str, int] | None = None,
    prompt: Mapping[str, Any] | None = None,
    measured: Callable[[Path], Mapping[str, Any]] | None = None,
    openvino: bool = False,
    accepts_points: bool = False,
    parity: Callable[[Path], Mapping[str, Any]] | None = None,
    licence: str = LICENCE,
    intended_use: str = INTENDED_USE,
) -> Bundle:
    """Write `model` as a bundle; the whole folder appears at once, or nothing does.

    Args:
        model: after `prepare` and `calibrate` with `policy` (`in_precision` does both); not changed.
        folder: where the bundle goes; an older bundle there is replaced.
        policy: the precision policy the model was prepared with.
        preprocessing: from a film to the model image.
        name: what the bundle is called.
        outlines: what its masks outline, in words.
        second_pass: whether a film without a box is decoded a second time with the first mask's box.
        smallest_part: share of the largest component below which components are removed and holes
            filled.
        quality_trained: whether the quality output predicts IoU.
        training: recipe, data fingerprint, and whether this is post-training quantisation.
        metrics: measured scores.
        trainable: how many parameters each stage trained.
        ranks: of adapters that were merged before; None: those that `model` has.
        prompt: further facts about prompts, for a reader.
        measured: further metrics of the written files, which lie in the folder that it is given.
        openvino: write OpenVINO IR beside the ONNX files; the bundle vouches for it, and OpenVINO runs it.
        accepts_points: whether the bundle takes points and masks beside boxes; of a model that knows them.
        parity: measures a written bundle against `model`; its result goes into `bundle.json`, and where an
            engine falls short, into a warning. Without it the bundle says that parity was not measured.
        licence: of the weights.
        intended_use: in words.

    Returns:
        the bundle, loaded back from `folder`.

    Raises:
        OutputError: `folder` is something else than a bundle, or cannot be written.
        RuntimeError: the model is not calibrated.
    """
    target = Path(os.path.realpath(folder))  # a link keeps its place, what it leads to is replaced
    refuse_foreign(target)
    fields: dict[str, Any] = {
        "name": name,
        "architecture": architecture_of(model),
        "preprocessing": preprocessing.to_dict(),
        "precision": {
            "policy": policy.name,
            "weight_range": policy.weight_range if policy.quantizes else "none",
            "modules": policy.describe(model),
        },
        "prompt": {
            "second_pass": second_pass,
            "quality_trained": quality_trained,
            "accepts_box": accepts_boxes(model),
            **(prompt or {}),
        },
        "smallest_part": smallest_part,
        "outlines": outlines,
        "training": dict(training or {}),
        "parameters": {**_without_adapters(model), "trainable": dict(trainable or {})},
        "ranks": dict(ranks or {adapter: module.rank for adapter, module in adapters_of(model).items()}),
        "metrics": dict(metrics or {}),
        "parity": {"measured": False},
        "licence": licence,
        "intended_use": intended_use,
    }
    with whole_folder(target) as temporary:
        converted = convert(model)
        export_encoder(converted, temporary / ENCODER)
        export_decoder(converted, temporary / DECODER, accepts_points)
        graphs = [ENCODER, DECODER]
        if accepts_points:
            export_mask_prompt(converted, temporary / MASK_PROMPT)
            graphs.append(MASK_PROMPT)
        for graph in graphs:
            label_graph(temporary / graph, fields)
        _describe_stored(fields, model, [temporary / graph for graph in graphs])
        files = [*graphs, *(write_openvino_ir(temporary, graphs) if openvino else ())]
        if measured is not None:
            fields["metrics"] |= measured(temporary)
        write_bundle(temporary, fields, files)
        if parity is not None:
            fields["parity"] = {"measured": True, **parity(temporary)}
            write_bundle(temporary, fields, files)
    for sentence in parity_shortfalls(fields["parity"]):
        logger.warning("%s", sentence)
    return load_bundle(target)


def label_graph(path: Path, fields: Mapping[str, Any]) -> None:
    """Write into an ONNX file whose it is and what it takes, for those who meet it without its bundle.

    Args:
        path: the file, which is written anew.
        fields: the keys of the bundle's document.
    """
    model = onnx.load(path)
    labels = {key: fields[key] for key in ("name", "outlines", "licence", "intended_use")}
    preprocessing = json.dumps(fields["preprocessing"])
    version = {"adaloraqat_version": adaloraqat.__version__, "preprocessing": preprocessing}
    onnx.helper.set_model_props(model, labels | version)
    onnx.save(model, path)


def _without_adapters(model: SegmentationModel) -> dict[str, Any]:
    """Count the model's parameters; adapters are folded into the matrices that they adapt."""
    folded = sum(p.numel() for adapter in adapters_of(model).values() for p in adapter.parameters())
    counts = count_parameters(model)
    for key in ("encoder", "total"):
        counts[key] -= folded
    return {**counts, "adapters_folded": folded}


def _describe_stored(fields: dict[str, Any], model: SegmentationModel, graphs: Sequence[Path]) -> None:
    """Add what the files hold per data type, and drop the precision of layers that they do not hold."""
    stored = stored_parameters(graphs, (name for name, _ in model.named_children()))
    counts, precision = fields["parameters"], fields["precision"]
    counts["per_precision"] = {kind: sum(sizes.values()) for kind, sizes in stored.items()}
    counts["not_exported"] = counts["total"] - sum(counts["per_precision"].values())
    weighted = set(weighted_names(model))
    precision["modules"] = {
        name: kind
        for name, kind in precision["modules"].items()
        if name not in weighted or _is_stored(name, stored)
    }


def stored_parameters(files: Iterable[Path], parts: Iterable[str]) -> dict[str, dict[str, int]]:
    """Return {data type: {name: values}} of a model's parameters in ONNX files; `parts` are its children.

    Weights are int8, float16 or float32; biases of integer layers are int32. Scales, zero points and
    constants of the graph (the Fourier frequencies among them) are no parameters; equal tensors, as untrained
    models have them, are stored once. What a graph does not need is not in it: of a SAM the heads of the
    second to fourth mask and, where no points are accepted, what embeds points and masks.
    """
    of_the_model = tuple(f"{part}." for part in parts)
    found: dict[str, dict[str, int]] = {}
    for file in files:
        for tensor in onnx.load(file).graph.initializer:
            if tensor.name.startswith(of_the_model) and not tensor.name.endswith(_NO_PARAMETERS):
                kind = str(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
                found.setdefault(kind, {})[tensor.name] = int(np.prod(tensor.dims))
    return found


def _is_stored(module: str, stored: Mapping[str, Mapping[str, int]]) -> bool:
    """Whether a layer or a table of that name has a parameter in the files."""
    return any(name == module or name.startswith(f"{module}.") for names in stored.values() for name in names)


def write_openvino_ir(folder: Path, graphs: Sequence[str] = (ENCODER, DECODER)) -> list[str]:
    """Write a bundle's ONNX files as OpenVINO IR (as QMedSAM deploys); weights keep their precision.

    Args:
        folder: holds the ONNX files.
        graphs: their names.

    Returns:
        the files written, as names inside `folder`.

    Raises:
        BundleError: OpenVINO is not installed.
        OSError: the folder cannot be written.
    """
    openvino = openvino_package()
    # read_model, not convert_model: the latter notes the path of the ONNX file in the IR
    core = openvino.Core()
    for graph in graphs:
        structure, _ = OPENVINO_IR[graph]
        target = folder / structure
        target.parent.mkdir(exist_ok=True)
        model = core.read_model(folder / graph)
        try:
            openvino.save_model(model, target, compress_to_fp16=False)
        except RuntimeError as error:  # OpenVINO names no reason; a full disk is the usual one
            raise OSError(f"OpenVINO could not write {structure}") from error
    return [name for graph in graphs for name in OPENVINO_IR[graph]]


def refuse_early(out: Path, openvino: bool) -> None:
    """Refuse, before minutes of work, what cannot be written.

    Raises:
        OutputError: `out` is something else than a bundle.
        BundleError: `openvino`, and OpenVINO is not installed.
    """
    refuse_foreign(out)
    if openvino:
        openvino_package()


def warn_of_range(policy: PrecisionPolicy) -> None:
    """Warn where this CPU would execute weights of the policy's range wrongly."""
    mismatch = weight_range_warning(policy.weight_range) if policy.quantizes else None
    if mismatch:
        logger.warning("%s", mismatch)


def refuse_foreign(target: Path) -> None:
    """Refuse to replace anything but an empty folder or a bundle that holds nothing beside its own files.

    Raises:
        OutputError: `target` cannot be a folder, is the current one, or holds what no bundle does.
    """
    check_folder(target)
    if not target.exists():
        return
    if os.path.realpath(target) == str(Path.cwd()):
        raise OutputError("A bundle cannot replace the current folder: choose another --out.")
    inside = (path for path in target.rglob("*") if path.is_symlink() or not path.is_dir())
    present = {path.relative_to(target).as_posix() for path in inside}
    foreign = sorted(present - _listed(target))
    if foreign:
        raise OutputError(
            f"{target.name} holds files that are not a bundle's ({some_of(foreign)}), so it is not "
            "overwritten: choose "
            "another output folder."
        )


def _listed(folder: Path) -> set[str]:
    """Return the names that a bundle's files have; none where the folder's document is not a bundle's."""
    try:
        document = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
        ours = "format_version" in document and {ENCODER, DECODER} <= set(document["files"])
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    return {DOCUMENT, *OPENVINO_IR, *chain(*OPENVINO_IR.values())} if ours else set()


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Give a temporary folder beside `target`; it takes the place of `target` if the block succeeds."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise _unwritable(target, error) from error
    try:
        yield temporary
        temporary.chmod(0o777 & ~umask())  # mkdtemp makes private folders; results are ordinary ones
        _take_place(temporary, target)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _take_place(temporary: Path, target: Path) -> None:
    if not target.exists():
        os.rename(temporary, target)
        return
    older = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        os.replace(target, older / target.name)
        try:
            os.rename(temporary, target)
        except OSError:
            os.replace(older / target.name, target)
            raise
    finally:
        shutil.rmtree(older, ignore_errors=True)


def _unwritable(target: Path, error: OSError) -> OutputError:
    return OutputError(
        f"The bundle {target.name} cannot be written ({error.strerror or 'unknown reason'}): "
        "free some disk space or choose another output folder."
    )
