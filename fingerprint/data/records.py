"""Records on disk: their features, random access to a split, its tables, and the checks on both.

A data set is what a builder of `data_builders` left under `data_dir/name[/config]/version`: array_record
shards, TFDS' own description, `build.json` (schema, landmark set, channels, options, counts) and `digests.json`
(size and sha256 of every shard). TFDS builds in a folder called `incomplete.*` and renames it at the end, so a
folder named by a version is whole.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource

from fingerprint.errors import DatasetError, UnknownName
from fingerprint.landmarks import channels as channel_table
from fingerprint.landmarks import topology

SCHEMA = 1
BUILD_FILE = "build.json"
DIGESTS_FILE = "digests.json"
TEXT_FIELDS = ("driver", "target", "generator", "corpus", "clip_id", "sentence", "video_id", "landmark_set")
_SAME_WITHIN_VIDEO = (*TEXT_FIELDS, "fps", "image_size")
_REFERENCE = re.compile(
    r"(?P<name>[a-z][a-z0-9_]*)(?:/(?P<config>[A-Za-z0-9][\w.\-]*))?(?::(?P<version>\d+\.\d+\.\d+))?"
)
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_CHUNK = 64

Table = dict[str, np.ndarray]


def features(landmark_set: str, channels: Sequence[str] = ()) -> tfds.features.FeaturesDict:
    """TFDS features of one record, a window of one track (a whole track is one window as long as itself).

    Args:
        landmark_set: which points.
        channels: what else a record holds of each frame: `blendshapes` [time, 52], `pose` [time, 4, 4].

    Raises:
        UnknownName: no such landmark set, or no such channel that records hold.
    """
    shapes = {"landmarks": (topology.get(landmark_set).num_vertices, 3)}
    for name in channels:
        if name not in channel_table.STORED:
            raise UnknownName("channel of records", name, channel_table.STORED)
        shapes[name] = channel_table.STORED[name]
    # As bytes: encoding float by float made building four times slower.
    over_time = {
        name: tfds.features.Tensor(shape=(None, *shape), dtype=np.float32, encoding="bytes")
        for name, shape in shapes.items()
    }
    return tfds.features.FeaturesDict({**over_time, **_small_features()})


def _small_features() -> dict[str, Any]:
    number = tfds.features.Scalar
    return {
        "frame_mask": tfds.features.Tensor(shape=(None,), dtype=np.bool_, encoding="bytes"),
        "image_size": tfds.features.Tensor(shape=(2,), dtype=np.int32),
        "fps": number(np.float32),
        "window_index": number(np.int32),
        "start_frame": number(np.int32),
        **{field: tfds.features.Text() for field in TEXT_FIELDS},
    }


class RecordSource:
    """Random access to the records of one split; a grain data source, safe for its threads and processes.

    Attributes:
        name: `name[/config]:version`.
        split: the split as asked for.
        landmark_set: name of the landmark set of every record.
        channels: what else every record holds; see `features`.
    """

    def __init__(self, name: str, split: str, landmark_set: str, channels: Sequence[str], instructions):
        self.name, self.split, self.landmark_set, self.channels = name, split, landmark_set, tuple(channels)
        self._instructions = tuple(instructions)
        self._open()

    def _open(self) -> None:
        self._raw = ArrayRecordDataSource(self._instructions)
        self._ends = np.cumsum([i.take for i in self._instructions])
        self._features = features(self.landmark_set, self.channels)
        self._small = tfds.features.FeaturesDict(_small_features())
        self._metadata: Table | None = None

    def __getstate__(self):
        return {k: self.__dict__[k] for k in ("name", "split", "landmark_set", "channels", "_instructions")}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._open()

    def __repr__(self) -> str:
        return f"RecordSource({self.name!r}, split={self.split!r}, records={len(self)})"

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One record: NumPy arrays (read-only where they are large), NumPy scalars and `str`; see `features`.

        Raises:
            IndexError: no such record.
            DatasetError: the shard is damaged; the message names it.
        """
        index = index.__index__()
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)} in {self.name} {self.split}")
        return _plain(self._decode(self._features, index, self._read([index])[0]))

    def metadata(self) -> Table:
        """One row a record: every field but the arrays over time, `num_frames` and `num_valid` (i32).

        Reads every record once, then remembers; about 6,000 records of 90 KB a second.

        Raises:
            DatasetError: a shard is damaged; the message names it.
        """
        if self._metadata is None:
            chunks = [range(i, min(i + _CHUNK, len(self))) for i in range(0, len(self), _CHUNK)]
            with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
                rows = [row for chunk in pool.map(self._rows, chunks) for row in chunk]
            self._metadata = {key: _column(key, [row[key] for row in rows]) for key in rows[0]}
        return self._metadata

    def video_table(self) -> Table:
        """One row a video, as `tabulate_videos` makes it."""
        return tabulate_videos(self.metadata(), f"{self.name} {self.split}")

    def verify(self) -> None:
        """Read and check every record: shapes, finite values, zeros where masked, landmark set, keys.

        Raises:
            DatasetError: naming the record or the shard at fault.
        """
        seen = set()
        for index in range(len(self)):
            record = self[index]
            key = (record["video_id"], int(record["window_index"]))
            faults = []
            if key in seen:
                faults.append("its key stands twice")
            for name in ("landmarks", *self.channels):
                if len(record[name]) != len(record["frame_mask"]) or not len(record[name]):
                    faults.append(f"{len(record[name])} frames of {name}, {len(record['frame_mask'])} in the mask")
                elif not np.isfinite(record[name]).all() or record[name][~record["frame_mask"]].any():
                    faults.append(f"{name} must be finite, and zero where masked")
            if record["landmark_set"] != self.landmark_set:
                faults.append(f"landmark set {record['landmark_set']!r}, wanted {self.landmark_set!r}")
            if faults:
                raise DatasetError(f"{self._shard(index)}: record {key[0]}#{key[1]}: " + "; ".join(faults))
            seen.add(key)

    def _rows(self, indices: range) -> list[dict[str, Any]]:
        rows = []
        for index, raw in zip(indices, self._read(list(indices)), strict=True):
            row = _plain(self._decode(self._small, index, raw))
            mask = row.pop("frame_mask")
            rows.append({**row, "num_frames": len(mask), "num_valid": int(mask.sum())})
        return rows

    def _read(self, indices: list[int]) -> list[bytes]:
        try:
            return [self._raw[index] for index in indices]
        except Exception as error:  # array_record raises whatever its C++ side raised
            shards = sorted({self._shard(index).name for index in indices})
            where = self._shard(indices[0]).parent
            raise DatasetError(
                f"{where}: damaged shard {' or '.join(shards)} ({error}); {_rebuild(self.name)}"
            ) from error

    def _decode(self, spec: tfds.features.FeaturesDict, index: int, raw: bytes) -> dict[str, Any]:
        try:
            return spec.deserialize_example_np(raw)
        except Exception as error:
            raise DatasetError(f"{self._shard(index)}: record {index} is not of this schema ({error})") from error

    def _shard(self, index: int) -> pathlib.Path:
        return pathlib.Path(self._instructions[int(np.searchsorted(self._ends, index, side="right"))].filename)


def tabulate_videos(table: Table, where: str = "records") -> Table:
    """One row a video: its columns, frames summed over its windows, and `records` i32 [video, 2], its rows' range.

    Args:
        table: one row a record. where: names the records in messages.

    Raises:
        DatasetError: the windows of a video are apart, or disagree on whose it is.
    """
    ids = table["video_id"]
    first = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
    if len(np.unique(ids)) != len(first):
        values, counts = np.unique(ids[first], return_counts=True)
        raise DatasetError(f"{where}: windows of {values[counts > 1][0]} are not side by side")
    of = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(ids))))
    for key in _SAME_WITHIN_VIDEO:
        differs = np.flatnonzero((table[key] != table[key][first][of]).reshape(len(ids), -1).any(axis=1))
        if len(differs):
            raise DatasetError(f"{where}: windows of {ids[differs[0]]} differ in {key}")
    videos = {key: column[first] for key, column in table.items()}
    for key in ("num_frames", "num_valid"):
        videos[key] = np.add.reduceat(table[key], first).astype(np.int32)
    videos["records"] = np.stack([first, np.append(first[1:], len(ids))], axis=1).astype(np.int32)
    return videos


def open_split(data_dir: str | os.PathLike, dataset: str, split: str, *, verify: bool = False) -> RecordSource:
    """Open a split of a built data set.

    Args:
        data_dir: folder that holds data sets.
        dataset: `name/config[:version]`, or `name[:version]` of a builder without configs; the newest version
            is the default.
        split: as in TFDS: `train`, `train+validation`, `test[:10%]`.
        verify: compare every shard's digest and read every record.

    Raises:
        DatasetError: missing (the message holds the command that builds it), of another version, damaged, or
            no such split.
    """
    folder, name = locate(pathlib.Path(data_dir).expanduser(), dataset)
    build = read_build_file(folder)
    if build.get("schema") != SCHEMA:
        raise DatasetError(
            f"{folder}: records of schema {build.get('schema')}, this code reads schema {SCHEMA}; {_rebuild(name)}"
        )
    try:
        builder = tfds.builder_from_directory(folder)
        splits = builder.info.splits
    except Exception as error:  # TFDS raises whatever its JSON and protobuf parsers raised
        raise DatasetError(f"{folder}: not readable as a TFDS data set ({error}); {_rebuild(name)}") from error
    if builder.info.file_format != tfds.core.FileFormat.ARRAY_RECORD:
        raise DatasetError(f"{folder}: file format {builder.info.file_format}; wanted array_record; {_rebuild(name)}")
    channels = build.get("channels", ())  # absent from data sets built before there were any
    if builder.info.features.to_json() != features(build["landmark_set"], channels).to_json():
        raise DatasetError(f"{folder}: features.json differs from the record of this code; {_rebuild(name)}")
    _check_shards(folder, name, contents=verify)
    try:
        instructions = splits[split].file_instructions
    except Exception as error:
        raise DatasetError(f"{folder}: no split {split!r} ({error}); known: {', '.join(sorted(splits))}") from error
    instructions = [i for i in instructions if i.take]
    if not instructions:
        raise DatasetError(f"{folder}: split {split!r} holds no record")
    source = RecordSource(name, split, build["landmark_set"], channels, instructions)
    if verify:
        source.verify()
    return source


def read_build_file(folder: pathlib.Path) -> dict[str, Any]:
    """What a builder wrote of itself: schema, landmark set, options, counts.

    Raises:
        DatasetError: the file is missing or no JSON object.
    """
    return _read_json(folder / BUILD_FILE)


def write_digests(folder: pathlib.Path) -> None:
    """Write size and sha256 of every shard in `folder` to its `digests.json`; the last step of a build."""
    digests = {
        shard.name: {"bytes": shard.stat().st_size, "sha256": _sha256(shard)}
        for shard in sorted(folder.glob("*.array_record*"))
    }
    (folder / DIGESTS_FILE).write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")


def _check_shards(folder: pathlib.Path, name: str, contents: bool) -> None:
    for shard, wanted in _read_json(folder / DIGESTS_FILE).items():
        path = folder / shard
        size = path.stat().st_size if path.is_file() else None
        if size != wanted["bytes"]:
            found = "missing" if size is None else f"{size} bytes"
            raise DatasetError(f"{path}: damaged shard: {found}, wanted {wanted['bytes']} bytes; {_rebuild(name)}")
        if contents and _sha256(path) != wanted["sha256"]:
            raise DatasetError(
                f"{path}: damaged shard: its sha256 is not the one written at build time; {_rebuild(name)}"
            )


def locate(data_dir: pathlib.Path, dataset: str) -> tuple[pathlib.Path, str]:
    """Folder and full name, `name/config:version`, of a built data set.

    Raises:
        DatasetError: no such data set or version; the message holds the command that builds it.
    """
    match = _REFERENCE.fullmatch(dataset)
    if match is None:
        raise DatasetError(f"data set {dataset!r}: wanted name/config, name/config:1.0.0 or name")
    name = match["name"] + (f"/{match['config']}" if match["config"] else "")
    parent = data_dir / name
    versions = _versions(parent)
    if not versions:
        configs = sorted(d.name for d in parent.iterdir() if _versions(d)) if parent.is_dir() else []
        if configs:
            raise DatasetError(f"{parent}: give a config, one of {', '.join(f'{name}/{c}' for c in configs)}")
        raise DatasetError(
            f"no data set {name} in {data_dir} (looked for {parent}/<version>/dataset_info.json); build it: "
            f"python -m data_builders.build {name} --data_dir {data_dir}"
        )
    version = match["version"] or max(versions, key=lambda v: tuple(map(int, v.split("."))))
    if version not in versions:
        raise DatasetError(f"{parent}: no version {version}; built: {', '.join(versions)}; {_rebuild(name)}")
    return parent / version, f"{name}:{version}"


def _versions(folder: pathlib.Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(
        d.name for d in folder.iterdir() if _VERSION.fullmatch(d.name) and (d / "dataset_info.json").is_file()
    )


def _rebuild(name: str) -> str:
    return f"build it anew: python -m data_builders.build {name.split(':')[0]} --data_dir … --overwrite"


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: not readable ({error}); the data set was not written by this code") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: holds a {type(content).__name__}; wanted a JSON object")
    return content


def _sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    out = {}
    for key, value in record.items():
        if key in TEXT_FIELDS:
            out[key] = value.decode("utf-8")
        elif key == "fps":
            out[key] = np.float32(value)
        elif key in ("window_index", "start_frame"):
            out[key] = np.int32(value)
        else:
            out[key] = value
    return out


def _column(key: str, values: list[Any]) -> np.ndarray:
    if key in TEXT_FIELDS:
        return np.array(values, dtype=np.str_)
    return np.array(values, dtype=np.float32 if key == "fps" else np.int32)
