"""I3D: numbers that pytorch-i3d gave with the same weights, and pytorch-i3d itself where it is installed."""

import numpy as np
import originals
import pytest

from fingerprint.errors import ArrayRefused
from fingerprint.generation.networks import i3d

# Of `originals.pictures(16, 120, 160)`, by pytorch-i3d on the CPU: every 25th logit, every 64th pooled feature.
LOGITS = [1.61874, -8.26718, -6.43042, 2.36201, 2.42949, -3.29423, 1.8987, -2.73406]
LOGITS += [-2.47592, 6.55484, 7.20617, -1.59956, 0.369752, 1.92587, 1.89775, -1.9608]
POOLED = [0.154047, 0.0752786, 0.122035, 0.161684, 0.136551, 0.421395, 0.202613, 0.210674]
POOLED += [0.0634969, 0.246196, 0.232053, 0.0560066, 0.0408957, 0.211016, 0.100742, 0.191019]
UNSIGNED = [3.66376, -6.48269, -5.40445, 0.402741, 3.13778, -2.82229, 0.783358, -1.61399]
UNSIGNED += [-0.613732, 5.22596, 3.29199, -1.2966, 1.49427, 1.5158, 0.54525, -3.28229]
# Of `originals.pictures(16, 90, 110)` in [0, 1], made 224 x 224 by OpenCV 4.11.0: every 25th logit.
AS_PUBLISHED = [2.60372, -6.80918, -4.0256, -0.648673, 2.86912, -1.47536, 1.16568, 0.0850953]
AS_PUBLISHED += [0.301931, 3.68192, 0.917592, -1.98065, 1.23455, 1.16711, -1.43602, -3.70184]


@pytest.fixture(scope="module")
def params():
    return i3d.load(originals.installed("i3d"))


@pytest.fixture(scope="module")
def clips():
    return originals.pictures(16, 120, 160)[None]


def test_features_are_those_of_pytorch_i3d(params, clips):
    logits = i3d.features(params, clips)
    assert logits.dtype == np.float32 and logits.shape == (1, i3d.LOGITS)
    np.testing.assert_allclose(logits[0, ::25], LOGITS, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_pooled_features_and_frames_in_0_to_1(params, clips):
    np.testing.assert_allclose(i3d.features(params, clips, pooled=True)[0, ::64], POOLED, rtol=1e-4, atol=1e-5)
    unsigned = i3d.features(params, clips, signed=False)
    np.testing.assert_allclose(unsigned[0, ::25], UNSIGNED, rtol=1e-4, atol=1e-4)


def test_features_as_published_are_those_of_opencvs_area(params):
    found = i3d.features_as_published(params, originals.pictures(16, 90, 110)[None])
    np.testing.assert_allclose(found[0, ::25], AS_PUBLISHED, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(16, 224, 224), (9, 90, 300), (21, 256, 256)])
def test_parity_with_pytorch_i3d(params, shape):
    clips = originals.pictures(*shape)[None]
    clips[0, -2:] = np.random.default_rng(0).integers(0, 256, (2, *shape[1:], 3))
    published = originals.i3d()
    for pooled in (False, True):
        found, wanted = i3d.features(params, clips, pooled=pooled), published(clips, pooled=pooled)
        assert np.linalg.norm(found - wanted) < 2e-5 * np.linalg.norm(wanted)


@pytest.mark.slow
def test_results_do_not_depend_on_the_batch(params, clips):
    three = np.concatenate([clips, clips[:, ::-1], clips])
    found = i3d.features(params, three, batch=2)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-4, atol=1e-4)
    assert np.abs(found[1] - found[0]).max() > 0.1


def test_short_clips_are_refused():
    with pytest.raises(ArrayRefused, match="8 frames; wanted at least 9"):
        i3d.features({}, np.zeros((1, 8, 32, 32, 3), np.uint8))
