"""For networks that read the order of frames: windows without gaps, and windows in another order."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key


class Continuous(NamedTuple):
    """Windows that begin at their first valid frame and have no gaps.

    Attributes:
        frames: what each frame holds, or the line between its valid neighbours; after the last valid frame, that frame.
        first: first valid frame in the window as it came; 0 where none is.
        span: frames from the first valid to the last valid one; 0 where none is.
    """

    frames: Float[Array, "batch time vertex coord"]
    first: Int[Array, "batch"]
    span: Int[Array, "batch"]


def continuous(
    windows: Float[Array, "batch time vertex coord"], frame_mask: Bool[Array, "batch time"], least: int
) -> Continuous:
    """Move each window's first valid frame to the front, fill gaps linearly, hold the last valid frame.

    What masked frames hold does not enter, nor how many of them stand before and after the valid ones.

    Args:
        least: the result has at least so many frames.
    """
    time = windows.shape[1]
    at = jnp.arange(time, dtype=jnp.int32)
    some = frame_mask.any(axis=1)
    first = jnp.argmax(frame_mask, axis=1).astype(jnp.int32)
    last = jnp.where(some, time - 1 - jnp.argmax(frame_mask[:, ::-1], axis=1), 0).astype(jnp.int32)
    before = jax.lax.cummax(jnp.where(frame_mask, at, 0), axis=1)
    after = jax.lax.cummin(jnp.where(frame_mask, at, time - 1), axis=1, reverse=True)

    index = jnp.minimum(first[:, None] + jnp.arange(max(time, least), dtype=jnp.int32), last[:, None])
    before, after = (jnp.take_along_axis(neighbour, index, axis=1) for neighbour in (before, after))
    share = (index - before) / jnp.maximum(after - before, 1)
    low, high = (jnp.take_along_axis(windows, rows[:, :, None, None], axis=1) for rows in (before, after))
    # Masked frames may hold anything: they are multiplied by nothing here, valid ones come out as they went in.
    frames = low + share.astype(windows.dtype)[:, :, None, None] * (high - low)
    return Continuous(frames, first, jnp.where(some, last - first + 1, 0))


def shuffle_frames(
    key: Key[Array, ""],
    windows: Float[Array, "batch time vertex coord"],
    frame_mask: Bool[Array, "batch time"],
    example_index: Int[Array, "batch"],
) -> tuple[Float[Array, "batch time vertex coord"], Bool[Array, "batch time"]]:
    """Each window's valid frames in random order, masked ones where they were; the order is the example's own."""

    def order(index, mask):
        draw = jax.random.uniform(jax.random.fold_in(key, index), mask.shape)
        # Valid places in order, and valid frames in random order; masked ones stay behind them in both.
        place, frame = jnp.argsort(~mask), jnp.argsort(jnp.where(mask, draw, jnp.inf))
        return jnp.zeros_like(place).at[place].set(frame)

    taken = jax.vmap(order)(example_index, frame_mask)
    return jnp.take_along_axis(windows, taken[:, :, None, None], axis=1), frame_mask
