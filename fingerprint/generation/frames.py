"""The frames that metrics see: a reference and a generated video side by side, a few frames at a time.

Under `standard`, the frames of both videos are put beside each other first: by position where they have as many frames
(two more or less are let pass), else by time, each generated frame with the reference's nearest. Under `published`,
each video's own face video is taken from its beginning, whatever frames were left out of it.
"""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
from collections.abc import Collection, Iterator

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from fingerprint.errors import VideoRefused
from fingerprint.generation import faces
from fingerprint.generation.networks import dwpose
from fingerprint.landmarks import track, video
from fingerprint.landmarks.workers import VideoFile

PIECE = 16
"""Frames at a time: a clip of I3D, and the frames that the public benchmark looks at."""
_LET_PASS = 2
Picture = UInt8[np.ndarray, "height width 3"]


@dataclasses.dataclass(frozen=True, eq=False)
class Frames:
    """Some frames of one video, as one region shows them.

    Attributes:
        rgb: pixels.
        landmarks: of the whole frame, in shares of its width and height; zero where no face is.
        blendshapes: MediaPipe's coefficients; zero where no face is.
        shows_face: the frame shows the face that is followed.
        seconds: when each frame is shown, since the video's first.
        fps: of the video.
    """

    rgb: UInt8[np.ndarray, "frame height width 3"]
    landmarks: Float32[np.ndarray, "frame 478 3"]
    blendshapes: Float32[np.ndarray, "frame 52"]
    shows_face: Bool[np.ndarray, " frame"]
    seconds: Float[np.ndarray, " frame"]
    fps: float

    def __len__(self) -> int:
        return len(self.rgb)


Piece = dict[str, tuple[Frames | None, Frames]]
"""By region: the reference's frames and the generated video's; None where only the latter are looked at."""


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """A video and its face.

    Attributes:
        file: the video. info: what it says of itself.
        track: the face that is followed: the longest track.
        region: where the face is.
        num_frames: of the video, as counted when the track was made.
    """

    file: VideoFile
    info: video.VideoInfo
    track: track.LandmarkTrack
    region: faces.FaceRegion
    num_frames: int

    def pictures(self) -> Iterator[video.Frame]:
        """The video's frames."""
        return video.frames(self.file.path, self.file.root, info=self.info)

    def of(self, pictures: list[Picture], numbers: Int[np.ndarray, " frame"]) -> Frames:
        """Pictures with what the track knows of their frames, whose numbers in the video are given."""
        at = np.clip(numbers - self.track.start_frame, 0, len(self.track) - 1)
        mask = self.track.frame_mask[at] & (at == numbers - self.track.start_frame)
        landmarks, blendshapes = (
            np.where(mask.reshape(-1, *[1] * (values.ndim - 1)), values[at], np.float32(0))
            for values in (self.track.landmarks, self.track.blendshapes)
        )
        seconds = self.track.timestamps[at] / 1e6
        return Frames(np.stack(pictures), landmarks, blendshapes, mask, seconds, self.info.fps)


def open_clip(entry: VideoFile, track_file: pathlib.Path) -> Clip:
    """A video with its track.

    Raises:
        VideoRefused: as `video.open_video`; `no_face`: no frame shows a face.
        ArrayRefused: as `track.read`.
    """
    tracks = track.read(track_file)
    if tracks.longest is None:
        raise VideoRefused(entry.path, "no_face", f"no face in any of its {tracks.num_frames} frames")
    region = faces.face_region(tracks.longest)
    return Clip(entry, video.open_video(entry.path, entry.root), tracks.longest, region, tracks.num_frames)


def beside(reference: Clip, generated: Clip) -> tuple[Int[np.ndarray, "frame 2"], str]:
    """Frame numbers (reference, generated) that belong together, and by what: `position` or `time`."""
    start, stop = zip(*(_span(clip) for clip in (reference, generated)), strict=True)
    if abs(reference.num_frames - generated.num_frames) <= _LET_PASS:
        common = np.arange(max(start), max(min(stop), max(start)))
        return np.stack([common, common], axis=1), "position"
    times, wanted = reference.track.timestamps, generated.track.timestamps
    right = np.clip(np.searchsorted(times, wanted), 1, max(len(times) - 1, 1))
    nearest = np.where(wanted - times[right - 1] <= times[right] - wanted, right - 1, right)
    near = np.abs(times[nearest] - wanted) <= 1e6 / reference.track.steady_fps
    numbers = np.stack([nearest + start[0], np.arange(len(wanted)) + start[1]], axis=1)
    return numbers[near], "time"


def standard_pieces(reference: Clip, generated: Clip, regions: Collection[str]) -> Iterator[Piece]:
    """The frames that belong together, `PIECE` at a time, in the regions `face`, `region` and `whole` as asked for."""
    numbers, _ = beside(reference, generated)
    pairs = zip(_picked(reference, numbers[:, 0]), _picked(generated, numbers[:, 1]), strict=False)
    kept: list[tuple[Picture, Picture]] = []
    done = 0
    for pair in pairs:
        kept.append(pair)
        if len(kept) == PIECE:
            yield _piece(reference, generated, numbers[done : done + PIECE], kept, regions)
            done, kept = done + PIECE, []
    if kept:
        yield _piece(reference, generated, numbers[done : done + len(kept)], kept, regions)


def published_pieces(
    reference: Clip, generated: Clip, regions: Collection[str], detector: dwpose.DwPose | None
) -> Iterator[Piece]:
    """The published face videos: in `first16` the first frames of both, in `crops` all frames of the generated one.

    Args:
        reference, generated: the videos.
        regions: of these two, the ones wanted.
        detector: DWPose, as published; None takes the points of the tracks.

    Raises:
        VideoRefused: `no_face`: DWPose finds none in a video.
    """
    if "first16" in regions:
        for real, made in zip(*(_face_video(clip, detector) for clip in (reference, generated)), strict=False):
            yield {"first16": (real, made)}
            break
    if "crops" in regions:
        for made in _face_video(generated, detector):
            yield {"crops": (None, made)}


def _face_video(clip: Clip, detector: dwpose.DwPose | None) -> Iterator[Frames]:
    width, height = clip.info.width, clip.info.height
    if detector is None:
        points = faces.track_points(clip.track, clip.num_frames, width, height)
    else:
        points = [detector.face_points(frame.rgb) for frame in clip.pictures()]
    crops = faces.published_crops(points, width, height)
    if not crops.frames:
        raise VideoRefused(clip.file.path, "no_face", "the published rule finds no face in any frame")
    numbered = ((frame.index, frame.rgb) for frame in clip.pictures())
    pictures = faces.published_pictures(numbered, crops)
    while piece := list(itertools.islice(pictures, PIECE)):
        numbers, kept = zip(*piece, strict=True)
        yield clip.of(list(kept), np.array(numbers))


def _span(clip: Clip) -> tuple[int, int]:
    return clip.track.start_frame, clip.track.start_frame + len(clip.track)


def _picked(clip: Clip, numbers: Int[np.ndarray, " frame"]) -> Iterator[Picture]:
    """The frames of these numbers, which never fall but may repeat."""
    pictures, frame = clip.pictures(), None
    for number in numbers.tolist():
        while frame is None or frame.index < number:
            frame = next(pictures, None)
            if frame is None:  # fewer frames than when the track was made
                return
        yield frame.rgb


def _piece(
    reference: Clip,
    generated: Clip,
    numbers: Int[np.ndarray, "frame 2"],
    pictures: list[tuple[Picture, Picture]],
    regions: Collection[str],
) -> Piece:
    real, made = (list(side) for side in zip(*pictures, strict=True))
    real_numbers, made_numbers = numbers[:, 0], numbers[:, 1]
    real_at, made_at = real_numbers - reference.track.start_frame, made_numbers - generated.track.start_frame

    def cuts(pictures: list[Picture], region: faces.FaceRegion, at: Int[np.ndarray, " frame"]) -> list[Picture]:
        return [region.cut(picture, index) for picture, index in zip(pictures, at.tolist(), strict=True)]

    piece: Piece = {}
    own = cuts(real, reference.region, real_at) if {"face", "region"} & set(regions) else []
    if "face" in regions:
        theirs = cuts(made, generated.region, made_at)
        piece["face"] = reference.of(own, real_numbers), generated.of(theirs, made_numbers)
    if "region" in regions:
        same = cuts(made, reference.region, real_at)
        piece["region"] = reference.of(own, real_numbers), generated.of(same, made_numbers)
    if "whole" in regions:
        piece["whole"] = reference.of(real, real_numbers), generated.of(made, made_numbers)
    return piece
