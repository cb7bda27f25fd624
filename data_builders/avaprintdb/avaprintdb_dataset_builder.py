"""AVAPrintDB: `<target>--<driver>--<uuid>--<GEN>`, as its landmark files or as its videos."""

from __future__ import annotations

import csv
import dataclasses
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import ClassVar

import tensorflow_datasets as tfds

from data_builders import splits
from data_builders.base import Window, texts
from data_builders.videos import Video, VideoBuilder, VideoConfig, landmark_sets
from fingerprint.errors import DatasetError, NameRefused
from fingerprint.landmarks import names
from fingerprint.landmarks.names import VideoName

_PUBLISHED = "avaprintdb109"
_PARTS = {"DEV": (splits.TRAIN, splits.VALIDATION), "TEST": (splits.TEST,)}
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TABLES = (
    "CREMA-D_all.csv",
    "RAVDESS_all.csv",
    "avaprintdb_metadata.csv",
    "cremad_metadata.csv",
    "ravdess_metadata.csv",
)


class AvaprintdbConfig(tfds.core.BuilderConfig):
    """Which part of the published landmarks: source corpora and generators."""

    landmark_set = _PUBLISHED

    def __init__(self, name: str, corpora: Sequence[str], generators: Sequence[str]):
        super().__init__(name=name, description=f"{' and '.join(corpora)}, rendered by {', '.join(generators)}")
        self.corpora, self.generators = frozenset(corpora), frozenset(generators)


class AvaprintdbVideos(VideoConfig):
    """The same of the videos, as any landmark set; without a name for it, that of the published landmarks."""

    def __init__(self, part: str, corpora: Sequence[str], generators: Sequence[str], landmark_set: str):
        name = f"{part}_videos" + (f"_{landmark_set}" if landmark_set != _PUBLISHED else "")
        super().__init__(name, f"videos: {' and '.join(corpora)}, rendered by {', '.join(generators)}", landmark_set)
        self.corpora, self.generators = frozenset(corpora), frozenset(generators)


_CORPORA, _GENERATORS = ("cremad", "ravdess"), ("GAGA", "LIVE", "HUNY")
_CHOICES = [*((f"{c}_{g.lower()}", (c,), (g,)) for c in _CORPORA for g in _GENERATORS), ("all", _CORPORA, _GENERATORS)]


class Builder(VideoBuilder):
    """Builds AVAPrintDB with its own DEV and TEST identities; see README.md."""

    BUILDER_CONFIGS: ClassVar = [
        *(AvaprintdbConfig(*choice) for choice in _CHOICES),
        *(AvaprintdbVideos(*choice, s) for choice in _CHOICES for s in landmark_sets()),
    ]
    OPTIONS = frozenset({"source", "metadata_csv", "fps", "image_size", "whole_dev"})
    VIDEO_OPTIONS = frozenset({"metadata_csv", "whole_dev"})
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Unpack the landmarks (landmarks/DEV, landmarks/TEST) or the videos, and metadata/, of "
        "doi.org/10.5281/zenodo.20548978 there."
    )

    def _plan(self, source: pathlib.Path | None) -> Sequence[Window]:
        clips = self._clips(source or self.tracks)
        videos = []
        for part, file in self._parted(source):
            folders, file_name = pathlib.PurePosixPath(file).parts[:-1], pathlib.PurePosixPath(file).name
            try:
                name = names.parse_avaprintdb(file_name)
            except NameRefused as refusal:
                self.ledger.refuse(file, "name", refusal)
                continue
            if name.corpus not in self.builder_config.corpora or name.generator not in self.builder_config.generators:
                continue
            if others := set(folders) & set(_GENERATORS) - {name.generator}:
                self.ledger.refuse(file, "name", f"generator {name.generator}, in folder {', '.join(others)}")
                continue
            split = self._split(part, name, file)
            if split is not None:
                videos.append(Video(_with_clip(name, clips.get(name.clip_id), file), split, file))
        if not videos and not self.ledger.rows:
            raise DatasetError(f"{source or self.tracks}: no file of {self.builder_config.description}")
        return self._windows(videos, source) if self.from_videos else [self._window(v, source) for v in videos]

    def _parted(self, source: pathlib.Path | None) -> Iterator[tuple[str | None, str]]:
        """(official part, file relative to the source); None where no folder of a video says which part."""
        if not self.from_videos:
            yield from ((part, path.relative_to(source).as_posix()) for part, path in _files(source))
            return
        for file in self._files(source):
            yield next((part for part in _PARTS if part in pathlib.PurePosixPath(file).parts), None), file

    def _split(self, part: str | None, name: VideoName, file: str) -> str | None:
        """The split of a video; None (and a row in the ledger) if it has none."""
        found = set()
        for identity in (name.driver, name.target):
            if identity in splits.AVAPRINTDB_TEST:
                found.add(splits.TEST)
            elif identity not in splits.AVAPRINTDB_DEV:
                self.ledger.refuse(file, "identity", f"{identity} is in neither official split")
                return None
            else:
                held_out = identity in splits.AVAPRINTDB_VALIDATION and not self.options.whole_dev
                found.add(splits.VALIDATION if held_out else splits.TRAIN)
        if part is not None and not found <= set(_PARTS[part]):
            raise DatasetError(
                f"{file} lies under {part}, but driver {name.driver} and target {name.target} are "
                f"officially in {' and '.join(sorted(found))}; DEV holds train and validation, TEST test"
            )
        if len(found) > 1:
            self.ledger.exclude(
                file, "cross_split", "one of driver and target is a training, the other a validation identity"
            )
            return None
        return found.pop()

    def _window(self, video: Video, source: pathlib.Path) -> Window:
        path = source / video.file
        return Window(
            split=video.split,
            **texts(video.name),
            load=self._loader(path, source),
            file=video.file,
            num_bytes=path.stat().st_size if path.exists() else 0,
            fps=self.options.fps,
            image_size=self.options.image_size,
        )

    def _clips(self, source: pathlib.Path) -> dict[str, VideoName]:
        """The source recording of every UUID, from whichever of the CSV files holds it."""
        given = self.options.metadata_csv
        if given is not None and not given.exists():
            raise DatasetError(f"{given}: no such file or folder; wanted one of {', '.join(_TABLES)}")
        tables = [given] if given is not None and given.is_file() else list(_tables(given or source))
        clips: dict[str, VideoName] = {}
        for table in tables:
            for uuid, clip in _pairs(table):
                if clips.setdefault(uuid, clip) != clip:
                    raise DatasetError(
                        f"{table}: {uuid} stands for {clip.clip_id}, elsewhere for {clips[uuid].clip_id}"
                    )
        if given is not None and not clips:
            raise DatasetError(f"{given}: no row with a UUID and a RAVDESS or CREMA-D recording; tables read: {tables}")
        self.notes.append(
            f"source recordings: {len(clips)} from {', '.join(t.name for t in tables)}"
            if clips
            else f"no source recordings found ({', '.join(_TABLES)}): clip_id is the UUID, sentence is empty"
        )
        return clips


def _with_clip(name: VideoName, clip: VideoName | None, file: str) -> VideoName:
    """The name with its source recording, where the tables say which one it is."""
    if clip is None:
        return name
    if clip.driver != name.driver.removeprefix("C"):
        raise DatasetError(
            f"{file}: driver {name.driver}, but {name.clip_id} stands for {clip.clip_id} of {clip.driver}"
        )
    return dataclasses.replace(name, clip_id=clip.clip_id, sentence=clip.sentence)


def _files(source: pathlib.Path) -> Iterator[tuple[str, pathlib.Path]]:
    root = source / "landmarks" if (source / "landmarks").is_dir() else source
    missing = [part for part in _PARTS if not (root / part).is_dir()]
    if missing:
        raise DatasetError(
            f"{root}: no folder {' or '.join(missing)}; wanted landmarks/DEV/<GEN>/*.npy and landmarks/TEST/<GEN>/*.npy"
        )
    for part in _PARTS:
        for path in sorted((root / part).rglob("*.np[yz]")):
            yield part, path


def _tables(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """The known CSV files in a folder, its metadata or generation folders, or those beside it."""
    places = [
        folder,
        folder / "metadata",
        folder / "generation",
        folder / "data" / "metadata",
        folder / "database" / "generation",
    ]
    places += [
        folder / "database" / "data" / "metadata",
        folder.parent / "metadata",
        folder.parent / "generation",
    ]
    for place in dict.fromkeys(map(os.path.normpath, places)):
        for table in _TABLES:
            if (path := pathlib.Path(place) / table).is_file():
                yield path


def _pairs(table: pathlib.Path) -> Iterator[tuple[str, VideoName]]:
    """(UUID, source recording) of the rows of a table that has a column for each, whatever they are called.

    The published tables differ in their headings (`driver_video_randomname`, `driver_video_path` in the
    generation tables), so columns are told by what they hold in the first row.
    """
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{table}: not a readable CSV file ({error})") from error
    if len(rows) < 2:
        return
    uuids = [i for i, value in enumerate(rows[1]) if _UUID.fullmatch(pathlib.PurePosixPath(value).stem)]
    clips = [i for i, value in enumerate(rows[1]) if _recording(value)]
    if not uuids or not clips:
        return
    for line, row in enumerate(rows[1:], start=2):
        clip = _recording(row[clips[0]]) if len(row) == len(rows[0]) else None
        if clip is None:
            raise DatasetError(
                f"{table}: line {line} holds no RAVDESS or CREMA-D recording in column {rows[0][clips[0]]!r}"
            )
        yield pathlib.PurePosixPath(row[uuids[0]]).stem, clip


def _recording(value: str) -> VideoName | None:
    try:
        return names.parse_recording(pathlib.PurePosixPath(value).name)
    except NameRefused:
        return None
