"""What a demo must show before it may call itself a success."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adaloraqat.evaluate.rows import NO_BOX

LEAST_GAIN = 0.05
"""By how much training must raise the mean validation Dice (no box)."""

LARGEST_LOSS = 0.01
"""How much of it the integer model may lose against the trained one."""


@dataclass(frozen=True)
class Verdict:
    """`gain` is after − before and `change` INT8 − after, both in mean Dice without a box."""

    gain: float
    change: float
    failures: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "passed": self.passed,
            "gain": self.gain,
            "change": self.change,
            "least_gain": LEAST_GAIN,
            "largest_loss": LARGEST_LOSS,
            "failures": list(self.failures),
        }


def judge(before: Mapping[str, Any], after: Mapping[str, Any], int8: Mapping[str, Any]) -> Verdict:
    """Judge three models by their summaries: one source's entry of evaluation.json each.

    A film on which a model failed counts as Dice 0 in its mean already, and is a failure of its own.
    """
    first, trained, integer = (model[NO_BOX]["dice_mean"] for model in (before, after, int8))
    gain, change = trained - first, integer - trained
    failures = []
    if not gain >= LEAST_GAIN:  # so written, NaN fails too
        failures.append(
            f"Training changed the validation Dice by {gain:+.4f} where at least +{LEAST_GAIN:.2f} is asked "
            "for: train longer, or raise the learning rates in the recipe."
        )
    if not change >= -LARGEST_LOSS:
        failures.append(
            f"INT8 changed the validation Dice by {change:+.4f} where at most -{LARGEST_LOSS:.2f} is "
            "allowed: train stage 2 longer, or calibrate on more films."
        )
    failed = sum(model[prompt]["failed"] for model in (before, after, int8) for prompt in model)
    if failed:
        failures.append(f"{failed} results failed and count as Dice 0: films.csv names them and says why.")
    return Verdict(gain, change, tuple(failures))
