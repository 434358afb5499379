"""The models of runs: loaded from a stage; as start or teacher of another training; as a Segmenter."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adaloraqat.bundle.engine import FloatArray
from adaloraqat.bundle.format import BOX_LABELS, Bundle, Prompt, StoredPrecision, load_bundle
from adaloraqat.bundle.segmenter import Segmenter
from adaloraqat.bundle.shipped import is_model_name
from adaloraqat.errors import CheckpointError, FilmError, RecipeError
from adaloraqat.lowrank.adalora import merge_adapters
from adaloraqat.lowrank.lora import merge_lora
from adaloraqat.models.checkpoints import load_base
from adaloraqat.models.families import SegmentationModel, accepts_boxes, build, resize
from adaloraqat.models.lite_medsam import LiteMedSam, with_fine_grid
from adaloraqat.models.published import SHIPPED_BASE, is_bundle, is_name, preprocessing_of
from adaloraqat.models.registry import architecture
from adaloraqat.models.sam import architecture_of, decode, encode
from adaloraqat.quantize.policy import PrecisionPolicy
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training.recipe import BaseModelChoice, Recipe, load_recipe
from adaloraqat.training.run_folder import RECIPE, RunFolder, load_document, load_tensors
from adaloraqat.training.structure import Structure, build_model


@dataclass(frozen=True)
class LoadedRun:
    """One stage's model of a run, with all that describes it.

    `result` is that stage's entry of result.json; `fingerprint` identifies the films it was trained on.
    """

    model: SegmentationModel
    structure: Structure
    preprocessing: Preprocessing
    recipe: Recipe
    stage: str
    result: dict[str, Any]
    fingerprint: str

    @property
    def policy(self) -> PrecisionPolicy | None:
        """The precision policy that the stage trained with; None in floating point."""
        return PrecisionPolicy.from_dict(self.structure.policy) if self.structure.policy else None


def is_run(folder: Path) -> bool:
    """Whether `folder` holds a run (its recipe at least)."""
    return (folder / RECIPE).is_file()


def finished_stages(folder: Path) -> list[str]:
    """Return the names of the stages that are finished, in order.

    Raises:
        CheckpointError: `folder` holds no run.
    """
    if not is_run(folder):
        raise CheckpointError(f"{folder.name} holds no run; give a folder made by `adaloraqat train --out`.")
    recipe = load_recipe(folder / RECIPE)
    run = RunFolder(folder)
    return [stage.name for stage in recipe.stages if run.stage_path(stage.name).exists()]


def trainable_parameters(folder: Path, last: str | None = None) -> dict[str, int]:
    """Return how many parameters each finished stage of a run trained, by the stage's name, up to `last`."""
    run, names = RunFolder(folder), finished_stages(folder)
    if last is not None:
        names = names[: names.index(last) + 1]
    return {
        name: int(load_document(run.stage_path(name))["result"]["trainable_parameters"]) for name in names
    }


def load_float_run(folder: Path) -> LoadedRun:
    """Load the last finished stage that is not quantised, adapters and all.

    Raises:
        CheckpointError: there is none, or its weights are damaged.
    """
    for stage in reversed(finished_stages(folder)):
        run = load_run(folder, stage)
        if run.structure.policy is None:
            return run
    raise CheckpointError(f"{folder.name} has no finished stage in floating point to start from.")


def load_run(folder: Path, stage: str | None = None) -> LoadedRun:
    """Load the model that a stage ended with; the last finished stage without `stage`.

    Raises:
        CheckpointError: no run, no finished stage, no stage of that name, or damaged weights.
    """
    names = finished_stages(folder)
    if not names:
        raise CheckpointError(
            f"{folder.name} has no finished stage yet; continue it with `adaloraqat train --resume`."
        )
    chosen = stage or names[-1]
    if chosen not in names:
        raise CheckpointError(f"{folder.name} has no finished stage {chosen}; it has {', '.join(names)}.")
    run = RunFolder(folder)
    tensors, document = load_tensors(run.stage_path(chosen))
    try:
        structure = Structure(**document["structure"])
        preprocessing = Preprocessing.from_dict(document["preprocessing"])
        model = build_model(structure)
        model.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"The weights of stage {chosen} in {folder.name} are damaged; train it again."
        ) from error
    model.eval()
    return LoadedRun(
        model,
        structure,
        preprocessing,
        load_recipe(folder / RECIPE),
        chosen,
        document["result"],
        run.identity(),
    )


def load_start(base: BaseModelChoice, seed: int) -> tuple[SegmentationModel, Structure]:
    """Return the model that training starts from; random weights are seeded, the global seed stays.

    `weights` may also name a run: its last float stage is the start, adapters and all, so that several second
    stages can follow one first stage.

    Raises:
        CheckpointError: the weights cannot be read.
        RecipeError: the config does not fit, or a run works at another image size.
    """
    if base.weights is not None and names_run(base.weights):
        run = load_float_run(Path(base.weights))
        size = run.structure.architecture["image_size"]
        if base.image_size not in (None, size):
            raise RecipeError(
                f"{Path(base.weights).name} works at {size} px: leave base.image_size out, or give a full "
                "stage an image_size."
            )
        model, structure = run.model, run.structure
    elif base.weights is None:
        model = _random(base, seed)
        structure = Structure(architecture_of(model))
    else:
        model, structure = load_published(base.weights, base.image_size, base.decoder_norm_eps)
    if base.fine_grid:
        model, structure = _finer(model, structure, seed)
    return model, _with_preprocessing(structure, base)


def load_published(
    weights: str, image_size: int | None = None, decoder_norm_eps: float | None = None
) -> tuple[SegmentationModel, Structure]:
    """Load a base by name, folder or file, with the preprocessing that it brings.

    Raises:
        CheckpointError: it cannot be read.
        RecipeError: it cannot have this size.
    """
    model = load_base(weights, image_size, decoder_norm_eps=decoder_norm_eps)
    config = architecture_of(model)
    own = preprocessing_of(weights, config)
    return model, Structure(config, preprocessing=None if own is None else own.to_dict())


def names_run(weights: str) -> bool:
    """Whether what a recipe names is a run's folder; a name of published weights or of a bundle never is."""
    return not (is_name(weights) or is_model_name(weights)) and is_run(Path(weights))


def _finer(model: SegmentationModel, structure: Structure, seed: int) -> tuple[SegmentationModel, Structure]:
    """Return the model with a fine grid, where it has none yet."""
    if not isinstance(model, LiteMedSam):
        raise RecipeError("base.fine_grid is for a LiteMedSAM: leave it out for every other model.")
    if structure != Structure(structure.architecture, preprocessing=structure.preprocessing):
        raise RecipeError("base.fine_grid is for weights without adapters: leave it out for this run.")
    if not model.lite_medsam_config.fine_grid:
        model = with_fine_grid(model, seed)
    return model, replace(structure, architecture=architecture_of(model))


def _with_preprocessing(structure: Structure, base: BaseModelChoice) -> Structure:
    """Return the structure with the changes that a recipe makes to its preprocessing."""
    if base.preprocessing is None:
        return structure
    if "image_size" in base.preprocessing:
        raise RecipeError(
            "base.preprocessing cannot have an image_size, which is the model's: give base.image_size."
        )
    try:
        changed = Preprocessing.from_dict({**structure.preprocessing_at().to_dict(), **base.preprocessing})
    except FilmError as error:
        raise RecipeError(f"base.preprocessing: {error}") from error
    return replace(structure, preprocessing=changed.to_dict())


def _random(base: BaseModelChoice, seed: int) -> SegmentationModel:
    given = base.architecture
    config = architecture(given).to_dict() if isinstance(given, str) else dict(given or {})
    if base.image_size is not None:
        config["image_size"] = base.image_size
    if base.decoder_norm_eps is not None:
        config["decoder_norm_eps"] = base.decoder_norm_eps
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(config)


def load_teacher(name: str, image_size: int | None) -> tuple[SegmentationModel, Preprocessing]:
    """Load a run's last float stage (adapters merged), published weights, a bundle, a SAM folder or a `.pth`.

    Args:
        name: what a recipe gives as `distillation.teacher`.
        image_size: the side of its image; None keeps its own.

    Raises:
        RecipeError: the model takes no boxes, hence has no embedding to learn from.
        CheckpointError: it cannot be read.
    """
    if names_run(name):
        run = load_float_run(Path(name))
        model, structure = run.model, run.structure
        merge_adapters(model)
        merge_lora(model)
        if image_size is not None and image_size != architecture_of(model)["image_size"]:
            model = resize(model, image_size)
    else:
        model, structure = load_published(name, image_size)
    if not accepts_boxes(model):
        raise RecipeError(
            f"{Path(name).name} cannot be a teacher: it takes no boxes; choose a SAM, a LiteMedSAM or a "
            "run of one."
        )
    model.eval().requires_grad_(False)
    return model, structure.preprocessing_at(architecture_of(model)["image_size"])


# ---- scored through the same code as a bundle ---------------------------------------------------------


class TorchEngine:
    """Runs a `SamModel` (adapted or fake-quantised too) behind the interface of the integer engines."""

    name = "pytorch"

    def __init__(self, model: torch.nn.Module, accepts_points: bool = False) -> None:
        """Take a model, and whether it knows points and masks."""
        self.model, self.accepts_points = model.eval(), accepts_points

    @torch.no_grad()
    def encode(self, image: FloatArray) -> FloatArray:
        """Return the embedding (1, D, g, g) of a preprocessed image (C, S, S)."""
        return np.asarray(encode(self.model, torch.from_numpy(image)[None]).numpy())

    @torch.no_grad()
    def decode(
        self, embedding: FloatArray, boxes: FloatArray, labels: NDArray[np.int64] | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """See `bundle.engine.Engine.decode`."""
        places = torch.from_numpy(boxes)[None]
        prompts = (places,) if labels is None else _apart(places, torch.from_numpy(labels)[None])
        logits, quality = decode(self.model, torch.from_numpy(embedding), *prompts)
        return np.asarray(logits[0].numpy()), np.asarray(quality[0].numpy())

    @torch.no_grad()
    def embed_mask(self, logits: FloatArray) -> FloatArray:
        """Return (1, D, g, g), what a mask prompt of logits (4g, 4g) adds to the embedding."""
        prompts: Any = self.model.prompt_encoder
        dense = prompts.mask_embed(torch.from_numpy(logits)[None, None])
        return np.asarray((dense - prompts.no_mask_embed.weight[:, :, None, None]).numpy())

    def structures(self, embedding: FloatArray) -> tuple[FloatArray, float]:
        """A run has no head for structures; a bundle that was exported from it may get one."""
        raise NotImplementedError


def _apart(places: Tensor, labels: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return boxes (1, N, 4), points (1, N, P, 2) and their labels of what a decoder graph takes as one row.

    transformers adds the empty point itself.
    """
    points = places.unflatten(-1, (-1, 2)) if labels.shape[-1] else places.reshape(*labels.shape, 2)
    boxes = None
    if labels.shape[-1] > 1 and tuple(labels[0, 0, -2:].tolist()) == BOX_LABELS:
        boxes, points, labels = places[..., -4:], points[:, :, :-2], labels[..., :-2]
    elif labels.shape[-1]:
        points, labels = points[:, :, :-1], labels[..., :-1]
    return boxes, *((points, labels) if labels.shape[-1] else (None, None))


def run_segmenter(run: LoadedRun, second_pass: bool = False, smallest_part: float = 0.0) -> Segmenter:
    """Return a Segmenter that executes the run's trained model in PyTorch."""
    prompt = Prompt(
        second_pass,
        quality_trained(run.recipe),
        accepts_boxes(run.model),
        masks_trained=masks_trained(run.recipe),
    )
    name, points = f"{run.recipe.name}/{run.stage}", accepts_boxes(run.model) and knows_points(run.recipe)
    outlines = run.recipe.outlines
    return model_segmenter(run.model, run.preprocessing, prompt, name, outlines, smallest_part, points)


def model_segmenter(
    model: SegmentationModel,
    preprocessing: Preprocessing,
    prompt: Prompt,
    name: str = "model",
    outlines: str = "",
    smallest_part: float = 0.0,
    accepts_points: bool = False,
) -> Segmenter:
    """Return a Segmenter that executes any model in PyTorch, prompted and tidied as said."""
    description = Bundle(
        folder=Path("."),
        format_version=1,
        name=name,
        architecture=architecture_of(model),
        preprocessing=preprocessing,
        precision=StoredPrecision("as trained", "none", {}),
        prompt=prompt,
        outlines=outlines,
        training={},
        parameters={},
        ranks={},
        metrics={},
        parity={},
        licence="",
        intended_use="",
        files={},
        smallest_part=smallest_part,
    )
    return Segmenter(description, TorchEngine(model, accepts_points))


def quality_trained(recipe: Recipe) -> bool:
    """Whether any stage trained the IoU head; a base that ships has it trained."""
    return any(stage.losses.quality > 0 for stage in recipe.stages)


def masks_trained(recipe: Recipe) -> bool:
    """Whether some steps were prompted by masks: every click but the first, and one after a box, sees one."""
    clicks = recipe.prompts.clicks
    return clicks is not None and (clicks.most > 1 or clicks.with_box > 0)


def knows_points(recipe: Recipe) -> bool:
    """Whether points and masks mean anything to what a recipe trains.

    They do where it trains with clicks, or starts from published weights, or from a run or a bundle that
    knows them; not to what was trained from scratch with boxes, the base that ships among it.
    """
    if recipe.prompts.clicks is not None or recipe.base.weights is None:
        return recipe.prompts.clicks is not None
    weights = recipe.base.weights
    if names_run(weights):
        return knows_points(load_recipe(Path(weights) / RECIPE))
    if is_bundle(weights):
        return load_bundle(weights).accepts_points
    return weights != SHIPPED_BASE
