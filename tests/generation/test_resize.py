"""Pictures at other sizes, against libraries that do the same."""

import numpy as np
import pytest

from fingerprint.generation import resize


def picture(height, width, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    smooth = 120 + 80 * np.sin(x / 9)[..., None] * np.cos(y / [7, 11, 13][0])[..., None]
    return np.clip(smooth + rng.normal(0, 20, (height, width, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(64, 48), (300, 200), (120, 90), (7, 5)])
def test_cut_is_pillows_reducing_filter(size):
    images = pytest.importorskip("PIL.Image")
    source = picture(120, 90)
    expected = np.asarray(images.fromarray(source).resize(size[::-1], images.Resampling.BILINEAR))
    found = resize.whole(source, *size)
    assert np.abs(found.astype(int) - expected).max() <= 1
    box = (10, 20, 70, 110)
    expected = np.asarray(images.fromarray(source).resize(size[::-1], images.Resampling.BILINEAR, box=box))
    found = resize.cut(source, np.array(box, float), *size)
    # Pillow's filter stops at the box, this one looks beyond it.
    assert np.abs(found.astype(int) - expected)[2:-2, 2:-2].max(initial=0) <= 1


def test_cut_beyond_the_picture_goes_on_with_its_edge():
    source = picture(40, 40)
    found = resize.cut(source, np.array([-20.0, -20, 20, 20]), 40, 40)
    np.testing.assert_array_equal(found[20:, 20:], source[:20, :20])
    np.testing.assert_array_equal(found[:20, 20:], np.broadcast_to(source[:1, :20], (20, 20, 3)))
    beyond = resize.cut(source, np.array([100.0, 0, 140, 40]), 40, 40)
    np.testing.assert_array_equal(beyond, np.broadcast_to(source[:, -1:], (40, 40, 3)))


def test_cut_between_pixels_moves_smoothly():
    ramp = np.broadcast_to(np.arange(100, dtype=np.uint8)[None, :, None] * 2, (20, 100, 3))
    found = resize.cut(ramp, np.array([10.25, 0, 30.25, 20]), 20, 20)
    assert np.abs(found[..., 0] - (2 * (np.arange(20) + 10.25))).max() <= 0.5


@pytest.mark.parametrize("size", [(64, 48), (300, 200), (120, 90), (33, 77)])
def test_plain_is_opencvs_default(size):
    cv2 = pytest.importorskip("cv2")
    source = picture(120, 90)
    expected = cv2.resize(source, size[::-1])
    assert np.abs(resize.plain(source, *size).astype(int) - expected).max() <= 1
    cubic = cv2.resize(source.astype(np.float32), size[::-1], interpolation=cv2.INTER_CUBIC)
    np.testing.assert_allclose(resize.sampled(source, *size, cubic=True), cubic, atol=2e-2)


def test_warped_fades_out_at_the_edge():
    source = np.full((4, 4, 3), 100, np.uint8)
    found = resize.warped(source, np.array([-0.5, 0, 3.25, 5]), np.array([0.0]))
    np.testing.assert_allclose(found[:, 0, 0], [50, 100, 75, 0])
