"""From a run to a bundle: precision, calibration, second pass, parity, and an honest description of it."""

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adaloraqat.bundle import Bundle, Segmenter
from adaloraqat.datasets.manifest import Entry, evenly_spread, read_manifest
from adaloraqat.errors import ManifestError, RecipeError
from adaloraqat.export.bundle_writer import LICENCE, export_bundle, refuse_early, warn_of_range
from adaloraqat.export.films import CALIBRATION_FILMS, PARITY_FILMS, Pair, read_pairs
from adaloraqat.export.float_weights import refuse_filled, write_float_weights
from adaloraqat.export.layer_parity import layer_parity
from adaloraqat.export.mask_parity import installed_engines, mask_parities
from adaloraqat.export.sensitivity import AUTO, RANKING_FILMS, Films, Proposal, check_max_drop, propose
from adaloraqat.lowrank import merge_adapters
from adaloraqat.lowrank.lora import merge_lora
from adaloraqat.measure.overlap import dice
from adaloraqat.models.families import SegmentationModel, accepts_boxes
from adaloraqat.progress import Report
from adaloraqat.quantize.calibration import in_precision
from adaloraqat.quantize.policy import PrecisionPolicy, policy_named
from adaloraqat.radiograph import Box, Preprocessing
from adaloraqat.training.batches import calibration_batches
from adaloraqat.training.films import FilmSet
from adaloraqat.training.recipe import Recipe, public_document
from adaloraqat.training.run import (
    LoadedRun,
    knows_points,
    load_float_run,
    load_run,
    masks_trained,
    quality_trained,
    run_segmenter,
    trainable_parameters,
)
from adaloraqat.training.run_films import UsableFilms, choose_films
from adaloraqat.training.run_folder import RunFolder

logger = logging.getLogger(__name__)

SMALLEST_PART = 0.1
SECOND_PASS_MUST_GAIN = 5e-4  # Dice; less is noise on some thirty films
SPECKS_MAY_GO_FOR = 0.0005
"""Validation Dice that removing specks may cost: it hardly counts them, but HD95 and a reader's eye do."""
DEFAULT_MAX_DROP = 0.002


def export_run(
    folder: Path,
    out: Path,
    *,
    precision: str | None = None,
    weight_range: str | None = None,
    manifest: Path | None = None,
    name: str | None = None,
    stage: str | None = None,
    openvino: bool = False,
    max_drop: float = DEFAULT_MAX_DROP,
    licence: str = LICENCE,
    report: Report = logger.info,
) -> Bundle:
    """Write a finished stage of a run as a bundle.

    Args:
        folder: the run.
        out: the bundle to write.
        precision: `fp32`, `paper`, `int8`; None is what stage 2 trained, or int8 where there was no stage 2
            (fp32 for a network without prompts).
            Another precision than was trained is post-training quantisation, and the bundle says so. `auto`
            measures each group of layers on the validation films and keeps in float what costs too much.
        weight_range: `portable` or `full`; None is what stage 2 trained, or portable.
        manifest: films for calibration (train), and for choosing the second pass and measuring parity (val,
            or of no split); None looks for the manifest that the run was started with. Films that are missing
            or cannot be read are left out with a warning; the bundle says how many, in `training`.
        name: the bundle's name; None is the recipe's.
        stage: the finished stage to export; None is the last.
        openvino: also write OpenVINO IR (encoder and decoder, .xml and .bin) into the folder `openvino` of
            the bundle; parity in OpenVINO is then measured on it.
        max_drop: `auto` only: how much validation Dice INT8 may cost.
        licence: what the bundle says of its licence; what films and base weights allow is not known here.
        report: receives one line of progress at a time.

    Raises:
        CheckpointError: no finished stage.
        RecipeError: an unknown precision, or one that needs films for calibration and there are none.
        ManifestError: `manifest` cannot be used.
        FilmError: of the films for calibration, or of those for validation, not one can be read.
        OutputError: `out` exists and is not a bundle, or cannot be written.
        BundleError: `openvino`, and OpenVINO is not installed.
    """
    refuse_early(out, openvino)
    if precision == AUTO:
        check_max_drop(max_drop)
    run = load_run(folder, stage)
    merge_lora(run.model)
    trained = run.policy
    training, validation = _films(run, manifest or RunFolder(folder).manifest())
    usable = UsableFilms()
    calibration = functools.cache(lambda: _calibration(run, training, usable, report))
    proposal: Proposal | None = None
    if precision == AUTO:
        scored = _scored(run, training, validation, usable)
        validation = list(scored.entries)
        proposal = _proposed(run, weight_range, trained, calibration(), scored, max_drop, report)
    policy = proposal.policy if proposal else _wanted(precision, weight_range, trained, run.model)
    warn_of_range(policy)
    model, post_training = _in_precision(run, policy, trained, calibration)
    if post_training:
        report(
            f"{policy.name} ({policy.weight_range} range) is not what stage 2 trained: this is post-training "
            "quantisation, and the bundle says so"
        )
    films = read_pairs(evenly_spread(validation, PARITY_FILMS), usable)
    if not films:
        report(
            "no validation films, so parity and the gain of a second pass are not measured; give --data "
            "with films of split val"
        )
    if films:
        report(f"validating on {len(films)} films without a box: one pass, two passes, without specks")
    second_pass, smallest_part, metrics = choose_passes(
        functools.partial(run_segmenter, replace(run, model=model)), accepts_boxes(model), films
    )
    if proposal is not None:
        metrics |= {"auto": _described(proposal, max_drop)}
    report("writing the graphs" + (f" and measuring parity on {len(films)} films" if films else ""))
    bundle = export_bundle(
        model,
        out,
        policy=policy,
        preprocessing=run.preprocessing,
        name=name or run.recipe.name,
        outlines=run.recipe.outlines,
        second_pass=second_pass,
        smallest_part=smallest_part,
        quality_trained=quality_trained(run.recipe),
        training={
            "recipe": public_document(run.recipe),
            "data_fingerprint": run.fingerprint,
            "stage": run.stage,
            "post_training_quantisation": post_training,
            "films_left_out": len(usable.left_out),
        },
        metrics=metrics,
        trainable=trainable_parameters(folder, run.stage),
        openvino=openvino,
        licence=licence,
        accepts_points=accepts_boxes(model) and knows_points(run.recipe),
        prompt={"masks_trained": True} if masks_trained(run.recipe) else None,
        parity=(lambda written: measure_parity(model, run.preprocessing, written, films)) if films else None,
    )
    total = sum(record.bytes for record in bundle.files.values())
    report(f"{out.name}: {policy.name}, {total / 1e6:.2f} MB in {len(bundle.files)} files")
    return bundle


def export_base(folder: Path, out: Path, half: bool = False) -> str:
    """Write the last finished float stage of a run, adapters merged, as a new Hugging Face SAM folder.

    `half` stores matrices in 16 bits, half the size. Returns how transformers reads the folder.

    Raises:
        CheckpointError: there is no finished stage without quantisation.
        OutputError: `out` exists and is not an empty folder, or cannot be written.
    """
    refuse_filled(out)
    run = load_float_run(folder)
    merge_lora(run.model)
    if run.structure.ranks is not None:
        merge_adapters(run.model)
    return write_float_weights(run.model, out, half, run.preprocessing)


def choose_passes(
    segmenter: Callable[[bool, float], Segmenter], boxes: bool, films: Sequence[Pair]
) -> tuple[bool, float, dict[str, Any]]:
    """Decide by validation Dice, without a box, what is done beyond one plain pass.

    A second pass with the first mask's box, which decodes each film twice, stays only if it gains
    `SECOND_PASS_MUST_GAIN`, the removal of specks and pinholes unless
    it costs more than `SPECKS_MAY_GO_FOR`.

    Args:
        segmenter: gives the model to validate, by second pass and `smallest_part`.
        boxes: whether the model takes boxes.
        films: to validate on; none: nothing beyond a plain pass.

    Returns:
        whether there is a second pass, the bundle's `smallest_part`, and the scores.
    """
    if not films:
        return False, 0.0, {}
    candidates = {"one_pass": (False, 0.0), "second_pass": (True, 0.0), "tidy": (False, SMALLEST_PART)}
    if not boxes:
        del candidates["second_pass"]
    scores = {name: mean_dice(segmenter(*choice), films) for name, choice in candidates.items()}
    plain = scores["one_pass"]
    smallest = SMALLEST_PART if scores["tidy"] > plain - SPECKS_MAY_GO_FOR else 0.0
    dices = {f"dice_{name}": score for name, score in scores.items()}
    second = scores.get("second_pass", plain) >= plain + SECOND_PASS_MUST_GAIN
    return second, smallest, {"validation": {"films": len(films), **dices}}


def mean_dice(segmenter: Segmenter, films: Sequence[Pair]) -> float:
    """Return the mean Dice of films without a box, on their own grids."""
    return float(np.mean([dice(segmenter.segment(film).mask, truth) for _, film, truth in films]))


def measure_parity(
    model: SegmentationModel, preprocessing: Preprocessing, bundle: Path, films: Sequence[Pair]
) -> dict[str, Any]:
    """Compare a written bundle with the model it came from, in every installed engine.

    Returns:
        per engine the layer-by-layer errors (in LSB), then masks at the box of the truth, and without a box.
    """
    entries = [entry for entry, _, _ in films]
    pictures = [film for _, film, _ in films]
    boxes: list[Box | None] = [
        Box.around(truth) if truth.any() else Box.whole(film.shape) for _, film, truth in films
    ]
    image, frame = preprocessing(pictures[0].pixels, pictures[0].aspect)
    prompt = torch.from_numpy(frame.box_to_model(Box.whole(pictures[0].shape))).reshape(1, 1, 4)
    files = [bundle / "encoder.onnx", bundle / "decoder.onnx"]
    names = [entry.id for entry in entries]
    nowhere: list[Box | None] = [None] * len(pictures)
    if not accepts_boxes(model):
        return mask_parities(model, bundle, pictures, {"no_box": nowhere}, names=names)
    masks = mask_parities(model, bundle, pictures, {"true_box": boxes, "no_box": nowhere}, names=names)
    return {
        "layers": {
            engine: layer_parity(model, files, torch.from_numpy(image)[None], prompt, engine).to_dict()
            for engine in installed_engines()
        },
        **masks,
    }


def _wanted(
    precision: str | None, weight_range: str | None, trained: PrecisionPolicy | None, model: SegmentationModel
) -> PrecisionPolicy:
    boxes = accepts_boxes(model)
    if not boxes and precision not in (None, "fp32"):
        raise RecipeError(
            f"A network without prompts has no {precision} policy: export it with --precision fp32."
        )
    if trained is not None and precision is None and weight_range in (None, trained.weight_range):
        return trained  # where only a part was quantised, no shipped policy has its name
    default = trained.name if trained is not None else "int8" if boxes else "fp32"
    name = precision or default
    if weight_range is None and trained is not None and policy_named(name).weight_range == "portable":
        weight_range = trained.weight_range
    return policy_in_range(name, weight_range)


def policy_in_range(name: str, weight_range: str | None) -> PrecisionPolicy:
    """Return the policy called `name` in the weight range that a person asked for; None is the policy's own.

    Raises:
        RecipeError: there is no such policy or range.
    """
    if weight_range not in (None, "portable", "full"):
        raise RecipeError(f"There is no weight range {weight_range}; choose portable or full.")
    return policy_named(name, weight_range)  # type: ignore[arg-type]


def _proposed(
    run: LoadedRun,
    weight_range: str | None,
    trained: PrecisionPolicy | None,
    calibration: FilmSet,
    validation: FilmSet,
    max_drop: float,
    report: Report,
) -> Proposal:
    """Let the validation films decide which groups of layers become INT8."""
    count = _calibration_films(run.recipe)  # the same ranges as those that are exported
    films = Films(calibration, validation, run.preprocessing, count, run.recipe.seed, ranked=RANKING_FILMS)
    return propose(run.model, _wanted("int8", weight_range, trained, run.model), films, max_drop, report)


def _scored(
    run: LoadedRun, training: Sequence[Entry], validation: Sequence[Entry], usable: UsableFilms
) -> FilmSet:
    """Return the films that precision auto is measured on: of split val, nothing less."""
    validation = [entry for entry in validation if entry.split == "val"]
    if not training or not validation:
        raise RecipeError(
            "Precision auto measures what INT8 costs: give --data with films of split train and of split val."
        )
    return usable.load(validation, run.preprocessing)


def _described(proposal: Proposal, max_drop: float) -> dict[str, Any]:
    return {
        "max_drop": max_drop,
        "dice_float": proposal.dice_float,
        "dice": proposal.dice,
        "kept_float": list(proposal.kept_float),
        "groups": [asdict(group) for group in proposal.groups],
    }


def _films(run: LoadedRun, manifest: Path | None) -> tuple[list[Entry], list[Entry]]:
    """Return training and validation entries of a manifest, which may lack one of them or any split.

    Without a split val, films without a split validate; training films never do, nor test films.
    """
    if manifest is None:
        return [], []
    entries = read_manifest(manifest, files_exist=False)
    try:
        return choose_films(entries, run.recipe)
    except ManifestError:
        of = {split: [entry for entry in entries if entry.split == split] for split in ("train", "val", None)}
        return of["train"], of["val"] or of[None]


def _in_precision(
    run: LoadedRun,
    policy: PrecisionPolicy,
    trained: PrecisionPolicy | None,
    calibration: Callable[[], FilmSet],
) -> tuple[Any, bool]:
    if policy == trained or not policy.quantizes:
        return in_precision(run.model, policy, trained)
    count = _calibration_films(run.recipe)
    batches = calibration_batches(calibration(), run.preprocessing, count, run.recipe.seed)
    return in_precision(run.model, policy, trained, batches)


def _calibration(run: LoadedRun, training: Sequence[Entry], usable: UsableFilms, report: Report) -> FilmSet:
    """Return the training films that activation ranges are measured on."""
    if not training:
        raise RecipeError(
            "This precision was not trained by this run and needs calibration; give --data with a manifest "
            "that has films of split train."
        )
    films = usable.load(evenly_spread(training, _calibration_films(run.recipe)), run.preprocessing)
    report(f"calibrating activation ranges on {len(films)} films")
    return films


def _calibration_films(recipe: Recipe) -> int:
    counts = [stage.calibrated_on for stage in recipe.stages if stage.calibrated_on]
    return counts[-1] if counts else CALIBRATION_FILMS
