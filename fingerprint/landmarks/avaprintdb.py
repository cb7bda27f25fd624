"""Landmark files as AVAPrintDB's own script makes them: 109 points, nose tip at the origin, inner-eye distance 1.

What that script does and this package otherwise does not: frames without a face are dropped, so that time jumps; the
picture's aspect ratio is not undone; time is counted from frame numbers. Needed to feed released weights the input
that they were trained on.

Source: AVAPrintDB (MIT), benchmark/code/graph_model/preprocessing/landmarks_extraction.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32

from fingerprint.errors import ArrayRefused
from fingerprint.landmarks import topology
from fingerprint.landmarks.track import VideoTracks

LANDMARK_SET = "avaprintdb109"


def faithful(source: VideoTracks) -> Float32[np.ndarray, "time 109 3"]:
    """Landmarks of a video as AVAPrintDB's script writes them.

    Args:
        source: tracks extracted with clock `index` and mode `video`.

    Raises:
        ArrayRefused: tracks of another clock or mode; or no frame with a face.
    """
    where = source.provenance.get("file", "tracks")
    made = (source.provenance.get("mode"), source.provenance.get("clock"))
    if made != ("video", "index"):
        detail = f"mode and clock {made}; wanted ('video', 'index'), which AVAPrintDB uses"
        raise ArrayRefused(where, "provenance", detail)
    faces = [track.landmarks[track.frame_mask] for track in source.tracks]
    out = normalise(np.concatenate(faces)) if faces else ()
    if not len(out):
        raise ArrayRefused(where, "empty", "no frame with a face")
    return out


def normalise(landmarks: Float[np.ndarray, "time 478 3"]) -> Float32[np.ndarray, "frame 109 3"]:
    """Centre and scale each frame; a frame whose scale is zero or not finite is dropped.

    A nose tip that is not finite is replaced by the last finite one.
    """
    points = topology.get(LANDMARK_SET)
    chosen = landmarks[:, points.mediapipe_indices].astype(np.float64)
    nose = chosen[:, points.nose_tip]
    latest = np.maximum.accumulate(np.where(np.isfinite(nose).all(axis=1), np.arange(len(nose)), 0))
    one, other = points.inner_eyes
    unit = np.linalg.norm(chosen[:, one] - chosen[:, other], axis=1)
    keep = np.isfinite(unit) & (unit > 0)
    return ((chosen - nose[latest][:, None])[keep] / unit[keep, None, None]).astype(np.float32)
