"""What a verification found, as the report that `fingerprint verify --report` writes."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from fingerprint import __version__
from fingerprint.app.decision import Verdict, line_at, running_scores
from fingerprint.app.evidence import Evidence, frame_attention
from fingerprint.app.gallery import Gallery, Template
from fingerprint.app.running import Moment
from fingerprint.embed import ReleasedModel
from fingerprint.landmarks import video
from fingerprint.reports.verification_report import VerificationReport
from fingerprint.verification.sequential import SequentialTest

_PICTURES = 6
_APART_SECONDS = 0.5
_MARGIN = 0.35


def compose(
    verdict: Verdict,
    evidence: Evidence,
    template: Template,
    released: ReleasedModel,
    gallery: Gallery,
    *,
    path: pathlib.Path | None,
) -> VerificationReport:
    """The report of one comparison.

    Args:
        path: the video, to show the frames that the model looks at; None leaves pictures out.
    """
    spec, found = released.embedder.spec, evidence.track
    seconds = found.timestamps[evidence.instants] / 1e6
    weight = frame_attention(evidence.attention, evidence.start, len(seconds))
    begin = seconds[evidence.start]
    last = np.minimum(evidence.start + spec.length, len(seconds)) - 1
    calibration = gallery.calibration
    return VerificationReport(
        claim=verdict.name,
        video=pathlib.PurePath(evidence.video).name,
        sha256=evidence.sha256,
        decision=verdict.decision,
        score=verdict.score,
        llr=verdict.llr,
        threshold=verdict.threshold,
        evidence=evidence.facts(),
        warnings=list(verdict.warnings),
        ids=_ids(released, gallery),
        provenance={"track": found.provenance, "fingerprint": __version__},
        window_start_s=begin,
        window_end_s=seconds[last] + 1 / found.fps,
        window_score=verdict.window_score,
        running_score=running_scores(template, evidence.vectors, released),
        sequential=None,
        frame_time_s=seconds,
        frame_attention=weight,
        pictures=_pictures(path, evidence, weight) if path is not None else [],
        calibration=None if calibration is None else line_at(calibration["calibration"], template, evidence),
        enrolment={"name": template.name, "videos": len(template.videos), "windows": len(template.vectors)},
    )


def compose_running(
    result: dict[str, Any],
    moments: list[Moment],
    test: SequentialTest,
    template: Template,
    released: ReleasedModel,
    gallery: Gallery,
) -> VerificationReport:
    """The report of running verification; a stream is seen once, so there are no pictures and no digest of it.

    Args:
        result: what `fingerprint verify --stream` says.
    """
    last = next((row for row in range(len(moments) - 1, -1, -1) if moments[row].restarted), 0)
    moments = moments[last:]
    end = np.array([moment.seconds for moment in moments])
    calibration = gallery.calibration
    return VerificationReport(
        claim=result["claim"],
        video=pathlib.PurePath(result["video"]).name,
        sha256=None,
        decision=result["decision"],
        score=result["score"],
        llr=result["llr"],
        threshold=None,
        evidence={name: result[name] for name in ("seconds", "windows", "effective_windows", "restarts")},
        warnings=result["warnings"],
        ids=_ids(released, gallery),
        provenance={"fingerprint": __version__},
        window_start_s=np.array([moment.begin for moment in moments]),
        window_end_s=end,
        window_score=np.array([moment.window_score for moment in moments]),
        running_score=np.array([moment.running_score for moment in moments]),
        sequential={
            "seconds": end.tolist(),
            "llr": [moment.llr for moment in moments],
            "decision": moments[-1].decision,
            "upper": test.upper,
            "lower": test.lower,
            **result["asked"],
        },
        frame_time_s=np.zeros(0),
        frame_attention=np.zeros(0),
        pictures=[],
        calibration=None if calibration is None else calibration["calibration"],
        enrolment={"name": template.name, "videos": len(template.videos), "windows": len(template.vectors)},
    )


def _ids(released: ReleasedModel, gallery: Gallery) -> dict[str, Any]:
    document = released.document
    return {
        "model": released.digest,
        "architecture": document["model"].get("name"),
        "landmark_set": document["landmark_set"],
        "normalization": document["normalization"],
        "window": document["window"],
        "calibration": gallery.calibration_id,
        "calibration_source": None if gallery.calibration is None else gallery.calibration["source"],
        "training": document.get("training"),
    }


def _pictures(path: pathlib.Path, evidence: Evidence, weight: np.ndarray) -> list[tuple[float, float, np.ndarray]]:
    """The frames with most attention, apart from each other, cut to the face, in the order of time."""
    found = evidence.track
    seconds = found.timestamps / 1e6
    shown = np.where(found.frame_mask[evidence.instants], np.nan_to_num(weight, nan=-1.0), -1.0)
    chosen: list[int] = []
    attention: dict[int, float] = {}
    for instant in np.argsort(-shown, kind="stable").tolist():
        if len(chosen) == _PICTURES or shown[instant] < 0:
            break
        frame = int(evidence.instants[instant])
        if all(abs(seconds[frame] - seconds[other]) >= _APART_SECONDS for other in chosen):
            chosen.append(frame)
            attention[frame] = float(weight[instant])
    chosen.sort()
    pictures: list[tuple[float, float, np.ndarray]] = []
    # A resampled track has its own times: the picture shown is the video's frame nearest before.
    wanted = iter(chosen)
    frame = next(wanted, None)
    previous = None
    for picture in video.frames(path):
        while frame is not None and picture.timestamp_us > found.timestamps[frame]:
            pictures.append((float(seconds[frame]), attention[frame], _crop(previous or picture, found, frame)))
            frame = next(wanted, None)
        previous = picture
        if frame is None:
            break
    if frame is not None and previous is not None:
        pictures.append((float(seconds[frame]), attention[frame], _crop(previous, found, frame)))
    return pictures


def _crop(picture, found, frame: int) -> np.ndarray:
    height, width = picture.rgb.shape[:2]
    points = found.landmarks[frame, :, :2] * (width, height)
    low, high = points.min(axis=0), points.max(axis=0)
    centre, half = (low + high) / 2, (high - low).max() * (0.5 + _MARGIN)
    left, top = np.clip(np.floor(centre - half), 0, (width - 2, height - 2)).astype(int)
    right, bottom = np.clip(np.ceil(centre + half), (left + 1, top + 1), (width, height)).astype(int)
    return np.ascontiguousarray(picture.rgb[top:bottom, left:right])
