"""Everything that the page of one verification shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from fingerprint.errors import FingerprintError

DECISIONS = ("accepted", "rejected", "undecided")

Picture = tuple[float, float, UInt8[np.ndarray, "height width 3"]]


@dataclasses.dataclass(frozen=True, eq=False)
class VerificationReport:
    """Everything that the page of one comparison shows. Times are seconds from the video's start.

    Attributes:
        claim: name of the person who is said to drive the video.
        video: file name. sha256: of the file; None of a stream, which is seen only once.
        decision: "accepted", "rejected" or "undecided".
        score: of the video with the enrolment, by the model's own back end; None where there is none.
        llr: calibrated log likelihood ratio (natural log) of the score; None without calibration.
        threshold: what the decision was made by, or None: name, value, fmr and fnmr (shares), fmr_interval and
            fnmr_interval ([low, high] or None), fmr_upper and fnmr_upper (95 % upper limits or None), identities,
            mated, non_mated (numbers behind the rates), source.
        evidence: seconds, windows, frames, share_with_face, fps, image_size ([width, height]), tracks.
        warnings: sentences.
        ids: model, calibration and whatever else names what was used; `architecture` names the network.
        provenance: of the track and the software.
        window_start_s, window_end_s: of each window. window_score: of each window as if it were the whole video.
        running_score: of all windows so far.
        sequential: of running verification, or None: seconds and llr along the video, upper and lower bound, the
            asked fmr and fnmr, decision ("accepted", "rejected" or None).
        frame_time_s: of each frame. frame_attention: mean weight over the windows that hold the frame; NaN where
            none does.
        pictures: (time, attention, RGB picture) of the frames with most attention.
        calibration: of whole videos, or None: scale, offset, llr_bounds (llr = scale * score + offset, held between
            the bounds where there are some), mated_quantiles and non_mated_quantiles (evenly spaced quantiles of
            development scores).
        enrolment: name, videos, windows.

    Raises:
        FingerprintError: another decision, or arrays that belong together differ in length.
    """

    claim: str
    video: str
    sha256: str | None
    decision: str
    score: float | None
    llr: float | None
    threshold: Mapping[str, Any] | None
    evidence: Mapping[str, Any]
    warnings: Sequence[str]
    ids: Mapping[str, Any]
    provenance: Mapping[str, Any]
    window_start_s: Float[np.ndarray, " window"]
    window_end_s: Float[np.ndarray, " window"]
    window_score: Float[np.ndarray, " window"]
    running_score: Float[np.ndarray, " window"]
    sequential: Mapping[str, Any] | None
    frame_time_s: Float[np.ndarray, " frame"]
    frame_attention: Float[np.ndarray, " frame"]
    pictures: Sequence[Picture]
    calibration: Mapping[str, Any] | None
    enrolment: Mapping[str, Any]

    def __post_init__(self):
        if self.decision not in DECISIONS:
            raise FingerprintError(f"a decision is one of {', '.join(DECISIONS)}; found {self.decision!r}")
        for names in (
            ("window_start_s", "window_end_s", "window_score", "running_score"),
            ("frame_time_s", "frame_attention"),
        ):
            found = {name: len(getattr(self, name)) for name in names}
            if len(set(found.values())) > 1:
                raise FingerprintError(f"a verification report wants these of one length, found {found}")
