"""Reenactment in landmark space: one person's motion on another's face, and nothing else of either."""

import numpy as np
import pytest
from sources import face, make_source, to_picture

from fingerprint.landmarks import normalize, reenactment, topology

SET = "avaprintdb109"


@pytest.fixture(scope="module")
def record():
    return make_source(drivers=1, targets=1, clips=2, frames=12, lost_frames=3)[1]


@pytest.fixture(scope="module")
def track(record):
    return record["landmarks"], record["frame_mask"], record["image_size"]


def other_faces(count):
    rng = np.random.default_rng(5)
    still = np.ones(1, bool)
    pictures = [to_picture(face(rng)[None]) for _ in range(count)]
    return [reenactment.face_shape(picture, still, np.array([640, 480], np.int32), SET) for picture in pictures]


def test_onto_the_own_face_gives_the_pose_removed_track_back(track):
    landmarks, mask, size = track
    own = reenactment.face_shape(landmarks, mask, size, SET)
    posed = normalize.get("pose_removed")(landmarks, mask, size, SET)
    assert np.abs(reenactment.reenact(landmarks, mask, size, own, SET) - posed).max() < 1e-6


def test_motion_is_the_same_on_every_face_and_the_face_is_the_target_s(track):
    landmarks, mask, size = track
    results = []
    for shape in other_faces(3):
        rendered = reenactment.reenact(landmarks, mask, size, shape, SET)
        assert rendered.dtype == np.float32
        assert np.abs(normalize.mean_shape(rendered, mask) - shape).max() < 1e-6
        results.append((rendered - shape)[mask])
    assert np.abs(results[0]).max() > 0.05  # there is motion at all
    assert np.abs(results[0] - results[1]).max() < 1e-6 and np.abs(results[0] - results[2]).max() < 1e-6


def test_faces_of_different_people_differ():
    one, two = other_faces(2)
    assert np.abs(one - two).max() > 0.05


def test_face_shape_stands_in_the_pose_and_scale_of_the_reference():
    reference = topology.get(SET).reference_shape
    still = to_picture(3 * reference[None] + 0.2)
    shape = reenactment.face_shape(still, np.ones(1, bool), np.array([640, 480], np.int32), SET)
    assert np.abs(shape - reference).max() < 1e-4


def test_masked_frames_are_zero_and_their_content_does_not_matter(track):
    landmarks, mask, size = track
    (shape,) = other_faces(1)
    spoilt = np.where(mask[:, None, None], landmarks, 1e6).astype(np.float32)
    rendered = reenactment.reenact(landmarks, mask, size, shape, SET)
    assert not rendered[~mask].any() and rendered[mask].any(axis=(1, 2)).all()
    assert np.array_equal(reenactment.reenact(spoilt, mask, size, shape, SET), rendered)


def test_the_result_counts_as_isotropic(track):
    """Read with `IMAGE_SIZE`, a rendering goes through the normalisations as it is."""
    landmarks, mask, size = track
    own = reenactment.face_shape(landmarks, mask, size, SET)
    rendered = reenactment.reenact(landmarks, mask, size, own, SET)
    again = normalize.get("pose_removed")(rendered, mask, reenactment.IMAGE_SIZE, SET)
    assert np.abs(again - rendered).max() < 1e-4


def test_a_face_of_another_landmark_set_is_refused(track):
    with pytest.raises(ValueError, match=r"\(68, 3\).*\(109, 3\)"):
        reenactment.reenact(*track, topology.get("ibug68").reference_shape, SET)
