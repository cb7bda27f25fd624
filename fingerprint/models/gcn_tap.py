"""GCN + TAP: per-frame graph convolutions, mean over vertices, temporal attention pooling.

Source: "Is It Really You?" (arXiv 2508.00748) and AVAPrintDB's graph model: three graph convolutions (64, 64, 256),
ReLU after the first two, dropout after each, mean over vertices, one attention query, unit length. 21,312 parameters at
the published sizes.
It is a bag of poses: shuffling a window's frames does not change its embedding.
"""

from __future__ import annotations

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int

from fingerprint.errors import UnknownName
from fingerprint.landmarks import topology
from fingerprint.models.dropout import example_seeds, frame_seeds, keep, places, scaled
from fingerprint.models.embedding import Embedding, TemporalAttentionPooling, unit
from fingerprint.models.graph import (
    GraphConvolutionWeights,
    aggregate,
    feature_map,
    jraph_convolution,
    normalized_adjacency,
)

FORMS = ("dense", "jraph")
LAST_DROPOUT = ("element", "vertex")


class GCNTAP(nn.Module):
    """Graph network with temporal attention pooling.

    Attributes:
        landmark_set: fixes the graph.
        hidden: channels of the first two convolutions.
        features: channels of the third, the embedding's dimension.
        input_scale: factor on the landmarks; 1 as published. Landmarks less their mean are small: `deviation` wants
            about 5, `motion_only` 20.
        dropout: rate after each convolution in training.
        last_dropout: `element` drops single outputs of the third convolution, as published; `vertex` drops whole
            vertices there: each embedding channel sees noise of the same law, drawn once for all channels, and the last
            convolution and the mean over vertices collapse into one weighted mean before the matrix product, as they do
            at inference (several times faster).
        form: `dense` (vertex-leading matrix products) or `jraph` (message passing, the reference); the same parameters.
        chunk: frames worked on at a time, so that activations stay in cache (fewer where `element` makes them wider);
            0 takes the whole batch at once.
    """

    landmark_set: str = "avaprintdb109"
    hidden: int = 64
    features: int = 256
    input_scale: float = 1.0
    dropout: float = 0.3
    last_dropout: str = "element"
    form: str = "dense"
    chunk: int = 0

    @nn.compact
    def __call__(
        self,
        windows: Float[Array, "batch time vertex coord"],
        frame_mask: Bool[Array, "batch time"],
        train: bool = False,
        example_index: Int[Array, "batch"] | None = None,
    ) -> Embedding:
        """Embed windows.

        Args:
            windows: normalised landmarks; masked frames may hold anything finite.
            frame_mask: frames that count.
            train: apply dropout; needs the rng `dropout`.
            example_index: position of each window in the global batch, which seeds its masks; default 0, 1, ….
        """
        if self.form not in FORMS:
            raise UnknownName("graph form", self.form, FORMS)
        if self.last_dropout not in LAST_DROPOUT:
            raise UnknownName("last_dropout", self.last_dropout, LAST_DROPOUT)
        sizes = (windows.shape[-1], self.hidden, self.hidden, self.features)
        weights = [
            GraphConvolutionWeights(out, name=f"gcn{i + 1}")(n) for i, (n, out) in enumerate(itertools.pairwise(sizes))
        ]
        batch, time, vertex, coord = windows.shape
        frames = self.input_scale * jnp.asarray(windows).reshape(batch * time, vertex, coord)
        place = None
        if train and self.dropout > 0:
            if example_index is None:
                example_index = jnp.arange(batch)
            seeds = frame_seeds(example_seeds(self.make_rng("dropout"), example_index), time)
            place = places(seeds, vertex).T
        embed = self._dense if self.form == "dense" else self._jraph
        embedded = embed(weights, frames, place).reshape(batch, time, self.features)
        pooled, attention = TemporalAttentionPooling(name="temporal_pool")(embedded, frame_mask)
        return Embedding(unit(pooled), attention)

    def _jraph(self, weights, frames, place) -> Float[Array, "frame dim"]:
        edges = topology.get(self.landmark_set).edges

        def embed(x, place):
            for layer, (kernel, bias) in enumerate(weights):
                x = jraph_convolution(x, kernel, bias, edges)
                x = jax.nn.relu(x) if layer < 2 else x
                if place is not None:
                    x = x * scaled(self._keep(place, layer), self.dropout)
            return jnp.mean(x, axis=1)

        return _over_chunks(embed, frames, place, self.chunk)

    def _dense(self, weights, frames, place) -> Float[Array, "frame dim"]:
        points = topology.get(self.landmark_set)
        adjacency = normalized_adjacency(points.edges, points.num_vertices)
        (kernel1, bias1), (kernel2, bias2), (kernel3, bias3) = weights
        element = place is not None and self.last_dropout == "element"

        def embed(x, place):
            x, place = jnp.transpose(x, (1, 0, 2)), None if place is None else place.T
            x = self._gate(feature_map(aggregate(adjacency, x), kernel1) + bias1, place, 0)
            # Mapped first: XLA computes what is aggregated anew for each neighbour, unless a matrix product wrote it.
            x = self._gate(aggregate(adjacency, feature_map(x, kernel2)) + bias2, place, 1)
            if element:
                x = feature_map(aggregate(adjacency, x), kernel3) + bias3
                return jnp.mean(x * scaled(self._keep(place, 2), self.dropout), axis=0)
            # From here on all is linear, so the mean over vertices comes first and the features at the end.
            if place is None:
                return jnp.einsum("v,vfc->fc", jnp.mean(adjacency, axis=0), x)
            share = aggregate(adjacency, scaled(self._keep(place, 2)[:, :, 0], self.dropout))
            return jnp.mean(share[:, :, None] * x, axis=0)

        if element:
            return _over_chunks(embed, frames, place, -(-self.chunk * self.hidden // self.features))
        means = _over_chunks(embed, frames, place, self.chunk)
        if place is None:
            return means @ kernel3 + bias3
        return means @ kernel3 + jnp.mean(scaled(self._keep(place, 2), self.dropout), axis=1) * bias3

    def _gate(self, x, place, layer: int):
        """ReLU and dropout as one selection: the derivative wants what was selected and nothing else."""
        selected = ~(x <= 0)  # NaN passes
        scale = 1.0
        if place is not None:
            selected, scale = selected & self._keep(place, layer), 1.0 / (1.0 - self.dropout)
        return jnp.where(checkpoint_name(selected, f"selected{layer}"), x * scale, 0.0)

    def _keep(self, place, layer: int) -> Bool[Array, "*place channel"]:
        channels = (self.hidden, self.hidden, 1 if self.last_dropout == "vertex" else self.features)[layer]
        return keep(place, layer, channels, self.dropout)


def _over_chunks(embed, frames, place, chunk: int):
    """`embed` over pieces of the frames one after the other; the last piece is filled up with the last frame."""
    total = frames.shape[0]
    if not chunk or total <= chunk:
        return embed(frames, place)
    index = jnp.minimum(jnp.arange(-(-total // chunk) * chunk), total - 1).reshape(-1, chunk)

    def piece(rows):
        return embed(frames[rows], None if place is None else place[rows])

    # In the backward pass, computing the first layer anew costs less than fetching it; of the second, all it wants is
    # which values were selected.
    policy = jax.checkpoint_policies.save_only_these_names("selected1")
    out = jax.lax.map(jax.checkpoint(piece, policy=policy), index)
    return out.reshape(-1, out.shape[-1])[:total]
