"""What all builders share: plan the windows, check the plan, load and write them, fail before finalising.

A builder says which windows there are (`_plan`) and nothing else. TFDS writes into `incomplete.*` and renames
it when this class returns, so whatever raises here leaves no data set behind. `ShardBasedBuilder` it is,
because TFDS' shuffler spills through TensorFlow once a split passes 1 GB, and because the windows of a video
should lie side by side.
"""

from __future__ import annotations

import abc
import collections
import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float
from tensorflow_datasets.proto import tf_example_pb2
from tqdm import auto as tqdm

from data_builders import splits
from data_builders.ledger import FAILURES_FILE, Ledger
from fingerprint.data import records
from fingerprint.errors import ArrayRefused, DatasetError
from fingerprint.landmarks import arrays, names, topology
from fingerprint.landmarks.arrays import LoadedTrack
from fingerprint.landmarks.channels import ordered
from fingerprint.landmarks.names import VideoName

_SHARD_BYTES = 64 << 20
_SHARD_RECORDS = 1024
_OF_THIS_MACHINE = {"source", "tracks", "landmark_model", "processes"}


@dataclasses.dataclass(frozen=True)
class Options:
    """What a user may say about a build. A builder takes those named in its `OPTIONS` and refuses the others.

    Attributes:
        source: folder with the files as published.
        tracks: folder of the tracks of the videos; those that are missing are extracted into it.
        landmark_model: file of MediaPipe's face landmarker.
        processes: how many extract at a time; None: one a core.
        resample_fps: bring every track to this rate; None: the video's own.
        landmark_set: which points they hold; None: the only known set with that many points.
        corpus, generator, fps, image_size: written to every record that does not say otherwise itself.
        splits_csv: file with the columns identity,split.
        shares: of the identities in train, validation and test, where no list splits them.
        seed: of that split.
        metadata_csv: file with what the names do not say (see the builder).
        whole_dev: put all development identities into train and make no validation split.
        drop_first_frame: drop the first frame of every window.
        channels: what records hold of each frame beside the landmarks: blendshapes, pose.
        failure_budget: largest share of files that may be refused.
        max_frames: longest track accepted.
    """

    source: pathlib.Path | None = None
    tracks: pathlib.Path | None = None
    landmark_model: pathlib.Path | None = None
    processes: int | None = None
    resample_fps: float | None = None
    landmark_set: str | None = None
    corpus: str | None = None
    generator: str | None = None
    fps: float | None = None
    image_size: tuple[int, int] | None = None
    splits_csv: pathlib.Path | None = None
    shares: tuple[float, float, float] = (0.7, 0.1, 0.2)
    seed: int = 0
    metadata_csv: pathlib.Path | None = None
    whole_dev: bool = False
    drop_first_frame: bool = False
    channels: tuple[str, ...] = ()
    failure_budget: float = 0.01
    max_frames: int = arrays.MAX_FRAMES

    def __post_init__(self):
        object.__setattr__(self, "channels", ordered(self.channels))


@dataclasses.dataclass(frozen=True)
class Window:
    """One record to be: what is known of it, and how to load it.

    Attributes:
        load: reads the window's frames; may raise ArrayRefused.
        file: where it comes from, relative to the source; for messages.
        num_bytes: size of the file; for sizing shards.
        start_frame: its first frame in the file.
        fps, image_size: None: as the file says.
    """

    split: str
    video_id: str
    driver: str
    target: str
    generator: str
    corpus: str
    clip_id: str
    sentence: str
    load: Callable[[], LoadedTrack]
    file: str
    num_bytes: int
    window_index: int = 0
    start_frame: int = 0
    fps: float | None = None
    image_size: tuple[int, int] | None = None

    @property
    def key(self) -> str:
        """The record's key."""
        return f"{self.video_id}#{self.window_index}"


@dataclasses.dataclass(frozen=True, eq=False)
class PlacedTrack(LoadedTrack):
    """A track that knows where in its video it begins, which a `Window` planned before loading does not.

    Attributes:
        channels: what records hold beside the landmarks, by name; zero on masked frames.
    """

    start_frame: int = 0
    channels: Mapping[str, Float[np.ndarray, "time ..."]] = dataclasses.field(default_factory=dict)


class RecordBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Base of the builders of this package.

    Class attributes:
        OPTIONS: names of the `Options` that the builder takes.
        SPLITS: splits that must not be empty, unless `_expected_splits` says otherwise.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version, record schema 1."}
    OPTIONS: ClassVar[frozenset[str]]
    SPLITS: ClassVar[tuple[str, ...]] = splits.NAMES

    def __init__(self, *, options: Options | None = None, file_format: str | None = None, **kwargs):
        """Builder for `data_dir`, `config`, `version` as in TFDS.

        Args:
            options: see `Options`.
            file_format: array_record; anything else is refused, because only it is read at random without
                TensorFlow.
            **kwargs: for TFDS.

        Raises:
            DatasetError: an option that this builder does not take, or another file format.
        """
        self.options = options or Options()
        if file_format not in (None, "array_record", tfds.core.FileFormat.ARRAY_RECORD):
            raise DatasetError(f"file format {file_format}; records are written as array_record")
        self.ledger = Ledger()
        self.notes: list[str] = []
        super().__init__(file_format="array_record", **kwargs)
        # TFDS rebuilds a pickled builder from these.
        self._original_state = {**self._original_state, "options": self.options}
        self._check_options()

    @classmethod
    def options_of(cls, config: tfds.core.BuilderConfig | None) -> frozenset[str]:
        """Names of the `Options` that a config takes."""
        del config
        return cls.OPTIONS

    def settled(self) -> Options:
        """The options with every default filled in that depends on the place where the data set is built."""
        return self.options

    @property
    @abc.abstractmethod
    def landmark_set(self) -> str:
        """Name of the landmark set of the records."""

    @abc.abstractmethod
    def _plan(self, source: pathlib.Path) -> Sequence[Window]:
        """All windows, with their splits; files left out go to `self.ledger`."""

    def _expected_splits(self) -> tuple[str, ...]:
        return tuple(s for s in self.SPLITS if not (self.options.whole_dev and s == splits.VALIDATION))

    def _source(self, dl_manager) -> pathlib.Path:
        """The folder with the files: the option, else TFDS' manual folder."""
        if self.options.source is not None:
            source = self.options.source
        else:
            try:
                source = pathlib.Path(dl_manager.manual_dir)
            except AssertionError as error:
                raise DatasetError(
                    f"{self.name}: no source folder; give --source (`tfds build`: --manual_dir). {error}"
                ) from error
        if not source.is_dir():
            raise DatasetError(f"{self.name}: source {source} is no folder. {self.MANUAL_DOWNLOAD_INSTRUCTIONS}")
        return source

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(features=records.features(self.landmark_set, self.options.channels))

    def _split_of(self, name: VideoName, split_of: Mapping[str, str], file) -> str | None:
        """The split of a video; None (and a row in the ledger) for a bad recording and between two splits."""
        if (bad := names.known_bad(name.clip_id)) is not None:
            self.ledger.exclude(file, "known_bad", bad)
            return None
        split = splits.of_video(split_of, name.driver, name.target)
        if split is None:
            between = f"driver in {split_of[name.driver]}, target in {split_of[name.target]}"
            self.ledger.exclude(file, "cross_split", between)
        return split

    def _loader(self, path: pathlib.Path, root: pathlib.Path) -> Callable[[], LoadedTrack]:
        return functools.partial(
            arrays.load_landmarks, path, self.landmark_set, root=root, max_frames=self.options.max_frames
        )

    def _example_writer(self) -> tfds.core.ExampleWriter:
        return _ReproducibleWriter(self.info.file_format)

    def _shard_iterators_per_split(self, dl_manager) -> Mapping[str, Sequence[Callable[[], Iterator]]]:
        windows = list(self._plan(self._source(dl_manager)))
        check_plan(windows, self._expected_splits(), self.ledger)
        self._written: collections.Counter[str] = collections.Counter()
        self._bar = tqdm.tqdm(
            total=len(windows), unit=" records", desc=f"Building {self.info.full_name}", mininterval=1.0
        )
        shards = {}
        for split in splits.NAMES:
            chosen = [w for w in windows if w.split == split]
            if chosen:
                shards[split] = [functools.partial(self._records, chunk) for chunk in _shards(chosen)]
        return shards

    def _records(self, windows: Sequence[Window]) -> Iterator[tuple[str, dict[str, Any]]]:
        for window in windows:
            self._bar.update()
            try:
                track = window.load()
            except ArrayRefused as refusal:
                self.ledger.refuse(window.file, refusal.reason, refusal.detail)
                continue
            self._written[window.split] += 1
            yield window.key, as_record(window, track, self.landmark_set)

    def _download_and_prepare(self, dl_manager, download_config=None) -> None:
        self.ledger, self.notes = Ledger(), []
        # Beside the folder being built, which is deleted when the build fails.
        failures = pathlib.Path(self.data_path).parent / FAILURES_FILE
        try:
            super()._download_and_prepare(dl_manager, download_config)
            self._check_outcome()
        except DatasetError as error:
            if not self.ledger.rows:
                raise
            self.ledger.write(failures)
            raise DatasetError(f"{error}; every file left out is in {failures}") from error
        finally:
            if hasattr(self, "_bar"):
                self._bar.close()
        failures.unlink(missing_ok=True)
        folder = pathlib.Path(self.data_path)
        self.ledger.write(folder / FAILURES_FILE)
        (folder / records.BUILD_FILE).write_text(json.dumps(self._build_file(), indent=1) + "\n", encoding="utf-8")
        records.write_digests(folder)

    def _check_outcome(self) -> None:
        empty = [s for s in self._expected_splits() if not self._written[s]]
        refused, written = self.ledger.count("refused"), sum(self._written.values())
        if refused > self.options.failure_budget * (refused + written):
            reasons = ", ".join(f"{n} × {reason}" for reason, n in self.ledger.reasons("refused").items())
            raise DatasetError(
                f"{self.name}: {refused} of {refused + written} files refused ({reasons}), more than the "
                f"failure budget of {self.options.failure_budget:.2%}"
            )
        if empty:
            raise DatasetError(f"{self.name}: no usable file in split {', '.join(empty)}")

    def _build_file(self) -> dict[str, Any]:
        return {
            "schema": records.SCHEMA,
            "landmark_set": self.landmark_set,
            "channels": list(self.options.channels),
            "options": describe(self),
            "records": dict(self._written),
            "refused": self.ledger.reasons("refused"),
            "excluded": self.ledger.reasons("excluded"),
            "notes": self.notes,
        }

    def _check_options(self) -> None:
        default = Options()
        always = {"failure_budget", "max_frames"}
        given = {
            f.name for f in dataclasses.fields(Options) if getattr(self.options, f.name) != getattr(default, f.name)
        }
        takes = self.options_of(self.builder_config) | always
        if refused := given - takes:
            raise DatasetError(
                f"{self.info.full_name} takes no option {', '.join(sorted(refused))}; "
                f"it takes {', '.join(sorted(takes))}"
            )
        if not 0 <= self.options.failure_budget <= 1:
            raise DatasetError(f"failure budget {self.options.failure_budget}; wanted a share from 0 to 1")


class _ReproducibleWriter(tfds.core.ExampleWriter):
    """Writes equal records as equal bytes; protobuf's order of the fields changes from process to process."""

    def write(self, path, examples):
        return super().write(path, ((key, _in_order(example)) for key, example in examples))


def _in_order(example: bytes) -> bytes:
    return tf_example_pb2.Example.FromString(example).SerializeToString(deterministic=True)


def check_plan(windows: Sequence[Window], expected_splits: Sequence[str], ledger: Ledger) -> None:
    """Refuse a plan that would make a bad data set.

    Raises:
        DatasetError: a key twice, an identity in two splits, or an expected split without a window.
    """
    left_out = f" ({ledger.count('refused')} files refused, {ledger.count('excluded')} excluded)" if ledger.rows else ""
    keys = collections.Counter(window.key for window in windows)
    if twice := [key for key, count in keys.items() if count > 1]:
        files = [window.file for window in windows if window.key == twice[0]]
        raise DatasetError(f"{len(twice)} record keys stand twice, first {twice[0]}: {', '.join(files[:4])}")
    split_of: dict[str, dict[str, str]] = collections.defaultdict(dict)
    for window in windows:
        for identity in (window.driver, window.target):
            split_of[identity].setdefault(window.split, window.file)
    for identity, found in sorted(split_of.items()):
        if len(found) > 1:
            where = "; ".join(f"{split}: {file}" for split, file in found.items())
            raise DatasetError(f"{identity} is in {len(found)} splits ({where}); an identity has one split")
    present = {window.split for window in windows}
    if empty := [split for split in expected_splits if split not in present]:
        raise DatasetError(f"no file for split {', '.join(empty)}{left_out}")


def as_record(window: Window, track: LoadedTrack, landmark_set: str) -> dict[str, Any]:
    """The record of a loaded window.

    Raises:
        DatasetError: landmarks that are not finite or not those of the set; a fault of the builder.
    """
    vertices = topology.get(landmark_set).num_vertices
    if track.landmarks.shape != (len(track.frame_mask), vertices, 3) or not np.isfinite(track.landmarks).all():
        raise DatasetError(f"{window.key}: landmarks {track.landmarks.shape} must be finite and (time, {vertices}, 3)")
    placed = track if isinstance(track, PlacedTrack) else PlacedTrack(**vars(track))
    for name, values in placed.channels.items():
        if len(values) != len(track.frame_mask) or not np.isfinite(values).all():
            raise DatasetError(
                f"{window.key}: {name} {values.shape} must be finite and of {len(track.frame_mask)} frames"
            )
    return {
        "landmarks": np.ascontiguousarray(track.landmarks, np.float32),
        "frame_mask": np.asarray(track.frame_mask, np.bool_),
        "image_size": np.asarray(track.image_size if window.image_size is None else window.image_size, np.int32),
        "fps": np.float32(track.fps if window.fps is None else window.fps),
        "window_index": window.window_index,
        "start_frame": window.start_frame + placed.start_frame,
        "landmark_set": landmark_set,
        **{name: np.ascontiguousarray(values, np.float32) for name, values in placed.channels.items()},
        **texts(window),
    }


def texts(of: Window | VideoName) -> dict[str, str]:
    """The fields of a record that a file's name says."""
    return {field: getattr(of, field) for field in records.TEXT_FIELDS if field != "landmark_set"}


def describe(builder: RecordBuilder) -> dict[str, Any]:
    """The options as they go into `build.json`: files by name and digest; not those that change no record, and no
    channels where there are none, so that data sets built before there were any are still the same."""
    out = {}
    for name in sorted(builder.options_of(builder.builder_config) - _OF_THIS_MACHINE):
        value = getattr(builder.options, name)
        if name == "channels" and not value:
            continue
        if isinstance(value, pathlib.Path):
            value = (
                {"name": value.name, "sha256": hashlib.sha256(value.read_bytes()).hexdigest()}
                if value.is_file()
                else value.name
            )
        out[name] = list(value) if isinstance(value, tuple) else value
    return out


def _shards(windows: Sequence[Window]) -> list[list[Window]]:
    """Windows by shard: videos in the order of their hash, so that a slice is a mixture."""
    order = sorted(windows, key=lambda w: (hashlib.sha256(w.video_id.encode()).digest(), w.window_index))
    shards, size = [[]], 0
    for window in order:
        if shards[-1] and (size + window.num_bytes > _SHARD_BYTES or len(shards[-1]) == _SHARD_RECORDS):
            shards.append([])
            size = 0
        shards[-1].append(window)
        size += window.num_bytes
    return shards
