"""Many films: the results file, the processes that work, and how an interrupted call is continued."""

from adaloraqat.batch.film_entry import FilmEntry
from adaloraqat.batch.results import FilmStamp, ResultLine, ResultsFile, Settings
from adaloraqat.batch.run import Outcome, run_batch

__all__ = ["FilmEntry", "FilmStamp", "Outcome", "ResultLine", "ResultsFile", "Settings", "run_batch"]
