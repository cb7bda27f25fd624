"""Layers that Inception-2015 and I3D share: convolutions with folded normalisation, pooling, resizing. Channels last.

Convolutions ask for full float32: a GPU or TPU would otherwise multiply with 10 or 7 bits of mantissa.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32, Int, UInt8

Params = dict[str, Float[Array, "..."]]
Corners = Literal["tf1", "centre"]


def in_flight(asked: int | None, on_cpu: int, elsewhere: int) -> int:
    """How many inputs go through a network at once: as asked, else what suits the caches or the accelerator."""
    return asked or (on_cpu if jax.default_backend() == "cpu" else elsewhere)


def convolution(
    params: Params, name: str, x: Float[Array, "batch *space channel"], *, stride: int = 1, padding: str = "SAME"
) -> Float[Array, "batch *out_space feature"]:
    """ReLU of the convolution `name`; padding `SAME` (TensorFlow's: the odd zero behind) or `VALID`."""
    kernel, bias = params[f"{name}.kernel"], params[f"{name}.bias"]
    shape = x.shape
    if kernel.ndim == 5:
        x, kernel = _times_as_channels(x, kernel, stride)
        shape = (shape[0], x.shape[0] // shape[0])
    dimensions, precision = ("NHWC", "HWIO", "NHWC"), lax.Precision.HIGHEST
    y = lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=dimensions, precision=precision
    )
    y = jax.nn.relu(y + bias)
    return y.reshape(*shape, *y.shape[1:]) if len(shape) == 2 else y


def _times_as_channels(
    x: Float[Array, "batch time height width channel"],
    kernel: Float[Array, "k_time k_height k_width channel feature"],
    stride: int,
) -> tuple[Float[Array, "batch_out_time height width k_channel"], Float[Array, "k_height k_width k_channel feature"]]:
    """A convolution over time and space (`SAME`) as one over space alone, which CPUs do at twice the rate or more."""
    times = [part.reshape(-1, *part.shape[2:]) for part in _windows(x, 1, kernel.shape[0], stride, "SAME", 0.0)]
    flat = jnp.moveaxis(kernel, 0, 2)
    return jnp.concatenate(times, -1), flat.reshape(*flat.shape[:2], -1, flat.shape[-1])


def max_pool(
    x: Float[Array, "batch *space channel"], window: Sequence[int], strides: Sequence[int], padding: str
) -> Float[Array, "batch *out_space channel"]:
    """Largest value of each window; what lies outside counts as minus infinity."""
    for axis, (size, stride) in enumerate(zip(window, strides, strict=True), 1):
        x = functools.reduce(jnp.maximum, _windows(x, axis, size, stride, padding, -jnp.inf))
    return x


def mean_pool_same(
    x: Float[Array, "batch height width channel"], *, padding_counts: bool = False
) -> Float[Array, "batch height width channel"]:
    """Mean of each 3 x 3 neighbourhood over what lies inside, or with zeros for what lies outside."""
    for axis in (1, 2):
        inside = np.full(x.shape[axis], 3, np.float32)
        if not padding_counts:
            inside[[0, -1]] -= 1
        x = sum(_windows(x, axis, 3, 1, "SAME", 0.0)) / inside.reshape([-1 if a == axis else 1 for a in range(4)])
    return x


def _windows(x: Array, axis: int, size: int, stride: int, padding: str, outside: float) -> list[Array]:
    """Along an axis: the first elements of all windows, the second ones, and so on."""
    length = x.shape[axis]
    if padding == "SAME":
        count = -(-length // stride)
        missing = max((count - 1) * stride + size - length, 0)
        edges = [(missing // 2, missing - missing // 2) if a == axis else (0, 0) for a in range(x.ndim)]
        x = jnp.pad(x, edges, constant_values=outside)
    else:
        count = (length - size) // stride + 1
    return [lax.slice_in_dim(x, i, i + (count - 1) * stride + 1, stride, axis) for i in range(size)]


def resize(
    x: Float[Array, "batch height width channel"], size: tuple[int, int], corners: Corners
) -> Float[Array, "batch new_height new_width channel"]:
    """Bilinear, without smoothing before shrinking.

    Args:
        x: images.
        size: new height and width.
        corners: `tf1` samples at i * old / new, as TensorFlow 1 did; `centre` at (i + 0.5) * old / new - 0.5, as
            PyTorch does with `align_corners=False`. Places outside take the edge's value.
    """
    for axis, new in zip((1, 2), size, strict=True):
        low, high, share = _places(x.shape[axis], new, corners)
        if x.shape[axis] != new:
            share = share.reshape([-1 if a == axis else 1 for a in range(4)])
            left, right = (jnp.take(x, i, axis) for i in (low, high))
            x = left + share * (right - left)
    return x


def cubic(x: Float[Array, "..."], axis: int, at: Float[np.ndarray, " place"]) -> Float[Array, "..."]:
    """Values between those of an axis, by Keys' kernel (1981) with a = -0.75; beyond its ends the last one goes on."""
    a, low = -0.75, np.floor(at).astype(int)
    out = jnp.zeros(())
    for tap in range(-1, 3):
        d = np.abs(low + tap - at)
        near, far = ((a + 2) * d - (a + 3)) * d * d + 1, ((d - 5) * d + 8) * d * a - 4 * a
        weight = np.where(d <= 1, near, far).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
        out += jnp.take(x, np.clip(low + tap, 0, x.shape[axis] - 1), axis) * weight
    return out


class Neighbours(NamedTuple):
    """The pixels beside each place of a new size, and the places: what `between` makes the new pictures of.

    Attributes:
        pixels: upper and lower rows, left and right columns.
        rows, columns: from the first to the second, in 0 to 1.
    """

    pixels: UInt8[Array, "frame 2 new_height 2 new_width 3"]
    rows: Float32[Array, " new_height"]
    columns: Float32[Array, " new_width"]


def neighbours(
    frames: UInt8[np.ndarray, "frame height width 3"], size: tuple[int, int], corners: Corners
) -> Neighbours:
    """First half of `resize`, on the host: what is compiled after it does not depend on the frames' size."""
    (upper, lower, rows), (left, right, columns) = map(_places, frames.shape[1:3], size, (corners, corners))
    # Single bytes are gathered faster than pixels of three.
    across = (np.concatenate([left, right])[:, None] * 3 + np.arange(3)).ravel()
    pixels = np.take(frames.reshape(*frames.shape[:2], -1), across, 2)
    pixels = np.take(pixels, np.concatenate([upper, lower]), 1)
    return Neighbours(pixels.reshape(len(frames), 2, size[0], 2, size[1], 3), rows, columns)


def between(near: Neighbours) -> Float[Array, "frame new_height new_width 3"]:
    """Second half of `resize`, with the same arithmetic; to be jitted."""
    x = near.pixels.astype(jnp.float32)
    x = x[:, 0] + near.rows[:, None, None, None] * (x[:, 1] - x[:, 0])
    return x[:, :, 0] + near.columns[:, None] * (x[:, :, 1] - x[:, :, 0])


def _places(
    old: int, new: int, corners: Corners
) -> tuple[Int[np.ndarray, " place"], Int[np.ndarray, " place"], Float32[np.ndarray, " place"]]:
    """Pixels of an axis before and behind each place, and how far it is from the first to the second."""
    at = np.arange(new) * old / new if corners == "tf1" else (np.arange(new) + 0.5) * old / new - 0.5
    at = at.clip(0, old - 1)
    low = at.astype(int)
    return low, np.minimum(low + 1, old - 1), (at - low).astype(np.float32)
