"""Losses against loops over anchors, positives and negatives."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fingerprint import losses
from fingerprint.errors import UnknownName

pytestmark = pytest.mark.usefixtures("quick_compilation")
DIM = 6
OPTIONS = {name: {"temperature": 0.2} for name in ("supervised_contrastive", "ntxent")}
# Those over clips are compared in test_dynamic_identity.py.
NAMES = tuple(name for name in losses.names() if name not in losses.OVER_CLIPS)
DETERMINISTIC = tuple(name for name in NAMES if name not in ("triplet", *losses.CLASSIFIERS))

# Drivers by row, and rows that count. All have eight rows, so that each loss is compiled once.
BATCHES = {
    "even": ([0, 0, 1, 1, 2, 2, 3, 3], [1] * 8),
    "uneven": ([0, 0, 0, 0, 1, 1, 2, 1], [1] * 8),
    "padded": ([3, 1, 3, 1, 1, 2, 2, 3], [1, 1, 1, 0, 1, 0, 1, 1]),
    "one driver": ([5] * 8, [1] * 8),
    "no positives": (list(range(8)), [1] * 8),
    "one row": ([0] * 8, [0, 0, 1, 0, 0, 0, 0, 0]),
    "nothing": ([0, 0, 1, 1, 0, 0, 1, 1], [0] * 8),
}


def batch(name, seed=0):
    driver, mask = BATCHES[name]
    rng = np.random.default_rng([seed, list(BATCHES).index(name)])
    vectors = rng.normal(size=(len(driver), DIM)) + seed  # from the second seed on, all point one way more or less
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), np.array(driver, np.int32), np.array(mask, bool)


@functools.cache
def compiled(name, **options):
    params = class_params(name)

    def loss(vectors, driver, mask, key):
        return losses.get(name)(vectors, driver, mask, key, **params, **OPTIONS.get(name, {}) | options)

    def mean(*arguments):
        return loss(*arguments).mean()

    return jax.jit(loss), jax.jit(jax.value_and_grad(mean))


@functools.cache
def class_params(name, drivers=8):
    """The loss's own parameters, random, weights of all lengths; the rows' drivers are among the first eight."""
    rng = np.random.default_rng(7)
    fresh = losses.init_params(name, jax.random.key(1), DIM, drivers)
    return {key: np.asarray(value) + rng.normal(size=value.shape).astype(np.float32) for key, value in fresh.items()}


def call(name, *batch, seed=0, **options):
    return losses.AnchorLoss(*compiled(name, **options)[0](*batch, jax.random.key(seed)))


def mean_and_gradient(name, *batch, seed=0, **options):
    value, gradient = compiled(name, **options)[1](*batch, jax.random.key(seed))
    return float(value), np.asarray(gradient)


def sets(anchor, driver, mask):
    rows = [j for j in range(len(driver)) if mask[j] and mask[anchor] and j != anchor]
    return [j for j in rows if driver[j] == driver[anchor]], [j for j in rows if driver[j] != driver[anchor]]


def dot(x, y):
    return sum(float(a) * float(b) for a, b in zip(x, y, strict=True))


def distance(x, y):
    return math.sqrt(sum((float(a) - float(b)) ** 2 for a, b in zip(x, y, strict=True)))


def brute_force(name, x, anchor, positives, negatives, temperature=0.2, margin=1.0):
    """Loss of one anchor, or None where it has not what the loss needs."""
    a = x[anchor]
    match name:
        case "batch_hard":
            if positives and negatives:
                farthest, nearest = max(distance(a, x[p]) for p in positives), min(distance(a, x[n]) for n in negatives)
                return max(farthest - nearest + margin, 0.0)
        case "supervised_contrastive":
            if positives:
                total = sum(math.exp(dot(a, x[k]) / temperature) for k in positives + negatives)
                terms = [math.log(math.exp(dot(a, x[p]) / temperature) / total) for p in positives]
                return -sum(terms) / len(terms)
        case "ntxent":
            if positives and negatives:
                rest = sum(math.exp(dot(a, x[n]) / temperature) for n in negatives)
                terms = []
                for p in positives:
                    own = math.exp(dot(a, x[p]) / temperature)
                    terms.append(-math.log(own / (own + rest)))
                return sum(terms) / len(terms)
    return None


def test_every_loss_is_tested():
    assert set(DETERMINISTIC) == {"batch_hard", "supervised_contrastive", "ntxent"}
    with pytest.raises(
        UnknownName,
        match="unknown loss 'magface'; known: arcface, batch_hard, .*ntxent, softmax, supervised_contrastive, triplet",
    ):
        losses.get("magface")


@pytest.mark.parametrize("name", DETERMINISTIC)
@pytest.mark.parametrize("case", BATCHES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_brute_force(name, case, seed):
    vectors, driver, mask = batch(case, seed)
    found = call(name, vectors, driver, mask)
    expected = [brute_force(name, vectors, a, *sets(a, driver, mask)) for a in range(len(driver))]
    assert found.counts.dtype == bool and found.counts.tolist() == [e is not None for e in expected]
    assert np.allclose(found.value, [e or 0.0 for e in expected], atol=2e-6)
    counted = [e for e in expected if e is not None]
    assert float(found.mean()) == pytest.approx(sum(counted) / len(counted) if counted else 0.0, abs=2e-6)


@pytest.mark.parametrize("margin", [0.1, 1.0])
def test_triplet_margin_equals_brute_force(margin):
    a, p, n = jnp.asarray(np.random.default_rng(0).normal(size=(3, 5, DIM)), jnp.float32)
    found = losses.triplet_margin(a, p, n, margin=margin)
    for row in range(5):
        expected = max(
            distance(a[row] - p[row], -1e-6 * np.ones(DIM)) - distance(a[row] - n[row], -1e-6 * np.ones(DIM)) + margin,
            0,
        )
        assert float(found[row]) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("case", BATCHES)
def test_triplet_takes_a_positive_and_a_negative_of_each_anchor(case):
    vectors, driver, mask = batch(case)
    chosen = [set() for _ in driver]
    for seed in range(60):
        found = call("triplet", vectors, driver, mask, seed=seed)
        for anchor in range(len(driver)):
            positives, negatives = sets(anchor, driver, mask)
            assert bool(found.counts[anchor]) == bool(positives and negatives)
            if not found.counts[anchor]:
                assert found.value[anchor] == 0
                continue
            possible = {
                (p, n): max(distance(vectors[anchor], vectors[p]) - distance(vectors[anchor], vectors[n]) + 1, 0)
                for p in positives
                for n in negatives
            }
            matching = [pair for pair, value in possible.items() if abs(value - float(found.value[anchor])) < 1e-5]
            assert matching
            chosen[anchor] |= {matching[0]} if len(matching) == 1 else set()
    if case == "even":  # every pair of a positive and a negative comes up
        assert all(len(pairs) == 6 for pairs in chosen)


def test_triplet_draws_uniformly():
    """Each positive and each negative equally often: counted by embeddings whose distances tell who was drawn."""
    driver, everybody = jnp.array([0, 0, 0, 1, 1, 2, 2]), jnp.ones(7, bool)
    vectors = jnp.linspace(0, 3, 7)[:, None] ** 2
    keys = jax.random.split(jax.random.key(0), 2000)
    values = jax.jit(jax.vmap(lambda key: losses.triplet(vectors, driver, everybody, key, margin=50.0).value[0]))(keys)
    distances = np.abs(np.asarray(vectors - vectors.T))
    counts = [
        int(np.sum(np.abs(np.asarray(values) - (distances[0, p] - distances[0, n] + 50)) < 1e-4))
        for p in (1, 2)
        for n in (3, 4, 5, 6)
    ]
    assert sum(counts) == 2000 and all(abs(count - 250) < 5 * np.sqrt(250) for count in counts)


@pytest.mark.parametrize("name", DETERMINISTIC)
@pytest.mark.parametrize("case", ["even", "uneven", "padded"])
def test_the_order_of_rows_does_not_matter(name, case):
    vectors, driver, mask = batch(case)
    plain = call(name, vectors, driver, mask)
    order = np.random.default_rng(1).permutation(len(driver))
    turned = call(name, vectors[order], driver[order], mask[order])
    assert np.allclose(turned.value, plain.value[order], atol=1e-6) and np.array_equal(
        turned.counts, plain.counts[order]
    )
    renamed = call(name, vectors, (100 - driver).astype(np.int32), mask)
    assert np.allclose(renamed.value, plain.value, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_what_masked_rows_hold_does_not_matter(name):
    vectors, driver, mask = batch("padded")
    plain = call(name, vectors, driver, mask)
    spoilt = np.where(mask[:, None], vectors, 0)
    renamed = np.where(mask, driver, 3)
    assert np.allclose(call(name, spoilt, renamed.astype(np.int32), mask).value, plain.value, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", [*BATCHES, "duplicates", "collapsed", "zero vectors", "opposite"])
def test_values_and_gradients_are_finite(name, case):
    vectors, driver, mask = batch(case if case in BATCHES else "uneven")
    match case:
        case "duplicates":
            vectors[1], vectors[5] = vectors[0], vectors[0]  # a positive and a negative equal to the anchor
        case "collapsed":
            vectors[:] = vectors[0]
        case "zero vectors":
            vectors[:2] = 0
        case "opposite":
            vectors[1] = -vectors[0]

    value, gradient = mean_and_gradient(name, vectors, driver, mask)
    assert np.isfinite(value) and np.isfinite(gradient).all()
    assert call(name, vectors, driver, mask).counts.any() or (value == 0 and not gradient.any())


@pytest.mark.parametrize("name", ["supervised_contrastive", "ntxent"])
def test_small_temperatures_stay_finite(name):
    vectors, driver, mask = batch("uneven")
    value, gradient = mean_and_gradient(name, vectors, driver, mask, temperature=0.001)
    assert np.isfinite(value) and value > 0 and np.isfinite(gradient).all()


@pytest.mark.parametrize("name", NAMES)
def test_descent_brings_a_driver_s_windows_together(name):
    vectors, driver, mask = batch("even")

    def unit(x):
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    def gap(x):
        cosine, same = unit(x) @ unit(x).T, driver[:, None] == driver[None]
        return cosine[same & ~np.eye(8, dtype=bool)].mean() - cosine[~same].mean()

    x = vectors
    for seed in range(60):
        x = unit(x - 0.5 * mean_and_gradient(name, x, driver, mask, seed=seed)[1])
    assert gap(x) > gap(vectors) + 0.5


@pytest.mark.parametrize("name", NAMES)
def test_no_silent_change_of_type(name):
    vectors, driver, mask = map(jnp.asarray, batch("padded"))
    with jax.numpy_dtype_promotion("strict"):
        key, options = jax.random.key(0), OPTIONS.get(name, {}) | jax.tree.map(jnp.asarray, class_params(name))
        value, gradient = jax.jit(
            jax.value_and_grad(lambda x: losses.get(name)(x, driver, mask, key, **options).mean())
        )(vectors)
        assert value.dtype == gradient.dtype == jnp.float32
