import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaloraqat.errors import FilmError
from adaloraqat.radiograph import Box, Frame, Preprocessing

SIDES = st.integers(16, 700)


def disc(shape: tuple[int, int]) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    y, x = (rows + 0.5) / shape[0] - 0.45, (columns + 0.5) / shape[1] - 0.55
    return x**2 / 0.3**2 + y**2 / 0.4**2 < 1


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


def test_a_wide_film_lies_at_the_top_and_the_rest_is_zero() -> None:
    pixels = np.tile(np.linspace(0, 1, 200, dtype=np.float32), (100, 1))
    image, frame = Preprocessing(image_size=64, channels=3, mean=(0.4, 0.5, 0.6), std=(0.2,))(pixels)
    assert image.shape == (3, 64, 64)
    assert image.dtype == np.float32
    assert frame == Frame((100, 200), (32, 64), 64)
    assert (image[:, 32:] == 0).all()
    assert image[:, 5, 0] == pytest.approx([-0.4 / 0.2, -0.5 / 0.2, -0.6 / 0.2], abs=0.05)
    assert image[:, 5, 63] == pytest.approx([0.6 / 0.2, 0.5 / 0.2, 0.4 / 0.2], abs=0.05)


def test_a_tall_film_lies_at_the_left_and_the_rest_is_zero() -> None:
    pixels = np.tile(np.linspace(0, 1, 200, dtype=np.float32)[:, None], (1, 100))
    image, frame = Preprocessing(image_size=64, channels=3, mean=(0.4, 0.5, 0.6), std=(0.2,))(pixels)
    assert frame == Frame((200, 100), (64, 32), 64)
    assert (image[:, :, 32:] == 0).all()
    assert image[:, 0, 5] == pytest.approx([-0.4 / 0.2, -0.5 / 0.2, -0.6 / 0.2], abs=0.05)
    assert image[:, 63, 31] == pytest.approx([0.6 / 0.2, 0.5 / 0.2, 0.4 / 0.2], abs=0.05)


def test_percentiles_clip_what_lies_beyond_them() -> None:
    pixels = np.arange(101, dtype=np.float32).reshape(1, 101).repeat(20, axis=0)
    stretched = Preprocessing(percentile_low=10, percentile_high=90).stretch(pixels)
    assert stretched[0, 10] == 0
    assert stretched[0, 90] == 1
    assert stretched[0, 50] == pytest.approx(0.5)
    assert stretched[0, 30] == pytest.approx(0.25)
    assert (stretched[0, :10] == 0).all()
    assert (stretched[0, 91:] == 1).all()


def test_percentiles_of_a_big_film_are_those_of_all_its_pixels() -> None:
    pixels = np.random.default_rng(0).normal(size=(1500, 1800)).astype(np.float32)
    low, high = np.percentile(pixels, (0.5, 99.5))
    wanted = np.clip((pixels - low) / (high - low), 0, 1)
    assert np.abs(Preprocessing().stretch(pixels) - wanted).max() < 0.02


def test_the_input_does_not_depend_on_the_unit_of_the_film() -> None:
    pixels = np.random.default_rng(1).random((90, 120), dtype=np.float32)
    first, _ = Preprocessing(image_size=64)(pixels)
    second, _ = Preprocessing(image_size=64)(pixels * 4095 + 17)
    assert np.abs(first - second).max() < 1e-4


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_constant_film_gives_zeros(value: float) -> None:
    square, _ = Preprocessing(image_size=64).resize(np.full((50, 40), value, np.float32))
    assert (square == 0).all()


def test_a_nearly_constant_film_keeps_its_contrast() -> None:
    pixels = np.zeros((100, 100), np.float32)
    pixels[50, 50] = 1  # less than half a percent of the film
    assert Preprocessing().stretch(pixels)[50, 50] == 1


def test_resize_is_the_mean_over_the_pixels_that_fall_together() -> None:
    pixels = np.random.default_rng(2).random((128, 128), dtype=np.float32)
    square, _ = Preprocessing(image_size=64, percentile_low=0, percentile_high=100).resize(pixels)
    low, high = pixels.min(), pixels.max()
    assert square.mean() == pytest.approx(float(((pixels - low) / (high - low)).mean()), abs=2e-3)
    assert square.std() < 0.6 * pixels.std()  # antialiased: sampling alone would keep the noise


def test_normalise_after_resize_is_the_whole() -> None:
    preprocessing = Preprocessing(image_size=64)
    pixels = np.random.default_rng(3).random((70, 50), dtype=np.float32)
    square, frame = preprocessing.resize(pixels)
    assert (preprocessing.normalise(square, frame) == preprocessing(pixels)[0]).all()
    assert (preprocessing.normalise(square)[0] == (square - np.float32(0.5)) / np.float32(0.25)).all()
    assert (frame.valid().sum(axis=0) == 64).sum() == frame.resized[1]


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, st.sampled_from([64, 224, 256]))
def test_the_longest_side_fills_the_square_and_boxes_come_back(height: int, width: int, size: int) -> None:
    frame = Frame.of((height, width), size)
    assert max(frame.resized) == size
    assert min(frame.resized) == max(1, round(min(height, width) * size / max(height, width)))
    box = Box(0.1 * width, 0.2 * height, 0.7 * width, 0.9 * height)
    assert frame.box_to_original(frame.box_to_model(box)) == pytest.approx(box, rel=1e-5)
    whole = frame.box_to_model(Box.whole((height, width)))
    assert whole == pytest.approx([0, 0, frame.resized[1], frame.resized[0]])


@settings(max_examples=30, deadline=None)
@given(SIDES, SIDES)
def test_a_mask_at_equal_size_comes_back_exactly(height: int, width: int) -> None:
    mask = disc((height, width))
    frame = Frame.of((height, width), max(height, width))
    soft = frame.mask_to_model(mask)
    assert soft.shape == (frame.image_size, frame.image_size)
    assert dice(frame.logits_to_original(soft - 0.5) > 0, mask) == 1.0


@settings(max_examples=30, deadline=None)
@given(st.integers(128, 900), st.integers(128, 900))
def test_a_mask_survives_the_coarser_grid_of_the_logits(height: int, width: int) -> None:
    mask = disc((height, width))
    frame = Frame.of((height, width), 256)
    grid = frame.mask_to_model(mask).reshape(128, 2, 128, 2).mean((1, 3))
    assert dice(frame.logits_to_original(grid - 0.5) > 0, mask) >= 0.975  # a side of 128 px may shrink to 36


def test_logits_return_by_bilinear_interpolation_at_pixel_centres() -> None:
    """Against the formula: pixel x lies at grid position (x + 0.5) * (w n / S) / W - 0.5."""
    frame = Frame.of((60, 90), 32)  # resized to (21, 32)
    logits = np.random.default_rng(4).normal(size=(16, 16)).astype(np.float32)
    returned = frame.logits_to_original(logits)
    assert returned.shape == (60, 90)
    for row, column in [(0, 0), (10, 33), (30, 60), (41, 77), (59, 89)]:
        y = np.clip((row + 0.5) * (21 * 16 / 32) / 60 - 0.5, 0, 15)
        x = np.clip((column + 0.5) * (32 * 16 / 32) / 90 - 0.5, 0, 15)
        top, left = int(y), int(x)
        bottom, right = min(top + 1, 15), min(left + 1, 15)
        upper = logits[top, left] * (1 - (x - left)) + logits[top, right] * (x - left)
        lower = logits[bottom, left] * (1 - (x - left)) + logits[bottom, right] * (x - left)
        assert returned[row, column] == pytest.approx(upper * (1 - (y - top)) + lower * (y - top), abs=1e-5)


def test_a_mask_off_the_grid_is_refused_with_both_sizes() -> None:
    with pytest.raises(FilmError, match="30 x 20 pixels and its film 200 x 100"):
        Frame.of((100, 200), 64).mask_to_model(np.zeros((20, 30), bool))


def test_the_description_survives_json() -> None:
    preprocessing = Preprocessing(
        image_size=1024, channels=3, mean=(0.485, 0.456, 0.406), std=(0.2, 0.2, 0.2)
    )
    assert Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict()))) == preprocessing


def test_descriptions_of_before_and_of_now_tell_the_grey_range() -> None:
    usual = Preprocessing(image_size=64)
    assert "grey_range" not in usual.to_dict()  # older versions read it
    assert Preprocessing.from_dict(usual.to_dict()).grey_range == "percentiles"
    fixed = Preprocessing(image_size=64, grey_range="fixed")
    assert Preprocessing.from_dict(json.loads(json.dumps(fixed.to_dict()))) == fixed


FAINT = (np.add.outer(np.arange(48), 2 * np.arange(64)) % 97 + 60).astype(np.uint8)  # 60 to 156 of 255


def test_sam_takes_the_grey_values_as_they_are() -> None:
    """segment-anything's `preprocess`: (value of 0..255 - mean) / deviation, then zeros right and below."""
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    wanted = np.zeros((3, 64, 64))
    wanted[:, :48] = (FAINT - mean[:, None, None]) / std[:, None, None]
    sam = Preprocessing(64, 3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), grey_range="fixed")
    image, frame = sam(FAINT.astype(np.float32) / 255)
    assert frame.resized == (48, 64)
    assert image == pytest.approx(wanted, abs=1e-5)


def test_medsam_takes_the_film_from_its_smallest_to_its_largest_value_once_resized() -> None:
    """MedSAM and LiteMedSAM: (x - min) / max(max - min, 1e-8) of the resized film, then zeros."""
    medsam = Preprocessing(64, 1, mean=(0.0,), std=(1.0,), grey_range="min-max")
    image, _ = medsam(FAINT.astype(np.float32) / 255)
    wanted = np.zeros((64, 64))
    wanted[:48] = (FAINT - 60.0) / 96.0
    assert image[0] == pytest.approx(wanted, abs=1e-6)
    spot = np.full((96, 128), 0.4, np.float32)
    spot[:48] = 0.2
    spot[70, 70] = 1.0  # of one pixel little is left in the resized film, and that is what counts
    half, frame = medsam.resize(spot)
    assert frame.resized == (48, 64)
    assert half[:48].max() == 1
    assert half[:48].min() == 0
    assert 0.3 < half[30, 50] < 0.8
    assert (medsam(np.full((64, 64), 0.7, np.float32))[0] == 0).all()


def test_colours_keep_their_hue_from_minimum_to_maximum() -> None:
    three = Preprocessing(60, 3, mean=(0.0,), std=(1.0,), grey_range="min-max")
    stretched = (COLOUR - COLOUR.min()) / (COLOUR.max() - COLOUR.min())
    assert three(COLOUR)[0][:, :40] == pytest.approx(np.moveaxis(stretched, 2, 0), abs=1e-5)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"grey_range": "wide"}, "grey_range must be one of percentiles, min-max, fixed"),
        ({"image_size": 0}, "image_size must be 1 to 10000"),
        ({"percentile_low": 60, "percentile_high": 40}, "rise"),
        ({"mean": [0.1, 0.2]}, "one per channel"),
        ({"std": [0.0]}, "greater than 0"),
        ({"std": [1e30]}, "finite"),
        ({"mean": ["grey"]}, "wrong kind"),
        ({"channels": 1.5}, "wrong kind"),
        ({"image_size": "256"}, "wrong kind"),
        ({"percentile_high": None}, "wrong kind"),
        ({"colour": 1}, "colour"),
    ],
)
def test_an_unusable_description_is_refused(values: dict, words: str) -> None:
    with pytest.raises(FilmError, match=words):
        Preprocessing.from_dict({**Preprocessing().to_dict(), **values})


COLOUR = np.random.default_rng(3).random((40, 60, 3)).astype(np.float32)


def test_a_network_of_three_channels_sees_the_colours() -> None:
    three = Preprocessing(
        image_size=60, channels=3, percentile_low=0, percentile_high=100, mean=(0,), std=(1,)
    )
    image, frame = three(COLOUR)
    assert image.shape == (3, 60, 60)
    assert frame.resized == (40, 60)
    stretched = (COLOUR - COLOUR.min()) / (COLOUR.max() - COLOUR.min())  # one range, so that hues stay
    assert image[:, :40] == pytest.approx(np.moveaxis(stretched, 2, 0), abs=1e-5)
    assert (image[:, 40:] == 0).all()


def test_a_grey_film_in_three_equal_channels_is_the_grey_film() -> None:
    three = Preprocessing(image_size=32, channels=3, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    grey = COLOUR[..., 0]
    assert three(np.repeat(grey[..., None], 3, axis=2))[0] == pytest.approx(three(grey)[0], abs=1e-6)


def test_a_network_of_one_channel_sees_the_luma() -> None:
    one = Preprocessing(image_size=32)
    luma = COLOUR @ np.array([0.299, 0.587, 0.114], np.float32)
    assert one(COLOUR)[0] == pytest.approx(one(luma)[0], abs=1e-5)


@pytest.mark.parametrize("aspect", [0.5, 2 / 3, 1.5])
def test_pixels_that_are_not_square_become_square_and_come_back(aspect: float) -> None:
    """A disc of a film whose pixels are `aspect` times as high as wide is round on the square."""
    height, width = round(240 / aspect), 200
    y, x = np.mgrid[0:height, 0:width]
    round_one = np.hypot((y + 0.5) * aspect - 120, (x + 0.5) - 100) < 70  # in widths of a pixel
    image, frame = Preprocessing(image_size=128).resize(round_one.astype(np.float32), aspect)
    assert frame.original == (height, width)
    assert frame.resized == (128, round(200 * 128 / 240))
    rows, columns = np.flatnonzero(image.max(axis=1) > 0.5), np.flatnonzero(image.max(axis=0) > 0.5)
    assert abs(len(rows) - len(columns)) <= 1
    back = frame.logits_to_original(frame.mask_to_model(round_one) - 0.5) > 0
    assert back.shape == round_one.shape
    assert 2 * (back & round_one).sum() / (back.sum() + round_one.sum()) > 0.98
    box = Box(30, 40, 90, 100)
    assert frame.box_to_original(frame.box_to_model(box)) == pytest.approx(box, abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, st.integers(0, 10**6), st.sampled_from([0.5, 1.0, 2.0]))
def test_a_mask_on_the_film_is_where_its_logits_are_positive(
    height: int, width: int, seed: int, aspect: float
) -> None:
    """Where it lies and what lies there, as the whole film's logits say: at edges, in padding, or nowhere."""
    random = np.random.default_rng(seed)
    frame = Frame.of((height, width), 64, aspect)
    logits = np.full((16, 16), -1.0, np.float32)
    for _ in range(random.integers(0, 3)):
        row, column = random.integers(0, 16, 2)
        logits[row : row + random.integers(1, 9), column : column + random.integers(1, 9)] = 2.0
    whole = frame.logits_to_original(logits)
    found = np.zeros((height, width), bool)
    where, part = frame.mask_to_original(logits)
    assert part.shape == found[where].shape
    found[where] = part
    assert (found == (whole > 0))[np.abs(whole) > 1e-3].all()
    if not (whole > -0.999).any():
        assert not part.any()
