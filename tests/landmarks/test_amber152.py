"""AMBER-ID's points, and the choice of regions."""

import numpy as np
import pytest

from fingerprint.errors import FingerprintError, UnknownName
from fingerprint.landmarks import topology

POINTS = topology.get("amber152")
# Sizes of the ablation's groups, as AMBER-ID gives them.
WITHOUT = {"-eyebrows": 132, "-lips": 112, "-eyes": 120, "-nose": 128, "-face_oval": 116, "all": 152}


def test_the_groups_are_amber_s():
    sizes = {region: len(vertices) for region, vertices in POINTS.regions.items()}
    assert sizes == {
        "face_oval": 36, "lips": 40, "left_eye": 16, "right_eye": 16, "left_eyebrow": 10, "right_eyebrow": 10,
        "nose": 24,
    }  # fmt: skip
    assert POINTS.mediapipe_indices[[POINTS.nose_tip, *POINTS.inner_eyes]].tolist() == [4, 133, 362]


def test_the_points_are_mediapipe_s():
    every, place = topology.get("mediapipe478"), POINTS.mediapipe_indices
    assert np.array_equal(POINTS.reference_shape, every.reference_shape[place])
    assert np.array_equal(place[POINTS.mirror], every.mirror[place])
    for region in ("lips", "left_eye", "right_eyebrow"):
        assert set(place[POINTS.regions[region]]) <= set(every.regions[region].tolist())


def test_edges_are_mediapipe_s_but_for_bridges_in_mirrored_pairs():
    def undirected(edges):
        return {tuple(sorted(edge)) for edge in np.asarray(edges).tolist()}

    assert undirected(POINTS.mirror[POINTS.edges]) == undirected(POINTS.edges)
    mesh = undirected(topology.get("mediapipe478").edges)
    bridges = undirected(POINTS.mediapipe_indices[POINTS.edges]) - mesh
    region_of = {int(v): region for region, vertices in POINTS.regions.items() for v in vertices}
    place = {int(p): v for v, p in enumerate(POINTS.mediapipe_indices)}
    assert len(POINTS.edges) == 177 and len(bridges) <= 10
    inner_and_outer_lips = {(61, 78), (291, 308)}
    for a, b in bridges - inner_and_outer_lips:
        assert region_of[place[a]] != region_of[place[b]]


@pytest.mark.parametrize(("regions", "size"), WITHOUT.items())
def test_regions_left_out(regions, size):
    kept = topology.select("amber152", regions)
    assert len(kept) == size and (np.diff(kept) > 0).all()
    if regions != "all":
        others = topology.select("amber152", regions[1:])
        assert sorted([*kept, *others]) == list(range(152))


def test_regions_kept_join_and_pairs_stand_for_both_sides():
    regions = POINTS.regions
    both = np.sort(np.concatenate([regions["left_eye"], regions["right_eye"], regions["lips"]]))
    assert np.array_equal(topology.select("amber152", "lips, eyes"), both)
    assert np.array_equal(topology.select("amber152", "left_eye"), regions["left_eye"])
    assert len(topology.select("avaprintdb109", "irises")) == 2


def test_impossible_regions_are_refused():
    with pytest.raises(UnknownName, match=r"region of amber152 'ears'; known: .*eyebrows.*face_oval.*left_eye.*nose"):
        topology.select("amber152", "ears")
    for regions in ("lips,-nose", "-lips,-eyes,-eyebrows,-nose,-face_oval"):
        with pytest.raises(FingerprintError, match="wanted names to keep"):
            topology.select("amber152", regions)
