"""Correlation of all places and values between them, each against a definition written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fingerprint.generation.networks import correspondence

RADIUS = 1


def value(plane: np.ndarray, x: float, y: float) -> float:
    """Bilinear, 0 outside."""
    left, top = int(np.floor(x)), int(np.floor(y))
    total = 0.0
    for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
        if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
            total += (1 - abs(x - column)) * (1 - abs(y - row)) * plane[row, column]
    return total


def written_out(first, second, places):
    height, width, channels = first.shape
    out = []
    for row, column in np.ndindex(height, width):
        plane = second @ first[row, column] / np.sqrt(channels)
        features = []
        for level in range(4):
            x, y = places[row, column] / 2**level
            for right, down in np.ndindex(2 * RADIUS + 1, 2 * RADIUS + 1):
                inside = min(plane.shape) > 1
                features.append(value(plane, x + right - RADIUS, y + down - RADIUS) if inside else 0.0)
            high, wide = (side // 2 for side in plane.shape)
            plane = plane[: 2 * high, : 2 * wide].reshape(high, 2, wide, 2).mean((1, 3))
        out.append(features)
    return np.array(out).reshape(height, width, -1)


@pytest.mark.parametrize("most_bytes", [correspondence.VOLUME_BYTES, 0])
@pytest.mark.parametrize("size", [(17, 16), (9, 16), (5, 3)])
def test_windows_of_correlation(size, most_bytes):
    """Kept as a volume or formed on demand; with a level of one place (9 / 8), and without one (3 / 4)."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, *size, 6))
    places = np.stack(np.meshgrid(np.arange(size[1]), np.arange(size[0])), -1) + 6 * rng.normal(size=(*size, 2))
    places[0, 0], places[1, 0], places[2, 0] = (1e9, -1e9), (2.0, 1.0), (size[1] - 1, size[0] - 1)
    arrays = [jnp.asarray(values, jnp.float32) for values in (first, second, places)]

    @jax.jit
    def network(first, second, places):
        found = correspondence.correlation(first, second, most_bytes)
        assert (found.volume is None) == (most_bytes == 0)
        return correspondence.looked_up(found, places, RADIUS)

    window = network(*arrays)
    np.testing.assert_allclose(window, written_out(first, second, places), atol=2e-5)


def test_edges_go_on_with_the_odd_row_behind():
    picture = np.arange(5 * 13 * 3, dtype=np.uint8).reshape(5, 13, 3)
    found, place = correspondence.padded(picture, 8)
    assert found.shape == (8, 16, 3)
    np.testing.assert_array_equal(found[place], picture)
    np.testing.assert_array_equal(found, picture[[0, 0, 1, 2, 3, 4, 4, 4]][:, [0, *range(13), 12, 12]])


def test_values_between_pixels():
    plane = np.random.default_rng(0).normal(size=(4, 5))
    places = np.array([[0.25, 0.5], [3.9, 2.75], [4, 3], [-7, 1.5], [2.5, 90]])
    inside = np.clip(places, 0, [4, 3])
    found = correspondence.sampled(jnp.asarray(plane[..., None], jnp.float32), jnp.asarray(places, jnp.float32))
    np.testing.assert_allclose(found[:, 0], [value(plane, *place) for place in inside], atol=1e-6)
