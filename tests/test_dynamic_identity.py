"""The dynamic identity loss against a plain NumPy transcription of its equations, on hand-made batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fingerprint import losses
from fingerprint.losses import Videos

CLIPS, DIM = 3, 5
# Rows as (driver, target, video).
BATCHES = {
    "shared targets": [(0, 0, 0), (0, 1, 1), (1, 0, 2), (1, 1, 3), (2, 0, 4), (2, 2, 5)],
    "two rows of one video": [(0, 0, 0), (0, 0, 0), (1, 0, 1), (0, 1, 2), (1, 0, 1), (1, 0, 3)],
    "everybody wears the own face": [(0, 0, 0), (0, 0, 1), (1, 1, 2), (1, 1, 3), (2, 2, 4), (2, 2, 5)],
    "one row": [(0, 0, 0)],
}
UNCOUNTED = {"shared targets": [(0, 2), (3, 0), (3, 1)], "two rows of one video": [(1, 0)]}


def batch(name, seed=0, shuffled=True):
    driver, target, video = np.array(BATCHES[name], np.int32).T
    rng = np.random.default_rng(seed)

    def clips():
        x = rng.normal(size=(len(driver), CLIPS, DIM))
        return (x / np.linalg.norm(x, axis=2, keepdims=True)).astype(np.float32)

    counts = np.ones((len(driver), CLIPS), bool)
    for row, clip in UNCOUNTED.get(name, []):
        counts[row, clip] = False
    more = (clips(), counts[:, ::-1].copy()) if shuffled else (None, None)
    return driver, Videos(target, video, clips(), counts, *more)


def transcription(driver, videos, temperature, same_target, shuffled):
    """-log(N / (N + Q + R)) of each clip that counts, as the equations say it; and the clips whose Q is empty."""

    def similarity(x, y):
        return np.exp(-np.sum((x.astype(np.float64) - y) ** 2) / temperature)

    def gathered(clips, counts):
        found = {}
        for row in range(len(driver)):
            here = found.setdefault(int(videos.video[row]), (int(driver[row]), int(videos.target[row]), []))
            here[2].extend(clips[row][counts[row]])
        return {video: row for video, row in found.items() if row[2]}

    plain = gathered(videos.clips, videos.counts)
    reordered = gathered(videos.shuffled, videos.shuffled_counts) if shuffled else {}
    values, alone = [], []
    for row in range(len(driver)):
        for anchor in videos.clips[row][videos.counts[row]]:
            n, q, r = 0.0, 0.0, 0.0
            for of, on, clips in plain.values():
                nearest = max(similarity(anchor, clip) for clip in clips)
                if of == driver[row]:
                    n += nearest
                elif on == videos.target[row]:
                    q += nearest
            for of, _, clips in reordered.values():
                if of == driver[row]:
                    r += max(similarity(anchor, clip) for clip in clips)
            alone.append(q == 0)
            values.append(-np.log(n / (n + same_target * q + r)))
    return np.array(values), np.mean(alone)


def call(driver, videos, mask=None, **options):
    mask = np.ones(len(driver), bool) if mask is None else mask
    return losses.dynamic_identity(videos.clips[:, 0], driver, mask, jax.random.key(0), videos=videos, **options)


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize(("same_target", "shuffled"), [(True, True), (False, True), (True, False), (False, False)])
def test_equals_the_transcription(name, temperature, same_target, shuffled):
    driver, videos = batch(name, shuffled=shuffled)
    found = call(driver, videos, temperature=temperature, same_target=same_target, shuffled=shuffled)
    expected, alone = transcription(driver, videos, temperature, same_target, shuffled)
    assert np.array_equal(found.counts, videos.counts.ravel())
    assert np.allclose(found.value[found.counts], expected, atol=2e-6) and not found.value[~found.counts].any()
    assert float(found.mean()) == pytest.approx(expected.mean(), abs=2e-6)
    assert float(found.metrics["without_same_target"]) == pytest.approx(alone)


def test_by_hand():
    """Two drivers on one face, one clip each: N is 1, Q and R the similarities to the other and to the own shuffled."""
    clips = np.array([[[1.0, 0.0]], [[0.0, 1.0]]], np.float32)
    shuffled = np.array([[[-1.0, 0.0]], [[0.0, 1.0]]], np.float32)
    ones, zeros = np.ones((2, 1), bool), np.zeros(2, np.int32)
    number = np.arange(2, dtype=np.int32)
    found = call(number, Videos(zeros, number, clips, ones, shuffled, ones))
    assert np.allclose(found.value, [np.log(1 + np.exp(-2) + np.exp(-4)), np.log(1 + np.exp(-2) + 1)], atol=1e-6)


def test_an_empty_q_is_finite_and_reported():
    driver, videos = batch("everybody wears the own face")
    found = call(driver, videos)
    assert float(found.metrics["without_same_target"]) == 1.0 and found.counts.all()
    assert np.isfinite(found.value).all() and (np.asarray(found.value) > 0).all()
    bare = call(driver, videos._replace(shuffled=None, shuffled_counts=None), shuffled=False)
    assert not bare.value.any() and bare.counts.all()
    assert float(call(*batch("shared targets")).metrics["without_same_target"]) == pytest.approx(3 / 15)


def test_the_order_of_rows_and_names_of_codes_do_not_matter():
    driver, videos = batch("shared targets")
    plain = call(driver, videos)
    order = np.random.default_rng(1).permutation(len(driver))
    turned = call(driver[order], Videos(*(column[order] for column in videos)))
    value = np.asarray(plain.value).reshape(-1, CLIPS)
    assert np.allclose(np.asarray(turned.value).reshape(-1, CLIPS), value[order], atol=1e-6)
    renamed = call(90 - driver, videos._replace(target=7 - videos.target, video=50 - videos.video))
    assert np.allclose(renamed.value, plain.value, atol=1e-6)


def test_masked_rows_and_clips_that_do_not_count_leave_no_trace():
    driver, videos = batch("shared targets")
    mask = np.array([True, True, False, True, True, True])
    found = call(driver, videos, mask)
    spoilt = np.where((videos.counts & mask[:, None])[:, :, None], videos.clips, np.float32(50))
    left_out = call(driver[mask], Videos(*(column[mask] for column in videos)))
    assert np.allclose(call(driver, videos._replace(clips=spoilt), mask).value, found.value, atol=1e-6)
    assert np.allclose(np.asarray(found.value).reshape(-1, CLIPS)[mask].ravel(), left_out.value, atol=1e-6)
    assert not np.asarray(found.counts).reshape(-1, CLIPS)[2].any()


def mean_and_gradient(driver, videos, mask=None, **options):
    def mean(clips, shuffled):
        return call(driver, videos._replace(clips=clips, shuffled=shuffled), mask, **options).mean()

    value, gradient = jax.value_and_grad(mean, argnums=(0, 1))(videos.clips, videos.shuffled)
    return float(value), [np.asarray(g) for g in gradient]


def test_the_gradient_is_that_of_the_transcription():
    driver, videos = batch("two rows of one video")
    _, gradient = mean_and_gradient(driver, videos)
    for name, of in zip(("clips", "shuffled"), gradient, strict=True):
        rng = np.random.default_rng(3)
        direction, step = rng.normal(size=videos.clips.shape), 1e-4
        ahead, behind = (
            transcription(driver, videos._replace(**{name: getattr(videos, name) + sign * step * direction}), 1, 1, 1)
            for sign in (1, -1)
        )
        slope = (ahead[0].mean() - behind[0].mean()) / (2 * step)
        assert np.sum(of * direction) == pytest.approx(slope, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("case", [*BATCHES, "collapsed", "zeros", "nothing", "small temperature"])
def test_values_and_gradients_are_finite(case):
    driver, videos = batch(case if case in BATCHES else "shared targets")
    mask, options = np.ones(len(driver), bool), {}
    match case:
        case "collapsed":
            videos = videos._replace(clips=0 * videos.clips + videos.clips[:1, :1], shuffled=videos.clips)
        case "zeros":
            videos = videos._replace(clips=0 * videos.clips)
        case "nothing":
            mask[:] = False
        case "small temperature":
            options = {"temperature": 1e-3}
    value, gradient = mean_and_gradient(driver, videos, mask, **options)
    assert np.isfinite(value) and all(np.isfinite(g).all() for g in gradient)
    assert case != "nothing" or (value == 0 and not any(g.any() for g in gradient))


def test_no_silent_change_of_type():
    driver, videos = batch("shared targets")
    driver, videos = jax.tree.map(jnp.asarray, (driver, videos))
    with jax.numpy_dtype_promotion("strict"):
        found = jax.jit(lambda v: call(driver, v, jnp.ones(6, bool)))(videos)
    assert found.value.dtype == jnp.float32
