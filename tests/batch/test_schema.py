"""The published schema is what the program writes; checked by a validator where one is installed."""

import json
from dataclasses import fields
from pathlib import Path

import pytest

import adaloraqat.batch.schema
from adaloraqat.batch.film_entry import FilmEntry
from adaloraqat.batch.results import BundleStamp, FilmStamp, ResultLine
from adaloraqat.batch.schema import PUBLISHED, result_schema


def test_the_published_file_is_the_generated_one() -> None:
    published = Path(adaloraqat.batch.schema.__file__).with_name(PUBLISHED)
    assert json.loads(published.read_text()) == result_schema()


def test_every_field_is_described() -> None:
    entry = result_schema()["properties"]["entry"]["properties"]
    assert set(entry) == {field.name for field in fields(FilmEntry)}
    assert all(one["description"] for one in entry.values())
    assert entry["quality"] == {
        "anyOf": [{"type": "number"}, {"type": "null"}],
        "description": "in [0, 1]: the expected Dice where `quality_error` is given, else the predicted IoU.",
    }
    assert result_schema()["properties"]["film"]["properties"]["mtime_ns"]["type"] == "integer"


def test_lines_are_valid() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    line = ResultLine(
        1,
        "0",
        BundleStamp("b", "0"),
        FilmStamp("f", 1, 2),
        {"box": None},
        None,
        FilmEntry("f", spacing_mm=(1, 2)),
    )
    document = json.loads(line.to_json())
    jsonschema.validate(document, result_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document | {"failure": "unknown"}, result_schema())
