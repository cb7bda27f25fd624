"""ROC and DET curves of scores, small enough to draw whatever the number of trials."""

from __future__ import annotations

import dataclasses
from statistics import NormalDist

import numpy as np
from jaxtyping import Bool, Float

from fingerprint.errors import RatesError


@dataclasses.dataclass(frozen=True)
class RocCurve:
    """Points from (0, 0) to (1, 1), ascending, straight lines between them: tied scores lie on one line."""

    fmr: Float[np.ndarray, " point"]
    tmr: Float[np.ndarray, " point"]


def has_both_classes(scores: Float[np.ndarray, " trial"], mated: Bool[np.ndarray, " trial"]) -> bool:
    """Either class has a trial with a score."""
    known, mated = ~np.isnan(np.asarray(scores, np.float64)), np.asarray(mated, bool)
    return bool((known & mated).any() and (known & ~mated).any())


def roc_curve(
    scores: Float[np.ndarray, " trial"], mated: Bool[np.ndarray, " trial"], max_points: int = 2000
) -> RocCurve:
    """ROC curve; `score >= threshold` accepts, NaN scores are left out.

    Every point lies on the exact curve. With at most `max_points` / 2 trials a class it is the whole curve;
    with more, thresholds are picked by rank in either class, denser at both ends, where a DET plot looks.

    Raises:
        RatesError: a class without a score.
    """
    scores, mated = np.asarray(scores, np.float64), np.asarray(mated, bool)
    known = ~np.isnan(scores)
    genuine, impostor = np.sort(scores[known & mated]), np.sort(scores[known & ~mated])
    if not len(genuine) or not len(impostor):
        raise RatesError(
            f"a ROC curve wants both classes, found {len(genuine)} mated and {len(impostor)} non-mated scores"
        )
    thresholds = np.union1d(_representatives(genuine, max_points // 2), _representatives(impostor, max_points // 2))[
        ::-1
    ]
    sides = [1 - np.searchsorted(side, thresholds) / len(side) for side in (impostor, genuine)]
    return RocCurve(*(np.concatenate([[0.0], side]) for side in sides))


def det_curve(roc: RocCurve, lowest: float = 1e-6) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """Probits of FMR and FNMR along a ROC curve, rates held within [lowest, 1 - lowest].

    A straight line between two points is bent on probit axes, so long ones are cut into pieces first.
    """
    pieces = max(1, 2000 // len(roc.fmr))
    at = np.arange(pieces * (len(roc.fmr) - 1) + 1) / pieces
    knots = np.arange(len(roc.fmr))
    fmr, fnmr = np.interp(at, knots, roc.fmr), 1 - np.interp(at, knots, roc.tmr)
    return probit(fmr, lowest), probit(fnmr, lowest)


def probit(rates: Float[np.ndarray, " point"], lowest: float = 1e-6) -> Float[np.ndarray, " point"]:
    """Standard normal quantiles of rates, held within [lowest, 1 - lowest]."""
    quantile = NormalDist().inv_cdf
    return np.array([quantile(min(max(float(rate), lowest), 1 - lowest)) for rate in np.ravel(rates)])


def _representatives(ordered: Float[np.ndarray, " trial"], most: int) -> Float[np.ndarray, " point"]:
    """At most `most` of the sorted scores, the first and the last among them."""
    if len(ordered) <= most:
        return ordered
    last = len(ordered) - 1
    tail = np.geomspace(1, last, most // 4)
    ranks = np.concatenate([np.linspace(0, last, most // 2), tail - 1, last + 1 - tail])
    return ordered[np.unique(ranks.round().astype(np.int64))]
