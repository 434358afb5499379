"""A folder that holds earlier results: what changed since is seen, and nothing old passes for new."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adaloraqat.bundle import Segmenter
from adaloraqat.bundle.format import PROPOSED_BOX, Prompt, write_bundle
from adaloraqat.datasets.manifest import Entry
from adaloraqat.datasets.phantom import write_phantoms
from adaloraqat.errors import OutputError
from adaloraqat.evaluate.evaluation import Options, evaluate, robustness
from adaloraqat.evaluate.predictions import Predictions, mask_path
from adaloraqat.evaluate.rows import NO_BOX, TRUE_BOX, read_rows
from adaloraqat.evaluate.score import Scored, Settings
from adaloraqat.evaluate.store import read_scores
from adaloraqat.radiograph import Preprocessing, read_labels, write_mask

sys.path.insert(0, str(Path(__file__).parents[1] / "bundle"))  # the handmade bundle

MODEL = "m"
CLEAN_ONLY = Settings((), jitters=())


def write_model(folder: Path, threshold: float, **changes: Any) -> None:
    from tiny_bundle import fields, write_tiny_bundle

    write_tiny_bundle(folder, threshold=threshold)
    write_bundle(folder, fields(**changes), ["encoder.onnx", "decoder.onnx"])


def quality(bias: float) -> dict[str, Any]:
    return {
        "features": ["predicted_iou"], "mean": [0.0], "std": [1.0], "weights": [0.1], "bias": bias,
        "errors": [[0.0, 0.1], [1.0, 0.1]], "embedding_mean": [], "embedding_std": [],
    }  # fmt: skip


@dataclass
class Work:
    """Films and a model that proposes boxes, has a calibrated quality, and takes boxes."""

    folder: Path
    entries: list[Entry]

    def change(self, place: int = 0, **changes: Any) -> None:
        """Change what the manifest says of a film."""
        self.entries[place] = replace(self.entries[place], **changes)

    def write_proposer(self, threshold: float) -> None:
        write_model(self.folder / "proposer", threshold)

    def model(self, threshold: float = 0.0, bias: float = 1.0) -> Segmenter:
        prompt = {
            "second_pass": False, "quality_trained": True, "automatic": PROPOSED_BOX,
            "proposer": str(self.folder / "proposer"),
        }  # fmt: skip
        write_model(self.folder / MODEL, threshold, prompt=prompt, quality=quality(bias))
        return Segmenter.load(self.folder / MODEL, threads=1)


@pytest.fixture
def work(tmp_path: Path) -> Work:
    found = Work(tmp_path, write_phantoms(tmp_path / "films", 4, seed=1, size=96))
    found.write_proposer(0.0)
    found.change(1, spacing_mm=(90.0, 90.0))  # of no chest film: it counts where the modality is named
    return found


def shift(path: Path) -> None:
    picture = np.asarray(Image.open(path))
    Image.fromarray(np.roll(picture, 3, axis=0)).save(path)


def labels_of(work: Work) -> Path:
    path = work.entries[0].path_labels
    assert path is not None
    return path


def swap_lungs(work: Work) -> None:
    labels = read_labels(labels_of(work), (96, 96))
    Image.fromarray(np.array([0, 2, 1, 3], np.uint8)[labels]).save(labels_of(work))


FILM: dict[str, Callable[[Work], object]] = {
    "nothing": lambda work: None,
    "film damaged": lambda work: work.entries[0].path_image.write_bytes(b"no film"),
    "film gone": lambda work: work.entries[0].path_image.unlink(),
    "film": lambda work: shift(work.entries[0].path_image),
    "mask damaged": lambda work: work.entries[0].path_mask.write_bytes(b"no mask"),
    "mask": lambda work: shift(work.entries[0].path_mask),
    "mask empty": lambda work: write_mask(work.entries[0].path_mask, np.zeros((96, 96), bool)),
    "labels damaged": lambda work: labels_of(work).write_bytes(b"no labels"),
    "labels gone": lambda work: labels_of(work).unlink(),
    "labels": swap_lungs,
    "no labels": lambda work: work.change(path_labels=None),
    "spacing": lambda work: work.change(spacing_mm=(1.5, 2.5)),
    "no spacing": lambda work: work.change(spacing_mm=None),
    "modality": lambda work: work.change(1, modality="ultrasound"),
}
"""What may happen to one of the first two films between two calls."""


def results(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def two_films(films: Any, what: str) -> Iterator[Entry]:
    yield from films[:2]
    raise KeyboardInterrupt


@pytest.mark.parametrize("interrupted", [False, True])
@pytest.mark.parametrize("change", FILM)
def test_a_film_that_changed_since_is_scored_as_in_a_new_folder(
    change: str, interrupted: bool, work: Work, tmp_path: Path
) -> None:
    models: dict[str, Scored] = {MODEL: work.model()}
    if interrupted:
        with pytest.raises(KeyboardInterrupt):
            evaluate(models, work.entries, tmp_path / "out", two_films)
    else:
        evaluate(models, work.entries, tmp_path / "out")
    FILM[change](work)
    evaluate(models, work.entries, tmp_path / "out")
    evaluate(models, work.entries, tmp_path / "new")
    assert results(tmp_path / "out") == results(tmp_path / "new")


@pytest.mark.parametrize("change", ["model", "proposer", "quality", "tolerances"])
def test_a_model_that_changed_since_is_asked_again(change: str, work: Work, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        evaluate({MODEL: work.model()}, work.entries, tmp_path / "out", two_films)
    before = [row for rows in read_scores(tmp_path / "out/unfinished").values() for row in rows]
    options = Options((1.5,)) if change == "tolerances" else Options()
    if change == "proposer":
        work.write_proposer(-0.5)
    models = {MODEL: work.model(0.3 if change == "model" else 0.0, 2.0 if change == "quality" else 1.0)}
    evaluate(models, work.entries, tmp_path / "out", options=options)
    evaluate(models, work.entries, tmp_path / "new", options=options)
    assert results(tmp_path / "out") == results(tmp_path / "new")
    assert read_rows(tmp_path / "new/films.csv")[: len(before)] != before  # the change can be seen


def test_masks_of_a_film_that_fails_now_are_gone_and_all_others_stay(work: Work, tmp_path: Path) -> None:
    out, (broken, other, *_) = tmp_path / "out", work.entries
    evaluate({MODEL: work.model(), "n": work.model()}, work.entries, out)
    own = out / "masks" / MODEL / "mine" / "note.txt"
    own.parent.mkdir()
    own.write_text("of a user")
    broken.path_image.write_bytes(b"no film")
    evaluate({MODEL: work.model()}, work.entries, out)
    for prompt in (NO_BOX, TRUE_BOX):
        assert not mask_path(out, MODEL, prompt, broken.id).exists()
        assert mask_path(out, MODEL, prompt, other.id).exists()
        assert mask_path(out, "n", prompt, broken.id).exists()  # a model that was not asked for
    assert own.read_text() == "of a user"


def test_masks_that_are_scored_where_they_lie_are_never_removed(work: Work, tmp_path: Path) -> None:
    out, broken = tmp_path / "out", work.entries[0]
    evaluate({MODEL: work.model()}, work.entries, out)
    path = mask_path(out, MODEL, NO_BOX, broken.id)
    before = path.read_bytes()
    broken.path_image.write_bytes(b"no film")
    evaluate({MODEL: Predictions(path.parent, work.entries)}, work.entries, out)
    assert path.read_bytes() == before


@pytest.mark.parametrize("prompt", [NO_BOX, "elsewhere"])
def test_films_whose_masks_lie_among_those_it_would_save_are_refused(
    prompt: str, work: Work, tmp_path: Path
) -> None:
    truth = mask_path(tmp_path / "out", MODEL, prompt, work.entries[0].id)
    write_mask(truth, np.ones((96, 96), bool))
    before, link = truth.read_bytes(), tmp_path / "link.png"
    link.symlink_to(truth)
    for path in (truth, link):
        work.change(path_mask=path)
        with pytest.raises(OutputError, match="lies in out/masks, where `evaluate` saves masks"):
            evaluate({MODEL: work.model()}, work.entries, tmp_path / "out")
        assert truth.read_bytes() == before


def test_an_old_mask_that_cannot_be_removed_ends_the_evaluation(work: Work, tmp_path: Path) -> None:
    path = mask_path(tmp_path / "out", MODEL, NO_BOX, work.entries[0].id)
    path.mkdir(parents=True)
    work.entries[0].path_image.unlink()
    with pytest.raises(OutputError, match=f"{path.name} of an earlier evaluation cannot be removed"):
        evaluate({MODEL: work.model()}, work.entries, tmp_path / "out")


@pytest.mark.parametrize("change", ["spacing", "no spacing", "modality", "film", "mask"])
def test_robustness_refuses_a_folder_of_films_that_changed_since(
    change: str, work: Work, tmp_path: Path
) -> None:
    robustness({MODEL: work.model()}, work.entries, tmp_path / "out", settings=CLEAN_ONLY)
    FILM[change](work)
    with pytest.raises(OutputError, match="other films, models or settings"):
        robustness({MODEL: work.model()}, work.entries, tmp_path / "out", settings=CLEAN_ONLY)


def test_robustness_looks_at_no_labels(work: Work, tmp_path: Path) -> None:
    models = {MODEL: work.model()}
    before = robustness(models, work.entries, tmp_path / "out", settings=CLEAN_ONLY)
    swap_lungs(work)
    assert robustness(models, work.entries, tmp_path / "out", settings=CLEAN_ONLY) == before


def test_a_folder_of_before_is_refused_where_spacings_count_and_goes_on_elsewhere(
    work: Work, tmp_path: Path
) -> None:
    models = {MODEL: work.model()}
    bare = [replace(entry, spacing_mm=None) for entry in work.entries]
    for name, films in (("spaced", work.entries), ("bare", bare)):
        robustness(models, films, tmp_path / name, settings=CLEAN_ONLY)
        setup = json.loads((tmp_path / name / "setup.json").read_text())
        setup.pop("labels_and_spacing", None)  # was not noted before
        (tmp_path / name / "setup.json").write_text(json.dumps(setup))
    robustness(models, bare, tmp_path / "bare", settings=CLEAN_ONLY)
    with pytest.raises(OutputError, match="an earlier version's: choose another --out"):
        robustness(models, work.entries, tmp_path / "spaced", settings=CLEAN_ONLY)


class OutOfMemory(Segmenter):
    """A model for which memory does not suffice while `short` is true; its identity stays."""

    short = True

    def segment(self, *args: Any, **kwargs: Any) -> Any:
        if self.short:
            raise MemoryError
        return super().segment(*args, **kwargs)


def test_a_film_that_failed_is_tried_again_and_noted_once(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.model()
    model = OutOfMemory.load(work.folder / MODEL, threads=1)
    failed = robustness({MODEL: model}, work.entries, tmp_path / "out", settings=CLEAN_ONLY)
    assert {row["failed"] for row in failed["rows"]} == {len(work.entries)}
    scores = tmp_path / "out/films.jsonl"
    noted = scores.read_text()
    assert robustness({MODEL: model}, work.entries, tmp_path / "out", settings=CLEAN_ONLY) == failed
    assert scores.read_text() == noted
    monkeypatch.setattr(OutOfMemory, "short", False)
    after = robustness({MODEL: model}, work.entries, tmp_path / "out", settings=CLEAN_ONLY)
    assert after == robustness({MODEL: model}, work.entries, tmp_path / "new", settings=CLEAN_ONLY)
    assert {row["failed"] for row in after["rows"]} == {0}


@pytest.mark.parametrize("change", ["mask empty", "film damaged"])
def test_every_saved_mask_has_a_row_of_films_csv_those_of_clicks_too(
    change: str, work: Work, tmp_path: Path
) -> None:
    from adaloraqat.models.sam import TINY, build_sam
    from adaloraqat.training.run import model_segmenter

    preprocessing = Preprocessing(image_size=TINY.image_size, channels=TINY.channels)
    prompt = Prompt(second_pass=False, quality_trained=False)
    model = model_segmenter(build_sam(TINY), preprocessing, prompt, accepts_points=True)
    options = Options(clicks=1, corrections=1)
    evaluate({MODEL: model}, work.entries[:2], tmp_path / "out", options=options)
    assert len([*(tmp_path / "out/masks").rglob("*.png")]) == 2 * 4
    FILM[change](work)
    evaluate({MODEL: model}, work.entries[:2], tmp_path / "out", options=options)
    rows = [row for row in read_rows(tmp_path / "out/films.csv") if not row.failed]
    saved = {mask_path(tmp_path / "out", row.model, row.prompt, row.id) for row in rows}
    assert saved == {*(tmp_path / "out/masks").rglob("*.png")}
