"""Frame normalisations by name, each stating what it removes.

A normalisation maps a whole track `(landmarks, frame_mask, image_size)` to landmarks of the same shape, so that
whatever is taken from the clip (its mean shape) is the clip's and not the window's. Masked frames come out as zeros.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from fingerprint.errors import ArrayRefused, UnknownName
from fingerprint.landmarks import topology
from fingerprint.landmarks.topology import LandmarkSet

Landmarks = Float[np.ndarray, "time vertex 3"]
FrameMask = Bool[np.ndarray, "time"]
ImageSize = Int[np.ndarray, "2"]


@dataclasses.dataclass(frozen=True)
class Normalization:
    """A named normalisation.

    Attributes:
        name: key in the table.
        removes: what the result no longer depends on: `framing` (where in the picture the clip shows the face, and how
            large), `translation`, `scale` (both per frame), `aspect` (of the picture), `rotation` (head and camera, per
            frame), `shape` (the clip's mean face).
        summary: one line for reports.
        function: `(landmarks, frame_mask, image_size, landmark_set) -> landmarks`.
    """

    name: str
    removes: frozenset[str]
    summary: str
    function: Callable[[Landmarks, FrameMask, ImageSize, LandmarkSet], Landmarks]

    def __call__(
        self, landmarks: Landmarks, frame_mask: FrameMask, image_size: ImageSize, landmark_set: str
    ) -> Landmarks:
        points = topology.get(landmark_set)
        if landmarks.ndim != 3 or landmarks.shape[1:] != (points.num_vertices, 3):
            raise ArrayRefused(
                "normalisation",
                "shape",
                f"found landmarks {landmarks.shape}, wanted (time, {points.num_vertices}, 3) for {landmark_set}",
            )
        out = self.function(landmarks, frame_mask, np.asarray(image_size), points)
        return np.where(frame_mask[:, None, None], out, 0).astype(np.float32)


def get(name: str) -> Normalization:
    """The normalisation called `name`.

    Raises:
        UnknownName: no normalisation of that name; the message lists the known ones.
    """
    if name not in _TABLE:
        raise UnknownName("normalization", name, _TABLE)
    return _TABLE[name]


def names() -> tuple[str, ...]:
    """Names of the known normalisations, sorted."""
    return tuple(sorted(_TABLE))


def undo_aspect(landmarks: Landmarks, image_size: ImageSize) -> Landmarks:
    """Multiply by (width, height, width): equal units on all axes (MediaPipe divides x and z by the width, y by the
    height).

    Only the ratio of the two matters to the normalisations here, so the factor is (w/h, 1, w/h). It also mends
    coordinates that were already shifted and scaled per frame without it.

    Raises:
        ArrayRefused: the image size is unknown (0, 0).
    """
    width, height = (int(v) for v in image_size)
    if width <= 0 or height <= 0:
        raise ArrayRefused(
            "normalisation",
            "image_size",
            f"the image size is unknown ({width}, {height}); give it when building the data set, or use the "
            "normalization 'published', which does not correct the aspect ratio",
        )
    ratio = width / height
    return landmarks * np.array([ratio, 1.0, ratio], landmarks.dtype)


def _nose_origin_eye_unit(landmarks: Landmarks, frame_mask: FrameMask, points: LandmarkSet) -> Landmarks:
    left, right = points.inner_eyes
    centred = landmarks - landmarks[:, points.nose_tip : points.nose_tip + 1]
    unit = np.sqrt(np.sum((landmarks[:, left] - landmarks[:, right]) ** 2, axis=-1, keepdims=True))
    # A face whose eye corners coincide has no scale: its frame is a zero frame, as a lost one would be.
    usable = frame_mask & (unit[:, 0] > 0)
    return np.where(usable[:, None, None], centred / np.where(unit > 0, unit, 1)[:, None], 0)


def _published(landmarks, frame_mask, image_size, points):
    del image_size
    return _nose_origin_eye_unit(landmarks.astype(np.float32), frame_mask, points)


def _aspect_corrected(landmarks, frame_mask, image_size, points):
    return _nose_origin_eye_unit(undo_aspect(landmarks.astype(np.float32), image_size), frame_mask, points)


def align(
    landmarks: Float[np.ndarray, "time vertex 3"], reference: Float[np.ndarray, "vertex 3"]
) -> Float[np.ndarray, "time vertex 3"]:
    """Each frame moved, turned and scaled onto `reference` with least squared error (no reflection).

    Source: S. Umeyama, Least-squares estimation of transformation parameters between two point patterns, PAMI 13
    (1991), eq. 40-43. A frame whose points all coincide has no pose and comes out as the reference's centroid.
    """
    target_mean = reference.mean(axis=0)
    frames = landmarks.astype(np.float64)
    frames = frames - frames.mean(axis=1, keepdims=True)
    target = reference.astype(np.float64) - target_mean
    u, d, vt = np.linalg.svd(np.swapaxes(frames, 1, 2) @ target)
    sign = np.ones_like(d)
    sign[:, 2] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotation = np.einsum("tik,tk,tkj->tij", u, sign, vt)
    spread = np.einsum("tvi,tvi->t", frames, frames)
    scale = np.sum(d * sign, axis=1) / np.where(spread > 0, spread, 1)
    return (scale[:, None, None] * (frames @ rotation) + target_mean).astype(np.float32)


def _pose_removed(landmarks, frame_mask, image_size, points):
    corrected = undo_aspect(landmarks.astype(np.float32), image_size)
    return align(np.where(frame_mask[:, None, None], corrected, points.reference_shape), points.reference_shape)


def mean_shape(
    landmarks: Float[np.ndarray, "time vertex 3"], frame_mask: Bool[np.ndarray, "time"]
) -> Float[np.ndarray, "vertex 3"]:
    """Mean over the valid frames, in float64 so that the order of frames does not show; zeros if there is none."""
    if not frame_mask.any():
        return np.zeros(landmarks.shape[1:], np.float32)
    return landmarks[frame_mask].astype(np.float64).mean(axis=0).astype(np.float32)


def _motion_only(landmarks, frame_mask, image_size, points):
    posed = _pose_removed(landmarks, frame_mask, image_size, points)
    return posed - mean_shape(posed, frame_mask)


def _deviation(landmarks, frame_mask, image_size, points):
    steady = _aspect_corrected(landmarks, frame_mask, image_size, points)
    return steady - mean_shape(steady, frame_mask)


BOX_QUANTILES = (0.02, 0.98)


def _box(landmarks, frame_mask, image_size, points):
    del points
    steady = undo_aspect(landmarks.astype(np.float32), image_size)
    if not frame_mask.any():
        return np.zeros_like(steady)
    low, high = np.quantile(steady[frame_mask].reshape(-1, 3).astype(np.float64), BOX_QUANTILES, axis=0)
    side = np.max((high - low)[:2])
    # A face that is one point has no size: zeros, as lost frames are.
    return (steady - (low + high) / 2) / side if side > 0 else np.zeros_like(steady)


_TABLE = {
    n.name: n
    for n in (
        Normalization(
            "box",
            frozenset({"framing", "aspect"}),
            "equal units on all axes, then one box for the whole clip, from the 2 % to the 98 % quantile of all "
            "points: its middle at the origin, its longer side of x and y 1 (as AMBER-ID; keeps how the head moves in "
            "the picture, its rotation and the face's shape)",
            _box,
        ),
        Normalization(
            "published",
            frozenset({"framing", "translation", "scale"}),
            "nose tip at the origin, inner-eye distance 1, in MediaPipe's stretched units (as AVAPrintDB; keeps the "
            "aspect of the picture, head rotation and face shape)",
            _published,
        ),
        Normalization(
            "aspect_corrected",
            frozenset({"framing", "translation", "scale", "aspect"}),
            "equal units on all axes, then nose tip at the origin, inner-eye distance 1 (keeps head rotation and "
            "face shape)",
            _aspect_corrected,
        ),
        Normalization(
            "deviation",
            frozenset({"framing", "translation", "scale", "aspect", "shape"}),
            "as aspect_corrected, then the clip's own mean face subtracted (keeps head movement and expression)",
            _deviation,
        ),
        Normalization(
            "pose_removed",
            frozenset({"framing", "translation", "scale", "aspect", "rotation"}),
            "each frame aligned to the set's mean face by a similarity transform (keeps face shape and expression)",
            _pose_removed,
        ),
        Normalization(
            "motion_only",
            frozenset({"framing", "translation", "scale", "aspect", "rotation", "shape"}),
            "aligned to the mean face, then the clip's own mean face subtracted (keeps expression and its motion)",
            _motion_only,
        ),
    )
}
DEFAULT = "aspect_corrected"
