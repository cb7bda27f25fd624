"""Does the generated face look like the same person? Cosine similarity of SFace embeddings, frame by frame (CSIM).

Faces are aligned as OpenCV's `FaceRecognizerSF` aligns them, from five of MediaPipe's points. ONNX Runtime, of the
extra `quality`, runs the network.

Source: Zhong et al., SFace (2205.12010); 128 values, the release of December 2021.
"""

from __future__ import annotations

import os

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, UInt8

from fingerprint.generation.networks import onnx, weights

SIDE, FEATURES = 112, 128
_POINTS = np.array([468, 473, 4, 61, 291])
"""Irises, tip of the nose and corners of the mouth, of the person's right side first."""
_PLACES = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
"""Where they lie in an aligned face."""


def five_points(
    landmarks: Float[np.ndarray, "frame 478 3"], image_size: tuple[int, int]
) -> Float64[np.ndarray, "frame 5 2"]:
    """Pixels of the five points by which faces are aligned.

    Args:
        landmarks: normalised image coordinates, as in `landmarks.track.LandmarkTrack`.
        image_size: width and height.
    """
    return landmarks[:, _POINTS, :2].astype(np.float64) * image_size


def align(
    frames: UInt8[np.ndarray, "frame height width 3"], points: Float[np.ndarray, "frame 5 2"]
) -> Float32[np.ndarray, "frame 112 112 3"]:
    """Faces moved, turned and scaled by least squares to their place; bilinear, black outside the frame."""
    return np.stack([_warped(frame, _placing(five)) for frame, five in zip(frames, points, strict=True)])


def csim(a: Float[np.ndarray, "frame feature"], b: Float[np.ndarray, "frame feature"]) -> Float64[np.ndarray, "frame"]:
    """Cosine similarity of each pair of embeddings, in [-1, 1]; NaN where one is."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


class FaceEmbedder:
    """SFace.

    Args:
        folder: where its weights are looked for, as in `weights.find`.
        threads: of ONNX Runtime; 0: as many as there are cores.

    Raises:
        WeightsMissing: the weights are nowhere.
        LibraryMissing: ONNX Runtime is not installed.
    """

    def __init__(self, folder: str | os.PathLike | None = None, *, threads: int = 0):
        self._session = onnx.session(weights.require("sface", folder), [(1, 3, SIDE, SIDE)], threads=threads)

    def embed(
        self,
        frames: UInt8[np.ndarray, "frame height width 3"],
        landmarks: Float[np.ndarray, "frame 478 3"],
        frame_mask: Bool[np.ndarray, "frame"],
    ) -> Float32[np.ndarray, "frame 128"]:
        """An embedding of each frame's face; NaN where the mask says that there is none."""
        out = np.full((len(frames), FEATURES), np.nan, np.float32)
        points = five_points(landmarks, frames.shape[2:0:-1])
        for i in np.flatnonzero(frame_mask):
            face = align(frames[i : i + 1], points[i : i + 1])
            (out[i : i + 1],) = onnx.run(self._session, face.transpose(0, 3, 1, 2))
        return out


def _placing(points: np.ndarray) -> np.ndarray:
    """The 2 x 3 similarity that takes `points` nearest to their places (Umeyama, 1991, in the complex plane)."""
    z, w = (p[:, 0] + 1j * p[:, 1] for p in (points, _PLACES))
    from_centre = z - z.mean()
    turn = (from_centre.conj() @ (w - w.mean())) / (from_centre.conj() @ from_centre).real
    shift = w.mean() - turn * z.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def _warped(frame: np.ndarray, placing: np.ndarray) -> np.ndarray:
    inverse = np.linalg.inv(placing[:, :2])
    across, down = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    x, y = np.tensordot(inverse, np.stack([across, down]) - placing[:, 2, None, None], 1)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    out = np.zeros((SIDE, SIDE, 3), np.float32)
    for i, share_y in ((0, 1 - (y - top)), (1, y - top)):
        for j, share_x in ((0, 1 - (x - left)), (1, x - left)):
            row, column = top + i, left + j
            inside = (row >= 0) & (row < frame.shape[0]) & (column >= 0) & (column < frame.shape[1])
            values = frame[row.clip(0, frame.shape[0] - 1), column.clip(0, frame.shape[1] - 1)]
            out += (share_y * share_x * inside).astype(np.float32)[..., None] * values
    return out
