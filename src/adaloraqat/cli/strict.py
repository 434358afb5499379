"""`segment --strict`: which answers are refused, by name."""

from dataclasses import dataclass

from adaloraqat.bundle import Bundle, Segmentation
from adaloraqat.errors import AdaloraqatError, BundleError

MIN_QUALITY = 0.85
"""Expected Dice below which a film is refused, unless the call says otherwise."""
REFUSED = ("not-a-chest", "lateral", "blank-film", "empty-mask")
"""Warnings that refuse a film."""


@dataclass(frozen=True)
class Strictness:
    """What is refused: the warnings of `REFUSED`, an expected Dice below `quality`; `keep` saves masks."""

    quality: float
    keep: bool

    def refusal(self, result: Segmentation) -> str | None:
        """Return why a film is refused, one sentence; None where it is not."""
        for warning in result.warnings:
            code, _, sentence = warning.partition(": ")
            if code in REFUSED:
                return f"Refused ({code}): {sentence}"
        if result.quality_error is not None and (result.quality or 0.0) < self.quality:
            return (
                f"Refused (low-quality): the expected Dice is {result.quality:.2f}, below {self.quality:g}; "
                "check the film."
            )
        return None


def strictness(strict: bool, min_quality: float | None, keep: bool) -> Strictness | None:
    """Return what `--strict` asks for, None without it.

    Raises:
        AdaloraqatError: `--min-quality` or `--keep` without `--strict`.
    """
    if not strict:
        if min_quality is not None or keep:
            raise AdaloraqatError("--min-quality and --keep belong to --strict: add it, or leave them out.")
        return None
    return Strictness(MIN_QUALITY if min_quality is None else min_quality, keep)


def check_measures(asked: bool, bundle: Bundle) -> None:
    """Refuse `--measures` where the model was not trained for structures.

    Raises:
        BundleError: it was not.
    """
    if asked and not bundle.has_structures:
        raise BundleError(
            f"The model {bundle.name!r} was not trained to tell right lung, left lung and heart apart: "
            "leave out --measures, or choose another model (see `adaloraqat info`)."
        )
