"""AMT-S, the frame in the middle of two, in JAX.

Weights are read as their authors publish them, `amt-s.pth`. Motion is estimated at an eighth of the size, refined three
times by looking up the correlation of both frames in both directions, and doubled in size four times; three motions a
pixel, each with a mask and a residual, are then merged.

Source: Li et al., AMT: All-Pairs Multi-Field Transforms for Efficient Frame Interpolation (2304.09790);
networks/AMT-S.py and networks/blocks of MCG-NKU/AMT (CC BY-NC 4.0), as vbench 0.1.5 carries and calls it
(motion_smoothness.py).
"""

from __future__ import annotations

import functools
import math
import os

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32, UInt8

from fingerprint.errors import CheckpointError
from fingerprint.generation.networks import correspondence, official
from fingerprint.generation.networks.correspondence import Correlation, convolution, convolution_shapes
from fingerprint.generation.networks.layers import Params, resize
from fingerprint.torch_files import read_tensors

_RADIUS = 3
_CHANNELS = (20, 32, 44, 56)
_SIDE_CHANNELS = 20
_MOTIONS = 3
_HIDDEN = 76
_WINDOWS = 2 * correspondence.LEVELS * (2 * _RADIUS + 1) ** 2
_DECODERS = {4: (2 * 56 + 1, 112, 44 + 4), 3: (3 * 44 + 4, 132, 32 + 4), 2: (3 * 32 + 4, 96, 20 + 4), 1: (64, 60, 24)}
_MIB = 1 << 20

Map = Float[Array, "1 height width channel"]


def load(folder: str | os.PathLike | None = None) -> Params:
    """The network's weights, on the device.

    Raises:
        WeightsMissing: `amt-s.pth` is not in the folder of weights.
        CheckpointError: it is another file.
    """
    path = official.require("motion_smoothness", folder)
    held = read_tensors(path)
    if not isinstance(held, dict) or "state_dict" not in held:
        raise CheckpointError(f"{path} holds no state_dict, as the official {path.name} does")
    return jax.device_put(correspondence.kernels(official.checked(path, held["state_dict"], shapes())))


def middle(
    params: Params,
    before: UInt8[np.ndarray, "height width 3"],
    after: UInt8[np.ndarray, "height width 3"],
    *,
    gpu_bytes: int | None = None,
) -> UInt8[np.ndarray, "height width 3"]:
    """The frame between two RGB frames of any size, decimals cut off as VBench does.

    Args:
        params: as `load` gives them.
        before, after: the frames.
        gpu_bytes: motion is estimated at the size that VBench would choose on a GPU of so much memory; None: at full
            size, as it does on a CPU.
    """
    made = predicted(params, before, after, gpu_bytes=gpu_bytes)
    return (made * np.float32(255)).astype(np.uint8)


def predicted(
    params: Params,
    before: UInt8[np.ndarray, "height width 3"],
    after: UInt8[np.ndarray, "height width 3"],
    *,
    gpu_bytes: int | None = None,
) -> Float32[np.ndarray, "height width 3"]:
    """As `middle`, from 0 to 1."""
    multiple = shrinkage(*before.shape[:2], gpu_bytes)
    (first, place), (second, _) = (correspondence.padded(frame, multiple) for frame in (before, after))
    return np.asarray(_network(params, first, second, multiple)[place])


def shrinkage(height: int, width: int, gpu_bytes: int | None = None) -> int:
    """Pixels of a side that become 16 for the estimate of motion, to a multiple of which a frame is padded: 16 or more.

    VBench bounds the estimate's pixels by a GPU's memory, and by 8192 * 8192 on a CPU.
    """
    most = 8192 * 8192.0
    if gpu_bytes is not None:
        most = 1024 * 512 * math.sqrt((gpu_bytes - 2500 * _MIB) / (1500 * _MIB))
    return math.floor(1 / math.sqrt(min(1.0, most / (height * width))) * 16)


def shapes() -> correspondence.Shapes:
    """What `amt-s.pth` holds, by name."""
    out = correspondence.encoder_shapes("feat_encoder", (32, 64, 96), 84, bottleneck=True)
    for level, (before, width) in enumerate(zip((3, *_CHANNELS), _CHANNELS, strict=False), 1):
        out |= _activated_shapes(f"encoder.pyramid{level}.0", before, width)
        out |= _activated_shapes(f"encoder.pyramid{level}.1", width, width)
    for level, (before, width, after) in _DECODERS.items():
        at, side = f"decoder{level}.convblock", _SIDE_CHANNELS
        out |= _activated_shapes(f"{at}.0", before, width)
        for layer, channels in ((1, width), (2, side), (3, width), (4, side)):
            out |= _activated_shapes(f"{at}.1.conv{layer}", channels, channels)
        out |= convolution_shapes(f"{at}.1.conv5", width, width, 3) | {f"{at}.1.prelu.weight": (width,)}
        out |= {f"{at}.2.weight": (width, after, 4, 4), f"{at}.2.bias": (after,)}
    for level in (4, 3, 2):
        at, width = f"update{level}", _CHANNELS[level - 2]
        out |= convolution_shapes(f"{at}.convc1", _WINDOWS, 64, 1)
        out |= convolution_shapes(f"{at}.convf1", 4, 40, 7)
        out |= convolution_shapes(f"{at}.convf2", 40, 20, 3)
        out |= convolution_shapes(f"{at}.conv", 84, 68, 3)
        ends = {"gru": (72 + width, _HIDDEN), "feat_head": (_HIDDEN, width), "flow_head": (_HIDDEN, 4)}
        for part, (before, after) in ends.items():
            out |= convolution_shapes(f"{at}.{part}.0", before, _HIDDEN, 3)
            out |= convolution_shapes(f"{at}.{part}.2", _HIDDEN, after, 3)
    out |= _activated_shapes("comb_block", 3 * _MOTIONS, 6 * _MOTIONS)
    return out | convolution_shapes("comb_block.2", 6 * _MOTIONS, 3, 3)


def _activated_shapes(name: str, channels: int, features: int) -> correspondence.Shapes:
    return convolution_shapes(f"{name}.0", channels, features, 3) | {f"{name}.1.weight": (features,)}


@functools.partial(jax.jit, static_argnames="multiple")
def _network(
    params: Params, before: UInt8[Array, "height width 3"], after: UInt8[Array, "height width 3"], multiple: int
) -> Float[Array, "height width 3"]:
    both = jnp.stack([before, after]).astype(jnp.float32) / 255
    mean = both.mean()
    both = both - mean
    full = both.shape[1:3]
    small = resize(both, (full[0] * 16 // multiple, full[1] * 16 // multiple), "centre")
    features = correspondence.encoder(params, "feat_encoder", small, correspondence.instance_normalised)
    correlate = functools.partial(correspondence.correlation, most_bytes=correspondence.VOLUME_BYTES // 2)
    found = jax.vmap(correlate)(features, features[::-1])
    pyramid = _pyramid(params, small)
    motions, inner = None, jnp.full((1, *pyramid[3].shape[1:3], 1), 0.5)
    for level in (4, 3, 2):
        motions, inner = _decoded(params, level, inner, pyramid[level - 1], motions)
        motions, inner = _updated(params, level, inner, motions, found)
    out = _decoder(params, 1, _inputs(inner, pyramid[0], motions))
    return _merged(params, both, mean, *_enlarged(out, motions, full, multiple / 16))


def _pyramid(params: Params, x: Float[Array, "2 height width 3"]) -> list[Float[Array, "2 _ _ channel"]]:
    """Features at a half, a quarter, an eighth and a sixteenth of the size."""
    out = []
    for level in range(1, 5):
        x = _activated(params, f"encoder.pyramid{level}.0", x, 2)
        x = _activated(params, f"encoder.pyramid{level}.1", x)
        out.append(x)
    return out


def _inputs(inner: Map, features: Float[Array, "2 height width channel"], motions: Map | None) -> Map:
    """What a decoder sees: its own features, those of both frames brought to the middle, and the motion to either."""
    if motions is None:
        return jnp.concatenate([features[:1], features[1:], inner], -1)
    still = correspondence.grid(*features.shape[1:3])
    brought = jax.vmap(correspondence.sampled)(features, still + _by_frame(motions))
    return jnp.concatenate([inner, brought[:1], brought[1:], motions], -1)


def _by_frame(motions: Float[Array, "1 height width 4"]) -> Float[Array, "2 height width 2"]:
    return jnp.moveaxis(motions[0].reshape(*motions.shape[1:3], 2, 2), 2, 0)


def _decoded(
    params: Params, level: int, inner: Map, features: Float[Array, "2 height width channel"], motions: Map | None
) -> tuple[Map, Map]:
    """Motion to either frame (x, y, x, y) and features, at twice the size."""
    out = _decoder(params, level, _inputs(inner, features, motions))
    finer, inner = out[..., :4], out[..., 4:]
    return (finer if motions is None else finer + 2 * _resized(motions, 2)), inner


def _decoder(params: Params, level: int, x: Map) -> Map:
    name = f"decoder{level}.convblock"
    x = y = _activated(params, f"{name}.0", x)
    for first, second in ((1, 2), (3, 4)):
        y = _activated(params, f"{name}.1.conv{first}", y)
        side = _activated(params, f"{name}.1.conv{second}", y[..., -_SIDE_CHANNELS:])
        y = jnp.concatenate([y[..., :-_SIDE_CHANNELS], side], -1)
    y = _rectified(x + convolution(params, f"{name}.1.conv5", y), params[f"{name}.1.prelu.weight"])
    return _doubled(params, f"{name}.2", y)


def _updated(params: Params, level: int, inner: Map, motions: Map, found: Correlation) -> tuple[Map, Map]:
    """Motion and features, put right by the correlation where the motion leads, at an eighth of the size."""
    name, times = f"update{level}", 2 ** (4 - level)
    coarse, state = _resized(motions, 1 / times) / times, _resized(inner, 1 / times)
    still = correspondence.grid(*coarse.shape[1:3])
    # From one frame to the other it is twice as far as from the middle; the first looks in the second.
    places = still + 2 * _by_frame(coarse)[::-1]
    seen = jax.vmap(lambda one, at: correspondence.looked_up(one, at, _RADIUS))(found, places)
    seen = _leaky(convolution(params, f"{name}.convc1", jnp.concatenate([seen[:1], seen[1:]], -1)))
    moved = _leaky(convolution(params, f"{name}.convf1", coarse))
    moved = _leaky(convolution(params, f"{name}.convf2", moved))
    known = _leaky(convolution(params, f"{name}.conv", jnp.concatenate([seen, moved], -1)))
    known = _two(params, f"{name}.gru", jnp.concatenate([known, coarse, state], -1))
    inner = inner + _resized(_two(params, f"{name}.feat_head", known), times)
    return motions + times * _resized(_two(params, f"{name}.flow_head", known), times), inner


def _enlarged(
    out: Map, motions: Map, full: tuple[int, int], times: float
) -> tuple[
    Float[Array, "2 motion height width 2"],
    Float[Array, "motion height width 1"],
    Float[Array, "motion height width 3"],
]:
    """The last decoder's motions to either frame, masks and residuals, at the frames' own size."""
    finer = out[..., : 4 * _MOTIONS] + 2 * jnp.concatenate(
        [jnp.tile(half, _MOTIONS) for half in jnp.split(_resized(motions, 2), 2, -1)], -1
    )
    mask = jax.nn.sigmoid(out[..., 4 * _MOTIONS : 5 * _MOTIONS])
    finer, mask, residual = (resize(x, full, "centre")[0] for x in (times * finer, mask, out[..., 5 * _MOTIONS :]))
    finer = finer.reshape(*full, 2, _MOTIONS, 2).transpose(2, 3, 0, 1, 4)
    return finer, mask.transpose(2, 0, 1)[..., None], residual.reshape(*full, _MOTIONS, 3).transpose(2, 0, 1, 3)


def _merged(
    params: Params,
    both: Float[Array, "2 height width 3"],
    mean: Float[Array, ""],
    motions: Float[Array, "2 motion height width 2"],
    mask: Float[Array, "motion height width 1"],
    residual: Float[Array, "motion height width 3"],
) -> Float[Array, "height width 3"]:
    """Both frames brought to the middle by every motion, mixed, in [0, 1]."""
    still = correspondence.grid(*both.shape[1:3])
    first, second = jax.vmap(correspondence.sampled)(both, still + motions)
    mixed = mask * first + (1 - mask) * second + mean + residual
    flat = mixed.transpose(1, 2, 0, 3).reshape(1, *both.shape[1:3], 3 * _MOTIONS)
    correction = convolution(params, "comb_block.2", _activated(params, "comb_block", flat))
    return jnp.clip(mixed.mean(0) + correction[0], 0, 1)


# --------------------------------------------------------------------------------------------------------------- layers


def _activated(params: Params, name: str, x: Map, stride: int = 1) -> Map:
    return _rectified(convolution(params, f"{name}.0", x, stride), params[f"{name}.1.weight"])


def _rectified(x: Map, slope: Float[Array, " channel"]) -> Map:
    return jnp.where(x >= 0, x, slope * x)


def _leaky(x: Map) -> Map:
    return jax.nn.leaky_relu(x, 0.1)


def _two(params: Params, name: str, x: Map) -> Map:
    return convolution(params, f"{name}.2", _leaky(convolution(params, f"{name}.0", x)))


def _resized(x: Map, times: float) -> Map:
    return resize(x, (int(x.shape[1] * times), int(x.shape[2] * times)), "centre")


def _doubled(params: Params, name: str, x: Map) -> Map:
    """PyTorch's transposed convolution of kernel 4, stride 2 and padding 1: of each pixel four, by kernels of 2 x 2."""
    kernel = params[f"{name}.kernel"]  # height, width, out, in
    taps = np.array(
        [[3, 1], [2, 0]]
    )  # by parity: what the pixel before and the pixel itself (or it and the next) weigh
    four = kernel[taps[:, None, :, None], taps[None, :, None, :]]  # row parity, column parity, 2, 2, out, in
    four = four.transpose(2, 3, 5, 0, 1, 4).reshape(2, 2, kernel.shape[3], -1)
    dimensions, precision = ("NHWC", "HWIO", "NHWC"), lax.Precision.HIGHEST
    y = lax.conv_general_dilated(
        x, four, (1, 1), ((1, 1), (1, 1)), dimension_numbers=dimensions, precision=precision
    ).reshape(1, x.shape[1] + 1, x.shape[2] + 1, 2, 2, -1)
    height, width = x.shape[1:3]
    rows = [jnp.stack([y[0, a : a + height, b : b + width, a, b] for b in (0, 1)], 2) for a in (0, 1)]
    return jnp.stack(rows, 1).reshape(1, 2 * height, 2 * width, -1) + params[f"{name}.bias"]
