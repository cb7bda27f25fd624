"""What worse videos cost: the same trials with degraded probes, beside those with clean ones."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fingerprint.errors import RatesError
from fingerprint.verification import error_rates, intervals
from fingerprint.verification.cohort import Cohort
from fingerprint.verification.scoring import Scoring, score
from fingerprint.verification.trials import TrialList

METRICS = ("auc", "eer")
LEAST_IDENTITIES = 8
"""Fewer people give no interval: with 4, simulated 95 % intervals held the true rate in 81 % of cases."""


@dataclasses.dataclass(frozen=True, eq=False)
class EmbeddedVideos:
    """Window embeddings of some videos.

    Attributes:
        vector: unit embeddings. video: row of the video table of each window.
    """

    vector: Float[np.ndarray, "window dim"]
    video: Int[np.ndarray, " window"]


class Comparison:
    """The clean result, and that of every degradation beside it.

    Args:
        clean: windows of all videos of the trials, as they are.
        num_videos: rows of the video table.
        trials: who is compared with whom; None where too few people are there for any.
        probes: rows of the videos that are degraded as probes.
        scoring, cohort: the model's back end.
        both_sides: enrolment videos are degraded too.
        replicates: of the identity bootstrap.
        seed: of the bootstrap.
    """

    def __init__(
        self,
        clean: EmbeddedVideos,
        num_videos: int,
        trials: TrialList | None,
        probes: Int[np.ndarray, " video"],
        *,
        scoring: Scoring,
        cohort: Cohort | None = None,
        both_sides: bool = False,
        replicates: int = 1000,
        seed: int = 0,
    ):
        self._clean, self._videos, self._trials, self._probes = clean, num_videos, trials, np.asarray(probes)
        self._both, self._seed, self._replicates = both_sides, seed, replicates
        self._scoring, self._cohort = scoring, cohort
        self._scores = None if trials is None else self._score(clean.vector, clean.video, num_videos, trials)
        self._means = _unit_means(clean, num_videos)

    def clean(self) -> dict[str, Any]:
        """The row of the videos as they are; as `degraded`, without difference and similarity."""
        return self._row(self._clean, self._scores) | {"difference": {}, "similarity": None}

    def degraded(self, found: EmbeddedVideos) -> dict[str, Any]:
        """One row of the table, JSON-able.

        Args:
            found: windows of the degraded videos: of the probes, with `both_sides` of all videos of the trials.

        Returns:
            "videos", "failed", "fta": probes, those without a window, their share. "windows": of the probes.
            "trials": those with a score, "identities": people in them. "rates": AUC and EER as entries with value,
            low, high, errors, unreliable. "difference": the same metrics, degraded minus clean on the trials that both
            scored, with paired intervals. "similarity": cosine between the clean and the degraded embedding of a video:
            mean and 5 % quantile over the probes. "reason": why there are no rates, or "".
        """
        scores = None if self._trials is None else self._scores_of(found)
        row = self._row(found, scores)
        row["difference"] = {}
        if row["rates"]:
            row["difference"] = self._difference(scores)
        return row | {"similarity": self._similarity(found)}

    def _scores_of(self, found: EmbeddedVideos) -> Float[np.ndarray, " trial"]:
        trials = self._trials
        if self._both:
            return self._score(found.vector, found.video, self._videos, trials)
        # Degraded videos are further videos: a probe's row is moved there, templates stay with the clean ones.
        moved = dataclasses.replace(trials, probe_index=trials.probe_index + self._videos)
        vectors = np.concatenate([self._clean.vector, found.vector])
        video = np.concatenate([self._clean.video, found.video + self._videos])
        return self._score(vectors, video, 2 * self._videos, moved)

    def _score(self, vectors, video, num_videos: int, trials: TrialList) -> Float[np.ndarray, " trial"]:
        return score(self._scoring, vectors, video, num_videos, trials, self._cohort)

    def _row(self, found: EmbeddedVideos, scores) -> dict[str, Any]:
        count = np.bincount(found.video, minlength=self._videos)[self._probes]
        row = {
            "videos": len(self._probes),
            "failed": int((count == 0).sum()),
            "fta": float((count == 0).mean()),
            "windows": int(count.sum()),
            "trials": 0,
            "identities": 0,
            "rates": {},
            "reason": "too few people for trials",
        }
        if self._trials is None:
            return row
        known = ~np.isnan(scores)
        row |= {"trials": int(known.sum()), "identities": len(self._people(known))}
        try:
            rates = error_rates.summarize(scores, self._trials.mated)
            spread = intervals.bootstrap(scores, *self._who(), **self._options(known))
        except RatesError as error:
            return row | {"reason": str(error)}
        entries = {
            name: _with_interval(rates[name].value, spread[name])
            | {"errors": rates[name].errors_behind, "unreliable": rates[name].unreliable}
            for name in METRICS
        }
        return row | {"rates": entries, "reason": ""}

    def _difference(self, scores) -> dict[str, Any]:
        both = ~np.isnan(scores) & ~np.isnan(self._scores)
        try:
            found = intervals.paired_difference(scores, self._scores, *self._who(), **self._options(both))
        except RatesError:  # what scores now did not score before
            return {}
        return {name: _with_interval(gap.value, gap) for name, gap in found.items()}

    def _similarity(self, found: EmbeddedVideos) -> dict[str, float] | None:
        cosine = (self._means * _unit_means(found, self._videos)).sum(axis=1)[self._probes]
        cosine = cosine[~np.isnan(cosine)]
        return {"mean": float(cosine.mean()), "low": float(np.quantile(cosine, 0.05))} if len(cosine) else None

    def _who(self) -> tuple[np.ndarray, ...]:
        return self._trials.mated, self._trials.reference_driver, self._trials.probe_driver

    def _people(self, known) -> np.ndarray:
        people = np.union1d(self._trials.reference_driver[known], self._trials.probe_driver[known])
        return people[people >= 0]

    def _options(self, known) -> dict[str, Any]:
        enough = len(self._people(known)) >= LEAST_IDENTITIES
        return {"replicates": self._replicates if enough else 0, "seed": self._seed, "metrics": METRICS}


def _with_interval(value: float, spread) -> dict[str, float | None]:
    known = spread.replicates_used > 0
    return {"value": float(value), "low": spread.low if known else None, "high": spread.high if known else None}


def _unit_means(found: EmbeddedVideos, num_videos: int) -> Float[np.ndarray, "video dim"]:
    """Direction of every video's mean embedding; NaN where it has no window."""
    total = np.zeros((num_videos, found.vector.shape[1]))
    np.add.at(total, found.video, found.vector.astype(np.float64))
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.divide(total, length, out=np.full_like(total, np.nan), where=length > 0)
