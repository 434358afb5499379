"""Pushing a bundle to the Hugging Face Hub: its files and its model card in one commit. No torch needed.

The card says what `bundle.json` says and what was measured, and nothing else.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaloraqat import hub
from adaloraqat.bundle.format import DOCUMENT, Bundle
from adaloraqat.errors import AdaloraqatError, OutputError
from adaloraqat.evaluate.rows import NO_BOX, TRUE_BOX
from adaloraqat.evaluate.summary import ALL
from adaloraqat.measure.film_scores import measure_label, nsd_key
from adaloraqat.models.published import SHIPPED_BASE, Published, find
from adaloraqat.models.published_entry import Hub
from adaloraqat.progress import Report

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CARD = "README.md"

logger = logging.getLogger(__name__)


class Push:
    """A repository of the Hub that a bundle is to be sent to.

    Made before the bundle is, so that a wrong name, a missing client or a missing token costs nothing.

    Attributes:
        repository: "owner/name".
        revision: the branch.
    """

    def __init__(self, repository: str, revision: str | None = None, private: bool = False) -> None:
        """Ask nothing of the Hub yet.

        Args:
            repository: "owner/name"; made if it is not there.
            revision: a branch, made if it is not there; None: `main`.
            private: make a private repository, and refuse one that is public.

        Raises:
            OutputError: the name is invalid, the client or a token is missing, or HF_HUB_OFFLINE is set.
        """
        hub.check_repository(repository, OutputError)
        self.repository, self.revision, self.private = repository, revision or hub.MAIN, private
        self._request = hub.Request(repository, repository, self.revision, OutputError, upload=True)
        self._api = self._client()

    def _client(self) -> HfApi:
        api = hub.client(self._request)
        from huggingface_hub import get_token, is_offline_mode
        from huggingface_hub.errors import OfflineModeIsEnabled

        with hub.told(self._request):
            if is_offline_mode():
                raise OfflineModeIsEnabled
        api.token = get_token()
        if not api.token:
            raise OutputError(
                f"{self.repository} cannot be uploaded without a token of the Hugging Face Hub: set "
                "HF_TOKEN, or run `hf auth login`."
            )
        return api

    def send(self, bundle: Bundle, scores: Sequence[Score] = (), report: Report = logger.info) -> str:
        """Upload a bundle, and the model card written from it, in one commit; return the commit's address.

        Nothing but `bundle.json`, the files that it names, README.md and, for a licence that the Hub does not
        know, LICENSE.md is sent. Files of these names there are replaced, others stay.

        Args:
            bundle: loaded, and so checked.
            scores: of this bundle, for the card.
            report: receives one line of text at a time.

        Raises:
            OutputError: no network, no permission, no such branch, or the Hub refuses the card. A repository
                that was made just before then stays, without files.
        """
        from huggingface_hub import CommitOperationAdd

        card = model_card(bundle, self.repository, scores)
        operations = [CommitOperationAdd(CARD, card.encode())]
        if hub_licence(bundle.licence)[0] == OTHER:
            operations.append(CommitOperationAdd(LICENCE_FILE, licence_text(bundle).encode()))
        operations += [
            CommitOperationAdd(name, str(bundle.folder / name)) for name in (DOCUMENT, *bundle.files)
        ]
        with hub.told(self._request):
            self._prepare()
            megabytes = sum(record.bytes for record in bundle.files.values()) / 1e6
            report(f"Uploading {bundle.name} ({megabytes:.3g} MB) to {self.repository}.")
            try:
                commit = self._api.create_commit(
                    self.repository,
                    operations,
                    commit_message=f"adaloraqat push: {bundle.name}",
                    revision=self.revision,
                )
            except ValueError as error:
                if isinstance(error, OSError):  # an answer of the Hub, which `told` knows
                    raise
                faults = " ".join(str(error).split())
                raise OutputError(f"The Hub refuses the model card of {bundle.name}: {faults}") from error
        return str(commit.commit_url)

    def _prepare(self) -> None:
        """Make the repository and the branch where they are not there, and keep private what is to be."""
        self._api.create_repo(self.repository, private=self.private or None, exist_ok=True)
        if self.private and not self._api.model_info(self.repository).private:
            raise OutputError(
                f"{self.repository} is public: make it private on its page, give another name, or leave out "
                "--private."
            )
        if self.revision != hub.MAIN:
            self._api.create_branch(self.repository, branch=self.revision, exist_ok=True)


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
    return f"---\n{data.to_yaml()}\n---\n\n{_body(bundle, repository, scores)}\n"


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


def _body(bundle: Bundle, repository: str, scores: Sequence[Score]) -> str:
    view, precision, base = bundle.preprocessing, bundle.precision, _base(bundle)
    limits = [
        _NOT_A_DEVICE,
        "It was not tested on every device, hospital, age and disease: validate it on films of your own.",
        "Look at every mask and read the warnings that come with it; a wrong mask can look plausible.",
        "" if bundle.prompt.quality_trained else "Its quality output was not trained and means nothing.",
        "" if bundle.prompt.accepts_box else "It takes no box: its masks are of the whole film.",
        f"{base.name}, its base: {base.caution}" if base is not None and base.caution else "",
    ]
    size = sum(record.bytes for record in bundle.files.values()) / 1e6
    family, channels = bundle.architecture.get("family", "sam"), view.channels
    facts = [
        f"ONNX, {size:.3g} MB, precision policy `{precision.policy}`, weights `{precision.weight_range}`",
        f"architecture `{family}`, {view.image_size} px, {channels} channel{'s' if channels > 1 else ''}",
        f"base weights: {_base_text(bundle)}",
        f"trained on: {', '.join(_sources(bundle)) or 'not stated in bundle.json'}",
        "quantised after training, not during it"
        if bundle.training.get("post_training_quantisation")
        else "",
    ]
    return f"""# {bundle.name}

Outlines in chest X-rays: {bundle.outlines}. {_NOT_A_DEVICE}

```python
from adaloraqat import Segmenter

segmenter = Segmenter.from_pretrained("{repository}")
segmenter.segment("film.png").save("film_mask.png")
```

## Intended use

{bundle.intended_use}

## Limits

{_listed(limits)}

## The model

{_listed(facts)}

## Evaluation

{_table(scores) if scores else "No evaluation was given with this bundle."}

## Licence

{bundle.licence}"""


def _listed(lines: Sequence[str]) -> str:
    """Return the lines that say something as a list in Markdown."""
    return "\n".join(f"- {line}" for line in lines if line)


def _table(scores: Sequence[Score]) -> str:
    labels = list(dict.fromkeys(label for score in scores for label in score.nsd))
    heads = ["films of", "prompt", "films", "Dice", *labels]
    rows = [
        [
            *(score.source, score.prompt, str(score.films), f"{score.dice:.4f}"),
            *(f"{score.nsd[label]:.4f}" if label in score.nsd else "" for label in labels),
        ]
        for score in scores
    ]
    lines = ["| " + " | ".join(cells) + " |" for cells in (heads, *rows)]
    return "\n".join(
        [
            lines[0],
            "|" + "---|" * len(heads),
            *lines[1:],
            "\nMeans over films by `adaloraqat evaluate`; a film that failed counts with its worst score.",
        ]
    )


def _base_text(bundle: Bundle) -> str:
    base, name = _base(bundle), _base_name(bundle)
    if base is not None:
        return f"{base.name} ({base.origin}; {base.licence}). {base.about}"
    if name == SHIPPED_BASE:
        return "the base of adaloraqat-weights, for research only"
    return name or "none stated in bundle.json"
