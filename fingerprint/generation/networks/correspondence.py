"""What networks of optical flow share: encoders, correlation of all places, values between pixels. Channels last.

Convolutions and products ask for full float32, as in `layers`. Padding is PyTorch's: as many zeros before as behind.

Source: Teed and Deng, RAFT (2003.12039); core/{corr,extractor}.py of princeton-vl/RAFT (BSD-3-Clause).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, UInt8

from fingerprint.generation.networks.layers import Params

LEVELS = 4
VOLUME_BYTES = 2 << 30
_QUERIES_AT_ONCE = 256
Shapes = dict[str, tuple[int, ...]]
Features = Float[Array, "batch height width channel"]
Places = Float[Array, "batch height width 2"]


def convolution(params: Params, name: str, x: Features, stride: int = 1) -> Features:
    """The convolution `name`, of odd kernel sides, padded so that a stride of 1 keeps the size."""
    return convolved(x, params[f"{name}.kernel"], stride) + params[f"{name}.bias"]


def convolved(x: Features, kernel: Float[Array, "k_height k_width channel feature"], stride: int = 1) -> Features:
    """As `convolution`, without bias."""
    padding = [(side // 2, side // 2) for side in kernel.shape[:2]]
    dimensions, precision = ("NHWC", "HWIO", "NHWC"), lax.Precision.HIGHEST
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=dimensions, precision=precision
    )


def kernels(state: Mapping[str, Float[np.ndarray, "..."]]) -> dict[str, Float[np.ndarray, "..."]]:
    """PyTorch's arrays as this module wants them: `NAME.kernel` (height, width, in, out) for a `NAME.weight`."""
    out = {}
    for key, value in state.items():
        if value.ndim == 4:
            key, value = f"{key.removesuffix('.weight')}.kernel", value.transpose(2, 3, 1, 0)
        out[key] = np.ascontiguousarray(value, np.float32)
    return out


def convolution_shapes(name: str, channels: int, features: int, *sides: int) -> Shapes:
    """What PyTorch stores of a convolution, its kernel square where one side is given."""
    return {f"{name}.weight": (features, channels, *sides, *sides)[:4], f"{name}.bias": (features,)}


# ------------------------------------------------------------------------------------------------------------- encoders


def encoder_shapes(name: str, widths: tuple[int, int, int], features: int, *, bottleneck: bool) -> Shapes:
    """What PyTorch stores of an encoder's convolutions."""
    shapes = convolution_shapes(f"{name}.conv1", 3, widths[0], 7)
    before = widths[0]
    for layer, width in enumerate(widths, 1):
        for block in (0, 1):
            at = f"{name}.layer{layer}.{block}"
            if bottleneck:
                shapes |= convolution_shapes(f"{at}.conv1", before, width // 4, 1)
                shapes |= convolution_shapes(f"{at}.conv2", width // 4, width // 4, 3)
                shapes |= convolution_shapes(f"{at}.conv3", width // 4, width, 1)
            else:
                shapes |= convolution_shapes(f"{at}.conv1", before, width, 3)
                shapes |= convolution_shapes(f"{at}.conv2", width, width, 3)
            if layer > 1 and block == 0:
                shapes |= convolution_shapes(f"{at}.downsample.0", before, width, 1)
            before = width
    return shapes | convolution_shapes(f"{name}.conv2", before, features, 1)


def encoder(params: Params, name: str, x: Features, normalise: Callable[[Features], Features]) -> Features:
    """Features of pictures at an eighth of their size: three layers of two residual or bottleneck blocks each."""
    x = jax.nn.relu(normalise(convolution(params, f"{name}.conv1", x, 2)))
    for layer, stride in ((1, 1), (2, 2), (3, 2)):
        x = _block(params, f"{name}.layer{layer}.0", x, stride, normalise)
        x = _block(params, f"{name}.layer{layer}.1", x, 1, normalise)
    return convolution(params, f"{name}.conv2", x)


def instance_normalised(x: Features) -> Features:
    """Each channel of each picture with its own mean taken out, divided by its own deviation."""
    centred = x - x.mean((1, 2), keepdims=True)
    return centred * lax.rsqrt(jnp.square(centred).mean((1, 2), keepdims=True) + 1e-5)


def _block(params: Params, name: str, x: Features, stride: int, normalise: Callable[[Features], Features]) -> Features:
    length = 3 if f"{name}.conv3.kernel" in params else 2
    y = x
    for i in range(1, length + 1):
        y = jax.nn.relu(normalise(convolution(params, f"{name}.conv{i}", y, stride if i == length - 1 else 1)))
    if f"{name}.downsample.0.kernel" in params:
        x = normalise(convolution(params, f"{name}.downsample.0", x, stride))
    return jax.nn.relu(x + y)


# ---------------------------------------------------------------------------------------------------------- correlation


class Correlation(NamedTuple):
    """How well each place of one feature map agrees with those of another, at four sizes.

    Attributes:
        queries: features of the first map, by place, divided by the root of their number.
        levels: the second map, and its means over 2, 4 and 8 places a side; what is left over at an edge is dropped.
        volume: products of all queries with all places of a level; none where they would be too many: they are then
            formed as they are asked for.
    """

    queries: Float[Array, "query channel"]
    levels: tuple[Float[Array, "level_height level_width channel"], ...]
    volume: tuple[Float[Array, "query place"], ...] | None


def correlation(
    first: Float[Array, "height width channel"],
    second: Float[Array, "height width channel"],
    most_bytes: int = VOLUME_BYTES,
) -> Correlation:
    """The correlation of two feature maps of one size; `most_bytes` bounds what its volume may take."""
    queries = first.reshape(-1, first.shape[-1]) / np.sqrt(first.shape[-1])
    levels = [second]
    for _ in range(LEVELS - 1):
        levels.append(_halved(levels[-1]))
    places = sum(level.shape[0] * level.shape[1] for level in levels)
    if 4 * len(queries) * places > most_bytes:
        return Correlation(queries, tuple(levels), None)
    flat = (level.reshape(level.shape[0] * level.shape[1], level.shape[2]) for level in levels)
    volume = tuple(jnp.matmul(queries, level.T, precision=lax.Precision.HIGHEST) for level in flat)
    return Correlation(queries, tuple(levels), volume)


def looked_up(
    found: Correlation, places: Float[Array, "height width 2"], radius: int
) -> Float[Array, "height width feature"]:
    """Each query's correlation in a window around a place of the second map, at every level.

    Args:
        found: as `correlation` gives it.
        places: x and y in the second map, a place a query.
        radius: places to either side; the window at a level has a side of 2 * radius + 1 of its places.

    Returns:
        By level, then x, then y in the window. Outside the map it is 0, and so is a level that is a single place high
        or wide or has none: PyTorch divides by zero there, which its kernel for GPUs takes for outside.
    """
    height, width = places.shape[:2]
    at = places.reshape(-1, 2)
    out = []
    for i, level in enumerate(found.levels):
        if min(level.shape[:2]) < 2:
            out.append(jnp.zeros((height, width, (2 * radius + 1) ** 2)))
            continue
        window = _window(at / 2**i, radius, level.shape[0], level.shape[1])
        values = (
            _on_demand(found.queries, level, window.index) if found.volume is None else _of(found.volume[i], window)
        )
        out.append(_between(values, window, radius).reshape(height, width, -1))
    return jnp.concatenate(out, -1)


class _Window(NamedTuple):
    """Pixels around each place, x by x and in them y by y; which of them are inside; how far the place is from one."""

    index: Int[Array, "query pixel"]
    inside: Bool[Array, "query pixel"]
    share: Float[Array, "query 2"]


def _window(at: Float[Array, "query 2"], radius: int, height: int, width: int) -> _Window:
    limits = jnp.array([width, height]) + radius
    at = jnp.clip(at, -(radius + 2), limits)
    low = jnp.floor(at)
    first = low.astype(jnp.int32) - radius
    steps = jnp.arange(2 * radius + 2)
    x, y = first[:, 0, None, None] + steps[:, None], first[:, 1, None, None] + steps
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    index = jnp.clip(y, 0, height - 1) * width + jnp.clip(x, 0, width - 1)
    return _Window(index.reshape(len(at), -1), inside.reshape(len(at), -1), at - low)


def _of(volume: Float[Array, "query place"], window: _Window) -> Float[Array, "query pixel"]:
    return jnp.take_along_axis(volume, window.index, 1, mode="promise_in_bounds")


def _on_demand(
    queries: Float[Array, "query channel"],
    level: Float[Array, "level_height level_width channel"],
    index: Int[Array, "query pixel"],
) -> Float[Array, "query pixel"]:
    flat = level.reshape(-1, level.shape[-1])

    def one(query):
        vector, pixels = query
        return jnp.matmul(flat[pixels], vector, precision=lax.Precision.HIGHEST)

    return lax.map(one, (queries, index), batch_size=_QUERIES_AT_ONCE)


def _between(values: Float[Array, "query pixel"], window: _Window, radius: int) -> Float[Array, "query x y"]:
    side = 2 * radius + 2
    v = jnp.where(window.inside, values, 0).reshape(-1, side, side)
    x, y = window.share[:, 0, None, None], window.share[:, 1, None, None]
    v = (1 - x) * v[:, :-1] + x * v[:, 1:]
    return (1 - y) * v[:, :, :-1] + y * v[:, :, 1:]


def _halved(x: Float[Array, "height width channel"]) -> Float[Array, "half_height half_width channel"]:
    height, width = (side // 2 for side in x.shape[:2])
    return x[: 2 * height, : 2 * width].reshape(height, 2, width, 2, x.shape[-1]).mean((1, 3))


# --------------------------------------------------------------------------------------------------------------- places


def grid(height: int, width: int) -> Float[Array, "height width 2"]:
    """x and y of every place."""
    return jnp.stack(jnp.meshgrid(jnp.arange(width, dtype=jnp.float32), jnp.arange(height, dtype=jnp.float32)), -1)


def padded(
    picture: UInt8[np.ndarray, "height width 3"], multiple: int
) -> tuple[UInt8[np.ndarray, "padded_height padded_width 3"], tuple[slice, slice]]:
    """The picture with its edges going on to sides that are multiples, half before and half behind; and its place."""
    height, width = picture.shape[:2]
    down, across = -height % multiple, -width % multiple
    out = np.pad(picture, ((down // 2, down - down // 2), (across // 2, across - across // 2), (0, 0)), mode="edge")
    return out, (slice(down // 2, down // 2 + height), slice(across // 2, across // 2 + width))


def sampled(
    x: Float[Array, "height width channel"], places: Float[Array, "*place 2"]
) -> Float[Array, "*place channel"]:
    """Values between the pixels, at x and y; beyond the edge its value goes on."""
    height, width = x.shape[:2]
    places = jnp.clip(places, 0, jnp.array([width - 1, height - 1], jnp.float32))
    low = jnp.floor(places)
    share = places - low
    left, top = low[..., 0].astype(jnp.int32), low[..., 1].astype(jnp.int32)
    right, bottom = jnp.minimum(left + 1, width - 1), jnp.minimum(top + 1, height - 1)
    across, down = share[..., :1], share[..., 1:]

    def row(y):
        return (1 - across) * _pixels(x, y, left) + across * _pixels(x, y, right)

    return (1 - down) * row(top) + down * row(bottom)


def _pixels(
    x: Float[Array, "height width channel"], row: Int[Array, "*place"], column: Int[Array, "*place"]
) -> Float[Array, "*place channel"]:
    return x.at[row, column].get(mode="clip")
