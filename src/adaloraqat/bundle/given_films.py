"""Films as callers give them: read where they are not yet, and ahead of the one that is being segmented."""

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat.radiograph import Film, read_film
from adaloraqat.radiograph.formats.inputs import FilmSource

FilmLike = FilmSource | Film | NDArray[Any]

READ_AHEAD = 2
"""Films that `segment_many` reads before they are needed."""


def as_film(film: FilmLike) -> Film:
    """Return the film itself, or read it; a 2-D array is taken as `Film.from_array` says.

    Raises:
        FilmError: it cannot be read.
    """
    if isinstance(film, Film):
        return film
    if isinstance(film, np.ndarray):
        return Film.from_array(film)
    return read_film(film)


def read_ahead(films: Iterable[FilmLike]) -> Generator[Future[Film], None, None]:
    """Give films in their order; `READ_AHEAD` more are being read in a thread while one is used.

    Closing the iterator ends the thread. The result of one that cannot be read raises its `FilmError`.
    """
    source = iter(films)
    reader = ThreadPoolExecutor(1, thread_name_prefix="adaloraqat-reader")
    try:
        ahead = deque(reader.submit(as_film, film) for film in islice(source, READ_AHEAD))
        while ahead:
            reading = ahead.popleft()
            ahead.extend(reader.submit(as_film, film) for film in islice(source, 1))
            yield reading
    finally:
        reader.shutdown(wait=False, cancel_futures=True)
