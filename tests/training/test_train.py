"""What happens inside a training, seen from the run folder it leaves."""

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adaloraqat.errors import CheckpointError, OutputError, RecipeError
from adaloraqat.lowrank import adapters_of
from adaloraqat.models.checkpoints import save_base
from adaloraqat.models.sam import build_sam
from adaloraqat.progress import Pace
from adaloraqat.training import parse_recipe
from adaloraqat.training.optimization import trainable_groups
from adaloraqat.training.recipe import Recipe
from adaloraqat.training.run import load_run
from adaloraqat.training.structure import Structure, build_model
from adaloraqat.training.train import enter_stage, train

Make = Callable[[], dict[str, Any]]


def metrics(run: Path, stage: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["stage"] == stage]


def silent(_: str) -> None:
    pass


def base_hashes(state: dict[str, Tensor]) -> dict[str, str]:
    """Hash what stage 1 must not touch, named as in the plain model."""
    plain = {name.replace(".qkv.base.", ".qkv."): tensor for name, tensor in state.items()}
    return {
        name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest()
        for name, tensor in plain.items()
        if ".adapters." not in name and not name.startswith("mask_decoder.")
    }


@pytest.fixture(scope="module")
def finished(both_stages: Make, manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both stages, with a full stage before them, so that there is a base to compare with."""
    document = both_stages()
    schedule = {"epochs": 1, "batch_size": 2, "steps_per_epoch": 1}
    document["stages"].insert(0, {"name": "base", "kind": "full", "schedule": schedule})
    out = tmp_path_factory.mktemp("finished") / "run"
    train(parse_recipe(document), manifest, out, report=silent)
    return out


def test_the_orthogonality_term_is_in_stage_1_only(finished: Path) -> None:
    trained = metrics(finished, "stage1")[1:]
    assert all(line["loss"]["orthogonality"] > 0 for line in trained[1:])
    for line in trained:
        parts = sum(value for name, value in line["loss"].items() if name != "total")
        assert line["loss"]["total"] == pytest.approx(parts, rel=1e-6)
    for stage in ("base", "stage2"):
        assert all("orthogonality" not in line["loss"] for line in metrics(finished, stage)[1:])


def test_base_tensors_hash_the_same_before_and_after_stage_1(finished: Path) -> None:
    before = load_run(finished, "base").model.state_dict()
    after = load_run(finished, "stage1").model.state_dict()
    assert base_hashes(before) == base_hashes(after)
    assert len(base_hashes(before)) > 10
    assert any(not torch.equal(after[n], t) for n, t in before.items() if n.startswith("mask_decoder."))


def test_stage_1_starts_as_its_base_bit_for_bit(finished: Path) -> None:
    document = json.loads((finished / "result.json").read_text())
    base, stage_1, stage_2 = document["stages"]
    assert stage_1["before"] == base["after"]
    assert stage_2["before"] != stage_1["after"]  # plain post-training quantisation


def test_ranks_and_updates_stand_in_metrics(finished: Path) -> None:
    lines = metrics(finished, "stage1")
    assert [sum(line["ranks"].values()) for line in lines[1:]] == [9, 6, 6, 6]
    names = set(lines[1]["ranks"])
    assert names == {f"vision_encoder.layers.0.attn.qkv.{part}" for part in "qkv"}
    assert all(set(line["relative_update"]) == names for line in lines[1:])
    ranks = json.loads((finished / "result.json").read_text())["stages"][1]["ranks"]
    adapters = adapters_of(load_run(finished, "stage1").model)
    assert {name: adapter.capacity for name, adapter in adapters.items()} == ranks == lines[-1]["ranks"]


def test_a_loaded_run_scores_what_result_json_says(finished: Path, manifest: Path) -> None:
    from adaloraqat.datasets.manifest import read_manifest, select
    from adaloraqat.training.films import load_films
    from adaloraqat.training.validate import validate

    for stage in ("base", "stage1", "stage2"):
        run = load_run(finished, stage)
        entries = sorted(select(read_manifest(manifest), "val"), key=lambda entry: entry.id)
        assert (
            validate(run.model, load_films(entries, run.preprocessing), run.preprocessing)
            == (run.result["after"])
        )


def test_result_is_the_best_epoch(finished: Path) -> None:
    for result in json.loads((finished / "result.json").read_text())["stages"]:
        lines = {line["epoch"]: line["validation"] for line in metrics(finished, result["name"])}
        assert result["after"] == lines[result["best_epoch"]]
        assert result["before"] == lines[0]


def stage_1_only(document: dict[str, Any], **changes: Any) -> Recipe:
    document["stages"] = [document["stages"][0] | changes]
    return parse_recipe(document)


def test_prunes_by_step(both_stages: Make, manifest: Path, tmp_path: Path) -> None:
    recipe = stage_1_only(both_stages(), prune_unit="step", prune_at=[1, 3, 5])
    lines: list[str] = []
    result = train(recipe, manifest, tmp_path / "run", report=lines.append)["stages"][0]
    assert result["budgets"] == [10, 8, 6]
    pruned = [line for line in lines if "pruned" in line]
    assert [line.split("pruned to ")[1] for line in pruned] == [
        "10 components at step 1",
        "8 components at step 3",
        "6 components at step 5",
    ]
    ranks = [sum(line["ranks"].values()) for line in metrics(tmp_path / "run", "stage1")[1:]]
    assert ranks == [10, 8, 6, 6]  # epochs of two steps


def test_a_prune_beyond_the_films_is_refused_before_training(
    both_stages: Make, manifest: Path, tmp_path: Path
) -> None:
    schedule = {"epochs": 2, "batch_size": 16}  # one pass is one step here, which the recipe cannot know
    recipe = stage_1_only(both_stages(), prune_unit="step", prune_at=[1, 5], schedule=schedule)
    with pytest.raises(RecipeError, match="step 5 but stage stage1 has only 2 steps"):
        train(recipe, manifest, tmp_path / "run", report=silent)
    assert not (tmp_path / "run").exists()
    recipe = stage_1_only(both_stages(), prune_unit="step", prune_at=[1], schedule=schedule)
    train(recipe, manifest, tmp_path / "run", report=silent)  # the corrected recipe takes the same folder


@pytest.mark.parametrize(
    ("stages", "says"),
    [
        (({"kind": "full"}, {"kind": "quantize", "train": "singular_values"}), "has no adapters"),
        (
            ({"kind": "full"}, {"kind": "adalora", "prune_unit": "step", "prune_at": [9], "r_target": 2}),
            "stage second has only 1 steps",
        ),
    ],
)
def test_what_a_later_stage_cannot_do_is_refused_before_the_first(
    stages: tuple[dict[str, Any], ...], says: str, finished: Path, manifest: Path, tmp_path: Path
) -> None:
    schedule = {"epochs": 1, "batch_size": 99}
    document = {
        "name": "late",
        "base": {"weights": str(tmp_path / "base")},
        "stages": [
            {"name": name, "schedule": schedule, **stage}
            for name, stage in zip(("first", "second"), stages, strict=True)
        ],
    }
    save_base(load_run(finished, "base").model, tmp_path / "base")
    lines: list[str] = []
    with pytest.raises(RecipeError, match=says):
        train(parse_recipe(document), manifest, tmp_path / "run", report=lines.append)
    assert lines == []
    assert not (tmp_path / "run").exists()


def test_no_early_stop_before_the_last_prune(both_stages: Make, manifest: Path, tmp_path: Path) -> None:
    """Nothing learns (rates 0), so no epoch is better: patience 1 stops one after the first kept."""
    rates = dict.fromkeys(("adapters", "singular_values", "decoder"), 0.0)
    schedule = {"epochs": 9, "batch_size": 2, "steps_per_epoch": 1, "patience": 1}
    recipe = stage_1_only(both_stages(), learning_rates=rates, schedule=schedule, prune_at=[1, 4])
    result = train(recipe, manifest, tmp_path / "run", report=silent)["stages"][0]
    assert (result["best_epoch"], result["epochs"]) == (4, 5)


def test_warns_when_the_adapters_hardly_moved(
    both_stages: Make, manifest: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rates = {"adapters": 5e-5, "singular_values": 1e-6, "decoder": 2e-5}
    schedule = {"epochs": 3, "batch_size": 2, "steps_per_epoch": 1}
    recipe = stage_1_only(both_stages(), learning_rates=rates, schedule=schedule)
    with caplog.at_level(logging.WARNING, "adaloraqat"):
        result = train(recipe, manifest, tmp_path / "run", report=silent)
    assert any("raise the learning rate of the singular values" in text for text in result["warnings"])
    assert [record.message for record in caplog.records] == result["warnings"]


def test_warns_when_the_ranks_never_change(both_stages: Make, manifest: Path, tmp_path: Path) -> None:
    schedule = {"epochs": 3, "batch_size": 2, "steps_per_epoch": 1}
    recipe = stage_1_only(both_stages(), r_max=48, r_target=47, schedule=schedule)  # 4 of 4 at this width
    result = train(recipe, manifest, tmp_path / "run", report=silent)
    assert any("The ranks never changed" in text for text in result["warnings"])


def test_a_good_run_has_no_warnings(finished: Path) -> None:
    assert json.loads((finished / "result.json").read_text())["warnings"] == []


def test_divergence_is_one_sentence(both_stages: Make, manifest: Path, tmp_path: Path) -> None:
    rates = {"adapters": 1e30, "singular_values": 1e30, "decoder": 1e30}
    recipe = stage_1_only(both_stages(), learning_rates=rates)
    with pytest.raises(
        CheckpointError, match=r"diverged in stage stage1 at step 1.*lower the learning rates"
    ):
        train(recipe, manifest, tmp_path / "run", report=silent)


def test_a_last_step_that_diverges_is_noticed(both_stages: Make, manifest: Path, tmp_path: Path) -> None:
    rates = {"adapters": 0.0, "singular_values": 1e30, "decoder": 0.0}
    schedule = {"epochs": 1, "batch_size": 2, "steps_per_epoch": 1}
    recipe = stage_1_only(both_stages(), learning_rates=rates, schedule=schedule, prune_at=[])
    with pytest.raises(CheckpointError, match="the norm of the weights is not finite"):
        train(recipe, manifest, tmp_path / "run", report=silent)


def groups_of(kind: dict[str, Any]) -> dict[str, set[str]]:
    recipe = parse_recipe({"name": "g", "base": {"architecture": "tiny"}, "stages": [kind]})
    model = build_sam({"image_size": 64, "hidden_size": 64, "num_layers": 1, "num_heads": 2,
                       "global_attention_layers": [0], "prompt_dim": 32})  # fmt: skip
    stage = recipe.stages[0]
    model, _ = enter_stage(stage, model, Structure({}), seed=0)
    groups: dict[str, set[str]] = {}
    for group in trainable_groups(model, stage):
        assert not groups.get(group.rate, set()) & set(group.parameters)
        groups.setdefault(group.rate, set()).update(group.parameters)
        assert all(p.requires_grad for p in group.parameters.values())
        assert all((p.ndim > 1) == group.decayed for p in group.parameters.values() if group.decayed)
    trained = set().union(*groups.values()) if groups else set()
    assert trained == {name for name, p in model.named_parameters() if p.requires_grad}
    return groups


def test_groups_of_stage_1() -> None:
    schedule = {"epochs": 13}
    groups = groups_of({"name": "s", "kind": "adalora", "schedule": schedule})
    assert set(groups) == {"adapters", "singular_values", "decoder"}
    assert all(name.startswith("mask_decoder.") for name in groups["decoder"])
    assert all(name.endswith(".singular_values") for name in groups["singular_values"])
    assert {name[-2:] for name in groups["adapters"]} == {".P", ".Q"}
    assert len(groups["singular_values"]) == 3


@pytest.mark.parametrize(
    ("part", "rates"),
    [("all", {"encoder", "prompts", "decoder"}), ("encoder", {"encoder"}), ("decoder", {"decoder"})],
)
def test_groups_of_a_full_stage(part: str, rates: set[str]) -> None:
    groups = groups_of({"name": "s", "kind": "full", "train": part})
    assert set(groups) == rates
    assert not any("positional_embedding" in name for names in groups.values() for name in names)


def test_each_group_has_its_own_rate() -> None:
    rates = {"encoder": 1.0, "adapters": 2.0, "singular_values": 3.0, "decoder": 4.0}
    stage = {"name": "s", "kind": "full", "learning_rates": rates}
    recipe = parse_recipe({"name": "g", "base": {"architecture": "tiny"}, "stages": [stage]})
    found = {rate: recipe.stages[0].learning_rates.of(rate) for rate in (*rates, "prompts")}
    assert found == {**rates, "prompts": 4.0}


def test_the_base_of_the_paper_stage_2_is_lambda_alone(
    both_stages: Make, manifest: Path, tmp_path: Path
) -> None:
    document = both_stages()
    document["stages"][1] |= {"train": "singular_values", "policy": "paper"}
    lines: list[str] = []
    result = train(parse_recipe(document), manifest, tmp_path / "run", report=lines.append)["stages"][1]
    gain = result["after"]["dice_no_box"] - result["before"]["dice_no_box"]
    (said,) = [line for line in lines if "(PTQ)" in line]
    assert f"({gain:+.4f}); no singular value changed by more than" in said
    assert result["trainable_parameters"] == 6  # one λ a component
    assert result["max_singular_value_change"] >= 0
    before, after = (load_run(tmp_path / "run", s).model.state_dict() for s in ("stage1", "stage2"))
    changed = {n for n, t in before.items() if not torch.equal(after[n], t)}
    assert all(name.endswith("singular_values") for name in changed)


def test_post_training_quantisation_takes_no_step(both_stages: Make, manifest: Path, tmp_path: Path) -> None:
    document = both_stages()
    document["stages"] = [document["stages"][1] | {"train": "nothing"}]
    result = train(parse_recipe(document), manifest, tmp_path / "run", report=silent)["stages"][0]
    assert (result["steps"], result["trainable_parameters"]) == (0, 0)
    assert result["after"] == result["before"]
    assert load_run(tmp_path / "run").structure.policy is not None


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft asks transformers
def test_adapters_load_with_peft_and_give_the_same_masks(finished: Path) -> None:
    peft = pytest.importorskip("peft")
    base = load_run(finished, "base").model
    ours = load_run(finished, "stage1").model
    theirs = peft.PeftModel.from_pretrained(base, finished / "adapter").eval()
    torch.manual_seed(0)
    image, boxes = torch.randn(1, 1, 32, 32), torch.tensor([[[2.0, 3.0, 20.0, 30.0]]])
    with torch.no_grad():
        wanted = ours(pixel_values=image, input_boxes=boxes, multimask_output=False).pred_masks
        found = theirs(pixel_values=image, input_boxes=boxes, multimask_output=False).pred_masks
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_rebuilt_model_has_the_memory_of_a_trained_one(finished: Path) -> None:
    run = load_run(finished, "stage1")
    for parameter in build_model(run.structure).parameters():
        assert parameter.is_contiguous()


def test_a_run_is_never_overwritten(finished: Path, both_stages: Make, manifest: Path) -> None:
    with pytest.raises(OutputError, match="run already holds a run; continue it with --resume"):
        train(parse_recipe(both_stages()), manifest, finished)


def test_no_phase_is_silent(manifest, tmp_path):
    """Each long phase says what it does before it begins: nobody waits for a first score in the dark."""
    lines: list[str] = []
    recipe = parse_recipe(
        {
            "name": "told",
            "base": {"architecture": "tiny"},
            "stages": [
                {
                    "name": "stage1",
                    "kind": "adalora",
                    "r_max": 24,
                    "r_target": 12,
                    "prune_at": [],
                    "schedule": {"epochs": 1, "steps_per_epoch": 1, "batch_size": 2},
                },
                {
                    "name": "stage2",
                    "kind": "quantize",
                    "calibration_films": 2,
                    "schedule": {"epochs": 1, "steps_per_epoch": 1, "batch_size": 2},
                },
            ],
        }
    )
    train(recipe, manifest, tmp_path / "run", report=lines.append)
    said = "\n".join(lines)
    assert lines[0].startswith("read random weights, ")
    assert lines[0].endswith("validation films")
    assert "stage1: r_max 24 is capped to 4, an eighth of the smallest adapted width (32)" in said
    assert "and r_target 12 becomes 2" in said
    assert "prune_at is empty, so nothing is pruned to r_target 12: every matrix keeps rank 4" in said
    assert "stage1: scoring" in said
    assert "stage2: calibrating ranges on 2 films" in said
    assert said.index("stage1: scoring") < said.index("stage1 epoch 0/1")


def test_a_slow_phase_tells_how_far_it_is():
    told: list[str] = []
    pace = Pace(told.append, every=0.0)
    pace.tell("step 3 of 9")
    Pace(told.append, every=1000.0).tell("too soon")
    assert told == ["step 3 of 9"]


def test_a_recipe_may_change_what_is_done_to_a_film(manifest, tmp_path):
    recipe = {
        "name": "other-greys",
        "base": {"architecture": "tiny", "preprocessing": {"grey_range": "min-max"}},
        "stages": [
            {"name": "base", "kind": "full", "schedule": {"epochs": 1, "steps_per_epoch": 1, "batch_size": 2}}
        ],
    }
    train(parse_recipe(recipe), manifest, tmp_path / "run")
    assert load_run(tmp_path / "run").preprocessing.grey_range == "min-max"
    recipe["base"]["preprocessing"] = {"grey": "wide"}
    with pytest.raises(RecipeError, match=r"base\.preprocessing.*grey"):
        train(parse_recipe(recipe), manifest, tmp_path / "other")
    assert not (tmp_path / "other").exists()
