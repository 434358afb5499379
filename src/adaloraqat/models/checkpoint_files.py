"""Reading published weight files safely: bytes to tensors and config, before any name is interpreted.

Someone whose own checkpoint holds more than weights is told what is in the way and what to save. Nothing of
the file is run for that: the names of what `weights_only` refuses are read from the pickle without running
it; an `argparse.Namespace`, only a bag of values, is let through to see which key holds the weights.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import SamConfig

from adaloraqat.errors import CheckpointError, RecipeError
from adaloraqat.models.architecture import SamArchitecture
from adaloraqat.models.lite_medsam_architecture import LiteMedSAMArchitecture
from adaloraqat.models.registry import Architecture

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = "pytorch_model.bin"

WRAPPERS = ("model", "state_dict", "model_state_dict")
"""What training scripts wrap their weights in."""

_PARALLEL = "module."  # what DistributedDataParallel puts before every name
_SHOWN = 3
_ALONE = "save the weights alone, torch.save(model.state_dict(), 'weights.pth'), and give that file"


def read_folder(folder: Path) -> tuple[dict[str, Tensor], Architecture]:
    """Read a Hugging Face folder: its tensors under the names they have there, and its architecture.

    Raises:
        CheckpointError: a file is missing, damaged, of another model or holds code.
    """
    architecture = _read_config(folder / CONFIG)
    if (folder / WEIGHTS).is_file():
        return _read_safetensors(folder / WEIGHTS), architecture
    if (folder / INDEX).is_file():
        return _read_shards(folder / INDEX), architecture
    if (folder / PICKLED).is_file():
        return read_torch(folder / PICKLED), architecture
    raise CheckpointError(f"The folder {folder.name} holds no {WEIGHTS}, {INDEX} or {PICKLED}: add one.")


def _read_config(path: Path) -> Architecture:
    document = _read_json(path)
    if document.get("model_type") == LiteMedSAMArchitecture.family:
        return _read_lite_medsam(document, path.name)
    if document.get("model_type") != "sam":
        raise CheckpointError(
            f"{path.name} describes a model of type {document.get('model_type')!r}, not 'sam': "
            "give a Segment Anything folder (the first version)."
        )
    try:
        config = SamConfig.from_dict(document)
        architecture = SamArchitecture.from_config(config)
    except Exception as error:  # the library's own validation raises many kinds
        raise CheckpointError(
            f"{path.name} does not describe a SAM that can be built here: give the published file."
        ) from error
    _check_fixed(config, architecture, path.name)
    return architecture


def _read_lite_medsam(document: dict[str, Any], file: str) -> LiteMedSAMArchitecture:
    try:
        return LiteMedSAMArchitecture.from_dict(document["architecture"])
    except (KeyError, TypeError, AttributeError, RecipeError) as error:
        raise CheckpointError(
            f"{file} does not describe a LiteMedSAM that can be built here: save the model again."
        ) from error


def _check_fixed(config: SamConfig, architecture: SamArchitecture, file: str) -> None:
    """Refuse settings that no published SAM has and that no `SamArchitecture` field carries."""
    usual = architecture.to_config()
    for part, names in (
        ("vision_config", ("hidden_act", "qkv_bias", "use_abs_pos", "layer_norm_eps", "num_pos_feats")),
        (
            "prompt_encoder_config",
            (
                "image_size",
                "patch_size",
                "hidden_size",
                "num_point_embeddings",
                "hidden_act",
                "layer_norm_eps",
            ),
        ),
        ("mask_decoder_config", ("hidden_size", "hidden_act", "attention_downsample_rate", "layer_norm_eps")),
    ):
        for name in names:
            value, known = getattr(getattr(config, part), name), getattr(getattr(usual, part), name)
            if value != known:
                raise CheckpointError(
                    f"{file} sets {part}.{name} to {value!r} where SAM has {known!r}: "
                    "this variant cannot be used."
                )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"The folder {path.parent.name} holds no {path.name}: give the whole folder as published."
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path.name} cannot be read as JSON: download it again.") from error
    if not isinstance(document, dict):
        raise CheckpointError(f"{path.name} is not a JSON object: download it again.")
    return document


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as stream:
            return {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path.name} is damaged or not a safetensors file: download the weights again."
        ) from error


def _read_shards(index: Path) -> dict[str, Tensor]:
    places = _read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(shard, str) for shard in places.values()):
        raise CheckpointError(f"{index.name} has no weight_map: download it again.")
    state: dict[str, Tensor] = {}
    for shard in sorted(set(places.values())):
        if Path(shard).name != shard:  # no way out of the folder
            raise CheckpointError(f"{index.name} names a file outside its folder: give the published one.")
        if not (index.parent / shard).is_file():
            raise CheckpointError(f"The shard {shard} that {index.name} names is missing: add it.")
        tensors = _read_safetensors(index.parent / shard)
        if tensors.keys() != {name for name, place in places.items() if place == shard}:
            raise CheckpointError(f"{shard} does not hold what {index.name} says: download both again.")
        state |= tensors
    return state


def read_torch(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file that `torch.save` wrote, on the CPU, running no code that is in it.

    A training script's wrapping (`{"model": ...}`) and data-parallel prefix (`module.`) are taken off.

    Raises:
        CheckpointError: no PyTorch file, damaged, holds code or anything but tensors.
    """
    return _unwrapped(load_pickled(path), path.name)


def load_pickled(path: Path) -> object:
    """Return what a file that `torch.save` wrote holds, on the CPU, running no code that is in it.

    Raises:
        CheckpointError: no PyTorch file, damaged, or it holds code.
    """
    with path.open("rb") as stream:
        start = stream.read(2)
    if not (zipfile.is_zipfile(path) or start[:1] == b"\x80"):
        raise CheckpointError(
            f"{path.name} is not a PyTorch checkpoint, or only part of one: download the weights again."
        )
    try:
        content: object = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes of unknown origin make the reader fail in any way
        raise CheckpointError(
            blocked_by(path)
            or f"{path.name} is damaged, or holds code instead of plain weights and was not run: "
            "download the published weights."
        ) from error
    return content


def _unwrapped(content: object, file: str) -> dict[str, Tensor]:
    """Take the weights out of a training script's dictionary, and the parallel prefix off their names."""
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{file} holds no dictionary of weights: give a SAM checkpoint.")
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()):
        raise CheckpointError(not_weights(content, file))
    if all(name.startswith(_PARALLEL) for name in content):
        return {name.removeprefix(_PARALLEL): value for name, value in content.items()}
    return dict(content)


def blocked_by(path: Path) -> str | None:
    """Return the sentence for a file that `weights_only` refuses; None: nothing better is known.

    Args:
        path: the file, damaged or not.
    """
    start = f"{path.name} holds more than weights"
    key = _key_beside_namespace(path)
    if key is not None:
        remedy = _save(key, path.name, ", weights_only=False")
        return f"{start} (argparse.Namespace): its weights are under {key!r}; {remedy}."
    try:
        unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # damaged, or PyTorch's format of before 2020
        return None
    if not unsafe:
        return None
    return f"{start} ({_listed(unsafe)}) and was not loaded, as that could run code: {_ALONE}."


def not_weights(content: Mapping[object, object], file: str) -> str:
    """Return the sentence for a dictionary that was read, and holds things that are no tensors."""
    key = _weights_key(content)
    others = [str(name) for name, value in content.items() if name != key and not isinstance(value, Tensor)]
    if key is not None:
        beside = f" ({_listed(others)})" if others else ""
        return f"{file} holds more than weights{beside}: its weights are under {key!r}; {_save(key, file)}."
    held = f"values that are not tensors ({_listed(others)})" if others else "tensors without names"
    return f"{file} holds {held}: {_ALONE}."


def _save(key: str, file: str, how: str = "") -> str:
    source = f"torch.load({file!r}{how})[{key!r}]"
    return f"where it is your own, save them alone, torch.save({source}, 'weights.pth'), and give that file"


def _key_beside_namespace(path: Path) -> str | None:
    """Return the key of the weights in a file that only an `argparse.Namespace` keeps from being read."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # something else is in the way
        return None
    return _weights_key(content) if isinstance(content, Mapping) else None


def _weights_key(content: Mapping[object, object]) -> str | None:
    """Return the key of the first dictionary of tensors by name; an optimiser's state is not one."""
    return next((name for name, value in content.items() if isinstance(name, str) and _is_state(value)), None)


def _is_state(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items())
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
