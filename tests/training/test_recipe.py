"""Recipes: what ships loads, what cannot work is refused with its remedy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from adaloraqat.errors import RecipeError
from adaloraqat.training import load_recipe, parse_recipe
from adaloraqat.training import recipe as recipe_module
from adaloraqat.training.kinds.adalora import AdaLoRAStage
from adaloraqat.training.kinds.quantize import QuantizeStage
from adaloraqat.training.recipe import SHIPPED_RECIPES, BaseModelChoice, Recipe, find_recipe
from adaloraqat.training.run import load_start
from adaloraqat.training.train import start_of

RECIPES = sorted(
    path.resolve()
    for path in SHIPPED_RECIPES.rglob("*.yaml")
    if path.parent.name != "tables"  # those name runs side by side; tests/report reads them
)
Make = Callable[[], dict[str, Any]]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_what_ships_loads(path: Path) -> None:
    assert load_recipe(path).stages
    assert "adaloraqat " in path.read_text().splitlines()[0] or path.parent.name == "adaptation"


@pytest.mark.parametrize("name", ["baselines/unet", "baselines/unet.yaml", "recipes/baselines/unet.yaml"])
def test_what_ships_is_found_from_any_folder_unless_the_user_has_one_there(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_recipe(Path(name)) == SHIPPED_RECIPES / "baselines/unet.yaml"
    own = tmp_path / name
    own.parent.mkdir(parents=True)
    own.touch()
    assert find_recipe(Path(name)) == Path(name)
    for outside in ("../recipes/adapt", "recipes/../adapt", "recipes/no-such", "/recipes/adapt.yaml"):
        assert find_recipe(Path(outside)) == Path(outside)


def test_recipes_were_found() -> None:
    assert {"paper", "demo"} <= {path.stem for path in RECIPES}


def test_the_paper_recipe_is_the_paper() -> None:
    recipe = load_recipe(next(path for path in RECIPES if path.stem == "paper"))
    first, second = recipe.stages
    assert isinstance(first, AdaLoRAStage)
    assert isinstance(second, QuantizeStage)
    assert (first.r_max, first.r_target, first.prune_at, first.prune_unit) == (48, 32, (3, 7, 12), "epoch")
    assert (first.learning_rates.adapters, first.learning_rates.decoder) == (5e-5, 2e-5)
    assert (first.losses.bce, first.losses.dice, first.losses.orthogonality) == (1, 1, 0.003)
    assert first.schedule.batch_size == 16
    assert (second.train, second.policy, second.learning_rates.singular_values) == (
        "singular_values",
        "paper",
        1e-6,
    )


def test_resolved_and_read_again_is_the_same(both_stages: Make, tmp_path: Path) -> None:
    recipe = parse_recipe(both_stages())
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    assert load_recipe(path) == recipe


def test_overrides(both_stages: Make, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(both_stages()))
    settings = (
        "seed=7",
        "stages.0.schedule.epochs=9",
        "stages.0.prune_at=[2, 4]",
        "stages.1.learning_rates.encoder=1e-4",
        "data.limit=16",
        "name=other",
        "stages.0.schedule.clip_gradient=null",
    )
    recipe = load_recipe(path, settings)
    stage = recipe.stages[0]
    assert isinstance(stage, AdaLoRAStage)
    assert (recipe.seed, recipe.name, recipe.data.limit) == (7, "other", 16)
    assert (stage.schedule.epochs, stage.prune_at, stage.schedule.clip_gradient) == (9, (2, 4), None)
    assert recipe.stages[1].learning_rates.encoder == 1e-4


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("sed", "key=value"),
        ("sede=1", "sede: no such key"),
        ("stages.0.schedul.epochs=3", "schedul: no such key"),
        ("stages.7.name=x", "no place stages.7.name"),
        ("stages.first.name=x", "count from 0"),
        ("name.first=x", "no place"),
        ("seed=[", "not YAML"),
        ("seed=-1", "greater than or equal to 0"),
        ("seed=many", "valid integer"),
        ("name=Two Words", "pattern"),
        ("base.weights=x", "give exactly one of"),
        ("base=null", "base"),
        ("stages=[]", "at least 1"),
        ("stages.0.kind=unknown", "'adalora'"),
        ("stages.0.r_target=9", "r_target 9 exceeds r_max 4; lower r_target"),
        ("stages.0.prune_at=[3, 2]", "increasing positive numbers"),
        ("stages.0.prune_at=[0, 2]", "increasing positive numbers"),
        ("stages.0.prune_at=[1, 4]", "prune earlier or train longer"),
        ("stages.0.learning_rates.adapters=-1", "greater than or equal to 0"),
        ("stages.0.learning_rates.adapters=.nan", "finite"),
        ("stages.1.policy=int4", "there is no policy 'int4'; choose one of fp32, paper, int8"),
        ("stages.1.train=adapters", "'singular_values', 'all', 'encoder', 'decoder' or 'nothing'"),
        ("stages.1.name=stage1", "two stages have the same name"),
        ("prompts={whole_film: 0.7, one_lung: 0.7}", "together at most 1"),
        ("data.sources=jsrt", "data.sources: a list is expected"),
    ],
)
def test_refusals_name_the_remedy(setting: str, says: str, both_stages: Make, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(both_stages()))
    with pytest.raises(RecipeError) as refusal:
        load_recipe(path, (setting,))
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert str(tmp_path) not in str(refusal.value)


def test_steps_of_the_last_prune_are_counted(both_stages: Make) -> None:
    document = both_stages()
    document["stages"][0] |= {"prune_unit": "step", "prune_at": [2, 8]}
    with pytest.raises(RecipeError, match=r"step 8 but training has 8 steps \(4 epochs of 2\)"):
        parse_recipe(document)


@pytest.mark.parametrize(
    ("kinds", "says"),
    [
        (("quantize", "full"), "only quantize stages can follow a quantize stage"),
        (("adalora", "adalora"), "at most one adalora"),
        (("adalora", "full"), "cannot follow an adalora"),
        (("adalora", "lora"), "cannot follow an adalora"),
    ],
)
def test_orders_of_stages_that_cannot_be(kinds: tuple[str, ...], says: str, both_stages: Make) -> None:
    document = both_stages()
    schedule = {"epochs": 13}
    document["stages"] = [
        {"name": f"s{n}", "kind": kind, "schedule": schedule} for n, kind in enumerate(kinds)
    ]
    with pytest.raises(RecipeError, match=says):
        parse_recipe(document)


def test_singular_values_need_adapters(both_stages: Make) -> None:
    document = both_stages()
    document["stages"] = [document["stages"][1] | {"train": "singular_values"}]
    with pytest.raises(RecipeError, match="no adalora stage comes before"):
        parse_recipe(document)


def test_singular_values_need_a_policy_that_leaves_them(both_stages: Make) -> None:
    """A policy that stores W + PΛQ as one matrix folds the adapters in, and would train nothing.

    Only training refuses it: a run that an earlier version trained so is read as before.
    """

    def stage_2(**changes: Any) -> Recipe:
        document = both_stages()
        document["stages"][1] |= changes
        return parse_recipe(document)

    merged = stage_2(policy="w8", train="singular_values")
    with pytest.raises(RecipeError, match="stage2 trains singular values, but policy w8 stores"):
        start_of(merged)
    for changes in ({"policy": "int8"}, {"policy": "w8a8"}, {"policy": "w8", "parts": "decoder"}):
        assert start_of(stage_2(**changes, train="singular_values"))
    document = both_stages()
    encoder = document["stages"][1] | {"policy": "w8", "parts": "encoder"}
    decoder = encoder | {"name": "stage3", "parts": "decoder", "train": "singular_values"}
    document["stages"][1:] = [encoder, decoder]
    with pytest.raises(RecipeError, match="stage3 trains singular values, but policy w8 stores"):
        start_of(parse_recipe(document))


def test_the_weight_range_is_the_policys_own_unless_it_is_given(
    both_stages: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`w8` has all 8 bits: its products are of floats, so no CPU overflows, and none is warned of."""
    monkeypatch.setattr(
        "adaloraqat.training.kinds.quantize.full_range_doubt", lambda of: of == "full" and "no"
    )

    def stage_2(**changes: Any) -> QuantizeStage:
        document = both_stages()
        document["stages"][1] |= changes
        return parse_recipe(document).stages_of(QuantizeStage)[0]

    ranges = {name: stage_2(policy=name).weight_range for name in ("int8", "paper", "w8a8", "w8")}
    assert ranges == {"int8": "portable", "paper": "portable", "w8a8": "portable", "w8": "full"}
    assert stage_2(policy="w8", weight_range="portable").weight_range == "portable"
    assert not stage_2(policy="w8").machine_warnings()
    assert stage_2(policy="int8", weight_range="full").machine_warnings()


def test_a_loss_without_any_weight_is_refused_only_where_something_learns(both_stages: Make) -> None:
    document = both_stages()
    document["stages"][1] |= {"losses": {"bce": 0, "dice": 0}, "train": "nothing"}
    assert start_of(parse_recipe(document))
    document["stages"][1]["train"] = "all"
    without = parse_recipe(document)  # a run that an earlier version trained so is read as before
    with pytest.raises(RecipeError, match="stage2 has nothing to learn by"):
        start_of(without)
    document["stages"][1]["distillation"] = {"teacher": "base"}
    assert start_of(parse_recipe(document))


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """YAML would keep the last in silence, and with it other rates than those that a person reads."""
    path = tmp_path / "r.yaml"
    path.write_text("name: a\nbase: {weights: base}\nstages:\n- kind: full\n  name: f\n  kind: full\n")
    with pytest.raises(RecipeError, match=r"r\.yaml names the key kind twice in one place, again in line 6"):
        load_recipe(path)
    path.write_text(
        "name: a\nbase: {weights: base}\nstages:\n"
        "- &first {kind: full, name: f}\n- &second {<<: *first, name: g}\n- {<<: *second, name: h}\n"
    )
    assert [stage.name for stage in load_recipe(path).stages] == ["f", "g", "h"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a\n- b\n", "not a recipe"),
        ("", "not a recipe"),
        ("a: [", "not a readable YAML"),
        ("\x00", "not a readable YAML"),
    ],
)
def test_files_that_are_no_recipe(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=says):
        load_recipe(path)


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no recipe nowhere\.yaml"):
        load_recipe(tmp_path / "nowhere.yaml")
    with pytest.raises(RecipeError):
        load_recipe(tmp_path)
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(RecipeError, match="not a readable YAML"):
        load_recipe(tmp_path / "x.yaml")


@pytest.mark.parametrize(
    "name", ["AdaLoRAStage", "FullStage", "LoRAStage", "QuantizeStage", "Schedule", "Losses"]
)
def test_names_of_before_work_on_for_a_version_with_a_warning(name: str) -> None:
    with pytest.warns(DeprecationWarning, match="adaloraqat.training.kinds.*" + name):
        found = getattr(recipe_module, name)
    assert found.__name__ == name
    with pytest.raises(AttributeError):
        recipe_module.NothingOfTheKind  # noqa: B018


def test_an_image_size_among_the_preprocessing_is_refused(both_stages: Make) -> None:
    """It would have no effect: a film is resized to the square of the model."""
    base = both_stages()["base"] | {"preprocessing": {"image_size": 64}}
    with pytest.raises(RecipeError, match=r"give base\.image_size"):
        load_start(BaseModelChoice.model_validate(base), seed=0)
