"""Losses: pure functions of embeddings and labels, in Optax's style. Each returns one value an anchor, and which
anchors count.

All see the *global* batch: `parallel.gather` brings the other devices' embeddings before the loss is taken, so 1, 2 and
8 devices compute the same number.
"""

from __future__ import annotations

import math
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
        metrics: what else the log should hold.
    """

    value: Float[Array, "anchor"]
    counts: Bool[Array, "anchor"]
    metrics: dict[str, Float[Array, ""]] = {}  # noqa: RUF012 (never changed)

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


def softmax(
    embeddings: Float[Array, "batch dim"],
    driver: Int[Array, "batch"],
    example_mask: Bool[Array, "batch"],
    key: Array,
    *,
    class_weights: Float[Array, "driver dim"],
    class_bias: Float[Array, "driver"],
    scale: float = 16.0,
) -> AnchorLoss:
    """-log softmax of (scale · e·W + b) at the window's driver: which of the training drivers is it?

    Args:
        class_weights, class_bias: the loss's own parameters, from `init_params`; they are no part of the model.
        scale: what the unit embedding is multiplied by; 16, the length of 256 channels of variance one, is what a head
            behind a batch normalisation sees.
    """
    del key
    logits = scale * (embeddings @ class_weights.T) + class_bias
    return _cross_entropy(logits, driver, example_mask)


def arcface(
    embeddings: Float[Array, "batch dim"],
    driver: Int[Array, "batch"],
    example_mask: Bool[Array, "batch"],
    key: Array,
    *,
    class_weights: Float[Array, "driver dim"],
    margin: float = 0.3,
    scale: float = 30.0,
) -> AnchorLoss:
    """Cross-entropy of scale · cos θ, with cos(θ + margin) at the window's own driver, θ the angle to a class weight.

    Where θ + margin would pass π, cos θ - margin · sin(margin) goes on from there instead, so that the loss falls with
    θ everywhere. Source: Deng et al., ArcFace, arXiv 1801.07698, eq. 3; margin and scale as AMBER-ID.
    """
    del key
    length = jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(class_weights), axis=1, keepdims=True), 1e-24))
    cosine = jnp.clip(embeddings @ (class_weights * length).T, -1.0, 1.0)
    # The root's slope is infinite at 1: a floor of 1e-6 under the square keeps the gradient finite there.
    sine = jnp.sqrt(jnp.maximum(1.0 - jnp.square(cosine), 1e-6))
    wider = cosine * math.cos(margin) - sine * math.sin(margin)
    wider = jnp.where(cosine > -math.cos(margin), wider, cosine - margin * math.sin(margin))
    own = driver[:, None] == jnp.arange(len(class_weights))
    return _cross_entropy(scale * jnp.where(own, wider, cosine), driver, example_mask)


def _cross_entropy(logits, driver, example_mask) -> AnchorLoss:
    own = jnp.sum(jnp.where(driver[:, None] == jnp.arange(logits.shape[1]), logits, 0.0), axis=1)
    return AnchorLoss(jnp.where(example_mask, jax.nn.logsumexp(logits, axis=1) - own, 0.0), example_mask)


class Videos(NamedTuple):
    """What a loss over clips sees of the global batch; rows of one video may be several.

    Attributes:
        target, video: codes of the face shown and of the video.
        clips: embeddings of the clips of each row. counts: which of them belong to it.
        shuffled, shuffled_counts: the same of the rows with their frames in random order; None where the loss does
            without.
    """

    target: Int[Array, "batch"]
    video: Int[Array, "batch"]
    clips: Float[Array, "batch clip dim"]
    counts: Bool[Array, "batch clip"]
    shuffled: Float[Array, "batch clip dim"] | None = None
    shuffled_counts: Bool[Array, "batch clip"] | None = None


def dynamic_identity(
    embeddings: Float[Array, "batch dim"],
    driver: Int[Array, "batch"],
    example_mask: Bool[Array, "batch"],
    key: Array,
    *,
    videos: Videos,
    temperature: float = 1.0,
    same_target: bool = True,
    shuffled: bool = True,
) -> AnchorLoss:
    """-log(N / (N + Q + R)) for every clip, the dynamic identity embedding contrastive loss.

    The similarity of clips is exp(-|x - y|² / τ), that of a clip to a video the largest over the video's clips. For a
    clip of driver k on target t: N = Σ over videos driven by k, on any target, its own included; Q = Σ over videos of
    target t driven by others; R = Σ over the time-shuffled versions of the videos driven by k.

    Source: Prashnani et al., Avatar Fingerprinting, arXiv 2305.03713, eqs. 1-5, evaluated in logarithms.

    Args:
        embeddings: not used: the windows' clips are (`videos`).
        temperature: τ; 1 as published.
        same_target, shuffled: leave Q or R out (ablations).

    Returns:
        One anchor a clip; `metrics["without_same_target"]` is the share of anchors whose Q is empty: for them the face
        shown is no distraction.
    """
    del embeddings, key
    rows, clips, dim = videos.clips.shape
    counts = videos.counts & example_mask[:, None]
    anchors = videos.clips.reshape(rows * clips, dim)
    of_anchor = jnp.repeat(jnp.arange(rows), clips)

    same_driver = driver[of_anchor][:, None] == driver
    to_videos, each = _closest_clip(anchors, videos.clips, counts, videos.video, temperature)
    distracting = ~same_driver & (videos.target[of_anchor][:, None] == videos.target) & each
    terms = [(to_videos, same_driver & each)]
    if same_target:
        terms.append((to_videos, distracting))
    if shuffled:
        shuffled_counts = videos.shuffled_counts & example_mask[:, None]
        to_shuffled, each = _closest_clip(anchors, videos.shuffled, shuffled_counts, videos.video, temperature)
        terms.append((to_shuffled, same_driver & each))

    counts = counts.reshape(-1)
    own = _log_sum(*terms[0], counts)
    every = _log_sum(*(jnp.concatenate(parts, axis=1) for parts in zip(*terms, strict=True)), counts)
    number = jnp.maximum(jnp.sum(counts, dtype=own.dtype), 1)
    alone = jnp.sum(counts & ~distracting.any(axis=1), dtype=own.dtype) / number
    return AnchorLoss(jnp.where(counts, every - own, 0.0), counts, {"without_same_target": alone})


def _closest_clip(anchors, clips, counts, video, temperature):
    """Largest logarithm of the similarity of each anchor to the clips of each row's video, and one row a video."""
    rows, number, dim = clips.shape
    flat = clips.reshape(rows * number, dim)
    squared = jnp.sum(anchors * anchors, axis=1)[:, None] + jnp.sum(flat * flat, axis=1) - 2 * anchors @ flat.T
    logits = jnp.where(counts.reshape(-1), -squared / temperature, -jnp.inf).reshape(-1, rows, number)
    by_row = jnp.max(logits, axis=2)
    # A video may have several rows; all of them get the closest of all their clips.
    same = (video[:, None] == video) & counts.any(axis=1)
    closest = jnp.argmax(jnp.where(same, by_row[:, None, :], -jnp.inf), axis=2)
    first = same.any(axis=1) & (jnp.argmax(same, axis=1) == jnp.arange(rows))
    return jnp.take_along_axis(by_row, closest, axis=1), first


def _log_sum(logits, chosen, counts):
    """log Σ exp over the chosen ones of each row that counts; 0 for the others, with a gradient of zero."""
    chosen = chosen & counts[:, None]
    peak = jax.lax.stop_gradient(jnp.max(jnp.where(chosen, logits, -jnp.inf), axis=1, keepdims=True))
    peak = jnp.where(jnp.isfinite(peak), peak, 0.0)
    total = jnp.sum(jnp.where(chosen, jnp.exp(jnp.where(chosen, logits - peak, 0.0)), 0.0), axis=1)
    return jnp.where(counts, jnp.log(jnp.where(counts, total, 1.0)) + peak[:, 0], 0.0)


def init_params(name: str, key: Array, dim: int, num_drivers: int) -> dict[str, Float[Array, "..."]]:
    """The loss's own parameters, passed to it by keyword: class weights of the training drivers, or none.

    They are trained beside the network's and left behind with the training drivers.
    """
    if name not in CLASSIFIERS:
        return {}
    weights = jax.nn.initializers.glorot_uniform()(key, (num_drivers, dim), jnp.float32)
    return {"class_weights": weights} | ({"class_bias": jnp.zeros(num_drivers)} if name == "softmax" else {})


CLASSIFIERS = ("softmax", "arcface")
OVER_CLIPS = ("dynamic_identity",)

Loss = Callable[..., AnchorLoss]
_TABLE: dict[str, Loss] = {
    "triplet": triplet,
    "batch_hard": batch_hard,
    "supervised_contrastive": supervised_contrastive,
    "ntxent": ntxent,
    "softmax": softmax,
    "arcface": arcface,
    "dynamic_identity": dynamic_identity,
}


def names() -> tuple[str, ...]:
    """Names of the known losses, sorted."""
    return tuple(sorted(_TABLE))


def get(name: str) -> Loss:
    """The loss called `name`: `(embeddings, driver, example_mask, key, **params, **options) -> AnchorLoss`.

    `params` are what `init_params` gives: empty for all but the classifiers. Those `OVER_CLIPS` want `videos` besides.

    Raises:
        UnknownName: no loss of that name; the message lists the known ones.
    """
    if name not in _TABLE:
        raise UnknownName("loss", name, _TABLE)
    return _TABLE[name]
