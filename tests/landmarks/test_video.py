"""Videos in and out: upright frames with true times, and a typed refusal of every bad file."""

import fractions
import os
import pathlib
import struct
import threading
import wave

import av
import numpy as np
import pytest

from fingerprint.errors import VideoRefused
from fingerprint.landmarks import video


def picture(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A bright square that wanders over a slope; no two quarters alike."""
    rows, columns = np.mgrid[:height, :width]
    out = np.stack([rows * 3, columns * 3, rows + columns], axis=-1).astype(np.uint8)
    out[4:12, 4 + index % 40 : 12 + index % 40] = 250
    return out


def encode(path: pathlib.Path, times: list[int], *, options: dict | None = None) -> pathlib.Path:
    """An MP4 whose frames are shown at the given milliseconds."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "10", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = stream.time_base = fractions.Fraction(1, 1000)
        for i, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(i), format="rgb24")
            frame.pts, frame.time_base = time, stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture
def clip(tmp_path) -> pathlib.Path:
    return encode(tmp_path / "clip.mp4", [40 * i for i in range(30)])


def turned(source: pathlib.Path, out: pathlib.Path, degrees: int) -> pathlib.Path:
    """The same stream, marked in its header as to be shown turned clockwise."""
    matrix = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    a, b, c, d = (65536 * value for value in matrix)
    content = bytearray(source.read_bytes())
    # Type, version and flags, times, number, duration, layer and volume stand before the matrix.
    place = content.index(b"tkhd") + 44
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    out.write_bytes(content)
    return out


def refusal(path, **how) -> str:
    with pytest.raises(VideoRefused) as caught:
        for _ in video.frames(path, **how):
            pass
    assert str(path) in str(caught.value)
    return caught.value.reason


def test_a_file_says_what_it_is(clip):
    info = video.open_video(clip)
    assert (info.width, info.height, info.image_size, info.rotation) == (64, 48, (64, 48), 0)
    assert (info.fps, info.num_frames, info.variable_rate) == (25.0, 30, False)
    assert info.duration_s == pytest.approx(1.2, abs=1e-3)


def test_frames_come_in_order_with_their_times(clip):
    frames = list(video.frames(clip))
    assert [frame.index for frame in frames] == list(range(30))
    assert [frame.timestamp_us for frame in frames] == [40_000 * i for i in range(30)]
    for frame in frames:
        assert frame.rgb.dtype == np.uint8 and frame.rgb.flags.c_contiguous
        assert np.abs(frame.rgb.astype(int) - picture(frame.index)).mean() < 6


def test_rows_of_any_width_are_without_gaps(tmp_path):
    """Decoders pad rows; MediaPipe reads them as if they were not."""
    video.write_video(tmp_path / "narrow.mp4", [picture(i, 30, 70) for i in range(3)], 25)
    assert all(
        frame.rgb.flags.c_contiguous and frame.rgb.shape == (30, 70, 3)
        for frame in video.frames(tmp_path / "narrow.mp4")
    )


def test_times_of_a_variable_rate_are_kept(tmp_path):
    times = [0, 40, 80, 200, 210, 300, 340]
    path = encode(tmp_path / "variable.mp4", times)
    info = video.open_video(path)
    assert info.variable_rate and info.fps == pytest.approx(6 / 0.34, rel=1e-3)
    assert [frame.timestamp_us for frame in video.frames(path)] == [1000 * time for time in times]


def test_times_count_from_the_first_frame(tmp_path):
    path = encode(tmp_path / "late.mkv", [500 + 40 * i for i in range(5)])
    assert [frame.timestamp_us for frame in video.frames(path)] == [40_000 * i for i in range(5)]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_frames_stand_upright(clip, tmp_path, degrees):
    path = turned(clip, tmp_path / "turned.mp4", degrees)
    info = video.open_video(path)
    size = (48, 64) if degrees != 180 else (64, 48)
    assert (info.width, info.height) == info.image_size == size and info.rotation == (360 - degrees) % 360
    for before, after in zip(video.frames(clip), video.frames(path), strict=True):
        assert np.array_equal(np.rot90(before.rgb, -degrees // 90), after.rgb)


def test_pixels_that_are_not_square_give_the_size_as_shown(tmp_path):
    with av.open(str(tmp_path / "wide.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = fractions.Fraction(3, 2)
        for i in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(i), format="rgb24")))
        container.mux(stream.encode())
    info = video.open_video(tmp_path / "wide.mkv")
    assert (info.width, info.height, info.image_size) == (64, 48, (96, 48))


def test_missing_and_empty_files(tmp_path):
    (tmp_path / "empty.mp4").touch()
    assert refusal(tmp_path / "none.mp4") == "missing"
    assert refusal(tmp_path / "empty.mp4") == "empty"
    assert refusal(tmp_path) == "not_a_file"


def test_what_is_no_video(tmp_path):
    (tmp_path / "text.mp4").write_text("not a video at all\n" * 100)
    assert refusal(tmp_path / "text.mp4") == "not_a_video"
    with wave.open(str(tmp_path / "sound.mp4"), "wb") as sound:
        sound.setparams((1, 2, 8000, 8000, "NONE", ""))
        sound.writeframes(np.sin(np.arange(8000) / 10).astype("<i2").tobytes())
    assert refusal(tmp_path / "sound.mp4") == "no_video_stream"


def test_one_frame_and_too_many(clip, tmp_path):
    assert refusal(encode(tmp_path / "one.mp4", [0])) == "one_frame"
    assert refusal(clip, max_frames=29) == "too_long"
    assert len(list(video.frames(clip, max_frames=30))) == 30


@pytest.mark.parametrize("flags", ["", "faststart"])
def test_a_cut_file(tmp_path, flags):
    whole = encode(tmp_path / "whole.mp4", [40 * i for i in range(60)], options={"movflags": flags} if flags else {})
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: int(0.6 * whole.stat().st_size)])
    assert refusal(cut) == "truncated"


def test_a_cut_matroska_file(tmp_path):
    whole = encode(tmp_path / "whole.mkv", [40 * i for i in range(200)])
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: int(0.6 * whole.stat().st_size)])
    assert refusal(cut) in ("truncated", "damaged")


def test_a_file_damaged_in_the_middle(clip, tmp_path):
    content = bytearray(clip.read_bytes())
    start = content.index(b"mdat")
    (size,) = struct.unpack(">I", content[start - 4 : start])
    noise = np.random.default_rng(0).integers(0, 256, size // 2, dtype=np.uint8)
    content[start + size // 4 : start + size // 4 + size // 2] = noise.tobytes()
    (tmp_path / "damaged.mp4").write_bytes(content)
    assert refusal(tmp_path / "damaged.mp4") == "damaged"


def test_a_file_in_which_no_time_passes(clip, tmp_path):
    content = bytearray(clip.read_bytes())
    place = content.index(b"stts") + 8
    (entries,) = struct.unpack(">I", content[place : place + 4])
    for i in range(entries):
        content[place + 8 + 8 * i : place + 12 + 8 * i] = bytes(4)
    (tmp_path / "still.mp4").write_bytes(content)
    assert refusal(tmp_path / "still.mp4") in ("no_frame_rate", "damaged")


def test_a_link_out_of_the_root(clip, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "link.mp4").symlink_to(clip)
    assert refusal(root / "link.mp4", root=root) == "outside_root"
    assert refusal(root / ".." / "clip.mp4", root=root) == "outside_root"
    assert len(list(video.frames(clip, root=tmp_path))) == 30
    # The root itself may be written in any way.
    around = root / ".."
    assert len(list(video.frames(around / "clip.mp4", root=around))) == 30


def with_cover(source: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
    """The same video with a cover picture, as of music, that the container lists before it."""

    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", 8 + len(content)) + kind + content

    png = av.CodecContext.create("png", "w")
    png.width, png.height, png.pix_fmt, png.time_base = 16, 16, "rgb24", fractions.Fraction(1, 25)
    cover = bytes(png.encode(av.VideoFrame.from_ndarray(np.full((16, 16, 3), 200, np.uint8), format="rgb24"))[0])
    handler = box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    items = box(b"ilst", box(b"covr", box(b"data", struct.pack(">II", 14, 0) + cover)))
    meta = box(b"udta", box(b"meta", bytes(4) + handler + items))
    content = source.read_bytes()
    # The index stands behind the pictures, so that nothing that it points at moves.
    at = content.rindex(b"moov") - 4
    (size,) = struct.unpack(">I", content[at : at + 4])
    assert at + size == len(content) and content.index(b"mdat") < at
    out.write_bytes(content[:at] + box(b"moov", meta + content[at + 8 :]))
    return out


def test_a_cover_picture_is_not_the_video(clip, tmp_path):
    path = with_cover(clip, tmp_path / "cover.mp4")
    with av.open(str(path)) as container:
        first, *others = container.streams.video
        assert first.disposition & av.stream.Disposition.attached_pic and len(others) == 1
    info = video.open_video(path)
    assert (info.width, info.height, info.num_frames, info.fps) == (64, 48, 30, 25.0)
    for before, after in zip(video.frames(clip), video.frames(path), strict=True):
        assert np.array_equal(before.rgb, after.rgb) and before.timestamp_us == after.timestamp_us
    assert len(list(video.frames(path, live=True))) == 30


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{other}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXTINF:5,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{other}'\n",
    ],
)
def test_a_playlist_leads_nowhere(clip, tmp_path, text):
    for name in ("list.m3u8", "list.mp4", "list.ffconcat"):
        (tmp_path / name).write_text(text.format(other=clip.name))
        assert refusal(tmp_path / name) == "not_a_video"


@pytest.mark.parametrize("name", ["http://127.0.0.1:9/clip.mp4", "concat:clip.mp4|clip.mp4", "pipe:0", "camera:99"])
def test_a_name_is_never_an_address(clip, monkeypatch, name):
    monkeypatch.chdir(clip.parent)
    assert refusal(name) == "missing"


def test_a_pipe_is_read_live_only(clip, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert refusal(pipe) == "not_a_file"
    streamed = encode(tmp_path / "streamed.mkv", [40 * i for i in range(30)])
    feeder = threading.Thread(target=lambda: pipe.write_bytes(streamed.read_bytes()), daemon=True)
    feeder.start()
    frames = list(video.frames(pipe, live=True))
    assert [frame.timestamp_us for frame in frames] == [40_000 * i for i in range(30)]
    feeder.join(10)


def test_no_camera():
    with pytest.raises(VideoRefused, match="video987") as caught:
        next(video.frames("camera:987", live=True))
    assert caught.value.reason == "missing"


@pytest.mark.parametrize("height, width, fps", [(48, 64, 25), (47, 63, 29.97)])
def test_what_is_written_is_read(tmp_path, height, width, fps):
    pictures = [picture(i, height, width) for i in range(20)]
    video.write_video(tmp_path / "out.mp4", iter(pictures), fps)
    info = video.open_video(tmp_path / "out.mp4")
    assert info.fps == pytest.approx(fps, rel=1e-4) and info.num_frames == 20
    assert (info.width - width, info.height - height) == (width % 2, height % 2)
    for frame, wanted in zip(video.frames(tmp_path / "out.mp4"), pictures, strict=True):
        assert np.abs(frame.rgb[:height, :width].astype(int) - wanted).mean() < 6
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_what_fails_while_written_leaves_nothing(tmp_path):
    def pictures():
        yield picture(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        video.write_video(tmp_path / "out.mp4", pictures(), 25)
    with pytest.raises(VideoRefused):
        video.write_video(tmp_path / "out.mp4", [], 25)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("crf", "height", "size"), [(23, None, (360, 288)), (51, None, (360, 288)), (23, 100, (124, 100))]
)
def test_a_clip_written_again_keeps_frames_and_times(shared, tmp_path, crf, height, size):
    clip, out = shared / "data" / "videos" / "talking" / "grid_bbaf2n.mpg", tmp_path / "out.mp4"
    found = video.reencode(clip, out, crf=crf, height=height)
    before, after = video.open_video(clip), video.open_video(out)
    assert (found.width, found.height) == (after.width, after.height) == after.image_size == size
    assert found.num_frames == after.num_frames == before.num_frames and after.fps == before.fps
    assert found.kbit_per_s == pytest.approx(8e-3 * out.stat().st_size / before.duration_s)
    times, pictures = zip(*((frame.timestamp_us, frame.rgb) for frame in video.frames(out)), strict=True)
    assert list(times) == [frame.timestamp_us for frame in video.frames(clip)]
    if height is None:
        first = next(video.frames(clip)).rgb.astype(float)
        error = np.abs(pictures[0] - first).mean()
        assert error < 3 if crf == 23 else 3 < error < 20
        assert found.kbit_per_s < (300 if crf == 23 else 30)


def test_a_clip_that_cannot_be_read_leaves_nothing(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(VideoRefused):
        video.reencode(tmp_path / "a.mp4", tmp_path / "out.mp4", crf=23)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
