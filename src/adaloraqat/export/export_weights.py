"""From base weights or a finished bundle, by name, folder or file, to a bundle that segments at once."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adaloraqat.bundle import Bundle, load_bundle
from adaloraqat.bundle.format import MASK_PROMPT, PROPOSED_BOX, PROPOSED_LUNGS, WHOLE, Prompt
from adaloraqat.datasets.manifest import split_for_export
from adaloraqat.errors import CheckpointError, RecipeError
from adaloraqat.export.bundle_writer import INTENDED_USE, LICENCE, export_bundle, refuse_early, warn_of_range
from adaloraqat.export.export_run import (
    Report,
    choose_passes,
    mean_dice,
    measure_parity,
    policy_in_range,
)
from adaloraqat.export.films import Pair, calibration_films, validation_films
from adaloraqat.models.families import SegmentationModel
from adaloraqat.models.published import SHIPPED_BASE, Published, by_file_name, find, is_bundle
from adaloraqat.quantize.calibration import in_precision
from adaloraqat.quantize.policy import PrecisionPolicy
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training.run import load_published, model_segmenter
from adaloraqat.training.run_films import UsableFilms

logger = logging.getLogger(__name__)

DEFAULT = "fp32"
OUTLINES = "what the box encloses: a promptable model, not trained for lungs alone"
UNKNOWN_LICENCE = "Not known to this tool: see where the weights come from."


def export_weights(
    weights: str,
    out: Path,
    *,
    precision: str | None = None,
    weight_range: str | None = None,
    manifest: Path | None = None,
    name: str | None = None,
    openvino: bool = False,
    report: Report = logger.info,
) -> Bundle:
    """Write weights that nobody adapted here, or those of a bundle, as a bundle of another precision.

    A promptable model was not trained on whole films: without a box its bundle takes boxes that the small
    shipped model proposes, one for both lungs or one per lung, whichever validates better on `manifest` (one
    for both without films: it was better for LiteMedSAM on the validation films of three sources). A bundle
    keeps its prompt, its passes, its words and its licence; structures and quality were made for its own
    embeddings and masks, and are left out.

    Args:
        weights: as for `load_base`.
        out: the bundle to write.
        precision: a policy; None is `fp32`. Integers are calibrated on films: post-training quantisation.
        weight_range: `portable` or `full`; None is the policy's own.
        manifest: films: those of split train calibrate, those of split val choose the prompt and measure
            parity. Of films without a split every second one calibrates, the others measure.
        name: the bundle's name; None is that of the weights.
        openvino: also write OpenVINO IR.
        report: receives one line of progress at a time.

    Raises:
        CheckpointError: the weights cannot be used.
        RecipeError: an unknown precision or range, or films are needed and there are none.
        ManifestError: `manifest` cannot be used.
        FilmError: no film can be read.
        OutputError: `out` exists and is not a bundle, or cannot be written.
        BundleError: `openvino`, and OpenVINO is not installed.
    """
    refuse_early(out, openvino)
    policy = policy_in_range(precision or DEFAULT, weight_range)
    training, validation = split_for_export(manifest)
    if policy.quantizes and not training:
        raise RecipeError(
            f"{policy.name} needs films to calibrate on: give --data with films in split train, or without a "
            "split."
        )
    warn_of_range(policy)
    report(f"reading {Path(weights).name}")
    float_model, structure = load_published(weights)
    preprocessing, usable = structure.preprocessing_at(), UsableFilms()
    batches = calibration_films(training, preprocessing, usable, report) if policy.quantizes else ()
    model, _ = in_precision(float_model, policy, None, batches)
    pairs = validation_films(validation, preprocessing, usable)
    entry = find(weights) or by_file_name(weights)
    given = load_bundle(weights) if is_bundle(weights) else None
    if given is not None and given.precision.weight_range != "none":
        raise CheckpointError(f"{given.name} computes in INT8: export the run that it was exported from.")
    metrics: dict[str, Any] = {}
    if given is not None:
        prompt, smallest_part = given.prompt, given.smallest_part
        if given.has_structures or given.quality:
            report(f"structures and quality of {given.name} are left out: `adaloraqat extend` makes new ones")
    else:
        prompt, smallest_part, metrics = _prompt(model, preprocessing, weights, entry, pairs, report)
    report("writing the graphs" + (f" and measuring parity on {len(pairs)} films" if pairs else ""))
    bundle = export_bundle(
        model,
        out,
        policy=policy,
        preprocessing=preprocessing,
        name=name or (given.name if given else entry.name if entry else Path(weights).stem),
        outlines=_outlines(prompt, given),
        second_pass=prompt.second_pass,
        smallest_part=smallest_part,
        quality_trained=prompt.quality_trained,
        training=_training(weights, entry, policy, len(usable.left_out), given),
        ranks=dict(given.ranks) if given else None,
        metrics=metrics,
        prompt={
            key: value
            for key, value in prompt.to_dict().items()
            if key in ("automatic", "proposer", "masks_trained")
        },
        openvino=openvino,
        accepts_points=MASK_PROMPT in given.files if given else weights != SHIPPED_BASE,
        parity=(lambda written: measure_parity(model, preprocessing, written, pairs)) if pairs else None,
        licence=given.licence if given else _licence(weights, entry),
        intended_use=given.intended_use if given else INTENDED_USE,
    )
    report(f"{out.name}: {policy.name}, {sum(f.bytes for f in bundle.files.values()) / 1e6:.2f} MB")
    return bundle


def _prompt(
    model: SegmentationModel,
    preprocessing: Preprocessing,
    weights: str,
    entry: Published | None,
    films: Sequence[Pair],
    report: Report,
) -> tuple[Prompt, float, dict[str, Any]]:
    """Choose by validation what stands in for a box."""
    if weights == SHIPPED_BASE:  # it was trained on whole films
        segmenter = functools.partial(_whole_film, model, preprocessing)
        second_pass, smallest_part, metrics = choose_passes(segmenter, True, films)
        return Prompt(second_pass, quality_trained=True), smallest_part, metrics
    trained = entry is not None
    masks = entry is not None and entry.masks_trained
    if not films:
        report(
            "no validation films: the automatic prompt and parity are not measured; give --data with films "
            "of split val"
        )
        return Prompt(False, trained, automatic=PROPOSED_BOX, masks_trained=masks), 0.0, {}
    report(f"choosing the automatic prompt on {len(films)} validation films")
    choices = (PROPOSED_BOX, PROPOSED_LUNGS)
    prompts = [Prompt(False, trained, automatic=choice, masks_trained=masks) for choice in choices]
    scores = [mean_dice(model_segmenter(model, preprocessing, prompt), films) for prompt in prompts]
    best = prompts[scores[1] > scores[0]]
    dices = {f"dice_{prompt.automatic}": score for prompt, score in zip(prompts, scores, strict=True)}
    for prompt, score in zip(prompts, scores, strict=True):
        report(f"{prompt.automatic}: validation Dice {score:.4f}")
    return best, 0.0, {"validation": {"films": len(films), **dices}}


def _whole_film(
    model: SegmentationModel, preprocessing: Preprocessing, second_pass: bool, smallest_part: float
) -> Any:
    return model_segmenter(model, preprocessing, Prompt(second_pass, True), smallest_part=smallest_part)


def _outlines(prompt: Prompt, given: Bundle | None) -> str:
    if given is not None:
        return given.outlines
    return OUTLINES if prompt.automatic != WHOLE else "the lungs as outlined in the training masks"


def _training(
    weights: str, entry: Published | None, policy: PrecisionPolicy, left_out: int, given: Bundle | None
) -> dict[str, Any]:
    if given is not None:
        made = {"exported_from": given.name, "precision_before": given.precision.policy}
        return {
            **given.training,
            **made,
            "post_training_quantisation": policy.quantizes,
            "films_left_out": left_out,
        }
    document: dict[str, Any] = {
        "weights": entry.name if entry else Path(weights).name,
        "stage": "none: not adapted here",
        "post_training_quantisation": policy.quantizes,
        "films_left_out": left_out,
    }
    if entry is not None:
        document |= {"origin": str(entry.origin), "about": entry.about, "caution": entry.caution}
    return document


def _licence(weights: str, entry: Published | None) -> str:
    if weights == SHIPPED_BASE:
        return LICENCE
    return (
        UNKNOWN_LICENCE if entry is None else f"{entry.licence}, as published; see THIRD_PARTY_LICENCES.md."
    )
