"""Running verification: the score as evidence arrives, and a sequential test that stops when enough has been seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from fingerprint.app import evidence
from fingerprint.app.decision import ACCEPTED, REJECTED, window_scores
from fingerprint.app.gallery import Template
from fingerprint.data.input_pipeline import normalized
from fingerprint.embed import ReleasedModel
from fingerprint.errors import ClaimRefused
from fingerprint.landmarks import normalize, topology, windows
from fingerprint.landmarks.extract import FaceFrame
from fingerprint.verification.sequential import SequentialTest, WindowCalibration

_DECISIONS = {"accept": ACCEPTED, "reject": REJECTED, None: None}


@dataclasses.dataclass(frozen=True)
class Moment:
    """What is known when a window is complete.

    Attributes:
        begin, seconds: of the window's first and last frame. windows: of evidence so far.
        effective: independent windows that they are worth.
        window_score: of the newest window. running_score: mean so far. llr: accumulated log likelihood ratio.
        decision: `accepted` or `rejected` once a bound is crossed, else None.
        restarted: another face appeared, so evidence begins anew with this window.
    """

    begin: float
    seconds: float
    windows: int
    effective: float
    window_score: float
    running_score: float
    llr: float
    decision: str | None
    restarted: bool


def sequential_test(
    calibration: dict[str, Any] | None, released: ReleasedModel, fmr: float, fnmr: float
) -> SequentialTest:
    """Wald's test with the calibration's window statistics.

    Raises:
        ClaimRefused: there is no calibration of windows, it is of windows at another stride, or the model needs whole
            videos, or scores them.
    """
    if not released.scoring.by_window:
        raise ClaimRefused(
            f"this model's score ({released.scoring.describe()}) is not a mean over windows, so it cannot be had as "
            "they come; verify without --stream"
        )
    if released.embedder.spec.resample:
        raise ClaimRefused(
            f"this model brings every video to {released.embedder.spec.resample} frames first, so there is nothing to "
            "score before the video ends; verify without --stream"
        )
    found = (calibration or {}).get("calibration", {}).get("window")
    if not found:
        raise ClaimRefused(
            "running verification needs a calibration of single windows, which this model does not bring; "
            "`fingerprint calibrate` makes one from videos of your own"
        )
    windowed = WindowCalibration.from_dict(found)
    stride = released.embedder.spec.stride
    if windowed.stride != stride:
        raise ClaimRefused(
            f"the calibration is of windows every {windowed.stride} frames, the model's come every {stride}; "
            "calibrate again"
        )
    return SequentialTest(windowed, fmr=fmr, fnmr=fnmr)


@dataclasses.dataclass(eq=False)
class Seen:
    """What a running verification has seen so far; filled as it goes."""

    frames: int = 0
    several: int = 0
    seconds: list[float] = dataclasses.field(default_factory=list)
    pose: list[np.ndarray] = dataclasses.field(default_factory=list)
    vectors: list[np.ndarray] = dataclasses.field(default_factory=list)
    gaps: int = 0

    def add(self, face: FaceFrame) -> None:
        """Count a frame."""
        self.frames += 1
        self.seconds.append(face.timestamp_us / 1e6)
        if face.pose is not None:
            self.pose.append(face.pose)
            self.several += face.several

    @property
    def fps(self) -> float:
        """Frames a second, by the median step."""
        return float(1 / np.median(np.diff(self.seconds))) if self.frames > 1 else 0.0

    def doubts(self, document: dict[str, Any]) -> Iterator[str]:
        """What a reader of the score must know."""
        with_face = len(self.pose)
        pose = np.array(self.pose).reshape(-1, 4, 4)
        shares = with_face / max(self.frames, 1), self.several / max(with_face, 1)
        yield from evidence.doubts(*shares, pose, self.fps, document, resample=False)
        if self.gaps:
            yield f"the frame rate varies: {self.gaps} windows with a gap in time were left out"
        if "shape" in normalize.get(document["normalization"]).removes:
            yield "the clip's mean face is that of what was seen so far; the error rates are of whole clips"
        if "pose" in document.get("channels", ()):
            yield "the head's mean place is that of what was seen so far; the error rates are of whole clips"


def verify_running(
    faces: Iterable[FaceFrame],
    released: ReleasedModel,
    template: Template,
    test: SequentialTest,
    image_size: tuple[int, int],
    max_seconds: float,
    seen: Seen,
) -> Iterator[Moment]:
    """A `Moment` for each window as soon as its last frame is there; ends with the frames or after `max_seconds`.

    A normalisation that uses the clip's mean face uses the mean of what was seen so far. A window in which time jumps
    is left out. Another face in the picture starts the evidence anew, with the asked error rates halved each time, so
    that all attempts together keep within twice the asked ones. The caller stops when it has seen enough.

    Args:
        seen: filled with what the frames show.
    """
    clip = _Clip(released, np.asarray(image_size, np.int32))
    scores: list[float] = []
    restarted = False
    for face in faces:
        seconds = face.timestamp_us / 1e6
        if seconds > max_seconds:
            return
        if face.new_face is not None:
            clip.begin_anew(seen.frames - face.new_face)
            test = SequentialTest(test.calibration, fmr=test.fmr / 2, fnmr=test.fnmr / 2)
            scores, restarted = [], True
        seen.add(face)
        clip.add(face)
        window = clip.complete()
        if window is None:
            continue
        if clip.time_jumps:
            seen.gaps += 1
            continue
        vector = released.embedder.embed(released.params, *window)
        seen.vectors.append(vector[0])
        score = float(window_scores(template, vector, released)[0])
        scores.append(score)
        state = test.push(score)
        yield Moment(
            begin=clip.begin_seconds,
            seconds=seconds,
            windows=state.windows,
            effective=state.effective,
            window_score=score,
            running_score=float(np.mean(scores)),
            llr=state.llr,
            decision=_DECISIONS[state.decision],
            restarted=restarted,
        )
        restarted = False


class _Clip:
    """The frames of the present face so far, and the windows that they complete."""

    def __init__(self, released: ReleasedModel, image_size: np.ndarray):
        self._embedder, self._image_size = released.embedder, image_size
        self._columns = list(topology.get(self._embedder.landmark_set).mediapipe_indices)
        self._frames: list[FaceFrame] = []
        self._seconds: list[float] = []

    @property
    def begin_seconds(self) -> float:
        """Time of the first frame of the window that ends with the newest frame."""
        return self._seconds[-self._embedder.spec.length]

    @property
    def time_jumps(self) -> bool:
        """Whether two frames of that window are further apart than three steps."""
        steps = np.diff(self._seconds[-self._embedder.spec.length :])
        return bool(len(steps) and steps.max() > 3 * np.median(np.diff(self._seconds)))

    def begin_anew(self, keep: int) -> None:
        """Forget all but the newest `keep` frames."""
        self._frames = self._frames[len(self._frames) - keep :]
        self._seconds = self._seconds[len(self._seconds) - keep :]

    def add(self, face: FaceFrame) -> None:
        self._frames.append(face)
        self._seconds.append(face.timestamp_us / 1e6)

    def complete(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The normalised window that ends with the newest frame, if one ends there and shows enough of the face."""
        spec, count = self._embedder.spec, len(self._frames)
        if count < spec.length or (count - spec.length) % spec.stride:
            return None
        mask = np.array([frame.landmarks is not None for frame in self._frames])
        if mask[-spec.length :].sum() < spec.least_valid:
            return None
        seen = [frame for frame in self._frames if frame.landmarks is not None]
        record = {"frame_mask": mask, "image_size": self._image_size, "video_id": "stream"}
        for name, found in (
            ("landmarks", [frame.landmarks[self._columns] for frame in seen]),
            ("blendshapes", [frame.blendshapes for frame in seen]),
            ("pose", [frame.pose for frame in seen]),
        ):
            record[name] = np.zeros((count, *np.shape(found)[1:]), np.float32)
            record[name][mask] = found
        normal = normalized(record, self._embedder.normalization, self._embedder.layout)
        window, window_mask = windows.cut(normal, mask, count - spec.length, spec.length)
        return window[None], window_mask[None]
