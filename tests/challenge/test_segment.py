"""Challenge cases with the handmade bundle: dark pixels inside the prompt's box are the object."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bundle import write_tiny_bundle

from adaloraqat import Segmenter
from adaloraqat.challenge import open_case, segment_case
from adaloraqat.challenge import segment as keeping
from adaloraqat.challenge.propagation import Carried, carry_box, carry_mask, keep_inside
from adaloraqat.errors import FilmError
from adaloraqat.radiograph import Box, Frame

DARK, BRIGHT = 20, 220


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    write_tiny_bundle(folder)
    return Segmenter.load(folder, threads=1)


class Watched(Segmenter):
    """Notes which boxes are asked for on which encoded slice."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__(segmenter.bundle, segmenter.engine)
        self.encoded = 0
        self.boxes: list[list[Box]] = []

    def embed(self, pixels, aspect=1.0):
        self.encoded += 1
        return super().embed(pixels, aspect)

    def decode(self, embedded, boxes):
        self.boxes.append(list(boxes))
        return super().decode(embedded, boxes)


def saved(path: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def volume(*objects: tuple[slice, slice, slice], shape: tuple[int, int, int] = (9, 64, 64)) -> np.ndarray:
    """(D, H, W) uint8, dark where an object (slices, rows, columns) lies."""
    voxels = np.full(shape, BRIGHT, np.uint8)
    for place in objects:
        voxels[place] = DARK
    return voxels


def solve(segmenter: Segmenter, path: Path, propagate: str = "box"):
    with open_case(path) as case:
        result = segment_case(segmenter, case, propagate)
        return np.array(result.segs), result


def test_each_box_of_an_image_gives_its_own_label(segmenter: Segmenter, tmp_path: Path) -> None:
    image = np.full((64, 64), BRIGHT, np.uint8)
    image[8:24, 8:24] = image[32:56, 36:60] = DARK
    boxes = np.array([[36, 32, 60, 56], [8, 8, 24, 24]])
    truth = np.zeros((64, 64), np.uint8)
    truth[32:56, 36:60], truth[8:24, 8:24] = 1, 2
    segs, result = solve(segmenter, saved(tmp_path / "a.npz", imgs=image, boxes=boxes, gts=truth))
    assert segs.dtype == np.uint8
    assert np.array_equal(segs[0], truth)  # blocks of 4 px are uniform, so the handmade model is exact
    assert [found.voxels for found in result.objects] == [24 * 24, 16 * 16]
    assert [found.dice for found in result.objects] == [1.0, 1.0]
    assert [found.quality for found in result.objects] == [pytest.approx(0.9)] * 2
    assert result.encoded == 1
    assert result.warnings == []


def test_where_objects_overlap_the_later_box_wins(segmenter: Segmenter, tmp_path: Path) -> None:
    image = np.full((64, 64), BRIGHT, np.uint8)
    image[8:48, 8:48] = DARK
    boxes = np.array([[8, 8, 40, 40], [24, 24, 48, 48]])
    for order, inner in ((boxes, 2), (boxes[::-1], 2)):
        segs, _ = solve(segmenter, saved(tmp_path / "a.npz", imgs=image, boxes=order))
        assert (segs[0, 28:36, 28:36] == inner).all()  # whichever comes later
    assert (segs[0, 12:20, 12:20] == 2).all()  # now the large box is the second


def test_colour_or_grey_makes_no_difference_to_a_grey_model(segmenter: Segmenter, tmp_path: Path) -> None:
    image = np.full((64, 64), BRIGHT, np.uint8)
    image[8:24, 8:24] = DARK
    boxes = np.array([[8, 8, 24, 24]])
    grey, _ = solve(segmenter, saved(tmp_path / "g.npz", imgs=image, boxes=boxes))
    colour, _ = solve(segmenter, saved(tmp_path / "c.npz", imgs=np.stack([image] * 3, 2), boxes=boxes))
    assert np.array_equal(grey, colour)
    assert grey.any()


def test_a_box_is_carried_from_the_middle_up_and_down(segmenter: Segmenter, tmp_path: Path) -> None:
    """The object shifts by 2 px a slice, out of the box that was given for its middle."""
    voxels = np.full((9, 64, 64), BRIGHT, np.uint8)
    for z in range(9):
        voxels[z, 24:40, 16 + 2 * z : 32 + 2 * z] = DARK
    path = saved(
        tmp_path / "a.npz", imgs=voxels, boxes=np.array([[24, 24, 40, 40, 1, 8]])[:, [0, 1, 4, 2, 3, 5]]
    )
    watched = Watched(segmenter)
    segs, result = solve(watched, path)
    assert watched.encoded == result.encoded == 7  # slices 1 to 7, each once
    assert not segs[[0, 8]].any()  # z_max is exclusive, z_min is not
    prompts = [boxes[0] for boxes in watched.boxes]  # slices 4 5 6 7 | 3 2 1
    assert prompts[0] == (24, 24, 40, 40)
    # the whole of slice 4 is found; round it the box is widened by 3/256 of 64 model pixels
    assert prompts[1] == prompts[4] == pytest.approx((23.25, 23.25, 40.75, 40.75))
    for z in range(1, 8):
        found = segs[z] == 1
        dark = voxels[z] == DARK
        assert not (found & ~dark).any()
        assert found.sum() >= 0.5 * dark.sum()  # the widening of 0.75 px follows 2 px a slice only in part


def test_a_growing_object_is_followed_as_far_as_the_widening(segmenter: Segmenter, tmp_path: Path) -> None:
    voxels = volume((slice(0, 9), slice(24, 40), slice(24, 40)))
    boxes = np.array([[24, 24, 2, 40, 40, 7]])
    segs, _ = solve(segmenter, saved(tmp_path / "a.npz", imgs=voxels, boxes=boxes))
    assert (segs[2:7, 24:40, 24:40] == 1).all()
    assert segs.sum() == 5 * 16 * 16


def test_an_empty_slice_falls_back_to_the_given_box(segmenter: Segmenter, tmp_path: Path) -> None:
    voxels = volume((slice(0, 9), slice(24, 40), slice(24, 40)))
    voxels[5] = BRIGHT
    voxels[5, 0, 0] = BRIGHT - 60  # not constant
    path = saved(tmp_path / "a.npz", imgs=voxels, boxes=np.array([[20, 20, 0, 44, 44, 9]]))
    watched = Watched(segmenter)
    segs, _ = solve(watched, path)
    assert watched.boxes[2][0] == (20, 20, 44, 44)  # slice 6, after the empty slice 5
    assert not segs[5].any()
    assert segs[6].any()


def test_the_mask_keeps_a_neighbour_out(segmenter: Segmenter, tmp_path: Path) -> None:
    """A second dark part appears inside the prompt two slices from the middle."""
    voxels = volume((slice(0, 9), slice(24, 40), slice(8, 24)), (slice(6, 9), slice(24, 40), slice(36, 52)))
    path = saved(tmp_path / "a.npz", imgs=voxels, boxes=np.array([[4, 20, 0, 56, 44, 9]]))
    with_box, _ = solve(segmenter, path, "box")
    with_mask, _ = solve(segmenter, path, "mask")
    voxels[5] = BRIGHT  # the neighbour now enters where the object is lost, and the given box is asked again
    voxels[5, 0, 0] = 0
    lost = saved(tmp_path / "b.npz", imgs=voxels, boxes=np.array([[4, 20, 0, 56, 44, 9]]))
    assert not with_box[6:, :, 36:52].any()  # the carried box excludes it already
    assert np.array_equal(with_box, with_mask)
    assert solve(segmenter, lost, "box")[0][6:, :, 36:52].any()
    assert not solve(segmenter, lost, "mask")[0][6:, :, 36:52].any()
    assert solve(segmenter, lost, "mask")[0][6:, :, 8:24].any()


def test_a_carried_mask_and_an_images_object_end_at_the_box() -> None:
    frame = Frame.of((100, 200), 64)  # 64 x 32 model pixels of 3.125 px
    logits = np.full((64, 64), -1.0, np.float32)
    logits[4:8, 4:8] = logits[20:30, 30:60] = 1.0  # on the film from (12.5, 12.5), and from (93.75, 62.5)
    given = Box(90, 60, 150, 90)
    wide = 3 / 256 * 200  # 2.3 px: in model pixels the box is now (28.05, 18.45, 48.75, 29.55)
    for keep in (carry_mask, keep_inside):
        kept, _ = keep(logits, frame, Carried(given), given)
        assert np.argwhere(kept > 0).min(0).tolist() == [20, 30]
        assert np.argwhere(kept > 0).max(0).tolist() == [29, 48]
        assert np.array_equal(np.abs(kept), np.abs(logits))
    carried = carry_mask(logits, frame, Carried(given), given)[1]
    assert carried.box == pytest.approx((93.75 - wide, 62.5 - wide, 150 + wide, 90 + wide))
    assert carry_box(logits, frame, Carried(given), given)[1].box.x_min == pytest.approx(12.5 - wide)


def test_an_object_that_leaks_leaves_its_neighbours_alone(segmenter: Segmenter, tmp_path: Path) -> None:
    """A model that outlines all that is dark, whatever it is asked; in the last box nothing is dark."""

    class Leaking(Segmenter):
        def decode(self, embedded, boxes):
            return super().decode(embedded, [Box.whole((64, 64)) for _ in boxes])

    image = np.full((64, 64), BRIGHT, np.uint8)
    image[8:24, 8:24] = image[32:56, 36:60] = DARK
    boxes = np.array([[8, 8, 24, 24], [36, 32, 60, 56], [40, 4, 60, 20]])
    leaking = Leaking(segmenter.bundle, segmenter.engine)
    segs, result = solve(leaking, saved(tmp_path / "a.npz", imgs=image, boxes=boxes))
    assert (segs[0, 8:24, 8:24] == 1).all()
    assert (segs[0, 32:56, 36:60] == 2).all()
    assert result.objects[2].voxels == 0


def test_objects_with_other_middles_share_one_embedding_a_slice(segmenter: Segmenter, tmp_path: Path) -> None:
    voxels = volume(
        (slice(0, 12), slice(8, 24), slice(8, 24)),
        (slice(2, 16), slice(36, 56), slice(36, 56)),
        shape=(16, 64, 64),
    )
    boxes = np.array([[8, 8, 0, 24, 24, 12], [36, 36, 2, 56, 56, 16], [8, 8, 14, 24, 24, 15]])
    path = saved(tmp_path / "a.npz", imgs=voxels, boxes=boxes)
    segs, result = solve(segmenter, path)
    assert result.encoded == 16
    assert (segs[:12, 8:24, 8:24] == 1).all()
    assert (segs[2:, 36:56, 36:56] == 2).all()
    assert [found.voxels for found in result.objects] == [12 * 256, 14 * 400, 0]
    assert result.warnings == [
        "empty-object: 1 of 3 objects have no voxel (3): nothing was found in their boxes, or later boxes "
        "cover it."
    ]


def test_what_is_not_kept_is_encoded_again_with_the_same_result(
    segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voxels = volume(
        (slice(0, 12), slice(8, 24), slice(8, 24)),
        (slice(2, 16), slice(36, 56), slice(36, 56)),
        shape=(16, 64, 64),
    )
    boxes = np.array([[8, 8, 0, 24, 24, 12], [36, 36, 2, 56, 56, 16]])
    path = saved(tmp_path / "a.npz", imgs=voxels, boxes=boxes)
    kept, _ = solve(segmenter, path)
    monkeypatch.setattr(keeping, "KEPT_BYTES", 2000)
    again, result = solve(segmenter, path)
    assert np.array_equal(kept, again)
    assert result.encoded == 16 + 2  # slices 6, 7 and 8 are needed twice; one embedding (1 KB) is kept


def test_large_arrays_lie_on_disk_with_the_same_result(
    segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voxels = volume((slice(0, 9), slice(24, 40), slice(24, 40)))
    path = saved(
        tmp_path / "a.npz",
        imgs=voxels,
        gts=(voxels == DARK).astype(np.uint8),
        boxes=np.array([[24, 24, 0, 40, 40, 9]]),
    )
    small, _ = solve(segmenter, path)
    for module in ("challenge.archive", "challenge.segment"):
        monkeypatch.setattr(f"adaloraqat.{module}.IN_MEMORY", 1000)
    with open_case(path) as case:
        result = segment_case(segmenter, case)
        assert isinstance(case.voxels, np.memmap)
        assert isinstance(result.segs, np.memmap)
        assert np.array_equal(result.segs, small)
        assert result.objects[0].dice == 1.0
        folder = case.folder
        del result
    assert not folder.exists()


def test_without_boxes_each_slice_is_asked_as_a_whole(segmenter: Segmenter, tmp_path: Path) -> None:
    voxels = volume((slice(0, 9), slice(24, 40), slice(24, 40)))
    watched = Watched(segmenter)
    segs, _ = solve(watched, saved(tmp_path / "a.npz", imgs=voxels))
    assert {boxes[0] for boxes in watched.boxes} == {Box.whole((64, 64))}
    assert np.array_equal(segs == 1, voxels == DARK)


def test_more_than_255_objects_take_two_bytes(segmenter: Segmenter, tmp_path: Path) -> None:
    image = np.full((256, 256), BRIGHT, np.uint8)
    corners = [(x, y) for y in range(0, 256, 16) for x in range(0, 256, 12)][:300]
    for x, y in corners:
        image[y : y + 8, x : x + 8] = DARK
    boxes = np.array([[x, y, x + 8, y + 8] for x, y in corners])
    watched = Watched(segmenter)
    segs, result = solve(watched, saved(tmp_path / "a.npz", imgs=image, boxes=boxes))
    assert segs.dtype == np.uint16
    assert watched.encoded == 1
    assert len(result.objects) == 300


def test_bad_values_in_a_slice(segmenter: Segmenter, tmp_path: Path) -> None:
    voxels = volume((slice(0, 9), slice(24, 40), slice(24, 40))).astype(np.float32)
    voxels[7, 3, 3] = np.nan
    with pytest.raises(FilmError, match="not finite"):
        solve(segmenter, saved(tmp_path / "a.npz", imgs=voxels, boxes=np.array([[24, 24, 0, 40, 40, 9]])))
    segs, _ = solve(
        segmenter, saved(tmp_path / "b.npz", imgs=voxels, boxes=np.array([[24, 24, 0, 40, 40, 7]]))
    )
    assert segs.any()  # no box needs that slice


def test_segment_boxes_gives_what_segment_gives(segmenter: Segmenter) -> None:
    image = np.full((90, 70), BRIGHT, np.uint8)
    image[20:50, 20:50] = DARK
    boxes = [(20 + i % 7, 20, 50, 50) for i in range(20)]  # more than two blocks
    watched = Watched(segmenter)
    masks = [mask for mask, _ in watched.segment_boxes(image, boxes)]
    assert watched.encoded == 1
    assert len(masks) == 20
    for mask, box in zip(masks, boxes, strict=True):
        assert np.array_equal(mask, segmenter.segment(image, box).mask)
    with pytest.raises(FilmError, match="inverted"):
        next(segmenter.segment_boxes(image, [(5, 5, 1, 1)]))


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(16, 700), st.integers(16, 700)),
    st.sampled_from([(64, 64), (256, 64), (256, 256)]),
    st.data(),
)
def test_the_mask_in_its_window_is_the_mask(
    shape: tuple[int, int], sizes: tuple[int, int], data: st.DataObject
) -> None:
    """Against the resize of the whole film, for blobs anywhere on films of any size."""
    size, grid = sizes
    frame = Frame.of(shape, size)
    logits = np.full((grid, grid), -3.0, np.float32)
    x, y = data.draw(st.integers(0, grid - 1)), data.draw(st.integers(0, grid - 1))
    logits[y : y + data.draw(st.integers(1, 20)), x : x + data.draw(st.integers(1, 20))] = 2.0
    place, window = frame.mask_to_original(logits)
    mask = np.zeros(shape, bool)
    mask[place] = window
    whole = frame.logits_to_original(logits)
    assert (mask == (whole > 0))[np.abs(whole) > 1e-4].all()


@settings(max_examples=60, deadline=None)
@given(st.tuples(st.integers(16, 900), st.integers(16, 900)), st.data())
def test_a_carried_box_lies_round_the_mask_and_on_the_film(
    shape: tuple[int, int], data: st.DataObject
) -> None:
    frame = Frame.of(shape, 256)
    logits = np.full((64, 64), -1.0, np.float32)
    width, height = (max(1, side // 4) for side in (frame.resized[1], frame.resized[0]))
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x_end, y_end = data.draw(st.integers(x + 1, width)), data.draw(st.integers(y + 1, height))
    logits[y:y_end, x:x_end] = 1.0
    whole = Box.whole(shape)
    for carry in (carry_box, carry_mask):
        _, carried = carry(logits, frame, Carried(whole), whole)
        box = carried.box
        assert whole.x_min <= box.x_min < box.x_max <= whole.x_max
        assert whole.y_min <= box.y_min < box.y_max <= whole.y_max
        tight = frame.box_to_original(np.array([x, y, x_end, y_end]) * 4)
        slack = 3 / 256 * max(shape) * 1.1 + 1
        assert -1e-3 <= tight.x_min - box.x_min <= slack or box.x_min == 0
        assert -1e-3 <= box.x_max - tight.x_max <= slack or box.x_max == whole.x_max
        assert box.y_min <= tight.y_min + 1e-3
        assert box.y_max >= min(tight.y_max, whole.y_max) - 1e-3
    # and a prompt survives the way to the model and back
    back = frame.box_to_original(frame.box_to_model(box))
    assert back == pytest.approx(box, abs=1e-3)


@pytest.mark.slow  # a volume of many slices
def test_memory_does_not_grow_with_boxes_or_depth(tmp_path: Path, segmenter: Segmenter) -> None:
    """Peak memory of processes with few and many boxes, and with a shallow and a deep volume."""
    image = np.random.default_rng(0).integers(0, 255, (256, 256), dtype=np.uint8)
    corners = [(2 * (i % 100), 20 * (i // 100)) for i in range(1000)]
    many = np.array([[x, y, x + 50, y + 50] for x, y in corners])
    saved(tmp_path / "few.npz", imgs=image, boxes=many[:16])
    saved(tmp_path / "many.npz", imgs=image, boxes=many)
    for name, depth in (("shallow", 20), ("deep", 150)):
        voxels = volume((slice(None), slice(60, 180), slice(60, 180)), shape=(depth, 256, 256))
        saved(tmp_path / f"{name}.npz", imgs=voxels, boxes=np.array([[60, 60, 0, 180, 180, depth]]))
    few, lots = (peak_mb(segmenter, tmp_path / f"{name}.npz") for name in ("few", "many"))
    assert lots - few < 8  # a thousand masks at once would be 64 MB
    shallow, deep = (peak_mb(segmenter, tmp_path / f"{name}.npz") for name in ("shallow", "deep"))
    assert deep - shallow < 6  # 130 more slices are 9 MB of voxels and 9 MB of labels, mapped from disk


def peak_mb(segmenter: Segmenter, path: Path) -> float:
    """Peak of the memory that is the process's own (files mapped from disk come and go)."""
    script = (
        "import sys, numpy as np\n"
        "from adaloraqat import Segmenter\n"
        "from adaloraqat.challenge import archive, open_case, segment, segment_case, write_npz\n"
        "from pathlib import Path\n"
        "import threading, time\n"
        "archive.IN_MEMORY = segment.IN_MEMORY = 1 << 20\n"  # lay this small volume on disk too
        "peak, on = 0, True\n"
        "def watch():\n"
        "    global peak\n"
        "    while on:\n"
        "        text = Path('/proc/self/status').read_text()\n"
        "        peak = max(peak, int(text.split('RssAnon:')[1].split()[0]))\n"
        "        time.sleep(0.01)\n"
        "thread = threading.Thread(target=watch); thread.start()\n"
        "segmenter = Segmenter.load(sys.argv[1], threads=1)\n"
        "with open_case(Path(sys.argv[2])) as case:\n"
        "    result = segment_case(segmenter, case)\n"
        "    assert result.segs.any()\n"
        "    write_npz(Path(sys.argv[2]).with_suffix('.out.npz'), {'segs': result.segs})\n"
        "on = False; thread.join(); print(peak)\n"
    )
    command = [sys.executable, "-c", script, str(segmenter.bundle.folder), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return int(done.stdout) / 1024
