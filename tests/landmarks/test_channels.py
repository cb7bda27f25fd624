"""Channels beside the landmarks: where they stand, that nothing is lost on the way, and what a mirror does."""

import itertools

import numpy as np
import pytest
from sources import face, head_pose, rotations, smooth_motion, to_picture

from fingerprint.errors import ConfigError, UnknownName
from fingerprint.landmarks import channels, normalize, topology
from fingerprint.landmarks.channels import Layout

SET, FRAMES, SIZE = "avaprintdb109", 10, (640, 480)
VERTICES = topology.get(SET).num_vertices
MASK = np.arange(FRAMES) % 4 != 2
SOME = [names for count in range(4) for names in itertools.combinations(channels.NAMES, count)]


def given(seed=0):
    rng = np.random.default_rng(seed)
    turn = rotations(np.cumsum(rng.normal(0, 0.1, (FRAMES, 3)), axis=0))
    return {
        "canonical": rng.normal(size=(FRAMES, VERTICES, 3)).astype(np.float32),
        "blendshapes": rng.random((FRAMES, 52), np.float32),
        "pose": head_pose(turn, rng),
    }


def packed(names, found, mask=MASK):
    points = np.random.default_rng(9).normal(size=(FRAMES, VERTICES, 3)).astype(np.float32)
    return points, Layout(SET, names).pack(points, mask, found)


@pytest.mark.parametrize("names", SOME)
def test_what_is_packed_comes_back(names):
    found, layout = given(), Layout(SET, tuple(reversed(names)))
    points, window = packed(names, found)
    assert window.shape == (FRAMES, layout.num_vertices, 3) and window.dtype == np.float32
    assert not window[~MASK].any()
    parts = layout.split(window[None])
    assert np.array_equal(parts.points[0, MASK], points[MASK])
    assert ("canonical" in names) == (parts.canonical is not None)
    if parts.canonical is not None:
        assert np.array_equal(parts.canonical[0, MASK], found["canonical"][MASK])
    features = [] if parts.per_frame is None else np.split(parts.per_frame[0, MASK], [52], axis=1)
    if "blendshapes" in names:
        assert np.array_equal(features[0], found["blendshapes"][MASK])
    if "pose" in names:
        six = features[-1] if "blendshapes" in names else parts.per_frame[0, MASK]
        pose = found["pose"][MASK]
        assert six.shape[1] == 9
        assert np.array_equal(six[:, :3], pose[:, :3, 0]) and np.array_equal(six[:, 3:6], pose[:, :3, 1])
        moved = (pose[:, :3, 3] - pose[:, :3, 3].mean(axis=0)) / 10
        np.testing.assert_allclose(six[:, 6:], moved, atol=1e-6)


def test_sizes_and_order_are_those_of_the_table():
    assert channels.NAMES == ("canonical", "blendshapes", "pose")
    assert Layout("amber152").num_vertices == 152
    assert Layout("amber152", ("pose", "canonical", "blendshapes")).num_vertices == 2 * 152 + 18 + 3
    assert Layout("amber152", ["pose", "canonical"]) == Layout("amber152", ("canonical", "pose"))
    assert Layout(SET, ("pose", "canonical")).stored == ("pose",)
    assert Layout(SET, ("pose",)).brings_back == {"rotation", "translation", "scale"}


def test_blendshapes_are_mediapipe_s():
    theirs = pytest.importorskip("mediapipe.tasks.python.vision.face_landmarker").Blendshapes
    ours = [name.strip("_").lower() for name in channels.BLENDSHAPES]
    assert ours == [shape.name.replace("_", "").lower() for shape in theirs]


def test_where_the_camera_stood_is_not_in_the_translation():
    found = given()
    _, here = packed(("pose",), found)
    found["pose"][:, :3, 3] += [5, -4, 30]
    _, there = packed(("pose",), found)
    np.testing.assert_allclose(here, there, atol=1e-5)
    found["pose"][3, :3, 3] += 1
    assert np.abs(packed(("pose",), found)[1] - there).max() > 0.05


def test_masked_frames_do_not_count():
    found, other = given(), given()
    for values in other.values():
        values[~MASK] += 7
    assert np.array_equal(packed(channels.NAMES, found)[1], packed(channels.NAMES, other)[1])
    assert not packed(channels.NAMES, found, np.zeros(FRAMES, bool))[1].any()


@pytest.mark.parametrize("names", SOME)
def test_mirror_twice_is_the_identity(names):
    _, window = packed(names, given())
    layout = Layout(SET, names)
    once = layout.mirror(window)
    assert not np.array_equal(once, window) and np.array_equal(layout.mirror(once), window)


def test_a_mirrored_head_is_what_a_camera_would_see_in_a_mirror():
    """Left and right coefficients change places; the turn of the head is that of the mirrored head."""
    found, layout = given(), Layout(SET, ("blendshapes", "pose"))
    flip = np.diag([-1, 1, 1, 1]).astype(np.float32)
    seen = {"blendshapes": found["blendshapes"].copy(), "pose": flip @ found["pose"] @ flip}
    for left, name in enumerate(channels.BLENDSHAPES):
        if name.endswith("Left"):
            right = channels.BLENDSHAPES.index(name.replace("Left", "Right"))
            seen["blendshapes"][:, [left, right]] = found["blendshapes"][:, [right, left]]
    points, window = packed(layout.channels, found)
    expected = layout.pack(Layout(SET).mirror(points), MASK, seen)
    np.testing.assert_allclose(layout.mirror(window), expected, atol=1e-6)
    assert sum(name.endswith("Left") for name in channels.BLENDSHAPES) == 20


def test_canonical_of_the_mirrored_face_is_the_mirrored_canonical():
    rng = np.random.default_rng(5)
    turn = rotations(np.cumsum(rng.normal(0, 0.1, (FRAMES, 3)), axis=0))
    points = np.einsum("tij,tvj->tvi", turn, face(rng) + smooth_motion(rng, FRAMES))

    def canonical(points):
        return normalize.get(channels.CANONICAL)(to_picture(points, SIZE), MASK, np.array(SIZE), SET)

    mirrored = Layout(SET).mirror(points.astype(np.float32))
    np.testing.assert_allclose(canonical(mirrored), Layout(SET).mirror(canonical(points)), atol=1e-3)


def test_another_layout_and_unknown_names_are_refused():
    with pytest.raises(ConfigError, match=r"windows of 109 vertices; avaprintdb109 with channels \(pose\) has 112"):
        Layout(SET, ("pose",)).split(np.zeros((2, FRAMES, VERTICES, 3)))
    with pytest.raises(UnknownName, match="unknown channel 'gaze'; known: blendshapes, canonical, pose"):
        Layout(SET, ("gaze",))
    with pytest.raises(ConfigError, match="stands twice"):
        Layout(SET, ("pose", "pose"))
    with pytest.raises(UnknownName):
        Layout("amber151")
