"""Pooling over time and scaling to unit length."""

import jax
import jax.numpy as jnp
import numpy as np

from fingerprint.models.embedding import TemporalAttentionPooling, unit


def pool(frames, mask, query):
    return TemporalAttentionPooling().apply({"params": {"query": query}}, jnp.asarray(frames), jnp.asarray(mask))


def test_pooling_is_a_softmax_of_products_with_the_query():
    rng = np.random.default_rng(0)
    frames, query = rng.normal(size=(2, 5, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32)
    mask = np.array([[True, True, False, True, False], [True] * 5])
    pooled, attention = pool(frames, mask, query)
    for row in range(2):
        weights = np.array([np.exp(float(f @ query)) * m for f, m in zip(frames[row], mask[row], strict=True)])
        weights /= weights.sum()
        assert np.allclose(attention[row], weights, atol=1e-6)
        assert np.allclose(pooled[row], sum(w * f for w, f in zip(weights, frames[row], strict=True)), atol=1e-6)


def test_large_scores_do_not_overflow():
    frames = np.array([[[1e4, 0], [1e4, 1], [-1e4, 0]]], np.float32)
    pooled, attention = pool(frames, np.ones((1, 3), bool), np.array([1.0, 0.0], np.float32))
    assert np.allclose(attention, [[0.5, 0.5, 0]]) and np.allclose(pooled, [[1e4, 0.5]])


def test_a_large_score_under_the_mask_changes_nothing():
    frames = np.array([[[1.0, 2.0], [3e4, 1.0]]], np.float32)
    pooled, attention = pool(frames, np.array([[True, False]]), np.array([1.0, 0.0], np.float32))
    assert np.allclose(attention, [[1, 0]]) and np.allclose(pooled, [[1, 2]])


def test_no_valid_frame_gives_zeros_and_a_finite_gradient():
    frames, mask = np.ones((1, 3, 2), np.float32), np.zeros((1, 3), bool)

    def total(query):
        pooled, attention = pool(frames, mask, query)
        return jnp.sum(unit(pooled)) + jnp.sum(attention)

    value, gradient = jax.value_and_grad(total)(np.array([1.0, -1.0], np.float32))
    assert value == 0 and not np.asarray(gradient).any()


def test_unit_length():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 7)), jnp.float32)
    assert np.allclose(np.linalg.norm(unit(x), axis=1), 1, atol=1e-6)
    assert np.allclose(unit(x), x / np.linalg.norm(x, axis=1, keepdims=True), atol=1e-6)
    assert np.allclose(np.linalg.norm(unit(1e-8 * x), axis=1), 1, atol=1e-5)
    assert not unit(jnp.zeros((2, 3))).any()
    assert np.isfinite(jax.jacobian(unit)(jnp.zeros(3))).all()
