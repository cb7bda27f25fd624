"""Distances between sets of features: Fréchet distance from streamed statistics, and KID. Float64 throughout."""

from __future__ import annotations

import contextlib
import os
import pathlib

import numpy as np
from jaxtyping import Float, Float64

from fingerprint.errors import ArrayRefused, RatesError


class FeatureStatistics:
    """Mean and covariance of features that arrive in batches; memory does not grow with their number.

    Up to as many features as they have dimensions are kept as they are: their covariance is then known by its factor,
    which makes distances between small sets exact and quick. Whenever there are more, those kept go into mean and
    scatter, joined as by Chan, Golub and LeVeque (1983).

    Args:
        dimensions: length of a feature.
    """

    def __init__(self, dimensions: int):
        self.dimensions = dimensions
        self._rows: list[np.ndarray] = []
        self._waiting = self._joined = 0
        self._mean = np.zeros(dimensions)
        self._scatter: np.ndarray | None = None

    @property
    def count(self) -> int:
        """Features taken in."""
        return self._joined + self._waiting

    def add(self, features: Float[np.ndarray, "sample feature"]) -> None:
        """Take in a batch of features.

        Raises:
            ArrayRefused: features of another length, or not finite.
        """
        features = np.asarray(features, np.float64)
        if features.ndim != 2 or features.shape[1] != self.dimensions:
            raise ArrayRefused("features", "shape", f"shape {features.shape}; wanted (samples, {self.dimensions})")
        if not np.isfinite(features).all():
            raise ArrayRefused("features", "non_finite", "a feature is NaN or infinite")
        self._rows.append(features.copy())
        self._waiting += len(features)
        if self._waiting > self.dimensions:
            self._join_rows()

    def merge(self, other: FeatureStatistics) -> None:
        """Take in all that `other` has taken in.

        Raises:
            ArrayRefused: features of another length.
        """
        if other.dimensions != self.dimensions:
            raise ArrayRefused("features", "shape", f"{other.dimensions} dimensions; wanted {self.dimensions}")
        if other._scatter is not None:
            self._join(other._joined, other._mean, other._scatter)
        self.add(other._all_rows())

    @property
    def mean(self) -> Float64[np.ndarray, "feature"]:
        """Mean of the features.

        Raises:
            RatesError: there are none.
        """
        if not self.count:
            raise RatesError("no features; wanted at least 1")
        return self._joined / self.count * self._mean + self._all_rows().sum(0) / self.count

    @property
    def covariance(self) -> Float64[np.ndarray, "feature feature"]:
        """Unbiased covariance.

        Raises:
            RatesError: fewer than two features.
        """
        if self._scatter is None:
            return self.factor.T @ self.factor
        self._join_rows()
        return self._scatter / (self.count - 1)

    @property
    def factor(self) -> Float64[np.ndarray, "rank feature"]:
        """F with covariance FᵀF.

        Raises:
            RatesError: fewer than two features.
        """
        if self.count < 2:
            raise RatesError(f"{self.count} features; wanted at least 2")
        if self._scatter is None:
            rows = self._all_rows()
            return (rows - rows.mean(0)) / np.sqrt(self.count - 1)
        with contextlib.suppress(np.linalg.LinAlgError):  # not of full rank
            return np.linalg.cholesky(self.covariance).T
        values, vectors = np.linalg.eigh(self.covariance)
        kept = values > values[-1] * len(values) * np.finfo(float).eps
        return (vectors[:, kept] * np.sqrt(values[kept])).T

    @property
    def warning(self) -> str | None:
        """What is to be said of a Fréchet distance from so few features; None if nothing is."""
        if self.count > self.dimensions:
            return None
        return (
            f"{self.count} samples of {self.dimensions} dimensions: the covariance has rank {max(self.count - 1, 0)} "
            "at most, and the Fréchet distance is biased upwards"
        )

    def save(self, path: str | os.PathLike) -> None:
        """Write an `.npz` from which `load` makes the same statistics."""
        joined = {} if self._scatter is None else {"mean": self._mean, "scatter": self._scatter}
        with open(path, "wb") as file:
            np.savez(file, dimensions=self.dimensions, joined=self._joined, rows=self._all_rows(), **joined)

    @classmethod
    def load(cls, path: str | os.PathLike) -> FeatureStatistics:
        """Statistics that `save` wrote, here or in another process.

        Raises:
            ArrayRefused: not such a file.
        """
        try:
            with np.load(pathlib.Path(path), allow_pickle=False) as stored:
                made = cls(int(stored["dimensions"]))
                if "scatter" in stored:
                    made._join(int(stored["joined"]), *made._checked(stored["mean"], stored["scatter"]))
                made.add(stored["rows"])
        except Exception as error:  # a damaged file can fail anywhere in the reading
            raise ArrayRefused(path, "truncated", f"no feature statistics: {error}") from error
        return made

    def _checked(self, mean: np.ndarray, scatter: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        d = self.dimensions
        if (mean.shape, scatter.shape) != ((d,), (d, d)):
            raise ValueError(f"mean {mean.shape} and scatter {scatter.shape} of {d} dimensions")
        if not (np.isfinite(mean).all() and np.isfinite(scatter).all()):
            raise ValueError("its mean or scatter is not finite")
        return mean, scatter

    def _all_rows(self) -> np.ndarray:
        return np.concatenate([np.empty((0, self.dimensions)), *self._rows])

    def _join_rows(self) -> None:
        rows, self._rows, self._waiting = self._all_rows(), [], 0
        if len(rows):
            mean = rows.mean(0)
            self._join(len(rows), mean, (rows - mean).T @ (rows - mean))

    def _join(self, count: int, mean: np.ndarray, scatter: np.ndarray) -> None:
        if self._scatter is None:
            self._scatter = np.zeros((self.dimensions, self.dimensions))
        total = self._joined + count
        shift = mean - self._mean
        self._scatter += scatter
        self._scatter += np.outer(shift, shift) * (self._joined * count / max(total, 1))
        self._mean = self._mean + shift * (count / max(total, 1))
        self._joined = total


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """|m_a - m_b|² + tr(C_a + C_b - 2 (C_a C_b)^½), at least 0.

    The last trace is the sum of the singular values of F_a F_bᵀ with C = FᵀF. That needs no root of a product that is
    not symmetric and is as exact for covariances of any rank.

    Raises:
        ArrayRefused: features of different lengths.
        RatesError: fewer than two features on a side.

    Source: Dowson and Landau (1982); FID: Heusel et al. (1706.08500), equation 6.
    """
    if a.dimensions != b.dimensions:
        raise ArrayRefused("features", "shape", f"{a.dimensions} and {b.dimensions} dimensions; wanted equal ones")
    one, other = a.factor, b.factor
    shared = np.linalg.svd(one @ other.T, compute_uv=False).sum()
    traces = np.square(one).sum() + np.square(other).sum()
    return max(0.0, float(np.square(a.mean - b.mean).sum() + traces - 2 * shared))


class FeatureSample:
    """Some of the features that arrive, each with the same chance: what KID needs, in memory that does not grow.

    Args:
        limit: how many are kept.
        seed: of the choice.

    Source: Vitter, Random sampling with a reservoir (1985), algorithm R.
    """

    def __init__(self, limit: int = 10_000, seed: int = 0):
        self.limit, self.count = limit, 0
        self._kept: list[np.ndarray] = []
        self._random = np.random.default_rng(seed)

    def add(self, features: Float[np.ndarray, "sample feature"]) -> None:
        """Take in a batch of features."""
        for feature in features:
            self.count += 1
            if len(self._kept) < self.limit:
                self._kept.append(np.array(feature))
            elif (place := self._random.integers(self.count)) < self.limit:
                self._kept[place] = np.array(feature)

    @property
    def features(self) -> Float[np.ndarray, "sample feature"]:
        """What was kept."""
        return np.array(self._kept)


def kid(
    a: Float[np.ndarray, "a_sample feature"],
    b: Float[np.ndarray, "b_sample feature"],
    *,
    subsets: int = 100,
    size: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Kernel Inception Distance: mean over subsets of the unbiased squared MMD, and its standard deviation over them.

    Unlike the Fréchet distance its expectation does not depend on the number of samples; it may fall below 0.

    Args:
        a: features of one set.
        b: features of the other.
        subsets: how many are drawn, without replacement within one.
        size: of a subset; at most that of the smaller set.
        seed: of the drawing.

    Raises:
        RatesError: fewer than two features on a side.

    Source: Bińkowski et al., Demystifying MMD GANs (1801.01401), kernel (xᵀy / d + 1)³.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    size = min(size, len(a), len(b))
    if size < 2:
        raise RatesError(f"{len(a)} and {len(b)} features; wanted at least 2 on each side")
    random = np.random.default_rng(seed)
    drawn = [
        _squared_mmd(random.choice(a, size, replace=False), random.choice(b, size, replace=False))
        for _ in range(subsets)
    ]
    return float(np.mean(drawn)), float(np.std(drawn))


def _squared_mmd(a: np.ndarray, b: np.ndarray) -> float:
    size, dimensions = a.shape

    def kernel(x, y):
        return (x @ y.T / dimensions + 1) ** 3

    within = sum(kernel(x, x).sum() - (((x * x).sum(1) / dimensions + 1) ** 3).sum() for x in (a, b))
    return within / (size * (size - 1)) - 2 * kernel(a, b).mean()
