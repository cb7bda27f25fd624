"""Losses with class weights of their own, against a plain NumPy transcription."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fingerprint import losses

DIM, DRIVERS, BATCH = 6, 5, 9


def batch(seed=0):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(BATCH, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    weights, bias = rng.normal(size=(DRIVERS, DIM)), rng.normal(size=DRIVERS)
    mask = np.arange(BATCH) != 4
    return vectors.astype(np.float32), rng.integers(0, DRIVERS, BATCH).astype(np.int32), mask, weights, bias


def transcription(name, vectors, driver, weights, bias, scale, margin):
    """Row by row, in float64."""
    out = []
    for vector, own in zip(vectors.astype(np.float64), driver, strict=True):
        if name == "softmax":
            logits = np.array([scale * vector @ w + b for w, b in zip(weights, bias, strict=True)])
        else:
            angles = np.array([np.arccos(np.clip(vector @ w / np.linalg.norm(w), -1, 1)) for w in weights])
            logits = np.cos(angles)
            wider = angles[own] + margin
            logits[own] = np.cos(wider) if wider < np.pi else logits[own] - margin * np.sin(margin)
            logits = scale * logits
        out.append(-np.log(np.exp(logits[own]) / np.exp(logits).sum()))
    return np.array(out)


def call(name, vectors, driver, mask, weights, bias, **options):
    params = {"class_weights": jnp.asarray(weights, jnp.float32)}
    params |= {"class_bias": jnp.asarray(bias, jnp.float32)} if name == "softmax" else {}
    return losses.get(name)(vectors, driver, mask, jax.random.key(0), **params, **options)


@pytest.mark.parametrize("name", losses.CLASSIFIERS)
@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_equals_the_transcription(name, scale):
    vectors, driver, mask, weights, bias = batch()
    # Also an angle so wide that the margin would take it past pi, and its own weight.
    vectors[0] = -weights[driver[0]] / np.linalg.norm(weights[driver[0]])
    vectors[1] = weights[driver[1]] / np.linalg.norm(weights[driver[1]])
    options = {"scale": scale} | ({"margin": 0.4} if name == "arcface" else {})
    found = call(name, vectors, driver, mask, weights, bias, **options)
    expected = transcription(name, vectors, driver, weights, bias, scale, 0.4)
    assert np.allclose(found.value, np.where(mask, expected, 0), rtol=1e-3, atol=2e-3 if name == "arcface" else 1e-5)
    assert np.array_equal(found.counts, mask)
    assert float(found.mean()) == pytest.approx(expected[mask].mean(), rel=1e-3)


def test_arcface_falls_with_the_angle_everywhere_and_exceeds_what_has_no_margin():
    angles = np.linspace(0.0, np.pi, 200)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    weights, zeros, everybody = np.array([[2.0, 0.0], [0.0, 0.0]]), np.zeros(200, np.int32), np.ones(200, bool)
    value = call("arcface", vectors, zeros, everybody, weights, None, margin=0.3, scale=4.0).value
    assert (np.diff(value) > 0).all()
    plain = call("arcface", vectors, zeros, everybody, weights, None, margin=0.0, scale=4.0).value
    assert (np.asarray(value) > np.asarray(plain)).all()


def test_arcface_s_weights_count_by_their_direction():
    vectors, driver, mask, weights, bias = batch(1)
    longer = weights * np.linspace(0.1, 9, DRIVERS)[:, None]
    one, two = (call("arcface", vectors, driver, mask, w, bias).value for w in (weights, longer))
    assert np.allclose(one, two, atol=1e-4)


@pytest.mark.parametrize("name", losses.CLASSIFIERS)
def test_gradients_of_embeddings_and_weights_are_finite_at_the_weights_themselves(name):
    vectors, driver, mask, weights, bias = batch()
    vectors[:] = weights[driver] / np.linalg.norm(weights[driver], axis=1, keepdims=True)
    for w in (weights, np.zeros_like(weights)):
        found = jax.grad(lambda v, w: call(name, v, driver, mask, w, bias).mean(), (0, 1))(vectors, jnp.asarray(w))
        assert all(np.isfinite(np.asarray(part)).all() for part in found)


def test_only_classifiers_have_parameters():
    for name in losses.names():
        found = losses.init_params(name, jax.random.key(0), DIM, DRIVERS)
        shapes = {key: value.shape for key, value in found.items()}
        weights = {"class_weights": (DRIVERS, DIM)}
        expected = {"softmax": weights | {"class_bias": (DRIVERS,)}, "arcface": weights}
        assert shapes == expected.get(name, {}), name
