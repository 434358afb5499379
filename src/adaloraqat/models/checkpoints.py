"""Base weights on disk: what the public ones look like, read without running any code in them.

A Hugging Face folder (`config.json` with `model.safetensors`, its shards, or `pytorch_model.bin`), Meta's
`sam_vit_{b,l,h}_*.pth`, MedSAM's file, which has Meta's names, and the files of LiteMedSAM and MobileSAM.
`docs/weights.md` tells more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import SamModel

from adaloraqat.bundle.format import load_bundle
from adaloraqat.errors import CheckpointError
from adaloraqat.files import atomic_path, write_json
from adaloraqat.models.adalora_qat_naming import is_adalora_qat_naming
from adaloraqat.models.architecture import PUBLISHED_NORM_EPS
from adaloraqat.models.checkpoint_files import CONFIG, WEIGHTS, read_folder, read_torch
from adaloraqat.models.families import resize_model
from adaloraqat.models.from_bundle import state_of_bundle
from adaloraqat.models.lite_medsam import build_lite_medsam, lite_medsam_from_state
from adaloraqat.models.lite_medsam_architecture import LiteMedSAMArchitecture
from adaloraqat.models.published import is_bundle, resolve
from adaloraqat.models.registry import Architecture
from adaloraqat.models.sam import (
    SHARED_FREQUENCIES,
    SamArchitecture,
    architecture_of,
    build_sam,
    sam_from_state,
)
from adaloraqat.models.weight_naming import (
    infer_architecture,
    infer_lite_medsam,
    is_lite_medsam_naming,
    is_meta_naming,
    tiny_vit_name,
    to_transformers,
    without_derived,
)
from adaloraqat.radiograph.preprocess import Preprocessing

_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_NOT_ASKED = ("image_size", "decoder_norm_eps")  # what the file or its naming decides, whatever is asked for
_COUNTER = ".num_batches_tracked"  # batch normalisation's count of batches: the one integer among the weights


def load_base(
    path: str | os.PathLike[str],
    image_size: int | None = None,
    architecture: Mapping[str, Any] | Architecture | None = None,
    decoder_norm_eps: float | None = None,
) -> SamModel:
    """Read base weights, in eval mode and float32; every tensor of the file is used, and no other.

    Args:
        path: a Hugging Face folder, a bundle's, or a file with Meta's names (Meta, MedSAM) or LiteMedSAM's
            (MobileSAM). A string may also be "base", a name of `published.PUBLISHED` or that of an installed
            bundle, which no folder or file of that name shadows: a path is then "./base", or a `Path`.
        image_size: side of the model image, px; position tables are interpolated where it is not the
            file's own (or the architecture's).
        architecture: the config, for a file that does not tell it; it must be the file's, except
            for the image size.
        decoder_norm_eps: epsilon of the decoder's layer norms; None is that of the code the weights come
            from: a Hugging Face folder's configuration says it, Meta's and LiteMedSAM's naming mean 1e-5.

    Raises:
        BundleError: "base" is asked for, and this installation carries none.
        CheckpointError: no such file, published weights that are not here yet, another format, a damaged
            file, a file that would run code, tensors missing, left over or of another shape.
        RecipeError: `architecture` or `image_size` do not fit together.
    """
    source = (resolve(path) if isinstance(path, str) else None) or Path(path)
    file = source.absolute().name
    given = _as_architecture(architecture)
    found: Architecture | None = None
    eps = decoder_norm_eps
    if is_bundle(source):
        found, state = _from_bundle(source)
    elif source.is_dir():
        state, found = read_folder(source)
    elif source.is_file():
        state = read_torch(source)
    else:
        raise CheckpointError(f"There are no base weights at {file}: check the path.")
    if is_adalora_qat_naming(state):
        raise CheckpointError(
            f"{file} is a checkpoint of AdaLoRA-QAT's public code, with adapters beside its weights: merge "
            "them first with adaloraqat export FILE --to huggingface --out FOLDER, and give that folder."
        )
    if is_lite_medsam_naming(state):
        state = without_derived(state, file)
        found = found or (None if given else infer_lite_medsam(state, file))
        state = to_transformers(state, file, tiny_vit_name)
        eps = eps or PUBLISHED_NORM_EPS  # names tell whose code the weights were trained with
    elif is_meta_naming(state):
        found = found or (None if given else infer_architecture(state, file))
        state = to_transformers(state, file)
        eps = eps or PUBLISHED_NORM_EPS
    config = _agreed(given, found, file)
    if eps is not None:
        config = replace(config, decoder_norm_eps=eps)
    if found is None and isinstance(config, SamArchitecture):
        config = _with_own_image_size(config, state)
    model = model_from_state(config, state, file)
    wanted = image_size or (given.image_size if given else config.image_size)
    return model if wanted == config.image_size else resize_model(model, wanted)


def save_base(
    model: SamModel,
    folder: str | os.PathLike[str],
    half: bool = False,
    preprocessing: Preprocessing | None = None,
) -> None:
    """Write a Hugging Face folder that `load_base` and transformers read.

    A SAM is read by `SamModel.from_pretrained`, a LiteMedSAM by `AutoModel.from_pretrained` once
    `adaloraqat.models.lite_medsam` is imported.

    Each file appears whole or not at all, the weights before the configuration.

    Args:
        model: a plain SAM or LiteMedSAM (adapters merged).
        folder: made if it is not there.
        half: store matrices and kernels as float16, half the size; vectors and the positional frequencies,
            where rounding would shift every prompt, stay float32. Loading gives float32 again.
        preprocessing: what is done to a film before the model sees it; None: the folder does not tell.

    Raises:
        CheckpointError: the model holds tensors that a SAM does not have, or values too large for float16.
        OutputError: the folder cannot be written.
    """
    target = Path(folder)
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    config = _as_architecture(architecture_of(model))
    assert config is not None
    state = _checked(state, config, target.absolute().name)
    stored = {name: _stored(name, tensor, half) for name, tensor in state.items()}
    with atomic_path(target / WEIGHTS) as temporary:
        save_file(stored, temporary, metadata={"format": "pt"})
    told = {} if preprocessing is None else {"preprocessing": preprocessing.to_dict()}
    write_json(target / CONFIG, _config_json(model, config) | told)


def _config_json(model: SamModel, config: Architecture) -> dict[str, Any]:
    if isinstance(config, LiteMedSAMArchitecture):
        return {"model_type": config.family, "architecture": config.to_dict(), "dtype": "float32"}
    written = json.loads(model.config.to_json_string(use_diff=False))
    return dict(written, architectures=["SamModel"], dtype="float32")


def _from_bundle(folder: Path) -> tuple[Architecture, dict[str, Tensor]]:
    """Return architecture and tensors of a bundle."""
    bundle = load_bundle(folder)
    config = _as_architecture(bundle.architecture) if bundle.prompt.accepts_box else None
    if config is None:
        raise CheckpointError(
            f"{bundle.name} takes no boxes: train on from the run that it was exported from."
        )
    return config, state_of_bundle(bundle, _empty(config).state_dict())


def _as_architecture(value: Mapping[str, Any] | Architecture | None) -> Architecture | None:
    if value is None or not isinstance(value, Mapping):
        return value
    lite = value.get("family") == LiteMedSAMArchitecture.family
    return LiteMedSAMArchitecture.from_dict(value) if lite else SamArchitecture.from_dict(value)


def _empty(config: Architecture) -> SamModel:
    if isinstance(config, LiteMedSAMArchitecture):
        return build_lite_medsam(config)
    return build_sam(config)


def _from_state(config: Architecture, state: Mapping[str, Tensor]) -> SamModel:
    if isinstance(config, LiteMedSAMArchitecture):
        return lite_medsam_from_state(config, state)
    return sam_from_state(config, state)


def _agreed(given: Architecture | None, found: Architecture | None, file: str) -> Architecture:
    """Return what the file says or, where it says nothing, the caller; they may differ in image size only."""
    if found is None:
        if given is None:
            raise CheckpointError(
                f"{file} does not state its architecture: give its folder with {CONFIG}, "
                "or name the architecture."
            )
        return given
    if given is None:
        return found
    own = {"family": "sam", **found.to_dict()}
    wrong = [
        name
        for name, value in {"family": "sam", **given.to_dict()}.items()
        if name not in _NOT_ASKED and value != own.get(name)
    ]
    if wrong:
        raise CheckpointError(
            f"{file} has a different {wrong[0]} from the architecture asked for ({own.get(wrong[0])}, not "
            f"{given.to_dict().get(wrong[0], 'sam')}): use the file's own."
        )
    return found


def _with_own_image_size(architecture: SamArchitecture, state: Mapping[str, Tensor]) -> SamArchitecture:
    """Replace the image size by that of the file's position table; all else is checked by shape."""
    table = state.get("vision_encoder.pos_embed")
    if table is None or table.ndim != 4:
        return architecture  # the check of names and shapes says it better
    return replace(architecture, image_size=table.shape[1] * architecture.patch_size)


def model_from_state(config: Architecture, state: Mapping[str, Tensor], file: str) -> SamModel:
    """Return a model of these tensors, float32 and in eval mode.

    Args:
        config: the architecture that the tensors have.
        state: transformers' names, all of them and no other.
        file: name for messages.

    Raises:
        CheckpointError: tensors missing, left over, of another shape, no plain numbers or NaN.
    """
    return _from_state(config, _checked(dict(state), config, file)).eval()


def _checked(state: dict[str, Tensor], architecture: Architecture, file: str) -> dict[str, Tensor]:
    """Return float32 tensors under exactly the names of the architecture, the shared one once."""
    state = _share_frequencies(state, file)
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in _empty(architecture).state_dict().items()}
    del expected[SHARED_FREQUENCIES[1]]
    missing = sorted(expected.keys() - state.keys())
    unexpected = sorted(state.keys() - expected.keys())
    if missing or unexpected:
        problems = [_counted("lacks", missing, ""), _counted("holds", unexpected, " too many")]
        raise CheckpointError(
            f"{file} {' and '.join(filter(None, problems))}: give complete SAM weights and nothing else."
        )
    for name, shape in expected.items():
        _check_tensor(name, state[name], shape, file)
    kinds = {name: torch.int64 if name.endswith(_COUNTER) else torch.float32 for name in expected}
    return {name: state[name].to(kind).contiguous() for name, kind in kinds.items()}


def _check_tensor(name: str, tensor: Tensor, shape: torch.Size, file: str) -> None:
    if tensor.shape != shape:
        raise CheckpointError(
            f"{file} holds {name} with shape {tuple(tensor.shape)} where the architecture has "
            f"{tuple(shape)}: give weights of that architecture."
        )
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu"
    if not (plain and (tensor.dtype in _FLOATS or name.endswith(_COUNTER))):
        raise CheckpointError(
            f"{file} holds {name} as {tensor.dtype}, {tensor.layout}: give the plain floating-point weights, "
            "not quantised ones."
        )
    if not torch.isfinite(tensor).all():
        raise CheckpointError(f"{file} holds NaN or infinite numbers in {name}: download the weights again.")


def _share_frequencies(state: dict[str, Tensor], file: str) -> dict[str, Tensor]:
    """Keep one of the two names of the shared tensor; files carry either or both."""
    kept, other = SHARED_FREQUENCIES
    copies = [state[name] for name in SHARED_FREQUENCIES if name in state]
    if len(copies) == 2 and not torch.equal(copies[0], copies[1]):
        raise CheckpointError(f"{file} holds two different tensors for the shared {kept}: download it again.")
    rest = {name: tensor for name, tensor in state.items() if name not in (kept, other)}
    return rest | ({kept: copies[0]} if copies else {})


def _counted(verb: str, names: list[str], after: str) -> str:
    """Say how many tensors, and name the first three; nothing where there are none."""
    if not names:
        return ""
    number = f"{len(names)} tensor{'' if len(names) == 1 else 's'}{after}"
    return f"{verb} {number} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"


def _stored(name: str, tensor: Tensor, half: bool) -> Tensor:
    if not half or tensor.ndim < 2 or name in SHARED_FREQUENCIES:
        return tensor
    rounded = tensor.to(torch.float16)
    if not torch.isfinite(rounded).all():
        raise CheckpointError(f"{name} has values too large for float16: save it with half=False.")
    return rounded
