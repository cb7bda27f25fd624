"""VBench's six scores of a generated video: its arithmetic, on top of networks that are plugged in.

Each score takes the frames of one video in order, in pieces of any size, and keeps no more of them than it needs.
Imaging quality is given on 0 to 1, as VBench's averages are; its per-video files hold 0 to 100.

Source: vbench/{subject,background}_consistency.py, motion_smoothness.py, dynamic_degree.py, aesthetic_quality.py and
imaging_quality.py of Vchitect/VBench (Apache-2.0).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from jaxtyping import Float, UInt8

Pictures = UInt8[np.ndarray, "frame height width 3"]
Picture = UInt8[np.ndarray, "height width 3"]


class FrameFeatures(Protocol):
    """A vector a frame: DINO ViT-B/16 for the subject, CLIP ViT-B/32 for the background."""

    def __call__(self, frames: Pictures) -> Float[np.ndarray, "frame dim"]: ...


class FrameScores(Protocol):
    """A score a frame: LAION's aesthetic predictor, about 0 to 10; MUSIQ-SPAQ, 0 to 100."""

    def __call__(self, frames: Pictures) -> Float[np.ndarray, " frame"]: ...


class Interpolator(Protocol):
    """The picture in the middle between two: AMT-S."""

    def __call__(self, before: Picture, after: Picture) -> Picture: ...


class OpticalFlow(Protocol):
    """Motion from one picture to the next in pixels, also of what the network adds to its edges: RAFT."""

    def __call__(self, before: Picture, after: Picture) -> Float[np.ndarray, "padded_height padded_width 2"]: ...


class FeatureConsistency:
    """Mean over frames of (max(0, cosine to the frame before) + max(0, cosine to the first)) / 2."""

    def __init__(self, features: FrameFeatures):
        self._features = features
        self._first = self._before = None
        self._total, self._count = 0.0, 0

    def update(self, frames: Pictures) -> None:
        """The next frames."""
        vectors = np.asarray(self._features(frames), np.float64)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        for vector in vectors:
            if self._first is None:
                self._first = vector
            else:
                self._total += (max(0.0, float(vector @ self._before)) + max(0.0, float(vector @ self._first))) / 2
                self._count += 1
            self._before = vector

    def result(self) -> float:
        """In [0, 1]; 1 for a single frame, as VBench's background score has it; NaN without one."""
        if self._first is None:
            return float("nan")
        return self._total / self._count if self._count else 1.0


class MotionSmoothness:
    """1 - mean absolute error / 255 of every second frame, interpolated from its neighbours.

    A last frame without a right neighbour is left out.
    """

    def __init__(self, interpolate: Interpolator):
        self._interpolate = interpolate
        self._before = self._between = None
        self._errors: list[float] = []

    def update(self, frames: Pictures) -> None:
        """The next frames."""
        for frame in frames:
            if self._before is None:
                self._before = frame
            elif self._between is None:
                self._between = frame
            else:
                made = self._interpolate(self._before, frame)
                self._errors.append(float(np.abs(made.astype(np.int16) - self._between.astype(np.int16)).mean()))
                self._before, self._between = frame, None

    def result(self) -> float:
        """In [0, 1]; NaN with fewer than three frames."""
        return (255.0 - float(np.mean(self._errors))) / 255.0 if self._errors else float("nan")


class DynamicDegree:
    """Does the video move: 1 or 0.

    Frames are taken at about 8 a second. A pair of them moves where the fastest 5 % of its pixels move by more than
    6 pixels on average, for pictures whose shorter side is 256, and in proportion for others. The video moves where
    at least round(frames / 4) pairs do; with two frames, for which that is 0, it always does, and with one it never
    does.

    Args:
        flow: optical flow.
        fps: of the video.
    """

    def __init__(self, flow: OpticalFlow, fps: float):
        self._flow, self._step = flow, max(1, round(fps / 8))
        self._index = self._taken = self._moving = 0
        self._before = None

    def update(self, frames: Pictures) -> None:
        """The next frames."""
        for frame in frames:
            if self._index % self._step == 0:
                self._take(frame)
            self._index += 1

    def _take(self, frame: Picture) -> None:
        self._taken += 1
        if self._before is not None:
            motion = np.asarray(self._flow(self._before, frame), np.float64)
            speed = np.sort(np.hypot(motion[..., 0], motion[..., 1]), axis=None)
            fastest = speed[len(speed) - int(len(speed) * 0.05) :]
            threshold = 6.0 * min(frame.shape[:2]) / 256.0
            self._moving += bool(len(fastest) and fastest.mean() > threshold)
        self._before = frame

    def result(self) -> float:
        """1.0 or 0.0; NaN without a frame."""
        if not self._taken:
            return float("nan")
        return float(self._taken > 1 and self._moving >= round(4 * (self._taken / 16.0)))


class MeanScore:
    """Mean over frames of a score, divided by its scale: 10 for aesthetic, 100 for imaging quality."""

    def __init__(self, scores: FrameScores, scale: float):
        self._scores, self._scale = scores, scale
        self._total, self._count = 0.0, 0

    def update(self, frames: Pictures) -> None:
        """The next frames."""
        found = np.asarray(self._scores(frames), np.float64)
        self._total, self._count = self._total + float(found.sum()), self._count + len(found)

    def result(self) -> float:
        """The mean; NaN without a frame."""
        return self._total / self._count / self._scale if self._count else float("nan")
