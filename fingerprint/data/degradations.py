"""Landmark tracks made worse on purpose, by name and severity: how much does a model lose on poorer videos?

Every degradation works on a whole track in image coordinates, before normalisation, and severity 0 leaves it as it is.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from fingerprint.data.record_sources import RecordSource, finite_record
from fingerprint.errors import ConfigError, UnknownName
from fingerprint.landmarks import topology, windows

OF_LANDMARKS = ("jitter", "pixel_grid")
"""Degradations that leave blendshapes and pose as they are."""
BURST = 12
"""Frames that are lost together; half a second at 24 a second."""

Record = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Degradation:
    """A named degradation.

    Attributes:
        name: key in the table.
        summary: one sentence for reports.
        axis: what its severity is, for the axis of a figure.
        label: of one severity, as "2 %".
        wanted: what a severity must be, in words. sound: whether one is.
        function: `(record, severity, generator, landmark_set) -> what changes in the record`.
        needs_rate: the frame rate of the videos must be known.
    """

    name: str
    summary: str
    axis: str
    label: Callable[[float], str]
    wanted: str
    sound: Callable[[float], bool]
    function: Callable[[Record, float, np.random.Generator, str], Record]
    needs_rate: bool = False

    def check(self, severity: float) -> float:
        """The severity, if it is one.

        Raises:
            ConfigError: it is not.
        """
        number = isinstance(severity, (int, float)) and not isinstance(severity, bool) and math.isfinite(severity)
        if not number or not (severity == 0 or self.sound(severity)):
            raise ConfigError(f"severity {severity!r} of {self.name}; wanted {self.wanted}, or 0 for none")
        return severity


def get(name: str) -> Degradation:
    """The degradation called `name`.

    Raises:
        UnknownName: no degradation of that name; the message lists the known ones.
    """
    if name not in _TABLE:
        raise UnknownName("degradation", name, _TABLE)
    return _TABLE[name]


def names() -> tuple[str, ...]:
    """Names of the known degradations, in the order of reports."""
    return tuple(_TABLE)


class DegradedSource:
    """Some records of a source, each degraded; the result depends on the seed, the video and the window only.

    The random numbers are the same at every severity: a larger share of lost frames holds the smaller one.

    Args:
        source: records with landmarks, frame_mask, image_size, fps and video_id.
        name: of the degradation. severity: its severity.
        landmark_set: of the records.
        rows: records to take, in this order; all without it.

    Raises:
        UnknownName: no such degradation. ConfigError: no such severity.
    """

    def __init__(
        self,
        source: RecordSource,
        name: str,
        severity: float,
        *,
        landmark_set: str,
        seed: int = 0,
        rows: Sequence[int] | None = None,
    ):
        self._source, self._degradation, self._landmark_set = source, get(name), landmark_set
        self._severity, self._seed = self._degradation.check(severity), seed
        self._rows = np.arange(len(source)) if rows is None else np.asarray(rows, np.int64)
        self._table: dict[str, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Record:
        record = finite_record(self._source, int(self._rows[index]))
        if self._severity == 0:
            return record
        video = (*record["video_id"].encode(), int(record.get("window_index", 0)))
        rng = np.random.default_rng([self._seed, 6, *video])
        return record | self._degradation.function(record, self._severity, rng, self._landmark_set)

    def metadata(self) -> dict[str, np.ndarray]:
        """As of the source, with frames, valid frames, rate and first frame as they are now; reads every record once,
        then remembers."""
        if self._table is None:
            table = {name: column[self._rows] for name, column in self._source.metadata().items()}
            records = [self[index] for index in range(len(self))]
            table["num_frames"] = np.array([len(record["frame_mask"]) for record in records], np.int32)
            table["num_valid"] = np.array([record["frame_mask"].sum() for record in records], np.int32)
            for name in ("fps", "start_frame"):
                if name in table:
                    table[name] = np.array([record[name] for record in records], table[name].dtype)
            self._table = table
        return self._table


def _over_time(record: Record) -> list[str]:
    """Everything measured in every frame: the landmarks, and what else a record may hold."""
    frames = len(record["frame_mask"])
    return [
        name
        for name, value in record.items()
        if isinstance(value, np.ndarray) and value.ndim > 1 and value.dtype.kind == "f" and len(value) == frames
    ]


def _eye_distance(record: Record, landmark_set: str) -> Float[np.ndarray, "3"]:
    """The video's median inner-eye distance in the units of each axis; a picture of unknown size counts as square."""
    width, height = (int(side) for side in record["image_size"])
    ratio = width / height if width > 0 and height > 0 else 1.0
    axes = np.array([ratio, 1.0, ratio])
    left, right = topology.get(landmark_set).inner_eyes
    shown = record["landmarks"][record["frame_mask"]].astype(np.float64)
    distance = np.linalg.norm((shown[:, left] - shown[:, right]) * axes, axis=1)
    return (np.median(distance) if len(distance) else 0.0) / axes


def _jitter(record, severity, rng, landmark_set):
    landmarks = record["landmarks"]
    noise = rng.standard_normal(landmarks.shape) * severity * _eye_distance(record, landmark_set)
    shown = record["frame_mask"][:, None, None]
    return {"landmarks": np.where(shown, landmarks + noise, 0).astype(landmarks.dtype)}


def _pixel_grid(record, severity, rng, landmark_set):
    del rng
    landmarks = record["landmarks"].copy()
    step = severity * _eye_distance(record, landmark_set)[:2]
    if step.all():
        landmarks[..., :2] = np.rint(landmarks[..., :2] / step) * step
    return {"landmarks": landmarks}


def _masked(record: Record, frame_mask: Bool[np.ndarray, "time"]) -> Record:
    zeros = {
        name: np.where(frame_mask.reshape(-1, *[1] * (record[name].ndim - 1)), record[name], 0).astype(
            record[name].dtype
        )
        for name in _over_time(record)
    }
    return {**zeros, "frame_mask": frame_mask}


def _drop(burst: int):
    def function(record, severity, rng, landmark_set):
        del landmark_set
        mask = record["frame_mask"]
        frame = np.arange(len(mask))
        block = (frame + rng.integers(burst)) // burst
        order = np.lexsort((frame, rng.permutation(block[-1] + 1)[block]))
        valid = order[mask[order]]
        kept = mask.copy()
        kept[valid[: round(severity * len(valid))]] = False
        return _masked(record, kept)

    return function


def _temporal_blur(record, severity, rng, landmark_set):
    del rng, landmark_set
    mask = record["frame_mask"]
    frame = np.arange(len(mask))
    first = np.maximum(frame - int(severity) // 2, 0)
    end = np.minimum(frame + int(severity) // 2 + 1, len(mask))

    def mean(values: np.ndarray) -> np.ndarray:
        shape = (-1, *[1] * (values.ndim - 1))
        total = np.zeros((len(mask) + 1, *values.shape[1:]))
        np.cumsum(np.where(mask.reshape(shape), values, 0), axis=0, dtype=np.float64, out=total[1:])
        count = np.append(0, np.cumsum(mask))
        blurred = (total[end] - total[first]) / np.maximum(count[end] - count[first], 1).reshape(shape)
        return np.where(mask.reshape(shape), blurred, 0).astype(values.dtype)

    return {name: mean(record[name]) for name in _over_time(record)}


def _instants(frames: int, fps: float, rate: float) -> Float[np.ndarray, "instant"]:
    """Where the frames of another rate lie among so many of `fps`, from the first on."""
    count = int((frames - 1) / fps * rate + 1e-6) + 1
    # Rounded: 3 * (25 / 15) is 5.000000000000001, and that is frame 5.
    return np.round(np.arange(count) * fps / rate, 6)


def _at(record: Record, place: Float[np.ndarray, "instant"]) -> Record:
    mask = windows.between_frames(record["landmarks"], record["frame_mask"], place)[1]
    values = {name: windows.between_frames(record[name], record["frame_mask"], place)[0] for name in _over_time(record)}
    return {**values, "frame_mask": mask}


def _frame_rate(record, severity, rng, landmark_set):
    del rng, landmark_set
    fps = float(record["fps"])
    if severity >= fps:
        return {}
    changed = _at(record, _instants(len(record["frame_mask"]), fps, severity)) | {"fps": np.float32(severity)}
    if "start_frame" in record:
        changed["start_frame"] = np.int32(round(int(record["start_frame"]) * severity / fps))
    return changed


def _frame_rate_resampled(record, severity, rng, landmark_set):
    fps = float(record["fps"])
    if severity >= fps:
        return {}
    slow = record | _frame_rate(record, severity, rng, landmark_set)
    # As many frames as there were: the last of the lower rate is held to the end.
    place = np.arange(len(record["frame_mask"])) * severity / fps
    return _at(slow, np.minimum(np.round(place, 6), len(slow["frame_mask"]) - 1)) | {
        name: record[name] for name in ("fps", "start_frame") if name in record
    }


def _percent(severity: float) -> str:
    return f"{100 * severity:g} %"


def _rate(severity: float) -> str:
    return f"{severity:g} frames/s" if severity else "0"


def _frames(severity: float) -> str:
    return f"{severity:g} frames"


def _is_share(severity: float) -> bool:
    return 0 <= severity <= 1


def _is_positive(severity: float) -> bool:
    return severity > 0


def _is_odd(severity: float) -> bool:
    return severity > 0 and severity % 2 == 1


_EYES = "a number above 0, in inner-eye distances"
_SHARE = "a share of the frames, at most 1"
_RATE = "a rate above 0, in frames a second"
_TABLE = {
    found.name: found
    for found in (
        Degradation(
            "jitter",
            "Gaussian noise on every coordinate of every frame; standard deviation in inner-eye distances.",
            "Noise (% of the inner-eye distance)", _percent, _EYES, _is_positive, _jitter,
        ),
        Degradation(
            "pixel_grid",
            "Landmarks rounded to a coarse pixel grid, as in a picture of low resolution; its step in inner-eye "
            "distances.",
            "Grid step (% of the inner-eye distance)", _percent, _EYES, _is_positive, _pixel_grid,
        ),
        Degradation(
            "dropped_frames",
            "So many of the frames that show the face are lost, one by one at random.",
            "Frames lost at random (%)", _percent, _SHARE, _is_share, _drop(1),
        ),
        Degradation(
            "dropped_bursts",
            f"So many of the frames that show the face are lost, {BURST} in a row.",
            f"Frames lost, {BURST} in a row (%)", _percent, _SHARE, _is_share, _drop(BURST),
        ),
        Degradation(
            "frame_rate",
            "The video recorded at a lower rate and taken as it is: windows of as many frames last longer, and motion "
            "looks faster.",
            "Frames a second, taken as they are", _rate, _RATE, _is_positive, _frame_rate, needs_rate=True,
        ),
        Degradation(
            "frame_rate_resampled",
            "The video recorded at a lower rate and brought back to its own by linear interpolation.",
            "Frames a second, interpolated", _rate, _RATE, _is_positive, _frame_rate_resampled, needs_rate=True,
        ),
        Degradation(
            "temporal_blur",
            "Moving average over so many frames, as smoothing or denoising generators make it.",
            "Moving average (frames)", _frames, "an odd number of frames", _is_odd, _temporal_blur,
        ),
    )
}  # fmt: skip
