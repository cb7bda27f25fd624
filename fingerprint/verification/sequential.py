"""Running verification: a sequential test on window scores that are not independent of each other.

Wald's test adds log likelihood ratios of independent observations and stops at the first of two bounds.
Overlapping windows of one video are not independent, and the windows of one trial share its identities and
its recording besides: n windows are worth `effective(n)` independent ones, which is n over Kish's design
effect and stays bounded. Under Gaussian scores of equal covariance in both classes, effective(n) times the
mean log likelihood ratio of the windows is the log likelihood ratio of their mean. Where besides all windows of a
trial hang together alike, that is the ratio of all that was seen, and Wald's bounds hold: at most fmr / (1 - fnmr) of
false claims are accepted and fnmr / (1 - fmr) of true ones rejected. For correlations that fall with distance, for
other distributions, and for a line fitted to few people they are an approximation without guarantee: the asked
rates are asked, not promised, and for people unlike those of the calibration they are not known.

Sources: Wald, "Sequential tests of statistical hypotheses", Ann. Math. Statist. 16, 1945; Kish, "Survey
Sampling", 1965 (design effect).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from fingerprint.errors import RatesError
from fingerprint.verification import calibration

_FORMAT = "fingerprint window calibration 1"
_LEAST_TRIALS = 10  # of each class: fewer do not show how far the windows of one trial hang together

Decision = Literal["accept", "reject"]


@dataclasses.dataclass(frozen=True)
class WindowCalibration:
    """Log likelihood ratios of single windows, and how far the windows of one trial depend on each other.

    Attributes:
        scale: log likelihood ratio (natural log) of one window = scale * score + offset.
        offset: see `scale`.
        correlation: of two window scores of one trial around their class mean, by their distance in windows:
            `correlation[0]` is 1, then never rising, never negative; the last value holds for all larger
            distances.
        stride: frames from one window's start to the next, for which the correlations hold.

    Raises:
        RatesError: numbers that cannot be such.
    """

    scale: float
    offset: float
    correlation: tuple[float, ...]
    stride: int

    def __post_init__(self):
        rho = np.asarray(self.correlation, np.float64)
        if not (math.isfinite(self.scale) and math.isfinite(self.offset) and self.stride >= 1):
            raise RatesError(
                f"a window calibration wants finite numbers and a stride of at least 1, found scale {self.scale}, "
                f"offset {self.offset}, stride {self.stride}"
            )
        if rho.ndim != 1 or not len(rho) or rho[0] != 1 or not (np.diff(rho) <= 0).all() or not rho[-1] >= 0:
            raise RatesError(f"correlations want to start at 1, never rise and never be negative, found {rho.tolist()}")

    def llr_of_windows(self, scores: Float[np.ndarray, " window"]) -> Float[np.ndarray, " window"]:
        """Log likelihood ratio of each window by itself."""
        return self.scale * np.asarray(scores, np.float64) + self.offset

    def effective_counts(self, count: int) -> Float[np.ndarray, " window"]:
        """`effective` of 1, 2, ... `count` windows."""
        rho = np.asarray(self.correlation, np.float64)
        lags = rho[np.minimum(np.arange(count), len(rho) - 1)]
        # the n-th window adds its variance of 1 and twice its correlation with each one before it
        total = np.cumsum(2 * np.cumsum(lags) - 1)
        return np.arange(1, count + 1) ** 2 / total

    def effective(self, count: int) -> float:
        """Number of independent windows that `count` successive ones are worth; 0 of none."""
        return float(self.effective_counts(count)[-1]) if count else 0.0

    def llr(self, scores: Float[np.ndarray, " window"]) -> float:
        """Log likelihood ratio (natural log) of the scores so far; 0 of none.

        Raises:
            RatesError: scores that are not finite.
        """
        scores = _finite(scores)
        return self.effective(len(scores)) * float(self.llr_of_windows(scores).mean()) if len(scores) else 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"format": _FORMAT, **dataclasses.asdict(self), "correlation": list(self.correlation)}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> WindowCalibration:
        """Read what `to_dict` gave.

        Raises:
            RatesError: anything else.
        """
        try:
            known = found["format"] == _FORMAT
            correlation = tuple(float(value) for value in found["correlation"])
            fields = float(found["scale"]), float(found["offset"]), correlation, int(found["stride"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise RatesError(f"window calibration wants {_FORMAT!r}, found {str(found)[:120]}") from error
        if not known:
            raise RatesError(f"window calibration wants format {_FORMAT!r}, found {str(found)[:120]}")
        return cls(*fields)


@dataclasses.dataclass(frozen=True)
class State:
    """Where a sequential test stands.

    Attributes:
        windows: scores taken so far. effective: independent windows that they are worth.
        llr: log likelihood ratio (natural log) of all of them.
        decision: the first bound reached, or None; it stands, whatever comes after.
    """

    windows: int
    effective: float
    llr: float
    decision: Decision | None


class SequentialTest:
    """Accept or reject a claim as soon as the evidence reaches one of Wald's bounds for the asked error rates.

    Args:
        calibration: of the model whose windows are scored.
        fmr: share of false claims that may be accepted.
        fnmr: share of true claims that may be rejected.

    Attributes:
        upper: log likelihood ratio from which the claim is accepted. lower: up to which it is rejected.

    Raises:
        RatesError: rates outside (0, 1), or together 1 or more.
    """

    def __init__(self, calibration: WindowCalibration, fmr: float, fnmr: float):
        if not (fmr > 0 and fnmr > 0 and fmr + fnmr < 1):
            raise RatesError(
                f"a sequential test wants FMR and FNMR above 0 and together below 1, found {fmr} and {fnmr}"
            )
        self.calibration, self.fmr, self.fnmr = calibration, fmr, fnmr
        self.upper, self.lower = math.log((1 - fnmr) / fmr), math.log(fnmr / (1 - fmr))
        self._windows, self._sum, self._decision = 0, 0.0, None
        self._row = self._total = 0.0

    def push(self, score: float) -> State:
        """Take the score of the next window.

        Raises:
            RatesError: a score that is not finite.
        """
        (score,) = _finite([score])
        rho = self.calibration.correlation
        self._row += rho[min(self._windows, len(rho) - 1)]
        self._total += 2 * self._row - 1
        self._windows += 1
        self._sum += self.calibration.scale * score + self.calibration.offset
        effective = self._windows**2 / self._total
        llr = effective * self._sum / self._windows
        if self._decision is None:
            self._decision = "accept" if llr >= self.upper else "reject" if llr <= self.lower else None
        return State(self._windows, float(effective), float(llr), self._decision)


def fit_windows(
    window_scores: Float[np.ndarray, " window"],
    mated: Bool[np.ndarray, " window"],
    trial: Int[np.ndarray, " window"],
    position: Int[np.ndarray, " window"],
    stride: int,
) -> WindowCalibration:
    """Calibrate on window scores of development trials; every trial counts once, however long.

    Args:
        window_scores: finite.
        mated: class of each window's trial.
        trial: number of the trial.
        position: place of the window in its video, in windows; no two of a trial at one place.
        stride: frames from one position to the next.

    Returns:
        Line from logistic regression, and correlations up to the distance that half of the trials of either
        class still have. Two windows count for a distance where no window between them is missing.

    Raises:
        RatesError: shapes that differ, scores that are not finite, a trial of two classes, two windows at one
            place, or fewer than 10 trials of a class.
    """
    scores, mated, trial, position = _checked_windows(window_scores, mated, trial, position)
    order = np.lexsort((position, trial))
    scores, mated, position = scores[order], mated[order], position[order]
    _, trial = np.unique(trial[order], return_inverse=True)
    is_mated = np.bincount(trial, mated) > 0
    _check_trials(trial, position, mated, is_mated)
    weights = 1 / np.bincount(trial)[trial]
    line = calibration.fit_linear(scores, mated, weights=weights)
    means = [np.average(scores[side], weights=weights[side]) for side in (~mated, mated)]
    centred = scores - np.where(mated, means[1], means[0])
    return WindowCalibration(line.scale, line.offset, _correlations(centred, trial, position, is_mated), int(stride))


def _correlations(centred, trial, position, is_mated) -> tuple[float, ...]:
    found, trials = [1.0], [np.inf]
    least = [max(_LEAST_TRIALS, int(side.sum()) / 2) for side in (~is_mated, is_mated)]
    for lag in range(1, len(centred)):
        first = np.flatnonzero((trial[lag:] == trial[:-lag]) & (position[lag:] - position[:-lag] == lag))
        pairs = np.bincount(trial[first], minlength=len(is_mated))
        having = pairs > 0
        if any(int((having & side).sum()) < wanted for side, wanted in zip((~is_mated, is_mated), least, strict=True)):
            break
        a, b = centred[first], centred[first + lag]
        products, squares = (
            np.bincount(trial[first], values, len(is_mated))[having] / pairs[having]
            for values in (a * b, (a * a + b * b) / 2)
        )
        sides = [is_mated[having], ~is_mated[having]]
        covariance, variance = (sum(values[side].mean() for side in sides) for values in (products, squares))
        # windows without any spread tell nothing new
        found.append(covariance / variance if variance > 0 else 1.0)
        trials.append(float(having.sum()))
    if len(found) == 1:
        return (1.0,)  # one window a trial shows no dependence: the worst is assumed
    tail = _never_rising(np.clip(found[1:], 0, 1), np.array(trials[1:]))
    return (1.0, *tail.tolist())


def _never_rising(values, weights) -> Float[np.ndarray, " lag"]:
    """The nearest sequence that never rises, by weighted squares (pooling adjacent violators)."""
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        block = (value, weight, 1)
        while blocks and blocks[-1][0] <= block[0]:
            mean, share, length = blocks.pop()
            total = share + block[1]
            block = ((mean * share + block[0] * block[1]) / total, total, length + block[2])
        blocks.append(block)
    return np.repeat([block[0] for block in blocks], [block[2] for block in blocks])


def _checked_windows(scores, mated, trial, position):
    scores, mated, trial, position = _finite(scores), np.asarray(mated), np.asarray(trial), np.asarray(position)
    if not scores.shape == mated.shape == trial.shape == position.shape:
        raise RatesError(
            f"one class, trial and position a window score wanted, found {scores.shape}, {mated.shape}, "
            f"{trial.shape}, {position.shape}"
        )
    if mated.dtype != bool:
        raise RatesError(f"mated flags want dtype bool, found {mated.dtype}")
    return scores, mated, trial, position


def _check_trials(trial, position, mated, is_mated) -> None:
    if mixed := int((mated != is_mated[trial]).sum()):
        raise RatesError(f"{mixed} windows have another class than their trial")
    counts = int(is_mated.sum()), int((~is_mated).sum())
    if min(counts) < _LEAST_TRIALS:
        raise RatesError(
            f"window calibration wants at least {_LEAST_TRIALS} trials with a window of each class, found "
            f"{counts[0]} mated and {counts[1]} non-mated"
        )
    if twice := int(((trial[1:] == trial[:-1]) & (position[1:] == position[:-1])).sum()):
        raise RatesError(f"{twice} windows stand at a place of their trial that another one has")


def _finite(scores) -> Float[np.ndarray, " window"]:
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 1 or not np.isfinite(scores).all():
        raise RatesError(
            f"window scores want finite numbers in one row, found shape {scores.shape} with "
            f"{int((~np.isfinite(scores)).sum())} that are not finite"
        )
    return scores
