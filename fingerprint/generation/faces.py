"""The face's region through a video: one size, a smooth path, cut from the frames.

`FaceRegion` is what `standard` metrics see. `published_crops` follows the public benchmark's own script, quirks and
all: a box a frame, frames kept by the area of their box, all brought to the size of the first.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8

from fingerprint.errors import VideoRefused
from fingerprint.generation import resize
from fingerprint.landmarks.track import LandmarkTrack, VideoTracks

SIDE = 256
"""Pixels along a side of the faces that metrics see."""
MARGIN = 0.25
"""Beyond the landmarks on every side, as a share of their larger extent: hair, ears and chin."""
_LARGE = 95
"""Percentile of the extents over time that the region holds: one outlier does not shrink the face of a whole clip."""
_SMOOTH_SECONDS = 0.25
"""Standard deviation of the path's smoothing: a nod is followed, the jitter of landmarks is not."""
LOW_SHARE = 0.2
"""Least share of frames with a face below which a video is told, as the public benchmark does."""

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class FaceRegion:
    """Where the face is in every frame of a video.

    Attributes:
        boxes: left, top, right, bottom as shares of the picture's width and height, of one size in each part of the
            track; may lead out of the picture.
        shows_face: the frame shows the face; elsewhere in its part the box is interpolated, or held at the ends.
        follows: the frame's part shows a face somewhere; other frames have no box.
    """

    boxes: Float[np.ndarray, "time 4"]
    shows_face: Bool[np.ndarray, " time"]
    follows: Bool[np.ndarray, " time"]

    @property
    def share_with_face(self) -> float:
        """Of all the video's frames."""
        return float(self.shows_face.mean())

    def cut(
        self, picture: UInt8[np.ndarray, "height width 3"], index: int, side: int = SIDE
    ) -> UInt8[np.ndarray, "side side 3"]:
        """The face in the picture of frame `index`, a square."""
        scale = np.array([picture.shape[1], picture.shape[0]] * 2)
        return resize.cut(picture, self.boxes[index] * scale, side, side)


def face_region(tracks: VideoTracks, margin: float = MARGIN) -> FaceRegion:
    """The region of a video's face: landmarks' extent with a margin, large enough for nearly all frames of a part of
    the track, on a path that is smooth within the part.

    Raises:
        VideoRefused: no frame shows a face.
    """
    if not any(part.frame_mask.any() for part in tracks.tracks):
        raise VideoRefused(tracks.provenance.get("file", "track"), "no_face", "no frame shows a face")
    boxes = np.zeros((tracks.num_frames, 4))
    shows_face, follows = np.zeros(tracks.num_frames, bool), np.zeros(tracks.num_frames, bool)
    for part in tracks.tracks:
        if part.frame_mask.any():
            place = slice(part.start_frame, part.start_frame + len(part))
            boxes[place], shows_face[place], follows[place] = _boxes(part, margin), part.frame_mask, True
    return FaceRegion(boxes, shows_face, follows)


def _boxes(track: LandmarkTrack, margin: float) -> Float[np.ndarray, "time 4"]:
    mask, size = track.frame_mask, np.array(track.image_size, np.float64)
    points = track.landmarks[mask][:, :, :2] * size
    low, high = points.min(axis=1), points.max(axis=1)
    side = np.percentile((high - low).max(axis=1), _LARGE) * (1 + 2 * margin)
    frames = np.arange(len(track))
    centre = np.stack([np.interp(frames, frames[mask], (low + high)[:, axis] / 2) for axis in (0, 1)], axis=1)
    centre = _smooth(centre, _SMOOTH_SECONDS * track.steady_fps)
    return np.concatenate([centre - side / 2, centre + side / 2], axis=1) / np.tile(size, 2)


def log_share(name: str, share: float) -> None:
    """Say in the log in how many of a video's frames the face was found; a warning where in fewer than 20 %."""
    level = logging.WARNING if share < LOW_SHARE else logging.INFO
    _log.log(level, "%s: the face was found in %.1f %% of the frames", name, 100 * share)


def _smooth(path: Float[np.ndarray, "time axis"], sigma: float) -> Float[np.ndarray, "time axis"]:
    """Gaussian smoothing in time; the ends go on as they are."""
    reach = int(np.ceil(3 * sigma))
    if not reach:
        return path
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(path, ((reach, reach), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, kernel, mode="valid") for column in padded.T], axis=1)


# ------------------------------------------------------------------------------------------------- as published

PUBLISHED_SCORE = 0.3
_LEAST_SIDE, _AREAS = 50, (2_000, 10_000)
Points = Float[np.ndarray, "point 2"]


@dataclasses.dataclass(frozen=True)
class PublishedCrops:
    """Boxes of the public benchmark's face video, in its order.

    Attributes:
        frames: number of each kept frame in the video. boxes: its box (left, top, right, bottom) in whole pixels.
        num_frames: of the video.
    """

    frames: tuple[int, ...]
    boxes: tuple[tuple[int, int, int, int], ...]
    num_frames: int

    @classmethod
    def of_everything(cls, num_frames: int, width: int, height: int) -> PublishedCrops:
        """The crops of a video that is a face video already."""
        return cls(tuple(range(num_frames)), ((0, 0, width, height),) * num_frames, num_frames)

    @property
    def share_with_face(self) -> float:
        """Of the video's frames: those kept, which is what the benchmark calls its rate of detection."""
        return len(self.frames) / max(self.num_frames, 1)


def published_crops(points: Sequence[Points | None], width: int, height: int) -> PublishedCrops:
    """Which frames the public benchmark keeps, and the box it cuts from each.

    The box of the points is widened by half its size on every side; one with a side below 50 pixels becomes 50 by 50
    around its middle. Frames whose box covers 2,000 to 10,000 pixels are kept; if there are none, all are.
    Source: process_video_hands_videos.py of silent-commit/WholeBodyBenchmark, of which the face benchmark is a part.

    Args:
        points: of each frame, in pixels: those that the detector is sure of; None or empty without a face.
        width, height: of the frames.
    """
    found = {
        index: _published_box(place, width, height)
        for index, place in enumerate(points)
        if place is not None and len(place)
    }
    found = {index: box for index, box in found.items() if _area(box)}
    kept = {index: box for index, box in found.items() if _AREAS[0] <= _area(box) <= _AREAS[1]} or found
    return PublishedCrops(tuple(kept), tuple(kept.values()), len(points))


def published_pictures(
    pictures: Iterable[tuple[int, UInt8[np.ndarray, "height width 3"]]], crops: PublishedCrops
) -> Iterator[tuple[int, UInt8[np.ndarray, "height width 3"]]]:
    """The face video, frame by frame with its number, all in the size of the first; it is not written and read again.

    Args:
        pictures: number and pixels of the video's frames, in order; read no further than needed.
        crops: of that video.
    """
    boxes = dict(zip(crops.frames, crops.boxes, strict=True))
    size = None
    for index, picture in pictures:
        if index in boxes:
            left, top, right, bottom = boxes.pop(index)
            face = picture[top:bottom, left:right]
            size = size or face.shape[:2]
            yield index, face if face.shape[:2] == size else resize.plain(face, *size)
        if not boxes:
            return


def track_points(tracks: VideoTracks, width: int, height: int) -> list[Points | None]:
    """MediaPipe's points of each frame of a video in pixels, for `published_crops`; None where there is no face."""
    out: list[Points | None] = [None] * tracks.num_frames
    for part in tracks.tracks:
        for index in np.flatnonzero(part.frame_mask).tolist():
            out[part.start_frame + index] = part.landmarks[index, :, :2].astype(np.float64) * (width, height)
    return out


def _published_box(points: Points, width: int, height: int) -> tuple[int, int, int, int]:
    left, top = (max(0, int(value)) for value in points.min(axis=0))
    right, bottom = (min(side, int(value)) for side, value in zip((width, height), points.max(axis=0), strict=True))
    more_x, more_y = int((right - left) * 0.5), int((bottom - top) * 0.5)
    box = (max(0, left - more_x), max(0, top - more_y), min(width, right + more_x), min(height, bottom + more_y))
    if box[2] - box[0] < _LEAST_SIDE or box[3] - box[1] < _LEAST_SIDE:
        x, y, half = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2, _LEAST_SIDE // 2
        box = (max(0, x - half), max(0, y - half), min(width, x + half), min(height, y + half))
    return box


def _area(box: tuple[int, int, int, int]) -> int:
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])
