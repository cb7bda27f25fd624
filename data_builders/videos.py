"""What builders over videos share: find the videos, extract the tracks that are missing, one record a track.

A builder names the videos and their splits; which landmarks a record holds is the config's business, so that
one folder of tracks (`fingerprint.landmarks.batch` lays them out) serves every config and every later build.

MediaPipe loads where videos are looked at, not with this module: it is slow, and a build from tracks or landmark
files, perhaps beside TensorFlow, needs none of it.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import tensorflow_datasets as tfds
from tqdm import auto as tqdm

from data_builders import splits
from data_builders.base import Options, PlacedTrack, RecordBuilder, Window, texts
from data_builders.ledger import FAILURES_FILE
from fingerprint.errors import ArrayRefused, DatasetError, NameRefused
from fingerprint.landmarks import channels, topology, track
from fingerprint.landmarks.names import VideoName

OPTIONS = frozenset({"source", "tracks", "landmark_model", "processes", "resample_fps", "channels"})


def landmark_sets() -> tuple[str, ...]:
    """Names of the landmark sets that are subsets of MediaPipe's points, so that a track can give them."""
    return tuple(name for name in topology.names() if topology.get(name).mediapipe_indices is not None)


class VideoConfig(tfds.core.BuilderConfig):
    """A part of a corpus of videos, as one landmark set.

    Args:
        name: the landmark set, after the part's name and `_` where the corpus has several.
        description: which part.
        landmark_set: which of the track's points its records hold.
    """

    def __init__(self, name: str, description: str, landmark_set: str):
        super().__init__(name=name, description=f"{description}; landmark set {landmark_set}")
        self.landmark_set = landmark_set


@dataclasses.dataclass(frozen=True)
class Video:
    """A video that is to become a record; `file` is its path relative to the source."""

    name: VideoName
    split: str
    file: str


class VideoBuilder(RecordBuilder, skip_registration=True):
    """Base of builders some or all of whose configs are `VideoConfig`s.

    Class attributes:
        OPTIONS: names of the `Options` that configs over landmark files take, where there are such.
        VIDEO_OPTIONS: those that configs over videos take beside the ones that all of them take.
    """

    OPTIONS = frozenset()
    VIDEO_OPTIONS: frozenset[str]
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Put the videos there; README.md says in which layout."

    @classmethod
    def options_of(cls, config):
        """As the base class says; what a config over videos takes differs from what one over arrays takes."""
        return OPTIONS | cls.VIDEO_OPTIONS if isinstance(config, VideoConfig) else cls.OPTIONS

    @property
    def landmark_set(self) -> str:
        """The config's."""
        return self.builder_config.landmark_set

    @property
    def tracks(self) -> pathlib.Path:
        """The folder of the tracks: the option, else one beside the data sets."""
        return self.options.tracks or pathlib.Path(self._data_dir_root) / "tracks" / self.name

    @property
    def from_videos(self) -> bool:
        """The config is over videos, not over landmark files."""
        return isinstance(self.builder_config, VideoConfig)

    def settled(self) -> Options:
        """The options with the folder of the tracks filled in."""
        return dataclasses.replace(self.options, tracks=self.tracks) if self.from_videos else self.options

    def _check_options(self) -> None:
        super()._check_options()
        rate, processes = self.options.resample_fps, self.options.processes
        if rate is not None and not 0 < rate <= 1000:
            raise DatasetError(f"resample_fps {rate}; wanted a rate above 0 and at most 1000")
        if processes is not None and processes < 1:
            raise DatasetError(f"processes {processes}; wanted at least 1")

    def _source(self, dl_manager) -> pathlib.Path | None:
        """The folder with the videos; None where there are only tracks."""
        try:
            return super()._source(dl_manager)
        except DatasetError as error:
            if not self.from_videos or self.options.source is not None:
                raise
            if self.tracks.is_dir():
                return None
            raise DatasetError(f"{error} Nor are there tracks in {self.tracks} (--tracks)") from error

    def _files(self, source: pathlib.Path | None) -> list[str]:
        """All videos, relative to the source; without one, those that have a track or failed to give one."""
        if source is None:
            tracks = self.tracks.rglob(f"[!.]*{track.SUFFIX}")
            found = {path.relative_to(self.tracks).as_posix().removesuffix(track.SUFFIX) for path in tracks}
            found |= set(_failures(self.tracks))
            if not found:
                raise DatasetError(f"{self.tracks}: no track in it")
            return sorted(found)
        from fingerprint.landmarks import batch

        files = []
        for entry in batch.find_videos([source]):
            if entry.refused:
                leave_out = self.ledger.exclude if entry.refused == "hidden" else self.ledger.refuse
                leave_out(entry.name, entry.refused, "not read")
            else:
                files.append(entry.name)
        return files

    def _from_lists(self, people: Iterable[str]) -> dict[str, str]:
        """Split of everybody: the option's file, else NVFAIR's lists."""
        given = self.options.splits_csv
        if given is None:
            self.notes.append("identity split: NVFAIR's")
            return splits.NVFAIR
        split_of = splits.from_csv(given, people)
        self._named_splits = tuple(split for split in splits.NAMES if split in split_of.values())
        return split_of

    def _expected_splits(self) -> tuple[str, ...]:
        return getattr(self, "_named_splits", None) or super()._expected_splits()

    def _named(self, files: Iterable[str], parser: Callable[[str], VideoName]) -> list[tuple[str, VideoName]]:
        """The files with what `parser` reads from their paths; those it refuses become rows of the ledger."""
        named = []
        for file in files:
            try:
                named.append((file, parser(file)))
            except NameRefused as refusal:
                self.ledger.refuse(file, "name", refusal)
        return named

    def _placed(self, named: Iterable[tuple[str, VideoName]], split_of: Mapping[str, str]) -> list[Video]:
        """The videos that have a split; the others become rows of the ledger."""
        placed = ((file, name, self._split_of(name, split_of, file)) for file, name in named)
        return [Video(name, split, file) for file, name, split in placed if split is not None]

    def _windows(self, videos: Sequence[Video], source: pathlib.Path | None) -> list[Window]:
        """One window a video that has a track; the others become rows of the ledger."""
        missing = [video.file for video in videos if not track.track_path(self.tracks, video.file).is_file()]
        if missing and source is not None:
            self._extract(missing, source)
        failed = _failures(self.tracks)
        numbers = 3 * topology.get(self.landmark_set).num_vertices
        numbers += sum(int(np.prod(channels.STORED[name])) for name in self.options.channels)
        share = numbers / (3 * track.NUM_POINTS)
        self._extractions: collections.Counter[str] = collections.Counter()
        windows = []
        for video in videos:
            path = track.track_path(self.tracks, video.file)
            if not path.is_file():
                self.ledger.refuse(video.file, *failed.get(video.file, ("missing", "neither a track nor a video")))
                continue
            windows.append(
                Window(
                    split=video.split,
                    **texts(video.name),
                    load=functools.partial(self._load, video.file),
                    file=video.file,
                    num_bytes=int(path.stat().st_size * share),
                )
            )
        return windows

    def _extract(self, files: Sequence[str], source: pathlib.Path) -> None:
        from fingerprint.landmarks import batch, extract

        with tqdm.tqdm(total=len(files), unit=" videos", desc=f"Extracting into {self.tracks}", mininterval=1.0) as bar:

            def show(progress) -> None:
                bar.update(progress.finished - bar.n)

            batch.extract_all(
                [batch.VideoFile(source, pathlib.PurePath(file)) for file in files],
                self.tracks,
                model_file=self.options.landmark_model,
                options=extract.ExtractionOptions(max_frames=self.options.max_frames),
                processes=self.options.processes or os.cpu_count() or 1,
                on_progress=show,
                failure_budget=self.options.failure_budget,
            )

    def _load(self, file: str) -> PlacedTrack:
        """The longest track of a video; every other one becomes a row of the ledger."""
        path = track.track_path(self.tracks, file)
        video = track.read(path, root=self.tracks)
        chosen = video.longest
        if chosen is None:
            raise ArrayRefused(file, "no_face", f"no face in any of {video.num_frames} frames")
        if len(chosen) > self.options.max_frames:
            raise ArrayRefused(file, "too_long", f"{len(chosen)} frames; wanted at most {self.options.max_frames}")
        for other in video.tracks:
            if other is not chosen:
                self.ledger.exclude(file, "other_track", f"{_frames(other)}; used: {_frames(chosen)}")
        self._extractions[_extraction(video.provenance)] += 1
        start, rate = chosen.start_frame, self.options.resample_fps
        if rate is not None:
            chosen = track.resample(chosen, rate)
            start = round(int(chosen.timestamps[0]) * rate / 1e6)
        if not chosen.frame_mask.any():
            raise ArrayRefused(file, "no_valid_frame", f"no face in any of {len(chosen)} frames at {rate} a second")
        return PlacedTrack(
            landmarks=chosen.points(self.landmark_set),
            frame_mask=chosen.frame_mask,
            fps=chosen.fps,
            image_size=np.array(chosen.image_size, np.int32),
            non_finite=0.0,
            start_frame=start,
            channels={name: getattr(chosen, name) for name in self.options.channels},
        )

    def _build_file(self):
        if self.from_videos:
            self.notes += [f"{count} tracks made with {made}" for made, count in sorted(self._extractions.items())]
        return super()._build_file()


class RecordingsBuilder(VideoBuilder, skip_registration=True):
    """Base of builders over real recordings whose name alone says who speaks, wherever they lie in the tree.

    Class attributes:
        parser: reads such a name.
    """

    VIDEO_OPTIONS = frozenset({"splits_csv"})
    parser: Callable[[str], VideoName]

    def _plan(self, source: pathlib.Path | None) -> Sequence[Window]:
        named = self._named(self._files(source), lambda file: self.parser(pathlib.PurePosixPath(file).name))
        split_of = self._from_lists({name.driver for _, name in named})
        return self._windows(self._placed(named, split_of), source)


_OF_THE_VIDEO = {"file", "sha256", "rotation"}


def _frames(part: track.LandmarkTrack) -> str:
    """Which frames of the video a track holds, in words."""
    last = part.start_frame + len(part) - 1
    return f"frames {part.start_frame}-{last}, {int(part.frame_mask.sum())} with a face"


def _extraction(provenance: dict) -> str:
    """How a track was made, without what is the video's own."""
    return json.dumps({k: v for k, v in provenance.items() if k not in _OF_THE_VIDEO}, sort_keys=True)


def _failures(tracks: pathlib.Path) -> dict[str, tuple[str, str]]:
    """Reason and detail of the videos that gave no track, as the extraction listed them."""
    path = tracks / FAILURES_FILE
    if not path.is_file():
        return {}
    rows = splits.read_csv(path, required=("file", "reason", "detail"), optional=())
    return {row["file"]: (row["reason"], row["detail"]) for row in rows}
