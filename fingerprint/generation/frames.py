"""The frames that metrics see, a few at a time, in the views that recipes name.

`face`: all of one video's own face squares. `region` and `identity`: two videos side by side, by position where they
have as many frames (two more or less are let pass), else by time, each generated frame with the reference's nearest.
`alone`: every frame of the generated video as it is. `track`: what the track knows of every frame, without pixels.
`first16` and `crops`: each video's face video as the public benchmark cuts it, from its beginning, whatever frames were
left out of it.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import pathlib
import re
from collections.abc import Iterable, Iterator

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
_SAME_SHAPE = 0.01
"""Pictures whose ratios of width to height differ by less, as a share, are framed alike."""
_IS_FACE = re.compile(r".*-face(-v\d+)?", re.IGNORECASE)
Picture = UInt8[np.ndarray, "height width 3"]


@dataclasses.dataclass(frozen=True, eq=False)
class Frames:
    """Some frames of one video, as one view shows them.

    Attributes:
        rgb: pixels; of height and width 0 in the view `track`.
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

    def first(self, count: int) -> Frames:
        """The first so many frames."""
        if len(self) == count:
            return self
        arrays = (self.rgb, self.landmarks, self.blendshapes, self.shows_face, self.seconds)
        return Frames(*(values[:count] for values in arrays), self.fps)


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """A video and the face in it, followed through all parts of its track.

    Attributes:
        file: the video. info: what it says of itself.
        tracks: its track: parts that together hold every frame; none if no frame shows a face.
        region: where the face is; None without one.
    """

    file: VideoFile
    info: video.VideoInfo
    tracks: track.VideoTracks
    region: faces.FaceRegion | None

    @property
    def num_frames(self) -> int:
        """Frames of the video, as counted when the track was made."""
        return self.tracks.num_frames

    @functools.cached_property
    def timestamps(self) -> Int[np.ndarray, " frame"]:
        """When each frame is shown, in microseconds; empty without a face."""
        return np.concatenate([np.zeros(0, np.int64), *(part.timestamps for part in self.tracks.tracks)])

    def pictures(self) -> Iterator[video.Frame]:
        """The video's frames."""
        return video.frames(self.file.path, self.file.root, info=self.info)

    def of(self, pictures: Iterable[Picture], numbers: Int[np.ndarray, " frame"]) -> Frames:
        """Pictures with what the track knows of their frames, whose numbers in the video are given."""
        landmarks = np.zeros((len(numbers), 478, 3), np.float32)
        blendshapes = np.zeros((len(numbers), 52), np.float32)
        shows_face = np.zeros(len(numbers), bool)
        for part in self.tracks.tracks:
            at = numbers - part.start_frame
            mine = (at >= 0) & (at < len(part))
            mine[mine] = part.frame_mask[at[mine]]
            landmarks[mine], blendshapes[mine] = part.landmarks[at[mine]], part.blendshapes[at[mine]]
            shows_face |= mine
        seconds = self.timestamps[numbers] / 1e6 if len(self.timestamps) else numbers / self.info.fps
        return Frames(np.stack(list(pictures)), landmarks, blendshapes, shows_face, seconds, self.info.fps)


def open_clip(entry: VideoFile, track_file: pathlib.Path, *, need_face: bool = True) -> Clip:
    """A video with its track.

    Raises:
        VideoRefused: as `video.open_video`; `no_face`: no frame shows a face, though one is needed.
        ArrayRefused: as `track.read`.
    """
    tracks = track.read(track_file)
    if tracks.longest is None and need_face:
        raise VideoRefused(entry.path, "no_face", f"no face in any of its {tracks.num_frames} frames")
    region = faces.face_region(tracks) if tracks.longest is not None else None
    return Clip(entry, video.open_video(entry.path, entry.root), tracks, region)


def of_one(clip: Clip, view: str) -> Iterator[Frames]:
    """One video's own frames: `face`, `alone` or `track`.

    Frames of parts without any face have no place in `face`.
    """
    if view == "track":
        for start in range(0, clip.num_frames, PIECE):
            numbers = np.arange(start, min(start + PIECE, clip.num_frames))
            yield clip.of(np.zeros((len(numbers), 0, 0, 3), np.uint8), numbers)
        return
    shown = ((frame.index, frame.rgb) for frame in clip.pictures() if frame.index < clip.num_frames)
    if view == "face":
        shown = ((at, clip.region.cut(picture, at)) for at, picture in shown if clip.region.follows[at])
    while piece := list(itertools.islice(shown, PIECE)):
        numbers, pictures = zip(*piece, strict=True)
        yield clip.of(pictures, np.array(numbers))


@dataclasses.dataclass(frozen=True, eq=False)
class Beside:
    """Frames of two videos that belong together.

    Attributes:
        numbers: of the reference's and the generated video's frame.
        by: `position` or `time`.
    """

    numbers: Int[np.ndarray, "frame 2"]
    by: str


def beside(reference: Clip, generated: Clip) -> Beside:
    """The frames that belong together, of those in which both faces are followed."""
    real, made = (np.flatnonzero(clip.region.follows) for clip in (reference, generated))
    if abs(reference.num_frames - generated.num_frames) <= _LET_PASS:
        common = np.intersect1d(real, made)
        return Beside(np.stack([common, common], axis=1), "position")
    times, wanted = reference.timestamps[real], generated.timestamps[made]
    right = np.clip(np.searchsorted(times, wanted), 1, max(len(times) - 1, 1))
    left_is_nearer = wanted - times[right - 1] <= times[np.minimum(right, len(times) - 1)] - wanted
    nearest = np.where(left_is_nearer, right - 1, np.minimum(right, len(times) - 1))
    near = np.abs(times[nearest] - wanted) <= 1e6 / reference.tracks.longest.steady_fps
    return Beside(np.stack([real[nearest], made], axis=1)[near], "time")


def from_the_start(reference: Clip, generated: Clip) -> Beside:
    """Frames by their order alone, for videos of other moments."""
    common = np.arange(min(reference.num_frames, generated.num_frames))
    return Beside(np.stack([common, common], axis=1), "order")


def framed_alike(reference: Clip, generated: Clip) -> bool:
    """Both pictures have one ratio of width to height, so that a place in one is that place in the other."""
    ratios = (clip.info.image_size[0] / clip.info.image_size[1] for clip in (reference, generated))
    return abs(math.log(next(ratios) / next(ratios))) <= _SAME_SHAPE


def of_two(reference: Clip, generated: Clip, together: Beside, view: str) -> Iterator[tuple[Frames, Frames]]:
    """Two videos side by side: `region` or `identity` (whole frames).

    `region` is the reference's face square, laid over both videos, so that a displaced face costs; where they are
    framed differently it is each video's own.
    """
    alike = framed_alike(reference, generated)
    places = [reference.region, reference.region if alike else generated.region]
    sides = (_picked(clip, together.numbers[:, side]) for side, clip in enumerate((reference, generated)))
    pairs = zip(*sides, together.numbers, strict=False)
    while piece := list(itertools.islice(pairs, PIECE)):
        real, made, numbers = (list(column) for column in zip(*piece, strict=True))
        numbers = np.array(numbers)
        if view == "region":
            at = [numbers[:, 0], numbers[:, 0] if alike else numbers[:, 1]]
            real, made = (
                [place.cut(picture, where) for picture, where in zip(side, wheres.tolist(), strict=True)]
                for side, place, wheres in zip((real, made), places, at, strict=True)
            )
        yield reference.of(real, numbers[:, 0]), generated.of(made, numbers[:, 1])


def is_face_video(entry: VideoFile) -> bool:
    """It is called as the public benchmark calls its face videos, `…-face-v5`."""
    return bool(_IS_FACE.fullmatch(entry.relative.stem))


def published_crops(clip: Clip, detector: dwpose.DwPose | None) -> faces.PublishedCrops:
    """What the public benchmark keeps of a video; all of a video that is called a face video (`…-face-v5`) already.

    Args:
        clip: the video.
        detector: DWPose, as published; None takes the points of the track.

    Raises:
        VideoRefused: `no_face`: no face in any frame.
    """
    width, height = clip.info.width, clip.info.height
    if is_face_video(clip.file):
        return faces.PublishedCrops.of_everything(clip.num_frames, width, height)
    if detector is None:
        points = faces.track_points(clip.tracks, width, height)
    else:
        points = [detector.face_points(frame.rgb) for frame in clip.pictures()]
    crops = faces.published_crops(points, width, height)
    if not crops.frames:
        raise VideoRefused(clip.file.path, "no_face", "the published rule finds no face in any frame")
    return crops


def of_published(clip: Clip, crops: faces.PublishedCrops) -> Iterator[Frames]:
    """The published face video."""
    numbered = ((frame.index, frame.rgb) for frame in clip.pictures() if frame.index < clip.num_frames)
    pictures = faces.published_pictures(numbered, crops)
    while piece := list(itertools.islice(pictures, PIECE)):
        numbers, kept = zip(*piece, strict=True)
        yield clip.of(kept, np.array(numbers))


def _picked(clip: Clip, numbers: Int[np.ndarray, " frame"]) -> Iterator[Picture]:
    """The frames of these numbers, which never fall but may repeat."""
    pictures, frame = clip.pictures(), None
    for number in numbers.tolist():
        while frame is None or frame.index < number:
            frame = next(pictures, None)
            if frame is None:  # fewer frames than when the track was made
                return
        yield frame.rgb
