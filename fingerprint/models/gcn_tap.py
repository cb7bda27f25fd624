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
from jaxtyping import Array, Bool, Float, Int

from fingerprint.errors import UnknownName
from fingerprint.landmarks import topology
from fingerprint.models.dropout import example_seeds, frame_seeds, keep_scale
from fingerprint.models.embedding import Embedding, TemporalAttentionPooling, unit
from fingerprint.models.graph import (
    GraphConvolutionWeights,
    aggregate,
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
        chunk: frames worked on at a time, so that activations stay in cache; 0 takes the whole batch at once.
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
        seeds = None
        if train and self.dropout > 0:
            if example_index is None:
                example_index = jnp.arange(batch)
            seeds = frame_seeds(example_seeds(self.make_rng("dropout"), example_index), time)
        embed = self._dense if self.form == "dense" else self._jraph
        embedded = _over_chunks(lambda f, s: embed(weights, f, s), frames, seeds, self.chunk)
        pooled, attention = TemporalAttentionPooling(name="temporal_pool")(
            embedded.reshape(batch, time, self.features), frame_mask
        )
        return Embedding(unit(pooled), attention)

    def _jraph(self, weights, x, seeds) -> Float[Array, "frame dim"]:
        edges = topology.get(self.landmark_set).edges
        for layer, (kernel, bias) in enumerate(weights):
            x = jraph_convolution(x, kernel, bias, edges)
            x = jax.nn.relu(x) if layer < 2 else x
            if seeds is not None:
                x = x * jnp.moveaxis(self._keep_scale(seeds, layer, *x.shape[1:]), 0, 1)
        return jnp.mean(x, axis=1)

    def _dense(self, weights, x, seeds) -> Float[Array, "frame dim"]:
        points = topology.get(self.landmark_set)
        vertex = points.num_vertices
        adjacency = jnp.asarray(normalized_adjacency(points.edges, vertex))
        x = jnp.transpose(x, (1, 0, 2))
        for layer, (kernel, bias) in enumerate(weights[:2]):
            x = jax.nn.relu(aggregate(adjacency, x) @ kernel + bias)
            if seeds is not None:
                x = x * self._keep_scale(seeds, layer, vertex, self.hidden)
        kernel, bias = weights[2]
        if seeds is None:
            return jnp.einsum("v,vfc->fc", jnp.mean(adjacency, axis=0), x) @ kernel + bias
        kept = self._keep_scale(seeds, 2, vertex, self.features)
        if self.last_dropout == "element":
            return jnp.mean((aggregate(adjacency, x) @ kernel + bias) * kept, axis=0)
        kept = kept[:, :, 0]
        mean = jnp.einsum("vf,vfc->fc", adjacency @ kept, x) / vertex
        return mean @ kernel + jnp.mean(kept, axis=0)[:, None] * bias

    def _keep_scale(self, seeds, layer: int, vertices: int, channels: int) -> Float[Array, "vertex frame channel"]:
        if layer == 2 and self.last_dropout == "vertex":
            channels = 1
        return keep_scale(seeds, layer, vertices, channels, self.dropout)


def _over_chunks(embed, frames, seeds, chunk: int):
    """`embed` over pieces of the frames one after the other; the last piece is filled up with the last frame."""
    total = frames.shape[0]
    if not chunk or total <= chunk:
        return embed(frames, seeds)
    index = jnp.minimum(jnp.arange(-(-total // chunk) * chunk), total - 1).reshape(-1, chunk)

    def piece(rows):
        return embed(frames[rows], None if seeds is None else seeds[rows])

    # Recomputing a piece in the backward pass costs less than moving its activations through memory.
    out = jax.lax.map(jax.checkpoint(piece), index)
    return out.reshape(-1, out.shape[-1])[:total]
