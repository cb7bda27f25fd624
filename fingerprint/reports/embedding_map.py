"""Embeddings on a plane: principal components, then exact t-SNE."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

_EXAGGERATED = 100  # iterations with attractive forces multiplied
_EXAGGERATION = 12.0


def pca(points: Float[np.ndarray, "point dim"], dims: int) -> Float[np.ndarray, "point dims"]:
    """The first principal components, signed by their largest coordinate; columns beyond the rank are 0."""
    centred = np.asarray(points, np.float64) - np.mean(points, axis=0, dtype=np.float64)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    found = left[:, :dims] * scale[:dims]
    largest = np.take_along_axis(found, np.abs(found).argmax(axis=0)[None], axis=0)
    found = found * np.where(largest < 0, -1.0, 1.0)
    return np.pad(found, ((0, 0), (0, dims - found.shape[1])))


def tsne(
    points: Float[np.ndarray, "point dim"], *, seed: int, perplexity: float = 30.0, iterations: int = 400
) -> Float[np.ndarray, "point 2"]:
    """Exact t-SNE, started from the first two principal components (van der Maaten and Hinton, JMLR 9, 2008).

    Time and memory grow with the square of the number of points: meant for up to about 1000.

    Args:
        points: rows to place.
        seed: of the jitter that parts equal points.
        perplexity: effective number of neighbours; lowered to a third of the points where there are few.
        iterations: gradient steps with momentum.

    Returns:
        Places on the plane, centred; the principal components themselves for fewer than five points.
    """
    points = pca(points, min(50, points.shape[1]))
    start = pca(points, 2)
    count = len(points)
    if count < 5:
        return start
    affinity = _affinities(points, min(perplexity, (count - 1) / 3)).astype(np.float32)
    spread = start[:, 0].std() or 1.0
    place = 1e-4 * (start / spread + 1e-2 * np.random.default_rng(seed).standard_normal((count, 2)))
    place = place.astype(np.float32)
    step, gain, rate = np.zeros_like(place), np.ones_like(place), max(count / _EXAGGERATION / 4, 10.0)
    for iteration in range(iterations):
        early = iteration < _EXAGGERATED
        gradient = _gradient(place, affinity * np.float32(_EXAGGERATION) if early else affinity)
        gain = np.maximum(np.where((gradient > 0) != (step > 0), gain + 0.2, gain * 0.8), 0.01)
        step = (0.5 if early else 0.8) * step - np.float32(rate) * gain * gradient
        place = place + step - (place + step).mean(axis=0)
    return place.astype(np.float64)


def _squared_distances(points):
    norms = np.einsum("ij,ij->i", points, points)
    distances = np.maximum(norms[:, None] + norms[None] - 2 * points @ points.T, 0)
    np.fill_diagonal(distances, 0)
    return distances


def _affinities(points, perplexity: float) -> Float[np.ndarray, "point point"]:
    """Symmetric neighbour probabilities; the width of each Gaussian by bisection on its entropy."""
    distances = _squared_distances(points)
    np.fill_diagonal(distances, np.inf)
    distances -= distances.min(axis=1, keepdims=True)
    finite = distances[np.isfinite(distances)]
    distances /= finite.mean() or 1.0
    low, high = np.full(len(points), -20.0), np.full(len(points), 40.0)  # log2 of the precision
    weights = np.zeros_like(distances)
    for _ in range(40):
        middle = (low + high) / 2
        weights = np.exp(-distances * np.exp2(middle)[:, None])
        weights /= weights.sum(axis=1, keepdims=True)
        entropy = -np.sum(weights * np.log(np.maximum(weights, 1e-300)), axis=1)
        narrow = entropy > np.log(perplexity)
        low, high = np.where(narrow, middle, low), np.where(narrow, high, middle)
    return np.maximum((weights + weights.T) / (2 * len(points)), 1e-12)


def _gradient(place, affinity) -> Float[np.ndarray, "point 2"]:
    closeness = 1 / (1 + _squared_distances(place))
    np.fill_diagonal(closeness, 0)
    pull = (affinity - closeness / closeness.sum()) * closeness
    return 4 * (pull.sum(axis=1, keepdims=True) * place - pull @ place)
