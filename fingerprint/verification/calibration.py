"""Scores to log likelihood ratios, and thresholds for error rates: fitted on development identities only."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from fingerprint.errors import RatesError
from fingerprint.verification import error_rates

_FORMAT = "fingerprint linear calibration 1"
_RIDGE = 1e-7  # on the slope of standardised scores: keeps it finite where the classes are separable
_STEPS = 200


@dataclasses.dataclass(frozen=True)
class LinearCalibration:
    """Log likelihood ratio (natural log) = scale * score + offset."""

    scale: float
    offset: float

    def llr(self, scores: Float[np.ndarray, " trial"]) -> Float[np.ndarray, " trial"]:
        """Log likelihood ratios; NaN stays NaN."""
        return self.scale * np.asarray(scores, np.float64) + self.offset

    def to_json(self) -> str:
        return json.dumps({"format": _FORMAT, "scale": self.scale, "offset": self.offset})

    @classmethod
    def from_json(cls, text: str) -> LinearCalibration:
        """Read what `to_json` wrote.

        Raises:
            RatesError: anything else.
        """
        try:
            found = json.loads(text)
            calibration = cls(float(found["scale"]), float(found["offset"]))
            fits = found["format"] == _FORMAT and np.isfinite([calibration.scale, calibration.offset]).all()
        except (ValueError, KeyError, TypeError) as error:
            raise RatesError(f"calibration wants JSON of {_FORMAT!r}, found {text[:80]!r}") from error
        if not fits:
            raise RatesError(f"calibration wants format {_FORMAT!r} and finite numbers, found {text[:120]!r}")
        return calibration


def fit_linear(
    scores: Float[np.ndarray, " trial"],
    mated: Bool[np.ndarray, " trial"],
    prior: float = 0.5,
    weights: Float[np.ndarray, " trial"] | None = None,
) -> LinearCalibration:
    """Prior-weighted logistic regression of the class on the score (Brümmer and du Preez, 2006).

    Args:
        scores: NaN scores are left out.
        mated: class of each trial.
        prior: prior of a mated trial at which the fit is best, inside (0, 1).
        weights: one a trial.

    Returns:
        Slope and offset; finite for separable classes, (0, 0) for constant scores. The slope is negative
        where mated scores are the lower ones.

    Raises:
        RatesError: as `error_rates.DetCurve.from_scores`, or a prior outside (0, 1).
    """
    if not 0 < prior < 1:
        raise RatesError(f"a prior lies between 0 and 1, found {prior}")
    scores, mated, weights = error_rates.checked(scores, mated, weights)
    keep = ~np.isnan(scores) & (weights > 0)
    scores, mated, weights = scores[keep], mated[keep], weights[keep]
    if mated.all() or not mated.any():
        raise RatesError(
            f"calibration wants both classes, found {mated.sum()} mated of {len(mated)} trials with a score"
        )
    centre, spread = scores.mean(), scores.std()
    if spread <= 1e-12 * max(1.0, abs(centre)):
        return LinearCalibration(0.0, 0.0)
    share = np.where(mated, prior * weights / weights[mated].sum(), (1 - prior) * weights / weights[~mated].sum())
    slope, offset = _newton((scores - centre) / spread, mated, share, np.log(prior / (1 - prior)))
    return LinearCalibration(float(slope / spread), float(offset - slope * centre / spread))


def llr_bounds(mated: int, non_mated: int) -> tuple[float, float]:
    """Lowest and highest log likelihood ratio (natural log) that so many trials can bear.

    A fitted line goes on for ever, and is as steep as one likes where few trials leave the classes apart. Had one
    more non-mated trial scored as high as any mated one, the ratio up there would be about n + 1 at most; so it is
    held below log(non_mated + 1), and above -log(mated + 1). Trials share people, so even this is generous.

    Source: after Vergeer, van Es, de Jongh, Alberink and Stoel, "Numerical likelihood ratios outputted by LR systems
    are often based on extrapolation: when to stop extrapolating?", Science & Justice 56, 2016 (whose empirical
    lower and upper bounds take one misleading trial more than was seen; this is a simpler bound in that spirit).
    """
    return -math.log(mated + 1), math.log(non_mated + 1)


def thresholds(
    scores: Float[np.ndarray, " trial"],
    mated: Bool[np.ndarray, " trial"],
    fmr_targets: Sequence[float] = error_rates.FMR_TARGETS,
) -> dict[str, float]:
    """Thresholds by name: "eer", and "fmr=1%" and the like; `score >= threshold` accepts.

    Where the scores cannot meet a false match rate exactly, its threshold gives a lower one.

    Raises:
        RatesError: as `error_rates.DetCurve.from_scores`.
    """
    curve = error_rates.DetCurve.from_scores(scores, mated)
    named = {f"fmr={100 * fmr:.6g}%": curve.threshold_at_fmr(fmr) for fmr in fmr_targets}
    return {"eer": curve.threshold_at_eer(), **named}


def _newton(scores, mated, share, prior_logit: float) -> tuple[float, float]:
    design = np.stack([scores, np.ones(len(scores))], axis=1)
    sign = np.where(mated, 1.0, -1.0)
    ridge = np.array([_RIDGE, 0.0])

    def loss(parameters) -> float:
        margin = sign * (design @ parameters + prior_logit)
        return float(share @ np.logaddexp(0, -margin) + 0.5 * ridge @ parameters**2)

    parameters = np.zeros(2)
    current = loss(parameters)
    for _ in range(_STEPS):
        margin = sign * (design @ parameters + prior_logit)
        wrong = np.exp(-np.logaddexp(0, margin))
        gradient = -(share * wrong * sign) @ design + ridge * parameters
        curvature = (design * (share * wrong * (1 - wrong))[:, None]).T @ design + np.diag(ridge)
        # the offset has no ridge: keep the system solvable where every trial is far from the decision
        step = np.linalg.solve(curvature + 1e-15 * np.eye(2), gradient)
        length = 1.0
        while (proposed := loss(parameters - length * step)) > current and length > 1e-10:
            length /= 2
        if length <= 1e-10:
            break
        parameters = parameters - length * step
        if np.abs(length * step).max() < 1e-12 * (1 + np.abs(parameters).max()):
            break
        current = proposed
    return float(parameters[0]), float(parameters[1])
