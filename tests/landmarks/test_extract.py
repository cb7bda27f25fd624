"""Extraction from real clips: what comes out, that it is MediaPipe's own to the bit, and what it never does."""

import fractions
import itertools
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys

import av
import numpy as np
import pytest

from fingerprint.errors import ConfigError, FingerprintError, VideoRefused
from fingerprint.landmarks import normalize, track, video

extract = pytest.importorskip("fingerprint.landmarks.extract", reason="mediapipe is not installed")

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model(shared):
    path = shared / "models" / "face_landmarker.task"
    if not path.is_file():
        pytest.skip(f"MediaPipe's model file is not at {path}")
    return path


@pytest.fixture(scope="module")
def clips(shared):
    return shared / "data" / "videos"


@pytest.fixture(scope="module")
def short(clips, tmp_path_factory):
    """The first 40 frames of a square clip, its stream copied."""
    return copied(clips / "talking" / "liveportrait_d18.mp4", tmp_path_factory.mktemp("short") / "short.mp4", 40)


def copied(source: pathlib.Path, out: pathlib.Path, frames: int) -> pathlib.Path:
    with av.open(str(source)) as before, av.open(str(out), "w") as after:
        stream = before.streams.video[0]
        to = after.add_stream_from_template(stream)
        for packet in itertools.islice(before.demux(stream), frames):
            packet.stream = to
            after.mux(packet)
    return out


def encoded(path: pathlib.Path, pictures, times_ms) -> pathlib.Path:
    """A video of nearly the same pixels."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "8", "preset": "ultrafast", "bf": "0"})
        stream.pix_fmt, (stream.height, stream.width) = "yuv420p", pictures[0].shape[:2]
        stream.codec_context.time_base = fractions.Fraction(1, 1000)
        for picture, time in zip(pictures, times_ms, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = time, fractions.Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def flagged(source: pathlib.Path, out: pathlib.Path, clockwise: bool) -> pathlib.Path:
    """The same stream, marked as to be shown turned by a quarter."""
    content = bytearray(source.read_bytes())
    place, one = content.index(b"tkhd") + 44, 65536 if clockwise else -65536
    content[place : place + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    out.write_bytes(content)
    return out


def pictures(path, frames: int) -> list[np.ndarray]:
    return [frame.rgb for frame in itertools.islice(video.frames(path), frames)]


def followed(shown, model, **options) -> list:
    frames = (video.Frame(np.ascontiguousarray(rgb), 40_000 * i, i) for i, rgb in enumerate(shown))
    return list(extract.follow(frames, model_file=model, options=extract.ExtractionOptions(**options)))


def run(path, model, tmp_path, **how):
    done = extract.extract_to_file(path, tmp_path / "out.track.npz", model_file=model, **how)
    return done, track.read(done.path)


@pytest.fixture(scope="module")
def grid(clips, model, tmp_path_factory):
    """A whole clip of a talking person, extracted."""
    return run(clips / "talking" / "grid_bbaf2n.mpg", model, tmp_path_factory.mktemp("grid"))


def test_a_talking_face(grid):
    done, found = grid
    (face,) = found.tracks
    assert (done.num_frames, done.num_valid, done.num_tracks, done.num_several) == (75, 75, 1, 0)
    assert face.landmarks.shape == (75, 478, 3) and face.frame_mask.all() and not face.several.any()
    assert face.image_size == (360, 288) and face.fps == 25.0 and face.start_frame == 0
    assert np.array_equal(face.timestamps, 40_000 * np.arange(75))
    # The face fills a good part of the picture and stays in it; eyes are above the mouth, left of right.
    assert face.landmarks[..., :2].min() > 0 and face.landmarks[..., :2].max() < 1
    assert np.all(np.ptp(face.landmarks[:, :, 1], axis=1) > 0.3)
    assert np.all(face.landmarks[:, 133, 1] < face.landmarks[:, 13, 1] - 0.05)
    assert np.all(face.landmarks[:, 133, 0] < face.landmarks[:, 362, 0])


def test_blendshapes_are_shares_and_follow_speech(grid):
    (face,) = grid[1].tracks
    assert face.blendshapes.shape == (75, 52) and face.blendshapes.min() >= 0 and face.blendshapes.max() <= 1
    neutral, jaw_open = face.blendshapes[:, 0], face.blendshapes[:, 25]
    assert neutral.max() < 0.01 and np.ptp(jaw_open) > 0.05
    opening = np.linalg.norm((face.landmarks[:, 13] - face.landmarks[:, 14])[:, :2], axis=1)
    assert np.corrcoef(opening, jaw_open)[0, 1] > 0.5


def test_the_pose_is_that_of_a_head_before_the_camera(grid):
    pose = grid[1].tracks[0].pose.astype(np.float64)
    turns = pose[:, :3, :3]
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.tile(np.eye(3), (75, 1, 1)), atol=1e-4)
    np.testing.assert_allclose(np.linalg.det(turns), 1, atol=1e-4)
    np.testing.assert_allclose(pose[:, 3], np.tile([0, 0, 0, 1], (75, 1)), atol=0)
    # Facing the camera, 15 to 150 cm before it, moving by less than 5 cm from frame to frame.
    assert np.all(turns[:, 2, 2] > np.cos(np.radians(40)))
    assert np.all((pose[:, 2, 3] > -150) & (pose[:, 2, 3] < -15))
    assert np.all(np.linalg.norm(np.diff(pose[:, :3, 3], axis=0), axis=1) < 5)


def test_the_track_says_how_it_was_made(grid, clips, model):
    done, found = grid
    about = found.provenance
    assert about["file"] == "grid_bbaf2n.mpg" and about["sha256"] == done.sha256
    assert about["model_sha256"] == "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
    assert about["mode"] == "video" and about["clock"] == "container" and about["rotation"] == 0
    assert "mediapipe" in about["extractor"] and "PyAV" in about["decoder"]
    assert found.tracks[0].provenance == about


def test_the_same_video_gives_the_same_bytes(short, model, tmp_path):
    told = []
    for name in ("one", "two"):
        extract.extract_to_file(
            short, tmp_path / name, model_file=model, root=short.parent.parent, on_frames=told.append
        )
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert told == [32, 40] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


@pytest.mark.parametrize("mode", ["video", "image"])
def test_results_are_those_of_the_public_interface_to_the_bit(short, model, mode):
    shown = pictures(short, 12)
    ours = followed(shown, model, mode=mode)
    with extract.FaceLandmarker(model, mode) as fast, extract.FaceLandmarker(model, mode, public=True) as public:
        assert fast._call is not None and public._call is None
        for i, (rgb, mine) in enumerate(zip(shown, ours, strict=True)):
            wanted = public.detect(rgb, 40 * i)
            for a, b, c in zip(
                fast.detect(rgb, 40 * i), wanted, (mine.landmarks, mine.blendshapes, mine.pose), strict=True
            ):
                assert a.dtype == b.dtype == np.float32 and a.tobytes() == b.tobytes() == c.tobytes()


def test_modes_and_clocks_differ(short, model):
    video_mode, image_mode = (followed(pictures(short, 12), model, mode=mode) for mode in ("video", "image"))
    assert not np.array_equal(video_mode[-1].landmarks, image_mode[-1].landmarks)
    for bad in ({"mode": "stream"}, {"clock": "wall"}, {"max_frames": 1}):
        with pytest.raises(ConfigError):
            extract.ExtractionOptions(**bad)
    with pytest.raises(ConfigError, match="clock"):
        followed([], model, clock="index")


def test_live_frames_are_followed_one_by_one(short, model):
    given = []

    def source():
        for frame in itertools.islice(video.frames(short), 10):
            given.append(frame.index)
            yield frame

    for shown in extract.follow(source(), model_file=model):
        assert given[-1] == shown.index and shown.landmarks.shape == (478, 3)
    assert len(given) == 10


def test_times_of_a_variable_rate_go_into_the_track(clips, model, tmp_path):
    times = np.cumsum([0, 40, 40, 120, 40, 40, 80, 40, 40, 40, 40, 40])
    path = encoded(tmp_path / "variable.mp4", pictures(clips / "talking" / "grid_bbaf2n.mpg", 12), times.tolist())
    _, found = run(path, model, tmp_path)
    (face,) = found.tracks
    assert np.array_equal(face.timestamps, 1000 * times) and face.frame_mask.all()
    uniform = track.resample(face, 25.0)
    assert np.all(np.diff(uniform.timestamps) == 40_000) and not uniform.frame_mask.all()


def aligned(face) -> np.ndarray:
    return normalize.get("pose_removed")(face.landmarks, face.frame_mask, face.image_size, "mediapipe478")


def rms(one, other) -> float:
    return float(np.sqrt(np.mean(np.sum((aligned(one) - aligned(other)) ** 2, axis=-1))))


def test_a_video_recorded_lying_and_marked_so_gives_the_same_landmarks(clips, model, tmp_path):
    """As telephones record: pixels turned, the header says by how much. Differences are those of encoding again."""
    upright = pictures(clips / "talking" / "grid_bbaf2n.mpg", 25)
    times = range(0, 1000, 40)
    _, wanted = run(encoded(tmp_path / "upright.mp4", upright, times), model, tmp_path)
    lying = encoded(tmp_path / "lying.mp4", [np.rot90(rgb) for rgb in upright], times)
    _, found = run(flagged(lying, tmp_path / "marked.mp4", clockwise=True), model, tmp_path)
    assert found.provenance["rotation"] == 270 and found.tracks[0].image_size == (360, 288)
    assert found.tracks[0].frame_mask.all()
    assert rms(found.tracks[0], wanted.tracks[0]) < 0.01


def test_a_face_that_lies_on_its_side(short, model, tmp_path):
    """Marked as turned or with turned pixels: the same to the bit; aligned, nearly as the upright face."""
    _, upright = run(short, model, tmp_path)
    _, marked = run(flagged(short, tmp_path / "marked.mp4", clockwise=False), model, tmp_path)
    lying = (video.Frame(np.rot90(f.rgb).copy(), f.timestamp_us, f.index) for f in video.frames(short))
    turned = np.stack([one.landmarks for one in extract.follow(lying, model_file=model)])
    assert np.array_equal(turned, marked.tracks[0].landmarks)
    # In inner-eye distances; MediaPipe sees a face on its side a little differently, most of all in the first frames.
    assert rms(marked.tracks[0], upright.tracks[0]) < 0.01


def test_no_face(model, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (20, 120, 160, 3), dtype=np.uint8)
    done, found = run(encoded(tmp_path / "noise.mp4", noise, range(0, 800, 40)), model, tmp_path)
    assert (done.num_frames, done.num_valid, done.num_tracks) == (20, 0, 0)
    assert found.tracks == () and found.num_frames == 20 and found.provenance["file"] == "noise.mp4"


def test_the_larger_of_two_faces_is_followed_and_the_other_noted(clips, model):
    one = pictures(clips / "talking" / "grid_bbaf2n.mpg", 40)
    other = pictures(clips / "talking" / "grid_lbax4n.mpg", 40)
    for larger_left in (True, False):
        shown = []
        for a, b in zip(one, other, strict=True):
            small = np.zeros_like(b)
            small[60:252, 60:300] = b[np.ix_((np.arange(192) * 1.5).astype(int), (np.arange(240) * 1.5).astype(int))]
            shown.append(np.concatenate([a, small] if larger_left else [small, a], axis=1))
        found = followed(shown, model)
        assert all(frame.several for frame in found) and all(frame.new_face is None for frame in found)
        middles = [frame.landmarks[:, 0].mean() for frame in found if frame.landmarks is not None]
        assert len(middles) >= 38 and np.all((np.array(middles) < 0.5) == larger_left)


@pytest.mark.parametrize("axis", [0, 1], ids=["right", "bottom"])
def test_a_face_that_the_border_cuts(clips, model, tmp_path, axis):
    """Three quarters of a face in the picture: the rest is guessed, beyond the border."""
    whole = pictures(clips / "talking" / "grid_bbaf2n.mpg", 15)
    along = followed(whole[:1], model)[0].landmarks[:, axis]
    border = 2 * round((along.min() + 0.75 * np.ptp(along)) * whole[0].shape[1 - axis] / 2)
    cut = [rgb[:, :border] if axis == 0 else rgb[:border] for rgb in whole]
    done, found = run(encoded(tmp_path / "cut.mp4", cut, range(0, 600, 40)), model, tmp_path)
    (face,) = found.tracks
    assert done.num_frames == 15 and face.frame_mask.sum() >= 13
    furthest = face.landmarks[face.frame_mask][..., axis].max(axis=1)
    assert np.all((furthest > 1.05) & (furthest < 1.6))


def test_half_a_face_is_none_or_partly_outside(clips, model, tmp_path):
    whole = pictures(clips / "talking" / "grid_bbaf2n.mpg", 15)
    middle = followed(whole[:1], model)[0].landmarks[4, 0]
    border = 2 * round(middle * whole[0].shape[1] / 2)
    cut = encoded(tmp_path / "half.mp4", [rgb[:, :border] for rgb in whole], range(0, 600, 40))
    done, found = run(cut, model, tmp_path)
    assert done.num_frames == found.num_frames == 15 and done.num_valid == sum(t.frame_mask.sum() for t in found.tracks)
    for face in found.tracks:
        assert np.all(face.landmarks[face.frame_mask][..., 0].max(axis=1) > 1)
        assert not face.landmarks[~face.frame_mask].any()


def two_people(clips, gap: int) -> list[np.ndarray]:
    """Both in the middle of a picture of the same size."""
    one = pictures(clips / "talking" / "grid_bbaf2n.mpg", 25)
    other = pictures(clips / "talking" / "grid_swiz3n.mpg", 25)
    return one + [np.full_like(one[0], 90)] * gap + other


@pytest.mark.parametrize("gap", [0, 12])
def test_another_person_begins_another_track(clips, model, tmp_path, gap):
    shown = two_people(clips, gap)
    path = encoded(tmp_path / "two.mp4", shown, range(0, 40 * len(shown), 40))
    done, found = run(path, model, tmp_path)
    assert done.num_tracks == len(found.tracks) == 2
    first, second = found.tracks
    assert 25 + gap <= second.start_frame <= 27 + gap
    assert len(first) == second.start_frame and len(first) + len(second) == found.num_frames == len(shown)
    assert not first.frame_mask[25 : 25 + gap].any() and second.frame_mask[0]


def test_one_person_is_one_track_also_after_an_empty_picture(clips, model):
    one = pictures(clips / "talking" / "grid_bbaf2n.mpg", 50)
    found = followed(one[:25] + [np.full_like(one[0], 90)] * 8 + one[25:], model)
    seen = [frame.landmarks is not None for frame in found]
    assert not any(seen[25:33]) and sum(seen) >= 48
    assert all(frame.new_face is None for frame in found)


def test_a_video_that_breaks_off_leaves_nothing(short, model, tmp_path):
    broken = tmp_path / "broken.mp4"
    content = bytearray(short.read_bytes())
    start = content.index(b"mdat")
    (size,) = struct.unpack(">I", content[start - 4 : start])
    content[start + size // 2 : start + size] = bytes(size - size // 2)
    broken.write_bytes(content)
    with pytest.raises(VideoRefused) as caught:
        run(broken, model, tmp_path)
    assert caught.value.reason == "damaged" and [p.name for p in tmp_path.iterdir()] == ["broken.mp4"]
    with pytest.raises(VideoRefused, match="outside"):
        run(short, model, tmp_path, root=tmp_path)
    with pytest.raises(VideoRefused, match="39"):
        run(short, model, tmp_path, options=extract.ExtractionOptions(max_frames=39))


def test_a_model_file_that_is_none(short, tmp_path):
    (tmp_path / "model.task").write_bytes(b"nothing")
    with pytest.raises(FingerprintError, match="MediaPipe cannot start"):
        run(short, tmp_path / "model.task", tmp_path)


SCRIPT = """
import json, resource, sys
from fingerprint.landmarks import extract
done = extract.extract_to_file(sys.argv[1], sys.argv[2], model_file=sys.argv[3])
heavy = [name for name in ("tensorflow", "jax") if name in sys.modules]
print(json.dumps([done.num_valid, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, heavy]))
"""


def in_a_process(path, model, tmp_path, script: str = SCRIPT, **environment):
    command = [sys.executable, "-c", script, str(path), str(tmp_path / "out"), str(model)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)} | environment
    return subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=True
    )


def test_memory_does_not_grow_with_the_video(clips, model, tmp_path):
    once = pictures(clips / "talking" / "grid_bbaf2n.mpg", 60)
    peaks = []
    for times in (1, 5):
        path = encoded(tmp_path / f"{times}.mp4", once * times, range(0, 40 * 60 * times, 40))
        valid, peak, heavy = json.loads(in_a_process(path, model, tmp_path).stdout)
        assert valid == 60 * times and heavy == []
        peaks.append(peak)
    # 240 more frames are 75 MB of pixels; their landmarks alone would be 1.4 MB.
    assert peaks[1] - peaks[0] < 6_000


def test_tensorflow_is_not_imported_and_nothing_is_said(short, model, tmp_path):
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("raise RuntimeError('imported')")
    done = in_a_process(short, model, tmp_path, PYTHONPATH=f"{REPOSITORY}:{tmp_path}")
    assert json.loads(done.stdout)[0] == 40 and done.stderr == ""


SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
static void note(const char *call, const char *what) {
    int log = open(getenv("NETWORK_LOG"), O_WRONLY | O_CREAT | O_APPEND, 0600);
    dprintf(log, "%s %s\\n", call, what ? what : "-");
    close(log);
}
static void note_family(const char *call, int family) {
    if (family == AF_INET || family == AF_INET6) note(call, family == AF_INET ? "4" : "6");
}
static void note_address(const char *call, const struct sockaddr *to) { if (to) note_family(call, to->sa_family); }
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
int socket(int family, int type, int protocol) {
    note_family("socket", family);
    return REAL(socket)(family, type, protocol);
}
int connect(int fd, const struct sockaddr *to, socklen_t size) {
    note_address("connect", to);
    return REAL(connect)(fd, to, size);
}
ssize_t sendto(int fd, const void *data, size_t n, int flags, const struct sockaddr *to, socklen_t size) {
    note_address("sendto", to);
    return REAL(sendto)(fd, data, n, flags, to, size);
}
ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    note_address("sendmsg", message->msg_name);
    return REAL(sendmsg)(fd, message, flags);
}
/* Lookups go no further: glibc would ask by sockets that no shim sees. */
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    note("lookup", host);
    return EAI_FAIL;
}
struct hostent *gethostbyname(const char *host) { note("lookup", host); return NULL; }
struct hostent *gethostbyname2(const char *host, int family) { note("lookup", host); return NULL; }
int gethostbyname_r(const char *host, struct hostent *h, char *b, size_t n, struct hostent **found, int *error) {
    note("lookup", host);
    *found = NULL;
    return *error = NO_RECOVERY;
}
int gethostbyname2_r(
    const char *host, int family, struct hostent *h, char *b, size_t n, struct hostent **found, int *error
) {
    note("lookup", host);
    *found = NULL;
    return *error = NO_RECOVERY;
}
"""
ASKS = """
import contextlib, ctypes, socket
for ask in (lambda: socket.getaddrinfo("example.org", 80), lambda: socket.gethostbyname_ex("example.net")):
    with contextlib.suppress(OSError):
        ask()
ctypes.CDLL(None).gethostbyname(b"example.com")
socket.socket(socket.AF_INET6).close()
with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.sendto(b"x", ("127.0.0.1", 9))
    one.sendmsg([b"x"], [], 0, ("127.0.0.1", 9))
    one.connect(("127.0.0.1", 9))
socket.socket(socket.AF_UNIX).close()
"""


def test_no_network_socket_is_opened_and_no_host_looked_up(short, model, tmp_path):
    if not shutil.which("gcc"):
        pytest.skip("gcc, which builds the shim that notes network calls, is not installed")
    (tmp_path / "shim.c").write_text(SHIM)
    build = ["gcc", "-shared", "-fPIC", "-w", "-o", str(tmp_path / "shim.so"), str(tmp_path / "shim.c"), "-ldl"]
    subprocess.run(build, check=True, timeout=60)

    def calls(script: str) -> list[str]:
        log = tmp_path / "calls"
        log.write_text("")
        in_a_process(short, model, tmp_path, script, LD_PRELOAD=str(tmp_path / "shim.so"), NETWORK_LOG=str(log))
        return log.read_text().splitlines()

    lookups = [f"lookup example.{end}" for end in ("org", "net", "com")]
    assert calls(ASKS) == [*lookups, "socket 6", "socket 4", "sendto 4", "sendmsg 4", "connect 4"]
    assert calls(SCRIPT) == []
