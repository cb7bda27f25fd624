"""What a quality run hands to the reports room."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import UInt8


@dataclasses.dataclass(frozen=True, eq=False)
class FramePair:
    """A frame of a generated video beside its reference's, and why it is shown.

    Attributes:
        video, generator: whose frame it is. seconds: where in the generated video.
        metric: title of the score it is shown for. value: that score.
        reference, generated: the pictures, as the metric saw them.
    """

    video: str
    generator: str
    seconds: float
    metric: str
    value: float
    reference: UInt8[np.ndarray, "height width 3"]
    generated: UInt8[np.ndarray, "height width 3"]


@dataclasses.dataclass(frozen=True, eq=False)
class QualityReport:
    """How good generated videos are, by generator and by video.

    Attributes:
        mode: recipe, `standard` or `published`.
        metrics: of the recipe, those asked for: name, title, unit, better, frames, per_video, says, source.
        values: by generator and metric: value, count, of (what was counted), warnings, spread. Not there: skipped.
        rows: a video each: video, generator, reference, driver, target, matched (by which rule), beside (how frames
            were put beside each other), framing (`reference`: its face square on both; `own`), identity_reference
            (whose face CSIM takes), frames, reference_frames, frames_beside, covers (share of the reference's
            frames that have one beside them), pace (of its frames, in the reference's), parts and
            reference_parts (in which the face was followed), share_with_face, reference_share_with_face, and its scores
            by metric.
        skipped: by metric, the sentence that says why and what to do.
        unmatched: side, name, reason of videos without a partner.
        failures: video, generator, reason of pairs from which no score came.
        leakage: by generator, how well the driver is told: auc, low, high, eer, trials, people, videos, protocol, or
            reason; empty where it was not asked for.
        leakage_model: which model told it.
        worst: frames to look at, the worst first.
        warnings: sentences.
        provenance: versions, folders, weights, landmark model, created, seconds.
    """

    mode: str
    metrics: list[dict[str, Any]]
    values: dict[str, dict[str, dict[str, Any]]]
    rows: list[dict[str, Any]]
    skipped: dict[str, str]
    unmatched: list[dict[str, str]]
    failures: list[dict[str, str]]
    leakage: dict[str, dict[str, Any]]
    leakage_model: dict[str, Any]
    worst: list[FramePair]
    warnings: list[str]
    provenance: dict[str, Any]
