"""Hashed dropout masks: the rate asked for, and no pattern in example, frame, vertex, channel, layer or step."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fingerprint.models.dropout import example_seeds, frame_seeds, keep_scale

pytestmark = pytest.mark.usefixtures("quick_compilation")
EXAMPLES, TIME, VERTICES, CHANNELS = 8, 12, 109, 64


def scales(step=0, rate=0.3, layer=0, index=range(EXAMPLES), time=TIME, vertices=VERTICES, channels=CHANNELS):
    """[vertex, example, frame, channel]"""
    seeds = example_seeds(jax.random.fold_in(jax.random.key(0), step), jnp.array(list(index)))
    out = keep_scale(frame_seeds(seeds, time), layer, vertices, channels, rate)
    return np.asarray(out).reshape(vertices, len(list(index)), time, channels)


def correlation(one, two):
    return abs(np.corrcoef(one.ravel(), two.ravel())[0, 1])


def noise(count):
    """Five standard deviations of a mean or correlation of `count` independent values."""
    return 5 / np.sqrt(count)


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.5, 0.9])
def test_rate_and_expectation(rate):
    found = scales(rate=rate)
    assert found.dtype == np.float32
    assert set(np.unique(found).tolist()) == {0.0, float(np.float32(1 / (1 - rate)))}
    spread = np.sqrt(rate * (1 - rate))
    assert abs((found == 0).mean() - rate) < noise(found.size) * spread
    assert abs(found.mean() - 1) < noise(found.size) * spread / (1 - rate)
    for axis in range(4):  # in every vertex, example, frame and channel
        others = tuple(a for a in range(4) if a != axis)
        share = (found == 0).mean(axis=others)
        assert np.abs(share - rate).max() < noise(found.size // found.shape[axis]) * spread


def test_the_mask_belongs_to_the_example():
    whole = scales()
    assert np.array_equal(scales(index=[5, 2], time=5), whole[:, [5, 2], :5])
    assert np.array_equal(jax.jit(lambda: scales_jitted())(), whole)


def scales_jitted():
    seeds = example_seeds(jax.random.fold_in(jax.random.key(0), 0), jnp.arange(EXAMPLES))
    return keep_scale(frame_seeds(seeds, TIME), 0, VERTICES, CHANNELS, 0.3).reshape(VERTICES, EXAMPLES, TIME, CHANNELS)


@pytest.mark.parametrize(("axis", "lag"), itertools.product(range(4), (1, 2, 3)))
def test_neighbours_are_not_correlated(axis, lag):
    found = np.moveaxis(scales(), axis, 0)
    assert correlation(found[lag:], found[:-lag]) < noise(found[lag:].size)


def test_diagonal_neighbours_are_not_correlated():
    found = scales()
    for one, two in ((found[1:, :, 1:], found[:-1, :, :-1]), (found[1:, :, :, 1:], found[:-1, :, :, :-1])):
        assert correlation(one, two) < noise(one.size)
    assert correlation(found[:, :, 1:, :-1], found[:, :, :-1, 1:]) < noise(found.size)


def test_no_two_rows_or_columns_are_alike():
    """Over all pairs of vertices and of channels, not only neighbours: rows and columns are combined late."""
    centred = scales() - 1
    for axis in (0, 3):
        flat = np.moveaxis(centred, axis, 0).reshape(centred.shape[axis], -1)
        found = np.corrcoef(flat) - np.eye(len(flat))
        assert np.abs(found).max() < 6 / np.sqrt(flat.shape[1])


def test_pairs_of_rows_and_columns_are_independent():
    """The interaction (v, c) x (v', c'): a rectangle's four corners have no common sign beyond chance."""
    signs = np.where(scales(rate=0.5) > 0, 1, -1)
    rectangles = signs[1:, ..., 1:] * signs[:-1, ..., 1:] * signs[1:, ..., :-1] * signs[:-1, ..., :-1]
    assert abs(rectangles.mean()) < noise(rectangles.size)


@pytest.mark.parametrize("change", [{"step": 1}, {"step": 1000}, {"layer": 1}, {"layer": 2}, {"index": range(8, 16)}])
def test_masks_differ_between_steps_layers_and_examples(change):
    one, two = scales(), scales(**change)
    assert correlation(one, two) < noise(one.size)


def test_frames_differ_within_an_example():
    found = scales()
    assert all(not np.array_equal(found[:, 0, a], found[:, 0, b]) for a, b in itertools.combinations(range(TIME), 2))


def test_no_dropout_at_rate_zero():
    assert (scales(rate=0.0) == 1).all()
