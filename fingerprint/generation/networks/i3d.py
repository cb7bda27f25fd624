"""I3D trained on Kinetics-400, the network of the Fréchet Video Distance, in JAX.

Source: Carreira and Zisserman, Quo Vadis, Action Recognition? (1705.07750); FVD: Unterthiner et al. (1812.01717).
"""

from __future__ import annotations

import os

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32, UInt8

from fingerprint.errors import ArrayRefused
from fingerprint.generation import resize
from fingerprint.generation.networks import weights
from fingerprint.generation.networks.layers import (
    Neighbours,
    Params,
    between,
    convolution,
    in_flight,
    max_pool,
    neighbours,
)

LOGITS, POOLED = 400, 1024
MIN_FRAMES = 9
"""Shorter clips leave nothing of the time axis to pool over."""
_SIDE = 224


def load(folder: str | os.PathLike | None = None) -> Params:
    """The network's weights, on the device.

    Raises:
        WeightsMissing: they are nowhere.
    """
    return jax.device_put(weights.load("i3d", folder))


def features(
    params: Params,
    clips: UInt8[np.ndarray, "clip time height width 3"],
    *,
    pooled: bool = False,
    signed: bool = True,
    batch: int | None = None,
) -> Float32[np.ndarray, "clip feature"]:
    """Logits of the 400 actions, as FVD takes them.

    Args:
        params: as `load` gives them.
        clips: RGB of any size, at least 9 frames; resized to 224 x 224 as PyTorch does it.
        pooled: the 1024 features before the classifier instead.
        signed: scale to [-1, 1], as the network was trained; otherwise to [0, 1], as a public benchmark feeds it.
        batch: clips in flight, by default 1 on a CPU and 8 elsewhere; results do not depend on it.

    Raises:
        ArrayRefused: clips too short.
    """
    if clips.shape[1] < MIN_FRAMES:
        raise ArrayRefused("I3D", "shape", f"clips of {clips.shape[1]} frames; wanted at least {MIN_FRAMES}")
    batch = in_flight(batch, 1, 8)
    out = np.empty((len(clips), POOLED if pooled else LOGITS), np.float32)
    for start in range(0, len(clips), batch):
        part = clips[start : start + batch]
        full = np.pad(part, ((0, batch - len(part)), *((0, 0),) * 4))
        last, logits = _network(params, _prepared(full, signed))
        out[start : start + len(part)] = (last if pooled else logits)[: len(part)]
    return out


def features_as_published(
    params: Params, clips: UInt8[np.ndarray, "clip time height width 3"], *, batch: int | None = None
) -> Float32[np.ndarray, "clip 400"]:
    """Logits as the public face-avatar benchmark has them: bytes by OpenCV's `INTER_AREA` to 224 x 224, in [0, 1].

    Args:
        params, clips, batch: as for `features`.

    Raises:
        ArrayRefused: clips too short.

    Source: FID_calculate.py of silent-commit/WholeBodyBenchmark.
    """
    small = np.stack([[resize.area(frame, _SIDE, _SIDE) for frame in clip] for clip in clips])
    return features(params, small, signed=False, batch=batch)


def _prepared(
    clips: UInt8[np.ndarray, "clip time height width 3"], signed: bool
) -> Float[Array, "clip time 224 224 3"]:
    near = neighbours(clips.reshape(-1, *clips.shape[2:]), (_SIDE, _SIDE), "centre")
    return _scaled(near, signed).reshape(*clips.shape[:2], _SIDE, _SIDE, 3)


@jax.jit
def _scaled(near: Neighbours, signed: bool) -> Float[Array, "frame 224 224 3"]:
    x = between(near) / 255
    return jnp.where(signed, 2 * x - 1, x)


@jax.jit
def _network(
    params: Params, x: Float[Array, "clip time 224 224 3"]
) -> tuple[Float[Array, "clip 1024"], Float[Array, "clip 400"]]:
    x = convolution(params, "conv_1a", x, stride=2)
    x = max_pool(x, (1, 3, 3), (1, 2, 2), "SAME")
    x = convolution(params, "conv_2c", convolution(params, "conv_2b", x))
    x = max_pool(x, (1, 3, 3), (1, 2, 2), "SAME")
    for name in ("3b", "3c"):
        x = _mixed(params, f"mixed_{name}", x)
    x = max_pool(x, (3, 3, 3), (2, 2, 2), "SAME")
    for name in ("4b", "4c", "4d", "4e", "4f"):
        x = _mixed(params, f"mixed_{name}", x)
    x = max_pool(x, (2, 2, 2), (2, 2, 2), "SAME")
    for name in ("5b", "5c"):
        x = _mixed(params, f"mixed_{name}", x)
    x = x.mean((2, 3))
    # Windows of two frames, one step apart, each of weight one: the ends of a clip count once, its middle twice.
    last = ((x[:, :-1] + x[:, 1:]) / 2).mean(1)
    kernel, bias = params["logits.conv_0c.kernel"], params["logits.conv_0c.bias"]
    return last, jnp.dot(last, kernel.reshape(POOLED, LOGITS), precision=lax.Precision.HIGHEST) + bias


def _mixed(params: Params, name: str, x):
    pooled = max_pool(x, (3, 3, 3), (1, 1, 1), "SAME")
    branches = [convolution(params, f"{name}.branch_0.conv_0a", x)]
    for branch in ("branch_1", "branch_2"):
        inner = convolution(params, f"{name}.{branch}.conv_0a", x)
        branches.append(convolution(params, f"{name}.{branch}.conv_0b", inner))
    return jnp.concatenate([*branches, convolution(params, f"{name}.branch_3.conv_0b", pooled)], -1)
