"""The model card of a bundle on the Hugging Face Hub: README.md with its YAML front matter. No torch needed.

It says what `bundle.json` says and what was measured, and nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaloraqat.bundle.format import Bundle
from adaloraqat.errors import AdaloraqatError
from adaloraqat.evaluate.rows import NO_BOX, TRUE_BOX
from adaloraqat.evaluate.summary import ALL
from adaloraqat.measure.film_scores import measure_label, nsd_key
from adaloraqat.models.published import SHIPPED_BASE, Published, find
from adaloraqat.models.published_entry import Hub

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

LICENCE_FILE = "LICENSE.md"
"""Goes with the card where the licence is not in `HUB_LICENCES`; its name is the one the Hub looks for."""

HUB_LICENCES = ("apache-2.0", "cc-by-4.0")
"""Licences that the Hub knows by an identifier, which is SPDX's in small letters."""

OTHER = "other"
TASK = "image-segmentation"

_AS_PUBLISHED = re.compile(r"([\w.-]+), as published;.*", re.DOTALL)  # as `export_weights` writes it
_PROMPTS = {NO_BOX: "no box", TRUE_BOX: "true box"}
_EVALUATION = "evaluation.json"
_NOT_A_DEVICE = "**Not a medical device.** No diagnosis, no treatment decision."


@dataclass(frozen=True)
class Score:
    """Means of a model on the films of one source with one prompt.

    Attributes:
        source: of the films.
        prompt: for people: "no box" or "true box".
        films: how many were scored, failed ones too (with their worst score).
        dice: mean Dice, 0 to 1.
        nsd: mean normalised surface Dice, 0 to 1, by its label, such as "NSD at 2 mm"; empty where units
            were mixed.
    """

    source: str
    prompt: str
    films: int
    dice: float
    nsd: Mapping[str, float]


def read_scores(folder: Path, names: Sequence[str]) -> list[Score]:
    """Return what `adaloraqat evaluate` measured of a model, source by source.

    Args:
        folder: what `evaluate --out` wrote.
        names: what the model may be called there.

    Raises:
        AdaloraqatError: there is no evaluation, it cannot be read, or it is of other models.
    """
    path = folder / _EVALUATION
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        models, tolerances = document["models"], document["tolerances"]
        name = next((name for name in names if name in models), None)
        if name is not None:
            return [
                _score(source, prompt, prompts[prompt], tolerances)
                for source, prompts in models[name].items()
                if source != ALL
                for prompt in _PROMPTS
                if prompt in prompts
            ]
        others = ", ".join(sorted(models))
    except FileNotFoundError as error:
        raise AdaloraqatError(
            f"{folder.name} holds no {_EVALUATION}: give the folder that `adaloraqat evaluate --out` wrote."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise AdaloraqatError(
            f"The {_EVALUATION} in {folder.name} cannot be read: evaluate the bundle again."
        ) from error
    raise AdaloraqatError(
        f"The evaluation in {folder.name} is of {others}, not of {names[0]}: run `adaloraqat evaluate` "
        "with the bundle that is pushed."
    )


def _score(source: str, prompt: str, numbers: Mapping[str, Any], tolerances: Sequence[float]) -> Score:
    means = {name: numbers[f"{name}_mean"] for name in map(nsd_key, tolerances)}
    nsd = {
        measure_label(name, numbers["unit"]): float(mean) for name, mean in means.items() if mean is not None
    }
    return Score(source, _PROMPTS[prompt], int(numbers["films"]), float(numbers["dice_mean"]), nsd)


def hub_licence(licence: str) -> tuple[str, str | None]:
    """Return the Hub's identifier of a bundle's licence and, where that is `other`, an identifier of ours."""
    published = _AS_PUBLISHED.fullmatch(licence)
    plain = (published[1] if published else licence).strip().rstrip(".").lower().replace(" ", "-")
    if plain in HUB_LICENCES:
        return plain, None
    name = re.sub("[^a-z0-9.]+", "-", licence.partition(";")[0].lower()).strip("-.")
    return OTHER, name or "unnamed"


def licence_text(bundle: Bundle) -> str:
    """Return the content of `LICENCE_FILE`."""
    return f"The bundle {bundle.name} states this licence:\n\n> {bundle.licence}\n"


def model_card(bundle: Bundle, repository: str, scores: Sequence[Score] = ()) -> str:
    """Return the README.md of a bundle.

    Args:
        bundle: what is pushed.
        repository: "owner/name" that it is pushed to.
        scores: of this bundle.

    Raises:
        ModuleNotFoundError: the extra `hub` is not installed.
    """
    from huggingface_hub import ModelCardData

    licence, licence_name = hub_licence(bundle.licence)
    base = _base(bundle)
    data = ModelCardData(
        license=licence,
        license_name=licence_name,
        license_link=LICENCE_FILE if licence == OTHER else None,
        base_model=base.origin.repository if base and isinstance(base.origin, Hub) else None,
        library_name="adaloraqat",
        pipeline_tag=TASK,
        tags=["chest-x-ray", "medical-imaging", "segment-anything", "onnx", *_sources(bundle)],
        model_name=bundle.name if scores else None,
        eval_results=[result for score in scores for result in _results(score)] or None,
    )
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n".join(_body(bundle, repository, scores)) + "\n"


def _base(bundle: Bundle) -> Published | None:
    return find(_base_name(bundle) or "")


def _base_name(bundle: Bundle) -> str | None:
    """Return what the bundle says it was made from; a path tells its last part only."""
    recipe = bundle.training.get("recipe")
    base = recipe.get("base") if isinstance(recipe, dict) else None
    found = base.get("weights") if isinstance(base, dict) else bundle.training.get("weights")
    if not isinstance(found, str) or not found:
        return None
    return found if find(found) else Path(found).name


def _sources(bundle: Bundle) -> list[str]:
    recipe = bundle.training.get("recipe")
    data = recipe.get("data") if isinstance(recipe, dict) else None
    found = data.get("sources") if isinstance(data, dict) else None
    return [str(source) for source in found] if isinstance(found, list) else []


def _results(score: Score) -> Iterator[EvalResult]:
    from huggingface_hub import EvalResult

    for kind, label, value in (
        ("dice", "Dice", score.dice),
        *(("nsd", label, value) for label, value in score.nsd.items()),
    ):
        yield EvalResult(
            task_type=TASK,
            task_name="Lung segmentation",
            dataset_type=score.source,
            dataset_name=f"{score.source} ({score.films} films, {score.prompt})",
            dataset_config=score.prompt,
            metric_type=kind,
            metric_name=label,
            metric_value=round(value, 4),
        )


def _body(bundle: Bundle, repository: str, scores: Sequence[Score]) -> Iterator[str]:
    view, precision = bundle.preprocessing, bundle.precision
    yield f"# {bundle.name}"
    yield f"\nOutlines in chest X-rays: {bundle.outlines}. {_NOT_A_DEVICE}\n"
    yield "```python"
    yield "from adaloraqat import Segmenter\n"
    yield f'segmenter = Segmenter.from_pretrained("{repository}")'
    yield 'segmenter.segment("film.png").save("film_mask.png")'
    yield "```"
    yield "\n## Intended use\n"
    yield f"{bundle.intended_use}"
    yield "\n## Limits\n"
    yield f"- {_NOT_A_DEVICE}"
    yield "- It was not tested on every device, hospital, age and disease: validate it on films of your own."
    yield "- Look at every mask and read the warnings that come with it; a wrong mask can look plausible."
    if not bundle.prompt.quality_trained:
        yield "- Its quality output was not trained and means nothing."
    if not bundle.prompt.accepts_box:
        yield "- It takes no box: its masks are of the whole film."
    base = _base(bundle)
    if base is not None and base.caution:
        yield f"- {base.name}, its base: {base.caution}"
    yield "\n## The model\n"
    size = sum(record.bytes for record in bundle.files.values()) / 1e6
    yield f"- ONNX, {size:.3g} MB, precision policy `{precision.policy}`, weights `{precision.weight_range}`"
    family, channels = bundle.architecture.get("family", "sam"), view.channels
    yield f"- architecture `{family}`, {view.image_size} px, {channels} channel{'s' if channels > 1 else ''}"
    yield f"- base weights: {_base_text(bundle)}"
    yield f"- trained on: {', '.join(_sources(bundle)) or 'not stated in bundle.json'}"
    if bundle.training.get("post_training_quantisation"):
        yield "- quantised after training, not during it"
    yield "\n## Evaluation\n"
    if scores:
        yield from _table(scores)
        yield "\nMeans over films by `adaloraqat evaluate`; a film that failed counts with its worst score."
    else:
        yield "No evaluation was given with this bundle."
    yield "\n## Licence\n"
    yield f"{bundle.licence}"


def _table(scores: Sequence[Score]) -> Iterator[str]:
    labels = list(dict.fromkeys(label for score in scores for label in score.nsd))
    yield "| " + " | ".join(["films of", "prompt", "films", "Dice", *labels]) + " |"
    yield "|" + "---|" * (4 + len(labels))
    for score in scores:
        nsd = [f"{score.nsd[label]:.4f}" if label in score.nsd else "" for label in labels]
        cells = [score.source, score.prompt, str(score.films), f"{score.dice:.4f}", *nsd]
        yield "| " + " | ".join(cells) + " |"


def _base_text(bundle: Bundle) -> str:
    base, name = _base(bundle), _base_name(bundle)
    if base is not None:
        return f"{base.name} ({base.origin}; {base.licence}). {base.about}"
    if name == SHIPPED_BASE:
        return "the base of adaloraqat-weights, for research only"
    return name or "none stated in bundle.json"
