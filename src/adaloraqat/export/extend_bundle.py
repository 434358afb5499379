"""Adding to a bundle what was trained on its answers: a head for structures, and a model of its quality."""

import copy
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from adaloraqat.bundle import Bundle, load_bundle, write_bundle
from adaloraqat.bundle.format import DOCUMENT, ENCODER, STRUCTURES
from adaloraqat.errors import BundleError
from adaloraqat.export.bundle_writer import label_graph, refuse_foreign, whole_folder
from adaloraqat.export.onnx_export import write_onnx
from adaloraqat.quantize.storage import HalfStorage, store
from adaloraqat.training.structure_network import ConvolutionBlock, StructureHead


def extend_bundle(
    bundle: Bundle,
    folder: str | os.PathLike[str],
    facts: Mapping[str, Any],
    head: StructureHead | None = None,
    grid: tuple[int, int] = (0, 0),
) -> Bundle:
    """Write a copy of `bundle` that knows more; its encoder, decoder and masks stay as they are.

    Args:
        bundle: what is copied.
        folder: where the new bundle goes; it appears whole or not at all.
        facts: keys of `bundle.json` to add: `structures` (limits of sides, films, scores), `quality`.
        head: a head that was trained on the bundle's embeddings, written as `structures.onnx`.
        grid: (D, g) of the embedding (1, D, g, g) that the head takes.

    Raises:
        OutputError: `folder` is something else than a bundle, or cannot be written.
    """
    kept = [name for name in bundle.files if head is None or STRUCTURES not in name]
    write = None if head is None else lambda path: export_structures(head, path, grid)
    return _rewritten(bundle, folder, facts, kept, {} if write is None else {STRUCTURES: write})


def with_structures_of(bundle: Bundle, other: Bundle, folder: str | os.PathLike[str]) -> Bundle:
    """Write a copy of `bundle` with the head of `other`, whose encoder is the same to the last byte.

    A model of which only the decoder was retrained keeps its structures so: the head reads the embedding.

    Raises:
        BundleError: `other` has no structures, or another encoder.
        OutputError: `folder` is something else than a bundle, or cannot be written.
    """
    if not other.has_structures:
        raise BundleError(f"{other.name} has no structures to copy into {bundle.name}.")
    if bundle.files[ENCODER].sha256 != other.files[ENCODER].sha256:
        raise BundleError(
            f"{other.name} has a different encoder from {bundle.name}, so its structures do not fit: leave "
            "--structures-from out to train new ones."
        )
    heads = [name for name in other.files if STRUCTURES.split(".")[0] in name]
    kept = [name for name in bundle.files if name not in heads]
    added = {name: partial(shutil.copyfile, other.folder / name) for name in heads}
    return _rewritten(bundle, folder, {"structures": dict(other.structures)}, kept, added)


def _rewritten(
    bundle: Bundle,
    folder: str | os.PathLike[str],
    facts: Mapping[str, Any],
    kept: Sequence[str],
    added: Mapping[str, Callable[[Path], object]],
) -> Bundle:
    """Write the `kept` files of a bundle, others that write themselves, and its document with `facts`."""
    target = Path(os.path.realpath(folder))
    refuse_foreign(target)
    document = json.loads((bundle.folder / DOCUMENT).read_text(encoding="utf-8"))
    fields = {key: value for key, value in document.items() if key not in ("format_version", "files")}
    files: dict[str, Callable[[Path], object]] = {
        name: partial(shutil.copyfile, bundle.folder / name) for name in kept
    }
    with whole_folder(target) as temporary:
        for name, write in {**files, **added}.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            write(temporary / name)
            if name in added and name.endswith(".onnx"):
                label_graph(temporary / name, fields)
        write_bundle(temporary, {**fields, **facts}, [*kept, *added])
    return load_bundle(target)


def export_structures(head: StructureHead, path: Path, grid: tuple[int, int]) -> None:
    """Write `embedding` (1, D, g, g) -> `structures` (1, 3, n, n), `mirrored` (1,), for a grid (D, g).

    Weights are stored as float16, normalisations become part of the convolutions before them. The head that
    is given stays as it is.

    Raises:
        OutputError: the file cannot be written.
    """
    dim, side = grid
    own = copy.deepcopy(head).eval()
    for module in list(own.modules()):
        if isinstance(module, ConvolutionBlock):
            module.fuse()
    for module in own.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.data = module.weight.data.half()
            store(module, "weight", HalfStorage())
    write_onnx(own, (torch.zeros(1, dim, side, side),), path, ["embedding"], ["structures", "mirrored"], {})
