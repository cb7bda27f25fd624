"""Augmentations of normalised windows: pure functions of (window, generator)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from fingerprint.errors import ConfigError
from fingerprint.landmarks.channels import Layout

Window = Float[np.ndarray, "time vertex 3"]
FrameMask = Bool[np.ndarray, "time"]


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What training does to a window.

    Attributes:
        mirror: probability that a driver is seen in a mirror; it holds for all of a driver's windows in a batch,
            because a mirrored person moves like another person (left and right habits change sides).
        jitter: standard deviation of noise added to each coordinate, in units of the inner-eye distance; not to
            blendshapes and pose.
        frame_drop: probability that a frame is masked.
        time_crop: least share of a window's frames kept; a random run of frames outside it is masked; 1 keeps all.
        reenact: probability that a window's motion is put on another person's mean face.
    """

    mirror: float = 0.0
    jitter: float = 0.0
    frame_drop: float = 0.0
    time_crop: float = 1.0
    reenact: float = 0.0

    def __post_init__(self):
        for name in ("mirror", "frame_drop", "time_crop", "reenact"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"augmentation {name} is {getattr(self, name)}; wanted a share in [0, 1]")
        if self.jitter < 0 or self.frame_drop >= 1 or self.time_crop <= 0:
            raise ConfigError("augmentation needs jitter >= 0, frame_drop < 1 and time_crop > 0")


def mirror(window: Window, landmark_set: str, channels: Sequence[str] = ()) -> Window:
    """Left and right exchanged: x negated, vertices permuted; channels likewise. Its own inverse."""
    return Layout(landmark_set, channels).mirror(window)


def jitter(window: Window, frame_mask: FrameMask, sigma: float, rng: np.random.Generator) -> Window:
    """Independent Gaussian noise on every coordinate of the valid frames."""
    noise = rng.standard_normal(window.shape, np.float32) * np.float32(sigma)
    return np.where(frame_mask[:, None, None], window + noise, window)


def drop_frames(frame_mask: FrameMask, probability: float, rng: np.random.Generator) -> FrameMask:
    """Valid frames masked independently; at least one stays."""
    kept = frame_mask & (rng.random(len(frame_mask)) >= probability)
    return kept if kept.any() else frame_mask


def crop_time(frame_mask: FrameMask, least: float, rng: np.random.Generator) -> FrameMask:
    """All but a random run of at least `least` of the frames masked; unchanged if that run shows no face."""
    total = len(frame_mask)
    length = rng.integers(int(np.ceil(least * total)), total + 1)
    start = rng.integers(0, total - length + 1)
    inside = np.zeros(total, bool)
    inside[start : start + length] = True
    kept = frame_mask & inside
    return kept if kept.any() else frame_mask


def apply(
    window: Window,
    frame_mask: FrameMask,
    options: Augmentation,
    landmark_set: str,
    rng: np.random.Generator,
    *,
    mirrored: bool,
    channels: Sequence[str] = (),
) -> tuple[Window, FrameMask]:
    """Mirror, jitter, time crop and frame drop, in this order; masked frames come out as zeros."""
    if mirrored:
        window = mirror(window, landmark_set, channels)
    if options.jitter:
        points, others = np.split(window, [Layout(landmark_set, channels).num_points], axis=1)
        window = np.concatenate([jitter(points, frame_mask, options.jitter, rng), others], axis=1)
    if options.time_crop < 1:
        frame_mask = crop_time(frame_mask, options.time_crop, rng)
    if options.frame_drop:
        frame_mask = drop_frames(frame_mask, options.frame_drop, rng)
    return np.where(frame_mask[:, None, None], window, 0).astype(np.float32), frame_mask
