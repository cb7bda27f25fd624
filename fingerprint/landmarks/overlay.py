"""A video with its landmarks drawn on it, so that a person can look.

Each track has its own colour for points and box. The frame around the picture says what to mind: red where no face was
found, orange where several faces were in the picture and the one followed is chosen by rule.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int, UInt8

from fingerprint.errors import ArrayRefused
from fingerprint.landmarks import track, video

Picture = UInt8[np.ndarray, "height width 3"]

TRACK_COLOURS = ((0, 230, 60), (60, 160, 255), (255, 80, 220), (250, 230, 50), (0, 230, 230), (190, 120, 255))
"""RGB of the first, second, … track of a video, over and over."""
NO_FACE_COLOUR, SEVERAL_COLOUR = (230, 20, 20), (255, 150, 0)
LONGEST_SIDE = 1280


def write_overlay(
    source: str | os.PathLike,
    tracks: track.VideoTracks,
    out: str | os.PathLike,
    *,
    root: str | os.PathLike | None = None,
    longest_side: int = LONGEST_SIDE,
) -> None:
    """Write `source` upright as an MP4 with its tracks drawn, one picture a frame; it appears whole or not at all.

    Times are evened out to the video's mean rate.

    Args:
        source: the video that the tracks were made from.
        tracks: from its track file.
        out: file to write.
        root: folder that `source`, symbolic links followed, must lie in.
        longest_side: pictures larger than this many pixels are made smaller.

    Raises:
        VideoRefused: as `video.open_video`.
        ArrayRefused: the tracks are of another video: they hold more or fewer frames than can be decoded.
    """
    info = video.open_video(source, root)
    video.write_video(out, _pictures(source, info, tracks, root, longest_side), info.fps)


def _pictures(source, info: video.VideoInfo, tracks: track.VideoTracks, root, longest_side: int) -> Iterator[Picture]:
    starts, count = [part.start_frame for part in tracks.tracks], 0
    # Counted as they come: what the file promises may be a little more than can be decoded.
    for count, frame in enumerate(video.frames(source, root, info=info), 1):
        if count > tracks.num_frames:
            break
        picture = smaller(frame.rgb, longest_side)
        number = int(np.searchsorted(starts, frame.index, side="right")) - 1
        if number < 0:
            yield draw_border(picture, NO_FACE_COLOUR)
            continue
        part, at = tracks.tracks[number], frame.index - starts[number]
        if not part.frame_mask[at]:
            yield draw_border(picture, NO_FACE_COLOUR)
            continue
        picture = draw_face(picture, part.landmarks[at], TRACK_COLOURS[number % len(TRACK_COLOURS)])
        yield draw_border(picture, SEVERAL_COLOUR) if part.several[at] else picture
    if count != tracks.num_frames:
        found = f"{count} or more" if count > tracks.num_frames else str(count)
        raise ArrayRefused(source, "shape", f"{found} frames; wanted the {tracks.num_frames} of its tracks")


def smaller(picture: Picture, longest_side: int) -> Picture:
    """The picture with its longer side at most `longest_side` pixels, by its nearest pixels; always a copy."""
    height, width = picture.shape[:2]
    scale = min(1.0, longest_side / max(height, width))
    rows, columns = (_nearest(side, max(1, round(side * scale))) for side in (height, width))
    return picture[rows[:, None], columns]


def draw_face(picture: Picture, landmarks: Float[np.ndarray, "vertex 3"], colour: tuple[int, int, int]) -> Picture:
    """`picture` with a square dot at each landmark and a box around all of them; changes it in place.

    Args:
        picture: upright, any size.
        landmarks: x and y as shares of the picture's width and height; those outside are not drawn.
        colour: RGB.
    """
    height, width = picture.shape[:2]
    size = max(2, round(min(height, width) / 170))
    points = np.floor(landmarks[:, :2] * (width, height)).astype(int)
    for y in range(-(size // 2), size - size // 2):
        for x in range(-(size // 2), size - size // 2):
            column, row = (points + np.array((x, y))).T
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            picture[row[inside], column[inside]] = colour
    _draw_box(picture, points.min(axis=0) - 3 * size, points.max(axis=0) + 3 * size, size, colour)
    return picture


def draw_border(picture: Picture, colour: tuple[int, int, int]) -> Picture:
    """`picture` with a frame around it; changes it in place."""
    thickness = max(2, round(min(picture.shape[:2]) / 60))
    _draw_box(picture, np.zeros(2, int), np.array(picture.shape[1::-1]) - 1, thickness, colour)
    return picture


def _nearest(old: int, new: int) -> Int[np.ndarray, "_"]:
    return ((np.arange(new) + 0.5) * old / new).astype(int)


def _draw_box(picture: Picture, first, last, thickness: int, colour) -> None:
    """Lines inside the box from corner `first` to corner `last`, both (column, row) and included."""
    left, top = np.maximum(first, 0)
    right, bottom = np.maximum(last + 1, 0)
    if right - left <= 0 or bottom - top <= 0:
        return
    box = picture[top:bottom, left:right]
    for edge in (box[:thickness], box[-thickness:], box[:, :thickness], box[:, -thickness:]):
        edge[:] = colour
