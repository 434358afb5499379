"""Which of the media types on offer a client wants (RFC 9110, Accept)."""

import re
from collections.abc import Iterable, Sequence

_RANGE = re.compile(r"([\w!#$&^.+-]+|\*)/([\w!#$&^.+-]+|\*)", re.ASCII)
_QUALITY = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")


def chosen(accept: Iterable[str], offers: Sequence[str]) -> str | None:
    """Return the offer that a client likes best; None where it wants none of them.

    The most specific range that matches an offer tells how much it is liked; of equals what was named
    itself goes before what a wildcard lets pass, then the order of the offers counts. Parameters are not
    looked at, and what is no range is left out.

    Args:
        accept: the values of all Accept headers; without any, the first offer is as good as any other.
        offers: media types in small letters, the most usual first.
    """
    header = ",".join(accept)
    if not header.strip():
        return offers[0]
    ranges = dict(filter(None, map(_range, header.split(","))))
    best: tuple[float, int] = (0.0, 0)
    found = None
    for offer in offers:
        main = offer.partition("/")[0]
        matching = [(2, offer), (1, f"{main}/*"), (0, "*/*")]
        liked = next(((ranges[name], rank) for rank, name in matching if name in ranges), (0.0, 0))
        if liked[0] > 0 and liked > best:
            best, found = liked, offer
    return found


def _range(text: str) -> tuple[str, float] | None:
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    if not _RANGE.fullmatch(name):
        return None
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            return (name, float(value)) if _QUALITY.fullmatch(value.strip()) else None
    return name, 1.0
