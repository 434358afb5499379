"""Whether what a JSON file holds has the shape of a dataclass: its keys, and the types of their values."""

import types
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

Check = Callable[[Any], bool]


@cache
def fits(hint: Any) -> Check:
    """Return what tells whether a value, as `json` reads it, is of the type `hint`.

    A dataclass stands for an object with a key for each of its fields, but for those that have a default;
    other keys may be there. Checks are made once for each type: a results file has a hundred thousand lines.
    """
    if hint is Any:
        return lambda value: True
    if is_dataclass(hint) and isinstance(hint, type):
        return _object(hint)
    origin, inside = get_origin(hint), get_args(hint)
    if origin is Literal:
        return lambda value: value in inside
    if origin in (Union, types.UnionType):
        either = tuple(map(fits, inside))
        return lambda value: any(check(value) for check in either)
    if origin in (list, tuple):
        item = fits(inside[0])
        return lambda value: isinstance(value, list) and all(map(item, value))
    if origin is dict:
        item = fits(inside[1])
        return lambda value: isinstance(value, dict) and all(map(item, value.values()))
    kinds = (int, float) if hint is float else (hint,)
    return lambda value: isinstance(value, kinds) and (hint is bool or not isinstance(value, bool))


def _object(kind: type[Any]) -> Check:
    hints = get_type_hints(kind)
    checks = {field.name: fits(hints[field.name]) for field in fields(kind)}
    needed = {field.name for field in fields(kind) if field.default is MISSING}

    def is_object(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and needed <= value.keys()
            and all(check(value[name]) for name, check in checks.items() if name in value)
        )

    return is_object
