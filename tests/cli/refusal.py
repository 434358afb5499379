"""What every refusal of a command looks like."""

from typing import Any


def refused(ended: Any, *says: str) -> None:
    """Expect exit code 2, nothing on stdout, and one sentence on stderr that holds every text of `says`."""
    assert ended.code == 2
    assert ended.out == ""
    assert len(ended.err.strip().splitlines()) == 1, ended.err
    for text in says:
        assert text in ended.err
