"""Track files: bit for bit, whole or not at all, and refused when bad; resampling and landmark subsets."""

import dataclasses
import json
import pathlib
import struct
import zipfile
import zlib

import numpy as np
import pytest

from fingerprint.errors import ArrayRefused, UnknownName
from fingerprint.landmarks import arrays, topology, track

ABOUT = {"file": "a/b.mp4", "sha256": "0" * 64}


def rotations(angles):
    out = np.tile(np.eye(4, dtype=np.float32), (len(angles), 1, 1))
    cos, sin = np.cos(angles), np.sin(angles)
    out[:, 0, 0], out[:, 0, 1], out[:, 1, 0], out[:, 1, 1] = cos, -sin, sin, cos
    out[:, :3, 3] = np.stack([angles, -angles, 5 * angles], axis=1)
    return out


def made(frames: int = 150, start: int = 0, seed: int = 0) -> track.LandmarkTrack:
    """A face that moves, with every kind of float, and is lost now and then."""
    rng = np.random.default_rng(seed)
    mask = rng.random(frames) > 0.2
    mask[0] = mask[-1] = True
    landmarks = np.cumsum(rng.normal(0, 0.001, (frames, 478, 3)), axis=0) + rng.random((478, 3)) - 0.3
    landmarks[0, :4, 0] = (0, -0.0, 1e-42, -9e5)
    blendshapes = rng.random((frames, 52))
    pose = rotations(np.linspace(0, 0.5, frames))

    def shown(values):
        return np.where(mask.reshape(-1, *[1] * (values.ndim - 1)), values, 0).astype(np.float32)

    return track.LandmarkTrack(
        landmarks=shown(landmarks),
        frame_mask=mask,
        timestamps=(start + np.arange(frames)) * 40_000,
        blendshapes=shown(blendshapes),
        pose=shown(pose),
        several=rng.random(frames) > 0.5,
        image_size=(640, 480),
        fps=25.0,
        start_frame=start,
        provenance=ABOUT,
    )


def whole(*tracks) -> track.VideoTracks:
    return track.VideoTracks(tracks, sum(map(len, tracks)), tracks[0].provenance)


def assert_same(one: track.LandmarkTrack, other: track.LandmarkTrack):
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes(), field.name
        else:
            assert a == b, field.name


@pytest.fixture
def path(tmp_path):
    return tmp_path / "clip.mp4.track.npz"


@pytest.mark.parametrize("frames", [1, 63, 64, 65, 150])
def test_what_is_written_is_read_bit_for_bit(path, frames):
    before = whole(made(frames), made(70, start=frames, seed=1))
    track.write(path, before)
    after = track.read(path)
    assert (after.num_frames, after.provenance) == (before.num_frames, before.provenance)
    assert len(after.tracks) == 2
    for one, other in zip(before.tracks, after.tracks, strict=True):
        assert_same(one, other)
    assert after.longest is max(after.tracks, key=lambda t: t.frame_mask.sum())


def test_same_tracks_same_bytes(path, tmp_path):
    track.write(path, whole(made()))
    track.write(tmp_path / "again.track.npz", whole(made()))
    assert path.read_bytes() == (tmp_path / "again.track.npz").read_bytes()
    assert path.stat().st_mode & 0o400 and len(list(tmp_path.iterdir())) == 2


def test_a_smooth_face_takes_less_than_its_raw_size(path):
    still = np.tile(topology.get("mediapipe478").reference_shape, (200, 1, 1))
    moved = (still + 0.01 * np.sin(np.arange(200) / 10)[:, None, None]).astype(np.float32)
    track.write(path, whole(dataclasses.replace(made(200), landmarks=moved, frame_mask=np.ones(200, bool))))
    assert path.stat().st_size < 0.8 * moved.nbytes


def test_numpy_opens_the_file(path):
    track.write(path, whole(made()))
    with np.load(path, allow_pickle=False) as entries:
        assert json.loads(entries["header"].tobytes())["num_frames"] == 150


def test_a_video_without_a_face(path):
    with track.writer(path) as out:
        for i in range(100):
            out.append(None, None, None, 40_000 * i, False)
        out.finish([], (640, 480), 25.0, ABOUT)
    video = track.read(path)
    assert video.tracks == () and video.num_frames == 100 and video.longest is None and video.provenance == ABOUT


def test_an_unfinished_file_never_appears(path):
    with pytest.raises(KeyboardInterrupt), track.writer(path) as out:
        out.append(None, None, None, 0, False)
        raise KeyboardInterrupt
    assert list(path.parent.iterdir()) == []


def test_a_failed_write_keeps_the_file_before(path):
    track.write(path, whole(made()))
    before = path.read_bytes()
    with pytest.raises(TypeError), track.writer(path) as out:
        out.append(None, None, None, 0, False)
        out.finish([], (640, 480), 25.0, {"file": object()})
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1


def test_tracks_that_do_not_follow_one_another_are_not_written(path):
    for video in (
        whole(made(10), made(10, start=11)),
        track.VideoTracks((made(10),), 11, {}),
        track.VideoTracks((), 5, {}),
        whole(made(10), dataclasses.replace(made(10, start=10), fps=30.0)),
    ):
        with pytest.raises(ArrayRefused):
            track.write(path, video)
    assert not path.exists()


def reason(path, **how) -> str:
    with pytest.raises(ArrayRefused) as caught:
        track.read(path, **how)
    assert path.name in str(caught.value)
    return caught.value.reason


def test_every_flipped_byte_is_noticed(path, tmp_path):
    track.write(path, whole(made(20)))
    content = path.read_bytes()
    before = track.read(path)
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(content), 300):
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(8)
        bad = tmp_path / "bad.track.npz"
        bad.write_bytes(damaged)
        try:
            after = track.read(bad)
        except ArrayRefused:
            continue
        # Some bytes of a zip archive mean nothing, such as its date.
        assert_same(before.tracks[0], after.tracks[0])


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.9, 0.999])
def test_a_cut_file(path, share):
    track.write(path, whole(made()))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert reason(path) == "damaged"


def nested(depth: int) -> list:
    out: list = []
    for _ in range(depth):
        out = [out]
    return out


def repack(path, **changed):
    """The same file with some of its header's values or its entries exchanged; checksums are right."""
    track.write(path, whole(made()))
    with np.load(path, allow_pickle=False) as entries:
        kept = {name: entries[name] for name in entries.files}
    header = json.loads(kept["header"].tobytes()) | {k: v for k, v in changed.items() if k not in kept}
    kept["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(path, **(kept | {k: v for k, v in changed.items() if k in kept}))
    return path


@pytest.mark.parametrize(
    "changed, wanted",
    [
        ({"version": 2}, "version"),
        ({"num_frames": 10**9}, "header"),
        ({"num_frames": 149}, "damaged"),
        ({"num_frames": 1000}, "damaged"),
        ({"num_frames": "many"}, "header"),
        ({"starts": [0, 50, 50]}, "header"),
        ({"starts": [1]}, "header"),
        ({"starts": [0, 151]}, "header"),
        ({"starts": [0.5]}, "header"),
        ({"image_size": [0, 5]}, "header"),
        ({"num_frames": True}, "header"),
        ({"num_frames": 150.0}, "header"),
        ({"num_frames": "150"}, "header"),
        ({"version": True}, "version"),
        ({"starts": "0"}, "header"),
        ({"starts": [False]}, "header"),
        ({"starts": {"0": 0}}, "header"),
        ({"image_size": [640, 480, 3]}, "header"),
        ({"image_size": [640, 480.0]}, "header"),
        ({"image_size": [640, 100_001]}, "header"),
        ({"image_size": None}, "header"),
        ({"fps": float("nan")}, "header"),
        ({"fps": float("inf")}, "header"),
        ({"fps": "25"}, "header"),
        ({"fps": True}, "header"),
        ({"fps": 0.0}, "header"),
        ({"fps": 10**400}, "header"),
        ({"fps": 51.0}, "header"),
        ({"fps": 12.0}, "header"),
        ({"provenance": "me"}, "header"),
        ({"provenance": {"file": "a"}}, "header"),
        ({"provenance": {"sha256": "0" * 64}}, "header"),
        ({"provenance": ABOUT | {"sha256": "0" * 63 + "g"}}, "header"),
        ({"provenance": ABOUT | {"sha256": 0}}, "header"),
        ({"provenance": ABOUT | {"file": ["a"]}}, "header"),
        ({"provenance": ABOUT | {"file": "a" * 5000}}, "header"),
        ({"provenance": ABOUT | {"more": nested(900)}}, "header"),
        ({"fps": nested(900)}, "header"),
        ({"version": nested(900)}, "version"),
        ({"header": np.frombuffer(b"[1]", np.uint8)}, "header"),
        ({"header": np.frombuffer(b"[" * 100_000, np.uint8)}, "header"),
        ({"header": np.zeros(5 << 20, np.uint8)}, "header"),
        ({"frames": np.zeros(1000, np.uint8)}, "damaged"),
        ({"frames": np.zeros(1000, np.float32)}, "dtype"),
        ({"frames": np.array([{}], object)}, "pickle"),
        ({"frames": np.zeros(10**8, np.uint8)}, "header"),
    ],
)
def test_a_file_that_lies(path, changed, wanted):
    assert reason(repack(path, **changed)) == wanted


@pytest.mark.parametrize(
    "field, value",
    [
        ("landmarks", 2e6),
        ("landmarks", float("nan")),
        ("landmarks", float("-inf")),
        ("blendshapes", 1.01),
        ("blendshapes", -0.01),
        ("blendshapes", float("nan")),
        ("pose", 2e6),
        ("pose", float("inf")),
    ],
)
def test_values_that_no_extraction_gives(path, field, value):
    bad = made()
    getattr(bad, field)[-1].flat[3] = value
    track.write(path, whole(bad))
    with pytest.raises(ArrayRefused, match=field) as caught:
        track.read(path)
    assert caught.value.reason == "damaged"


def test_shares_may_be_off_by_rounding(path):
    face = made()
    face.blendshapes[-1, :2] = 1.0005, -0.0005
    track.write(path, whole(face))
    assert_same(track.read(path).tracks[0], face)


@pytest.mark.parametrize(
    "times", [[0, 40_000, 40_000], [-40_000, 0, 40_000], [2**62, -(2**62) - 2, 2**62], [2**54] * 3]
)
def test_times_that_no_video_has(path, times):
    track.write(path, whole(dataclasses.replace(made(3), timestamps=np.array(times))))
    assert reason(path) == "damaged"


def test_a_block_that_unpacks_to_more_than_it_may(path):
    bomb = zlib.compress(bytes(50 << 20), 9)
    frames = np.frombuffer(struct.pack("<I", len(bomb)) + bomb, np.uint8)
    assert reason(repack(path, frames=frames)) == "damaged"


def test_what_is_no_track_file(path, tmp_path):
    assert reason(path) == "missing"
    np.savez(path, landmarks=np.zeros((3, 478, 3)))
    assert reason(path) == "keys"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.npy", b"x" * 1000)
        archive.writestr("frames.npy", b"x")
    assert reason(path) == "header"
    assert reason(tmp_path / "none.npy") == "missing"


def test_a_link_out_of_the_root(path, tmp_path):
    track.write(path, whole(made()))
    root = tmp_path / "root"
    root.mkdir()
    (root / "link.track.npz").symlink_to(path)
    assert reason(root / "link.track.npz", root=root) == "outside_root"
    assert track.read(path, root=tmp_path).num_frames == 150


def test_points_are_those_of_the_subset():
    whole_face = made()
    indices = topology.get("avaprintdb109").mediapipe_indices
    assert np.array_equal(whole_face.points("avaprintdb109"), whole_face.landmarks[:, indices])
    assert np.array_equal(whole_face.points("mediapipe478"), whole_face.landmarks)
    with pytest.raises(UnknownName, match="avaprintdb109, mediapipe478"):
        whole_face.points("ibug68")
    with pytest.raises(UnknownName):
        whole_face.points("none")


def linear(times_us, mask=None) -> track.LandmarkTrack:
    """Everything moves in proportion to time."""
    times = np.asarray(times_us, np.int64)
    seconds = times / 1e6
    frames = len(times)
    return track.LandmarkTrack(
        landmarks=np.broadcast_to(seconds[:, None, None], (frames, 478, 3)).astype(np.float32),
        frame_mask=np.ones(frames, bool) if mask is None else np.asarray(mask),
        timestamps=times,
        blendshapes=np.broadcast_to(seconds[:, None], (frames, 52)).astype(np.float32),
        pose=rotations(seconds),
        several=np.arange(frames) == 2,
        image_size=(1, 1),
        fps=(frames - 1) / (seconds[-1] - seconds[0]) if frames > 1 else 25.0,
        start_frame=7,
        provenance={},
    )


def test_resampling_is_linear_in_time_and_uniform():
    track_ = linear([0, 40_000, 80_000, 100_000, 150_000, 200_000])
    out = track.resample(track_, 50)
    assert np.array_equal(out.timestamps, np.arange(11) * 20_000) and out.frame_mask.all()
    assert (out.fps, out.start_frame) == (50.0, 7)
    np.testing.assert_allclose(out.landmarks[:, 5, 1], out.timestamps / 1e6, atol=1e-7)
    np.testing.assert_allclose(out.blendshapes[:, 5], out.timestamps / 1e6, atol=1e-7)
    np.testing.assert_allclose(out.pose, rotations(out.timestamps / 1e6), atol=1e-3)
    turns = out.pose[:, :3, :3]
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.tile(np.eye(3), (11, 1, 1)), atol=1e-6)
    assert out.several.tolist() == [False] * 3 + [True] * 2 + [False] * 6


def test_resampling_at_its_own_rate_changes_nothing():
    track_ = linear(np.round(np.arange(100) * 1e6 / 30))
    out = track.resample(track_, 30.0)
    assert_same(dataclasses.replace(track_, fps=30.0, pose=out.pose), out)
    np.testing.assert_allclose(out.pose, track_.pose, atol=1e-6)


def test_nothing_is_invented_beside_a_lost_face_or_over_a_gap():
    lost = linear(np.arange(6) * 40_000, [True, True, False, True, True, True])
    out = track.resample(lost, 50)
    assert out.frame_mask.tolist() == [True, True, True, False, False, False, True, True, True, True, True]
    assert not out.landmarks[~out.frame_mask].any() and not out.pose[~out.frame_mask].any()
    gap = dataclasses.replace(linear([0, 40_000, 80_000, 200_000, 240_000]), fps=25.0)
    out = track.resample(gap, 50)
    assert out.frame_mask.tolist() == [t <= 80_000 or t >= 200_000 for t in out.timestamps]


def test_a_pause_lowers_no_rate_and_is_masked():
    """A call that stood still for ten seconds: the rate stays that of its frames."""
    times = np.concatenate([np.arange(50) * 40_000, 12_000_000 + np.arange(50) * 40_000])
    paused = linear(times)
    assert paused.uneven and paused.steady_fps == 25.0 and paused.fps < 9
    out = track.resample(paused, paused.steady_fps)
    assert out.frame_mask.tolist() == [t <= 49 * 40_000 or t >= 12_000_000 for t in out.timestamps]
    assert np.all(np.diff(out.timestamps) == 40_000) and out.frame_mask.sum() == 100
    # By the mean rate, pauses of 200 ms would count as short.
    assert not track.resample(linear([0, 40_000, 80_000, 280_000, 1_280_000, 1_320_000, 1_360_000]), 25).frame_mask[4]


def test_what_is_even():
    assert not linear(np.round(np.arange(100) * 1e6 / 29.97)).uneven  # rounded to microseconds
    assert not linear([0, 40_000, 99_000, 139_000]).uneven and linear([0, 40_000, 101_000, 141_000]).uneven
    assert linear([0, 40_000, 59_000, 99_000]).uneven
    assert not linear([0]).uneven and linear([0]).steady_fps == 25.0


def test_resampling_to_more_frames_than_any_video_has():
    two = linear([0, 40_000])
    for fps in (25.0 * arrays.MAX_FRAMES, 1e18, 1.7e308):
        with pytest.raises(ArrayRefused) as caught:
            track.resample(two, fps)
        assert caught.value.reason == "too_long"
    with pytest.raises(ArrayRefused, match="wanted at most 200000"):
        track.resample(linear([0, 40_000, 2**53]), 25.0)


def test_resampling_one_frame_and_impossible_rates():
    assert len(track.resample(linear([0]), 30)) == 1
    for fps in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ArrayRefused):
            track.resample(linear([0, 40_000]), fps)


def test_where_a_track_lies(tmp_path):
    assert track.track_path(tmp_path, "a/b.mp4") == tmp_path / "a" / "b.mp4.track.npz"
    assert track.track_path("../out", "a..b/..c.mp4") == pathlib.Path("../out/a..b/..c.mp4.track.npz")


@pytest.mark.parametrize("relative", ["/etc/a.mp4", "../a.mp4", "a/../../b.mp4", ".."])
def test_no_track_lies_outside_its_folder(tmp_path, relative):
    with pytest.raises(ArrayRefused) as caught:
        track.track_path(tmp_path, relative)
    assert caught.value.reason == "outside_root"
