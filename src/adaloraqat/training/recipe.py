"""A recipe: everything that decides a training, as one YAML file that is checked before work begins.

The defaults are the AdaLoRA-QAT paper's where the paper states a value (arXiv 2604.01167, section 3); where
our shipped recipes differ, they say so in their own comments.
"""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from adaloraqat.errors import RecipeError
from adaloraqat.quantize.policy import POLICIES


class Strict(BaseModel):
    """A part of a recipe: an unknown key and a number that is none are refused, and nothing changes it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Checked = TypeVar("Checked", bound=Strict)


class BaseModelChoice(Strict):
    """Where training starts: `weights` or an `architecture` at random.

    `weights` is a name ("base", "lite-medsam", "facebook/sam-vit-base", …), which nothing in the working
    directory shadows, or the path of a folder, a .pth or a run.
    """

    weights: str | None = Field(default=None, max_length=1000)
    architecture: str | dict[str, Any] | None = None
    image_size: int | None = Field(default=None, ge=32, le=2048)

    @model_validator(mode="after")
    def _one_of_both(self) -> "BaseModelChoice":
        if (self.weights is None) == (self.architecture is None):
            raise ValueError("give either base.weights or base.architecture, not both and not neither")
        return self


class DataChoice(Strict):
    """Which rows of the manifest are used; `limit` draws that many training films, seeded by `draw`.

    `balance` meets unequal numbers of films a modality (QMedSAM): `all` takes every film in each pass, `min`
    the same number of each modality, the smallest, `tenth` a tenth of each but at least the smallest.
    """

    sources: tuple[str, ...] | None = None
    limit: int | None = Field(default=None, ge=1)
    draw: int = Field(default=0, ge=0)
    balance: Literal["all", "min", "tenth"] = "all"


class Prompts(Strict):
    """How boxes are drawn in training: shares of whole-film and one-lung boxes; the rest is the truth's box.

    `noise` widens or shrinks each side by up to that share of the box, seeded.
    """

    whole_film: float = Field(default=0.5, ge=0, le=1)
    one_lung: float = Field(default=0.25, ge=0, le=1)
    noise: float = Field(default=0.05, ge=0, le=0.5)

    @model_validator(mode="after")
    def _shares_fit(self) -> "Prompts":
        if self.whole_film + self.one_lung > 1:
            raise ValueError("whole_film and one_lung are shares of the prompts: together at most 1")
        return self


class Losses(Strict):
    """Weights of the loss terms. `quality` trains SAM's IoU head; the paper does not (0)."""

    bce: float = Field(default=1.0, ge=0)
    dice: float = Field(default=1.0, ge=0)
    orthogonality: float = Field(default=0.003, ge=0)
    quality: float = Field(default=0.0, ge=0)


_LARGEST_RATE = 1e30  # far beyond it a step no longer fits into 32 bits


class LearningRates(Strict):
    """Peak rates per group of parameters; a group that a stage does not train is ignored."""

    encoder: float = Field(default=5e-5, ge=0, le=_LARGEST_RATE)
    adapters: float = Field(default=5e-5, ge=0, le=_LARGEST_RATE)
    singular_values: float = Field(default=5e-5, ge=0, le=_LARGEST_RATE)
    decoder: float = Field(default=2e-5, ge=0, le=_LARGEST_RATE)


class Schedule(Strict):
    """Length and shape of a stage. `steps_per_epoch` null means one pass over the training films.

    `momentum` belongs to `sgd`, which QMedSAM trains with; AdamW keeps its own two averages.
    """

    epochs: int = Field(default=20, ge=1)
    steps_per_epoch: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=16, ge=1)
    warmup_steps: int = Field(default=0, ge=0)
    cosine: bool = False
    weight_decay: float = Field(default=0.0, ge=0)
    clip_gradient: float | None = Field(default=None, gt=0)
    patience: int | None = Field(default=None, ge=1)
    precision: Literal["float32", "bfloat16"] = "float32"
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = Field(default=0.9, ge=0, lt=1)


class Distillation(Strict):
    """Learn from a teacher too (QMedSAM): IoU(teacher's mask, truth) times MSE of the two embeddings.

    `teacher` is any SAM of ours: a run folder (its last stage in floating point), `base` (the base that
    ships), a Hugging Face folder, or a `.pth` in Meta's or MedSAM's naming. It sees each film at its own
    `image_size` (null), without the changes of look. `embedding` weighs that term, `masks` a cross-entropy to
    the teacher's probabilities, which the paper does not have.
    """

    teacher: str
    image_size: int | None = Field(default=None, ge=32, le=2048)
    embedding: float = Field(default=1.0, ge=0)
    masks: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _teaches(self) -> "Distillation":
        if self.embedding + self.masks == 0:
            raise ValueError(
                "a teacher without weight teaches nothing: give embedding or masks, or leave it out"
            )
        return self


class _Stage(Strict):
    """What every stage has. `geometry: false` limits augmentation to the look of the films.

    Then what a teacher makes of a film never changes and is computed once.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    schedule: Schedule = Schedule()
    learning_rates: LearningRates = LearningRates()
    losses: Losses = Losses()
    augmentation: float = Field(default=1.0, ge=0, le=2)
    geometry: bool = True
    distillation: Distillation | None = None


class FullStage(_Stage):
    """Train the encoder, the decoder, or both, without adapters (training a base; baselines).

    `image_size` changes the resolution from this stage on; position tables are interpolated.
    """

    kind: Literal["full"] = "full"
    train: Literal["all", "decoder", "encoder"] = "all"
    image_size: int | None = Field(default=None, ge=32, le=2048)


class AdaLoRAStage(_Stage):
    """Stage 1 of the paper: SVD adapters on q, k, v with one global rank budget; the decoder fully trained.

    With the defaults on ViT-B: 36 matrices start at rank 48 (1,728 components) and are stepped down at
    epochs 3, 7 and 12 to 32 on average (1,152). `prune_at` counts epochs, or steps with `prune_unit: step`.
    An empty `prune_at` keeps every rank (plain fixed-rank adapters).
    """

    kind: Literal["adalora"] = "adalora"
    r_max: int = Field(default=48, ge=1)
    r_target: int = Field(default=32, ge=1)
    prune_at: tuple[int, ...] = (3, 7, 12)
    prune_unit: Literal["epoch", "step"] = "epoch"
    train_decoder: bool = True

    @model_validator(mode="after")
    def _schedule_works(self) -> "AdaLoRAStage":
        if self.r_target > self.r_max:
            raise ValueError(f"r_target {self.r_target} exceeds r_max {self.r_max}; lower r_target")
        if list(self.prune_at) != sorted(set(self.prune_at)) or any(point < 1 for point in self.prune_at):
            raise ValueError("prune_at must be increasing positive numbers, such as [3, 7, 12]")
        if self.prune_unit == "epoch" and self.prune_at and self.prune_at[-1] >= self.schedule.epochs:
            raise ValueError(
                f"the last prune is at epoch {self.prune_at[-1]} but training ends at epoch "
                f"{self.schedule.epochs}: prune earlier or train longer, so that the kept ranks can settle"
            )
        steps = self.schedule.steps_per_epoch
        if self.prune_unit == "step" and self.prune_at and steps is not None:
            total = self.schedule.epochs * steps
            if self.prune_at[-1] >= total:
                raise ValueError(
                    f"the last prune is at step {self.prune_at[-1]} but training has {total} steps "
                    f"({self.schedule.epochs} epochs of {steps}): prune earlier or train longer"
                )
        return self


class LoRAStage(_Stage):
    """Plain LoRA of fixed rank on the encoder's fused qkv, by peft: the baseline of the paper's ablation.

    ΔW = (alpha / rank) · B · A; `alpha` null is the rank, a scale of 1. The LoRA learns at the rate
    `adapters`, the mask decoder, unless `train_decoder` is false, at its own. A stage that follows starts
    from the merged weights.
    """

    kind: Literal["lora"] = "lora"
    rank: int = Field(default=16, ge=1)
    alpha: int | None = Field(default=None, ge=1)
    train_decoder: bool = True


class QuantizeStage(_Stage):
    """Stage 2: quantisation-aware training.

    `train` is what learns: `singular_values` (the paper: only Λ, at 1e-6), `all`, `encoder`, `decoder`, or
    `nothing` (plain post-training quantisation, calibrated on `calibration_films` training films).

    `parts` is what gets quantised: QMedSAM's run 1 is `encoder`, run 2 `decoder`, and run 3 trains `all`.
    Such stages follow one another; what an earlier one quantised stays so, with its calibrated ranges.
    """

    kind: Literal["quantize"] = "quantize"
    policy: str = "int8"
    weight_range: Literal["portable", "full"] = "portable"
    parts: Literal["encoder", "decoder", "all"] = "all"
    train: Literal["singular_values", "all", "encoder", "decoder", "nothing"] = "all"
    calibration_films: int = Field(default=32, ge=1)

    @model_validator(mode="after")
    def _policy_known(self) -> "QuantizeStage":
        if self.policy not in POLICIES:
            raise ValueError(f"there is no policy {self.policy!r}; choose one of {', '.join(POLICIES)}")
        return self


Stage = Annotated[FullStage | AdaLoRAStage | LoRAStage | QuantizeStage, Field(discriminator="kind")]


class Recipe(Strict):
    """One training, complete. `outlines` says in words what the masks outline; it goes into the bundle."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    seed: int = Field(default=0, ge=0, lt=2**63)
    base: BaseModelChoice
    outlines: str = "the lungs as outlined in the training masks"
    data: DataChoice = DataChoice()
    prompts: Prompts = Prompts()
    monitor: Literal["dice_no_box", "dice_box"] = "dice_no_box"
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    stages: tuple[Stage, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _stages_fit(self) -> "Recipe":
        kinds = [stage.kind for stage in self.stages]
        quantizing = [stage for stage in self.stages if isinstance(stage, QuantizeStage)]
        if len({stage.name for stage in self.stages}) != len(self.stages):
            raise ValueError("two stages have the same name; give each its own")
        if kinds.count("adalora") > 1:
            raise ValueError("at most one adalora stage")
        if any(kind == "quantize" and after != "quantize" for kind, after in pairwise(kinds)):
            raise ValueError("only quantize stages can follow a quantize stage; put the others before it")
        if len({(stage.policy, stage.weight_range) for stage in quantizing}) > 1:
            raise ValueError("quantize stages that follow one another need one policy and one weight_range")
        if "full" in kinds[kinds.index("adalora") if "adalora" in kinds else len(kinds) :]:
            raise ValueError(
                "a full stage cannot follow an adalora stage; put it before, or in its own recipe"
            )
        if "lora" in kinds[kinds.index("adalora") if "adalora" in kinds else len(kinds) :]:
            raise ValueError("a lora stage cannot follow an adalora stage; put it in its own recipe")
        for stage in self.stages:
            frozen = getattr(stage, "train", "all") in ("decoder", "nothing")
            if stage.distillation and frozen and stage.distillation.embedding:
                raise ValueError(
                    f"stage {stage.name} leaves the encoder as it is, so no teacher can move its embedding: "
                    "leave distillation out of it"
                )
        lambdas = any(stage.train == "singular_values" for stage in quantizing)
        if lambdas and "adalora" not in kinds and self.base.weights is None:
            raise ValueError("stage 2 trains singular_values, but no adalora stage comes before it")
        return self


def public_document(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as plain values, without the folders of the computer it ran on."""
    document = recipe.model_dump(mode="json")
    if recipe.base.weights is not None:
        document["base"]["weights"] = Path(recipe.base.weights).name
    for stage in document["stages"]:
        if stage["distillation"] is not None:
            stage["distillation"]["teacher"] = Path(stage["distillation"]["teacher"]).name
    return document


EXAMPLE = "recipes/demo.yaml"
SHIPPED_RECIPES = Path(__file__).resolve().parents[1] / "recipes"


def load_recipe(path: str | Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a YAML recipe and apply overrides such as `stages.0.schedule.epochs=3`.

    `path` is a file, or the name of a recipe that ships: `demo`.

    Raises:
        RecipeError: no such file, not YAML, an unknown key or an impossible value; says which and the remedy.
    """
    path = _find(Path(path))
    document = read_document(path, EXAMPLE)
    for override in overrides:
        _override(document, override)
    return parse_recipe(document, path.name)


def read_document(path: Path, example: str) -> dict[str, Any]:
    """Read a YAML file that holds a mapping; messages refer to `example`.

    Raises:
        RecipeError: no such file, not YAML, or no mapping.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(
            f"There is no recipe {path.name}; give the path of one, such as {example}."
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise RecipeError(f"{path.name} is not a readable YAML recipe; compare it with {example}.") from error
    if not isinstance(document, dict):
        raise RecipeError(f"{path.name} is not a recipe (a mapping of keys is expected); see {example}.")
    return document


def _find(path: Path) -> Path:
    shipped = SHIPPED_RECIPES / f"{path.name}.yaml"
    return shipped if not path.exists() and path.parent == Path(".") and shipped.exists() else path


def parse_recipe(document: dict[str, Any], name: str = "recipe") -> Recipe:
    """Check a recipe given as a dictionary. Raises RecipeError as `load_recipe` does."""
    return check_document(Recipe, document, name, EXAMPLE)


def check_document(kind: type[Checked], document: dict[str, Any], name: str, example: str) -> Checked:
    """Return a document as `kind`; messages call it `name` and refer to `example`.

    Raises:
        RecipeError: an unknown key or an impossible value; says which.
    """
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "recipe"
        message = first["msg"].removeprefix("Value error, ").removesuffix(".")
        if first["type"] == "extra_forbidden":
            message = f"no such key is known; check its spelling ({example} shows the usual ones)"
        raise RecipeError(f"{name}: {where}: {message}.") from error


def _override(document: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator:
        raise RecipeError(f"--set {override} is not of the form key=value, for example --set seed=1.")
    try:
        value = yaml.safe_load(text)  # 1e-4 is text in YAML 1.1; pydantic makes it a number where one belongs
    except (yaml.YAMLError, RecursionError) as error:
        raise RecipeError(
            f"--set {override[:80]}: the value is not YAML; write key=value, lists as [3, 7, 12]."
        ) from error
    *parents, last = key.split(".")
    place: Any = document
    try:
        for part in parents:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        place[int(last) if isinstance(place, list) else last] = value
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise RecipeError(
            f"--set {override}: the recipe has no place {key}; stages count from 0, as in stages.0.name."
        ) from error
