"""From evidence to a decision: score, calibrated log likelihood ratio, threshold, and what was wrong with it all."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float

from fingerprint.app.evidence import Evidence
from fingerprint.app.gallery import Template, binding
from fingerprint.errors import ClaimRefused
from fingerprint.verification import scoring, trials
from fingerprint.verification.calibration import LinearCalibration

ACCEPTED, REJECTED, UNDECIDED = "accepted", "rejected", "undecided"
CALIBRATION_FORMAT = "fingerprint calibration 1"
_SAME_MOTION = 0.99999
"""Cosine above which two windows can hardly be of two recordings."""
_RULE_OF_30 = 30


@dataclasses.dataclass(frozen=True, eq=False)
class Verdict:
    """One comparison of a video with a person.

    Attributes:
        name: of the person.
        decision: `accepted`, `rejected` or `undecided`.
        score: mean cosine over all pairs of windows, averaged over the enrolled videos.
        window_score: the probe's windows one by one; their mean is the score.
        llr: calibrated log likelihood ratio (natural); None without a calibration.
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
        "fnmr": point["validation_fnmr"],
        "fnmr_interval": point.get("validation_fnmr_interval"),
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
    llr = None
    if calibration is not None:
        fitted = calibration["calibration"]
        llr = float(LinearCalibration(fitted["scale"], fitted["offset"]).llr(np.array([score]))[0])
    passed = point is not None and score >= point["value"]
    return Verdict(
        name=template.name,
        decision=UNDECIDED if point is None else ACCEPTED if passed else REJECTED,
        score=score,
        window_score=window_scores(template, evidence.vectors),
        llr=llr,
        threshold=point,
        warnings=(*evidence.warnings, *_doubts(template, evidence, point)),
    )


def _doubts(template: Template, evidence: Evidence, point: dict[str, Any] | None):
    if any(video["sha256"] == evidence.sha256 for video in template.videos):
        yield "same source clip as enrolment: this very file was enrolled, so the score proves nothing"
    elif _same_motion(template, evidence):
        yield (
            "same source clip as enrolment? A window moves just like an enrolled one: perhaps the same recording, "
            "re-encoded or put on another face"
        )
    if len(evidence.vectors) < 3:
        number = "one window" if len(evidence.vectors) == 1 else f"{len(evidence.vectors)} windows"
        yield f"too short: {number} of evidence ({evidence.seconds:.1f} s); the error rates are of longer videos"
    if point is None:
        yield "no threshold: the model brings none; `fingerprint calibrate` makes them from videos of your own"
    elif point["false_matches"] is not None and point["false_matches"] < _RULE_OF_30:
        yield f"the false match rate stands on {point['false_matches']} errors; fewer than {_RULE_OF_30} say little"


def _same_motion(template: Template, evidence: Evidence) -> bool:
    alike = float((evidence.vectors @ template.vectors.T).max())
    among = template.vectors @ template.vectors.T
    # A network that finds everything alike cannot tell one recording from two.
    others = among[template.video[:, None] != template.video[None, :]]
    return alike > max(_SAME_MOTION, float(others.max(initial=-1.0)))
