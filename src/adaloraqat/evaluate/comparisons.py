"""Every model against a reference on the same films: the paired statistics of an evaluation."""

from collections.abc import Mapping, Sequence
from typing import Any

from adaloraqat.errors import AdaloraqatError
from adaloraqat.evaluate.rows import FilmRow
from adaloraqat.evaluate.summary import grouped
from adaloraqat.measure.film_scores import (
    check_tolerances,
    has_unit,
    higher_is_better,
    measure_label,
    measure_names,
)
from adaloraqat.measure.statistics import (
    ALPHA,
    DEFAULT_MARGIN,
    ONE_SIDED_ALPHA,
    Comparison,
    compare,
    correct,
)

PRIMARY = "dice"
"""The measure that the margin is for."""

LARGE_LOSS = 0.1
"""Of Dice: a film that loses this much or more against the reference is counted with the failures."""

Pair = tuple[FilmRow, FilmRow]


def check_choices(
    models: Sequence[str], reference: str | None, margin: float, tolerances: Sequence[float]
) -> None:
    """Refuse, before any work, a reference that is not a model here, and an invalid margin or tolerance.

    Raises:
        AdaloraqatError: any of them.
    """
    check_tolerances(tolerances)
    if reference is not None and reference not in models:
        raise AdaloraqatError(
            f"The reference {reference!r} is not among the models: choose one of {', '.join(models)}."
        )
    if not 0 < margin < 1:
        raise AdaloraqatError(
            f"The margin {margin:g} is not a Dice difference: give a number between 0 and 1, such as 0.005."
        )


def comparisons(
    rows: Sequence[FilmRow],
    models: Sequence[str],
    tolerances: Sequence[float],
    reference: str | None = None,
    margin: float = DEFAULT_MARGIN,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare every model with the reference, by source, prompt and measure.

    Films on which both models failed (no mask, or an empty one) say nothing about their difference and are
    left out (`left_out`); those on which one failed are counted (`failed`), with an exact bound of the rate
    (`failures`), and are no part of means, intervals and tests. Only Dice is held against the margin. Each
    measure is a family of its own for Holm's correction: all its comparisons, over models, sources and
    prompts.

    Args:
        rows: of every model, as in films.csv.
        models: in the order of the table.
        tolerances: of the NSD.
        reference: a name among `models`; None means the first.
        margin: of Dice, fixed beforehand.
        seed: of the bootstrap.

    Returns:
        `reference`, `margin`, `margin_measure`, `large_loss`, `alpha`, `one_sided_alpha`, `seed`, `family`
        and `rows`: one for each model, source, prompt and measure, with the fields of `Comparison.to_dict`.
    """
    chosen = reference or models[0]
    found = []
    for measure in measure_names(tolerances):
        family = [
            (place, compared)
            for model in models
            if model != chosen
            for place, pairs in _pairs(rows, model, chosen).items()
            if (compared := _compare(pairs, measure, margin, seed)) is not None
        ]
        corrected = correct([compared for _, compared in family])
        found += [
            dict(zip(("model", "source", "prompt"), place, strict=True))
            | {"reference": chosen, "measure": measure, "left_out": left_out}
            | {key: value for key, value in comparison.to_dict().items() if key != "measure"}
            for ((*place, left_out), _), comparison in zip(family, corrected, strict=True)
        ]
    return {
        "reference": chosen,
        "margin": margin,
        "margin_measure": PRIMARY,
        "large_loss": LARGE_LOSS,
        "alpha": ALPHA,
        "one_sided_alpha": ONE_SIDED_ALPHA,
        "seed": seed,
        "family": "Holm's correction spans all comparisons of one measure: models, sources and prompts.",
        "rows": found,
    }


def _pairs(
    rows: Sequence[FilmRow], model: str, reference: str
) -> Mapping[tuple[str, str, str, int], list[Pair]]:
    """Return the pairs of rows by (model, source, prompt, number of pairs left out)."""
    others = {(row.id, row.prompt): row for row in rows if row.model == reference}
    pairs = {}
    for group, prompts in grouped([row for row in rows if row.model == model]).items():
        for prompt, members in prompts.items():
            all_pairs = [(row, others[row.id, prompt]) for row in members if (row.id, prompt) in others]
            kept = [(row, other) for row, other in all_pairs if not (row.lost and other.lost)]
            pairs[model, group, prompt, len(all_pairs) - len(kept)] = kept
    return pairs


def _compare(pairs: Sequence[Pair], measure: str, margin: float, seed: int) -> Comparison | None:
    """Compare two models by one measure; None where there is no pair, or millimetres would meet pixels."""
    units = {row.scores["unit"] for pair in pairs for row in pair}
    if not pairs or (has_unit(measure) and len(units) > 1):
        return None
    first, second = pairs[0]
    return compare(
        [row.scores[measure] for row, _ in pairs],
        [other.scores[measure] for _, other in pairs],
        [row.patient_id for row, _ in pairs],
        margin=margin if measure == PRIMARY else None,
        seed=seed,
        higher_is_better=higher_is_better(measure),
        names=(first.model, second.model),
        measure=measure_label(measure, units.pop() if len(units) == 1 else ""),
        failed=([row.lost for row, _ in pairs], [other.lost for _, other in pairs]),
        large_loss=LARGE_LOSS if measure == PRIMARY else None,
    )
