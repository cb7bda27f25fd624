"""PSNR and SSIM of frames, as scikit-image defines them, jitted over batches of frames.

Sums over a window of 7 x 7 bytes, their squares and products are whole numbers that 32 bits hold: they are exact, and
what is left to rounding is a quotient and a mean. Frames are filled up to one of few sizes, and what is filled in
counts for nothing: a folder of videos that are each of another size compiles little and keeps little.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Float64, Int32, UInt8

from fingerprint.errors import ArrayRefused

_WINDOW, _SMALLEST_WINDOW = 7, 3
_MAX_WIDTH = 8192
"""Squares of a row's differences must fit in 32 bits."""
_SMALLEST_SIDE = 32

Frames = UInt8[np.ndarray, "frame height width 3"]


def psnr(reference: Frames, generated: Frames) -> Float64[np.ndarray, "frame"]:
    """Peak signal-to-noise ratio in dB; infinite for equal frames.

    Raises:
        ArrayRefused: frames of different shapes, or too large.
    """
    _check(reference, generated)
    squares = np.asarray(_squared_differences(*map(_filled, (reference, generated)))).astype(np.float64).sum(1)
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255.0**2 / (squares / np.prod(reference.shape[1:])))


def ssim(reference: Frames, generated: Frames, *, window: int = _WINDOW) -> Float64[np.ndarray, "frame"]:
    """Structural similarity: square uniform window, sample covariance, mean over inner pixels and channels.

    Args:
        reference, generated: frames.
        window: its side, 3, 5 or 7 pixels.

    Raises:
        ArrayRefused: frames of different shapes, too large, or smaller than the window.

    Source: Wang et al., Image quality assessment (2004); scikit-image's `structural_similarity`, data_range=255.
    """
    _check(reference, generated)
    height, width = reference.shape[1:3]
    if min(height, width) < window:
        raise ArrayRefused("frames", "shape", f"{(height, width)} pixels; wanted at least {window} x {window}")
    inner_height, inner_width = height - window + 1, width - window + 1
    sums = _similarity(_filled(reference), _filled(generated), 3 * inner_width, window)
    return np.asarray(sums)[:, :inner_height].astype(np.float64).mean(1) / (3 * inner_width)


def ssim_of_any_size(reference: Frames, generated: Frames) -> Float64[np.ndarray, "frame"]:
    """SSIM whose window shrinks to the largest odd side that fits into small frames, as the public benchmark has it.

    NaN for frames with a side of less than 3 pixels.

    Raises:
        ArrayRefused: frames of different shapes, or too large.
    """
    side = min(reference.shape[1:3])
    if side < _SMALLEST_WINDOW:
        return np.full(len(reference), np.nan)
    return ssim(reference, generated, window=min(side - 1 + side % 2, _WINDOW))


def _filled(frames: Frames) -> Frames:
    """With zeros below and to the right, up to a size that is compiled for."""
    fill = [_bucket(side) - side for side in frames.shape[1:3]]
    return np.pad(frames, ((0, 0), *((0, more) for more in fill), (0, 0))) if any(fill) else frames


def _bucket(side: int) -> int:
    """The next larger side that is compiled for: four from each power of two to the next."""
    step = max(1 << max((side - 1).bit_length() - 3, 0), _SMALLEST_SIDE // 4)
    return max(-(-side // step) * step, _SMALLEST_SIDE)


def _check(reference: np.ndarray, generated: np.ndarray) -> None:
    if reference.shape != generated.shape or reference.ndim != 4 or reference.shape[3] != 3:
        raise ArrayRefused(
            "frames", "shape", f"shapes {reference.shape} and {generated.shape}; wanted equal RGB frames"
        )
    if reference.dtype != np.uint8 or generated.dtype != np.uint8:
        raise ArrayRefused("frames", "dtype", f"{reference.dtype} and {generated.dtype}; wanted uint8")
    if reference.shape[2] > _MAX_WIDTH:
        raise ArrayRefused("frames", "shape", f"{reference.shape[2]} pixels wide; wanted at most {_MAX_WIDTH}")


@jax.jit
def _squared_differences(
    reference: UInt8[Array, "frame height width 3"], generated: UInt8[Array, "frame height width 3"]
) -> Int32[Array, "frame height"]:
    """Sums of each row; frame by frame and the channels side by side, which suits a CPU's cache and vectors."""

    def of_rows(pair):
        x, y = (frame.reshape(len(frame), -1).astype(jnp.int32) for frame in pair)
        return jnp.square(x - y).sum(1)

    return jax.lax.map(of_rows, (reference, generated))


@functools.partial(jax.jit, static_argnames="window")
def _similarity(
    reference: UInt8[Array, "frame height width 3"],
    generated: UInt8[Array, "frame height width 3"],
    values: int,
    window: int,
) -> Float32[Array, "frame inner_height"]:
    """Sum over the first so many values of each row of similarities."""
    return jax.lax.map(lambda pair: _similarity_of_rows(*pair, values, window), (reference, generated))


def _similarity_of_rows(
    reference: UInt8[Array, "height width 3"], generated: UInt8[Array, "height width 3"], values: int, window: int
) -> Float32[Array, "inner_height"]:
    x, y = (frame.reshape(len(frame), -1).astype(jnp.int32) for frame in (reference, generated))
    count = window**2
    sum_x, sum_y = _window_sums(x, window), _window_sums(y, window)
    # count² times the mean's square, and count (count - 1) times the sample covariance: whole numbers.
    squares = (sum_x * sum_x + sum_y * sum_y).astype(jnp.float32) / count**2
    product = (sum_x * sum_y).astype(jnp.float32) / count**2
    spread = count * _window_sums(x * x + y * y, window) - sum_x * sum_x - sum_y * sum_y
    shared = count * _window_sums(x * y, window) - sum_x * sum_y
    spread, shared = (v.astype(jnp.float32) / (count * (count - 1)) for v in (spread, shared))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * product + c1) * (2 * shared + c2) / ((squares + c1) * (spread + c2))
    return jnp.where(jnp.arange(similarity.shape[1]) < values, similarity, 0).sum(1)


def _window_sums(x: Int32[Array, "height width_3"], size: int) -> Int32[Array, "inner_height inner_width_3"]:
    """Sums over windows, the three channels of a pixel lying side by side."""
    for window, step in (((size, 1), (1, 1)), ((1, size), (1, 3))):
        x = jax.lax.reduce_window(x, 0, jax.lax.add, window, (1, 1), "VALID", window_dilation=step)
    return x
