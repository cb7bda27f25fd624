"""PSNR and SSIM against scikit-image, and against its formula written out where it is not installed."""

import numpy as np
import pytest

from fingerprint.errors import ArrayRefused
from fingerprint.generation import pixels
from fingerprint.generation.pixels import psnr, ssim, ssim_of_any_size


@pytest.fixture(scope="module")
def pairs():
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:40, :56]
    smooth = 127 + 120 * np.sin((rows * 2 + columns) / 9.0)[..., None] * np.array([1, 0.6, -0.8])
    reference = np.stack([smooth, random.uniform(0, 255, smooth.shape), np.full(smooth.shape, 3.0), smooth])
    generated = reference + random.normal(0, 1, reference.shape) * np.array([5, 60, 2, 0])[:, None, None, None]
    return tuple(values.clip(0, 255).round().astype(np.uint8) for values in (reference, generated))


def written_out(x, y):
    """SSIM of one channel, by loops over windows in float64."""
    values = []
    for top in range(x.shape[0] - 6):
        for left in range(x.shape[1] - 6):
            a, b = (v[top : top + 7, left : left + 7].astype(float).ravel() for v in (x, y))
            c = np.cov(a, b)
            c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            above = (2 * a.mean() * b.mean() + c1) * (2 * c[0, 1] + c2)
            values.append(above / ((a.mean() ** 2 + b.mean() ** 2 + c1) * (c[0, 0] + c[1, 1] + c2)))
    return np.mean(values)


def test_ssim_is_the_formula(pairs):
    reference, generated = (p[:, :12, :15] for p in pairs)
    wanted = [
        np.mean([written_out(x[..., c], y[..., c]) for c in range(3)])
        for x, y in zip(reference, generated, strict=True)
    ]
    np.testing.assert_allclose(ssim(reference, generated), wanted, rtol=0, atol=1e-6)


def test_psnr_is_the_formula(pairs):
    reference, generated = pairs
    errors = np.square(reference.astype(float) - generated).mean((1, 2, 3))
    assert psnr(reference, generated)[3] == np.inf
    np.testing.assert_allclose(psnr(reference, generated)[:3], 10 * np.log10(255**2 / errors[:3]), rtol=1e-14)


def test_equal_to_scikit_image(pairs):
    metrics = pytest.importorskip("skimage.metrics")
    for x, y, p, s in zip(*pairs, psnr(*pairs), ssim(*pairs), strict=True):
        if not np.array_equal(x, y):
            assert p == pytest.approx(metrics.peak_signal_noise_ratio(x, y, data_range=255), abs=1e-6)
        assert s == pytest.approx(metrics.structural_similarity(x, y, data_range=255, channel_axis=-1), abs=1e-6)


@pytest.mark.parametrize(("size", "window"), [((33, 41), 7), ((9, 40), 7), ((6, 56), 5), ((40, 4), 3), ((3, 3), 3)])
def test_equal_to_scikit_image_at_any_size(pairs, size, window):
    """What fills the frames up counts for nothing, and the window shrinks with small ones."""
    metrics = pytest.importorskip("skimage.metrics")
    pairs = [side[:2, : size[0], : size[1]] for side in pairs]
    for x, y, p, s in zip(*pairs, psnr(*pairs), ssim_of_any_size(*pairs), strict=True):
        assert p == pytest.approx(metrics.peak_signal_noise_ratio(x, y, data_range=255), abs=1e-6)
        wanted = metrics.structural_similarity(x, y, data_range=255, channel_axis=-1, win_size=window)
        assert s == pytest.approx(wanted, abs=1e-6)


def test_ssim_in_windows_of_three_is_the_formula():
    x, y = np.zeros((2, 1, 3, 4, 3), np.uint8)
    x[0, 1, 1], y[0, :, 3] = 90, 18
    values = []
    for left in (0, 1):
        a, b = (side[0, :, left : left + 3, 0].astype(float).ravel() for side in (x, y))
        c, c1, c2 = np.cov(a, b), 2.55**2, 7.65**2
        above = (2 * a.mean() * b.mean() + c1) * (2 * c[0, 1] + c2)
        values.append(above / ((a.mean() ** 2 + b.mean() ** 2 + c1) * (c[0, 0] + c[1, 1] + c2)))
    assert ssim_of_any_size(x, y)[0] == pytest.approx(np.mean(values), abs=1e-6)


def test_sizes_near_each_other_share_what_is_compiled():
    before = pixels._similarity._cache_size(), pixels._squared_differences._cache_size()
    for height in range(97, 113, 2):
        frames = np.zeros((1, height, 130 + height % 30, 3), np.uint8)
        psnr(frames, frames), ssim(frames, frames)
    assert pixels._similarity._cache_size() == before[0] + 1
    assert pixels._squared_differences._cache_size() == before[1] + 1


def test_order_and_extremes(pairs):
    reference, _ = pairs
    black, white = np.zeros_like(reference), np.full_like(reference, 255)
    np.testing.assert_allclose(ssim(reference, reference), 1, atol=1e-6)
    assert np.all(psnr(black, white) == 0) and np.all(ssim(black, white) < 1e-3)
    assert np.all(np.isinf(psnr(white, white)))


def test_large_frames_do_not_overflow():
    white = np.full((1, 720, 1280, 3), 255, np.uint8)
    assert psnr(white * 0, white)[0] == 0 and ssim(white, white)[0] == pytest.approx(1, abs=1e-6)


def test_what_is_refused():
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    with pytest.raises(ArrayRefused, match="wanted equal RGB frames"):
        psnr(frames, frames[:1])
    with pytest.raises(ArrayRefused, match="uint8"):
        ssim(frames.astype(np.float32), frames)
    with pytest.raises(ArrayRefused, match="7 x 7"):
        ssim(frames[:, :6], frames[:, :6])
    assert np.isnan(ssim_of_any_size(frames[:, :2], frames[:, :2])).tolist() == [True, True]
