"""GAGAvatar-Benchmark: windows `{dev,test}_landmarks_cut_50_50/<driver>/<target>/<video>/w<k>.npy`, and raw videos.

The README's tree calls the outer folders targets and the inner ones drivers, its prose and its file names say
the opposite. Here driver and target come from the video's name alone; the folders must agree with it, in one
order over the whole tree.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar

import tensorflow_datasets as tfds

from data_builders import splits
from data_builders.base import Window, texts
from data_builders.videos import Video, VideoBuilder, VideoConfig, landmark_sets
from fingerprint.errors import ArrayRefused, DatasetError, NameRefused
from fingerprint.landmarks import names
from fingerprint.landmarks.arrays import LoadedTrack
from fingerprint.landmarks.names import VideoName

FRAMES = 50
_PUBLISHED = "avaprintdb109"
_WINDOW = re.compile(r"w(0|[1-9]\d{0,4})\.npy")
_ORDERS = ("driver/target", "target/driver")
_VALIDATION_SHARE = 1 / 8


class GagavatarConfig(tfds.core.BuilderConfig):
    """A subfolder of `preprocessed_data`, its parts, and how its videos are named."""

    landmark_set = _PUBLISHED

    def __init__(self, name: str, parts: Sequence[str], parser: Callable[[str], VideoName]):
        super().__init__(name=name, description=f"preprocessed_data/{name}")
        self.parts, self.parser = tuple(parts), parser


class GagavatarVideos(VideoConfig):
    """The raw videos, as any landmark set; without a name for it, that of the published landmarks."""

    parts = ("dev", "test")

    def __init__(self, landmark_set: str):
        name = "gagavatar_videos" + (f"_{landmark_set}" if landmark_set != _PUBLISHED else "")
        super().__init__(name, "raw_videos", landmark_set)


class Builder(VideoBuilder):
    """Builds GAGAvatar-Benchmark from its preprocessed windows or its raw videos; see README.md."""

    BUILDER_CONFIGS: ClassVar = [
        GagavatarConfig("gagavatar_ravdess_and_cremad", ("dev", "test"), names.parse_gagavatar),
        GagavatarConfig("originals_cremad", ("test",), names.parse_cremad),
        GagavatarConfig("originals_ravdess", ("test",), names.parse_ravdess),
        *(GagavatarVideos(s) for s in landmark_sets()),
    ]
    OPTIONS = frozenset({"source", "fps", "image_size", "whole_dev", "drop_first_frame"})
    VIDEO_OPTIONS = frozenset({"whole_dev"})
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Ask atvs@uam.es for GAGAvatar-Benchmark-db (signed agreement) and put its folder preprocessed_data/, or "
        "raw_videos/, there."
    )

    def _expected_splits(self):
        return super()._expected_splits() if "dev" in self.builder_config.parts else (splits.TEST,)

    def _plan(self, source: pathlib.Path | None) -> Sequence[Window]:
        if self.from_videos:
            return self._windows(self._placed_by_part(self._raw_videos(source)), source)
        root = _root(source, self.builder_config.name)
        videos = {
            part: list(self._videos(root / f"{part}_landmarks_cut_50_50", root)) for part in self.builder_config.parts
        }
        self._check_order([video for found in videos.values() for video in found], root)
        return [window for video in self._placed_by_part(videos) for window in self._cut(video, root)]

    def _placed_by_part(self, videos: Mapping[str, Sequence[tuple[str, VideoName]]]) -> list[Video]:
        """The videos that have a split: test people are in test, development people split by `_split_dev`."""
        split_of = {identity: splits.TEST for identity in _people(videos["test"])}
        for identity, split in self._split_dev(_people(videos.get("dev", ()))).items():
            if identity in split_of:
                raise DatasetError(f"{identity} is in dev and in test; an identity has one split")
            split_of[identity] = split
        return self._placed((video for found in videos.values() for video in found), split_of)

    def _raw_videos(self, source: pathlib.Path | None) -> dict[str, list[tuple[str, VideoName]]]:
        """(file, name) of the videos `…/{dev,test}/GAGAvatar/<video>`, by part."""
        videos: dict[str, list[tuple[str, VideoName]]] = {part: [] for part in self.builder_config.parts}
        for file, name in self._named(self._files(source), _parse_raw):
            videos[pathlib.PurePosixPath(file).parts[-3]].append((file, name))
        return videos

    def _split_dev(self, people: frozenset[str]) -> dict[str, str]:
        """Split development identities as NVFAIR does, and by hash those it does not list for either."""
        if self.options.whole_dev:
            return dict.fromkeys(people, splits.TRAIN)
        listed = {i: splits.VALIDATION for i in people & splits.NVFAIR_VALIDATION}
        listed |= {i: splits.TRAIN for i in people & splits.NVFAIR_TRAIN}
        rest = people - set(listed)
        if splits.VALIDATION not in listed.values():
            listed, rest = {}, people
        if len(rest) < 2:
            return listed | dict.fromkeys(rest, splits.TRAIN)
        return listed | splits.by_hash(
            rest, (1 - _VALIDATION_SHARE, _VALIDATION_SHARE), seed=0, names=(splits.TRAIN, splits.VALIDATION)
        )

    def _videos(self, folder: pathlib.Path, root: pathlib.Path) -> Iterator[tuple[str, VideoName]]:
        if not folder.is_dir():
            raise DatasetError(f"{folder}: no such folder; wanted <driver>/<target>/<video>/w0.npy in it")
        files = (video.relative_to(root).as_posix() for video in sorted(folder.glob("*/*/*/")))
        yield from self._named(files, lambda file: self.builder_config.parser(pathlib.PurePosixPath(file).name))

    def _check_order(self, videos: Sequence[tuple[str, VideoName]], root: pathlib.Path) -> None:
        """Which of the two orders the folders keep; noted in `build.json`.

        Raises:
            DatasetError: both orders, or a folder that agrees with its videos in neither.
        """
        examples: dict[str, str] = {}
        counts: collections.Counter[str] = collections.Counter()
        for file, name in videos:
            found = pathlib.PurePosixPath(file).parts[-3:-1]
            if found not in ((name.driver, name.target), (name.target, name.driver)):
                raise DatasetError(
                    f"{file}: the name says driver {name.driver}, target "
                    f"{name.target}; the folders say neither {_ORDERS[0]} nor {_ORDERS[1]}"
                )
            if name.driver != name.target:
                order = _ORDERS[found != (name.driver, name.target)]
                counts[order] += 1
                examples.setdefault(order, file)
        if len(counts) > 1:
            mixed = "; ".join(f"{counts[order]} × {order}, e.g. {examples[order]}" for order in _ORDERS)
            raise DatasetError(f"{root}: the folders mix two orders ({mixed}); wanted one over the whole tree")
        self.notes.append(
            f"folder order: {next(iter(counts))} ({counts.total()} videos whose driver is not the target)"
            if counts
            else "folder order: cannot be told, every driver is the target"
        )

    def _cut(self, video: Video, root: pathlib.Path) -> list[Window]:
        """The published windows of a video."""
        windows = []
        dropped = int(self.options.drop_first_frame)
        for path in sorted((root / video.file).iterdir()):
            file = path.relative_to(root).as_posix()
            match = _WINDOW.fullmatch(path.name)
            if match is None:
                self.ledger.exclude(file, "extension", "not of the form w<k>.npy")
                continue
            windows.append(
                Window(
                    split=video.split,
                    **texts(video.name),
                    load=functools.partial(_load, self._loader(path, root), path, dropped),
                    file=file,
                    num_bytes=path.stat().st_size if path.exists() else 0,
                    window_index=int(match[1]),
                    start_frame=FRAMES * int(match[1]) + dropped,
                    fps=self.options.fps,
                    image_size=self.options.image_size,
                )
            )
        return windows


def _load(loader: Callable[[], LoadedTrack], path: pathlib.Path, dropped: int) -> LoadedTrack:
    track = loader()
    if len(track.landmarks) != FRAMES:
        raise ArrayRefused(path, "window_length", f"{len(track.landmarks)} frames; wanted {FRAMES}")
    if not track.frame_mask[dropped:].any():
        raise ArrayRefused(path, "no_valid_frame", "no valid frame after the first")
    return dataclasses.replace(track, landmarks=track.landmarks[dropped:], frame_mask=track.frame_mask[dropped:])


def _root(source: pathlib.Path, name: str) -> pathlib.Path:
    places = [source / "preprocessed_data" / name, source / name, source]
    for place in places:
        if any(place.glob("*_landmarks_cut_50_50")):
            return place
    raise DatasetError(f"no folder *_landmarks_cut_50_50 in {', '.join(map(str, places))}")


def _parse_raw(file: str) -> VideoName:
    parts = pathlib.PurePosixPath(file).parts
    if len(parts) < 3 or parts[-3] not in GagavatarVideos.parts or parts[-2] != "GAGAvatar":
        raise NameRefused(f"{file[:200]!r}: wanted {{dev,test}}/GAGAvatar/<driver_video>_<target>.mp4")
    return names.parse_gagavatar(parts[-1])


def _people(videos: Sequence[tuple[str, VideoName]]) -> frozenset[str]:
    return frozenset(identity for _, name in videos for identity in (name.driver, name.target))
