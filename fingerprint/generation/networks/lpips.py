"""LPIPS, the learned distance of two pictures: AlexNet's features and the linear heads of version 0.1, in JAX.

Source: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (1801.03924); the package
`lpips` 0.1.4, `LPIPS(net="alex", version="0.1")`, which wants pictures in [-1, 1].
"""

from __future__ import annotations

import os

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float64, UInt8

from fingerprint.errors import ArrayRefused
from fingerprint.generation.networks import weights
from fingerprint.generation.networks.layers import Params, convolution, in_flight, max_pool

MIN_SIDE = 31
"""Smaller pictures leave nothing for the second pooling."""
LAYERS = 5
_SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
_SCALE = np.array([0.458, 0.448, 0.450], np.float32)

Frames = UInt8[np.ndarray, "frame height width 3"]


def load(folder: str | os.PathLike | None = None) -> Params:
    """The network's weights, on the device.

    Raises:
        WeightsMissing: they are nowhere.
    """
    return jax.device_put(weights.load("lpips", folder))


def distance(
    params: Params, reference: Frames, generated: Frames, *, batch: int | None = None
) -> Float64[np.ndarray, " frame"]:
    """Distance of each frame to its reference: 0 for equal frames, more than 1 for noise.

    Args:
        params: as `load` gives them.
        reference, generated: RGB of one size, at least 31 pixels either way.
        batch: pairs in flight, by default 4 on a CPU and 64 elsewhere; results do not depend on it.

    Raises:
        ArrayRefused: frames of different shapes, or too small.
    """
    if reference.shape != generated.shape or min(reference.shape[1:3]) < MIN_SIDE:
        raise ArrayRefused(
            "LPIPS", "shape", f"{reference.shape} and {generated.shape}; wanted equal ones of at least 31 x 31 pixels"
        )
    batch = in_flight(batch, 4, 64)
    out = np.empty(len(reference), np.float64)
    for start in range(0, len(reference), batch):
        sides = [frames[start : start + batch] for frames in (reference, generated)]
        missing = batch - len(sides[0])
        # One compiled function for either side: equal frames have equal features to the last bit.
        features = [_features(params, np.pad(side, ((0, missing), *((0, 0),) * 3))) for side in sides]
        out[start : start + batch] = _distances(params, *features)[: batch - missing]
    return out


@jax.jit
def _features(params: Params, frames: UInt8[Array, "frame height width 3"]) -> list[Float[Array, "frame h w channel"]]:
    """Of the five convolutions, each vector over the channels divided by its length."""
    x = (frames.astype(jnp.float32) / 127.5 - 1 - _SHIFT) / _SCALE
    x = jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    x = convolution(params, "conv_0", x, stride=4, padding="VALID")
    out = [x]
    for layer in range(1, LAYERS):
        if layer < 3:
            x = max_pool(x, (3, 3), (2, 2), "VALID")
        x = convolution(params, f"conv_{layer}", x)
        out.append(x)
    return [x / (jnp.sqrt(jnp.square(x).sum(-1, keepdims=True)) + 1e-10) for x in out]


@jax.jit
def _distances(params: Params, reference: list[Array], generated: list[Array]) -> Float[Array, " frame"]:
    total = 0.0
    for layer, (a, b) in enumerate(zip(reference, generated, strict=True)):
        by_channel = jnp.square(a - b).mean((1, 2))
        total += jnp.dot(by_channel, params[f"head_{layer}"], precision=lax.Precision.HIGHEST)
    return total
