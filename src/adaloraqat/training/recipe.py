"""A recipe: everything that decides a training, as one YAML file that is checked before work begins.

The defaults are the AdaLoRA-QAT paper's where the paper states a value (arXiv 2604.01167, section 3); where
our shipped recipes differ, they say so in their own comments.
"""

import operator
from functools import cache, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    Field,
    PlainValidator,
    SerializeAsAny,
    TypeAdapter,
    ValidationError,
    create_model,
    model_validator,
)

from adaloraqat.errors import RecipeError
from adaloraqat.renamed import renamed_names
from adaloraqat.training.kinds.base import KINDS, Kind, Stage, Strict

Checked = TypeVar("Checked", bound=Strict)

SCHEMA = "recipe.schema.json"
"""The schema of a recipe as a file beside this one; editors complete and check by it."""


class BaseModelChoice(Strict):
    """Where training starts: `weights` or an `architecture` at random.

    `weights` is a name ("base", "lite-medsam", "facebook/sam-vit-base", an installed bundle's such as
    "lung-field", …), which nothing in the working directory shadows, or the path of a folder, a .pth, a run
    or a bundle.

    `preprocessing` changes keys of what the weights want done to a film, such as
    `{grey_range: percentiles}`; `decoder_norm_eps` the epsilon of the decoder's layer norms (absent: the
    weights' own, 1e-5 in the published code of SAM, MedSAM and LiteMedSAM, 1e-6 in transformers and here).
    `fine_grid` gives a LiteMedSAM an embedding on the grid of its first stage, for finer outlines.
    """

    weights: str | None = Field(default=None, max_length=1000)
    architecture: str | dict[str, Any] | None = None
    image_size: int | None = Field(default=None, ge=32, le=2048)
    preprocessing: dict[str, Any] | None = None
    decoder_norm_eps: float | None = Field(default=None, gt=0, lt=1)
    fine_grid: bool = False

    @property
    def source(self) -> str:
        """What it starts from, for people."""
        return Path(self.weights).name if self.weights else "random weights"

    @model_validator(mode="after")
    def _one_of_both(self) -> "BaseModelChoice":
        if (self.weights is None) == (self.architecture is None):
            raise ValueError("give exactly one of base.weights and base.architecture")
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


class Clicks(Strict):
    """Training with simulated clicks, as a person corrects a mask (SAM, arXiv 2304.02643, appendix A).

    A `share` of the steps is prompted by 1 to `most` clicks, drawn evenly: each lies where the mask so far is
    wrong, farthest inside the largest error region, the first in the truth itself. Every click but the first
    also sees that mask. `with_box` of these steps begin with the box, and click where its mask is wrong;
    `mask_alone` of those hand on the mask without its box, as a person does who corrects an earlier answer.
    """

    share: float = Field(default=0.5, gt=0, le=1)
    most: int = Field(default=3, ge=1, le=20)
    with_box: float = Field(default=0.5, ge=0, le=1)
    mask_alone: float = Field(default=0.0, ge=0, le=1)


class Prompts(Strict):
    """How boxes are drawn in training: shares of whole-film and one-lung boxes; the rest is the truth's box.

    `noise` widens or shrinks each side by up to that share of the box, seeded. `clicks` prompts a part of the
    steps by points; null none.
    """

    whole_film: float = Field(default=0.5, ge=0, le=1)
    one_lung: float = Field(default=0.25, ge=0, le=1)
    noise: float = Field(default=0.05, ge=0, le=0.5)
    clicks: Clicks | None = None

    @model_validator(mode="after")
    def _shares_fit(self) -> "Prompts":
        if self.whole_film + self.one_lung > 1:
            raise ValueError("whole_film and one_lung are shares of the prompts: together at most 1")
        return self


@cache
def _stage_adapter(kinds: tuple[type[Stage], ...]) -> TypeAdapter[Stage]:
    union: Any = reduce(operator.or_, kinds)
    return TypeAdapter(Annotated[union, Field(discriminator="kind")])


def _stage_of_its_kind(value: Any) -> Stage:
    return _stage_adapter(tuple(KINDS.values())).validate_python(value)


AnyStage = Annotated[SerializeAsAny[Stage], PlainValidator(_stage_of_its_kind)]
"""A stage of any kind that was registered before the recipe is read."""


class Recipe(Strict):
    """One training, complete. `outlines` says in words what the masks outline; it goes into the bundle.

    `monitor` is the validation score by which an epoch is the best; `dice_clicks` scores the masks after
    `prompts.clicks.most` clicks and no box.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    seed: int = Field(default=0, ge=0, lt=2**63)
    base: BaseModelChoice
    outlines: str = "the lungs as outlined in the training masks"
    data: DataChoice = DataChoice()
    prompts: Prompts = Prompts()
    monitor: Literal["dice_no_box", "dice_box", "dice_clicks"] = "dice_no_box"
    device: Literal["cpu", "cuda", "mps", "auto"] = "cpu"
    stages: tuple[AnyStage, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _stages_fit(self) -> "Recipe":
        if len({stage.name for stage in self.stages}) != len(self.stages):
            raise ValueError("two stages have the same name; give each its own")
        if self.monitor == "dice_clicks" and self.prompts.clicks is None:
            raise ValueError("monitor dice_clicks needs clicks: give prompts.clicks, or another monitor")
        for number, stage in enumerate(self.stages):
            stage.check_order(self.stages[:number], pretrained=self.base.weights is not None)
            moves = any(stage.learns(part) for part in ("encoder", "adapters", "singular_values"))
            if stage.distillation and stage.distillation.embedding and not moves:
                raise ValueError(
                    f"stage {stage.name} leaves the encoder as it is, so no teacher can move its embedding: "
                    "leave distillation out of it"
                )
        return self

    @property
    def clicks_scored(self) -> int:
        """How many clicks validation films are scored after; 0 where no epoch is chosen by it."""
        clicks = self.prompts.clicks
        return clicks.most if clicks is not None and self.monitor == "dice_clicks" else 0

    def stages_of(self, kind: type[Kind]) -> list[Kind]:
        """Return the stages of one kind, in order."""
        return [stage for stage in self.stages if isinstance(stage, kind)]

    def check_prompt_free(self, family: str) -> None:
        """Refuse to train a network of `family`, which takes no prompt, as if it took some.

        Such a network is trained and scored without a box only, predicts no quality, and has neither a mask
        decoder nor a qkv that could be trained apart.

        Raises:
            RecipeError: says which key does not fit and what to write instead.
        """
        if self.prompts.whole_film != 1:
            raise RecipeError(
                f"A {family} takes no box, so it must be trained without any: "
                "write prompts: {whole_film: 1.0, one_lung: 0.0}."
            )
        if self.monitor != "dice_no_box":
            raise RecipeError(f"A {family} takes no box: write monitor: dice_no_box.")
        if self.prompts.clicks is not None:
            raise RecipeError(f"A {family} takes no points: leave prompts.clicks out.")
        for stage in self.stages:
            stage.check_prompt_free(family)


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
"""The recipes in the package, which a command finds by `recipes/NAME.yaml` in any folder."""


def load_recipe(path: str | Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a YAML recipe and apply overrides such as `stages.0.schedule.epochs=3`.

    `path` is a file, or a recipe that ships: `demo`, `baselines/unet` or, as documents write it,
    `recipes/baselines/unet.yaml`.

    Raises:
        RecipeError: no such file, not YAML, an unknown key or an impossible value; says which and the remedy.
    """
    path = find_recipe(Path(path))
    document = read_document(path, EXAMPLE)
    for override in overrides:
        _override(document, override)
    return parse_recipe(document, path.name)


class _TwiceError(Exception):
    """A mapping names a key twice."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that a mapping names twice, of which YAML would keep the last in silence."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Return the next mapping as it is written."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                line = key.start_mark.line + 1
                raise _TwiceError(f"names the key {key.value} twice in one place, again in line {line}")
            seen.add(str(key.value))
        return node


def read_document(path: Path, example: str) -> dict[str, Any]:
    """Read a YAML file that holds a mapping; messages refer to `example`.

    Raises:
        RecipeError: no such file, not YAML, or no mapping.
    """
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError as error:
        raise RecipeError(
            f"There is no recipe {path.name}; give the path of one, such as {example}."
        ) from error
    except _TwiceError as error:
        raise RecipeError(f"{path.name} {error}: keep one of them.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise RecipeError(f"{path.name} is not a readable YAML recipe; compare it with {example}.") from error
    if not isinstance(document, dict):
        raise RecipeError(f"{path.name} is not a recipe (a mapping of keys is expected); see {example}.")
    return document


def find_recipe(path: Path) -> Path:
    """Return `path` where it exists, else the recipe that ships under this name, else `path`."""
    if path.exists() or path.is_absolute() or ".." in path.parts:
        return path
    inside = Path(*path.parts[1:]) if path.parts[:1] == (SHIPPED_RECIPES.name,) else path
    shipped = SHIPPED_RECIPES / inside.parent / f"{inside.name.removesuffix('.yaml')}.yaml"
    return shipped if shipped.is_file() else path


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
        if first["type"] == "tuple_type":
            message = "a list is expected, such as [a, b]"
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


def recipe_schema() -> dict[str, Any]:
    """Return the schema (JSON Schema, draft 2020-12) of a recipe whose stages are of this package's kinds.

    What depends on several keys at once, such as the order of stages, is checked by `load_recipe` alone.
    """
    own = [kind for kind in KINDS.values() if kind.__module__.startswith("adaloraqat.")]
    stage: Any = Annotated[reduce(operator.or_, own), Field(discriminator="kind")]
    # a recipe learns its kinds only when it is read; a schema must name them
    named = create_model("Recipe", __base__=Recipe, stages=(tuple[stage, ...], Field(min_length=1)))
    schema = {**named.model_json_schema(), "title": "A recipe of adaloraqat", "description": Recipe.__doc__}
    for kind in own:
        # without it a stage would be of several kinds at once, by their defaults
        schema["$defs"][kind.__name__].setdefault("required", []).append("kind")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


if not TYPE_CHECKING:  # type checkers still report unknown names
    __getattr__ = renamed_names(
        __name__,
        {
            "Distillation": "adaloraqat.training.kinds.base.Distillation",
            "LearningRates": "adaloraqat.training.kinds.base.LearningRates",
            "Losses": "adaloraqat.training.kinds.base.Losses",
            "Schedule": "adaloraqat.training.kinds.base.Schedule",
            "AdaLoRAStage": "adaloraqat.training.kinds.adalora.AdaLoRAStage",
            "FullStage": "adaloraqat.training.kinds.full.FullStage",
            "LoRAStage": "adaloraqat.training.kinds.lora.LoRAStage",
            "QuantizeStage": "adaloraqat.training.kinds.quantize.QuantizeStage",
        },
    )
