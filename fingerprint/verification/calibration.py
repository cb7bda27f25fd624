"""Scores to log likelihood ratios, and thresholds for error rates: fitted on development identities only."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from fingerprint.errors import RatesError
from fingerprint.verification import error_rates

_FORMAT = "fingerprint linear calibration 1"
_RIDGE = 1e-7  # on the slope of standardised scores: keeps it finite where the classes are separable
_STEPS = 200


@dataclasses.dataclass(frozen=True)
class LinearCalibration:
    """Log likelihood ratio (natural log) = scale * score + offset + quality · measures.

    Attributes:
        quality: a weight for each of `quality.MEASURES`; none: the score alone counts.
    """

    scale: float
    offset: float
    quality: tuple[float, ...] = ()

    def llr(
        self, scores: Float[np.ndarray, " trial"], measures: Float[np.ndarray, "trial measure"] | None = None
    ) -> Float[np.ndarray, " trial"]:
        """Log likelihood ratios; NaN stays NaN.

        Args:
            measures: of each trial; wanted where there are weights for them, else ignored.

        Raises:
            RatesError: the measures are missing.
        """
        llr = self.scale * np.asarray(scores, np.float64) + self.offset
        if not self.quality:
            return llr
        if measures is None or measures.shape[-1] != len(self.quality):
            found = "none" if measures is None else measures.shape[-1]
            raise RatesError(f"this calibration wants {len(self.quality)} quality measures a trial, found {found}")
        return llr + measures @ np.array(self.quality)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"scale": self.scale, "offset": self.offset, "quality": list(self.quality)}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> LinearCalibration:
        """From what `to_dict` gave, or a document that holds it; without "quality", the score alone counts."""
        return cls(float(found["scale"]), float(found["offset"]), tuple(map(float, found.get("quality") or ())))

    def to_json(self) -> str:
        return json.dumps({"format": _FORMAT, **self.to_dict()})

    @classmethod
    def from_json(cls, text: str) -> LinearCalibration:
        """Read what `to_json` wrote.

        Raises:
            RatesError: anything else.
        """
        try:
            found = json.loads(text)
            calibration = cls.from_dict(found)
            numbers = [calibration.scale, calibration.offset, *calibration.quality]
            fits = found["format"] == _FORMAT and np.isfinite(numbers).all()
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
    measures: Float[np.ndarray, "trial measure"] | None = None,
) -> LinearCalibration:
    """Prior-weighted logistic regression of the class on the score (Brümmer and du Preez, 2006), and on measures of
    quality beside it (after Mandasari, Saeidi, McLaren and van Leeuwen, "Quality measure functions for calibration of
    speaker recognition systems in various duration conditions", IEEE TASLP 21, 2013: a term added to the line).

    Args:
        scores: NaN scores are left out.
        mated: class of each trial.
        prior: prior of a mated trial at which the fit is best, inside (0, 1).
        weights: one a trial.
        measures: of each trial; finite where there is a score.

    Returns:
        Slope, offset and weights; finite for separable classes, all zero for constant scores, and a weight is zero
        for a constant measure. The slope is negative where mated scores are the lower ones.

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
    columns = scores[:, None] if measures is None else np.column_stack([scores, np.asarray(measures)[keep]])
    if not np.isfinite(columns).all():
        raise RatesError(f"{int((~np.isfinite(columns)).any(axis=1).sum())} trials have a score but no finite measures")
    centre, spread = (np.array([of(column) for column in columns.T]) for of in (np.mean, np.std))
    varies = spread > 1e-12 * np.maximum(1.0, np.abs(centre))
    found = np.zeros(len(centre))
    if not varies[0]:
        return LinearCalibration(0.0, 0.0, tuple(found[1:].tolist()))
    columns, centre, spread = (columns - centre)[:, varies] / spread[varies], centre[varies], spread[varies]
    share = np.where(mated, prior * weights / weights[mated].sum(), (1 - prior) * weights / weights[~mated].sum())
    slope, offset = _newton(columns, mated, share, np.log(prior / (1 - prior)))
    found[varies] = slope / spread
    return LinearCalibration(
        float(found[0]), float(offset - (slope * centre / spread).sum()), tuple(found[1:].tolist())
    )


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


def _newton(columns, mated, share, prior_logit: float) -> tuple[Float[np.ndarray, " column"], float]:
    design = np.column_stack([columns, np.ones(len(columns))])
    sign = np.where(mated, 1.0, -1.0)
    ridge = np.append(np.full(columns.shape[1], _RIDGE), 0.0)
    size = len(ridge)

    def loss(parameters) -> float:
        margin = sign * (design @ parameters + prior_logit)
        return float(share @ np.logaddexp(0, -margin) + 0.5 * ridge @ parameters**2)

    parameters = np.zeros(size)
    current = loss(parameters)
    for _ in range(_STEPS):
        margin = sign * (design @ parameters + prior_logit)
        wrong = np.exp(-np.logaddexp(0, margin))
        gradient = -(share * wrong * sign) @ design + ridge * parameters
        curvature = (design * (share * wrong * (1 - wrong))[:, None]).T @ design + np.diag(ridge)
        # the offset has no ridge: keep the system solvable where every trial is far from the decision
        step = np.linalg.solve(curvature + 1e-15 * np.eye(size), gradient)
        length = 1.0
        while (proposed := loss(parameters - length * step)) > current and length > 1e-10:
            length /= 2
        if length <= 1e-10:
            break
        parameters = parameters - length * step
        if np.abs(length * step).max() < 1e-12 * (1 + np.abs(parameters).max()):
            break
        current = proposed
    return parameters[:-1], float(parameters[-1])
