"""Films gathered by patient: those of one patient are alike, so the patient is what chance draws."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ByPatient:
    """Sums over each patient's films.

    Attributes:
        sums: (M, K) sum of each of K values over the films of each of M patients.
        films: (M,) number of films of each patient.
    """

    sums: Floats
    films: Floats

    @property
    def means(self) -> Floats:
        """(M, K) mean of each patient."""
        return self.sums / self.films[:, None]

    @property
    def overall(self) -> Floats:
        """(K,) mean over films, each film counting once."""
        return np.asarray(self.sums.sum(axis=0) / self.films.sum())


def by_patient(values: Floats, patients: Sequence[str]) -> ByPatient:
    """Gather (N, K) values, one row a film, by the patient of each row; patients in the order of their names.

    Raises:
        ValueError: the two differ in length, or a value is not finite.

    """
    if len(values) != len(patients):
        raise ValueError(f"{len(values)} values but {len(patients)} patients")
    if not np.isfinite(values).all():
        raise ValueError("a value is NaN or infinite: give a failed film its worst score")
    _, index = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    count = int(index.max()) + 1 if len(index) else 0
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, index, values)
    return ByPatient(sums, np.bincount(index, minlength=count).astype(float))
