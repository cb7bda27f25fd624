"""From evidence to a decision: score, calibrated log likelihood ratio, threshold, and what was wrong with it all."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float

from fingerprint.app.evidence import Evidence
from fingerprint.app.gallery import CALIBRATION_FORMAT, Template, binding
from fingerprint.errors import ClaimRefused
from fingerprint.verification import scoring, trials
from fingerprint.verification.calibration import LinearCalibration

ACCEPTED, REJECTED, UNDECIDED = "accepted", "rejected", "undecided"
_SAME_MOTION = 0.99999
"""Cosine above which two windows can hardly be of two recordings."""
_RULE_OF_30 = 30
_FEW_PEOPLE = 8
_LEAST_WINDOWS = 3  # where the calibration does not say how many its videos had


@dataclasses.dataclass(frozen=True, eq=False)
class Verdict:
    """One comparison of a video with a person.

    Attributes:
        name: of the person.
        decision: `accepted`, `rejected` or `undecided`.
        score: mean cosine over all pairs of windows, averaged over the enrolled videos.
        window_score: the probe's windows one by one; their mean is the score.
        llr: calibrated log likelihood ratio (natural), within the calibration's bounds; None without a calibration.
        threshold: name, value and error rates of the operating point; None without one.
        warnings: sentences for the reader.
    """

    name: str
    decision: str
    score: float
    window_score: Float[np.ndarray, " window"]
    llr: float | None
    threshold: dict[str, Any] | None
    warnings: tuple[str, ...]


def model_calibration(released) -> dict[str, Any] | None:
    """The calibration that a model brings along, from its validation identities; None if it brings none."""
    document = released.document
    if "thresholds" not in document or "calibration" not in document:
        return None
    return {
        "format": CALIBRATION_FORMAT,
        "source": f"the model's validation identities ({document.get('validation', {}).get('dataset', 'unknown')})",
        **binding(released),
        "thresholds": document["thresholds"],
        "calibration": document["calibration"],
        "evidence": document.get("evidence"),
    }


def compare(template: Template, evidence: Evidence) -> float:
    """Score of a video against a person, by the function that evaluation scores trials with."""
    count = len(template.videos)
    unknown = np.array([""] * (count + 1))
    videos = {name: unknown for name in trials.COLUMNS}
    videos["video_id"] = np.array([str(row) for row in range(count + 1)])
    videos["clip_id"] = videos["video_id"]
    videos["driver"] = np.array([template.name] * count + ["probe"])
    videos["target"] = videos["driver"]
    trial = trials.build(
        videos, [tuple(range(count))], np.zeros(1, int), np.array([count]), protocol="application", seed=0
    )
    vectors = np.concatenate([template.vectors, evidence.vectors])
    video = np.concatenate([template.video, np.full(len(evidence.vectors), count)])
    return float(scoring.cosine_mean(vectors, video, count + 1, trial)[0])


def window_scores(template: Template, vectors: Float[np.ndarray, "window dim"]) -> Float[np.ndarray, " window"]:
    """Score of each window by itself."""
    return vectors.astype(np.float64) @ reference(template)


def reference(template: Template) -> Float[np.ndarray, " dim"]:
    """Mean over the enrolled videos of the mean embedding of their windows; not of unit length."""
    means = [
        template.vectors[template.video == row].astype(np.float64).mean(axis=0) for row in range(len(template.videos))
    ]
    return np.mean(means, axis=0)


def operating_point(calibration: dict[str, Any] | None, name: str) -> dict[str, Any] | None:
    """The threshold called `name` with its error rates; None without a calibration.

    Raises:
        ClaimRefused: the calibration has no threshold of that name.
    """
    if calibration is None:
        return None
    points = calibration["thresholds"]
    if name not in points:
        raise ClaimRefused(f"no threshold {name!r}; the calibration has {', '.join(sorted(points))}")
    point = points[name]
    return {
        "name": name,
        "value": point["threshold"],
        "fmr": point["validation_fmr"],
        "fmr_interval": point.get("validation_fmr_interval"),
        "fmr_upper": point.get("validation_fmr_upper"),
        "fnmr": point["validation_fnmr"],
        "fnmr_interval": point.get("validation_fnmr_interval"),
        "fnmr_upper": point.get("validation_fnmr_upper"),
        "identities": point.get("identities"),
        "mated": point.get("mated"),
        "non_mated": point.get("non_mated"),
        "false_matches": point.get("false_matches"),
        "source": calibration["source"],
    }


def decide(template: Template, evidence: Evidence, calibration: dict[str, Any] | None, at: str) -> Verdict:
    """Compare and decide.

    Args:
        calibration: thresholds and calibration; None leaves the decision open.
        at: name of the operating point, e.g. `fmr=1%`.

    Raises:
        ClaimRefused: no such operating point.
    """
    point = operating_point(calibration, at)
    score = compare(template, evidence)
    llr, limits = (None, ()) if calibration is None else _bounded_llr(score, calibration["calibration"])
    passed = point is not None and score >= point["value"]
    return Verdict(
        name=template.name,
        decision=UNDECIDED if point is None else ACCEPTED if passed else REJECTED,
        score=score,
        window_score=window_scores(template, evidence.vectors),
        llr=llr,
        threshold=point,
        warnings=(*evidence.warnings, *_doubts(template, evidence, calibration, point), *limits),
    )


def _bounded_llr(score: float, fitted: dict[str, Any]) -> tuple[float, tuple[str, ...]]:
    """The log likelihood ratio, and a sentence where the line goes beyond what its trials can bear."""
    plain = float(LinearCalibration(fitted["scale"], fitted["offset"]).llr(np.array([score]))[0])
    low, high = fitted.get("llr_bounds") or (-np.inf, np.inf)
    if low <= plain <= high:
        return plain, ()
    bound = min(max(plain, low), high)
    return bound, (f"the likelihood ratio is bounded by the number of development trials: log LR {bound:+.2f}",)


def _doubts(
    template: Template, evidence: Evidence, calibration: dict[str, Any] | None, point: dict[str, Any] | None
) -> Iterator[str]:
    yield from recording_doubts(template, evidence.sha256, evidence.vectors)
    known = (calibration or {}).get("evidence") or {"windows": [_LEAST_WINDOWS], "enrolment_clips": 1}
    if len(evidence.vectors) < known["windows"][0]:
        number = "one window" if len(evidence.vectors) == 1 else f"{len(evidence.vectors)} windows"
        yield f"too short: {number} of evidence ({evidence.seconds:.1f} s); the error rates are of longer videos"
    if len(template.videos) < known["enrolment_clips"]:
        number = "one video" if len(template.videos) == 1 else f"{len(template.videos)} videos"
        yield f"enrolled from {number} only; the error rates are of people enrolled from {known['enrolment_clips']}"
    if point is None:
        yield "no threshold: the model brings none; `fingerprint calibrate` makes them from videos of your own"
        return
    if point["identities"] is not None and point["identities"] < _FEW_PEOPLE:
        yield f"the calibration stands on {point['identities']} people; fewer than {_FEW_PEOPLE} say little"
    if point["false_matches"] is not None and point["false_matches"] < _RULE_OF_30:
        yield f"the false match rate stands on {point['false_matches']} errors; fewer than {_RULE_OF_30} say little"


def recording_doubts(template: Template, sha256: str | None, vectors: Float[np.ndarray, "window dim"]) -> Iterator[str]:
    """Sentences where the video may be an enrolled recording itself.

    Args:
        sha256: of the video's file; None where there is none.
        vectors: unit embeddings of the video's windows, perhaps none.
    """
    if any(video["sha256"] == sha256 for video in template.videos):
        yield "same source clip as enrolment: this very file was enrolled, so the score proves nothing"
    elif len(vectors) and _same_motion(template, vectors):
        yield (
            "same source clip as enrolment? A window moves just like an enrolled one: perhaps the same recording, "
            "re-encoded or put on another face"
        )


def _same_motion(template: Template, vectors: Float[np.ndarray, "window dim"]) -> bool:
    alike = float((vectors @ template.vectors.T).max())
    among = template.vectors @ template.vectors.T
    # A network that finds everything alike cannot tell one recording from two.
    others = among[template.video[:, None] != template.video[None, :]]
    return alike > max(_SAME_MOTION, float(others.max(initial=-1.0)))
