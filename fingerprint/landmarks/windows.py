"""Cut tracks into windows of equal length: length, stride, gap policy, masks."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from jaxtyping import Bool, Float, Int

from fingerprint.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class WindowSpec:
    """How windows are cut from a track.

    Attributes:
        length: frames in a window.
        stride: frames from one window's start to the next.
        min_valid: least share of a window's frames that must show a face, in (0, 1].
        pad_short: a track shorter than `length` gives one padded, masked window instead of none.
        resample: every track is first brought to so many frames, whatever its length and rate; 0 leaves time alone.
    """

    length: int
    stride: int
    min_valid: float = 0.5
    pad_short: bool = False
    resample: int = 0

    def __post_init__(self):
        if self.length < 1 or self.stride < 1:
            raise ConfigError(f"window length {self.length} and stride {self.stride} must be at least 1")
        if not 0.0 < self.min_valid <= 1.0:
            raise ConfigError(f"min_valid is {self.min_valid}; wanted a share in (0, 1]")
        if self.resample < 0 or 0 < self.resample < self.length:
            raise ConfigError(f"resample is {self.resample}; wanted 0 or at least the window length {self.length}")

    @property
    def least_valid(self) -> int:
        """Valid frames a window needs."""
        # Rounded first: 0.14 * 50 is 7.000000000000001, and 7 frames are enough.
        return math.ceil(round(self.min_valid * self.length, 6))


def in_time(
    landmarks: Float[np.ndarray, "time vertex coord"], frame_mask: Bool[np.ndarray, "time"], spec: WindowSpec
) -> tuple[Float[np.ndarray, "frame vertex coord"], Bool[np.ndarray, "frame"]]:
    """The whole track in the time that windows are cut in: resampled where `spec` says so, else as it is."""
    return resample(landmarks, frame_mask, spec.resample) if spec.resample else (landmarks, frame_mask)


def resample(
    landmarks: Float[np.ndarray, "time vertex coord"], frame_mask: Bool[np.ndarray, "time"], frames: int
) -> tuple[Float[np.ndarray, "frame vertex coord"], Bool[np.ndarray, "frame"]]:
    """`frames` instants spread evenly from the first frame to the last, linear between neighbouring frames.

    An instant between two frames is valid if both are, one that falls on a frame if that one is; masked ones are zero.
    """
    return between_frames(landmarks, frame_mask, np.linspace(0, len(frame_mask) - 1, frames))


def between_frames(
    values: Float[np.ndarray, "time *feature"],
    frame_mask: Bool[np.ndarray, "time"],
    place: Float[np.ndarray, "instant"],
) -> tuple[Float[np.ndarray, "instant *feature"], Bool[np.ndarray, "instant"]]:
    """Values at instants between frames, linear between neighbours; valid and masked as in `resample`.

    Args:
        place: instants in frames from the first one on, at most that of the last frame.
    """
    before = np.floor(place).astype(np.int64)
    after = np.minimum(before + 1, len(frame_mask) - 1)
    share = place - before
    mask = frame_mask[before] & (frame_mask[after] | (share == 0))
    share, shown = (x.reshape(-1, *[1] * (values.ndim - 1)) for x in (share.astype(values.dtype), mask))
    between = np.where(share == 0, values[before], (1 - share) * values[before] + share * values[after])
    return np.where(shown, between, 0).astype(values.dtype), mask


def starts(frame_mask: Bool[np.ndarray, "time"], spec: WindowSpec) -> Int[np.ndarray, "window"]:
    """Start frames of the windows that hold enough valid frames.

    The last incomplete window is dropped, as in the published systems. Frames without a face stay in place
    as masked frames: time is never joined over a gap.
    """
    total = len(frame_mask)
    if total < spec.length:
        enough = spec.pad_short and frame_mask.sum() >= spec.least_valid
        return np.zeros(1 if enough else 0, np.int32)
    first = np.arange(0, total - spec.length + 1, spec.stride, dtype=np.int32)
    valid = np.concatenate([[0], np.cumsum(frame_mask)])
    return first[valid[first + spec.length] - valid[first] >= spec.least_valid]


def cut(
    landmarks: Float[np.ndarray, "time vertex coord"],
    frame_mask: Bool[np.ndarray, "time"],
    start: int,
    length: int,
) -> tuple[Float[np.ndarray, "length vertex coord"], Bool[np.ndarray, "length"]]:
    """One window; frames past the end of the track are zero and masked."""
    piece, mask = landmarks[start : start + length], frame_mask[start : start + length]
    missing = length - len(piece)
    if missing:
        piece = np.concatenate([piece, np.zeros((missing, *piece.shape[1:]), piece.dtype)])
        mask = np.concatenate([mask, np.zeros(missing, bool)])
    return piece, mask
