"""From a checkpoint that the authors of AdaLoRA-QAT publish to a bundle, or to float weights."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import SamModel

from adaloraqat.bundle import Bundle, Segmenter
from adaloraqat.bundle.format import Prompt
from adaloraqat.datasets.manifest import split_for_export
from adaloraqat.errors import RecipeError
from adaloraqat.export.bundle_writer import export_bundle, refuse_early, warn_of_range
from adaloraqat.export.checkpoint_sizes import rounded_layers, size_sentences, sizes
from adaloraqat.export.export_run import (
    Report,
    choose_passes,
    measure_parity,
    policy_in_range,
)
from adaloraqat.export.films import Pair, calibration_films, validation_films
from adaloraqat.export.float_weights import refuse_filled, write_float_weights
from adaloraqat.export.mask_parity import agreement
from adaloraqat.export.sensitivity import AUTO
from adaloraqat.files import sha256
from adaloraqat.measure.overlap import dice
from adaloraqat.models.adalora_qat_checkpoint import (
    AdaLoRAQATCheckpoint,
    read_adalora_qat,
    sam_preprocessing,
)
from adaloraqat.quantize.calibration import in_precision
from adaloraqat.quantize.policy import PrecisionPolicy, policy_named
from adaloraqat.radiograph import Box, Preprocessing
from adaloraqat.training.run import model_segmenter
from adaloraqat.training.run_films import UsableFilms

logger = logging.getLogger(__name__)

DEFAULT = "reference"
LICENCE = "Not stated by its authors: ask them before you use or pass on these weights."
OUTLINES = (
    "lungs, as the authors' training data has them: masks of several collections and conventions (the "
    "visible lung field in some, the whole lung in others), so the outline behind the heart may be either"
)
TRAINED_BOXES = (
    "boxes around both lungs, each side 0 to 20 of 512 px outside the mask; never the whole film, never one "
    "lung"
)
RANGES = "ours, calibrated on films here: the checkpoint rounds no activation and holds no range"

_LARGE_FILE = 50_000_000  # bytes; smaller ones are read in no time


@dataclass(frozen=True)
class Options:
    """How a checkpoint is to be read: as `read_adalora_qat`."""

    alpha: float | None = None
    target_rank: int | None = None
    base: str | None = None


def export_checkpoint(
    file: Path,
    out: Path,
    options: Options = Options(),
    *,
    precision: str | None = None,
    weight_range: str | None = None,
    manifest: Path | None = None,
    name: str | None = None,
    openvino: bool = False,
    report: Report = logger.info,
) -> Bundle:
    """Write a published checkpoint, its adapters merged, as a bundle.

    Args:
        file: `best_model_stage2_int8.pth`, `best_model_stage1_fp32.pth`, or `best_adalora_*.pth` with a base.
        out: the bundle to write.
        options: scaling of the adapters, and a base.
        precision: a policy; None is `reference`: the layers that the published code rounds, as it rounds
            them, with activation ranges of our own. `reference-weights` has the same integers and computes in
            float32, as the published code does. Others round other layers: post-training quantisation.
        weight_range: `portable` or `full`; None is the policy's own, the full one for `reference`.
        manifest: films: those of split train calibrate, those of split val choose the second pass and measure
            parity. Of films without a split every second one calibrates, the others measure.
        name: the bundle's name; None is the file's.
        openvino: also write OpenVINO IR.
        report: receives one line of progress at a time.

    Raises:
        CheckpointError: the file cannot be used.
        RecipeError: an unknown precision, range or scaling, or films are needed and there are none.
        ManifestError: `manifest` cannot be used.
        FilmError: no film can be read.
        OutputError: `out` exists and is not a bundle, or cannot be written.
        BundleError: `openvino`, and OpenVINO is not installed.
    """
    refuse_early(out, openvino)
    policy = _policy(precision, weight_range)
    training, validation = split_for_export(manifest)
    if policy.quantizes and not training:
        raise RecipeError(
            f"{file.name} holds no activation range, so {policy.name} needs films to calibrate on: give "
            "--data with films in split train, or without a split."
        )
    checkpoint = _read(file, options, report)
    for sentence in _about(checkpoint, policy):
        report(sentence)
    warn_of_range(policy)
    preprocessing = sam_preprocessing(checkpoint.model.config.vision_config.image_size)
    usable = UsableFilms()
    batches = calibration_films(training, preprocessing, usable, report) if policy.quantizes else ()
    model, _ = in_precision(checkpoint.model, policy, None, batches)
    films = validation_films(validation, preprocessing, usable)
    second_pass, smallest_part, metrics = _validated(checkpoint, model, preprocessing, films, report)
    report("writing the graphs" + (f" and measuring parity on {len(films)} films" if films else ""))
    size = file.stat().st_size
    bundle = export_bundle(
        model,
        out,
        policy=policy,
        preprocessing=preprocessing,
        name=name or file.stem,
        outlines=OUTLINES,
        second_pass=second_pass,
        smallest_part=smallest_part,
        quality_trained=False,  # no loss of the published code reaches the quality head
        training={
            **_training(checkpoint, policy),
            "checkpoint": {"file": file.name, "bytes": size, "sha256": sha256(file)},
            "base": Path(options.base).name if options.base else None,
            "films_left_out": len(usable.left_out),
        },
        metrics=metrics,
        ranks=checkpoint.ranks,
        prompt={"trained_boxes": TRAINED_BOXES},
        measured=lambda written: {"sizes": sizes(checkpoint, size, _bytes_in(written))},
        openvino=openvino,
        accepts_points=True,  # its prompt encoder is SAM's own
        parity=(lambda written: measure_parity(model, preprocessing, written, films)) if films else None,
        licence=LICENCE,
    )
    report(_stored_sentence(bundle, policy, checkpoint.model))
    for sentence in size_sentences(file.name, dict(bundle.metrics["sizes"])):
        report(sentence)
    report(f"{out.name}: {policy.name}, {sum(f.bytes for f in bundle.files.values()) / 1e6:.2f} MB")
    return bundle


def export_checkpoint_base(
    file: Path, out: Path, options: Options = Options(), half: bool = False, report: Report = logger.info
) -> str:
    """Write a published checkpoint, adapters merged and nothing rounded, as a Hugging Face SAM folder.

    Returns how transformers reads the folder.

    Raises:
        CheckpointError: the file cannot be used.
        RecipeError: the scaling or the base cannot be used.
        OutputError: `out` exists and is not an empty folder, or cannot be written.
    """
    refuse_filled(out)
    checkpoint = _read(file, options, report)
    report(_scaling_sentence(checkpoint))
    return write_float_weights(checkpoint.model, out, half)


def _read(file: Path, options: Options, report: Report) -> AdaLoRAQATCheckpoint:
    if file.is_file() and file.stat().st_size > _LARGE_FILE:
        report(f"reading {file.name}")
    return read_adalora_qat(file, options.alpha, options.target_rank, options.base)


def _policy(precision: str | None, weight_range: str | None) -> PrecisionPolicy:
    if precision == AUTO:
        raise RecipeError(
            "Precision auto is for runs: export the checkpoint as reference, reference-weights, paper, int8 "
            "or fp32."
        )
    return policy_in_range(precision or DEFAULT, weight_range)


def _about(checkpoint: AdaLoRAQATCheckpoint, policy: PrecisionPolicy) -> Iterator[str]:
    """Say what was found in the file, and what the export makes of it."""
    stage = {1: "stage 1, trained in float", 2: "stage 2, trained with rounded weights"}
    yield (
        f"{checkpoint.file}: {stage.get(checkpoint.stage or 0, 'of a stage that it does not tell')}; it "
        "holds floats only, no integers and no scales"
    )
    ranks = sorted(set(checkpoint.ranks.values()))
    shown = str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"
    yield f"adapters of rank {shown} in {len(checkpoint.ranks)} projections are merged into qkv"
    yield _scaling_sentence(checkpoint)
    yield from checkpoint.notices
    yield from _contradictions(checkpoint)
    if policy.quantizes:
        yield f"activation ranges are {RANGES}"
    if _post_training(checkpoint, policy):
        yield (
            f"{policy.name} is not what this file was trained with: this is post-training quantisation, and "
            "the bundle says so"
        )
    yield (
        "the model was trained with boxes close around both lungs only, and does less well on a film "
        "without a box: give --box where you can"
    )


def _scaling_sentence(checkpoint: AdaLoRAQATCheckpoint) -> str:
    scaling = checkpoint.scaling
    return (
        f"adapters are multiplied by alpha / target_rank = {scaling.alpha:g} / {scaling.target_rank} = "
        f"{scaling.factor:g} ({scaling.source})"
    )


def _contradictions(checkpoint: AdaLoRAQATCheckpoint) -> Iterator[str]:
    """Say where the file's rounded layers differ from those of the published code."""
    ours = set(rounded_layers(checkpoint.model))
    told = checkpoint.provenance.get("quantized_layers")
    if told is not None and told != len(ours):
        yield f"the file says that {told} layers were rounded; the published code, as done here, {len(ours)}"
    if checkpoint.rounded and checkpoint.rounded != ours:
        odd = sorted(checkpoint.rounded ^ ours)
        yield (
            f"the file's list of rounded layers differs from what the published code rounds ({odd[0]}): its "
            "list is not used"
        )


def _post_training(checkpoint: AdaLoRAQATCheckpoint, policy: PrecisionPolicy) -> bool:
    """Whether weights are rounded otherwise than they were in training."""
    if all(precision == "float32" for precision in policy.describe(checkpoint.model).values()):
        return False
    reference = policy in (policy_named(DEFAULT), policy_named("reference-weights"))
    return not (reference and checkpoint.stage == 2)


def _training(checkpoint: AdaLoRAQATCheckpoint, policy: PrecisionPolicy) -> dict[str, Any]:
    """What the bundle says of how the model came to be: the file's own words, and ours."""
    scaling = checkpoint.scaling
    return {
        **checkpoint.provenance,
        "stage": f"stage{checkpoint.stage}" if checkpoint.stage else "not told by the file",
        "whole_checkpoint": checkpoint.whole,
        "scaling": {
            "alpha": scaling.alpha,
            "target_rank": scaling.target_rank,
            "value": scaling.factor,
            "source": scaling.source,
        },
        "adapter_parameters": checkpoint.adapter_parameters,
        "post_training_quantisation": _post_training(checkpoint, policy),
        "activation_ranges": RANGES if policy.quantizes else "none: activations are not rounded",
        "trained_boxes": TRAINED_BOXES,
        "notices": [*checkpoint.notices, *_contradictions(checkpoint)],
    }


def _validated(
    checkpoint: AdaLoRAQATCheckpoint,
    model: SamModel,
    preprocessing: Preprocessing,
    films: Sequence[Pair],
    report: Report,
) -> tuple[bool, float, dict[str, Any]]:
    """Choose the second pass by validation, and measure what the export changed of the file's own answers.

    Without films the second pass stays: the model was not trained with a box of the whole film.
    """
    if not films:
        report(
            "no validation films, so parity and the gain of a second pass are not measured; give --data "
            "with films of split val"
        )
        return True, 0.0, {}

    def segmenter(second_pass: bool, smallest_part: float = 0.0) -> Segmenter:
        prompt = Prompt(second_pass, quality_trained=False)
        return model_segmenter(model, preprocessing, prompt, smallest_part=smallest_part)

    report(f"validating on {len(films)} films without a box, one pass and two")
    second_pass, smallest_part, metrics = choose_passes(segmenter, True, films)
    report(f"comparing with the file's own forward pass on {len(films)} films, with the box of the truth")
    own = policy_named("reference-weights" if checkpoint.stage == 2 else "fp32")
    theirs, _ = in_precision(checkpoint.model, own, None)
    other = model_segmenter(theirs, preprocessing, Prompt(False, quality_trained=False))
    return (
        second_pass,
        smallest_part,
        {**metrics, "own_forward_pass": _compared(segmenter(False), other, films)},
    )


@torch.no_grad()
def _compared(ours: Segmenter, theirs: Segmenter, films: Iterable[Pair]) -> dict[str, Any]:
    """Compare masks with the box of the truth: to one another, and each with the truth."""
    equal, mutual, scores = [], [], []
    for _, film, truth in films:
        box = Box.around(truth) if truth.any() else Box.whole(film.shape)
        one, other = ours.segment(film, box).mask, theirs.segment(film, box).mask
        found = agreement(one, other)
        equal.append(found.equal)
        mutual.append(found.dice)
        scores.append((dice(one, truth), dice(other, truth)))
    here, there = np.mean(np.array(scores), axis=0)
    return {
        "films": len(equal),
        "equal_pixels": float(np.mean(equal)),
        "dice_between": float(np.mean(mutual)),
        "dice_true_box": float(here),
        "dice_true_box_own_forward_pass": float(there),
    }


def _stored_sentence(bundle: Bundle, policy: PrecisionPolicy, model: SamModel) -> str:
    integer = {name for name, kind in policy.describe(model).items() if kind.startswith("int8")}
    stored = integer & set(bundle.precision.modules)
    return (
        f"{len(integer)} layers are INT8 in {policy.name}, {len(stored)} of them in the files: a box "
        "needs no others"
    )


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
