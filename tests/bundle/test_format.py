import json
import shutil
from pathlib import Path

import pytest
from tiny_bundle import fields, write_tiny_bundle

from adaloraqat.bundle import load_bundle, shipped, write_bundle
from adaloraqat.errors import BundleError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tiny_bundle(tmp_path / "tiny")
    return tmp_path / "tiny"


def edit(folder: Path, **changes: object) -> None:
    path = folder / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refusal(where: object) -> str:
    with pytest.raises(BundleError) as caught:
        load_bundle(where)  # type: ignore[arg-type]
    sentence = str(caught.value)
    assert "/" not in sentence.replace("`", "")  # names of files, never paths
    return sentence


def test_what_is_written_is_what_is_loaded(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert bundle.name == "tiny"
    assert bundle.preprocessing.image_size == 64
    assert bundle.precision.weight_range == "portable"
    assert bundle.prompt.quality_trained
    assert bundle.files["encoder.onnx"].bytes == bundle.encoder.stat().st_size
    assert load_bundle(folder / "bundle.json") == bundle


def test_missing_and_foreign(tmp_path: Path) -> None:
    assert "no model called or stored at 'nowhere'" in refusal(tmp_path / "nowhere")
    (tmp_path / "photos").mkdir()
    assert "'photos' is not a bundle" in refusal(tmp_path / "photos")
    (tmp_path / "photos" / "bundle.json").write_text('{"packages": []}')
    assert "not an adaloraqat bundle" in refusal(tmp_path / "photos")


NO_UNICODE = '{"format_version": 1, "name": "\\ud800"}'


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "\udcff".encode("utf-8", "surrogateescape"), "[" * 10**5, NO_UNICODE]
)
def test_unreadable_manifest(folder: Path, text: str | bytes) -> None:
    (folder / "bundle.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert "is damaged: its bundle.json" in refusal(folder)


def test_newer_format_is_refused_with_the_remedy(folder: Path) -> None:
    edit(folder, format_version=2)
    assert "update adaloraqat" in refusal(folder)


@pytest.mark.parametrize("version", [None, "1", 0, True, 1.0])
def test_strange_versions(folder: Path, version: object) -> None:
    edit(folder, format_version=version)
    assert "states no format version" in refusal(folder)


@pytest.mark.parametrize("key", [key for key in fields() if key != "format_version"])
def test_every_key_is_required_and_typed(folder: Path, key: str) -> None:
    document = json.loads((folder / "bundle.json").read_text())
    edit(folder, **{key: None})
    assert key in refusal(folder)
    del document[key]
    (folder / "bundle.json").write_text(json.dumps(document))
    assert f"lacks '{key}'" in refusal(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"preprocessing": {"image_size": 64}}, "'preprocessing'"),
        ({"precision": {"policy": "int8", "modules": {}}}, "'precision.weight_range'"),
        (
            {"precision": {"policy": "int8", "modules": {}, "weight_range": "foo"}},
            "is not one of portable, full, none",
        ),
        (
            {"prompt": {"second_pass": "no", "quality_trained": True}},
            "'prompt.second_pass' in its bundle.json is not true or false",
        ),
        (
            {"prompt": {"second_pass": True, "quality_trained": True, "automatic": "guess"}},
            "'prompt.automatic' in its bundle.json is not one of whole, proposed-box, proposed-lungs",
        ),
        (
            {"precision": {"policy": "int8", "modules": {"a": 8}, "weight_range": "full"}},
            "'precision.modules.a'",
        ),
        ({"precision": []}, "'precision' in its bundle.json is not an object"),
        ({"name": 1}, "'name' in its bundle.json is not a text"),
        *(
            ({"smallest_part": value}, "is not a number from 0 to 1")
            for value in (True, "0", -0.1, 1.1, float("nan"))
        ),
        ({"files": {"encoder.onnx": {"sha256": "0", "bytes": 1}}}, "does not list decoder.onnx"),
        (
            {"files": {"encoder.onnx": {"sha256": "0", "bytes": 1.0}}},
            "'files.encoder.onnx.bytes' in its bundle.json is not a whole number",
        ),
    ],
)
def test_sections(folder: Path, changes: dict[str, object], said: str) -> None:
    edit(folder, **changes)
    assert said in refusal(folder)


@pytest.mark.parametrize(
    "change",
    [
        *({"image_size": value} for value in (True, 64.0, "64", 10**9, -1, None)),
        *({"channels": value} for value in (True, 1.0, 10**9, 0)),
        *({"percentile_low": value} for value in (False, "0", float("nan"))),
        *(
            {key: value}
            for key in ("mean", "std")
            for value in (0.5, "5", [True], [float("inf")], [1e39], [])
        ),
        {"std": [1e-40]},
    ],
)
def test_preprocessing_of_wrong_types_and_sizes(folder: Path, change: dict[str, object]) -> None:
    edit(folder, preprocessing=fields()["preprocessing"] | change)
    assert "'preprocessing' in its bundle.json is not valid" in refusal(folder)


def test_what_can_be_no_path(folder: Path) -> None:
    long = "x" * 300
    assert "cannot be opened (File name too long)" in refusal(folder / long)
    files = json.loads((folder / "bundle.json").read_text())["files"]
    edit(folder, files={**files, long: files["decoder.onnx"]})
    assert "cannot be read" in refusal(folder)


def test_a_flipped_bit_is_found(folder: Path) -> None:
    content = bytearray((folder / "decoder.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "decoder.onnx").write_bytes(content)
    assert "its file decoder.onnx is not the one exported" in refusal(folder)


def test_truncated_and_missing_files(folder: Path) -> None:
    with open(folder / "encoder.onnx", "rb+") as stream:
        stream.truncate(10)
    assert "encoder.onnx is not the one exported" in refusal(folder)
    (folder / "encoder.onnx").unlink()
    assert "encoder.onnx is missing" in refusal(folder)


@pytest.mark.parametrize("name", ["../decoder.onnx", "/etc/hostname", "a/../../x", "..\\x", "C:x", ""])
def test_no_file_outside_the_folder(folder: Path, name: str) -> None:
    files = json.loads((folder / "bundle.json").read_text())["files"]
    edit(folder, files={**files, name: files["decoder.onnx"]})
    assert "outside its own folder" in refusal(folder)


def test_no_link_out_of_the_folder(folder: Path) -> None:
    shutil.move(folder / "decoder.onnx", folder.parent / "decoder.onnx")
    (folder / "decoder.onnx").symlink_to(folder.parent / "decoder.onnx")
    assert "link out of its folder" in refusal(folder)


def test_writing_refuses_what_loading_would(tmp_path: Path) -> None:
    (tmp_path / "encoder.onnx").write_bytes(b"e")
    with pytest.raises(BundleError, match=r"does not list decoder\.onnx"):
        write_bundle(tmp_path, fields(), ["encoder.onnx"])
    with pytest.raises(BundleError, match=r"decoder\.onnx is missing"):
        write_bundle(tmp_path, fields(), ["encoder.onnx", "decoder.onnx"])
    assert not (tmp_path / "bundle.json").exists()


@pytest.mark.parametrize("name", shipped.shipped_names())
def test_what_ships_is_intact(name: str) -> None:
    assert load_bundle(name).name == name
