"""Distances between landmarks: against loops, and their product without holding them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fingerprint.errors import ConfigError, UnknownName
from fingerprint.landmarks import topology
from fingerprint.models import pairwise_distances

pytestmark = pytest.mark.usefixtures("quick_compilation")
SET = "nvfair126"


def points(frames=5, vertices=126, coord=3, seed=0):
    return np.random.default_rng(seed).normal(size=(frames, vertices, coord)).astype(np.float32)


def test_126_landmarks_have_7875_distances():
    between = pairwise_distances.pairs(SET)
    assert between.shape == (7875, 2) and (between[:, 0] < between[:, 1]).all()
    assert len({tuple(pair) for pair in between.tolist()}) == 7875


def test_a_chosen_subset():
    lips = pairwise_distances.pairs(SET, "lips")
    assert len(lips) == 34 * 33 // 2
    assert set(lips.ravel().tolist()) == set(topology.get(SET).regions["lips"].tolist())
    every = pairwise_distances.pairs(SET, every=8)
    assert np.array_equal(every, pairwise_distances.pairs(SET)[::8]) and len(every) == 985
    with pytest.raises(UnknownName, match=r"beard.*lips"):
        pairwise_distances.pairs(SET, "beard")
    with pytest.raises(ConfigError, match="at least one"):
        pairwise_distances.pairs("avaprintdb109", "left_iris")
    with pytest.raises(ConfigError, match="every=0"):
        pairwise_distances.pairs(SET, every=0)


@pytest.mark.parametrize("coord", [2, 3])
def test_distances_are_exact(coord):
    x, between = points(coord=coord), pairwise_distances.pairs(SET)
    found = np.asarray(pairwise_distances.distances(x, between))
    wide = x.astype(np.float64)
    assert found.shape == (7875, 5)
    for pair in range(0, 7875, 97):
        i, j = between[pair]
        assert np.allclose(found[pair], np.linalg.norm(wide[:, i] - wide[:, j], axis=-1), rtol=1e-6)


def test_the_gradient_is_that_of_the_formula_and_finite_where_points_coincide():
    x, between = points(frames=2), pairwise_distances.pairs(SET, "nose")
    first, second = between[0]
    x[1, second] = x[1, first]
    gradient = np.asarray(jax.grad(lambda p: pairwise_distances.distances(p, between).sum())(x))
    expected = np.zeros(x.shape)
    for i, j in between.tolist():
        gap = x[:, i].astype(np.float64) - x[:, j]
        size = np.linalg.norm(gap, axis=-1, keepdims=True)
        unit = np.where(size > 0, gap / np.where(size > 0, size, 1), 0)
        expected[:, i] += unit
        expected[:, j] -= unit
    assert np.isfinite(gradient).all() and np.allclose(gradient, expected, atol=1e-5)
    collapsed = jax.grad(lambda p: pairwise_distances.distances(p, between).sum())(np.zeros_like(x))
    assert not np.asarray(collapsed).any()


def test_the_scale_is_the_inner_eyes_distance_of_each_frame_or_of_the_window():
    x = points(frames=6).reshape(2, 3, 126, 3)
    left, right = topology.get(SET).inner_eyes
    each = np.linalg.norm(x[:, :, left] - x[:, :, right], axis=-1)
    mask = np.array([[True, True, False], [True, True, True]])
    assert np.allclose(pairwise_distances.scale(x, mask, SET, "frame"), each, rtol=1e-6)
    found = np.asarray(pairwise_distances.scale(x, mask, SET, "window"))
    assert found.shape == (2, 1) and np.allclose(found[:, 0], [each[0, :2].mean(), each[1].mean()], rtol=1e-6)
    for over in pairwise_distances.SCALES:  # a face without extent has no scale
        assert (np.asarray(pairwise_distances.scale(0 * x, mask, SET, over)) == 1).all()
    with pytest.raises(UnknownName, match="frame, window"):
        pairwise_distances.scale(x, mask, SET, "clip")


@pytest.mark.parametrize("chunk", [0, 1, 4, 5, 100])
@pytest.mark.parametrize("centred", [True, False])
def test_the_product_and_its_gradient_are_the_same_in_pieces(chunk, centred):
    x, between = points(frames=9), pairwise_distances.pairs(SET, every=20)
    rng = np.random.default_rng(1)
    kernel = rng.normal(size=(len(between), 4)).astype(np.float32)
    origin = rng.normal(size=len(between)).astype(np.float32) if centred else None
    weight = rng.normal(size=(9, 4)).astype(np.float32)

    def product(x, kernel):
        return jnp.sum(weight * pairwise_distances.project(x, between, origin, kernel, chunk))

    def plain(x, kernel):
        found = pairwise_distances.distances(x, between).T
        return jnp.sum(weight * ((found if origin is None else found - origin) @ kernel))

    (one, of_one), (two, of_two) = (jax.value_and_grad(f, argnums=(0, 1))(x, kernel) for f in (product, plain))
    assert float(one) == pytest.approx(float(two), rel=1e-4)
    for a, b in zip(of_one, of_two, strict=True):
        assert np.abs(a - b).max() < 1e-5 * np.abs(b).max()
