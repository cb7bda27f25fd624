"""Videos that are really bad, made from a good clip: cut, empty, renamed, without time, without a face, …"""

from __future__ import annotations

import fractions
import math
import os
import pathlib
import struct
import wave
from collections.abc import Callable, Iterable

import av
import numpy as np

Path = pathlib.Path

# ------------------------------------------------------------------------------------------------ videos made to order


def pictures(source: Path, count: int) -> list[np.ndarray]:
    """The first frames of a video, RGB."""
    with av.open(str(source)) as container:
        found = []
        for frame in container.decode(video=0):
            found.append(frame.to_ndarray(format="rgb24"))
            if len(found) == count:
                break
    return found


def encode(
    path: Path, frames: Iterable[np.ndarray], fps: int = 25, times: Iterable[int] | None = None, kind: str = "mp4"
) -> Path:
    """Write pictures as a video without B-frames; `times` in milliseconds where they are not even."""
    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream("libx264", rate=fps, options={"bf": "0", "preset": "ultrafast", "crf": "20"})
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", fractions.Fraction(1, 1000)
        for index, picture in enumerate(frames):
            if not index:
                stream.height, stream.width = (2 * (side // 2) for side in picture.shape[:2])
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[: stream.height, : stream.width]), "rgb24")
            frame.time_base = fractions.Fraction(1, 1000)
            frame.pts = round(1000 * index / fps) if times is None else times[index]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def cut(source: Path, path: Path, count: int = 40, every: int = 1) -> Path:
    """The first `count` frames of a real clip, its pixels thinned by `every`."""
    return encode(path, [picture[::every, ::every] for picture in pictures(source, count)])


def rotated(good: Path, path: Path, degrees: int) -> Path:
    """The same samples with another display matrix in the track header."""
    data = bytearray(good.read_bytes())
    a, b = round(math.cos(math.radians(degrees))), round(math.sin(math.radians(degrees)))
    one = 1 << 16
    at = data.index(b"tkhd") + 4 + 40  # version and flags, times, id, duration, reserved, layer, volume
    assert struct.unpack_from(">9i", data, at) == (one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", data, at, a * one, b * one, 0, -b * one, a * one, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


# ------------------------------------------------------------------------------------------------ and what is bad


def missing(good: Path, path: Path) -> None:
    """Nothing is there."""


def dangling(good: Path, path: Path) -> None:
    path.symlink_to(path.parent / "gone.mp4")


def empty(good: Path, path: Path) -> None:
    path.write_bytes(b"")


def text(good: Path, path: Path) -> None:
    path.write_text("this is no video\n" * 100)


def noise_bytes(good: Path, path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(20_000))


def audio_only(good: Path, path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", "not compressed"))
        file.writeframes(np.zeros(16_000, "<i2").tobytes())


def cut_in_the_middle(good: Path, path: Path) -> None:
    """An MP4 with its index in front, as for streaming, whose second half did not arrive."""
    index_first = path.parent / "index_first.tmp"
    with av.open(str(good)) as source, av.open(
        str(index_first), "w", format="mp4", options={"movflags": "faststart"}
    ) as copy:  # fmt: skip
        stream = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    data = index_first.read_bytes()
    index_first.unlink()
    assert data.index(b"moov") < data.index(b"mdat")
    path.write_bytes(data[: (data.index(b"mdat") + len(data)) // 2])


def index_lost(good: Path, path: Path) -> None:
    """An MP4 whose index lies at the end, and whose end did not arrive."""
    data = good.read_bytes()
    assert data.index(b"mdat") < data.rindex(b"moov")
    path.write_bytes(data[: data.rindex(b"moov") - 4])


def pictures_overwritten(good: Path, path: Path) -> None:
    """An MP4 with a sound index over samples that were overwritten with noise."""
    data = bytearray(good.read_bytes())
    first, last = data.index(b"mdat") + 4, data.rindex(b"moov") - 4
    data[first:last] = np.random.default_rng(1).bytes(last - first)
    path.write_bytes(data)


def no_frame_rate(good: Path, path: Path) -> None:
    """A Flash video whose frames are all shown at time 0 and whose header names no rate."""
    encode(path, pictures(good, 10), kind="flv")
    data = bytearray(path.read_bytes()).replace(b"framerate", b"nameless_")
    at = 9 + 4
    while at < len(data):
        data[at + 4 : at + 8] = bytes(4)
        at += 11 + int.from_bytes(data[at + 1 : at + 4]) + 4
    path.write_bytes(data)


def one_frame(good: Path, path: Path) -> None:
    cut(good, path, 1)


def fifo(good: Path, path: Path) -> None:
    os.mkfifo(path)


def playlist(good: Path, path: Path) -> None:
    """A playlist that would make a player open an address."""
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://localhost:9/segment.ts\n#EXT-X-ENDLIST\n")


def concatenation(good: Path, path: Path) -> None:
    """FFmpeg's own list format, which would make it open another file of the disk."""
    path.write_text(f"ffconcat version 1.0\nfile {good}\n")


def directory(good: Path, path: Path) -> None:
    path.mkdir()


def link_out_of_the_tree(good: Path, path: Path) -> None:
    """The good clip itself, from which the tree has to lie apart."""
    path.symlink_to(good)


def grey(good: Path, path: Path) -> None:
    encode(path, [np.full((160, 160, 3), 128, np.uint8)] * 10)


def noise(good: Path, path: Path) -> None:
    rng = np.random.default_rng(2)
    encode(path, [rng.integers(0, 256, (160, 160, 3), np.uint8) for _ in range(10)])


BAD: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "dangling.mp4": (dangling, "missing"),
    "empty.mp4": (empty, "empty"),
    "text.mp4": (text, "not_a_video"),
    "noise_bytes.avi": (noise_bytes, "not_a_video"),
    "audio_only.mkv": (audio_only, "no_video_stream"),
    "cut_in_the_middle.mp4": (cut_in_the_middle, "truncated"),
    "index_lost.mp4": (index_lost, "truncated"),
    "pictures_overwritten.mp4": (pictures_overwritten, "damaged"),
    "no_frame_rate.flv": (no_frame_rate, "no_frame_rate"),
    "one_frame.mp4": (one_frame, "one_frame"),
    "pipe.mp4": (fifo, "not_a_file"),
    "playlist.mp4": (playlist, "not_a_video"),
    "concatenation.mp4": (concatenation, "not_a_video"),
    "directory.mp4": (directory, "not_a_file"),
    "link_out_of_the_tree.mp4": (link_out_of_the_tree, "outside_root"),
    "grey.mp4": (grey, "no_face"),
    "noise.mp4": (noise, "no_face"),
}
"""What lies in a bad tree, who makes it, and the reason that is to be given for it."""
