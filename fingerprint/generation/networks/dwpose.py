"""Face points by DWPose through ONNX Runtime: the detector that the public benchmark cuts its faces with.

Wanted are two files, which this project does not bring: `yolox_l.onnx` (people) and `dw-ll_ucoco_384.onnx` (133
points of a body), of IDEA-Research/DWPose (Apache-2.0). As in the benchmark's script, pictures go in with blue and red
exchanged, only the first person counts, and points 24 to 91 are called the face, although COCO-WholeBody's face is 23
to 90: the jaw's first point is missed and the left hand's first one taken in.

Sources: annotator/dwpose/onnxdet.py and onnxpose.py of IDEA-Research/DWPose; process_video_hands_videos.py of
silent-commit/WholeBodyBenchmark.
"""

from __future__ import annotations

import os
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from fingerprint.errors import WeightsMissing
from fingerprint.generation import resize
from fingerprint.generation.faces import PUBLISHED_SCORE, Points
from fingerprint.generation.networks import onnx, weights

DETECTOR, POSE = "yolox_l.onnx", "dw-ll_ucoco_384.onnx"
FACE = slice(24, 92)
_SIDE, _GREY = 640, 114
_STRIDES = (8, 16, 32)
_LEAST_SCORE, _PERSON_SCORE, _OVERLAP = 0.1, 0.3, 0.45
_PADDING, _SPLIT = 1.25, 2.0
_MEAN = np.array([123.675, 116.28, 103.53], np.float32)
_STD = np.array([58.395, 57.12, 57.375], np.float32)


class DwPose:
    """DWPose's two networks.

    Args:
        detector, pose: ONNX Runtime sessions, or what answers as they do.
    """

    def __init__(self, detector: Any, pose: Any):
        self._detector, self._pose = detector, pose

    def face_points(self, rgb: UInt8[np.ndarray, "height width 3"]) -> Points | None:
        """Points of the first person's face with a score above 0.3, in pixels; None if there is none."""
        bgr = np.ascontiguousarray(rgb[:, :, ::-1])
        points, scores = self._points(bgr, self._person(bgr))
        sure = points[FACE][scores[FACE] > PUBLISHED_SCORE]
        return sure if len(sure) else None

    def _person(self, bgr: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "4"]:
        """The surest person's box; the whole picture if nobody is found."""
        height, width = bgr.shape[:2]
        scale = min(_SIDE / height, _SIDE / width)
        canvas = np.full((_SIDE, _SIDE, 3), _GREY, np.uint8)
        small = resize.plain(bgr, int(height * scale), int(width * scale))
        canvas[: small.shape[0], : small.shape[1]] = small
        (raw,) = onnx.run(self._detector, canvas.transpose(2, 0, 1)[None].astype(np.float32))
        boxes, scores = decode_people(raw[0])
        chosen = [i for i in keep_best(boxes, scores, _OVERLAP) if scores[i] > _PERSON_SCORE]
        return boxes[chosen[0]] / scale if chosen else np.array([0, 0, width, height], np.float64)

    def _points(self, bgr, box) -> tuple[Float[np.ndarray, "133 2"], Float[np.ndarray, "133"]]:
        height, width = self._pose.get_inputs()[0].shape[2:]
        centre, extent = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) * _PADDING
        extent = np.array([max(extent[0], extent[1] * width / height), max(extent[1], extent[0] * height / width)])
        columns = (np.arange(width) - width / 2) * extent[0] / width + centre[0]
        rows = (np.arange(height) - height / 2) * extent[0] / width + centre[1]
        picture = np.rint(resize.warped(bgr, rows, columns))
        across, down = onnx.run(self._pose, ((picture - _MEAN) / _STD).transpose(2, 0, 1)[None].astype(np.float32))
        points, scores = decode_points(across[0], down[0])
        return points / (width, height) * extent + centre - extent / 2, scores


def load(folder: str | os.PathLike) -> DwPose:
    """The networks in a folder.

    Raises:
        WeightsMissing: a file is not there, or holds another network. LibraryMissing: ONNX Runtime is not installed.
    """
    folder = pathlib.Path(folder)
    for name in (DETECTOR, POSE):
        if not (folder / name).is_file():
            raise WeightsMissing(
                f"DWPose wants {DETECTOR} and {POSE} (IDEA-Research/DWPose, Apache-2.0); {name} is not in {folder}"
            )
    detector = onnx.session(folder / DETECTOR, [(1, 3, _SIDE, _SIDE)])
    return DwPose(detector, onnx.session(folder / POSE, [(1, 3, None, None)]))


def provenance(folder: str | os.PathLike) -> dict[str, str]:
    """Digests of the networks' files by name."""
    return {name: weights.sha256_of(pathlib.Path(folder) / name) for name in (DETECTOR, POSE)}


def decode_people(
    raw: Float[np.ndarray, "cell 85"],
) -> tuple[Float[np.ndarray, "person 4"], Float[np.ndarray, " person"]]:
    """Boxes and scores of class 0, people, with a score above 0.1, from YOLOX' raw output for 640 by 640 pixels."""
    grids, strides = [], []
    for stride in _STRIDES:
        count = _SIDE // stride
        y, x = np.divmod(np.arange(count * count), count)
        grids.append(np.stack([x, y], axis=1))
        strides.append(np.full((count * count, 1), stride))
    grid, stride = np.concatenate(grids), np.concatenate(strides)
    raw = raw.astype(np.float64)
    middle, size = (raw[:, :2] + grid) * stride, np.exp(raw[:, 2:4]) * stride
    scores = raw[:, 4] * raw[:, 5]
    likely = scores > _LEAST_SCORE
    return np.concatenate([middle - size / 2, middle + size / 2], axis=1)[likely], scores[likely]


def keep_best(boxes: Float[np.ndarray, "box 4"], scores: Float[np.ndarray, " box"], overlap: float) -> list[int]:
    """Boxes in falling order of score, without those that a better one covers by more than `overlap` (of the union)."""
    order, kept = np.argsort(-scores, kind="stable"), []
    size = np.prod(boxes[:, 2:] - boxes[:, :2] + 1, axis=1)
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        common = np.prod(np.maximum(high - low + 1, 0), axis=1)
        order = rest[common <= overlap * (size[best] + size[rest] - common)]
    return kept


def decode_points(
    across: Float[np.ndarray, "point x"], down: Float[np.ndarray, "point y"]
) -> tuple[Float[np.ndarray, "point 2"], Float[np.ndarray, " point"]]:
    """Places in the network's input and scores, from SimCC's two distributions: the smaller peak is the score."""
    places = np.stack([across.argmax(axis=1), down.argmax(axis=1)], axis=1).astype(np.float64)
    scores = np.minimum(across.max(axis=1), down.max(axis=1))
    places[scores <= 0] = -1
    return places / _SPLIT, scores
