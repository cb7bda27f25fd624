"""Inception-2015, the network of the Fréchet Inception Distance, in JAX.

Source: Szegedy et al., Rethinking the Inception Architecture (1512.00567), with the changes of the released graph
`inception-2015-12-05`: mean pooling counts what lies inside, and the last block pools by maximum. Frames are resized
as TensorFlow 1 did and scaled to (x - 128) / 128, as the graph's own preprocessing does.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, UInt8

from fingerprint.generation.networks import weights
from fingerprint.generation.networks.layers import (
    Neighbours,
    Params,
    between,
    convolution,
    in_flight,
    max_pool,
    mean_pool_same,
    neighbours,
)

FEATURES = 2048
SIDE = 299

Pool = Callable[[Float[Array, "frame height width channel"]], Float[Array, "frame height width channel"]]


def load(folder: str | os.PathLike | None = None) -> Params:
    """The network's weights, on the device.

    Raises:
        WeightsMissing: they are nowhere.
    """
    return jax.device_put(weights.load("inception", folder))


def features(
    params: Params, frames: UInt8[np.ndarray, "frame height width 3"], *, batch: int | None = None
) -> Float32[np.ndarray, "frame 2048"]:
    """Features of the last pooling layer.

    Args:
        params: as `load` gives them.
        frames: RGB of any size.
        batch: frames in flight, by default 2 on a CPU and 64 elsewhere; results do not depend on it.
    """
    batch = in_flight(batch, 2, 64)
    out = np.empty((len(frames), FEATURES), np.float32)
    for start in range(0, len(frames), batch):
        part = frames[start : start + batch]
        full = np.pad(part, ((0, batch - len(part)), (0, 0), (0, 0), (0, 0)))
        out[start : start + len(part)] = _network(params, _prepared(full))[: len(part)]
    return out


def _prepared(frames: UInt8[np.ndarray, "frame height width 3"]) -> Float[Array, "frame 299 299 3"]:
    return _scaled(neighbours(frames, (SIDE, SIDE), "tf1"))


@jax.jit
def _scaled(near: Neighbours) -> Float[Array, "frame 299 299 3"]:
    return (between(near) - 128) / 128


def trunk(
    params: Params, x: Float[Array, "frame 299 299 3"], pool: Pool, last_pool: Pool
) -> Float[Array, "frame 2048"]:
    """Features of the last pooling layer.

    Args:
        params: `NAME.kernel` and `NAME.bias` of 94 convolutions.
        x: frames, scaled as the weights want it.
        pool, last_pool: over 3 x 3, of the blocks that keep their size, and of the last of them.
    """
    x = convolution(params, "conv", x, stride=2, padding="VALID")
    x = convolution(params, "conv_1", x, padding="VALID")
    x = convolution(params, "conv_2", x)
    x = max_pool(x, (3, 3), (2, 2), "VALID")
    x = convolution(params, "conv_3", x, padding="VALID")
    x = convolution(params, "conv_4", x, padding="VALID")
    x = max_pool(x, (3, 3), (2, 2), "VALID")
    for name in ("mixed", "mixed_1", "mixed_2"):
        x = _block_a(params, name, x, pool)
    x = _block_b(params, "mixed_3", x)
    for name in ("mixed_4", "mixed_5", "mixed_6", "mixed_7"):
        x = _block_c(params, name, x, pool)
    x = _block_d(params, "mixed_8", x)
    x = _block_e(params, "mixed_9", x, pool)
    x = _block_e(params, "mixed_10", x, last_pool)
    return x.mean((1, 2))


@jax.jit
def _network(params: Params, x: Float[Array, "frame 299 299 3"]) -> Float[Array, "frame 2048"]:
    return trunk(params, x, mean_pool_same, lambda x: max_pool(x, (3, 3), (1, 1), "SAME"))


def _tower(params: Params, name: str, x, length: int):
    for i in range(length):
        x = convolution(params, f"{name}.conv_{i}" if i else f"{name}.conv", x)
    return x


def _block_a(params: Params, name: str, x, pool: Pool):
    branches = [_tower(params, f"{name}.{tower}", x, n) for tower, n in (("tower", 2), ("tower_1", 3))]
    pooled = convolution(params, f"{name}.tower_2.conv", pool(x))
    return jnp.concatenate([convolution(params, f"{name}.conv", x), *branches, pooled], -1)


def _block_b(params: Params, name: str, x):
    tower = _tower(params, f"{name}.tower", x, 2)
    branches = [
        convolution(params, f"{name}.conv", x, stride=2, padding="VALID"),
        convolution(params, f"{name}.tower.conv_2", tower, stride=2, padding="VALID"),
    ]
    return jnp.concatenate([*branches, max_pool(x, (3, 3), (2, 2), "VALID")], -1)


def _block_c(params: Params, name: str, x, pool: Pool):
    branches = [_tower(params, f"{name}.{tower}", x, n) for tower, n in (("tower", 3), ("tower_1", 5))]
    pooled = convolution(params, f"{name}.tower_2.conv", pool(x))
    return jnp.concatenate([convolution(params, f"{name}.conv", x), *branches, pooled], -1)


def _block_d(params: Params, name: str, x):
    branches = []
    for tower, last in (("tower", 1), ("tower_1", 3)):
        inner = _tower(params, f"{name}.{tower}", x, last)
        branches.append(convolution(params, f"{name}.{tower}.conv_{last}", inner, stride=2, padding="VALID"))
    return jnp.concatenate([*branches, max_pool(x, (3, 3), (2, 2), "VALID")], -1)


def _block_e(params: Params, name: str, x, pool: Pool):
    one = convolution(params, f"{name}.tower_conv", x)
    two = convolution(params, f"{name}.tower_1_conv_1", convolution(params, f"{name}.tower_1_conv", x))
    branches = [
        convolution(params, f"{name}.conv", x),
        convolution(params, f"{name}.tower_mixed_conv", one),
        convolution(params, f"{name}.tower_mixed_conv_1", one),
        convolution(params, f"{name}.tower_1_mixed_conv", two),
        convolution(params, f"{name}.tower_1_mixed_conv_1", two),
        convolution(params, f"{name}.tower_2_conv", pool(x)),
    ]
    return jnp.concatenate(branches, -1)
