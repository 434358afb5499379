"""Conditions that a user can act on.

`str(error)` is one sentence that says what is wrong and what to do. The command line prints it and ends with
the contract's exit code; a traceback is reserved for defects of this package.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class AdaloraqatError(Exception):
    """Base of every error that a user, not a developer, can fix."""


class FilmError(AdaloraqatError):
    """A film, mask or box cannot be used."""


class ManifestError(AdaloraqatError):
    """A manifest is missing, malformed or names films that cannot be used."""


class BundleError(AdaloraqatError):
    """A bundle is missing, damaged, foreign or from a newer format."""


class RecipeError(AdaloraqatError):
    """A recipe or one of its values is not acceptable."""


class CheckpointError(AdaloraqatError):
    """Base weights, a checkpoint or a run folder cannot be used."""


class OutputError(AdaloraqatError):
    """A result cannot be written (no space, no permission, a name collision)."""


@contextmanager
def refused_as(error: AdaloraqatError, *passed: type[Exception]) -> Iterator[None]:
    """Raise `error` in place of any exception within, of which libraries have many for damaged input.

    Those of this package pass as they are, because they say it better, and so do those `passed`.
    """
    try:
        yield
    except Exception as cause:
        if isinstance(cause, (AdaloraqatError, *passed)):
            raise
        raise error from cause
