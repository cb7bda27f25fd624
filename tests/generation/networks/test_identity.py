"""Alignment of faces, and that SFace tells people apart."""

import numpy as np
import originals
import pytest

from fingerprint.errors import LibraryMissing, WeightsMissing
from fingerprint.generation.networks import identity


def moved(points, scale, angle, shift):
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return points @ turn.T + shift


def test_five_points_are_pixels():
    landmarks = np.zeros((1, 478, 3), np.float32)
    landmarks[0, [468, 473, 4, 61, 291], :2] = [[0.25, 0.5], [0.75, 0.5], [0.5, 0.6], [0.3, 0.8], [0.7, 0.8]]
    np.testing.assert_allclose(
        identity.five_points(landmarks, (200, 100))[0], [[50, 50], [150, 50], [100, 60], [60, 80], [140, 80]], atol=1e-4
    )


def test_a_face_in_its_place_is_not_changed():
    frames = originals.pictures(1, 112, 112)
    found = identity.align(frames, identity._PLACES[None])
    np.testing.assert_allclose(found[0], frames[0], atol=1e-3)


def test_a_moved_turned_and_scaled_face_comes_back():
    rows, columns = np.mgrid[:300, :300]
    points = moved(identity._PLACES, 1.7, 0.4, (60, 20))
    back = moved(np.stack([columns, rows], -1) - (60, 20), 1 / 1.7, -0.4, 0)
    slope = np.stack([back[..., 0] + 40, back[..., 1] + 40, back.sum(-1) + 20], -1)
    frame = slope.clip(0, 255).round().astype(np.uint8)
    inner = identity.align(frame[None], points[None])[0, 5:100, 5:100]
    down, across = np.mgrid[5:100, 5:100]
    np.testing.assert_allclose(inner, np.stack([across + 40, down + 40, across + down + 20], -1), atol=0.8)


def test_outside_the_frame_is_black():
    frames = np.full((1, 112, 112, 3), 200, np.uint8)
    found = identity.align(frames, identity._PLACES[None] + (-60, 0))[0]
    assert np.all(found[:, :40] == 0) and np.all(found[:, 70:] == 200)


def test_alignment_is_that_of_opencv():
    cv2 = pytest.importorskip("cv2")
    path = f"{originals.installed('sface')}/face_recognition_sface_2021dec.onnx"
    recognizer = cv2.FaceRecognizerSF.create(path, "")
    frame = originals.pictures(1, 240, 320)[0]
    points = moved(identity._PLACES, 1.6, -0.2, (90, 30)) + np.array([[0, 1], [1, 0], [2, -1], [0, 0], [-1, 1]])
    face = np.concatenate([[90, 30, 180, 180], points.ravel(), [0.9]]).astype(np.float32)
    wanted = recognizer.alignCrop(frame[..., ::-1].copy(), face[None])[..., ::-1]
    assert np.abs(identity.align(frame[None], points[None])[0] - wanted).mean() < 0.5


def test_csim_is_the_cosine():
    a, b = np.array([[3.0, 4.0], [1.0, 0.0], [np.nan, 0.0]]), np.array([[6.0, 8.0], [0.0, 2.0], [1.0, 1.0]])
    np.testing.assert_allclose(identity.csim(a, b), [1, 0, np.nan])


def test_absent_weights_and_library_are_said(tmp_path, monkeypatch):
    with pytest.raises(WeightsMissing, match="sface_2021dec.onnx .*--fetch-weights"):
        identity.FaceEmbedder(tmp_path)
    folder = originals.installed("sface")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(LibraryMissing, match=r"fingerprint\[quality\]"):
        identity.FaceEmbedder(folder)


def test_the_same_person_is_nearer_than_another(shared):
    """Two clips, each against itself a second later and against the other."""
    pytest.importorskip("onnxruntime")
    embedder = identity.FaceEmbedder(originals.installed("sface"), threads=1)
    from fingerprint.landmarks import extract, model_file, video

    model = model_file.find(shared / "models" / model_file.NAME)
    seen = []
    for name in ("liveportrait_d10.mp4", "liveportrait_d12.mp4"):
        path = shared / "data" / "videos" / "talking" / name
        frames = [frame.rgb for frame in video.frames(path) if frame.index in (0, 30)]
        with extract.FaceLandmarker(model, "image") as landmarker:
            faces = [landmarker.detect(rgb, 0)[0] for rgb in frames]
        mask = np.array([True, True])
        seen.append(embedder.embed(np.stack(frames), np.stack(faces), mask))
    (a, later_a), (b, later_b) = seen
    same = identity.csim(np.stack([a, b]), np.stack([later_a, later_b]))
    other = identity.csim(np.stack([a, a]), np.stack([b, later_b]))
    assert same.min() > 0.6 and other.max() < 0.3
    hidden = embedder.embed(np.zeros((1, 64, 64, 3), np.uint8), np.zeros((1, 478, 3)), np.array([False]))
    assert np.isnan(hidden).all()
