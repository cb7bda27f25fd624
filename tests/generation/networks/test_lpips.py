"""LPIPS: numbers that the package `lpips` gave with the same weights, and that package itself where it is installed."""

import numpy as np
import originals
import pytest

from fingerprint.errors import ArrayRefused
from fingerprint.generation import build, recipes, resize
from fingerprint.generation.frames import Frames
from fingerprint.generation.networks import lpips, weights

# Of frames 0 to 2 of `originals.pictures(6, 96, 128)` to frames 3 to 5, by lpips 0.1.4 (PyTorch 2.13, on the CPU).
DISTANCES = [0.10998695, 0.09467972, 0.08172315]
# The same with `made_up` weights; and of the first to the last two of `originals.pictures(4, 45, 70)`.
MADE_UP = [0.21889864, 0.23040836, 0.23257086]
MADE_UP_SMALL = [0.14938727, 0.15313306]


@pytest.fixture(scope="module")
def made_up():
    random = np.random.default_rng(0)
    params = {}
    sizes = ((11, 3, 64), (5, 64, 192), (3, 192, 384), (3, 384, 256), (3, 256, 256))
    for i, (side, channels, features) in enumerate(sizes):
        spread = (side * side * channels / 2) ** -0.5
        params[f"conv_{i}.kernel"] = random.normal(0, spread, (side, side, channels, features)).astype(np.float32)
        params[f"conv_{i}.bias"] = random.normal(0, 0.1, features).astype(np.float32)
        params[f"head_{i}"] = random.uniform(0, 1, features).astype(np.float32)
    return params


@pytest.fixture(scope="module")
def pairs():
    frames = originals.pictures(6, 96, 128)
    return frames[:3], frames[3:]


def test_distances_are_those_of_the_package():
    frames = originals.pictures(6, 96, 128)
    params = lpips.load(originals.installed("lpips"))
    np.testing.assert_allclose(lpips.distance(params, frames[:3], frames[3:]), DISTANCES, rtol=2e-5)


def test_distances_with_made_up_weights_are_those_of_the_package(made_up, pairs):
    found = lpips.distance(made_up, *pairs, batch=2)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, MADE_UP, rtol=2e-5)
    small = originals.pictures(4, 45, 70)
    np.testing.assert_allclose(lpips.distance(made_up, small[:2], small[2:]), MADE_UP_SMALL, rtol=2e-5)


def test_equal_frames_have_no_distance(made_up, pairs):
    assert lpips.distance(made_up, pairs[0], pairs[0].copy(), batch=2).tolist() == [0, 0, 0]


def test_frames_that_do_not_fit_are_refused():
    one, other, small = (np.zeros((2, side, 40, 3), np.uint8) for side in (40, 41, 30))
    for pair in ((one, other), (one, one[:1]), (small, small)):
        with pytest.raises(ArrayRefused, match="at least 31 x 31"):
            lpips.distance({}, *pair)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(256, 256), (180, 320), (320, 181), (31, 31)])
def test_parity_with_the_package(size):
    frames = originals.pictures(4, *size)
    frames[3] = np.random.default_rng(0).integers(0, 256, frames[3].shape)
    pair = frames[:2], frames[2:]
    params = lpips.load(originals.installed("lpips"))
    np.testing.assert_allclose(lpips.distance(params, *pair), originals.lpips()(*pair), rtol=1e-4)


def as_frames(rgb):
    count = len(rgb)
    face, shapes = np.zeros((count, 478, 3), np.float32), np.zeros((count, 52), np.float32)
    return Frames(rgb, face, shapes, np.zeros(count, bool), np.arange(count) / 25, 25.0)


def test_the_metric_of_the_recipe(made_up, tmp_path, monkeypatch):
    """The mean over a video's frames, the generated one at the reference's size; absent weights are told."""
    asked = recipes.recipe("standard", "lpips")
    assert [(d.view, d.per_video, d.better, d.needs) for d in asked] == [("region", True, "lower", ("lpips",))]
    without = build.build_metrics(asked, "standard", tmp_path)
    assert not without and all(said in without.skipped["lpips"] for said in ("lpips-alexnet.npz", "--fetch-weights"))

    monkeypatch.setattr(weights, "load", lambda name, folder: made_up if name == "lpips" else None)
    found = build.build_metrics(asked, "standard", tmp_path)
    (metric,) = found.pairs
    real, made = originals.pictures(8, 40, 48), originals.pictures(8, 80, 96)
    for part in (slice(5), slice(5, 8)):
        metric.update(as_frames(real[part]), as_frames(made[part]))
    sized = np.stack([resize.plain(picture, 40, 48) for picture in made])
    value = metric.end_pair()
    assert value == pytest.approx(lpips.distance(made_up, real, sized).mean(), rel=1e-6) and value > 0.05
    assert found.skipped == {}
