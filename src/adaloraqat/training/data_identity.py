"""What a run knows its films by, so that it is only ever resumed on the same ones."""

import hashlib
from collections.abc import Sequence

from adaloraqat.datasets.manifest import Entry, digest_of, fingerprint


def data_identity(training: Sequence[Entry], validation: Sequence[Entry]) -> dict[str, str]:
    """Return `fingerprint` (films and masks of both splits) and `division` (their splits and label files).

    Unusable films are known by the bytes they have: after they were mended, it is another run.
    """
    lines = [
        f"{split}\t{entry.id}\t{digest_of(entry.path_labels) if entry.path_labels else ''}\n"
        for split, entries in (("train", training), ("val", validation))
        for entry in entries
    ]
    return {
        "fingerprint": fingerprint([*training, *validation], files_exist=False),
        "division": hashlib.sha256("".join(sorted(lines)).encode()).hexdigest(),
    }
