"""The landmark tables: every promise a table makes, and the published graph."""

import csv
import dataclasses

import numpy as np
import pytest

from fingerprint.errors import FingerprintError, UnknownName
from fingerprint.landmarks import topology

PUBLISHED_REGIONS = {
    "lips": 36, "face_oval": 18, "left_eye": 11, "right_eye": 11, "left_eyebrow": 10, "right_eyebrow": 10,
    "nose": 6, "left_iris": 1, "right_iris": 1, "other": 5,
}  # fmt: skip


def undirected(edges):
    return {tuple(sorted(edge)) for edge in np.asarray(edges).tolist()}


@pytest.fixture(params=topology.names())
def points(request):
    return topology.get(request.param)


def test_the_sets_are_known():
    assert topology.names() == ("amber152", "avaprintdb109", "ibug68", "mediapipe478", "nvfair126")
    assert [topology.get(name).num_vertices for name in topology.names()] == [152, 109, 68, 478, 126]
    assert topology.for_num_vertices(68) == ("ibug68",) and topology.for_num_vertices(67) == ()


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(UnknownName, match="no_such_set.*avaprintdb109, ibug68, mediapipe478"):
        topology.get("no_such_set")


def test_edges_are_undirected_and_stand_once(points):
    assert points.edges.dtype == np.int32 and points.edges.shape[1] == 2
    assert (points.edges[:, 0] < points.edges[:, 1]).all()
    assert points.edges.min() >= 0 and points.edges.max() < points.num_vertices
    assert len(undirected(points.edges)) == len(points.edges)


def test_every_vertex_hangs_together_with_all_others(points):
    reached, border = {0}, [0]
    neighbours = {v: set() for v in range(points.num_vertices)}
    for a, b in points.edges.tolist():
        neighbours[a].add(b)
        neighbours[b].add(a)
    while border:
        for vertex in neighbours[border.pop()] - reached:
            reached.add(vertex)
            border.append(vertex)
    assert len(reached) == points.num_vertices


def test_regions_hold_every_vertex_once(points):
    assert sorted(np.concatenate(list(points.regions.values())).tolist()) == list(range(points.num_vertices))


def test_nose_tip_is_the_origin_and_inner_eyes_are_one_apart(points):
    left, right = points.reference_shape[list(points.inner_eyes)]
    assert np.array_equal(points.reference_shape[points.nose_tip], np.zeros(3))
    assert np.linalg.norm(left - right) == pytest.approx(1.0, abs=1e-6)


def test_reference_shape_stands_upright_and_faces_the_camera(points):
    shape, regions = points.reference_shape, points.regions
    eyes = np.concatenate([shape[regions["left_eye"]], shape[regions["right_eye"]]])
    assert eyes[:, 1].mean() < 0 < shape[regions["lips"]][:, 1].mean()  # y points down
    assert shape[regions["face_oval"]][:, 2].mean() > shape[regions["nose"]][:, 2].mean()  # z points away
    assert (
        shape[regions["left_eye"]][:, 0].mean() > 0 > shape[regions["right_eye"]][:, 0].mean()
    )  # the person's own left


def test_mirror_exchanges_left_and_right(points):
    assert np.array_equal(points.mirror[points.mirror], np.arange(points.num_vertices))
    for region, indices in points.regions.items():
        other = {"left": "right", "right": "left"}.get(region.split("_")[0])
        mirrored = region if other is None else region.replace(region.split("_")[0], other)
        assert set(points.mirror[indices].tolist()) == set(points.regions[mirrored].tolist()), region
    assert points.mirror[points.nose_tip] == points.nose_tip
    assert points.mirror[points.inner_eyes[0]] == points.inner_eyes[1]
    flipped = points.reference_shape[points.mirror] * np.array([-1, 1, 1], np.float32)
    assert np.abs(flipped - points.reference_shape).max() < 1e-5


@pytest.mark.parametrize("name", ["avaprintdb109", "ibug68"])
def test_mirror_maps_edges_to_edges(name):
    points = topology.get(name)
    assert undirected(points.mirror[points.edges]) == undirected(points.edges)


def test_mediapipe_indices_agree_between_the_sets():
    few, all_points = topology.get("avaprintdb109"), topology.get("mediapipe478")
    assert few.mediapipe_indices.min() >= 0 and few.mediapipe_indices.max() < 478
    assert np.array_equal(all_points.mediapipe_indices, np.arange(478))
    assert topology.get("ibug68").mediapipe_indices is None
    assert np.allclose(few.reference_shape, all_points.reference_shape[few.mediapipe_indices], atol=1e-6)
    assert np.array_equal(few.mediapipe_indices[few.mirror], all_points.mirror[few.mediapipe_indices])


def test_published_set_is_as_published():
    points = topology.get("avaprintdb109")
    assert (points.num_vertices, len(points.edges)) == (109, 306)
    assert {region: len(indices) for region, indices in points.regions.items()} == PUBLISHED_REGIONS
    assert points.mediapipe_indices[[points.nose_tip, *points.inner_eyes]].tolist() == [4, 133, 362]
    assert points.mediapipe_indices[[points.regions["left_iris"][0], points.regions["right_iris"][0]]].tolist() == [
        473,
        468,
    ]
    degree = np.bincount(points.edges.ravel(), minlength=109)
    assert (degree.min(), degree.max()) == (4, 12)


def test_published_graph_equals_the_released_edge_list(shared):
    with (shared / "parity" / "avaprintdb_graph" / "delaunay_edges.csv").open() as file:
        released = {tuple(sorted((int(row["i"]), int(row["j"])))) for row in csv.DictReader(file)}
    assert undirected(topology.get("avaprintdb109").edges) == released


def test_tables_cannot_be_changed(points):
    for array in (points.edges, points.mirror, points.reference_shape, *points.regions.values()):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("mirror", np.roll(np.arange(68), 1), "involution"),
        ("edges", np.array([[1, 0]]), "first < second"),
        ("edges", np.array([[0, 68]]), "first < second"),
        ("edges", np.array([[-1, 2]]), "first < second"),
        ("edges", np.array([[0, 1], [0, 1]]), "twice"),
        ("regions", {"lips": np.arange(67)}, "every vertex once"),
        ("regions", {"lips": np.arange(68), "nose": np.array([3])}, "every vertex once"),
        ("reference_shape", np.zeros((67, 3), np.float32), "reference_shape"),
        ("mediapipe_indices", np.zeros(68, np.int32), "distinct"),
    ],
)
def test_a_faulty_table_is_refused(field, value, fault):
    broken = dataclasses.replace(topology.get("ibug68"), **{field: value})
    with pytest.raises(FingerprintError, match=fault):
        topology._check(broken)
