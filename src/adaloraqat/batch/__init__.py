"""Many films: the results file, the processes that work, and how an interrupted call is continued."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaloraqat.batch.film_entry import FilmEntry
    from adaloraqat.batch.results import FilmStamp, ResultLine, ResultsFile, Settings
    from adaloraqat.batch.run import Outcome, run_batch

__all__ = ["FilmEntry", "FilmStamp", "Outcome", "ResultLine", "ResultsFile", "Settings", "run_batch"]

_HOMES = {"FilmEntry": "film_entry", "Outcome": "run", "run_batch": "run"}


def __getattr__(name: str) -> Any:  # so that `segment` of one film, which makes an entry, waits for no worker
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'results')}"), name)
