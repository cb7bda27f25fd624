"""Canny's edges against OpenCV and by hand; expressions of a track."""

import dataclasses

import numpy as np
import originals
import pytest

from fingerprint.generation import expression
from fingerprint.generation.statistics import FeatureStatistics, frechet_distance
from fingerprint.landmarks.track import LandmarkTrack


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
    found = expression.edges(frames, *thresholds)
    for frame, mine in zip(frames, found, strict=True):
        wanted = cv2.Canny(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), *thresholds)
        np.testing.assert_array_equal(mine, np.repeat(wanted[..., None], 3, -1))
    assert 0 < found.mean() < 255


def test_a_bar_has_two_edges_and_a_faint_one_none():
    frames = np.full((2, 20, 20, 3), 100, np.uint8)
    frames[0, :, 8:12], frames[1, :, 8:12] = 200, 110
    found = expression.edges(frames)
    assert found.shape == frames.shape and set(np.unique(found)) == {0, 255}
    assert np.flatnonzero(found[0, 10, :, 0]).tolist() == [7, 11] and not found[1].any()


def test_weak_ridges_count_only_beside_strong_ones():
    frames = np.full((1, 40, 40, 3), 100, np.uint8)
    frames[0, :, 20:] = 140  # a step of 4 * 40, between the thresholds
    assert not expression.edges(frames).any()
    frames[0, :10, 20:] = 200
    assert expression.edges(frames)[0, :, 19:21, 0].any(1).sum() > 30


def test_expressions_are_those_of_frames_with_a_face():
    random = np.random.default_rng(0)
    mask = np.array([True, False, True, True])
    track = LandmarkTrack(
        landmarks=np.zeros((4, 478, 3)),
        frame_mask=mask,
        timestamps=np.arange(4) * 40_000,
        blendshapes=random.uniform(0, 1, (4, 52)).astype(np.float32),
        pose=np.zeros((4, 4, 4)),
        several=np.zeros(4, bool),
        image_size=(64, 64),
        fps=25.0,
        start_frame=0,
        provenance={},
    )
    found = expression.expressions(track)
    np.testing.assert_array_equal(found, track.blendshapes[mask])
    one, other = FeatureStatistics(expression.FEATURES), FeatureStatistics(expression.FEATURES)
    one.add(found)
    other.add(expression.expressions(dataclasses.replace(track, blendshapes=track.blendshapes + np.float32(0.1))))
    assert frechet_distance(one, other) == pytest.approx(52 * 0.01, rel=1e-5)
