"""Records → batches: grain over record sources, deterministic in (seed, step), sharded by process, exact to resume."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import grain
import numpy as np
from jaxtyping import Bool, Float, Int

from fingerprint.data import augment
from fingerprint.data.one_face import OneFaceSource
from fingerprint.data.record_sources import RecordSource, ReenactedSource, face_shapes, finite_record, reenacted
from fingerprint.data.sampler import DriverSampler
from fingerprint.errors import ConfigError, DatasetError
from fingerprint.landmarks import channels as channel_table
from fingerprint.landmarks import normalize, windows
from fingerprint.landmarks.channels import Layout
from fingerprint.landmarks.windows import WindowSpec


class TrainBatch(NamedTuple):
    """One process's part of a global batch.

    Attributes:
        windows: normalised landmarks, the channels asked for behind them (`landmarks.channels`); zero on masked frames.
        frame_mask: frames that count.
        driver: driver's code among the split's drivers.
        target, video: codes of the face shown and of the video: equal in two rows only if these are the same, mirrored
            and reenacted ones being others.
        example_index: position in the global batch.
        record: row of the record in its split, to name it in messages.
    """

    windows: Float[np.ndarray, "batch time vertex 3"]
    frame_mask: Bool[np.ndarray, "batch time"]
    driver: Int[np.ndarray, "batch"]
    target: Int[np.ndarray, "batch"]
    video: Int[np.ndarray, "batch"]
    example_index: Int[np.ndarray, "batch"]
    record: Int[np.ndarray, "batch"]


@dataclasses.dataclass(frozen=True)
class TrainExamples:
    """Loads example `slot` of step `step`; a pure function of both."""

    source: RecordSource
    sampler: DriverSampler
    spec: WindowSpec
    normalization: str
    layout: Layout
    options: augment.Augmentation
    shapes: dict[str, np.ndarray]
    codes: Codes
    seed: int

    def __call__(self, step: int, slot: int) -> TrainBatch:
        plan = self.sampler.batch(step)
        row = int(plan.record[slot])
        record = finite_record(self.source, row)
        rng = np.random.default_rng([self.seed, 2, step, slot])
        target, video = int(self.codes.target[row]), int(self.codes.video[row])
        mask = record["frame_mask"]
        if self.options.reenact and rng.random() < self.options.reenact:
            others = [name for name in self.shapes if name != record["target"]]
            worn = others[rng.integers(len(others))]
            target, video = self.codes.names.index(worn), len(self.codes.video) + slot
            record = record | reenacted(record, self.shapes[worn])
        track = normalized(record, self.normalization, self.layout)
        track, mask = windows.in_time(track, mask, self.spec)
        possible = windows.starts(mask, _anywhere(self.spec))
        if not len(possible):
            raise DatasetError(
                f"record {record['video_id']!r} holds no window of {self.spec.length} frames with enough valid ones"
            )
        window, mask = windows.cut(track, mask, int(possible[rng.integers(len(possible))]), self.spec.length)
        driver = int(plan.driver[slot])
        mirrored = np.random.default_rng([self.seed, 3, step, driver]).random() < self.options.mirror
        window, mask = augment.apply(
            window,
            mask,
            self.options,
            self.layout.landmark_set,
            rng,
            mirrored=bool(mirrored),
            channels=self.layout.channels,
        )
        # A mirrored face is another face.
        codes = (driver, 2 * target + bool(mirrored), video, slot, row)
        return TrainBatch(window, mask, *(np.int32(code) for code in codes))


class Codes(NamedTuple):
    """Numbers for names: of each record's face and video.

    Attributes:
        names: faces in the order of their codes.
    """

    target: Int[np.ndarray, "record"]
    video: Int[np.ndarray, "record"]
    names: list[str]

    @classmethod
    def of(cls, metadata: dict[str, np.ndarray]) -> Codes:
        names, target = np.unique(metadata["target"], return_inverse=True)
        return cls(target, np.unique(metadata["video_id"], return_inverse=True)[1], names.tolist())


def normalized(record: dict, normalization: str, layout: Layout) -> Float[np.ndarray, "time vertex 3"]:
    """A record's whole track as windows are cut from it: normalised, with the channels of `layout`.

    Raises:
        DatasetError: not finite.
        ArrayRefused: the normalisation cannot be had of it.
    """

    def points(name: str) -> np.ndarray:
        return normalize.get(name)(record["landmarks"], record["frame_mask"], record["image_size"], layout.landmark_set)

    track = points(normalization)
    if layout.channels:
        given = {name: record[name] for name in layout.stored}
        if "canonical" in layout.channels:
            given["canonical"] = points(channel_table.CANONICAL)
        track = layout.pack(track, record["frame_mask"], given)
    if not np.isfinite(track).all():
        raise DatasetError(f"record {record['video_id']!r} is not finite after normalization {normalization!r}")
    return track


def check_channels(source: RecordSource, layout: Layout) -> None:
    """See that records hold what `layout` asks for.

    Raises:
        ConfigError: they do not; or they were put on other faces, which leaves blendshapes and pose behind.
    """
    if not layout.stored or not len(source):
        return
    for kind, option in ((ReenactedSource, "data.reenact_targets"), (OneFaceSource, "data.anonymise")):
        if isinstance(source, kind):
            raise _not_reenacted(layout, option)
    held = source[0]
    if missing := [name for name in layout.stored if name not in held]:
        raise ConfigError(
            f"channels (data.channels, or the released model's) ask for {', '.join(missing)}, which the records do not "
            f"hold; build the data set from videos with --channels {' '.join(layout.stored)}"
        )


def _not_reenacted(layout: Layout, option: str) -> ConfigError:
    return ConfigError(
        f"{option} puts landmarks on other faces, and leaves {', '.join(layout.stored)} of the old one; take them out "
        f"of data.channels or do without {option}"
    )


def _anywhere(spec: WindowSpec) -> WindowSpec:
    return dataclasses.replace(spec, stride=1)


def usable_records(source: RecordSource, spec: WindowSpec) -> Bool[np.ndarray, "record"]:
    """Records with enough valid frames in some window; ones shorter than a window only with `pad_short`.

    The table answers for most; masks are read only where many frames are lost.
    """
    metadata = source.metadata()
    frames, valid = metadata["num_frames"], metadata["num_valid"]
    if spec.resample:
        # Where nothing is lost all instants are valid; elsewhere only the mask tells.
        usable = valid == frames
        for row in np.flatnonzero(~usable & (valid > 0)).tolist():
            record = source[row]
            _, mask = windows.in_time(record["landmarks"], record["frame_mask"], spec)
            usable[row] = len(windows.starts(mask, _anywhere(spec))) > 0
        return usable
    # Of `count` windows side by side, one holds at least their mean number of valid frames.
    count, rest = np.maximum(frames // spec.length, 1), np.where(frames < spec.length, 0, frames % spec.length)
    long_enough = (frames >= spec.length) | spec.pad_short
    usable = long_enough & (valid - rest >= spec.least_valid * count)
    for row in np.flatnonzero(long_enough & ~usable & (valid >= spec.least_valid)).tolist():
        usable[row] = len(windows.starts(source[row]["frame_mask"], _anywhere(spec))) > 0
    return usable


def train_examples(
    source: RecordSource,
    *,
    landmark_set: str,
    normalization: str,
    spec: WindowSpec,
    options: augment.Augmentation,
    drivers_per_batch: int,
    windows_per_driver: int,
    same_target: bool,
    same_target_share: float = 0.5,
    same_target_faces: int = 1,
    leave_out_few: bool = False,
    channels: Sequence[str] = (),
    seed: int,
) -> TrainExamples:
    """Check that the split can feed such batches, and return the loader of single examples."""
    normalize.get(normalization)
    layout = Layout(landmark_set, channels)
    check_channels(source, layout)
    if options.reenact and layout.stored:
        raise _not_reenacted(layout, "augment.reenact")
    metadata = source.metadata()
    foreign = set(np.unique(metadata["landmark_set"]).tolist()) - {landmark_set}
    if foreign:
        raise ConfigError(
            f"records hold landmark set {', '.join(sorted(foreign))}; the configuration asks for {landmark_set}"
        )
    sampler = DriverSampler(
        metadata["driver"],
        metadata["target"],
        usable_records(source, spec),
        clip_id=metadata["clip_id"],
        drivers_per_batch=drivers_per_batch,
        windows_per_driver=windows_per_driver,
        same_target=same_target,
        same_target_share=same_target_share,
        same_target_faces=same_target_faces,
        leave_out_few=leave_out_few,
        seed=seed,
    )
    shapes = face_shapes(source) if options.reenact else {}
    if options.reenact and len(shapes) < 2:
        raise ConfigError("reenactment needs at least two faces in the training split")
    return TrainExamples(source, sampler, spec, normalization, layout, options, shapes, Codes.of(metadata), seed)


def train_iterator(
    examples: TrainExamples,
    *,
    num_steps: int,
    share: slice,
    threads: int = 8,
    prefetch: int = 4,
    workers: int = 0,
) -> grain.DatasetIterator:
    """Batches of steps 0 … `num_steps` - 1, rows `share` of each; its state can be saved and set.

    Args:
        share: this process's rows of the global batch.
        threads: reading threads. prefetch: batches held ready. workers: reading processes; 0 reads in this one.
    """
    rows = range(share.start, share.stop)
    dataset = grain.MapDataset.range(num_steps * len(rows)).map(functools.partial(_example, examples, rows))
    dataset = dataset.batch(len(rows), drop_remainder=True)
    dataset = dataset.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch))
    if workers:
        dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    return iter(dataset)


def _example(examples: TrainExamples, rows: range, index: int) -> TrainBatch:
    step, position = divmod(int(index), len(rows))
    return examples(step, rows[position])


class WindowBatch(NamedTuple):
    """Windows to embed; the last batch is filled up with masked rows.

    Attributes:
        windows, frame_mask: as in `TrainBatch`.
        record: row of each window's record, -1 on filling rows.
        start: first frame of each window in its record.
    """

    windows: Float[np.ndarray, "batch time vertex 3"]
    frame_mask: Bool[np.ndarray, "batch time"]
    record: Int[np.ndarray, "batch"]
    start: Int[np.ndarray, "batch"]


Transform = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def shuffle_frames(window, frame_mask, rng):
    """Control: the valid frames in random order. What is lost is what the model read from order."""
    order, valid = np.arange(len(window)), np.flatnonzero(frame_mask)
    order[valid] = rng.permutation(valid)
    return window[order], frame_mask


def freeze_frame(window, frame_mask, rng):
    """Control: one valid frame in place of every valid frame. What is left is read from a single pose."""
    valid = np.flatnonzero(frame_mask)
    chosen = window[rng.choice(valid)] if len(valid) else np.zeros_like(window[0])
    return np.where(frame_mask[:, None, None], chosen, 0).astype(window.dtype), frame_mask


CONTROLS: dict[str, Transform] = {"shuffled_frames": shuffle_frames, "static_frame": freeze_frame}


def evaluation_batches(
    source: RecordSource,
    *,
    landmark_set: str,
    normalization: str,
    spec: WindowSpec,
    batch_size: int,
    records: np.ndarray | None = None,
    channels: Sequence[str] = (),
    transform: Transform | None = None,
    seed: int = 0,
    threads: int = 4,
) -> Iterator[WindowBatch]:
    """Every sliding window of the given records (default: all), in order, in batches of equal size.

    Args:
        channels: what windows hold beside the landmarks.
        transform: applied to each window; its generator depends on (seed, record, start) only.
    """
    rows = np.arange(len(source)) if records is None else np.asarray(records)
    layout = Layout(landmark_set, channels)
    check_channels(source, layout)

    def load(row: int):
        record = finite_record(source, int(row))
        mask = record["frame_mask"]
        track = normalized(record, normalization, layout)
        track, mask = windows.in_time(track, mask, spec)
        out = []
        for start in windows.starts(mask, spec).tolist():
            window, window_mask = windows.cut(track, mask, start, spec.length)
            if transform is not None:
                window, window_mask = transform(window, window_mask, np.random.default_rng([seed, 4, int(row), start]))
            out.append((window, window_mask, int(row), start))
        return out

    def pack(items) -> WindowBatch:
        missing = batch_size - len(items)
        empty = (np.zeros_like(items[0][0]), np.zeros_like(items[0][1]), -1, 0)
        columns = zip(*(items + [empty] * missing), strict=True)
        window, mask, record, start = (np.stack(column) for column in columns)
        return WindowBatch(window, mask, record.astype(np.int32), start.astype(np.int32))

    pending = []
    dataset = grain.MapDataset.source(rows).map(load)
    for loaded in dataset.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=16)):
        pending += loaded
        while len(pending) >= batch_size:
            yield pack(pending[:batch_size])
            pending = pending[batch_size:]
    if pending:
        yield pack(pending)
