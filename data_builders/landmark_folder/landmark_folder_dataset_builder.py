"""Any tree `<driver>/<target>/<video>.npy|npz`, or `<driver>/<target>/<video>/w0.npy …`."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import ClassVar

import tensorflow_datasets as tfds

from data_builders import splits
from data_builders.base import Options, RecordBuilder, Window
from fingerprint.errors import ArrayRefused, DatasetError, NameRefused
from fingerprint.landmarks import arrays, topology
from fingerprint.landmarks.names import ORIGINAL, check_identity

_WINDOW = re.compile(r"w(\d{1,6})")
_SUFFIXES = (".npy", ".npz")
_METADATA = ("clip_id", "sentence", "generator", "corpus", "fps", "width", "height", "driver", "target")


class FolderConfig(tfds.core.BuilderConfig):
    """A data set made of a folder.

    Args:
        name: what the data set is to be called.
        landmark_set: which points its files hold.
    """

    def __init__(self, name: str, landmark_set: str):
        super().__init__(name=name, description=f"landmark set {landmark_set}")
        self.landmark_set = landmark_set


@dataclasses.dataclass(frozen=True)
class _Found:
    """A file of the tree: what its folders say, and its place among the windows of its video."""

    driver: str
    target: str
    stem: str
    path: pathlib.Path
    window_index: int
    start_frame: int


class Builder(RecordBuilder):
    """Builds a data set from a folder of landmark files; see README.md for the layout and the options."""

    BUILDER_CONFIGS: ClassVar = [FolderConfig(name, name) for name in topology.names()]
    OPTIONS = frozenset(
        {"source", "landmark_set", "corpus", "generator", "fps", "image_size"}
        | {"splits_csv", "shares", "seed", "metadata_csv"}
    )
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Put (or link) the folders <driver>/<target>/ there; files are .npy or .npz."

    @property
    def landmark_set(self) -> str:
        """The config's."""
        return self.builder_config.landmark_set

    def _expected_splits(self):
        return self._named_splits

    def _plan(self, source: pathlib.Path) -> Sequence[Window]:
        windows = self._described(list(self._files(source)), source)
        identities = {identity for w in windows for identity in (w.driver, w.target)}
        if not identities:
            raise DatasetError(
                f"{source}: no landmark file; wanted <driver>/<target>/<video>.npy or .npz, or "
                "<driver>/<target>/<video>/w0.npy"
            )
        if self.options.splits_csv is None:
            split_of = splits.by_hash(identities, self.options.shares, self.options.seed)
        else:
            split_of = splits.from_csv(self.options.splits_csv, identities)
        self._named_splits = tuple(name for name in splits.NAMES if name in split_of.values())
        plan = []
        for window in windows:
            split = splits.of_video(split_of, window.driver, window.target)
            if split is None:
                between = f"driver in {split_of[window.driver]}, target in {split_of[window.target]}"
                self.ledger.exclude(window.file, "cross_split", between)
            else:
                plan.append(dataclasses.replace(window, split=split))
        return plan

    def _files(self, source: pathlib.Path) -> Iterator[_Found]:
        for path in sorted((*source.glob("*.np[yz]"), *source.glob("*/*.np[yz]"))):
            self.ledger.refuse(path.relative_to(source), "layout", "wanted <driver>/<target>/<video>")
        for pair in sorted(source.glob("*/*/")):
            driver, target = pair.relative_to(source).parts
            if driver.startswith(".") or target.startswith("."):
                continue
            for entry in sorted(pair.iterdir()):
                if entry.name.startswith("."):
                    continue
                file = str(entry.relative_to(source))
                if not entry.is_dir() and entry.suffix not in _SUFFIXES:
                    self.ledger.exclude(file, "extension", "neither .npy nor .npz")
                    continue
                try:
                    stem = check_identity(entry.name if entry.is_dir() else entry.stem, "video")
                    check_identity(driver, "driver")
                    check_identity(target, "target")
                except NameRefused as refusal:
                    self.ledger.refuse(file, "name", refusal)
                    continue
                if entry.is_dir():
                    yield from self._windows(entry, source, driver, target, stem)
                else:
                    yield _Found(driver, target, stem, entry, 0, 0)

    def _windows(self, folder: pathlib.Path, source, driver: str, target: str, stem: str) -> Iterator[_Found]:
        """The windows `w<k>` of one video; the k-th starts at k times the first's length."""
        numbered = {}
        for path in sorted(folder.iterdir()):
            match = _WINDOW.fullmatch(path.stem)
            file = str(path.relative_to(source))
            if match is None or path.suffix not in _SUFFIXES:
                self.ledger.exclude(file, "extension", "not of the form w<k>.npy or w<k>.npz")
            elif int(match[1]) in numbered:
                self.ledger.refuse(file, "name", f"window {int(match[1])} stands twice")
            else:
                numbered[int(match[1])] = path
        length = None
        for index, path in sorted(numbered.items()):
            try:
                length = arrays.read_header(path, root=source).shape[0] if length is None else length
            except ArrayRefused as refusal:
                self.ledger.refuse(path.relative_to(source), refusal.reason, refusal.detail)
                continue
            yield _Found(driver, target, stem, path, index, index * length)

    def _described(self, found: Sequence[_Found], source: pathlib.Path) -> list[Window]:
        rows = self._metadata()
        unused = set(rows)
        windows = []
        for item in found:
            name = f"{item.driver}--{item.target}--{item.stem}"
            row = rows.get(name) or rows.get(item.stem) or {}
            unused -= {name, item.stem}
            driver, target = row.get("driver") or item.driver, row.get("target") or item.target
            rendered = ORIGINAL if driver == target else "unknown"
            size = (int(row["width"]), int(row["height"])) if row.get("width") else self.options.image_size
            windows.append(
                Window(
                    split="",
                    video_id=name,
                    driver=driver,
                    target=target,
                    generator=row.get("generator") or self.options.generator or rendered,
                    corpus=row.get("corpus") or self.options.corpus or self.builder_config.name,
                    clip_id=row.get("clip_id") or f"{driver}--{item.stem}",
                    sentence=row.get("sentence") or "",
                    load=self._loader(item.path, source),
                    file=str(item.path.relative_to(source)),
                    num_bytes=item.path.stat().st_size if item.path.exists() else 0,
                    window_index=item.window_index,
                    start_frame=item.start_frame,
                    fps=float(row["fps"]) if row.get("fps") else self.options.fps,
                    image_size=size,
                )
            )
        for video_id in sorted(unused):
            self.ledger.refuse(video_id, "missing", f"{self.options.metadata_csv} has a row, the folder no file")
        return windows

    def _metadata(self) -> dict[str, dict[str, str]]:
        path = self.options.metadata_csv
        if path is None:
            return {}
        rows: dict[str, dict[str, str]] = {}
        for row in splits.read_csv(path, required=("video_id",), optional=_METADATA):
            video_id = check_identity(row["video_id"], "video_id")
            if video_id in rows:
                raise DatasetError(f"{path}: video_id {video_id} stands twice")
            for key in ("driver", "target"):
                if row.get(key):
                    check_identity(row[key], key)
            _check_numbers(path, row)
            rows[video_id] = row
        return rows


def infer_landmark_set(options: Options) -> str:
    """The landmark set of a folder's first readable file, if only one known set has its number of points.

    Raises:
        DatasetError: no readable file, or no or several sets of that many points; the message lists the known
            ones.
    """
    if options.source is None or not options.source.is_dir():
        raise DatasetError(f"source {options.source} is no folder; give --source")
    known = ", ".join(f"{name} ({topology.get(name).num_vertices} points)" for name in topology.names())
    for path in sorted(p for suffix in _SUFFIXES for p in options.source.glob(f"*/*/**/*{suffix}")):
        try:
            header = arrays.read_header(path, root=options.source)
        except ArrayRefused:
            continue
        fitting = topology.for_num_vertices(header.shape[1])
        if len(fitting) == 1:
            return fitting[0]
        raise DatasetError(f"{path} holds {header.shape[1]} points; give --landmark_set, one of {known}")
    raise DatasetError(f"{options.source}: no readable landmark file to infer the landmark set from; known: {known}")


def make_config(name: str, options: Options) -> FolderConfig:
    """The config of that name: a predefined one, or a new one with the options' or the files' landmark set.

    Raises:
        DatasetError: the name is a landmark set's and the option names another, or the set cannot be
            inferred.
        UnknownName: no such landmark set.
    """
    known = {config.name: config for config in Builder.BUILDER_CONFIGS}
    if name in known:
        if options.landmark_set not in (None, known[name].landmark_set):
            raise DatasetError(
                f"config {name} holds landmark set {known[name].landmark_set}, not {options.landmark_set}"
            )
        return known[name]
    return FolderConfig(name, topology.get(options.landmark_set or infer_landmark_set(options)).name)


def _check_numbers(path: pathlib.Path, row: dict[str, str]) -> None:
    try:
        sound = (
            all(int(row[key]) > 0 for key in ("width", "height") if row.get(key))
            and 0 <= float(row.get("fps") or 0) < 1e4
        )
    except ValueError:
        sound = False
    if not sound or bool(row.get("width")) != bool(row.get("height")):
        raise DatasetError(
            f"{path}: {row['video_id']}: fps, width and height must be positive numbers, width with height"
        )
