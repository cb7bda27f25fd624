"""Distances between all pairs of landmarks of a frame, and their product with a matrix without holding them all.

A frame of V landmarks has V(V-1)/2 distances, 7,875 for 126: a batch of them is hundreds of megabytes. They are made a
few frames at a time, vertices leading (gathering rows of contiguous frames is a copy, gathering columns is not), go
straight into the product, and are made again in the backward pass.
Source: Prashnani et al., Avatar Fingerprinting, arXiv 2305.03713: "normalized by the overall facial scale", here the
distance of the inner eye corners.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from fingerprint.errors import ConfigError, UnknownName
from fingerprint.landmarks import topology

SCALES = ("frame", "window")


def pairs(landmark_set: str, regions: str = "all", every: int = 1) -> Int[np.ndarray, "pair 2"]:
    """Vertices of each distance, first < second, in the order of the upper triangle.

    Args:
        landmark_set: whose vertices.
        regions: both ends lie in these (`topology.select`).
        every: of the pairs that are left, the first and then every so manieth.

    Raises:
        ConfigError: no pair is left. UnknownName: no such region.
    """
    chosen = topology.select(landmark_set, regions)
    first, second = np.triu_indices(len(chosen), 1)
    found = np.stack([chosen[first], chosen[second]], axis=1)
    if every < 1 or not len(found):
        raise ConfigError(f"found {len(found)} pairs of landmarks, every={every}; wanted at least one and every >= 1")
    return found[::every].astype(np.int32)


def scale(
    points: Float[Array, "batch time vertex coord"],
    frame_mask: Bool[Array, "batch time"],
    landmark_set: str,
    over: str,
) -> Float[Array, "batch #time"]:
    """The facial scale: the inner eye corners' distance, of each frame or its mean over the window's valid frames; 1
    where it is 0 (a face without extent has no scale).

    Raises:
        UnknownName: `over` is not of SCALES.
    """
    if over not in SCALES:
        raise UnknownName("distance scale", over, SCALES)
    left, right = topology.get(landmark_set).inner_eyes
    found = length(points[..., left, :] - points[..., right, :])
    if over == "window":
        number = jnp.maximum(jnp.sum(frame_mask, axis=1, keepdims=True, dtype=found.dtype), 1)
        found = jnp.sum(jnp.where(frame_mask, found, 0.0), axis=1, keepdims=True) / number
    return jnp.where(found > 0, found, 1.0)


def length(x: Float[Array, "*place coord"], axis: int = -1) -> Float[Array, "*place"]:
    """Euclidean length; its gradient at zero is zero."""
    squared = jnp.sum(jnp.square(x), axis=axis)
    away = squared > 0
    return jnp.where(away, jnp.sqrt(jnp.where(away, squared, 1.0)), 0.0)


def distances(
    points: Float[Array, "frame vertex coord"], between: Int[np.ndarray, "pair 2"]
) -> Float[Array, "pair frame"]:
    """The distances of each frame, pairs leading; exact, with a finite gradient where two points coincide."""
    leading = jnp.transpose(points, (1, 2, 0))
    return length(leading[between[:, 0]] - leading[between[:, 1]], axis=1)


def project(
    points: Float[Array, "frame vertex coord"],
    between: Int[np.ndarray, "pair 2"],
    origin: Float[Array, "pair"] | None,
    kernel: Float[Array, "pair channel"],
    chunk: int,
) -> Float[Array, "frame channel"]:
    """(distances - origin) @ kernel, at most `chunk` frames at a time (0: all at once).

    Args:
        origin: distances of a mean face; None: zero.
    """

    @jax.checkpoint
    def piece(x):
        found = distances(x, between)
        return jnp.einsum("pf,pc->fc", found if origin is None else found - origin[:, None], kernel)

    total = points.shape[0]
    if not chunk or total <= chunk:
        return piece(points)
    # Pieces of one size, as large as their number allows; the last one is filled up with the last frame.
    pieces = -(-total // chunk)
    index = jnp.minimum(jnp.arange(pieces * -(-total // pieces)), total - 1).reshape(pieces, -1)
    return jax.lax.map(lambda rows: piece(points[rows]), index).reshape(-1, kernel.shape[1])[:total]
