"""The names in the checkpoints that AdaLoRA-QAT's public code writes, and what each of their tensors is.

The authors' model is `sam` (transformers' `SamModel`) whose `attn.qkv` became a module of its own: the frozen
projection lies one level deeper (`attn.qkv.qkv`), beside it P, Λ and Q of q, k and v, one mask each, and
training statistics that no forward pass uses. A list `adalora_modules` holds the same modules once more, so
that a state dictionary names their tensors twice. The files that hold adapters alone call them `layer_N_P_q`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adaloraqat.errors import CheckpointError

PROJECTIONS = ("q", "k", "v")
ADAPTER_TENSORS = tuple(f"{part}_{name}" for name in PROJECTIONS for part in ("P", "Lambda", "Q", "mask"))
"""What each adapted block must hold: P (d, r), Lambda (r,), Q (r, in) and mask (r,) of q, k and v."""

_UNUSED = frozenset({*(f"importance_{name}" for name in PROJECTIONS), "importance_ema", "qat_mode"})
_PROJECTION = ("qkv.weight", "qkv.bias")
_COPIES = "adalora_modules."
_OWN = re.compile(r"\.attn\.qkv\.(?:qkv\.(?:weight|bias)|(?:P|Lambda|Q)_[qkv])$")
_PREFIX = re.compile(r"(.*?)(?:vision_encoder|prompt_encoder|mask_decoder|shared_image_embedding)\.")
_QKV = re.compile(r"vision_encoder\.layers\.(\d+)\.attn\.qkv\.(.+)")
_COPY = re.compile(r"(\d+)\.(.+)")
_ALONE = re.compile(r"layer_(\d+)_((?:P|Lambda|Q|importance|mask)_[qkv]|current_rank)")

Adapters = dict[int, dict[str, Tensor]]
"""{encoder block: {name of `ADAPTER_TENSORS`: tensor}}."""


@dataclass(frozen=True)
class Parts:
    """What a whole checkpoint consists of.

    Attributes:
        base: the tensors of the SAM without its adapters, under transformers' names.
        adapters: those of the adapted blocks.
        qat_mode: the file's mark of stage 2; None where it has none, or where blocks differ.
        prefix: what stood before every name of the SAM.
        copied: whether the adapted blocks stood there twice (and were equal).
    """

    base: dict[str, Tensor]
    adapters: Adapters
    qat_mode: bool | None
    prefix: str
    copied: bool


def is_adalora_qat_naming(names: Iterable[str]) -> bool:
    """Return whether these are tensor names of a model of AdaLoRA-QAT's public code."""
    return any(_OWN.search(name) or _COPIES in name for name in names)


def split(state: Mapping[str, Tensor], file: str) -> Parts:
    """Sort the tensors of a whole checkpoint; the second copies are compared and left out.

    Raises:
        CheckpointError: other names, a part of an adapter or of a projection is missing, the two copies of a
            block contradict each other, or there are NaN.
    """
    prefix = _prefix_of(state, file)
    copies_prefix = prefix.removesuffix("sam.") + _COPIES
    foreign = [name for name in state if not name.startswith((prefix, copies_prefix))]
    if foreign:
        raise CheckpointError(
            f"{file} holds {len(foreign)} tensors that AdaLoRA-QAT's code does not have "
            f"({', '.join(sorted(foreign)[:3])}): give a checkpoint as that code writes it."
        )
    check_finite(state, file)
    base: dict[str, Tensor] = {}
    blocks: Adapters = {}
    for name, tensor in state.items():
        if name.startswith(copies_prefix):
            continue
        match = _QKV.fullmatch(name.removeprefix(prefix))
        if match and match.group(2) not in ("weight", "bias"):  # the plain ones: a block without adapters
            blocks.setdefault(int(match.group(1)), {})[match.group(2)] = tensor
        else:
            base[name.removeprefix(prefix)] = tensor
    places = sorted(blocks)
    for block in places:
        _check_block(block, blocks[block], base, f"{prefix}{_qkv(block)}", file)
    copied = _check_copies(state, copies_prefix, [blocks[place] for place in places], file)
    for block in places:
        for leaf in _PROJECTION:
            base[f"{_qkv(block)}.{leaf.removeprefix('qkv.')}"] = blocks[block][leaf]
    modes = {bool(found["qat_mode"]) for found in blocks.values() if "qat_mode" in found}
    adapters = {block: {part: blocks[block][part] for part in ADAPTER_TENSORS} for block in places}
    return Parts(base, adapters, modes.pop() if len(modes) == 1 else None, prefix, copied)


def adapters_alone(content: Mapping[str, Any], file: str) -> Adapters:
    """Return the adapters of a file that holds nothing else (`best_adalora_*.pth`).

    Args:
        content: the file's dictionary, with `adalora_state_dict` and, usually, `lora_layers`.
        file: name for messages.

    Raises:
        CheckpointError: other names, a missing part, NaN, or blocks that cannot be told.
    """
    state = content["adalora_state_dict"]
    if not isinstance(state, dict) or not state:
        raise CheckpointError(f"{file} holds no adapters: give a checkpoint as AdaLoRA-QAT's code writes it.")
    numbered: Adapters = {}
    for name, value in state.items():
        match = _ALONE.fullmatch(str(name))
        if match is None or not (isinstance(value, Tensor) or match.group(2) == "current_rank"):
            raise CheckpointError(
                f"{file} holds {name!r} among its adapters, which AdaLoRA-QAT's code does not write: give a "
                "checkpoint as that code writes it."
            )
        if isinstance(value, Tensor):
            numbered.setdefault(int(match.group(1)), {})[match.group(2)] = value.detach()
    for number, found in numbered.items():
        check_finite({f"layer_{number}_{part}": tensor for part, tensor in found.items()}, file)
        _check_tensors(found, ADAPTER_TENSORS, [f"layer_{number}_{part}" for part in ADAPTER_TENSORS], file)
    blocks = _numbered_blocks(sorted(numbered), content.get("lora_layers"), file)
    return {
        block: {part: numbered[number][part] for part in ADAPTER_TENSORS} for number, block in blocks.items()
    }


def check_finite(state: Mapping[str, Tensor], file: str) -> None:
    """Refuse NaN and infinite numbers.

    Raises:
        CheckpointError: a tensor holds some; the message names it.
    """
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{file} holds NaN or infinite numbers in {name}: download the file again.")


def without_prefix(name: str) -> str:
    """Return a name of the SAM in the authors' model as transformers' `SamModel` has it."""
    match = _PREFIX.match(name)
    return name.removeprefix(match.group(1)) if match else name


def _qkv(block: int) -> str:
    return f"vision_encoder.layers.{block}.attn.qkv"


def _prefix_of(state: Mapping[str, Tensor], file: str) -> str:
    """Return what stands before the SAM's names: `sam.`, and whatever wrapped the authors' model."""
    found = {match.group(1) for name in state if (match := _PREFIX.match(name))}
    if not found:
        raise CheckpointError(
            f"{file} holds adapters without the SAM they belong to: give the whole checkpoint "
            "(best_model_*.pth), or best_adalora_*.pth with --base."
        )
    if len(found) > 1:
        shown = " and ".join(repr(prefix) for prefix in sorted(found)[:2])
        raise CheckpointError(
            f"{file} holds names that begin with {shown}, so its parts are not of one model: give a "
            "checkpoint as AdaLoRA-QAT's code writes it."
        )
    return found.pop()


def _check_block(
    block: int, found: dict[str, Tensor], base: Mapping[str, Tensor], where: str, file: str
) -> None:
    unknown = sorted(found.keys() - {*ADAPTER_TENSORS, *_PROJECTION, *_UNUSED})
    if unknown:
        raise CheckpointError(
            f"{file} holds {where}.{unknown[0]}, which AdaLoRA-QAT's code does not have: give a checkpoint "
            "as that code writes it."
        )
    if f"{_qkv(block)}.weight" in base or f"{_qkv(block)}.bias" in base:
        raise CheckpointError(
            f"{file} holds the projection of block {block} twice, with adapters and without: give a "
            "checkpoint as AdaLoRA-QAT's code writes it."
        )
    needed = (*_PROJECTION, *ADAPTER_TENSORS)
    _check_tensors(found, needed, [f"{where}.{part}" for part in needed], file)


def _check_tensors(found: Mapping[str, Tensor], needed: Iterable[str], names: list[str], file: str) -> None:
    missing = [name for part, name in zip(needed, names, strict=True) if part not in found]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CheckpointError(f"{file} lacks {missing[0]}{more}: download the file again.")


def _check_copies(
    state: Mapping[str, Tensor], prefix: str, blocks: list[dict[str, Tensor]], file: str
) -> bool:
    """Compare the second copies with the adapted blocks, which they number from 0; tell whether there are."""
    copies: Adapters = {}
    for name in state:
        if name.startswith(prefix):
            match = _COPY.fullmatch(name.removeprefix(prefix))
            number, leaf = (int(match.group(1)), match.group(2)) if match else (-1, name)
            if not 0 <= number < len(blocks) or leaf not in blocks[number]:
                raise CheckpointError(
                    f"{file} holds {name}, a second copy of what it does not hold: give a checkpoint as "
                    "AdaLoRA-QAT's code writes it."
                )
            copies.setdefault(number, {})[leaf] = state[name]
    if not copies:
        return False
    for number, block in enumerate(blocks):
        for leaf, tensor in block.items():
            copy = copies.get(number, {}).get(leaf)
            if copy is None:
                raise CheckpointError(f"{file} lacks {prefix}{number}.{leaf}: download the file again.")
            if copy.shape != tensor.shape or not torch.equal(copy.double(), tensor.double()):
                raise CheckpointError(
                    f"{file} contradicts itself: {prefix}{number}.{leaf} differs from the same tensor under "
                    "its own name, and only one can be right; ask for the file again."
                )
    return True


def _numbered_blocks(numbers: list[int], layers: object, file: str) -> dict[int, int]:
    """Return {number in the file: encoder block}; numbers count the adapted blocks, or are the blocks'."""
    if layers is None or (isinstance(layers, list | tuple) and sorted(layers) == numbers):
        return {number: number for number in numbers}
    if isinstance(layers, list | tuple) and numbers == list(range(len(layers))):
        return dict(zip(numbers, sorted(layers), strict=True))
    raise CheckpointError(
        f"{file} holds adapters {numbers} and says that blocks {layers} were adapted: the two do not fit."
    )
