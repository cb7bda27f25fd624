"""From evidence to a decision: score, calibrated log likelihood ratio, threshold, and what was wrong with it all."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float

from fingerprint.app.evidence import Evidence
from fingerprint.app.gallery import CALIBRATION_FORMAT, Template, binding
from fingerprint.embed import ReleasedModel
from fingerprint.errors import ClaimRefused
from fingerprint.verification import quality, scoring, trials
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
        score: by the model's own back end, see `scoring.Scoring`.
        window_score: the probe's windows one by one, each scored as if it were the whole video.
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


def model_calibration(released: ReleasedModel) -> dict[str, Any] | None:
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


def compare(template: Template, vectors: Float[np.ndarray, "window dim"], released: ReleasedModel) -> float:
    """Score of a video's windows against a person, by the function that evaluation scores trials with."""
    return float(_score(template, vectors, np.zeros(len(vectors), int), released)[0])


def window_scores(
    template: Template, vectors: Float[np.ndarray, "window dim"], released: ReleasedModel
) -> Float[np.ndarray, " window"]:
    """Score of each window by itself."""
    return _score(template, vectors, np.arange(len(vectors)), released)


def running_scores(
    template: Template, vectors: Float[np.ndarray, "window dim"], released: ReleasedModel
) -> Float[np.ndarray, " window"]:
    """Score of the first window, of the first two, and so on; the last is that of the video."""
    if released.scoring.by_window:
        return np.cumsum(window_scores(template, vectors, released)) / np.arange(1, len(vectors) + 1)
    return np.array([compare(template, vectors[:count], released) for count in range(1, len(vectors) + 1)])


def _score(template: Template, vectors, probe, released: ReleasedModel) -> Float[np.ndarray, " probe"]:
    """One score for each probe video; `probe` numbers them, window by window, from 0."""
    enrolled, probes = len(template.videos), int(probe.max()) + 1
    videos = {name: np.full(enrolled + probes, "") for name in trials.COLUMNS}
    videos["video_id"] = videos["clip_id"] = np.array([str(row) for row in range(enrolled + probes)])
    videos["driver"] = videos["target"] = np.array([template.name] * enrolled + ["probe"] * probes)
    found = trials.build(
        videos,
        [tuple(range(enrolled))],
        np.zeros(probes, int),
        enrolled + np.arange(probes),
        protocol="application",
        seed=0,
    )
    return scoring.score(
        released.scoring,
        np.concatenate([template.vectors, vectors]),
        np.concatenate([template.video, enrolled + probe]),
        enrolled + probes,
        found,
        released.cohort,
    )


def line_at(fitted: dict[str, Any], template: Template, evidence: Evidence) -> dict[str, Any]:
    """A calibration as a line in the score alone, at the quality of this comparison."""
    line = LinearCalibration.from_dict(fitted)
    if not line.quality:
        return fitted
    counts = [_frames(video) for video in (*template.videos, evidence.facts())]
    valid, frames = np.array(counts).T
    measures = quality.of_sides([valid[:-1].sum(), valid[-1]], [frames[:-1].sum(), frames[-1]]).min(axis=0)
    return {**fitted, "offset": float(line.llr(np.zeros(1), measures[None])[0]), "quality": []}


def _frames(facts: dict[str, Any]) -> tuple[float, float]:
    """Frames with a face and all frames of the followed track."""
    frames = facts["seconds"] * facts["fps"]
    return frames * facts["share_with_face"], frames


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


def decide(
    template: Template, evidence: Evidence, released: ReleasedModel, calibration: dict[str, Any] | None, at: str
) -> Verdict:
    """Compare and decide.

    Args:
        released: the model; its back end scores.
        calibration: thresholds and calibration; None leaves the decision open.
        at: name of the operating point, e.g. `fmr=1%`.

    Raises:
        ClaimRefused: no such operating point.
    """
    point = operating_point(calibration, at)
    score = compare(template, evidence.vectors, released)
    llr, limits = None, ()
    if calibration is not None:
        llr, limits = _bounded_llr(score, calibration["calibration"], template, evidence)
    passed = point is not None and score >= point["value"]
    return Verdict(
        name=template.name,
        decision=UNDECIDED if point is None else ACCEPTED if passed else REJECTED,
        score=score,
        window_score=window_scores(template, evidence.vectors, released),
        llr=llr,
        threshold=point,
        warnings=(*evidence.warnings, *_doubts(template, evidence, calibration, point), *limits),
    )


def _bounded_llr(
    score: float, fitted: dict[str, Any], template: Template, evidence: Evidence
) -> tuple[float, tuple[str, ...]]:
    """The log likelihood ratio, and a sentence where the line goes beyond what its trials can bear."""
    line = line_at(fitted, template, evidence)
    plain = line["scale"] * score + line["offset"]
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
