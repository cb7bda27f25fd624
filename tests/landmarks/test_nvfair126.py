"""The 126 points of avatar fingerprinting: the rule by which the table says they were chosen."""

import collections

import numpy as np

from fingerprint.landmarks import topology

COUNTS = {
    "lips": 34, "left_eye": 13, "right_eye": 13, "left_eyebrow": 8, "right_eyebrow": 8, "face_oval": 30, "nose": 20,
}  # fmt: skip
POINTS, ALL = topology.get("nvfair126"), topology.get("mediapipe478")


def thinned(region, count):
    """Until `count` are left, the point closest to another of the region goes, with its mirror image."""
    kept, shape = ALL.regions[region].tolist(), ALL.reference_shape.astype(np.float64)
    while len(kept) > count:
        loose = [v for v in kept if ALL.mirror[v] != v and v not in (4, 133, 362)]
        near = {v: min(round(float(np.linalg.norm(shape[v] - shape[w])), 6) for w in kept if w != v) for v in loose}
        gone = min(loose, key=lambda v: (near[v], min(v, int(ALL.mirror[v])), v))
        kept = [v for v in kept if v not in (gone, ALL.mirror[gone])]
    return sorted(kept)


def test_points_are_those_of_the_rule():
    for region, count in COUNTS.items():
        found = POINTS.mediapipe_indices[POINTS.regions[region]].tolist()
        if region.startswith("left_"):
            other = POINTS.regions[region.replace("left", "right")]
            assert found == sorted(ALL.mirror[POINTS.mediapipe_indices[other]].tolist())
        else:
            assert found == thinned(region, count)


def test_regions_are_in_proportion_to_the_152_contour_points():
    assert {region: len(indices) for region, indices in POINTS.regions.items()} == COUNTS
    of_152 = collections.Counter({region: len(ALL.regions[region]) for region in COUNTS})
    assert of_152.total() == 152 and sum(COUNTS.values()) == 126
    assert all(abs(COUNTS[region] - 126 / 152 * number) < 1 for region, number in of_152.items())


def test_it_is_a_subset_of_mediapipe_s_points_with_their_shape_and_mirror():
    index = POINTS.mediapipe_indices
    assert {4, 133, 362} <= set(index.tolist())
    assert index[[POINTS.nose_tip, *POINTS.inner_eyes]].tolist() == [4, 133, 362]
    assert np.array_equal(POINTS.reference_shape, ALL.reference_shape[index])
    assert np.array_equal(index[POINTS.mirror], ALL.mirror[index])
    edges = {tuple(edge) for edge in POINTS.edges.tolist()}
    assert {tuple(sorted(edge)) for edge in POINTS.mirror[POINTS.edges].tolist()} == edges
