"""Which face is followed, and when another person is: on made faces. Real ones are in test_extract."""

import numpy as np
import pytest

from fingerprint.landmarks import faces, topology

SIZE = (256, 256)


def person(seed: int):
    """A rigid head and a skin: landmarks in picture units, and a picture."""
    rng = np.random.default_rng(seed)
    shape = topology.get("mediapipe478").reference_shape + rng.normal(0, 0.04, (478, 3)).astype(np.float32)
    skin = np.kron(rng.integers(40, 220, (8, 8, 3)), np.ones((32, 32, 1))).astype(np.uint8)
    return shape, skin


def frame(who, turn: float = 0.0, shift: float = 0.0):
    """Landmarks and picture of a person whose head is turned and moved."""
    shape, skin = who
    cos, sin = np.cos(turn), np.sin(turn)
    posed = shape @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]], np.float32)
    return (0.1 * posed + [0.5 + shift, 0.5, 0]).astype(np.float32), np.roll(skin, round(shift * 256), axis=1)


def reports(sequence) -> list[tuple[int, int]]:
    """(frame at which it was said, frame it named)."""
    watch = faces.IdentityWatch(SIZE)
    blank = np.zeros((256, 256, 3), np.uint8)
    said = [watch.push(i, *(one or (None, blank))) for i, one in enumerate(sequence)]
    return [(i, named) for i, named in enumerate(said) if named is not None]


def shots(who, frames: int, speed: float = 0.01):
    return [frame(who, 0.3 * np.sin(speed * i * 5), speed * np.sin(i / 4)) for i in range(frames)]


def test_the_largest_face():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 8, 20], [5, 5, 6, 40]], np.float32)
    assert faces.largest(boxes) == 1


def test_all_faces_but_one_are_painted_over():
    rgb = np.random.default_rng(0).integers(0, 100, (100, 120, 3), dtype=np.uint8)
    boxes = np.array([[10, 10, 30, 30], [28, 12, 60, 40], [100, 80, 130, 110]], np.float32)
    out = faces.only(rgb, boxes, 0)
    assert np.array_equal(out[10:30, 10:30], rgb[10:30, 10:30])
    assert np.all(out[12:40, 36:60] == 127) and np.all(out[80:, 100:] == 127)
    assert np.array_equal(out[50:75, :90], rgb[50:75, :90])
    assert rgb.max() < 100


def test_one_person_is_one():
    assert reports(shots(person(0), 120)) == []


def test_a_cut_to_another_person_is_reported_once_ten_frames_later():
    assert reports(shots(person(0), 40) + shots(person(1), 40)) == [(49, 40)]


def test_another_after_an_empty_picture_begins_where_she_is_seen():
    assert reports(shots(person(0), 40) + [None] * 15 + shots(person(1), 40)) == [(64, 55)]


def test_the_same_after_an_empty_picture_is_the_same():
    shown = shots(person(0), 80)
    assert reports(shown[:40] + [None] * 15 + shown[40:]) == []


def test_each_of_several_people_in_turn():
    sequence = [shot for i in range(4) for shot in shots(person(i), 25)]
    assert [named for _, named in reports(sequence)] == [25, 50, 75]


def test_a_person_shown_for_a_moment_is_told_apart():
    sequence = shots(person(0), 30) + shots(person(1), 5) + shots(person(2), 30)
    assert [named for _, named in reports(sequence)] == [30, 35]


def test_another_picture_of_the_same_head_is_the_same_person():
    """A flash, or new light: the look changes, the shape does not."""
    shape, skin = person(0)
    assert reports(shots((shape, skin), 30) + shots((shape, 255 - skin), 30)) == []


def test_a_shape_that_changes_by_and_by_is_the_same_person():
    """Measured shapes change as a head turns."""
    (one, skin), (other, _) = person(0), person(1)
    sequence = [frame((one + min(max(i - 30, 0) / 40, 1) * (other - one), skin)) for i in range(100)]
    assert reports(sequence) == []


def test_where_the_face_is_and_how_large_does_not_matter():
    rgb = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    landmarks = np.random.default_rng(1).random((478, 3)).astype(np.float32)
    landmarks[:2] = [[0, 0, 0], [1, 1, 0]]
    small = landmarks * [0.5, 0.5, 1]
    shown = np.zeros_like(rgb)
    shown[:100, :150] = rgb[::2, ::2]
    assert faces.change(faces.look(rgb, landmarks), faces.look(shown, small)) < 0.12
    assert faces.change(faces.look(rgb, landmarks), faces.look(rgb, landmarks)) == pytest.approx(0, abs=1e-6)


def test_a_face_beyond_the_edge_and_a_plain_one_have_a_look():
    landmarks = np.random.default_rng(1).uniform(-3, 4, (478, 3)).astype(np.float32)
    plain = np.full((50, 60, 3), 9, np.uint8)
    patch = faces.look(plain, landmarks)
    assert patch.shape == (16, 16, 3) and np.all(patch == np.float32(9 / 255))
    assert faces.change(patch, patch) == 0
