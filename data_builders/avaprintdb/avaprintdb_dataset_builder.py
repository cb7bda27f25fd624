"""AVAPrintDB's landmark folder: `landmarks/{DEV,TEST}/<GEN>/<target>--<driver>--<uuid>--<GEN>.npy`."""

from __future__ import annotations

import csv
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import ClassVar

import tensorflow_datasets as tfds

from data_builders import splits
from data_builders.base import RecordBuilder, Window
from fingerprint.errors import DatasetError, NameRefused
from fingerprint.landmarks import names
from fingerprint.landmarks.names import VideoName

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
    """Which part of the database: source corpora and generators."""

    def __init__(self, name: str, corpora: Sequence[str], generators: Sequence[str]):
        super().__init__(name=name, description=f"{' and '.join(corpora)}, rendered by {', '.join(generators)}")
        self.corpora, self.generators = frozenset(corpora), frozenset(generators)


_CORPORA, _GENERATORS = ("cremad", "ravdess"), ("GAGA", "LIVE", "HUNY")


class Builder(RecordBuilder):
    """Builds AVAPrintDB with its own DEV and TEST identities; see README.md."""

    BUILDER_CONFIGS: ClassVar = [
        *(AvaprintdbConfig(f"{c}_{g.lower()}", (c,), (g,)) for c in _CORPORA for g in _GENERATORS),
        AvaprintdbConfig("all", _CORPORA, _GENERATORS),
    ]
    OPTIONS = frozenset({"source", "metadata_csv", "fps", "image_size", "whole_dev"})
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Unpack the landmarks and the metadata of doi.org/10.5281/zenodo.20548978 there: "
        "landmarks/DEV, landmarks/TEST, metadata/."
    )
    landmark_set = "avaprintdb109"

    def _plan(self, source: pathlib.Path) -> Sequence[Window]:
        clips = self._clips(source)
        plan = []
        for part, path in _files(source):
            file = str(path.relative_to(source))
            try:
                name = names.parse_avaprintdb(path.name)
            except NameRefused as refusal:
                self.ledger.refuse(file, "name", refusal)
                continue
            if name.corpus not in self.builder_config.corpora or name.generator not in self.builder_config.generators:
                continue
            if path.parent.name not in (name.generator, part):
                self.ledger.refuse(file, "name", f"generator {name.generator}, in folder {path.parent.name}")
                continue
            split = self._split(part, name, file)
            if split is not None:
                plan.append(self._window(name, clips.get(name.clip_id), split, path, source))
        if not plan and not self.ledger.rows:
            raise DatasetError(f"{source}: no file of {self.builder_config.description} under DEV or TEST")
        return plan

    def _split(self, part: str, name: VideoName, file: str) -> str | None:
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
        if not found <= set(_PARTS[part]):
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

    def _window(self, name: VideoName, clip: VideoName | None, split: str, path: pathlib.Path, source) -> Window:
        if clip is not None and clip.driver != name.driver.removeprefix("C"):
            raise DatasetError(
                f"{path.relative_to(source)}: driver {name.driver}, but {name.clip_id} stands for "
                f"{clip.clip_id} of {clip.driver}"
            )
        return Window(
            split=split,
            video_id=name.video_id,
            driver=name.driver,
            target=name.target,
            generator=name.generator,
            corpus=name.corpus,
            clip_id=clip.clip_id if clip else name.clip_id,
            sentence=clip.sentence if clip else "",
            load=self._loader(path, source),
            file=str(path.relative_to(source)),
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
    name = pathlib.PurePosixPath(value).name
    for parser in (names.parse_ravdess, names.parse_cremad):
        try:
            return parser(name)
        except NameRefused:
            continue
    return None
