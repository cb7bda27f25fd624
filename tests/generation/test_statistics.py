"""Fréchet distance and KID against closed forms; statistics streamed, merged and stored."""

import tracemalloc

import numpy as np
import pytest

from fingerprint.errors import ArrayRefused, RatesError
from fingerprint.generation.statistics import FeatureSample, FeatureStatistics, frechet_distance, kid


def of(features, batch=7):
    statistics = FeatureStatistics(features.shape[1])
    for start in range(0, len(features), batch):
        statistics.add(features[start : start + batch])
    return statistics


def with_moments(mean, factor, count, random):
    """Features whose sample mean and covariance are exactly those given."""
    raw = random.normal(size=(count, len(mean)))
    raw -= raw.mean(0)
    values, vectors = np.linalg.eigh(raw.T @ raw / (count - 1))
    return raw @ vectors / np.sqrt(values) @ factor + mean


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.mark.parametrize("count", [5, 12, 13, 200])
def test_streamed_moments_are_those_of_all_at_once(random, count):
    features = random.normal(5, 3, (count, 12))
    statistics = of(features)
    assert statistics.count == count
    np.testing.assert_allclose(statistics.mean, features.mean(0), rtol=1e-13)
    np.testing.assert_allclose(statistics.covariance, np.cov(features.T), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(statistics.factor.T @ statistics.factor, np.cov(features.T), rtol=1e-9, atol=1e-12)


def test_moments_survive_a_large_offset(random):
    features = random.normal(0, 1e-3, (500, 4)) + 1e6
    np.testing.assert_allclose(of(features).covariance, np.cov((features - 1e6).T), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("counts", [(5, 4), (5, 30), (30, 5), (30, 40), (0, 30), (30, 0)])
def test_merged_statistics_are_those_of_both(random, counts, tmp_path):
    features = random.normal(2, 1, (sum(counts), 12))
    one, other = of(features[: counts[0]]), of(features[counts[0] :])
    other.save(tmp_path / "other.npz")
    one.merge(FeatureStatistics.load(tmp_path / "other.npz"))
    assert one.count == sum(counts)
    np.testing.assert_allclose(one.mean, features.mean(0), rtol=1e-12)
    np.testing.assert_allclose(one.covariance, np.cov(features.T), rtol=1e-10, atol=1e-13)


def test_memory_does_not_grow_with_samples(random):
    statistics, kept = FeatureStatistics(20), []
    tracemalloc.start()
    for batches in (5, 200):
        for _ in range(batches):
            statistics.add(random.normal(size=(100, 20)))
        kept.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert statistics.count == 20_500 and kept[1] - kept[0] < 20_000  # 3 MB, if samples were kept


@pytest.mark.parametrize("count", [9, 300])
def test_identical_sets_are_at_distance_0_and_shifted_ones_at_the_squared_shift(random, count):
    features = random.normal(size=(count, 16)) @ random.normal(size=(16, 16))
    shift = random.normal(size=16)
    assert frechet_distance(of(features), of(features, 4)) < 1e-10
    assert frechet_distance(of(features), of(features + shift)) == pytest.approx(shift @ shift, rel=1e-10)


def test_gaussians_with_known_parameters(random):
    """Covariances that commute: |m - n|² + Σ (√λ - √μ)²."""
    basis = np.linalg.qr(random.normal(size=(8, 8)))[0]
    one, other = random.uniform(0.1, 5, (2, 8))
    m, n = random.normal(size=(2, 8))
    a = with_moments(m, np.diag(one) @ basis, 50, random)
    b = with_moments(n, np.diag(other) @ basis, 60, random)
    wanted = np.square(m - n).sum() + np.square(one - other).sum()
    assert frechet_distance(of(a), of(b)) == pytest.approx(wanted, rel=1e-10)


def test_two_dimensions_that_do_not_commute(random):
    """tr √(AB) = √(tr AB + 2 √(det A det B)) for 2 x 2."""
    a, b = (random.normal(size=(40, 2)) @ random.normal(size=(2, 2)) for _ in range(2))
    c, d = np.cov(a.T), np.cov(b.T)
    root = np.sqrt(np.trace(c @ d) + 2 * np.sqrt(np.linalg.det(c) * np.linalg.det(d)))
    wanted = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(c) + np.trace(d) - 2 * root
    assert frechet_distance(of(a), of(b)) == pytest.approx(wanted, rel=1e-10)


def test_covariances_of_low_rank(random):
    """Rank 3 in 64 dimensions, from few samples and from many: the part that counts is known in closed form."""
    basis = np.linalg.qr(random.normal(size=(64, 64)))[0][:3]
    one, other = np.array([3.0, 2.0, 1e-3]), np.array([1.0, 4.0, 2e-3])
    for count in (10, 400):
        a = with_moments(np.zeros(3), np.diag(one), count, random) @ basis
        b = with_moments(np.zeros(3), np.diag(other), count, random) @ basis
        assert frechet_distance(of(a), of(b)) == pytest.approx(np.square(one - other).sum(), rel=1e-9)
    orthogonal = with_moments(np.zeros(3), np.diag(one), 10, random) @ np.linalg.qr(random.normal(size=(64, 64)))[0][:3]
    flat = np.concatenate([orthogonal, np.zeros((10, 64))], 1), np.concatenate([np.zeros((10, 64)), orthogonal], 1)
    assert frechet_distance(*map(of, flat)) == pytest.approx(2 * np.square(one).sum(), rel=1e-9)


def test_few_samples_are_said(random):
    assert "16 samples of 64 dimensions" in of(random.normal(size=(16, 64))).warning
    assert of(random.normal(size=(65, 64))).warning is None


def test_kid_is_unbiased_and_grows_with_a_shift(random):
    a, b = random.normal(size=(2, 400, 16))
    same, spread = kid(a, b, subsets=20, size=100)
    assert abs(same) < 3 * spread
    assert kid(a, b + 1, subsets=20, size=100)[0] > 20 * spread
    assert kid(a, b, subsets=5, size=50, seed=1) == kid(a, b, subsets=5, size=50, seed=1)


def test_kid_of_two_and_two_by_hand():
    a, b = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[2.0, 0.0], [0.0, 0.0]])
    within = (0 / 2 + 1) ** 3 + (0 / 2 + 1) ** 3
    across = ((2 / 2 + 1) ** 3 + 1 + 1 + 1) / 4
    assert kid(a, b, subsets=3)[0] == pytest.approx(within - 2 * across)


def test_a_sample_holds_each_feature_with_the_same_chance():
    seen = np.zeros(40)
    for seed in range(400):
        sample = FeatureSample(10, seed)
        for start in range(0, 40, 8):
            sample.add(np.arange(start, start + 8.0)[:, None])
        assert sample.features.shape == (10, 1) and sample.count == 40
        seen[sample.features[:, 0].astype(int)] += 1
    assert np.all(np.abs(seen - 100) < 45)  # 5 standard deviations


def test_what_is_refused(random, tmp_path):
    statistics = FeatureStatistics(4)
    with pytest.raises(RatesError, match="0 features"):
        frechet_distance(statistics, statistics)
    with pytest.raises(ArrayRefused, match=r"\(3, 5\)"):
        statistics.add(np.zeros((3, 5)))
    with pytest.raises(ArrayRefused, match="NaN"):
        statistics.add(np.full((3, 4), np.nan))
    with pytest.raises(ArrayRefused, match="4 and 5 dimensions"):
        frechet_distance(statistics, FeatureStatistics(5))
    with pytest.raises(RatesError, match="1 and 3"):
        kid(np.zeros((1, 4)), np.zeros((3, 4)))


@pytest.mark.parametrize(
    "other", ["nothing", "cut", "an array", "lists", "shapes", "scatter", "non_finite", "compression", "pickle"]
)
def test_what_are_no_statistics_is_refused(random, tmp_path, other):
    path = tmp_path / "statistics.npz"
    of(random.normal(size=(30, 12))).save(path)
    with np.load(path) as stored:
        held = dict(stored)
    content = path.read_bytes()
    with open(path, "wb") as file:
        match other:
            case "nothing":
                pass
            case "cut":
                file.write(content[: len(content) // 2])
            case "an array":
                np.save(file, held["scatter"])
            case "lists":
                np.savez(file, **held | {"dimensions": np.array([12, 12])})
            case "shapes":
                np.savez(file, **held | {"dimensions": 13})
            case "scatter":
                np.savez(file, **held | {"scatter": np.float64(1)})
            case "non_finite":
                np.savez(file, **held | {"mean": np.full(12, np.nan)})
            case "compression":
                at = content.index(b"PK\x01\x02") + 10
                file.write(content[:at] + b"\x63" + content[at + 1 :])
            case "pickle":
                np.savez(file, **held | {"rows": np.array([{}])})
    with pytest.raises(ArrayRefused, match="statistics.npz: no feature statistics: .+"):
        FeatureStatistics.load(path)
