"""What every network returns, and the pooling that makes it from frames."""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree


class Embedding(NamedTuple):
    """A window's embedding.

    Attributes:
        vector: unit length; all zeros where a window has no valid frame.
        attention: weight of each frame, summing to one over valid frames, exactly zero on masked ones.
    """

    vector: Float[Array, "batch dim"]
    attention: Float[Array, "batch time"]


def unit(x: Float[Array, "... dim"]) -> Float[Array, "... dim"]:
    """Divide by the Euclidean norm, floored at 1e-12 so that zero stays zero with a finite gradient."""
    squared = jnp.sum(x * x, axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(squared, 1e-24))


class Clips(NamedTuple):
    """Embeddings of the clips inside each window, which some losses compare one by one.

    Attributes:
        vector: unit length.
        counts: clips that belong to the window; others may hold anything finite.
    """

    vector: Float[Array, "batch clip dim"]
    counts: Bool[Array, "batch clip"]

    def pooled(self) -> Float[Array, "batch dim"]:
        """Mean of the clips that count, at unit length; zeros where none does."""
        return unit(jnp.sum(jnp.where(self.counts[:, :, None], self.vector, 0.0), axis=1))


def embed_clips(
    model: nn.Module,
    variables: PyTree,
    windows: Float[Array, "batch time vertex coord"],
    frame_mask: Bool[Array, "batch time"],
    **options,
) -> Clips:
    """The clips of each window, by any network: of one without a method `clips`, the window is the clip.

    Args:
        options: further arguments of `model.apply`.
    """
    if hasattr(model, "clips"):
        return model.apply(variables, windows, frame_mask, method="clips", **options)
    vector = model.apply(variables, windows, frame_mask, **options).vector
    return Clips(vector[:, None], frame_mask.any(axis=1, keepdims=True))


class TemporalAttentionPooling(nn.Module):
    """Softmax over time of each frame's product with one learned query, then the weighted mean.

    No temporal edge and no position enters: the result does not depend on the order of frames.
    Source: Pedrouzo-Rodriguez et al., "Is It Really You?", arXiv 2508.00748; AVAPrintDB, graph model.
    """

    @nn.compact
    def __call__(
        self, frames: Float[Array, "batch time dim"], frame_mask: Bool[Array, "batch time"]
    ) -> tuple[Float[Array, "batch dim"], Float[Array, "batch time"]]:
        query = self.param("query", nn.initializers.normal(1.0), (frames.shape[-1],))
        scores = jnp.where(frame_mask, jnp.einsum("btd,d->bt", frames, query), -jnp.inf)
        # Subtracting the maximum by hand keeps a window without valid frames at zero instead of NaN.
        peak = jnp.max(scores, axis=1, keepdims=True)
        peak = jax.lax.stop_gradient(jnp.where(jnp.isfinite(peak), peak, 0.0))
        weights = jnp.where(frame_mask, jnp.exp(jnp.where(frame_mask, scores, 0.0) - peak), 0.0)
        attention = weights / jnp.maximum(jnp.sum(weights, axis=1, keepdims=True), 1e-12)
        return jnp.einsum("bt,btd->bd", attention, frames), attention
