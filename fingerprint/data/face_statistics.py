"""Mean face and modes of shape, expression and blinking over many people: the table the simulator draws from.

`face_statistics.npz` beside this module was made by `data_builders/synthetic_drivers/derive_statistics.py`;
the sources and their licences stand in `provenance()`. It holds means, modes and spreads over all people
together, nobody's own face.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import json

import numpy as np
from jaxtyping import Float

from fingerprint.errors import ArrayRefused

NUM_POINTS = 478
_NAME = "face_statistics.npz"
_LIPS = (13, 14)


@dataclasses.dataclass(frozen=True, eq=False)
class FaceStatistics:
    """Statistics at some of MediaPipe's 478 points.

    Lengths are inner-eye distances, angles radians; x right, y down, z away from the camera, nose tip at the
    origin.

    Attributes:
        mean_face: symmetric mean over people.
        shape_modes: displacement of one standard deviation along each mode of people's faces.
        expression_modes: orthonormal (over all 478 points) modes of the deviations from a clip's mean face.
        blink_direction: displacement from open to closed eyes.
        lip_gap: opening of the inner lips: of the mean face, per shape mode, per expression mode.
        motion: named figures about typical motion: sds within a clip (`expression_person_sd`,
            `rotation_person_sd` (yaw, pitch, roll), `translation_person_sd` (x, y, log scale)), their log
            spread over people (`…_log_spread`), decorrelation times (`…_decorrelation_seconds`), `blink_rate`
            (1/s), `blink_seconds` (quartiles), `jitter_sd`.
    """

    mean_face: Float[np.ndarray, "vertex 3"]
    shape_modes: Float[np.ndarray, "shape vertex 3"]
    expression_modes: Float[np.ndarray, "expression vertex 3"]
    blink_direction: Float[np.ndarray, "vertex 3"]
    lip_gap: tuple[float, Float[np.ndarray, "shape"], Float[np.ndarray, "expression"]]
    motion: dict[str, Float[np.ndarray, "_"]]

    @property
    def num_shapes(self) -> int:
        """Number of shape modes."""
        return len(self.shape_modes)

    @property
    def num_expressions(self) -> int:
        """Number of expression modes."""
        return len(self.expression_modes)


@functools.cache
def _table() -> dict[str, np.ndarray]:
    with (
        (importlib.resources.files(__package__) / _NAME).open("rb") as file,
        np.load(file, allow_pickle=False) as data,
    ):
        return {key: data[key] for key in data.files}


def provenance() -> dict:
    """How the table was made: clips, people, sources with licences, units."""
    return json.loads(str(_table()["provenance"]))


@functools.cache
def everywhere() -> FaceStatistics:
    """The statistics at all 478 points."""
    table = {key: value.astype(np.float64) for key, value in _table().items() if key != "provenance"}
    shapes = table.pop("shape_modes") * table.pop("shape_sds")[:, None, None]
    expressions, mean, blink = (
        table.pop("expression_modes"),
        table.pop("mean_face"),
        table.pop("blink_direction"),
    )
    upper, lower = _LIPS
    gap = (mean[lower, 1] - mean[upper, 1], *(m[:, lower, 1] - m[:, upper, 1] for m in (shapes, expressions)))
    return FaceStatistics(mean, shapes, expressions, blink, gap, table)


@functools.lru_cache(maxsize=8)
def _at(indices: tuple[int, ...]) -> FaceStatistics:
    every, points = everywhere(), list(indices)
    return dataclasses.replace(
        every,
        mean_face=every.mean_face[points],
        shape_modes=every.shape_modes[:, points],
        expression_modes=every.expression_modes[:, points],
        blink_direction=every.blink_direction[points],
    )


def at(landmark_indices) -> FaceStatistics:
    """The statistics at the given MediaPipe points, in their order.

    Raises:
        ArrayRefused: an index outside 0…477.
    """
    indices = tuple(np.asarray(landmark_indices).tolist())
    if not indices or min(indices) < 0 or max(indices) >= NUM_POINTS:
        raise ArrayRefused(
            _NAME,
            "shape",
            f"landmark indices must be non-empty and within 0…{NUM_POINTS - 1}, found {indices[:8]}…",
        )
    return _at(indices)
