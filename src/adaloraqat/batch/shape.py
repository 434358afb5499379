"""Whether what a JSON file holds has the shape of a dataclass: its keys, and the types of their values."""

import types
from collections.abc import Callable, Collection
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
    exact = _exact(hint)
    if exact is not None:
        return lambda value: type(value) in exact
    if is_dataclass(hint) and isinstance(hint, type):
        return _object(hint)
    origin, inside = get_origin(hint), get_args(hint)
    if origin is Literal:
        return lambda value: value in inside
    if origin in (Union, types.UnionType):
        return _either(inside)
    if origin in (list, tuple):
        items = _all(inside[0])
        return lambda value: isinstance(value, list) and items(value)
    if origin is dict:
        items = _all(inside[1])
        return lambda value: isinstance(value, dict) and items(value.values())
    raise TypeError(hint)


def _exact(hint: Any) -> frozenset[type] | None:
    """Return the types that `json` gives values of `hint`, a plain type; None for what is not plain."""
    if hint is float:
        return frozenset((int, float))
    return frozenset((hint,)) if hint in (str, int, bool, types.NoneType) else None


def _either(hints: tuple[Any, ...]) -> Check:
    """Return what tells whether a value is of one of `hints`; plain types, the usual ones, are looked up."""
    exact: frozenset[type] = frozenset().union(*filter(None, map(_exact, hints)))
    others = tuple(fits(hint) for hint in hints if _exact(hint) is None)
    return lambda value: type(value) in exact or any(check(value) for check in others)


def _all(hint: Any) -> Callable[[Collection[Any]], bool]:
    """Return what tells whether all values are of the type `hint`."""
    exact = _exact(hint)
    if hint is Any:
        return lambda values: True
    if exact is not None:
        return lambda values: exact.issuperset(map(type, values))
    check = fits(hint)
    return lambda values: all(map(check, values))


def _object(kind: type[Any]) -> Check:
    hints = get_type_hints(kind)
    checks = {field.name: fits(hints[field.name]) for field in fields(kind)}
    needed = {field.name for field in fields(kind) if field.default is MISSING}

    def is_object(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and needed <= value.keys()
            and all(checks[name](item) for name, item in value.items() if name in checks)
        )

    return is_object
