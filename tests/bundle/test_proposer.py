"""Automatic prompts: a promptable model that never saw whole films takes its boxes from a small one."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import two_lungs, write_tiny_bundle

from adaloraqat import Segmenter
from adaloraqat.bundle.format import load_bundle
from adaloraqat.bundle.proposer import MARGIN, boxes_of, propose_boxes
from adaloraqat.errors import BundleError, FilmError
from adaloraqat.radiograph import Film

LUNGS = two_lungs(128, 160)  # dark lungs on a bright film


def segmenter(folder: Path, threshold: float = 0.0, **prompt: object) -> Segmenter:
    """The handmade bundle with another `prompt`; its proposer finds what is darker than `threshold`."""
    write_tiny_bundle(folder)
    document = json.loads((folder / "bundle.json").read_text())
    document["prompt"] |= prompt
    (folder / "bundle.json").write_text(json.dumps(document))
    loaded = Segmenter.load(folder, threads=1)
    proposer = folder.parent / "proposer"
    write_tiny_bundle(proposer, threshold=threshold)
    return Segmenter(loaded.bundle, loaded.engine, lambda name: Segmenter.load(proposer, threads=1))


def truth() -> list[tuple[int, int, int, int]]:
    """The boxes of the two dark lungs, left one first."""
    lungs = LUNGS < 100
    boxes = []
    for columns in (slice(0, 80), slice(80, 160)):
        rows, cols = np.nonzero(lungs[:, columns])
        start = columns.start
        boxes.append((cols.min() + start, rows.min(), cols.max() + 1 + start, rows.max() + 1))
    return boxes


def test_one_box_a_lung_is_proposed_and_the_mask_is_the_union(tmp_path: Path) -> None:
    result = segmenter(tmp_path / "lungs", automatic="proposed-lungs").segment(LUNGS)
    assert result.box_source == "proposed"
    assert result.proposer == "tiny"
    assert len(result.prompts) == 2
    for proposed, lung in zip(sorted(result.prompts), truth(), strict=True):
        assert proposed == pytest.approx(lung, abs=8)  # the handmade network's grid is coarse
    assert result.box == pytest.approx(
        [f(box[side] for box in result.prompts) for side, f in enumerate((min, min, max, max))]
    )
    parts = [segmenter(tmp_path / "lungs").segment(LUNGS, box).mask for box in result.prompts]
    assert np.array_equal(result.mask, parts[0] | parts[1])
    assert not result.warnings


def test_one_box_round_both_lungs(tmp_path: Path) -> None:
    result = segmenter(tmp_path / "both", automatic="proposed-box").segment(LUNGS)
    left, right = truth()
    assert len(result.prompts) == 1
    assert result.box == result.prompts[0]
    assert result.box == pytest.approx(
        (left[0], min(left[1], right[1]), right[2], max(left[3], right[3])), abs=8
    )


def test_a_proposed_box_leaves_a_margin_on_every_side_within_the_film(tmp_path: Path) -> None:
    """A box that cuts a lung costs a promptable model more than one that is a little too wide."""
    proposer = segmenter(tmp_path / "lungs")
    film = Film.from_array(LUNGS)
    [tight] = boxes_of(proposer.segment(film).mask, "proposed-box")
    [box] = propose_boxes(proposer, film, "proposed-box")
    across, down = MARGIN * (tight.x_max - tight.x_min), MARGIN * (tight.y_max - tight.y_min)
    wide = (tight.x_min - across, tight.y_min - down, tight.x_max + across, tight.y_max + down)
    assert MARGIN > 0
    assert box == pytest.approx((max(0, wide[0]), max(0, wide[1]), min(160, wide[2]), min(128, wide[3])))


def test_the_whole_film_and_a_given_box_go_before_a_proposal(tmp_path: Path) -> None:
    model = segmenter(tmp_path / "lungs", automatic="proposed-lungs")
    whole = model.segment(LUNGS, prompt="whole")
    assert (whole.box_source, whole.box, whole.proposer) == ("whole film", (0, 0, 160, 128), None)
    given = model.segment(LUNGS, (0, 0, 80, 128))
    assert (given.box_source, given.prompts) == ("given", ((0, 0, 80, 128),))
    with pytest.raises(FilmError, match="no automatic prompt 'none'"):
        model.segment(LUNGS, prompt="none")


def test_where_no_lung_is_seen_the_whole_film_is_taken_and_said(tmp_path: Path) -> None:
    nothing = segmenter(tmp_path / "lungs", threshold=-5, automatic="proposed-lungs")
    result = nothing.segment(LUNGS)
    assert result.box_source == "whole film"
    assert any(warning.startswith("no-proposal: ") for warning in result.warnings)


def test_boxes_lie_on_the_grid_of_a_large_film(tmp_path: Path) -> None:
    """Parts are sought on every fifth pixel; a box may be that coarse, not shifted or scaled."""
    large = np.kron(LUNGS, np.ones((16, 16), np.uint8))  # 2048 x 2560
    proposer = segmenter(tmp_path / "lungs")
    boxes = propose_boxes(proposer, Film.from_array(large), "proposed-lungs")
    small = propose_boxes(proposer, Film.from_array(LUNGS), "proposed-lungs")
    assert np.array(boxes) / 16 == pytest.approx(np.array(small), abs=1.5)


def test_bundles_of_before_take_the_whole_film_and_an_unknown_prompt_is_refused(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "old")
    assert load_bundle(tmp_path / "old").prompt.automatic == "whole"
    with pytest.raises(BundleError, match=r"prompt\.automatic"):
        segmenter(tmp_path / "new", automatic="guess")
