"""Inception v3 of torchvision, trained on ImageNet, in JAX: the network of the public face-avatar benchmark's FID.

Not the network of the usual Fréchet Inception Distance: `inception.py` has that one. Its blocks are the same, but its
mean pooling counts the padding, and its last block pools by the mean. Frames are resized as Pillow does it, bytes to
bytes and antialiased, and normalised by ImageNet's mean and deviation; the benchmark's script turns off the change of
scale that torchvision makes by default for these weights.

Source: Szegedy et al., Rethinking the Inception Architecture (1512.00567); models/inception.py of pytorch/vision
(BSD-3-Clause); FID_calculate.py of silent-commit/WholeBodyBenchmark.
"""

from __future__ import annotations

import functools
import os
import pathlib
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Float32, UInt8

from fingerprint.generation import resize
from fingerprint.generation.networks import inception, official
from fingerprint.generation.networks.inception import FEATURES, SIDE
from fingerprint.generation.networks.layers import Params, in_flight, mean_pool_same
from fingerprint.torch_files import read_tensors

_MEAN, _DEVIATION = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32)
_EPSILON = 1e-3
_NOT_USED = ("AuxLogits.", "fc.")

Shape = tuple[int, int, int, int]


def load(folder: str | os.PathLike | None = None) -> Params:
    """The network's weights, on the device.

    Args:
        folder: of the weights; None: as `weights.folder_of` has it.

    Raises:
        WeightsMissing: the official file is not there.
        CheckpointError: another file lies in its place.
    """
    path = official.require("inception_v3", folder)
    return jax.device_put(arranged(path, read_tensors(path)))


def features(
    params: Params, frames: UInt8[np.ndarray, "frame height width 3"], *, batch: int | None = None
) -> Float32[np.ndarray, "frame 2048"]:
    """Features of the last pooling layer, where torchvision's network has `fc` replaced by the identity.

    Args:
        params: as `load` gives them.
        frames: RGB of any size.
        batch: frames in flight, by default 2 on a CPU and 64 elsewhere; results do not depend on it.
    """
    batch = in_flight(batch, 2, 64)
    out = np.empty((len(frames), FEATURES), np.float32)
    for start in range(0, len(frames), batch):
        part = np.stack([resize.whole(frame, SIDE, SIDE) for frame in frames[start : start + batch]])
        full = np.pad(part, ((0, batch - len(part)), (0, 0), (0, 0), (0, 0)))
        out[start : start + len(part)] = _network(params, full)[: len(part)]
    return out


@jax.jit
def _network(params: Params, frames: UInt8[Array, "frame 299 299 3"]) -> Float[Array, "frame 2048"]:
    x = (frames.astype(np.float32) / 255 - _MEAN) / _DEVIATION
    pool = functools.partial(mean_pool_same, padding_counts=True)
    return inception.trunk(params, x, pool, pool)


def shapes() -> dict[str, tuple[int, ...]]:
    """What the official file holds, by name, as far as it is used."""
    out: dict[str, tuple[int, ...]] = {}
    for _, name, shape in _convolutions():
        out[f"{name}.conv.weight"] = shape
        out |= dict.fromkeys((f"{name}.bn.{part}" for part in _STATISTICS), shape[:1])
    return out


def arranged(path: pathlib.Path, state: Any) -> Params:
    """The official arrays as the network takes them: normalisation folded into the convolutions, in float64.

    Args:
        path: where they come from.
        state: by name.

    Raises:
        CheckpointError: they are not those of this network, or not finite.
    """
    if isinstance(state, dict):
        state = {name: value for name, value in state.items() if not str(name).startswith(_NOT_USED)}
    state = official.checked(path, state, shapes(), ignored=(".num_batches_tracked",))
    params: Params = {}
    for ours, theirs, _ in _convolutions():
        kernel = state[f"{theirs}.conv.weight"].astype(np.float64)
        scale, offset, mean, variance = (state[f"{theirs}.bn.{part}"].astype(np.float64) for part in _STATISTICS)
        factor = scale / np.sqrt(variance + _EPSILON)
        params[f"{ours}.kernel"] = np.ascontiguousarray(kernel.transpose(2, 3, 1, 0) * factor, np.float32)
        params[f"{ours}.bias"] = (offset - mean * factor).astype(np.float32)
    return params


_STATISTICS = ("weight", "bias", "running_mean", "running_var")
_STEM = (
    ("conv", "Conv2d_1a_3x3", (32, 3, 3, 3)),
    ("conv_1", "Conv2d_2a_3x3", (32, 32, 3, 3)),
    ("conv_2", "Conv2d_2b_3x3", (64, 32, 3, 3)),
    ("conv_3", "Conv2d_3b_1x1", (80, 64, 1, 1)),
    ("conv_4", "Conv2d_4a_3x3", (192, 80, 3, 3)),
)


def _convolutions() -> list[tuple[str, str, Shape]]:
    """Of every convolution our name, torchvision's, and the shape there: out, in, height, width."""
    out: list[tuple[str, str, Shape]] = list(_STEM)

    def block(ours: str, theirs: str, *branches: tuple[str, str, Shape]) -> None:
        out.extend((f"{ours}.{name}", f"{theirs}.{branch}", shape) for name, branch, shape in branches)

    for ours, theirs, width, pooled in (
        ("mixed", "Mixed_5b", 192, 32),
        ("mixed_1", "Mixed_5c", 256, 64),
        ("mixed_2", "Mixed_5d", 288, 64),
    ):
        block(
            ours, theirs,
            ("conv", "branch1x1", (64, width, 1, 1)),
            ("tower.conv", "branch5x5_1", (48, width, 1, 1)),
            ("tower.conv_1", "branch5x5_2", (64, 48, 5, 5)),
            ("tower_1.conv", "branch3x3dbl_1", (64, width, 1, 1)),
            ("tower_1.conv_1", "branch3x3dbl_2", (96, 64, 3, 3)),
            ("tower_1.conv_2", "branch3x3dbl_3", (96, 96, 3, 3)),
            ("tower_2.conv", "branch_pool", (pooled, width, 1, 1)),
        )  # fmt: skip
    block(
        "mixed_3", "Mixed_6a",
        ("conv", "branch3x3", (384, 288, 3, 3)),
        ("tower.conv", "branch3x3dbl_1", (64, 288, 1, 1)),
        ("tower.conv_1", "branch3x3dbl_2", (96, 64, 3, 3)),
        ("tower.conv_2", "branch3x3dbl_3", (96, 96, 3, 3)),
    )  # fmt: skip
    for ours, theirs, inner in (
        ("mixed_4", "Mixed_6b", 128),
        ("mixed_5", "Mixed_6c", 160),
        ("mixed_6", "Mixed_6d", 160),
        ("mixed_7", "Mixed_6e", 192),
    ):
        block(
            ours, theirs,
            ("conv", "branch1x1", (192, 768, 1, 1)),
            ("tower.conv", "branch7x7_1", (inner, 768, 1, 1)),
            ("tower.conv_1", "branch7x7_2", (inner, inner, 1, 7)),
            ("tower.conv_2", "branch7x7_3", (192, inner, 7, 1)),
            ("tower_1.conv", "branch7x7dbl_1", (inner, 768, 1, 1)),
            ("tower_1.conv_1", "branch7x7dbl_2", (inner, inner, 7, 1)),
            ("tower_1.conv_2", "branch7x7dbl_3", (inner, inner, 1, 7)),
            ("tower_1.conv_3", "branch7x7dbl_4", (inner, inner, 7, 1)),
            ("tower_1.conv_4", "branch7x7dbl_5", (192, inner, 1, 7)),
            ("tower_2.conv", "branch_pool", (192, 768, 1, 1)),
        )  # fmt: skip
    block(
        "mixed_8", "Mixed_7a",
        ("tower.conv", "branch3x3_1", (192, 768, 1, 1)),
        ("tower.conv_1", "branch3x3_2", (320, 192, 3, 3)),
        ("tower_1.conv", "branch7x7x3_1", (192, 768, 1, 1)),
        ("tower_1.conv_1", "branch7x7x3_2", (192, 192, 1, 7)),
        ("tower_1.conv_2", "branch7x7x3_3", (192, 192, 7, 1)),
        ("tower_1.conv_3", "branch7x7x3_4", (192, 192, 3, 3)),
    )  # fmt: skip
    for ours, theirs, width in (("mixed_9", "Mixed_7b", 1280), ("mixed_10", "Mixed_7c", 2048)):
        block(
            ours, theirs,
            ("conv", "branch1x1", (320, width, 1, 1)),
            ("tower_conv", "branch3x3_1", (384, width, 1, 1)),
            ("tower_mixed_conv", "branch3x3_2a", (384, 384, 1, 3)),
            ("tower_mixed_conv_1", "branch3x3_2b", (384, 384, 3, 1)),
            ("tower_1_conv", "branch3x3dbl_1", (448, width, 1, 1)),
            ("tower_1_conv_1", "branch3x3dbl_2", (384, 448, 3, 3)),
            ("tower_1_mixed_conv", "branch3x3dbl_3a", (384, 384, 1, 3)),
            ("tower_1_mixed_conv_1", "branch3x3dbl_3b", (384, 384, 3, 1)),
            ("tower_2_conv", "branch_pool", (192, width, 1, 1)),
        )  # fmt: skip
    return out
