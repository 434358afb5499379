import dataclasses
import json

import numpy as np
import pytest

from adaloraqat.bundle.expected_quality import (
    DISAGREEMENT,
    PREDICTED_IOU,
    UNDECIDED,
    UNLIKE,
    UNSURE,
    QualityModel,
    features_of,
    fit_quality,
    pooled,
    unlikeness,
)

NOWHERE = np.zeros(3)


def test_features_by_hand() -> None:
    mask = np.zeros((10, 10), bool)
    mask[:5] = True  # 50 pixels
    probability = mask.astype(np.float32)
    probability[5] = 0.4  # 10 pixels of which nothing is known
    lungs = np.zeros_like(mask)
    lungs[:4] = True  # 40 pixels, all in the mask: Dice 80/90
    found = features_of(mask, probability, 0.9, lungs)
    assert found[UNDECIDED] == pytest.approx(np.log(0.001 + 0.2))
    assert found[PREDICTED_IOU] == pytest.approx(np.log(9))
    assert found[DISAGREEMENT] == pytest.approx(np.log(0.001 + 1 / 9))
    assert found[UNSURE] == pytest.approx(np.log(0.001 + 1 - 100 / 104))  # 50 in the mask, 4 beside it
    assert set(features_of(mask, probability, None, None)) == {UNDECIDED, UNSURE}


def test_pooling_and_unlikeness_by_hand() -> None:
    embedding = np.stack([np.full((2, 2), 1.0), np.array([[0, 2], [4, 6]])])[None].astype(np.float32)
    assert pooled(embedding).tolist() == [1.0, 3.0]
    found = unlikeness(np.array([1.0, 3.0]), np.array([0.0, 0.0]), np.array([1.0, 3.0]))
    assert found == pytest.approx(0.0)  # both are one deviation away


def films(count: int = 400) -> tuple[list[dict[str, float]], np.ndarray]:
    """Films whose Dice falls with two features, with noise that is larger where it is low."""
    random = np.random.default_rng(3)
    first, second = random.normal(size=(2, count))
    true = 1 / (1 + np.exp(-(2.5 - 0.8 * first - 0.4 * second)))
    dice = np.clip(true + random.normal(size=count) * 0.3 * (1 - true), 0, 1)
    return [{UNDECIDED: a, UNLIKE: b} for a, b in zip(first, second, strict=True)], dice


def test_a_fit_finds_what_the_dice_depends_on() -> None:
    found, dice = films()
    model = fit_quality(found, dice.tolist())
    assert model.features == (UNDECIDED, UNLIKE)
    expected = np.array([_told(model, film)[0] for film in found])
    assert np.corrcoef(expected, dice)[0, 1] > 0.8
    assert abs(expected.mean() - dice.mean()) < 0.01  # calibrated on the whole
    low, high = model.errors[0], model.errors[-1]
    assert low[0] < high[0]
    assert low[1] > 2 * high[1]  # doubtful masks are told with a larger error


def test_the_error_is_the_one_seen() -> None:
    found, dice = films()
    model = fit_quality(found, dice.tolist())
    told = np.array([_told(model, film) for film in found])
    standard = (dice - told[:, 0]) / told[:, 1]
    assert 0.8 < standard.std() < 1.25


def test_a_model_survives_its_document() -> None:
    found, dice = films(60)
    model = fit_quality(found, dice.tolist())
    model = dataclasses.replace(model, embedding_mean=(0.0,) * 3, embedding_std=(1.0,) * 3)
    again = QualityModel.from_dict(json.loads(json.dumps(dataclasses.asdict(model))))
    assert again == model
    near, far = (again.expect(found[0], np.full(3, at))[0] for at in (1.0, 30.0))
    assert far < near  # an embedding unlike the others lowers what is expected


def test_a_feature_that_counts_the_wrong_way_is_left_out() -> None:
    found, dice = films()
    odd = [{**film, DISAGREEMENT: worth} for film, worth in zip(found, dice, strict=True)]
    assert fit_quality(odd, dice.tolist()).features == (UNDECIDED, UNLIKE)
    nothing = [{DISAGREEMENT: worth} for worth in dice]
    model = fit_quality(nothing, dice.tolist())
    assert model.features == ()
    assert model.expect({}, NOWHERE)[0] == pytest.approx(dice.mean(), abs=0.01)


@pytest.mark.parametrize(
    "change",
    [
        {"features": ["undecided", "moon"]},
        {"weights": [1.0]},
        {"std": [0.0, 1.0]},
        {"bias": float("nan")},
        {"errors": []},
        {"mean": "ab"},
    ],
)
def test_a_damaged_document_is_refused(change: dict[str, object]) -> None:
    found, dice = films(40)
    document = dataclasses.asdict(fit_quality(found, dice.tolist()))
    with pytest.raises(ValueError, match="not"):
        QualityModel.from_dict(document | change)


def _told(model: QualityModel, film: dict[str, float]) -> tuple[float, float]:
    """Expect with an unlikeness that was measured already."""
    values = np.array([film[name] for name in model.features])
    standard = np.clip((values - np.array(model.mean)) / np.array(model.std), -10, 10)
    dice = float(1 / (1 + np.exp(-(model.bias + standard @ np.array(model.weights)))))
    return dice, float(np.interp(dice, *zip(*model.errors, strict=True)))
