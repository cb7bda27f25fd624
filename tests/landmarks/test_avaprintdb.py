"""Landmark files as AVAPrintDB's script makes them, against files that it made."""

import pathlib

import numpy as np
import pytest

from fingerprint.errors import ArrayRefused
from fingerprint.landmarks import avaprintdb, topology, track

CLIPS = {
    "aniportrait_aragaki_driver": "reenactment/aniportrait_aragaki_driver.mp4",
    "grid_bbaf2n": "talking/grid_bbaf2n.mpg",
    "liveportrait_d18": "talking/liveportrait_d18.mp4",
}


@pytest.fixture(scope="module")
def model(shared):
    pytest.importorskip("mediapipe", reason="mediapipe is not installed")
    path = shared / "models" / "face_landmarker.task"
    if not path.is_file():
        pytest.skip(f"MediaPipe's model file is not at {path}")
    return path


def same_kind_of_processor() -> bool:
    """The reference files were made with 512-bit vectors; MediaPipe's sums are others with 256-bit ones."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    return cpuinfo.is_file() and "avx512f" in cpuinfo.read_text()


@pytest.mark.parametrize(
    "clip",
    [pytest.param(name, marks=[pytest.mark.slow] if name.startswith("ani") else []) for name in CLIPS],
)
def test_a_video_gives_the_file_that_the_script_made(shared, model, clip):
    wanted = np.load(shared / "parity" / "extraction" / f"{clip}_avaprintdb109.npy", allow_pickle=False)
    found = avaprintdb.faithful(shared / "data" / "videos" / CLIPS[clip], model_file=model)
    assert found.dtype == wanted.dtype == np.float32 and found.shape == wanted.shape
    off = np.abs(found - wanted)
    # Rounding differs by 1e-5 in the first frame and is then passed on from frame to frame by the tracking.
    assert off[0].max() < (1e-5 if same_kind_of_processor() else 5e-5)
    assert off.max() < (1e-5 if same_kind_of_processor() else 0.02)
    assert off.mean() < (1e-6 if same_kind_of_processor() else 1e-3)


def test_it_is_what_the_script_computes_here(shared, model):
    """The script's own steps (OpenCV's frames, MediaPipe's public interface) on this machine give it to the bit."""
    cv2 = pytest.importorskip("cv2", reason="OpenCV, which the script uses, is not installed")
    from fingerprint.landmarks import extract

    clip = shared / "data" / "videos" / CLIPS["grid_bbaf2n"]
    capture, frames = cv2.VideoCapture(str(clip)), []
    rate = capture.get(cv2.CAP_PROP_FPS)
    indices = topology.get("avaprintdb109").mediapipe_indices
    with extract.FaceLandmarker(model, public=True) as landmarker:
        while (read := capture.read())[0]:
            rgb = cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
            points = landmarker.detect(rgb, int(len(frames) / rate * 1000))[0]
            unit = np.linalg.norm(points[133] - points[362])
            frames.append((points[indices] - points[4]) / unit)
    found = avaprintdb.faithful(clip, model_file=model)
    assert len(frames) == 75
    np.testing.assert_allclose(found, np.stack(frames), atol=2e-6)


def test_tracks_with_the_counting_clock_give_the_same(shared, model, tmp_path):
    from fingerprint.landmarks import extract

    clip, out = shared / "data" / "videos" / CLIPS["grid_bbaf2n"], tmp_path / "out.track.npz"
    extract.extract_to_file(clip, out, model_file=model, options=extract.ExtractionOptions(clock="index"))
    assert np.array_equal(avaprintdb.faithful(track.read(out)), avaprintdb.faithful(clip, model_file=model))


def tracks(provenance, mask=(True, True, False, True)) -> track.VideoTracks:
    mask = np.array(mask)
    face = np.random.default_rng(0).random((len(mask), 478, 3)).astype(np.float32) * mask[:, None, None]
    times, blendshapes, pose = np.arange(len(mask)) * 40_000, np.zeros((len(mask), 52)), np.zeros((len(mask), 4, 4))
    one = track.LandmarkTrack(face, mask, times, blendshapes, pose, ~mask, (4, 3), 25.0, 0, provenance)
    return track.VideoTracks((one,), len(mask), provenance)


def test_frames_without_a_face_are_dropped_and_the_rest_joined():
    source = tracks({"mode": "video", "clock": "index"})
    found = avaprintdb.faithful(source)
    assert found.shape == (3, 109, 3)
    assert np.array_equal(found, avaprintdb.normalise(source.tracks[0].landmarks[[0, 1, 3]]))
    points = topology.get("avaprintdb109")
    assert not found[:, points.nose_tip].any()
    np.testing.assert_allclose(
        np.linalg.norm(found[:, points.inner_eyes[0]] - found[:, points.inner_eyes[1]], axis=1), 1, atol=1e-6
    )


@pytest.mark.parametrize(
    "provenance", [{}, {"mode": "video", "clock": "container"}, {"mode": "image", "clock": "index"}]
)
def test_tracks_of_another_clock_or_mode_are_refused(provenance):
    with pytest.raises(ArrayRefused) as caught:
        avaprintdb.faithful(tracks(provenance))
    assert caught.value.reason == "provenance"


def test_nothing_left_is_refused(tmp_path):
    with pytest.raises(ArrayRefused, match="no frame"):
        avaprintdb.faithful(track.VideoTracks((), 5, {"mode": "video", "clock": "index"}))


def test_anchors_and_scales_that_are_no_numbers():
    """A lost nose tip: the last one stands in. No scale: no frame."""
    face = np.random.default_rng(0).random((4, 478, 3))
    face[1, 4] = np.nan
    face[2, 133] = face[2, 362]
    face[3, 133] = np.inf
    found = avaprintdb.normalise(face)
    assert len(found) == 2
    indices, unit = topology.get("avaprintdb109").mediapipe_indices, np.linalg.norm(face[1, 133] - face[1, 362])
    other = np.setdiff1d(np.arange(109), [topology.get("avaprintdb109").nose_tip])
    np.testing.assert_allclose(found[1, other], ((face[1, indices] - face[0, 4]) / unit)[other], atol=1e-6)
