"""What every network returns, and the pooling that makes it from frames."""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


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
