"""The JSON Schema of a line of results.jsonl, made from the classes that a line is written from."""

import inspect
import re
import types
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from adaloraqat.batch.results import SCHEMA, ResultLine

PUBLISHED = "results.schema.json"
"""The schema as a file beside this one."""

_NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
_ATTRIBUTE = re.compile(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", re.MULTILINE | re.DOTALL)


def result_schema() -> dict[str, Any]:
    """Return the schema (JSON Schema, draft 2020-12) of one line."""
    schema = _object(ResultLine)
    schema["properties"]["schema"] = {"const": SCHEMA, **schema["properties"]["schema"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of adaloraqat's results.jsonl",
        **schema,
    }


def _object(kind: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    told = _descriptions(kind)
    properties = {
        field.name: {
            **_type(hints[field.name]),
            **({"description": told[field.name]} if field.name in told else {}),
        }
        for field in fields(kind)
    }
    # as an entry has the keys of challenge cases only where it is one
    required = [field.name for field in fields(kind) if field.default is MISSING]
    return {"type": "object", "properties": properties, "required": required}


def _type(hint: Any) -> dict[str, Any]:
    if hint is Any:
        return {}
    if is_dataclass(hint) and isinstance(hint, type):
        return _object(hint)
    origin, inside = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(inside)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_type(one) for one in inside]}
    if origin in (list, tuple):
        return {"type": "array", "items": _type(inside[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _type(inside[1])}
    return {"type": _NAMES[hint]}


def _descriptions(kind: type[Any]) -> dict[str, str]:
    _, _, attributes = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    return {name: " ".join(text.split()) for name, text in _ATTRIBUTE.findall(attributes + "\n")}
