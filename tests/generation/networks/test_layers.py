"""Resizing and pooling, each against a definition written out."""

import jax.numpy as jnp
import numpy as np
import pytest

from fingerprint.generation.networks import i3d, inception
from fingerprint.generation.networks.layers import (
    between,
    convolution,
    max_pool,
    mean_pool_same,
    neighbours,
    resize,
)


@pytest.fixture
def random():
    return np.random.default_rng(0)


def sampled(row, places):
    low = np.floor(places).astype(int)
    high = np.minimum(low + 1, len(row) - 1)
    return row[low] + (places - low) * (row[high] - row[low])


@pytest.mark.parametrize(("old", "new"), [(5, 11), (11, 5), (7, 7)])
def test_resize_samples_where_it_says(random, old, new):
    row = random.normal(size=old)
    image = jnp.asarray(np.broadcast_to(row[None, None, :, None], (1, 4, old, 1)))
    tf1 = sampled(row, (np.arange(new) * old / new).clip(0, old - 1))
    centre = sampled(row, ((np.arange(new) + 0.5) * old / new - 0.5).clip(0, old - 1))
    np.testing.assert_allclose(resize(image, (4, new), "tf1")[0, 0, :, 0], tf1, atol=1e-6)
    np.testing.assert_allclose(resize(image, (4, new), "centre")[0, 2, :, 0], centre, atol=1e-6)
    turned = image.transpose(0, 2, 1, 3)
    np.testing.assert_allclose(resize(turned, (new, 4), "centre")[0, :, 1, 0], centre, atol=1e-6)


@pytest.mark.parametrize("corners", ["tf1", "centre"])
@pytest.mark.parametrize("size", [(8, 5), (3, 20), (11, 7)])
def test_resize_in_halves_is_resize(random, corners, size):
    frames = random.integers(0, 256, (2, 8, 7, 3), dtype=np.uint8)
    wanted = resize(jnp.asarray(frames, jnp.float32), size, corners)
    np.testing.assert_array_equal(between(neighbours(frames, size, corners)), wanted)


def test_networks_compile_nothing_for_another_size():
    compiled = []
    for size in ((20, 30), (31, 30), (299, 224), (400, 17)):
        frames = np.zeros((1, *size, 3), np.uint8)
        assert inception._prepared(frames).shape == (1, 299, 299, 3)
        assert i3d._prepared(frames[None], False).shape == (1, 1, 224, 224, 3)
        compiled.append((inception._scaled._cache_size(), i3d._scaled._cache_size()))
    assert len(set(compiled)) == 1


def test_mean_pool_with_its_padding(random):
    x = random.normal(size=(4, 5))
    around = np.pad(x, 1)
    wanted = [[around[i : i + 3, j : j + 3].mean() for j in range(5)] for i in range(4)]
    found = mean_pool_same(jnp.asarray(x[None, ..., None], jnp.float32), padding_counts=True)
    np.testing.assert_allclose(found[0, ..., 0], wanted, atol=1e-6)


def test_mean_pool_counts_what_lies_inside(random):
    x = random.normal(size=(4, 5))
    wanted = [[x[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].mean() for j in range(5)] for i in range(4)]
    np.testing.assert_allclose(
        mean_pool_same(jnp.asarray(x[None, ..., None], jnp.float32))[0, ..., 0], wanted, atol=1e-6
    )


def test_max_pool_is_not_lifted_by_its_padding():
    x = jnp.full((1, 3, 3, 1), -5.0)
    assert np.all(np.asarray(max_pool(x, (3, 3), (1, 1), "SAME")) == -5)


def test_convolution_in_three_dimensions(random):
    """`SAME` with stride 2 puts the odd zero behind."""
    x, kernel = random.normal(size=(4, 5, 5, 2)), random.normal(size=(3, 3, 3, 2, 3))
    padded = np.pad(x, ((0, 1), (1, 1), (1, 1), (0, 0)))
    wanted = np.zeros((2, 3, 3, 3))
    for i, j, k in np.ndindex(2, 3, 3):
        part = padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3, 2 * k : 2 * k + 3]
        wanted[i, j, k] = np.einsum("tijc,tijco->o", part, kernel) + 0.5
    params = {"one.kernel": jnp.asarray(kernel, jnp.float32), "one.bias": jnp.full(3, 0.5)}
    found = convolution(params, "one", jnp.asarray(x[None], jnp.float32), stride=2)
    np.testing.assert_allclose(found[0], wanted.clip(0), atol=1e-5)
