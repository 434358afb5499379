"""A table as a YAML file: which methods stand in it, on which films, against which reference and margin."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from adaloraqat.errors import FilmError
from adaloraqat.measure.film_scores import check_tolerances
from adaloraqat.measure.statistics.compare import DEFAULT_MARGIN
from adaloraqat.training.recipe import Strict, check_document, find_recipe, read_document

Column = Literal[
    "dice", "iou", "nsd", "hd95", "assd", "ssim", "sensitivity", "specificity",
    "parameters", "trainable", "megabytes", "speed",
]  # fmt: skip


EXAMPLE = "recipes/tables/1.yaml"


class Row(Strict):
    """One method: a `recipe` to train (or reuse), a finished `model`, saved `predictions`, or an empty row.

    Attributes:
        name: as the table calls it.
        recipe: path of a training recipe, relative to the table's file.
        run: name of the run folder below the folder of runs; the recipe's own name if not given.
        stage: which of the recipe's stages is scored; the last if not given.
        precision: how it is exported before it is scored; what the last stage trained if not given.
        settings: changes to the recipe, as `--set` takes them.
        model: a shipped name or a bundle's folder.
        predictions: a folder of masks made elsewhere, such as nnU-Net's.
        train: False leaves the row empty until someone has trained it.
        paper: what a paper states for this method, by column; shown apart and never compared.
        note: a sentence for the reader.
    """

    name: str = Field(min_length=1)
    recipe: Path | None = None
    run: str | None = None
    stage: str | None = None
    precision: str | None = None
    settings: tuple[str, ...] = ()
    model: str | None = None
    predictions: Path | None = None
    train: bool = True
    paper: dict[str, float] = Field(default={})
    note: str = ""

    @model_validator(mode="after")
    def _one_origin(self) -> "Row":
        if sum(origin is not None for origin in (self.recipe, self.model, self.predictions)) > 1:
            raise ValueError(f"{self.name}: give exactly one of recipe, model and predictions")
        return self


class TableRecipe(Strict):
    """One table, complete. `margin` is fixed here, before anything is scored."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    title: str
    sources: tuple[str, ...] | None = None
    split: str = "test"
    prompts: tuple[Literal["no_box", "true_box"], ...] = ("no_box", "true_box")
    reference: str
    margin: float = Field(default=DEFAULT_MARGIN, gt=0, lt=1)
    tolerances: tuple[float, ...] = (2.0, 5.0)
    columns: tuple[Column, ...] = ("dice", "iou", "nsd", "hd95", "ssim")
    seed: int = 0
    phantoms: bool = False
    note: str = ""
    rows: tuple[Row, ...] = Field(min_length=1)

    @field_validator("tolerances")
    @classmethod
    def _are_distances(cls, tolerances: tuple[float, ...]) -> tuple[float, ...]:
        try:
            check_tolerances(tolerances)
        except FilmError as error:
            raise ValueError(str(error)) from error
        return tolerances

    @model_validator(mode="after")
    def _names_fit(self) -> "TableRecipe":
        names = [row.name for row in self.rows]
        if len(set(names)) != len(names):
            raise ValueError("two rows have the same name; give each its own")
        if self.reference not in names:
            raise ValueError(f"the reference {self.reference!r} is not among the rows")
        return self


def load_table(path: Path) -> TableRecipe:
    """Read a table recipe, a file or one that ships; paths in it become relative to the working folder.

    Raises:
        RecipeError: no such file, not YAML, an unknown key or an impossible value; says which.
    """
    path = find_recipe(path)
    table = check_document(TableRecipe, read_document(path, EXAMPLE), path.name, EXAMPLE)
    return table.model_copy(update={"rows": tuple(_beside(row, path.parent) for row in table.rows)})


def _beside(row: Row, folder: Path) -> Row:
    paths = {key: folder / value for key in ("recipe", "predictions") if (value := getattr(row, key))}
    return row.model_copy(update=paths)
