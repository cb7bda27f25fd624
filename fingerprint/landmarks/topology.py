"""Landmark sets: which points, how they are joined, which mirror which. Tables in `tables/`, not code.

A new set is a new JSON file: `mediapipe_indices` (or null), `edges`, `regions`, `mirror`, `nose_tip`, `inner_eyes`,
`reference_shape`, and `source`, which says where each came from. `get` checks every promise a table makes.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import json
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from fingerprint.errors import FingerprintError, UnknownName


@dataclasses.dataclass(frozen=True, eq=False)
class LandmarkSet:
    """A set of facial landmarks with its fixed graph.

    Attributes:
        name: key in the table.
        source: where points, edges and reference shape come from.
        mediapipe_indices: position of each vertex among MediaPipe's 478 points; None for other mark-ups.
        edges: undirected edges, each once, with first < second.
        regions: vertex indices by region name (`lips`, `left_eye`, …); left and right are the person's own.
        mirror: permutation that exchanges left and right; an involution.
        nose_tip: vertex that the published normalisation puts at the origin.
        inner_eyes: the two inner eye corners, whose distance is its unit.
        reference_shape: mean face; x right, y down, z away from the camera, nose tip at the origin, inner-eye distance
        1.
    """

    name: str
    source: str
    mediapipe_indices: Int[np.ndarray, "vertex"] | None
    edges: Int[np.ndarray, "edge 2"]
    regions: Mapping[str, Int[np.ndarray, "_"]]
    mirror: Int[np.ndarray, "vertex"]
    nose_tip: int
    inner_eyes: tuple[int, int]
    reference_shape: Float[np.ndarray, "vertex 3"]

    @property
    def num_vertices(self) -> int:
        return len(self.mirror)


def _tables():
    return importlib.resources.files(__package__) / "tables"


@functools.cache
def names() -> tuple[str, ...]:
    """Names of the known landmark sets, sorted."""
    return tuple(sorted(p.name.removesuffix(".json") for p in _tables().iterdir() if p.name.endswith(".json")))


@functools.cache
def get(name: str) -> LandmarkSet:
    """The landmark set called `name`; its arrays are read-only.

    Raises:
        UnknownName: no table of that name.
        FingerprintError: a table breaks its own promises (a broken installation or a faulty new table).
    """
    if name not in names():
        raise UnknownName("landmark set", name, names())
    raw = json.loads((_tables() / f"{name}.json").read_text(encoding="utf-8"))

    def frozen(values, dtype):
        array = np.asarray(values, dtype)
        array.setflags(write=False)
        return array

    landmark_set = LandmarkSet(
        name=raw["name"],
        source=raw["source"],
        mediapipe_indices=None if raw["mediapipe_indices"] is None else frozen(raw["mediapipe_indices"], np.int32),
        edges=frozen(raw["edges"], np.int32),
        regions={region: frozen(indices, np.int32) for region, indices in raw["regions"].items()},
        mirror=frozen(raw["mirror"], np.int32),
        nose_tip=int(raw["nose_tip"]),
        inner_eyes=(int(raw["inner_eyes"][0]), int(raw["inner_eyes"][1])),
        reference_shape=frozen(raw["reference_shape"], np.float32),
    )
    _check(landmark_set)
    return landmark_set


def select(name: str, regions: str) -> Int[np.ndarray, "kept"]:
    """Vertices of the regions asked for, ascending.

    Args:
        name: landmark set.
        regions: `all`; or region names joined by commas, each kept (`lips,nose`) or, with a minus before every one of
            them, each left out (`-lips`). `eyes` stands for `left_eye` and `right_eye`, and so on with every pair.

    Raises:
        UnknownName: no such region in the set.
        FingerprintError: kept and left-out regions are mixed, or nothing is left.
    """
    points = get(name)
    every = np.arange(points.num_vertices, dtype=np.int32)
    if regions == "all":
        return every
    asked = [part.strip() for part in regions.split(",")]
    left_out = [part.startswith("-") for part in asked]
    named = np.concatenate([_region(points, part.removeprefix("-")) for part in asked])
    kept = np.setdiff1d(every, named) if all(left_out) else np.unique(named)
    if len(set(left_out)) > 1 or not len(kept):
        raise FingerprintError(
            f"regions {regions!r}: wanted names to keep (lips,nose) or names to leave out (-lips,-nose), not both and "
            "not all"
        )
    return kept.astype(np.int32)


def _region(points: LandmarkSet, name: str) -> Int[np.ndarray, "_"]:
    pairs = {}
    for one in (region.removeprefix("left_") for region in points.regions if region.startswith("left_")):
        pairs[one + ("es" if one.endswith("s") else "s")] = (f"left_{one}", f"right_{one}")
    if name not in points.regions and name not in pairs:
        raise UnknownName(f"region of {points.name}", name, [*points.regions, *pairs])
    return np.concatenate([points.regions[region] for region in pairs.get(name, (name,))])


def for_num_vertices(num_vertices: int) -> tuple[str, ...]:
    """Names of the landmark sets with that many points: what an unlabelled array may be."""
    return tuple(name for name in names() if get(name).num_vertices == num_vertices)


def _check(s: LandmarkSet) -> None:
    v, every = s.num_vertices, np.arange(s.num_vertices)
    faults = []
    if not np.array_equal(s.mirror[s.mirror], every):
        faults.append("mirror is not an involution")
    if not (np.all(s.edges[:, 0] < s.edges[:, 1]) and np.all(s.edges >= 0) and np.all(s.edges < v)):
        faults.append(f"edges must hold first < second < {v}")
    if len(np.unique(s.edges, axis=0)) != len(s.edges):
        faults.append("an edge stands twice")
    if not np.array_equal(np.sort(np.concatenate(list(s.regions.values()))), every):
        faults.append("regions must hold every vertex once")
    if s.reference_shape.shape != (v, 3):
        faults.append(f"reference_shape is {s.reference_shape.shape}, wanted {(v, 3)}")
    if s.mediapipe_indices is not None and len(np.unique(s.mediapipe_indices)) != v:
        faults.append("mediapipe_indices must be distinct")
    if faults:
        raise FingerprintError(f"landmark set {s.name!r} in {_tables()}: " + "; ".join(faults))
