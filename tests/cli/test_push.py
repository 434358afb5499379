"""`adaloraqat push` by the Hub's real client, to a Hub on this computer, and back."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_stub import HubStub, faults_of_card, serving
from huggingface_hub import ModelCard, close_session, constants
from refusal import refused
from smallest import ARCHITECTURE
from tiny_bundle import write_tiny_bundle

from adaloraqat import Segmenter
from adaloraqat.bundle.shipped import shipped_path
from adaloraqat.files import write_json

# of the client's own upload to storage
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

RECIPE = {
    "name": "small",
    "base": {"architecture": ARCHITECTURE},
    "stages": [
        {
            "name": "stage1",
            "kind": "full",
            "schedule": {"epochs": 1, "batch_size": 2, "steps_per_epoch": 1},
        }
    ],
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStub]:
    """A Hub without the repository, and this computer logged in to it."""
    stub = HubStub("clinic/lungs", "a" * 40, {}, large=1000, exists=False, token="made-up")
    monkeypatch.setenv("ADALORAQAT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "made-up")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the storage of this Hub has no chunks
    with serving(stub) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield stub
        close_session()


def card_of(hub: HubStub) -> ModelCard:
    card = ModelCard(hub.files["README.md"].decode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", os.environ["HF_ENDPOINT"])  # as it was at the client's import
        card.validate()
    return card


def test_a_bundle_goes_there_in_one_commit_and_comes_back(
    run: Any, hub: HubStub, bundle: Path, tmp_path: Path
) -> None:
    shutil.copytree(bundle, tmp_path / "lungs")
    (tmp_path / "lungs/notes.txt").write_text("of a patient")
    ended = run("push", "lungs", "clinic/lungs", "--private")
    assert ended.code == 0, ended.err
    names = ["LICENSE.md", "README.md", "bundle.json", "decoder.onnx", "encoder.onnx"]
    assert hub.commits == [("adaloraqat push: tiny", names)]
    assert sorted(hub.files) == names
    assert len(hub.sent) >= 2  # the graphs went through storage
    assert hub.private
    assert ended.out.strip().endswith(f"/clinic/lungs/commit/{hub.commit}")
    assert 'from_pretrained("clinic/lungs")' in ended.err
    back = Segmenter.from_pretrained("clinic/lungs")
    for path in back.bundle.folder.iterdir():
        assert path.read_bytes() == (bundle / path.name).read_bytes()
    card = card_of(hub)
    assert card.data.license == "other"
    assert (card.data.license_name, card.data.license_link) == ("cc0", "LICENSE.md")
    assert "CC0" in hub.files["LICENSE.md"].decode()
    assert (card.data.library_name, card.data.pipeline_tag) == ("adaloraqat", "image-segmentation")
    assert "Not a medical device" in card.text
    assert "No evaluation was given" in card.text


def test_the_card_says_what_the_bundle_says_and_what_was_measured(
    run: Any, hub: HubStub, bundle: Path, tmp_path: Path
) -> None:
    assert run("data", "phantom", "--count", 10, "--size", 64, "-o", "films").code == 0
    write_tiny_bundle(
        tmp_path / "mine",
        name="mine",
        licence="CC BY 4.0",
        training={
            "recipe": {"base": {"weights": "facebook/sam-vit-base"}, "data": {"sources": ["covid_v7"]}}
        },
    )
    scoring = ("evaluate", "mine", "--data", "films/manifest.csv", "--split", "all", "-o", "scores", "--json")
    summary = json.loads(run(*scoring).out)["models"]["mine"]
    assert run("push", "mine", "clinic/lungs", "--evaluation", "scores").code == 0
    card = card_of(hub)
    assert card.data.license == "cc-by-4.0"
    assert "LICENSE.md" not in hub.files
    assert card.data.base_model == "facebook/sam-vit-base"
    assert "covid_v7" in card.data.tags
    ((source, prompts),) = summary.items()
    found = {(result.dataset_config, result.metric_name): result for result in card.data.eval_results}
    assert {prompt for prompt, _ in found} == {"no box", "true box"}
    dice = found["no box", "Dice"]
    assert dice.metric_value == round(prompts["no_box"]["dice_mean"], 4)
    assert dice.dataset_type == source
    assert dice.dataset_name == f"{source} (10 films, no box)"
    unit = prompts["no_box"]["unit"]
    assert found["true box", f"NSD at 2 {unit}"].metric_value == round(prompts["true_box"]["nsd_2_mean"], 4)
    assert f"| {source} | no box | 10 | {prompts['no_box']['dice_mean']:.4f} |" in card.text
    refused(run("push", bundle, "clinic/lungs", "--evaluation", "scores"), "is of mine, not of tiny")
    assert len(hub.commits) == 1


@pytest.mark.parametrize(
    ("licence", "identifier", "name"),
    [
        ("Apache-2.0", "apache-2.0", None),
        ("Apache-2.0, as published; see THIRD_PARTY_LICENCES.md.", "apache-2.0", None),
        ("CC-BY-4.0", "cc-by-4.0", None),
        ("Apache-2.0 AND CC-BY-4.0", "other", "apache-2.0-and-cc-by-4.0"),
        ("Research use only; see LICENSE-WEIGHTS.", "other", "research-use-only"),
        ("!", "other", "unnamed"),
    ],
)
def test_licences_are_the_hubs_or_said_in_a_file(
    tmp_path: Path, licence: str, identifier: str, name: str | None
) -> None:
    from adaloraqat.report.push import model_card

    bundle = write_tiny_bundle(tmp_path / "b", licence=licence)
    content = model_card(bundle, "clinic/lungs")
    assert faults_of_card(content) == []
    data = ModelCard(content).data
    assert (data.license, data.license_name) == (identifier, name)


def test_a_model_from_litemedsam_names_it_in_words(run: Any, hub: HubStub) -> None:
    assert shipped_path("lung-open").is_dir()
    assert run("push", "lung-open", "clinic/lungs").code == 0
    card = card_of(hub)
    assert card.data.base_model is None  # it has no repository on the Hub
    assert "lite-medsam" in card.text
    assert "probably seen films" in card.text
    assert "covid_v7, phantom-bedside" in card.text
    assert (hub.commits[0][1]).count("mask_prompt.onnx") == 1


def test_a_run_is_exported_first_and_only_for_that(run: Any, hub: HubStub, here: Path) -> None:
    before = {path for path in here.rglob("*") if "cache" not in path.parts}
    ended = run("push", "run", "clinic/lungs", "--revision", "trial", "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["revision"] == "trial"
    assert "trial" in hub.revisions
    assert json.loads(hub.files["bundle.json"])["name"] == "small"
    assert {path for path in here.rglob("*") if "cache" not in path.parts} == before


def _public(hub: HubStub) -> None:
    hub.exists = True


@pytest.mark.parametrize(
    ("breaks", "arguments", "says"),
    [
        (None, ("lungs",), "'lungs' is not a repository"),
        (None, ("other/lungs",), "to this token (403)"),
        (lambda hub: setattr(hub, "token", "another"), (), "to this token (401)"),
        (lambda hub: setattr(hub, "read_only", True), (), "HF_TOKEN to one that may write to it"),
        (lambda hub: setattr(hub, "failing", 503), (), "The Hub answers 503"),
        (_public, ("clinic/lungs", "--private"), "clinic/lungs is public"),
        (None, ("clinic/lungs", "--evaluation", "nothing"), "nothing holds no evaluation.json"),
    ],
)
def test_a_push_that_cannot_be_is_one_sentence(
    run: Any, hub: HubStub, bundle: Path, breaks: Any, arguments: tuple[str, ...], says: str
) -> None:
    if breaks:
        breaks(hub)
    refused(run("push", bundle, *(arguments or ("clinic/lungs",)), "-q"), says)
    assert hub.files == {}
    assert hub.commits == []


def test_without_network_token_client_or_bundle(
    run: Any, hub: HubStub, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(run("push", "nowhere", "clinic/lungs"), "no model called or stored at 'nowhere'")
    write_json(tmp_path / "e/evaluation.json", {"models": []})
    refused(run("push", bundle, "clinic/lungs", "--evaluation", "e"), "cannot be read")
    shutil.copytree(bundle, tmp_path / "hurt")
    (tmp_path / "hurt/encoder.onnx").write_bytes(b"x")
    refused(run("push", "hurt", "clinic/lungs"), "encoder.onnx is not the one exported")
    with monkeypatch.context() as patch:
        patch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        refused(run("push", bundle, "clinic/lungs", "-q"), "could not be uploaded to the Hugging Face Hub")
    with monkeypatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        refused(
            run("push", bundle, "clinic/lungs"), "cannot be uploaded while HF_HUB_OFFLINE is set: unset it."
        )
    with monkeypatch.context() as patch:
        patch.delenv("HF_TOKEN")
        patch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        refused(run("push", bundle, "clinic/lungs"), "without a token", "HF_TOKEN", "hf auth login")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "huggingface_hub", None)
        refused(run("push", bundle, "clinic/lungs"), "pip install '.[hub]'")
    assert hub.commits == []
    assert not hub.exists
