"""Landmark files as AVAPrintDB's script makes them, against files that it made."""

import pathlib

import av
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


def has_avx512() -> bool:
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    return cpuinfo.is_file() and "avx512f" in cpuinfo.read_text()


def faithful(clip: pathlib.Path, model, folder) -> np.ndarray:
    from fingerprint.landmarks import extract

    options = extract.ExtractionOptions(clock="index")
    done = extract.extract_to_file(clip, folder / "out.track.npz", model_file=model, options=options)
    return avaprintdb.faithful(track.read(done.path))


@pytest.mark.skipif(
    not has_avx512(),
    reason="the files were made with 512-bit vectors (avx512f), which this processor lacks; MediaPipe's sums differ",
)
@pytest.mark.parametrize(
    "clip",
    [pytest.param(name, marks=[pytest.mark.slow] if name.startswith("ani") else []) for name in CLIPS],
)
def test_a_video_gives_the_file_that_the_script_made(shared, model, clip, tmp_path):
    wanted = np.load(shared / "parity" / "extraction" / f"{clip}_avaprintdb109.npy", allow_pickle=False)
    found = faithful(shared / "data" / "videos" / CLIPS[clip], model, tmp_path)
    assert found.dtype == wanted.dtype == np.float32 and found.shape == wanted.shape
    off = np.abs(found - wanted)
    assert off.max() < 1e-5 and off.mean() < 1e-6


def test_it_is_what_the_scripts_steps_give_here(shared, model, tmp_path):
    """Every frame to MediaPipe's public interface, with its number's time; then centre and scale. PyAV decodes."""
    import mediapipe
    from mediapipe.tasks.python import vision
    from mediapipe.tasks.python.core.base_options import BaseOptions

    clip, wanted = shared / "data" / "videos" / CLIPS["grid_bbaf2n"], []
    indices = topology.get("avaprintdb109").mediapipe_indices
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(model)), running_mode=vision.RunningMode.VIDEO
    )
    with av.open(str(clip)) as container, vision.FaceLandmarker.create_from_options(options) as landmarker:
        rate = float(container.streams.video[0].average_rate)
        for number, frame in enumerate(container.decode(video=0)):
            rgb = np.ascontiguousarray(frame.to_ndarray(format="rgb24"))
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb)
            (face,) = landmarker.detect_for_video(image, int(number / rate * 1000)).face_landmarks
            points = np.array([(point.x, point.y, point.z) for point in face])
            unit = np.linalg.norm(points[133] - points[362])
            wanted.append((points[indices] - points[4]) / unit)
    found = faithful(clip, model, tmp_path)
    assert len(wanted) == 75 and found.dtype == np.float32
    np.testing.assert_allclose(found, np.stack(wanted), atol=2e-6, rtol=0)


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
