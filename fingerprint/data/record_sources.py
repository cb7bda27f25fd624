"""Where records come from: what every source of them offers, and sources that put videos on other faces."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from fingerprint.errors import ConfigError, DatasetError
from fingerprint.landmarks import channels, reenactment


@runtime_checkable
class RecordSource(Protocol):
    """Random access to the records of a split, with their metadata as columns."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict: ...

    def metadata(self) -> dict[str, np.ndarray]: ...


def finite_record(source: RecordSource, row: int) -> dict:
    """Record `row` of `source`.

    Raises:
        DatasetError: it holds NaN or infinity. Found here because normalisations, reductions and gradients hide it or
        blame another.
    """
    record = source[row]
    for name in ("landmarks", *channels.STORED):
        if name in record and not np.isfinite(record[name]).all():
            raise DatasetError(
                f"record {record['video_id']!r} (row {row} of its split) holds {name} that are not finite"
            )
    return record


def reenacted(record: dict, shape: Float[np.ndarray, "vertex 3"]) -> dict:
    """What changes in a record when its motion is put on another mean face."""
    landmarks = reenactment.reenact(
        record["landmarks"], record["frame_mask"], record["image_size"], shape, record["landmark_set"]
    )
    return {"landmarks": landmarks, "image_size": reenactment.IMAGE_SIZE}


def face_shapes(source: RecordSource, per_target: int = 3) -> dict[str, Float[np.ndarray, "vertex 3"]]:
    """Mean face of every target, from its first few records: the faces that reenactment puts motion on."""
    metadata = source.metadata()
    shapes: dict[str, list] = {}
    for row, target in enumerate(metadata["target"].tolist()):
        known = shapes.setdefault(target, [])
        if len(known) < per_target and metadata["num_valid"][row] > 0:
            record = finite_record(source, row)
            known.append(
                reenactment.face_shape(
                    record["landmarks"], record["frame_mask"], record["image_size"], record["landmark_set"]
                )
            )
    return {
        target: np.mean(known, axis=0, dtype=np.float64).astype(np.float32) for target, known in shapes.items() if known
    }


class ReenactedSource:
    """A source whose videos are re-rendered in landmark space: each onto its own person's mean face and onto `targets`
    others'.

    Every driver of the split is also a target. Which faces a video is put on follows from the seed and the video's id.
    The rows are the records of the source, a rendering at a time.
    """

    def __init__(self, source: RecordSource, targets: int, seed: int = 0):
        self._source, self._shapes = source, face_shapes(source)
        base = source.metadata()
        faces = sorted(self._shapes)
        if len(faces) <= targets:
            raise ConfigError(
                f"reenactment onto {targets} other faces needs {targets + 1} people; the split has {len(faces)}"
            )
        # One video after the other, its renderings one after the other, the windows of a rendering side by side.
        self._rows: list[tuple[int, str]] = []
        starts = np.flatnonzero(np.append(True, base["video_id"][1:] != base["video_id"][:-1])).tolist()
        for first, end in zip(starts, [*starts[1:], len(source)], strict=True):
            driver, video_id = str(base["driver"][first]), str(base["video_id"][first])
            others = [face for face in faces if face != driver]
            rng = np.random.default_rng([seed, 5, *video_id.encode()])
            worn = [others[i] for i in rng.choice(len(others), targets, replace=False)]
            own = [driver] if driver in self._shapes else []
            self._rows += [(row, face) for face in own + worn for row in range(first, end)]
        self._table = {name: column[[row for row, _ in self._rows]] for name, column in base.items()}
        self._table["target"] = np.array([face for _, face in self._rows])
        self._table["video_id"] = np.array([f"{base['video_id'][row]}@{face}" for row, face in self._rows])
        self._table["generator"] = np.full(len(self._rows), "LANDMARK")
        self._table["image_size"] = np.tile(reenactment.IMAGE_SIZE, (len(self._rows), 1))

    def __len__(self) -> int:
        return len(self._rows)

    def metadata(self) -> dict[str, np.ndarray]:
        return self._table

    def __getitem__(self, index: int) -> dict:
        row, face = self._rows[index]
        record = finite_record(self._source, row)
        return record | {
            **reenacted(record, self._shapes[face]),
            "target": face,
            "video_id": str(self._table["video_id"][index]),
            "generator": "LANDMARK",
        }
