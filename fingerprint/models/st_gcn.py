"""ST-GCN: blocks of a graph convolution within each frame and a convolution over time, then the mean over both.

Source: AMBER-ID (TU Berlin, 2025), after Yan et al., "Spatial Temporal Graph Convolutional Networks", arXiv 1801.07455:
nine blocks of 64, 64, 64, 128, 128, 128, 256, 256, 256 channels without stride; in each an adjacency made anew for
every frame by attention (no anatomical edges), a temporal kernel of 9, a residual, ReLU, dropout; global mean; a linear
map to 256. Between a block's two convolutions stands a normalisation and nothing else.
Choices of this repository:

* Group normalisation over the valid frames of a window in place of batch normalisation (layer normalisation after the
  last map), so that a window's embedding depends neither on its batch nor on the number of devices.
* The keys of the adjacency have no bias: softmax over the vertices does not see it.
* Strides over time, `coordinates`, `regions` and the anatomical adjacency (symmetric normalisation, as in GCN + TAP).
* Channels beside the landmarks, which the publication announces and its code lacks. Canonical coordinates are further
  coordinates of each vertex. Blendshapes and pose belong to a frame and to no vertex: a linear map of them is added to
  every vertex behind the first graph convolution. Given to each vertex as input they would do the same (rows of an
  adjacency sum to one), at the cost of 61 more channels a vertex; joined to the pooled embedding, no convolution would
  see how they move.

The layout is vertex-leading, [vertex, batch, time, channel]: aggregation over a fixed graph is one matrix product, and
each vertex's track lies in one piece for the convolution over time.
"""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from fingerprint.errors import ConfigError, UnknownName
from fingerprint.landmarks import topology
from fingerprint.landmarks.channels import Layout
from fingerprint.models.dropout import example_seeds, frame_seeds, keep, places
from fingerprint.models.embedding import Embedding, unit
from fingerprint.models.graph import GraphConvolutionWeights, aggregate, feature_map, normalized_adjacency

ADJACENCIES = ("adaptive", "anatomical")
GROUPS = 8  # of channels, normalised together

Activations = Float[Array, "vertex batch time channel"]
Mask = Bool[Array, "batch time"]


class STGCN(nn.Module):
    """Spatial-temporal graph network.

    Attributes:
        landmark_set: its points, and the graph of `anatomical`.
        regions: which of its regions are seen (`topology.select`): `all`, `lips,eyes`, `-nose`. The rest of the
            vertices is taken out of the network; a normalisation of the whole face has seen them.
        adjacency: `adaptive`, rows of softmax over vertices, anew in every frame; or `anatomical`, the set's edges.
        channels: of each block.
        strides: over time, of each block.
        kernel: frames of the convolution over time, odd.
        features: dimension of the embedding.
        coordinates: 2 takes x and y, 3 z too.
        position_scale: factor on the landmarks, and on blendshapes and pose.
        motion_scale: factor on differences to the frame before, which are further channels; 0 leaves them out. They are
            zero where either frame is masked.
        dropout: rate after each block in training.
        extra_channels: channels that stand behind the landmarks (`landmarks.channels`).
        canonical_scale: brings canonical coordinates, in inner-eye distances, to the unit of the landmarks, before
            position_scale and motion_scale: a face is 4.3 of them wide and high, and 1 in the normalisation `box`.
    """

    landmark_set: str = "amber152"
    regions: str = "all"
    adjacency: str = "adaptive"
    channels: tuple[int, ...] = (64, 64, 64, 128, 128, 128, 256, 256, 256)
    strides: tuple[int, ...] = (1, 1, 1, 1, 1, 1, 1, 1, 1)
    kernel: int = 9
    features: int = 256
    coordinates: int = 2
    position_scale: float = 10.0
    motion_scale: float = 20.0
    dropout: float = 0.3
    extra_channels: tuple[str, ...] = ()
    canonical_scale: float = 0.25

    @nn.compact
    def __call__(
        self,
        windows: Float[Array, "batch time vertex coord"],
        frame_mask: Bool[Array, "batch time"],
        train: bool = False,
        example_index: Int[Array, "batch"] | None = None,
    ) -> Embedding:
        """Embed windows.

        The mean over time takes all valid frames alike, so `attention` is one over their number.

        Args:
            windows: normalised landmarks and `extra_channels`; masked frames may hold anything finite.
            frame_mask: frames that count.
            train: apply dropout; needs the rng `dropout`.
            example_index: position of each window in the global batch, which seeds its masks; default 0, 1, ….
        """
        self._check()
        kept = topology.select(self.landmark_set, self.regions)
        adjacency = _within(self.landmark_set, kept) if self.adjacency == "anatomical" else None
        parts = Layout(self.landmark_set, self.extra_channels).split(jnp.asarray(windows))
        x = parts.points[:, :, kept, : self.coordinates]
        if parts.canonical is not None:
            x = jnp.concatenate([x, self.canonical_scale * parts.canonical[:, :, kept]], axis=-1)
        x = jnp.transpose(x, (2, 0, 1, 3))
        x = self._channels(jnp.where(frame_mask[:, :, None], x, 0.0), frame_mask)
        per_frame = None if parts.per_frame is None else self.position_scale * parts.per_frame
        batch, time = frame_mask.shape
        place = None
        if train and self.dropout > 0:
            index = jnp.arange(batch) if example_index is None else example_index
            seeds = frame_seeds(example_seeds(self.make_rng("dropout"), index), time)
            place = places(seeds, len(kept)).reshape(len(kept), batch, time)
        mask = frame_mask
        for number, (channels, stride) in enumerate(zip(self.channels, self.strides, strict=True)):
            block = Block(channels, stride, self.kernel, self.dropout, adjacency, name=f"block{number + 1}")
            x, mask, place = block(x, mask, place, number, per_frame if number == 0 else None)
        return self._pool(x, mask, frame_mask)

    def _check(self) -> None:
        if self.adjacency not in ADJACENCIES:
            raise UnknownName("adjacency", self.adjacency, ADJACENCIES)
        if len(self.channels) != len(self.strides):
            raise ConfigError(f"{len(self.channels)} channels and {len(self.strides)} strides; wanted one each a block")
        if self.kernel % 2 == 0 or self.coordinates not in (2, 3):
            raise ConfigError(f"kernel {self.kernel} must be odd, coordinates {self.coordinates} must be 2 or 3")

    def _channels(self, x: Activations, mask: Mask) -> Activations:
        """Landmarks, and beside them their differences over time."""
        positions = self.position_scale * x
        if not self.motion_scale:
            return positions
        both = (mask[:, 1:] & mask[:, :-1])[:, :, None]
        motion = jnp.where(both, x[:, :, 1:] - x[:, :, :-1], 0.0)
        motion = jnp.pad(motion, ((0, 0), (0, 0), (1, 0), (0, 0)))
        return jnp.concatenate([positions, self.motion_scale * motion], axis=-1)

    def _pool(self, x: Activations, mask: Mask, frame_mask: Mask) -> Embedding:
        count = jnp.sum(mask, axis=1, dtype=x.dtype)[:, None]
        pooled = _over_vertices_and_time(x) / jnp.maximum(count, 1)
        embedded = nn.LayerNorm(name="embedding_norm")(nn.Dense(self.features, name="embedding")(pooled))
        # What a step of the last block stands for is shared by the valid frames it came from.
        stride = math.prod(self.strides)
        cells = _cells(frame_mask, stride)
        share = 1.0 / jnp.maximum(jnp.sum(cells, axis=2, keepdims=True, dtype=x.dtype) * count[:, :, None], 1)
        attention = jnp.where(cells, share, 0.0).reshape(len(cells), -1)[:, : frame_mask.shape[1]]
        return Embedding(unit(jnp.where(count > 0, embedded, 0.0)), attention)


class Block(nn.Module):
    """Graph convolution, normalisation, convolution over time, normalisation, residual, ReLU, dropout.

    What comes out is zero on masked frames. What belongs to frames and not to vertices joins behind the graph
    convolution. A residual that changes channels or stride goes through a map and a normalisation of its own.
    """

    channels: int
    stride: int
    kernel: int
    dropout: float
    adjacency: Float[np.ndarray, "vertex vertex"] | None

    @nn.compact
    def __call__(
        self,
        x: Activations,
        mask: Mask,
        place: UInt32[Array, "vertex batch time"] | None,
        layer: int,
        per_frame: Float[Array, "batch time feature"] | None = None,
    ) -> tuple[Activations, Mask, UInt32[Array, "vertex batch step"] | None]:
        steps = _cells(mask, self.stride).any(axis=2)
        residual = x
        if self.stride > 1 or x.shape[-1] != self.channels:
            weights = GraphConvolutionWeights(self.channels, name="residual")(x.shape[-1])
            residual = GroupNorm(name="residual_norm")(_map(x[:, :, :: self.stride], *weights), steps)
        y = GraphConvolution(self.channels, self.adjacency, name="space")(x)
        if per_frame is not None:
            y = y + nn.Dense(self.channels, use_bias=False, name="per_frame")(per_frame)
        y = jnp.where(mask[:, :, None], GroupNorm(name="space_norm")(y, mask), 0.0)
        half = self.kernel // 2
        y = nn.Conv(self.channels, (self.kernel,), self.stride, padding=[(half, half)], name="time")(y)
        y = GroupNorm(name="time_norm")(y, steps) + residual
        selected, scale = steps[:, :, None] & ~(y <= 0), 1.0  # NaN passes
        if place is not None:
            place = place[:, :, :: self.stride]
            selected, scale = selected & keep(place, layer, self.channels, self.dropout), 1.0 / (1.0 - self.dropout)
        return jnp.where(selected, scale * y, 0.0), steps, place


class GraphConvolution(nn.Module):
    """Σ_v A[u, v] x[v] W + b within each frame, A the given adjacency or one made by attention.

    Aggregation and map commute; the one of fewer channels is aggregated.
    """

    channels: int
    adjacency: Float[np.ndarray, "vertex vertex"] | None

    @nn.compact
    def __call__(self, x: Activations) -> Activations:
        kernel, bias = GraphConvolutionWeights(self.channels, name="map")(x.shape[-1])
        if self.adjacency is None:
            dim = max(8, x.shape[-1] // 2)
            query = _map(x, *GraphConvolutionWeights(dim, name="query")(x.shape[-1]))
            key = _map(x, self.param("key", nn.initializers.glorot_uniform(), (x.shape[-1], dim)))

            def mix(x):
                return attend(query, key, x)
        else:

            def mix(x):
                return aggregate(self.adjacency, x.reshape(len(x), -1, x.shape[-1])).reshape(x.shape)

        return _map(mix(x), kernel, bias) if x.shape[-1] < self.channels else mix(_map(x, kernel)) + bias


def adaptive_adjacency(
    query: Float[Array, "*frame vertex dim"], key: Float[Array, "*frame vertex dim"]
) -> Float[Array, "*frame vertex vertex"]:
    """softmax over v of query[u] · key[v] / √dim, in every frame: rows u sum to one."""
    return jax.nn.softmax((query / math.sqrt(query.shape[-1])) @ jnp.swapaxes(key, -1, -2), axis=-1)


@jax.checkpoint  # made anew in the backward pass: V x V numbers a frame cost more to keep
def attend(query: Activations, key: Activations, x: Activations) -> Activations:
    """Aggregation by `adaptive_adjacency`."""
    # Turned by hand: XLA would multiply the frames' matrices where they lie, several times slower on a CPU.
    query, key, x = (jnp.moveaxis(part, 0, 2) for part in (query, key, x))
    return jnp.moveaxis(adaptive_adjacency(query, key) @ x, 2, 0)


class GroupNorm(nn.Module):
    """Mean 0 and variance 1 of each group of channels over vertices and valid frames of a window; scale and bias."""

    @nn.compact
    def __call__(self, x: Activations, mask: Mask) -> Activations:
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones_init(), (channels,))
        bias = self.param("bias", nn.initializers.zeros_init(), (channels,))
        count = jnp.maximum(jnp.sum(mask, axis=1, dtype=x.dtype), 1)
        share = (mask / count[:, None])[:, :, None]

        def mean(values):
            by_channel = _over_vertices_and_time(values * share)
            groups = by_channel.reshape(len(by_channel), math.gcd(GROUPS, channels), -1)
            return jnp.broadcast_to(groups.mean(axis=2, keepdims=True), groups.shape).reshape(by_channel.shape)

        centre = mean(x)
        variance = jnp.maximum(mean(jnp.square(x)) - jnp.square(centre), 0.0)
        scale = scale * jax.lax.rsqrt(variance + 1e-5)
        return x * scale[:, None] + (bias - centre * scale)[:, None]


def _over_vertices_and_time(x: Activations) -> Float[Array, "batch channel"]:
    """Sum over time of the mean over vertices; time first, where a track lies in one piece: many times faster on a
    CPU."""
    return jnp.mean(jnp.sum(x, axis=2), axis=0)


def _map(x: Activations, kernel: Float[Array, "in out"], bias: Float[Array, "out"] | float = 0.0) -> Activations:
    return (feature_map(x.reshape(len(x), -1, x.shape[-1]), kernel) + bias).reshape(*x.shape[:3], -1)


def _cells(mask: Mask, stride: int) -> Bool[Array, "batch step stride"]:
    """The mask in steps of `stride` frames, the last one filled up with masked frames."""
    batch, time = mask.shape
    steps = -(-time // stride)
    return jnp.pad(mask, ((0, 0), (0, steps * stride - time))).reshape(batch, steps, stride)


def _within(landmark_set: str, kept: Int[np.ndarray, "kept"]) -> Float[np.ndarray, "kept kept"]:
    """Normalised adjacency of the set's edges between kept vertices."""
    points = topology.get(landmark_set)
    place = np.full(points.num_vertices, -1)
    place[kept] = np.arange(len(kept))
    edges = place[points.edges]
    return normalized_adjacency(edges[(edges >= 0).all(axis=1)], len(kept))
