"""Canny's edges against OpenCV and by hand."""

import numpy as np
import originals
import pytest

from fingerprint.generation import edges


def smooth_noise(random, height, width):
    from scipy import ndimage

    return ndimage.gaussian_filter(random.uniform(0, 255, (height, width, 3)) * 3 - 255, (1.5, 1.5, 0)).clip(0, 255)


@pytest.fixture(scope="module")
def frames():
    random = np.random.default_rng(0)
    made = [*originals.pictures(2, 90, 120), smooth_noise(random, 90, 120), random.integers(0, 256, (90, 120, 3))]
    return np.stack(made).astype(np.uint8)


@pytest.mark.parametrize("thresholds", [(100, 200), (30, 60), (5, 500)])
def test_edges_are_those_of_opencv(frames, thresholds):
    cv2 = pytest.importorskip("cv2")
    found = edges.canny(frames, *thresholds)
    for frame, mine in zip(frames, found, strict=True):
        wanted = cv2.Canny(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), *thresholds)
        np.testing.assert_array_equal(mine, np.repeat(wanted[..., None], 3, -1))
    assert 0 < found.mean() < 255


def test_a_bar_has_two_edges_and_a_faint_one_none():
    frames = np.full((2, 20, 20, 3), 100, np.uint8)
    frames[0, :, 8:12], frames[1, :, 8:12] = 200, 110
    found = edges.canny(frames)
    assert found.shape == frames.shape and set(np.unique(found)) == {0, 255}
    assert np.flatnonzero(found[0, 10, :, 0]).tolist() == [7, 11] and not found[1].any()


def test_weak_ridges_count_only_beside_strong_ones():
    frames = np.full((1, 40, 40, 3), 100, np.uint8)
    frames[0, :, 20:] = 140  # a step of 4 * 40, between the thresholds
    assert not edges.canny(frames).any()
    frames[0, :10, 20:] = 200
    assert edges.canny(frames)[0, :, 19:21, 0].any(1).sum() > 30
