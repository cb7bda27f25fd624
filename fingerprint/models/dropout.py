"""Dropout whose masks belong to the example and the frame, not to the batch or the device it sits on.

A mask bit is a hash of (example seed, frame, vertex, channel), computed where it is used: it fuses into the arithmetic,
costs no memory, and is the same on 1, 2 and 8 devices. The hash is the 32-bit finaliser "lowbias32" (C. Wellons,
"Prospecting for hash functions", 2018), of vertex and channel apart and once more of both; seeds come from JAX's own
generator.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, UInt32


def example_seeds(key: Key[Array, ""], example_index: Int[Array, "batch"]) -> UInt32[Array, "batch 2"]:
    """Two seed words an example, from its position in the global batch."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, example_index)
    return jax.vmap(lambda k: jax.random.bits(k, (2,), jnp.uint32))(keys)


def frame_seeds(seeds: UInt32[Array, "batch 2"], time: int) -> UInt32[Array, "frame 2"]:
    """Two seed words a frame, frames in (batch, time) order."""
    frame = jnp.arange(time, dtype=jnp.uint32)
    first = _hash(seeds[:, :1] + frame)
    return jnp.stack([first, _hash(first ^ seeds[:, 1:])], axis=-1).reshape(-1, 2)


def places(seeds: UInt32[Array, "frame 2"], vertices: int) -> UInt32[Array, "vertex frame"]:
    """One hash a vertex and frame, from which the masks of all channels and layers come."""
    vertex = jnp.arange(1, vertices + 1, dtype=jnp.uint32) * jnp.uint32(0x85EBCA6B)
    return _hash(_hash(seeds[:, 0] + vertex[:, None]) ^ seeds[:, 1])


def keep(place: UInt32[Array, "*place"], layer: int, channels: int, rate: float) -> Bool[Array, "*place channel"]:
    """False with probability `rate`, independently in every place and channel."""
    channel = _hash(jnp.arange(1, channels + 1, dtype=jnp.uint32) * jnp.uint32(0x9E3779B9) + jnp.uint32(layer))
    # Rows and columns are hashed on their own; one multiply-xorshift-multiply mixes each pair.
    bits = (place[..., None] ^ channel) * jnp.uint32(0x7FEB352D)
    bits = (bits ^ (bits >> 15)) * jnp.uint32(0x846CA68B)
    return bits >= jnp.uint32(round(rate * 2**32))


def keep_scale(
    seeds: UInt32[Array, "frame 2"], layer: int, vertices: int, channels: int, rate: float
) -> Float[Array, "vertex frame channel"]:
    """Zero with probability `rate`, else 1 / (1 - rate), independently in every place."""
    return scaled(keep(places(seeds, vertices), layer, channels, rate), rate)


def scaled(kept: Bool[Array, "..."], rate: float) -> Float[Array, "..."]:
    """Zero where not kept, else 1 / (1 - rate)."""
    return jnp.where(kept, 1.0 / (1.0 - rate), 0.0).astype(jnp.float32)


def _hash(x: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)
