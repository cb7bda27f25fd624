"""Error rates of verification scores, by one stated definition.

Tied scores form one group; between groups the DET curve is piecewise linear; the equal error rate is where
false match rate and false non-match rate meet on it, so constant scores give 0.5; AUC gives ties half
credit; `score >= threshold` accepts; where an asked false match rate cannot be met exactly, the threshold
gives a lower one.
"""

from __future__ import annotations

import dataclasses
import functools
import re

import numpy as np
from jaxtyping import Bool, Float

from fingerprint.errors import RatesError, UnknownName

RULE_OF_30 = 30  # fewer errors than this behind a rate: the rate is not to be relied on
FMR_TARGETS = (0.1, 0.01, 0.001)
_VECTOR_PASSES = 64


def fnmr_name(fmr: float) -> str:
    """Name of the false non-match rate at a false match rate: 0.001 -> "fnmr@fmr=0.1%"."""
    return f"fnmr@fmr={100 * fmr:.6g}%"


ACCURACIES = ("accuracy", "balanced_accuracy")
# Optimistic: the threshold is chosen on the trials that it is judged by (Youden, Cancer 3, 1950).
BEST_ACCURACIES = tuple(f"{name}@youden" for name in ACCURACIES)
CURVE_METRICS = (
    *("auc", "eer", "eer_rocch", *(fnmr_name(fmr) for fmr in FMR_TARGETS), "min_dcf", "min_cllr"),
    *BEST_ACCURACIES,
)
LLR_METRICS = ("cllr", "act_dcf")


@dataclasses.dataclass(frozen=True)
class Rate:
    """A measured number, how many errors are behind it, and whether they are fewer than 30 (rule of 30).

    Errors behind a rate that balances both kinds of error (EER, FNMR at an FMR, detection costs, accuracies) are the
    smaller of the two counts at its operating point; AUC and Cllr take those of the EER.
    """

    value: float
    errors_behind: int
    unreliable: bool


@dataclasses.dataclass(frozen=True)
class DetCurve:
    """The DET curve of a set of trials: a point below each group of tied scores, and one above all.

    Attributes:
        scores: the distinct scores, ascending.
        mated_below: weight of the mated trials with a score below `scores[k]`; the last entry is their total.
        non_mated_below: the same of the non-mated trials.
        share: of mated trials, by which plain accuracy counts the classes; None: that of the weights. Resampled people
            meet themselves more often than others, so replicates keep the share that the trials have.
        warnings: what a reader of the rates must know.
    """

    scores: Float[np.ndarray, " group"]
    mated_below: Float[np.ndarray, " point"]
    non_mated_below: Float[np.ndarray, " point"]
    share: float | None = None

    @classmethod
    def from_scores(
        cls,
        scores: Float[np.ndarray, " trial"],
        mated: Bool[np.ndarray, " trial"],
        weights: Float[np.ndarray, " trial"] | None = None,
    ) -> DetCurve:
        """Curve of scores; NaN scores (failures to acquire) are left out, trials of weight 0 too.

        Raises:
            RatesError: shapes that differ, infinite scores, negative weights, no score at all, or an empty
                class.
        """
        scores, mated, weights = checked(scores, mated, weights)
        keep = ~np.isnan(scores) & (weights > 0)
        groups, code = np.unique(scores[keep], return_inverse=True)
        mated, weights = mated[keep], weights[keep]
        return cls.from_groups(
            groups,
            np.bincount(code[mated], weights[mated], minlength=len(groups)),
            np.bincount(code[~mated], weights[~mated], minlength=len(groups)),
        )

    @classmethod
    def from_groups(
        cls,
        groups: Float[np.ndarray, " group"],
        mated_weight: Float[np.ndarray, " group"],
        non_mated_weight: Float[np.ndarray, " group"],
    ) -> DetCurve:
        """Curve of distinct ascending scores and the weight of either class at each.

        Raises:
            RatesError: a class of weight 0.
        """
        mated_below, non_mated_below = _cumulative(mated_weight), _cumulative(non_mated_weight)
        if mated_below[-1] <= 0 or non_mated_below[-1] <= 0:
            raise RatesError(
                f"error rates want both classes, found mated weight {mated_below[-1]:g} and non-mated weight "
                f"{non_mated_below[-1]:g} among trials with a score"
            )
        return cls(groups, mated_below, non_mated_below)

    @property
    def mated(self) -> float:
        return float(self.mated_below[-1])

    @property
    def non_mated(self) -> float:
        return float(self.non_mated_below[-1])

    @functools.cached_property
    def fnmr(self) -> Float[np.ndarray, " point"]:
        """False non-match rate at the points: ascending from 0 to 1."""
        return self.mated_below / self.mated

    @functools.cached_property
    def fmr(self) -> Float[np.ndarray, " point"]:
        """False match rate at the points: descending from 1 to 0."""
        return (self.non_mated - self.non_mated_below) / self.non_mated

    @property
    def warnings(self) -> tuple[str, ...]:
        if self.auc >= 0.5:
            return ()
        return (f"AUC {self.auc:.4f} is below 0.5: non-mated trials score higher than mated ones",)

    @functools.cached_property
    def auc(self) -> float:
        """Probability that a mated score exceeds a non-mated one, ties counted half."""
        below = self.non_mated_below
        return float(np.diff(self.mated_below) @ (below[:-1] + below[1:])) / (2 * self.mated * self.non_mated)

    @functools.cached_property
    def eer(self) -> float:
        """Equal error rate on the piecewise linear curve."""
        return _crossing(self.mated_below, self.non_mated_below)

    @property
    def eer_rocch(self) -> float:
        """Equal error rate on the convex hull of the curve (ROCCH; Brümmer and de Villiers, 2011)."""
        mated, non_mated = self.hull
        return _crossing(_cumulative(mated), _cumulative(non_mated))

    @functools.cached_property
    def hull(self) -> tuple[Float[np.ndarray, " segment"], Float[np.ndarray, " segment"]]:
        """Weights (mated, non-mated) of the segments of the convex hull, scores ascending."""
        return pool_adjacent_violators(np.diff(self.mated_below), np.diff(self.non_mated_below))

    def point_at_fmr(self, fmr: float) -> int:
        """The point of the lowest threshold whose false match rate is at most `fmr`.

        Raises:
            RatesError: `fmr` outside [0, 1].
        """
        if not 0 <= fmr <= 1:
            raise RatesError(f"a false match rate lies between 0 and 1, found {fmr}")
        total, below = self.non_mated, self.non_mated_below
        point = int(np.searchsorted(below, total - fmr * total))
        # the subtraction above rounds; the quotient decides
        while point > 0 and (total - below[point - 1]) / total <= fmr:
            point -= 1
        while (total - below[point]) / total > fmr:
            point += 1
        return point

    def fnmr_at_fmr(self, fmr: float) -> float:
        """False non-match rate at the lowest threshold whose false match rate is at most `fmr`."""
        return float(self.mated_below[self.point_at_fmr(fmr)]) / self.mated

    def threshold_at_fmr(self, fmr: float) -> float:
        """The threshold of `fnmr_at_fmr`: an occurring score, or the next float above all of them."""
        return self._threshold(self.point_at_fmr(fmr))

    def threshold_at_eer(self) -> float:
        """The lowest occurring threshold whose false match rate is at most its false non-match rate."""
        return self._threshold(int(np.argmax(self.fmr <= self.fnmr)))

    def fmr_fnmr_at(self, threshold: float) -> tuple[float, float]:
        """False match and false non-match rate where `score >= threshold` accepts."""
        point = np.searchsorted(self.scores, threshold, side="left")
        return float(self.fmr[point]), float(self.fnmr[point])

    @functools.cached_property
    def youden_point(self) -> int:
        """The point of the lowest threshold at which the balanced accuracy is highest: least FMR + FNMR."""
        return int(np.argmin(self.fmr + self.fnmr))

    def accuracies(self, fmr: float, fnmr: float) -> dict[str, float]:
        """Share of trials decided rightly, and the mean of the shares of either class, by name (`ACCURACIES`)."""
        share = self.mated / (self.mated + self.non_mated) if self.share is None else self.share
        return dict(zip(ACCURACIES, accuracies(fmr, fnmr, share), strict=True))

    def min_dcf(self, p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
        """Smallest detection cost over all thresholds, normalised: deciding blindly costs 1."""
        return self._min_cost(p_target, c_miss, c_fa)[0]

    @property
    def min_cllr(self) -> float:
        """Cllr in bits after the best monotone calibration (isotonic, by pooling adjacent violators)."""
        mated, non_mated = self.hull
        ratio = mated.sum() / non_mated.sum()
        with np.errstate(divide="ignore", invalid="ignore"):
            miss = np.where(mated > 0, mated * np.log2(1 + ratio * non_mated / mated), 0.0)
            false = np.where(non_mated > 0, non_mated * np.log2(1 + mated / (ratio * non_mated)), 0.0)
        return float(miss.sum() / mated.sum() + false.sum() / non_mated.sum()) / 2

    def metric(self, name: str) -> float:
        """A rate by name: one of `CURVE_METRICS`, or "fnmr@fmr=X%" of any X.

        Raises:
            UnknownName: no such rate.
        """
        if name == "min_dcf":
            return self.min_dcf()
        if name in ("auc", "eer", "eer_rocch", "min_cllr"):
            return getattr(self, name)
        if name in BEST_ACCURACIES:
            return self.accuracies(self.fmr[self.youden_point], self.fnmr[self.youden_point])[name.partition("@")[0]]
        match = re.fullmatch(r"fnmr@fmr=([0-9.eE+-]+)%", name)
        if not match:
            raise UnknownName("error rate", name, CURVE_METRICS)
        return self.fnmr_at_fmr(float(match[1]) / 100)

    def errors_behind(self, name: str) -> int:
        """Number of errors behind a rate of `CURVE_METRICS`; see `Rate`."""
        if name in BEST_ACCURACIES:
            point = self.youden_point
        elif name == "min_dcf":
            point = self._min_cost(0.01, 1.0, 1.0)[1]
        elif name.startswith("fnmr@fmr="):
            point = self.point_at_fmr(float(name[len("fnmr@fmr=") : -1]) / 100)
        else:
            rate = self.eer_rocch if name == "eer_rocch" else self.eer
            return int(rate * min(self.mated, self.non_mated) + 1e-9)
        return int(min(self.mated_below[point], self.non_mated - self.non_mated_below[point]))

    def _threshold(self, point: int) -> float:
        if point < len(self.scores):
            return float(self.scores[point])
        return float(np.nextafter(self.scores[-1], np.inf))

    def _min_cost(self, p_target: float, c_miss: float, c_fa: float) -> tuple[float, int]:
        miss, false, default = dcf_weights(p_target, c_miss, c_fa)
        cost = self.mated_below * (miss / self.mated) - self.non_mated_below * (false / self.non_mated)
        point = int(np.argmin(cost))
        return float(miss * self.fnmr[point] + false * self.fmr[point]) / default, point


def checked(scores, mated, weights=None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, classes and weights as arrays of one length.

    Raises:
        RatesError: shapes that differ, infinite scores, negative or non-finite weights, no score at all.
    """
    scores, mated = np.asarray(scores, np.float64), np.asarray(mated)
    weights = np.ones(scores.shape) if weights is None else np.asarray(weights, np.float64)
    if scores.ndim != 1 or mated.shape != scores.shape or weights.shape != scores.shape:
        raise RatesError(f"one flag and weight a score wanted, found {scores.shape}, {mated.shape}, {weights.shape}")
    if mated.dtype != bool:
        raise RatesError(f"mated flags want dtype bool, found {mated.dtype}")
    if np.isinf(scores).any():
        raise RatesError(f"{int(np.isinf(scores).sum())} of {len(scores)} scores are infinite")
    if not np.all(np.isfinite(weights) & (weights >= 0)):
        raise RatesError("weights want finite numbers >= 0")
    if np.isnan(scores).all():
        raise RatesError(f"none of {len(scores)} trials has a score: every acquisition failed")
    return scores, mated, weights


def pool_adjacent_violators(
    mated: Float[np.ndarray, " group"], non_mated: Float[np.ndarray, " group"]
) -> tuple[Float[np.ndarray, " segment"], Float[np.ndarray, " segment"]]:
    """Merge neighbouring groups until the share of mated weight strictly rises with the score. Linear time.

    Neighbours out of order always end in one segment, so whole runs of them merge at once; what a fixed
    number of such passes leaves is merged one by one (Ayer et al., 1955).
    """
    keep = mated + non_mated > 0
    mated, non_mated = mated[keep], non_mated[keep]
    for _ in range(_VECTOR_PASSES):
        starts = np.flatnonzero(np.append(True, mated[:-1] * non_mated[1:] < mated[1:] * non_mated[:-1]))
        if len(starts) == len(mated):
            return mated, non_mated
        mated, non_mated = np.add.reduceat(mated, starts), np.add.reduceat(non_mated, starts)
    stack: list[tuple[float, float]] = []
    for m, n in zip(mated.tolist(), non_mated.tolist(), strict=True):
        while stack and stack[-1][0] * n >= m * stack[-1][1]:
            below = stack.pop()
            m, n = m + below[0], n + below[1]
        stack.append((m, n))
    segments = np.array(stack)
    return segments[:, 0], segments[:, 1]


def dcf_weights(p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0) -> tuple[float, float, float]:
    """What FNMR and FMR cost, and the cost of deciding blindly, by which detection costs are divided.

    Raises:
        RatesError: a prior outside (0, 1) or a cost that is not positive.
    """
    if not (0 < p_target < 1 and c_miss > 0 and c_fa > 0):
        raise RatesError(f"detection cost wants 0 < p_target < 1 and costs > 0, found {p_target}, {c_miss}, {c_fa}")
    miss, false = p_target * c_miss, (1 - p_target) * c_fa
    return miss, false, min(miss, false)


def llr_costs(llr: Float[np.ndarray, " trial"], mated: Bool[np.ndarray, " trial"]) -> Float[np.ndarray, " trial"]:
    """Cost of each log likelihood ratio in bits: log2(1 + e^-llr) where mated, log2(1 + e^llr) where not."""
    return np.logaddexp(0.0, np.where(mated, -llr, llr)) / np.log(2)


def bayes_threshold(p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
    """The log likelihood ratio (natural log) from which accepting costs less."""
    miss, false, _ = dcf_weights(p_target, c_miss, c_fa)
    return float(np.log(false / miss))


def cllr(llr: Float[np.ndarray, " trial"], mated: Bool[np.ndarray, " trial"], weights=None) -> float:
    """Cost of log likelihood ratios (natural log) in bits; 1 where all are 0 (Brümmer and du Preez, 2006).

    Raises:
        RatesError: as `DetCurve.from_scores`, but infinite ratios are allowed.
    """
    llr, mated, weights = _llr_trials(llr, mated, weights)
    costs = llr_costs(llr, mated)
    sides = (np.average(costs[side], weights=weights[side]) for side in (mated, ~mated))
    return float(sum(sides)) / 2


def act_dcf(
    llr: Float[np.ndarray, " trial"],
    mated: Bool[np.ndarray, " trial"],
    p_target: float = 0.01,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
    weights=None,
) -> float:
    """Normalised detection cost at the threshold that log likelihood ratios imply; see `DetCurve.min_dcf`."""
    llr, mated, weights = _llr_trials(llr, mated, weights)
    miss, false, default = dcf_weights(p_target, c_miss, c_fa)
    accepted = llr >= bayes_threshold(p_target, c_miss, c_fa)
    fnmr = np.average(~accepted[mated], weights=weights[mated])
    fmr = np.average(accepted[~mated], weights=weights[~mated])
    return float(miss * fnmr + false * fmr) / default


def fta(scores: Float[np.ndarray, " trial"], mated: Bool[np.ndarray, " trial"]) -> tuple[float, float]:
    """Failure to acquire: the share of mated and of non-mated trials without a score (NaN).

    Raises:
        RatesError: an empty class.
    """
    failed, mated = np.isnan(scores), np.asarray(mated)
    if mated.all() or not mated.any():
        raise RatesError(f"failure to acquire wants both classes, found {mated.sum()} mated of {len(mated)} trials")
    return float(failed[mated].mean()), float(failed[~mated].mean())


def accuracies(fmr: float, fnmr: float, share: float) -> tuple[float, float]:
    """Share of trials decided rightly, where `share` of them are mated, and the mean of the shares of either class."""
    return 1 - share * fnmr - (1 - share) * fmr, 1 - (fmr + fnmr) / 2


def far_frr(fmr: float, fnmr: float, fta_mated: float, fta_non_mated: float) -> tuple[float, float]:
    """False accept and false reject rate of the whole system: a trial that fails to acquire is rejected.

    FAR = FMR (1 - FTA of non-mated trials), FRR = FTA + FNMR (1 - FTA) with the FTA of mated trials; with
    one FTA for both these are the definitions of ISO/IEC 19795-1.
    """
    return fmr * (1 - fta_non_mated), fta_mated + fnmr * (1 - fta_mated)


def summarize(
    scores: Float[np.ndarray, " trial"],
    mated: Bool[np.ndarray, " trial"],
    llr: Float[np.ndarray, " trial"] | None = None,
) -> dict[str, Rate]:
    """All rates of `CURVE_METRICS`, and those of `LLR_METRICS` where log likelihood ratios are given.

    Raises:
        RatesError: an empty class, no score, infinite scores.
    """
    curve = DetCurve.from_scores(scores, mated)
    rates = {name: make_rate(curve.metric(name), curve.errors_behind(name)) for name in CURVE_METRICS}
    if llr is not None:
        accepted = np.asarray(llr) >= bayes_threshold()
        acquired = ~np.isnan(llr)
        misses, false = (mated & ~accepted & acquired).sum(), (~np.asarray(mated) & accepted).sum()
        rates["cllr"] = make_rate(cllr(llr, mated), curve.errors_behind("eer"))
        rates["act_dcf"] = make_rate(act_dcf(llr, mated), min(misses, false))
    return rates


def make_rate(value: float, errors: float) -> Rate:
    """A rate with the rule of 30 applied."""
    return Rate(float(value), int(errors), int(errors) < RULE_OF_30)


def _llr_trials(llr, mated, weights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    llr = np.asarray(llr, np.float64)
    _, mated, weights = checked(np.where(np.isinf(llr), 0.0, llr), mated, weights)
    keep = ~np.isnan(llr) & (weights > 0)
    llr, mated, weights = llr[keep], mated[keep], weights[keep]
    if mated.all() or not mated.any():
        raise RatesError(
            f"error rates want both classes, found {mated.sum()} mated of {len(mated)} trials with a score"
        )
    return llr, mated, weights


def _cumulative(weights) -> Float[np.ndarray, " point"]:
    sums = np.empty(len(weights) + 1)
    sums[0] = 0.0
    np.cumsum(weights, out=sums[1:])
    return sums


def _crossing(mated_below, non_mated_below) -> float:
    """The rate at which the falling and the rising error rate meet on the piecewise linear curve."""
    mated, non_mated = mated_below[-1], non_mated_below[-1]

    def difference(point: int) -> float:
        return (non_mated - non_mated_below[point]) / non_mated - mated_below[point] / mated

    low, high = 0, len(mated_below) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if difference(middle) > 0 else (low, middle)
    share = difference(low) / (difference(low) - difference(high))
    return float((1 - share) * mated_below[low] + share * mated_below[high]) / float(mated)
