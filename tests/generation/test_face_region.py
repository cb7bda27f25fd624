"""Where the face is through a clip: as large, as steady and as sure as it is said to be."""

import dataclasses
import itertools
import logging

import numpy as np
import pytest

from fingerprint.errors import VideoRefused, WeightsMissing
from fingerprint.generation import faces
from fingerprint.generation.networks import dwpose
from fingerprint.landmarks import extract, topology, track, video


def made_track(frames=60, mask=None, jitter=0.0, size=(640, 480), move=0.0, fps=25.0):
    """A face of about 120 pixels, moving to the right by `move` of the width in all."""
    face = topology.get("mediapipe478").reference_shape[:, :2]
    face = (face - face.min(axis=0)) / np.ptp(face, axis=0).max() * 120
    rng = np.random.default_rng(0)
    centre = np.array([250.0, 200.0]) + np.linspace(0, move * size[0], frames)[:, None] * [1, 0]
    points = face + centre[:, None] + rng.normal(0, jitter, (frames, 1, 2))
    landmarks = np.zeros((frames, 478, 3), np.float32)
    landmarks[:, :, :2] = points / size
    mask = np.ones(frames, bool) if mask is None else mask
    landmarks[~mask] = 0
    return track.LandmarkTrack(
        landmarks, mask, np.round(np.arange(frames) * 1e6 / fps).astype(np.int64), np.zeros((frames, 52), np.float32),
        np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1)), np.zeros(frames, bool), size, fps, 0, {"file": "a.mp4"},
    )  # fmt: skip


def video_of(*parts):
    """The parts, one after the other."""
    placed, start = [], 0
    for part in parts:
        placed.append(dataclasses.replace(part, start_frame=start))
        start += len(part)
    return track.VideoTracks(tuple(placed), start, {"file": "a.mp4"})


def pixels(region, size=(640, 480)):
    return region.boxes * np.tile(size, 2)


def test_one_square_for_the_clip_around_the_face():
    found = made_track(jitter=2.0)
    boxes = pixels(faces.face_region(video_of(found)))
    sides = boxes[:, 2:] - boxes[:, :2]
    assert np.ptp(sides) < 1e-9 and sides[0, 0] == pytest.approx(120 * 1.5, rel=1e-5)
    points = found.landmarks[:, :, :2] * (640, 480)
    assert (points >= boxes[:, None, :2]).all() and (points <= boxes[:, None, 2:]).all()


def test_the_path_is_steady_and_follows():
    still = pixels(faces.face_region(video_of(made_track(jitter=2.0))))[:, 0]
    assert np.diff(still).std() < 0.3 < np.diff(made_track(jitter=2.0).landmarks[:, 4, 0] * 640).std()
    moving = pixels(faces.face_region(video_of(made_track(move=0.3))))[:, 0]
    assert moving[-1] - moving[0] == pytest.approx(0.3 * 640, rel=0.1)


def test_frames_without_a_face_are_marked_and_interpolated():
    mask = np.ones(60, bool)
    mask[20:30] = mask[:5] = False
    whole, gaps = (
        faces.face_region(video_of(made_track(move=0.3))),
        faces.face_region(video_of(made_track(move=0.3, mask=mask))),
    )
    np.testing.assert_allclose(gaps.boxes[24:50], whole.boxes[24:50], atol=1e-9)
    assert gaps.share_with_face == 0.75 and not gaps.shows_face[25] and np.isfinite(gaps.boxes).all()
    with pytest.raises(VideoRefused, match="no frame shows a face"):
        faces.face_region(video_of(made_track(mask=np.zeros(60, bool))))


def test_the_face_is_cut_out_of_pictures_of_any_size():
    region = faces.face_region(video_of(made_track()))
    picture = np.zeros((480, 640, 3), np.uint8)
    left, top, right, bottom = np.rint(pixels(region)[0]).astype(int)
    picture[top:bottom, left:right] = 200
    assert (region.cut(picture, 0)[4:-4, 4:-4] == 200).all()
    wide = np.repeat(picture, 2, axis=1)  # pixels that are half as wide
    assert np.abs(region.cut(wide, 0).astype(int) - region.cut(picture, 0)).mean() < 2


def test_every_part_of_a_track_is_followed_at_its_own_size():
    near, far = made_track(30), made_track(20, size=(1280, 960))
    lost = made_track(10, mask=np.zeros(10, bool))
    region = faces.face_region(video_of(near, lost, far))
    assert region.follows.tolist() == [True] * 30 + [False] * 10 + [True] * 20
    np.testing.assert_array_equal(region.boxes[:30], faces.face_region(video_of(near)).boxes)
    np.testing.assert_array_equal(region.boxes[40:], faces.face_region(video_of(far)).boxes)
    assert region.share_with_face == pytest.approx(50 / 60)


def test_the_face_of_a_real_clip(shared, tmp_path, caplog):
    source = shared / "data" / "videos" / "talking" / "grid_bbaf2n.mpg"
    model = shared / "models" / "face_landmarker.task"
    extract.extract_to_file(source, tmp_path / "t.track.npz", model_file=model)
    region = faces.face_region(track.read(tmp_path / "t.track.npz"))
    with caplog.at_level(logging.INFO, "fingerprint.generation.faces"):
        faces.log_share(source.name, region.share_with_face)
    assert "grid_bbaf2n.mpg: the face was found in 100.0 % of the frames" in caplog.text
    with extract.FaceLandmarker(model, "image") as detector:
        points = detector.detect(region.cut(next(video.frames(source)).rgb, 0), 0)[0][:, :2]
    assert 0.5 < np.ptp(points, axis=0).max() < 0.8
    assert np.abs((points.min(axis=0) + points.max(axis=0)) / 2 - 0.5).max() < 0.06


# ------------------------------------------------------------------------------------------------- as published


def square(left, top, side):
    return np.array([[left, top], [left + side, top + side]], float)


def test_published_boxes_are_widened_and_filtered_by_area():
    points = [
        None,
        square(100, 100, 40),
        square(100, 100, 10),
        square(200.9, 150.9, 90),
        np.zeros((0, 2)),
        square(0, 5, 45),
    ]
    crops = faces.published_crops(points, 640, 480)
    # 40 → 80 by 80 = 6,400; 10 → 20, below 50, so 50 by 50 = 2,500; 90 → 180, too large; at the edge 67 by 72.
    assert dict(zip(crops.frames, crops.boxes, strict=True)) == {
        1: (80, 80, 160, 160),
        2: (80, 80, 130, 130),
        5: (0, 0, 67, 72),
    }
    assert (crops.num_frames, crops.share_with_face) == (6, 0.5)
    large = faces.published_crops([square(100, 100, 200), None], 640, 480)
    assert large.frames == (0,) and large.boxes == ((0, 0, 400, 400),)
    assert faces.published_crops([None, None], 640, 480).frames == ()


def test_published_pictures_take_the_size_of_the_first():
    crops = faces.published_crops([square(100, 100, 40), None, square(20, 20, 30), square(50, 50, 44)], 640, 480)
    rng = np.random.default_rng(0)
    video_frames = [rng.integers(0, 255, (480, 640, 3), dtype=np.uint8) for _ in range(4)]
    read = []

    def pictures():
        for pair in enumerate(video_frames):
            read.append(pair[0])
            yield pair

    found = list(itertools.islice(faces.published_pictures(pictures(), crops), 2))
    assert [(number, face.shape) for number, face in found] == [(0, (80, 80, 3)), (2, (80, 80, 3))]
    assert read == [0, 1, 2]
    np.testing.assert_array_equal(found[0][1], video_frames[0][80:160, 80:160])
    assert len(list(faces.published_pictures(pictures(), crops))) == 3


def test_points_of_a_track_stand_at_their_frame():
    mask = np.ones(6, bool)
    mask[2] = False
    found = faces.track_points(video_of(made_track(6, mask=mask), made_track(2, mask=np.zeros(2, bool))), 1280, 960)
    assert [points is None for points in found] == [False, False, True, False, False, False, True, True]
    assert np.ptp(found[0], axis=0).max() == pytest.approx(240, rel=1e-4)


# ------------------------------------------------------------------------------------------------- DWPose


class Session:
    """Answers as ONNX Runtime would, and remembers what it was given."""

    def __init__(self, shape, answer):
        self.shape, self.answer, self.given = shape, answer, None

    def get_inputs(self):
        return [type("Input", (), {"name": "input", "shape": self.shape})]

    def run(self, _, inputs):
        self.given = inputs["input"]
        return self.answer


def people(*boxes):
    """YOLOX' raw output with a person at each (left, top, right, bottom, score), on the finest grid."""
    raw = np.zeros((8400, 85), np.float32)
    for number, (left, top, right, bottom, score) in enumerate(boxes):
        cell = 80 * (20 + number) + 30
        raw[cell, :2] = (left + right) / 16 - 30, (top + bottom) / 16 - 20 - number
        raw[cell, 2:4] = np.log((right - left) / 8), np.log((bottom - top) / 8)
        raw[cell, 4], raw[cell, 5] = 1.0, score
    return raw


def test_dwpose_finds_the_surest_person():
    boxes, scores = dwpose.decode_people(
        people((100, 50, 300, 450, 0.6), (110, 55, 305, 455, 0.9), (400, 0, 500, 90, 0.2))
    )
    np.testing.assert_allclose(boxes[1], [110, 55, 305, 455], rtol=1e-5)
    assert dwpose.keep_best(boxes, scores, 0.45) == [1, 2]


def test_dwpose_puts_the_face_where_it_is():
    across, down = np.zeros((1, 133, 576), np.float32), np.zeros((1, 133, 768), np.float32)
    rng = np.random.default_rng(0)
    places = np.stack([rng.integers(100, 400, 133), rng.integers(100, 600, 133)], axis=1)
    score = np.full(133, 0.9)
    score[30:60] = 0.2
    for point, (x, y) in enumerate(places):
        across[0, point, x], down[0, point, y] = score[point], 0.95
    detector = Session((1, 3, 640, 640), [people((100, 100, 300, 300, 0.9))[None]])
    pose = Session((1, 3, 384, 288), [across, down])
    rgb = np.zeros((320, 320, 3), np.uint8)
    rgb[..., 0] = 200  # red
    found = dwpose.DwPose(detector, pose).face_points(rgb)
    # The box is 50 to 150 in the picture (640 are 320), 125 wide with its padding, 125 · 4/3 high.
    expected = places[24:92] / 2 / [288, 384] * [125, 500 / 3] + 100 - np.array([125, 500 / 3]) / 2
    keep = score[24:92] > 0.3
    np.testing.assert_allclose(found, expected[keep], rtol=1e-6)
    assert detector.given[0, :, 0, 0].tolist() == [0, 0, 200]  # blue first
    np.testing.assert_allclose(pose.given[0, 2, 192, 144], (200 - 103.53) / 57.375, rtol=1e-5)
    nobody = dwpose.DwPose(Session((1, 3, 640, 640), [np.zeros((1, 8400, 85), np.float32)]), pose)
    assert np.abs(nobody.face_points(rgb).mean(axis=0) - 160).max() < 60  # the whole picture is the box


def test_dwpose_without_its_files_says_which(tmp_path):
    with pytest.raises(WeightsMissing, match="yolox_l.onnx is not in"):
        dwpose.load(tmp_path)
