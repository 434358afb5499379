"""The schema of bundle.json says what `load_bundle` asks for, and what ships is valid."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from adaloraqat.bundle import format as bundle_format
from adaloraqat.bundle import load_bundle, shipped_names
from adaloraqat.errors import BundleError
from adaloraqat.radiograph.preprocess import GREY_RANGES, Preprocessing

SCHEMA = json.loads(Path(bundle_format.__file__).with_name("bundle.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def properties(key: str) -> dict[str, Any]:
    return SCHEMA["properties"][key]["properties"]


def test_the_schema_names_what_the_reader_needs() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["required"] == list(bundle_format.REQUIRED)
    assert SCHEMA["properties"]["format_version"]["const"] == bundle_format.FORMAT_VERSION
    told = {field.name for field in fields(bundle_format.Bundle)} - {"folder"}
    assert set(SCHEMA["properties"]) == told
    assert set(properties("prompt")) == {field.name for field in fields(bundle_format.Prompt)}
    assert set(properties("precision")) == {field.name for field in fields(bundle_format.StoredPrecision)}
    assert set(properties("preprocessing")) == {field.name for field in fields(Preprocessing)}
    assert properties("prompt")["automatic"]["enum"] == list(bundle_format.AUTOMATIC_PROMPTS)
    assert properties("precision")["weight_range"]["enum"] == list(bundle_format.WEIGHT_RANGES)
    assert properties("preprocessing")["grey_range"]["enum"] == list(GREY_RANGES)


@pytest.mark.parametrize("name", shipped_names())
def test_what_ships_is_valid(name: str) -> None:
    document = json.loads((load_bundle(name).folder / bundle_format.DOCUMENT).read_text())
    VALIDATOR.validate(document)
    for wrong in ({"precision": {}}, {"smallest_part": 2}, {"files": {}}, {"name": 1}):
        assert not VALIDATOR.is_valid(document | wrong)


@pytest.mark.parametrize("section", ["precision", "prompt", "preprocessing", "files"])
def test_a_key_that_is_missing_is_missed_by_both(section: str) -> None:
    folder = load_bundle("lung-open").folder
    document = json.loads((folder / bundle_format.DOCUMENT).read_text())
    missed = 0
    for key in document[section]:
        without = {name: value for name, value in document[section].items() if name != key}
        changed = document | {section: without}
        try:
            bundle_format.parse_bundle(folder, changed)
        except BundleError:
            missed += 1
            assert not VALIDATOR.is_valid(changed), key
        else:
            assert VALIDATOR.is_valid(changed), key
    assert missed
