"""`Segmenter.from_pretrained` by the Hub's real client, from a Hub on this computer."""

import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import close_session, constants
from tiny_bundle import two_lungs, write_tiny_bundle

from adaloraqat import BundleError, Segmenter

sys.path.append(str(Path(__file__).parents[1] / "models"))

from hub_stub import HubStub, serving

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADALORAQAT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def hub(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStub]:
    write_tiny_bundle(tmp_path / "lungs")
    files = {path.name: path.read_bytes() for path in (tmp_path / "lungs").iterdir()}
    stub = HubStub(
        "clinic/lungs", COMMIT, {**files, "README.md": b"not fetched", "run.py": b"1/0"}, large=1000
    )
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with serving(stub) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield stub
        close_session()


def files_in(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() or path.name.startswith(".")
    )


def refused(says: str, *arguments: Any) -> None:
    with pytest.raises(BundleError, match=says) as caught:
        Segmenter.from_pretrained(*arguments)
    assert "\n" not in str(caught.value)


def test_a_bundle_is_fetched_once_and_segments_as_it_does_here(
    hub: HubStub, cache: Path, tmp_path: Path
) -> None:
    segmenter = Segmenter.from_pretrained("clinic/lungs")
    film = two_lungs()
    mask = segmenter.segment(film).mask
    assert mask.any()
    assert np.array_equal(mask, Segmenter.load(tmp_path / "lungs").segment(film).mask)
    assert segmenter.notices == ()
    folder = f"hub/clinic--lungs/{COMMIT}/lungs"
    assert files_in(cache) == [
        *(f"{folder}/{name}" for name in ("bundle.json", "decoder.onnx", "encoder.onnx")),
        "hub/clinic--lungs/revisions.json",
    ]
    assert {path for _, path in hub.asked if "resolve" in path} == {
        f"/clinic/lungs/resolve/{COMMIT}/{name}" for name in ("bundle.json", "decoder.onnx", "encoder.onnx")
    }
    hub.asked.clear()
    again = pickle.loads(pickle.dumps(Segmenter.from_pretrained("clinic/lungs")))
    assert np.array_equal(again.segment(film).mask, mask)
    assert [path for _, path in hub.asked] == ["/api/models/clinic/lungs/revision/main"]
    hub.asked.clear()
    Segmenter.from_pretrained("clinic/lungs", COMMIT)
    assert hub.asked == []  # a commit never changes


def test_a_branch_moves_and_a_commit_stays(hub: HubStub, cache: Path, tmp_path: Path) -> None:
    hub.revisions = ("main", COMMIT)
    Segmenter.from_pretrained("clinic/lungs")
    write_tiny_bundle(tmp_path / "later", threshold=0.1, name="later")
    hub.files |= {path.name: path.read_bytes() for path in (tmp_path / "later").iterdir()}
    hub.commit = "f" * 40
    assert Segmenter.from_pretrained("clinic/lungs").bundle.name == "later"
    assert Segmenter.from_pretrained("clinic/lungs", COMMIT).bundle.name == "tiny"
    refused("has no revision 'v9'", "clinic/lungs", "v9")


def test_offline_it_is_the_last_known_one_with_a_notice(
    hub: HubStub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Segmenter.from_pretrained("clinic/lungs")
    hub.failing = 503
    assert "did not answer" in Segmenter.from_pretrained("clinic/lungs").notices[0]
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    (notice,) = Segmenter.from_pretrained("clinic/lungs").notices
    assert COMMIT[:12] in notice
    refused("could not be downloaded from the Hugging Face Hub .no connection", "clinic/lungs", "v2")
    code = (
        "import sys; from adaloraqat import Segmenter\n"
        "print(Segmenter.from_pretrained('clinic/lungs').notices[0])\n"
        "assert not {'torch', 'transformers'} & {*sys.modules}\n"
        "try: Segmenter.from_pretrained('clinic/hearts')\n"
        "except Exception as error: print(error)\n"
    )
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kept, absent = ended.stdout.splitlines()
    assert "on this computer is used" in kept
    assert "cannot be downloaded while HF_HUB_OFFLINE is set: unset it, or copy the bundle" in absent


def test_what_was_damaged_since_is_fetched_anew(hub: HubStub, cache: Path) -> None:
    folder = Segmenter.from_pretrained("clinic/lungs").bundle.folder
    (folder / "encoder.onnx").write_bytes(b"damaged")
    (cache / "hub/.clinic--lungs.tmp-killed").mkdir()
    Segmenter.from_pretrained("clinic/lungs")
    assert (folder / "encoder.onnx").read_bytes() == hub.files["encoder.onnx"]
    assert not any(".tmp-" in name for name in files_in(cache))


def _names_another_file(hub: HubStub) -> None:
    document = json.loads(hub.files["bundle.json"])
    document["files"]["more.onnx"] = document["files"]["encoder.onnx"]
    hub.files["bundle.json"] = json.dumps(document).encode()


def _swapped(hub: HubStub) -> None:
    hub.large = 0
    hub.swapped = b"x" * len(hub.files["bundle.json"])  # another length, and the client itself refuses it


def _climbs(hub: HubStub) -> None:
    document = json.loads(hub.files["bundle.json"])
    document["files"]["../../evil.onnx"] = document["files"]["encoder.onnx"]
    hub.files["bundle.json"] = json.dumps(document).encode()


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (
            lambda hub: setattr(hub, "token", "t"),
            "The Hub does not show clinic/lungs: it does not exist, or it is private",
        ),
        (lambda hub: setattr(hub, "exists", False), "The Hub does not show clinic/lungs"),
        (lambda hub: setattr(hub, "gated", True), "asks for consent"),
        (lambda hub: setattr(hub, "failing", 503), "The Hub answers 503"),
        (lambda hub: setattr(hub, "failing", 403), "to this token .403.*one that may read it"),
        (lambda hub: hub.files.pop("bundle.json"), "is not a bundle, because it holds no bundle.json"),
        (lambda hub: hub.files.update({"bundle.json": b"{"}), "The bundle.json of clinic/lungs is not JSON"),
        (lambda hub: hub.files.update({"bundle.json": b"[]"}), "states no format version"),
        (lambda hub: hub.files.update({"encoder.onnx": b"other"}), "encoder.onnx .*vouches for"),
        (_swapped, "is not what the Hub announced"),
        (_names_another_file, "lacks more.onnx, which its bundle.json names"),
        (_climbs, "names a file outside its own folder"),
    ],
)
def test_whatever_is_wrong_is_one_sentence_and_nothing_is_kept(
    hub: HubStub, cache: Path, breaks: Any, says: str
) -> None:
    breaks(hub)
    refused(says, "clinic/lungs")
    assert list((cache / "hub").glob("*")) == []


@pytest.mark.parametrize("name", ["lungs", "a/b/c", "a/", "/b", "a/..", "a--b/c", "a/b.git", "a/b c", ""])
def test_a_name_that_is_none_is_refused_without_asking(hub: HubStub, name: str) -> None:
    refused("is not a repository of the Hugging Face Hub: give OWNER/NAME", name)
    assert hub.asked == []


def test_without_client_or_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "huggingface_hub", None)
        refused(r"pip install '\.\[hub\]'", "clinic/lungs")
    monkeypatch.setenv("ADALORAQAT_CACHE", "off")
    refused("while ADALORAQAT_CACHE is off", "clinic/lungs")
