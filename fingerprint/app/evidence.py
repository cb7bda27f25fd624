"""From videos to evidence: tracks, window embeddings, and what a reader of a score must know of the video."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from fingerprint.embed import ReleasedModel
from fingerprint.errors import ClaimRefused, FingerprintError, VideoRefused
from fingerprint.landmarks import batch, track
from fingerprint.landmarks.track import LandmarkTrack, VideoTracks

EXTREME_DEGREES, EXTREME_SHARE = 30.0, 0.2
"""A head turned further than this from the camera in more than this share of the frames calls for a warning."""
LOW_SHARE_WITH_FACE = 0.8
_RATE_TOLERANCE = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
    """What one video gives for comparison.

    Attributes:
        video: the file as given. sha256: of the video.
        track: the face that is followed, at the rate that windows were cut at.
        vectors: unit embedding of each window. attention: weight of each of its frames.
        start: first instant of each window.
        instants: frame of the track at each instant that windows are cut in; all frames, unless the model brings every
            video to one length first.
        num_frames: of the video. num_tracks: faces or parts it was split into.
        warnings: sentences for the reader.
    """

    video: str
    sha256: str
    track: LandmarkTrack
    vectors: Float[np.ndarray, "window dim"]
    attention: Float[np.ndarray, "window time"]
    start: Int[np.ndarray, " window"]
    instants: Int[np.ndarray, " instant"]
    num_frames: int
    num_tracks: int
    warnings: tuple[str, ...]

    @property
    def share_with_face(self) -> float:
        """Share of the video's frames in which the followed face was found."""
        return float(self.track.frame_mask.sum() / max(len(self.track), 1))

    @property
    def seconds(self) -> float:
        """Length of the track."""
        return len(self.track) / self.track.fps

    def facts(self) -> dict[str, Any]:
        """JSON-able: how much there is to go by."""
        return {
            "seconds": round(self.seconds, 3),
            "windows": len(self.vectors),
            "frames": self.num_frames,
            "share_with_face": round(self.share_with_face, 4),
            "fps": round(self.track.fps, 3),
            "image_size": list(self.track.image_size),
            "tracks": self.num_tracks,
        }


class Tracks:
    """Tracks as the records that embedding reads."""

    def __init__(self, tracks: Sequence[tuple[str, LandmarkTrack]], landmark_set: str):
        self._tracks, self._landmark_set = tracks, landmark_set

    def __len__(self) -> int:
        return len(self._tracks)

    def __getitem__(self, index: int) -> dict[str, Any]:
        name, found = self._tracks[index]
        return {
            "landmarks": found.points(self._landmark_set),
            "blendshapes": found.blendshapes,
            "pose": found.pose,
            "frame_mask": found.frame_mask,
            "image_size": np.asarray(found.image_size, np.int32),
            "fps": np.float32(found.fps),
            "video_id": name,
        }

    def metadata(self) -> dict[str, np.ndarray]:
        return {"video_id": np.array([name for name, _ in self._tracks])}


@contextlib.contextmanager
def tracks_folder(keep: pathlib.Path | None) -> Iterator[pathlib.Path]:
    """Where tracks of this command lie: the folder to keep them in, or one that goes when the command ends."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
    else:
        with tempfile.TemporaryDirectory(prefix="fingerprint-") as folder:
            yield pathlib.Path(folder)


def acquire(
    videos: Sequence[pathlib.Path],
    folder: pathlib.Path,
    *,
    model_file: pathlib.Path | None,
    processes: int = 1,
    on_progress: Callable[[batch.Progress], None] | None = None,
) -> list[VideoTracks | FingerprintError]:
    """Tracks of each video, or why there are none; a `.track.npz` is taken as it is.

    Args:
        folder: where track files are written, and found if they are of the same video and options.
    """
    raw = [path for path in dict.fromkeys(videos) if not path.name.endswith(track.SUFFIX)]
    entries: dict[pathlib.Path, batch.VideoFile] = {}
    failures: dict[str, VideoRefused] = {}
    if raw:
        # Below a folder that holds them all, so that equal names in different folders stay apart.
        whole = {path: pathlib.Path(os.path.abspath(path)) for path in raw}
        root = pathlib.Path(os.path.commonpath([path.parent for path in whole.values()]))
        entries = {path: batch.VideoFile(root, whole[path].relative_to(root)) for path in raw}
        batch.extract_all(
            list(entries.values()),
            folder,
            model_file=model_file,
            processes=min(processes, len(raw)),
            on_progress=on_progress,
            failure_budget=1.0,
        )
        failures = {
            row["file"]: VideoRefused(root / row["file"], row["reason"], row["detail"])
            for row in batch.read_failures(folder)
            if row["reason"] != batch.NO_FACE
        }

    def one(path: pathlib.Path) -> VideoTracks | FingerprintError:
        entry = entries.get(path)
        if entry is not None and entry.name in failures:
            return failures[entry.name]
        try:
            return track.read(path if entry is None else track.track_path(folder, entry.relative))
        except FingerprintError as error:
            return error

    return [one(path) for path in videos]


def embed(
    videos: Sequence[tuple[str, VideoTracks]], released: ReleasedModel, *, fps: float | None = None
) -> list[Evidence | ClaimRefused]:
    """Embed every window of each video's longest track, all in one pass; or why a video gives no evidence.

    Args:
        videos: name and tracks.
        fps: resample to this rate; None keeps the video's, and makes time uniform where it is not.
    """
    chosen: dict[int, tuple[LandmarkTrack, list[str]]] = {}
    out: list[Evidence | ClaimRefused | None] = [None] * len(videos)
    for index, (name, video) in enumerate(videos):
        if video.longest is None:
            out[index] = ClaimRefused(f"{name}: no face in any of its {video.num_frames} frames")
            continue
        chosen[index] = _uniform(video.longest, fps)
    rows = list(chosen)
    windows = released.embedder.split(
        released.params,
        Tracks([(videos[index][0], chosen[index][0]) for index in rows], released.embedder.landmark_set),
    )
    for row, index in enumerate(rows):
        (name, video), (found, notes) = videos[index], chosen[index]
        mine = windows.record == row
        spec = released.embedder.spec
        if not mine.any():
            out[index] = ClaimRefused(
                f"{name}: no window of {spec.length} frames in which at least {spec.least_valid} show the face "
                f"(the video has {len(found)} frames at {found.fps:.3g} a second, {int(found.frame_mask.sum())} "
                "with the face); take a longer video or one that shows the face"
            )
            continue
        out[index] = Evidence(
            video=name,
            sha256=str(video.provenance["sha256"]),
            track=found,
            vectors=windows.vector[mine],
            attention=windows.attention[mine],
            start=windows.start[mine],
            instants=np.rint(np.linspace(0, len(found) - 1, spec.resample or len(found))).astype(np.int32),
            num_frames=video.num_frames,
            num_tracks=len(video.tracks),
            warnings=(*notes, *_warnings(video, found, released.document)),
        )
    return out


def _uniform(found: LandmarkTrack, fps: float | None) -> tuple[LandmarkTrack, list[str]]:
    if fps is not None:
        return track.resample(found, fps), []
    if not found.uneven:
        return found, []
    return track.resample(found, found.steady_fps), [
        f"the frame rate varies; the track was resampled to {found.steady_fps:.3g} frames a second"
    ]


def _warnings(video: VideoTracks, found: LandmarkTrack, document: dict[str, Any]) -> Iterator[str]:
    if len(video.tracks) > 1:
        yield (
            f"the face changes: the video falls into {len(video.tracks)} parts, and only the one with most frames "
            f"counts (from frame {found.start_frame})"
        )
    mask = found.frame_mask
    yield from doubts(mask.mean(), found.several[mask].mean(), found.pose[mask], found.fps, document)


def doubts(
    share_with_face: float,
    share_several: float,
    pose: Float[np.ndarray, "time 4 4"],
    fps: float,
    document: dict[str, Any],
    *,
    resample: bool = True,
) -> Iterator[str]:
    """What a reader of a score must know of how the video shows the face.

    Args:
        share_with_face, share_several: of the frames: with the face; of these, with other faces in the picture.
        pose: of the frames with the face.
        fps: frame rate that windows were cut at.
        document: of the released model.
        resample: the rate could be changed.
    """
    if share_with_face < LOW_SHARE_WITH_FACE:
        yield f"the face was found in only {share_with_face:.0%} of the frames"
    if share_several > 0:
        yield f"several faces in {share_several:.0%} of the frames: which one is followed is a rule, not a fact"
    extreme = float((head_angle(pose) > EXTREME_DEGREES).mean()) if len(pose) else 0.0
    if extreme > EXTREME_SHARE:
        yield f"extreme pose: the head is turned by more than {EXTREME_DEGREES:.0f}° in {extreme:.0%} of the frames"
    rates = document.get("training", {}).get("fps")
    if rates and not rates[0] * (1 - _RATE_TOLERANCE) <= fps <= rates[2] * (1 + _RATE_TOLERANCE):
        between = f"{rates[0]:.3g}" if rates[0] == rates[2] else f"{rates[0]:.3g} to {rates[2]:.3g}"
        way_out = f"; --fps {rates[1]:.3g} resamples" if resample else ""
        yield (
            f"frame rate unlike the training data: {fps:.3g} frames a second, the model was trained at {between}"
            f"{way_out}"
        )


def head_angle(pose: Float[np.ndarray, "time 4 4"]) -> Float[np.ndarray, " time"]:
    """Degrees between where the head faces and the camera's axis, 0 = straight into the camera."""
    forward = pose[:, :3, 2].astype(np.float64)
    length = np.linalg.norm(forward, axis=1)
    cosine = np.divide(forward[:, 2], length, out=np.ones_like(length), where=length > 0)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def frame_attention(
    attention: Float[np.ndarray, "window time"], start: Int[np.ndarray, " window"], frames: int
) -> Float[np.ndarray, " frame"]:
    """Mean weight of each frame over the windows that hold it; NaN where none does."""
    total, count = np.zeros(frames), np.zeros(frames)
    length = attention.shape[1]
    for weights, first in zip(attention, start.tolist(), strict=True):
        stop = min(first + length, frames)
        total[first:stop] += weights[: stop - first]
        count[first:stop] += 1
    covered: Bool[np.ndarray, " frame"] = count > 0
    return np.where(covered, total / np.where(covered, count, 1), np.nan)
