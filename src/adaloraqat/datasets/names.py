"""Ids, which may hold anything, as file names and in sentences."""

import hashlib
import re
from collections.abc import Iterable


def plain_name(identity: str, keep: str = "_.-") -> str:
    """Return `identity` where it is letters, digits and `keep`; else what is left of it, with a hash.

    Two ids never share a name, and a name never leads out of its folder.

    >>> plain_name("JPCLN001"), plain_name("Normal (1)"), plain_name("Normal (1)", keep="_.-() ")
    ('JPCLN001', 'Normal-1-5c4234c1', 'Normal (1)')
    """
    plain = re.sub(rf"[^A-Za-z0-9{re.escape(keep)}]+", "-", identity).strip("-. ")
    if plain == identity:
        return identity
    return f"{plain}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"


def some_of(identities: Iterable[str], most: int = 3) -> str:
    """Return the first few ids for a sentence, and how many more there are.

    >>> some_of(["a", "b"]), some_of("abcdef")
    ("'a', 'b'", "'a', 'b', 'c' and 3 more")
    """
    every = [repr(identity) for identity in identities]
    named = ", ".join(every[:most])
    return f"{named} and {len(every) - most} more" if len(every) > most else named
