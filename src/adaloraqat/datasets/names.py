"""File names made from ids, which may hold anything."""

import hashlib
import re


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
