"""Losses: pure functions of embeddings and labels, in Optax's style. Each returns one value an anchor, and which
anchors count.

All see the *global* batch: `parallel.gather` brings the other devices' embeddings before the loss is taken, so 1, 2 and
8 devices compute the same number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from fingerprint.errors import UnknownName


class AnchorLoss(NamedTuple):
    """Loss by anchor.

    Attributes:
        value: loss of each anchor; 0 where it does not count.
        counts: anchors that have what the loss needs (a positive, and a negative where one is needed).
    """

    value: Float[Array, "batch"]
    counts: Bool[Array, "batch"]

    def mean(self) -> Float[Array, ""]:
        """Mean over the anchors that count; 0 if none does."""
        return jnp.sum(self.value) / jnp.maximum(jnp.sum(self.counts, dtype=self.value.dtype), 1)


def _pairs(driver: Int[Array, "batch"], example_mask: Bool[Array, "batch"]):
    both = example_mask[:, None] & example_mask[None, :]
    same = driver[:, None] == driver[None, :]
    others = ~jnp.eye(len(driver), dtype=bool)
    return both & same & others, both & ~same


def triplet_margin(
    anchor: Float[Array, "batch dim"],
    positive: Float[Array, "batch dim"],
    negative: Float[Array, "batch dim"],
    *,
    margin: float = 1.0,
) -> Float[Array, "batch"]:
    """max(|a - p| - |a - n| + margin, 0) with the Euclidean distance, for given triplets.

    Source: Schroff et al., FaceNet, arXiv 1503.03832, with distances instead of squares as in PyTorch's
    `TripletMarginLoss`, including its 1e-6 added to each difference.
    """

    def distance(x, y):
        return jnp.sqrt(jnp.sum(jnp.square(x - y + 1e-6), axis=-1))

    return jnp.maximum(distance(anchor, positive) - distance(anchor, negative) + margin, 0.0)


def triplet(
    embeddings: Float[Array, "batch dim"],
    driver: Int[Array, "batch"],
    example_mask: Bool[Array, "batch"],
    key: Array,
    *,
    margin: float = 1.0,
) -> AnchorLoss:
    """Triplet margin loss with a random positive and a random negative driver's window for every anchor (the published
    setting).

    Positive: another window of the same driver, uniformly. Negative: a uniformly random window of another driver;
    batches hold the same number of windows of each driver, so this is a random other driver, then a random window.
    """
    positives, negatives = _pairs(driver, example_mask)
    key_p, key_n = jax.random.split(key)

    def pick(key, candidates):
        draw = jnp.where(candidates, jax.random.uniform(key, candidates.shape), -1.0)
        return jnp.argmax(draw, axis=1)

    p, n = pick(key_p, positives), pick(key_n, negatives)
    counts = positives.any(1) & negatives.any(1)
    value = triplet_margin(embeddings, embeddings[p], embeddings[n], margin=margin)
    return AnchorLoss(jnp.where(counts, value, 0.0), counts)


def batch_hard(
    embeddings: Float[Array, "batch dim"],
    driver: Int[Array, "batch"],
    example_mask: Bool[Array, "batch"],
    key: Array,
    *,
    margin: float = 1.0,
) -> AnchorLoss:
    """Triplet margin loss with each anchor's farthest positive and nearest negative in the batch.

    Source: Hermans et al., In Defense of the Triplet Loss for Person Re-Identification, arXiv 1703.07737, eq. 5.
    """
    del key
    positives, negatives = _pairs(driver, example_mask)
    # Chosen by cosine, measured by differences: of close vectors, 2 - 2 cosine keeps few digits and its root's gradient
    # fewer.
    cosine = embeddings @ embeddings.T
    farthest = jnp.argmin(jnp.where(positives, cosine, jnp.inf), axis=1)
    nearest = jnp.argmax(jnp.where(negatives, cosine, -jnp.inf), axis=1)
    counts = positives.any(1) & negatives.any(1)
    value = triplet_margin(embeddings, embeddings[farthest], embeddings[nearest], margin=margin)
    return AnchorLoss(jnp.where(counts, value, 0.0), counts)


def supervised_contrastive(
    embeddings: Float[Array, "batch dim"],
    driver: Int[Array, "batch"],
    example_mask: Bool[Array, "batch"],
    key: Array,
    *,
    temperature: float = 0.1,
) -> AnchorLoss:
    """-mean over positives p of log(exp(a.p / τ) / Σ_{k≠a} exp(a.k / τ)).

    Source: Khosla et al., Supervised Contrastive Learning, arXiv 2004.11362, eq. 2 (L_out).
    """
    del key
    positives, negatives = _pairs(driver, example_mask)
    logits = embeddings @ embeddings.T / temperature
    log_sum = jax.nn.logsumexp(jnp.where(positives | negatives, logits, -jnp.inf), axis=1)
    number = positives.sum(1, dtype=logits.dtype)
    counts = number > 0
    log_sum = jnp.where(counts, log_sum, 0.0)
    mean_positive = jnp.sum(jnp.where(positives, logits, 0.0), axis=1) / jnp.maximum(number, 1)
    return AnchorLoss(jnp.where(counts, log_sum - mean_positive, 0.0), counts)


def ntxent(
    embeddings: Float[Array, "batch dim"],
    driver: Int[Array, "batch"],
    example_mask: Bool[Array, "batch"],
    key: Array,
    *,
    temperature: float = 0.1,
) -> AnchorLoss:
    """-mean over positives p of log(exp(a.p / τ) / (exp(a.p / τ) + Σ_negatives exp(a.n / τ))).

    The normalised temperature-scaled cross entropy with one positive a term: other positives of the anchor are left out
    of the denominator. Source: Chen et al., SimCLR, arXiv 2002.05709, eq. 1, with several positives averaged. An anchor
    without a positive does not count (`optax.losses.ntxent` returns NaN there).
    """
    del key
    positives, negatives = _pairs(driver, example_mask)
    logits = embeddings @ embeddings.T / temperature
    counts = positives.any(1) & negatives.any(1)
    log_negatives = jax.nn.logsumexp(jnp.where(negatives, logits, -jnp.inf), axis=1, keepdims=True)
    log_negatives = jnp.where(counts[:, None], log_negatives, 0.0)
    terms = jnp.where(positives, jnp.logaddexp(logits, log_negatives) - logits, 0.0)
    value = terms.sum(1) / jnp.maximum(positives.sum(1, dtype=logits.dtype), 1)
    return AnchorLoss(jnp.where(counts, value, 0.0), counts)


Loss = Callable[..., AnchorLoss]
_TABLE: dict[str, Loss] = {
    "triplet": triplet,
    "batch_hard": batch_hard,
    "supervised_contrastive": supervised_contrastive,
    "ntxent": ntxent,
}


def names() -> tuple[str, ...]:
    """Names of the known losses, sorted."""
    return tuple(sorted(_TABLE))


def get(name: str) -> Loss:
    """The loss called `name`: `(embeddings, driver, example_mask, key, **options) -> AnchorLoss`.

    Raises:
        UnknownName: no loss of that name; the message lists the known ones.
    """
    if name not in _TABLE:
        raise UnknownName("loss", name, _TABLE)
    return _TABLE[name]
