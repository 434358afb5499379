import numpy as np
import pytest
from skimage.metrics import structural_similarity

from adaloraqat.errors import FilmError
from adaloraqat.measure.similarity import ssim, ssim_map


def textbook(x, y):
    """Wang et al. (2004) window by window, in double precision, at one pixel away from the edges."""
    offsets = np.arange(-5, 6)
    line = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    mean_x, mean_y = (window * x).sum(), (window * y).sum()
    var_x, var_y = (window * x * x).sum() - mean_x**2, (window * y * y).sum() - mean_y**2
    both = (window * x * y).sum() - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    return (
        (2 * mean_x * mean_y + c1) * (2 * both + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    )


def masks(seed, shape=(40, 53)):
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(seed)
    return [gaussian_filter(random.normal(size=shape), 3) > 0.03 for _ in range(2)]


def test_map_agrees_with_the_textbook():
    a, b = masks(1)
    local = ssim_map(a, b)
    for y, x in [(5, 5), (20, 30), (34, 47), (11, 40)]:
        window = np.s_[y - 5 : y + 6, x - 5 : x + 6]
        assert local[y, x] == pytest.approx(
            textbook(a[window].astype(float), b[window].astype(float)), abs=1e-4
        )


@pytest.mark.parametrize("seed", range(6))
def test_number_is_the_mean_of_the_whole_map(seed):
    """Only what lies near a disagreement is computed; a small one anywhere, edges included, must not show."""
    random = np.random.default_rng(seed)
    a, _ = masks(seed)
    b = a.copy()
    y, x = random.integers(40), random.integers(53)
    b[max(0, y - 3) : y + 3, max(0, x - 2) : x + 5] ^= True
    _, local = structural_similarity(
        a.astype(float), b.astype(float), data_range=1, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, full=True,
    )  # fmt: skip
    assert ssim(a, b) == pytest.approx(local.mean(), abs=1e-5)
    assert ssim(a, b) == pytest.approx(float(ssim_map(a, b).mean()), abs=1e-5)
    assert ssim(a, b) < 1


def test_equal_masks():
    a, _ = masks(2)
    assert ssim(a, a.copy()) == 1.0
    assert ssim_map(a, a) == pytest.approx(1.0)


def test_probabilities_may_be_mapped_and_sizes_must_fit():
    a, b = masks(3)
    assert ssim_map(a * 0.7, b).shape == a.shape
    with pytest.raises(FilmError, match="one size"):
        ssim_map(a, b[1:])
    for measure in (ssim, ssim_map):
        with pytest.raises(FilmError, match="11 pixels"):
            measure(a[:8], b[:8])
