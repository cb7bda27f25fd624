"""Reenactment in landmark space: the motion of one person on the mean face of another.

It turns recordings in which everybody shows the own face into driver ≠ target data with known driver and target. Every
frame is aligned to the landmark set's mean face first, so the result has no head pose and no camera: only expression
motion and the target's shape.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from fingerprint.landmarks import normalize, topology

# Reenacted landmarks are isotropic.
IMAGE_SIZE = np.array([1, 1], np.int32)


def face_shape(
    landmarks: Float[np.ndarray, "time vertex 3"],
    frame_mask: Bool[np.ndarray, "time"],
    image_size: Int[np.ndarray, "2"],
    landmark_set: str,
) -> Float[np.ndarray, "vertex 3"]:
    """A track's mean face, aligned to the set's reference shape, in units of its inner-eye distance."""
    posed = normalize.get("pose_removed")(landmarks, frame_mask, image_size, landmark_set)
    return normalize.mean_shape(posed, frame_mask)


def reenact(
    landmarks: Float[np.ndarray, "time vertex 3"],
    frame_mask: Bool[np.ndarray, "time"],
    image_size: Int[np.ndarray, "2"],
    target_shape: Float[np.ndarray, "vertex 3"],
    landmark_set: str,
) -> Float[np.ndarray, "time vertex 3"]:
    """The track's motion about its own mean face, added to `target_shape`; masked frames are zero.

    Args:
        landmarks: driving track, in any coordinates whose aspect `image_size` mends.
        target_shape: another face, from `face_shape`.
    """
    points = topology.get(landmark_set)
    if target_shape.shape != points.reference_shape.shape:
        raise ValueError(
            f"found a target shape {target_shape.shape}, wanted {points.reference_shape.shape} for {landmark_set}"
        )
    motion = normalize.get("motion_only")(landmarks, frame_mask, image_size, landmark_set)
    return np.where(frame_mask[:, None, None], motion + target_shape, 0).astype(np.float32)
