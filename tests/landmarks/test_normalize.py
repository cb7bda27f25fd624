"""Normalisations: each removes what it says and only that."""

import numpy as np
import pytest
from sources import face, rotations, smooth_motion, to_picture

from fingerprint.errors import ArrayRefused, UnknownName
from fingerprint.landmarks import normalize, topology

SET, FRAMES, SIZE = "avaprintdb109", 12, (640, 480)
POINTS = topology.get(SET)
NUISANCES = ("framing", "translation", "scale", "aspect", "rotation", "shape")
WITH_ASPECT = [name for name in normalize.names() if "aspect" in normalize.get(name).removes]


def isotropic_track(shape_seed=0):
    """A talking face, its head turning, in inner-eye distances."""
    motion = smooth_motion(np.random.default_rng(3), FRAMES)
    turn = rotations(np.cumsum(np.random.default_rng(4).normal(0, 0.03, (FRAMES, 3)), axis=0))
    return np.einsum("tij,tvj->tvi", turn, face(np.random.default_rng([9, shape_seed])) + motion)


def normalized(name, points, size=SIZE, mask=None, **picture):
    mask = np.ones(len(points), bool) if mask is None else mask
    return normalize.get(name)(to_picture(points, size, **picture), mask, np.array(size, np.int32), SET)


def altered(name, nuisance):
    """The same track with one thing about it changed."""
    track, rng = isotropic_track(), np.random.default_rng(1)
    match nuisance:
        case "framing":  # the camera zoomed and moved, once for the whole clip
            return normalized(name, 1.3 * track + np.array([0.4, -0.3, 0.2]))
        case "translation":
            return normalized(name, track + rng.normal(0, 0.5, (FRAMES, 1, 3)))
        case "scale":
            return normalized(name, track * rng.uniform(0.7, 1.4, (FRAMES, 1, 1)))
        case "rotation":
            turn = rotations(rng.normal(0, 0.3, (FRAMES, 3)))
            return normalized(name, np.einsum("tij,tvj->tvi", turn, track))
        case "aspect":  # the picture padded to the right and below: the same pixels
            return normalized(name, track, size=(960, 480), centre=(0.5 * 640 / 960, 0.5))
        case "shape":
            return normalized(name, isotropic_track(shape_seed=1))


def change(name, nuisance):
    """How much the result changes, as a share of how much it varies over the track."""
    plain = normalized(name, isotropic_track())
    return np.sqrt(np.mean((altered(name, nuisance) - plain) ** 2)) / np.sqrt(np.mean((plain - plain.mean(0)) ** 2))


@pytest.mark.parametrize("nuisance", NUISANCES)
@pytest.mark.parametrize("name", normalize.names())
def test_removes_what_it_says_and_only_that(name, nuisance):
    found = change(name, nuisance)
    if nuisance not in normalize.get(name).removes:
        assert found > 1.0
    elif nuisance == "shape":
        # How a frame is aligned depends a little on the face, and a turning head shows its shape: not exact.
        assert found < 0.5
    else:
        assert found < 1e-3


def test_every_removed_thing_is_one_that_is_tested():
    assert set().union(*(normalize.get(name).removes for name in normalize.names())) == set(NUISANCES)


@pytest.mark.parametrize("name", WITH_ASPECT)
@pytest.mark.parametrize("size", [(480, 360), (320, 240), (1, 1), (1920, 1080), (480, 640)])
def test_resizing_or_padding_the_picture_changes_nothing(name, size):
    plain = normalized(name, isotropic_track())
    assert np.abs(normalized(name, isotropic_track(), size=size, unit=0.1 * min(size)) - plain).max() < 1e-3


@pytest.mark.parametrize("name", normalize.names())
def test_mirror_twice_is_the_identity_and_mirrors_the_result(name):
    """A picture seen in a mirror gives the mirrored landmarks, under every normalisation."""
    track = isotropic_track()
    flipped = track[:, POINTS.mirror] * np.array([-1, 1, 1])
    plain, seen = normalized(name, track), normalized(name, flipped)
    back = seen[:, POINTS.mirror] * np.array([-1, 1, 1], np.float32)
    assert np.abs(back - plain).max() < 1e-4
    assert np.abs(seen - plain).max() > 0.02


def test_published_equals_a_frame_by_frame_transcription():
    """Landmark 4 (nose tip) to the origin, then divided by the 3-D distance of landmarks 133 and 362."""
    raw = to_picture(isotropic_track())
    where = {index: vertex for vertex, index in enumerate(POINTS.mediapipe_indices.tolist())}
    expected = np.zeros_like(raw)
    for t in range(FRAMES):
        nose, right, left = raw[t, where[4]], raw[t, where[133]], raw[t, where[362]]
        unit = sum((a - b) ** 2 for a, b in zip(right, left, strict=True)) ** 0.5
        for v in range(109):
            for c in range(3):
                expected[t, v, c] = (raw[t, v, c] - nose[c]) / unit
    found = normalize.get("published")(raw, np.ones(FRAMES, bool), np.array([0, 0], np.int32), SET)
    assert np.allclose(found, expected, atol=1e-5)


def test_aspect_corrected_puts_nose_and_eyes_where_it_says():
    found = normalized("aspect_corrected", isotropic_track())
    left, right = POINTS.inner_eyes
    assert np.abs(found[:, POINTS.nose_tip]).max() == 0
    assert np.allclose(np.linalg.norm(found[:, left] - found[:, right], axis=-1), 1, atol=1e-5)
    isotropic = isotropic_track()
    expected = isotropic - isotropic[:, POINTS.nose_tip, None]
    expected /= np.linalg.norm(isotropic[:, left] - isotropic[:, right], axis=-1)[:, None, None]
    assert np.abs(found - expected).max() < 1e-4


def test_box_equals_a_transcription():
    """The middle of the 2 % and 98 % quantiles of all valid points to the origin, the longer side 1."""
    points, mask = isotropic_track(), np.arange(FRAMES) % 4 != 0
    found = normalized("box", points, mask=mask)
    low, high = (np.quantile(points[mask].reshape(-1, 3), q, axis=0) for q in (0.02, 0.98))
    expected = (points - (low + high) / 2) / max(high[0] - low[0], high[1] - low[1])
    assert np.abs(found - expected * mask[:, None, None]).max() < 1e-5
    one_point = np.full((FRAMES, 109, 3), 0.3, np.float32)
    assert not normalize.get("box")(one_point, mask, np.array(SIZE, np.int32), SET).any()


def test_undo_aspect_gives_equal_units():
    points = isotropic_track()
    picture = to_picture(points, (1280, 720), unit=100.0)
    equal = normalize.undo_aspect(picture, np.array([1280, 720]))
    assert equal.dtype == np.float32
    assert np.allclose((equal - equal[:, :1]) * 720, (points - points[:, :1]) * 100, atol=1e-2)


@pytest.mark.parametrize("size", [(0, 0), (640, 0), (0, 480), (-1, -1)])
@pytest.mark.parametrize("name", WITH_ASPECT)
def test_unknown_picture_size_is_an_error_that_says_what_to_do(name, size):
    with pytest.raises(ArrayRefused, match="image size is unknown.*published") as error:
        normalize.get(name)(to_picture(isotropic_track()), np.ones(FRAMES, bool), np.array(size, np.int32), SET)
    assert error.value.reason == "image_size"


@pytest.mark.parametrize("name", normalize.names())
def test_masked_frames_are_zero_and_their_content_does_not_matter(name):
    raw = to_picture(isotropic_track())
    mask = np.arange(FRAMES) % 3 != 1
    size = np.array(SIZE, np.int32)
    plain = normalize.get(name)(raw, mask, size, SET)
    assert plain.dtype == np.float32 and not plain[~mask].any() and np.abs(plain[mask]).max() > 0.05
    for junk in (1e5, np.nan, np.inf):
        spoilt = np.where(mask[:, None, None], raw, np.float32(junk))
        with np.errstate(invalid="ignore"):
            assert np.array_equal(normalize.get(name)(spoilt, mask, size, SET), plain)
    assert not normalize.get(name)(raw, np.zeros(FRAMES, bool), size, SET).any()


@pytest.mark.parametrize("name", normalize.names())
def test_the_order_of_frames_does_not_matter(name):
    raw, order = to_picture(isotropic_track()), np.random.default_rng(0).permutation(FRAMES)
    mask = np.arange(FRAMES) % 4 != 1
    size = np.array(SIZE, np.int32)
    plain = normalize.get(name)(raw, mask, size, SET)
    shuffled = normalize.get(name)(raw[order], mask[order], size, SET)
    assert np.abs(shuffled - plain[order]).max() <= 1e-6


@pytest.mark.parametrize("name", ["published", "aspect_corrected"])
def test_a_face_without_eye_distance_is_a_zero_frame(name):
    raw = to_picture(isotropic_track())
    raw[2, POINTS.inner_eyes[0]] = raw[2, POINTS.inner_eyes[1]]
    found = normalize.get(name)(raw, np.ones(FRAMES, bool), np.array(SIZE, np.int32), SET)
    assert not found[2].any() and np.isfinite(found).all() and found[3].any()


@pytest.mark.parametrize("name", normalize.names())
def test_a_face_that_is_one_point_stays_finite(name):
    raw = to_picture(isotropic_track())
    raw[2] = 0.5
    assert np.isfinite(normalize.get(name)(raw, np.ones(FRAMES, bool), np.array(SIZE, np.int32), SET)).all()


def test_align_recovers_known_transforms():
    rng, reference = np.random.default_rng(0), POINTS.reference_shape.astype(np.float64)
    turn = rotations(rng.uniform(-3, 3, (FRAMES, 3)))
    moved = rng.uniform(0.2, 5, (FRAMES, 1, 1)) * np.einsum("tij,vj->tvi", turn, reference) + rng.normal(
        0, 9, (FRAMES, 1, 3)
    )
    assert np.abs(normalize.align(moved, reference) - reference).max() < 1e-5


def test_align_does_not_reflect():
    reference = POINTS.reference_shape + 0.1 * np.random.default_rng(0).normal(size=(109, 3)).astype(np.float32)
    reflected = reference[None] * np.array([-1, 1, 1], np.float32)
    aligned = normalize.align(reflected, reference)
    assert np.abs(aligned - reference).max() > 0.5
    # Orientation is kept: the aligned points are a proper rotation of the reflected ones, not of the reference.
    frame = np.linalg.lstsq(reflected[0] - reflected[0].mean(0), aligned[0] - aligned[0].mean(0), rcond=None)[0]
    assert np.linalg.det(frame) > 0
    # And the scale is the best for that rotation: the rest stands at right angles to what was aligned.
    centred, target = aligned[0] - aligned[0].mean(0), reference - reference.mean(0)
    assert abs(np.sum(centred * (target - centred))) < 1e-4 * np.sum(target**2)


def test_align_is_the_least_squares_similarity():
    rng, reference = np.random.default_rng(1), POINTS.reference_shape.astype(np.float64)
    frame = (reference + rng.normal(0, 0.2, reference.shape))[None]
    best = np.sum((normalize.align(frame, reference) - reference) ** 2)
    centred = frame[0] - frame[0].mean(0)
    aligned = normalize.align(frame, reference)[0].astype(np.float64)
    for _ in range(30):
        turn = rotations(rng.normal(0, 0.02, (1, 3)))[0]
        other = rng.uniform(0.98, 1.02) * (aligned - aligned.mean(0)) @ turn + aligned.mean(0) + rng.normal(0, 0.01, 3)
        assert np.sum((other - reference) ** 2) >= best
    assert np.sum(centred**2) > 0


def test_mean_shape():
    track = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    mask = np.array([True, False, True, False])
    assert np.array_equal(normalize.mean_shape(track, mask), (track[0] + track[2]) / 2)
    assert not normalize.mean_shape(track, np.zeros(4, bool)).any()


def test_motion_is_what_is_left_of_the_clip_s_mean():
    for name in normalize.names():
        if "shape" in normalize.get(name).removes:
            mask = np.arange(FRAMES) % 3 != 0
            found = normalized(name, isotropic_track(), mask=mask)
            assert np.abs(found[mask].mean(axis=0)).max() < 1e-6


@pytest.mark.parametrize("shape", [(5, 68, 3), (5, 109, 2), (109, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ArrayRefused, match="109") as error:
        normalize.get("published")(np.zeros(shape, np.float32), np.ones(5, bool), np.array([1, 1], np.int32), SET)
    assert error.value.reason == "shape"


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(UnknownName, match="no_such.*aspect_corrected.*motion_only.*pose_removed.*published"):
        normalize.get("no_such")
    assert normalize.DEFAULT in normalize.names()
