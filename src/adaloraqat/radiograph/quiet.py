"""Keep the warnings of libraries from the user, to whom a film's own sentence says what matters."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_FILTERS = threading.RLock()  # warning filters belong to the whole process


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore Python's warnings within; one thread at a time, which may nest it."""
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
