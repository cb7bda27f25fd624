"""Video in and out through PyAV: upright frames with true timestamps, and one typed refusal for every bad file.

A video is a regular file that is opened here and handed to FFmpeg as a stream of bytes; only formats that hold the
pictures themselves are admitted, and no protocol. A playlist, or a name that looks like an address, therefore leads
nowhere. Decoding uses one thread: one process a core is faster than threads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fractions
import os
import pathlib
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO

import av
import numpy as np
from jaxtyping import UInt8

from fingerprint.errors import VideoRefused

MAX_FRAMES = 200_000
DECODER = f"PyAV {av.__version__}"
_FORMATS = "mov,mp4,matroska,webm,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,flv,asf,ogg,ivf,mp3,wav,aac,flac"
"""What is opened; audio formats are among them so that their refusal says what they are."""
_SAFE = {"format_whitelist": _FORMATS, "protocol_whitelist": "none"}
_BUFFER = 1 << 20
_MICROSECOND = fractions.Fraction(1, 1_000_000)
_CAMERA = re.compile(r"camera:(\d{1,3})")
_MISSING_FRAMES, _MISSING_SHARE, _MISSING_SECONDS = 3, 0.02, 1.0
"""A file is cut if more than 3 frames and 2 % of the promised ones are missing; where the container promises only a
duration (sound may outlast the picture), more than a second and 5 % of it."""
_LENIENT = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
"""Names and tags that are no text do not refuse a video; since PyAV 19 they never do."""


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself, and what its packets bear out.

    Attributes:
        path: the file.
        width: of the upright frames, in pixels.
        height: of the upright frames, in pixels.
        image_size: width and height as shown, in units of upright pixel heights; unlike `width`, `height` where pixels
            are not square.
        rotation: degrees anticlockwise by which stored frames are turned to be upright: 0, 90, 180 or 270.
        fps: mean frames per second.
        num_frames: frames in the file.
        duration_s: from the first frame's time to the end of the last, in seconds.
        variable_rate: a step between frames differs from the median step by more than half of it.
    """

    path: pathlib.Path
    width: int
    height: int
    image_size: tuple[int, int]
    rotation: int
    fps: float
    num_frames: int
    duration_s: float
    variable_rate: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """One upright picture.

    Attributes:
        rgb: pixels.
        timestamp_us: microseconds since the first frame, strictly rising.
        index: position in the video.
    """

    rgb: UInt8[np.ndarray, "height width 3"]
    timestamp_us: int
    index: int


def open_video(
    path: str | os.PathLike, root: str | os.PathLike | None = None, *, max_frames: int = MAX_FRAMES
) -> VideoInfo:
    """Check a video file without decoding more than its first frame; every packet is looked at.

    Raises:
        VideoRefused: with `reason` one of `outside_root`, `missing`, `not_a_file`, `empty`, `not_a_video`,
            `no_video_stream`, `no_frame_rate`, `one_frame`, `too_long`, `truncated`, `damaged`.
    """
    with _regular_file(path, root) as file, _container(file, path) as (container, stream):
        times = _packet_times(container, stream, path, max_frames)
        _refuse_if_cut(path, times, stream.frames, _promised_seconds(container))
        fps, variable, seconds = _rate(times, stream, path)
    with _regular_file(path, root) as file, _container(file, path) as (container, stream):
        try:
            first = next(container.decode(stream), None)
        except av.error.FFmpegError as error:
            raise VideoRefused(path, "damaged", f"the first frame cannot be decoded ({error.strerror})") from error
        if first is None:
            raise VideoRefused(path, "damaged", f"{len(times)} packets, but no frame can be decoded")
        turn = _quarter_turns(first)
        size, aspect = (first.width, first.height), stream.sample_aspect_ratio or 1
    shown = (round(size[0] * float(aspect)), size[1])
    if turn % 2:
        size, shown = size[::-1], shown[::-1]
    return VideoInfo(pathlib.Path(path), *size, shown, 90 * turn, fps, len(times), seconds, variable)


def frames(
    path: str | os.PathLike,
    root: str | os.PathLike | None = None,
    *,
    info: VideoInfo | None = None,
    max_frames: int = MAX_FRAMES,
    live: bool = False,
) -> Iterator[Frame]:
    """The upright frames of a video file, or of a live source.

    Args:
        path: a file; with `live` also a named pipe that carries a video format, or `camera:0` for the first camera.
        root: folder that the file, symbolic links followed, must lie in.
        info: what `open_video` said of the file, if it was asked already.
        max_frames: a longer file is refused; a live source ends there.
        live: no promise is checked and frames come as they arrive.

    Raises:
        VideoRefused: as `open_video`; `damaged` and `truncated` also in the middle.
    """
    if live:
        yield from _live_frames(path, max_frames)
        return
    info = info or open_video(path, root, max_frames=max_frames)
    count = 0
    with _regular_file(path, root) as file, _container(file, path) as opened:
        for frame in _decoded(*opened, path):
            yield frame
            count += 1
    lost = info.num_frames - count
    if lost > max(_MISSING_FRAMES, _MISSING_SHARE * count):
        raise VideoRefused(path, "damaged", f"{lost} of {info.num_frames} frames cannot be decoded")


def write_video(path: str | os.PathLike, pictures: Iterable[UInt8[np.ndarray, "height width 3"]], fps: float) -> None:
    """Write RGB pictures as an MP4 (H.264 where the build has it, else MPEG-4); odd sizes gain a row or column.

    The file appears whole or not at all.

    Raises:
        VideoRefused: no picture.
    """
    path = pathlib.Path(path)
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".mp4")
    os.close(handle)
    try:
        with av.open(partial, "w", format="mp4") as container:
            stream = None
            for picture in pictures:
                picture = np.pad(picture, ((0, picture.shape[0] % 2), (0, picture.shape[1] % 2), (0, 0)), mode="edge")
                if stream is None:
                    stream = container.add_stream(codec, rate=fractions.Fraction(fps).limit_denominator(1001))
                    stream.height, stream.width = picture.shape[:2]
                    stream.pix_fmt = "yuv420p"
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            if stream is None:
                raise VideoRefused(path, "empty", "no picture to write")
            container.mux(stream.encode())
        os.replace(partial, path)
    except BaseException:
        pathlib.Path(partial).unlink(missing_ok=True)
        raise


@dataclasses.dataclass(frozen=True)
class Reencoded:
    """What a video became: upright size in pixels, frames, and kilobits a second of its file."""

    width: int
    height: int
    num_frames: int
    kbit_per_s: float


def kbit_per_s(path: str | os.PathLike, info: VideoInfo) -> float:
    """Kilobits a second of a file, sound and container included."""
    return 8e-3 * os.path.getsize(path) / info.duration_s


def reencode(
    path: str | os.PathLike,
    out: str | os.PathLike,
    *,
    crf: int,
    height: int | None = None,
    max_frames: int = MAX_FRAMES,
) -> Reencoded:
    """Write a video again as H.264 in MP4, upright and with square pixels, each frame at its own time, without sound.

    The file appears whole or not at all.

    Args:
        crf: constant rate factor of x264, 0 (lossless) to 51 (worst).
        height: of the pictures, in pixels, made even; None, or more than the video has, keeps the video's.

    Raises:
        VideoRefused: as `frames`; `no_encoder` where this FFmpeg has no x264.
    """
    if "libx264" not in av.codecs_available:
        raise VideoRefused(path, "no_encoder", "this PyAV has no libx264; wanted one that writes H.264")
    info, out = open_video(path, max_frames=max_frames), pathlib.Path(out)
    width, high = info.image_size
    tall = min(height or high, high)
    size = tuple(max(2, 2 * round(side / 2)) for side in (width * tall / high, tall))
    handle, partial = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.", suffix=".mp4")
    os.close(handle)
    count = 0
    try:
        with av.open(partial, "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=fractions.Fraction(info.fps).limit_denominator(1001))
            stream.width, stream.height = size
            stream.pix_fmt, stream.options = "yuv420p", {"crf": str(crf)}
            stream.codec_context.time_base = _MICROSECOND
            for frame in frames(path, info=info, max_frames=max_frames):
                picture = av.VideoFrame.from_ndarray(frame.rgb, format="rgb24").reformat(*size, format="yuv420p")
                picture.pts, picture.time_base = frame.timestamp_us, _MICROSECOND
                container.mux(stream.encode(picture))
                count += 1
            container.mux(stream.encode())
        os.replace(partial, out)
    except BaseException:
        pathlib.Path(partial).unlink(missing_ok=True)
        raise
    return Reencoded(*size, count, kbit_per_s(out, info))


def _regular_file(path: str | os.PathLike, root: str | os.PathLike | None) -> IO[bytes]:
    if root is not None:
        leads_to = pathlib.Path(path).resolve()
        if not leads_to.is_relative_to(pathlib.Path(root).resolve()):
            raise VideoRefused(path, "outside_root", f"leads to {leads_to}; wanted a file under {root}")
    try:
        # A pipe without a writer would block the opening itself.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise VideoRefused(path, "missing", f"cannot be opened: {error.strerror}") from error
    status = os.fstat(handle)
    if stat.S_ISREG(status.st_mode) and status.st_size:
        return os.fdopen(handle, "rb", buffering=0)
    os.close(handle)
    if stat.S_ISREG(status.st_mode):
        raise VideoRefused(path, "empty", "0 bytes")
    raise VideoRefused(path, "not_a_file", "not a regular file; pipes and devices are read live only")


@contextlib.contextmanager
def _container(file, path, **how) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """The opened file and the stream that moves: the first that is no cover picture."""
    try:
        container = av.open(file, mode="r", **({"options": _SAFE} | _LENIENT | how))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        # An MP4 that was cut has lost the index at its end.
        cut = isinstance(error, av.error.InvalidDataError) and _begins_as_mp4(file)
        detail = (
            "an MP4 without its index: it was cut, or never finished"
            if cut
            else f"not a video ({error.strerror or error})"
        )
        raise VideoRefused(path, "truncated" if cut else "not_a_video", detail) from error
    with container:
        moving = (s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic)
        stream = next(moving, None)
        if stream is None:
            kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "none"
            raise VideoRefused(path, "no_video_stream", f"no video stream; streams found: {kinds}")
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        yield container, stream


def _begins_as_mp4(file) -> bool:
    try:
        file.seek(0)
        return file.read(8)[4:] == b"ftyp"
    except (OSError, AttributeError):
        return False


def _packet_times(container, stream, path, max_frames: int) -> np.ndarray:
    """Seconds at which the packets are shown, sorted."""
    times = []
    try:
        for packet in container.demux(stream):
            if packet.size == 0 or packet.is_discard:
                continue
            time = packet.pts if packet.pts is not None else packet.dts
            times.append(np.nan if time is None else float(time * stream.time_base))
            if len(times) > max_frames:
                raise VideoRefused(path, "too_long", f"more than {max_frames} frames, the most accepted")
    except av.error.FFmpegError as error:
        raise VideoRefused(path, "damaged", f"unreadable after {len(times)} frames ({error.strerror})") from error
    return np.sort(times)


def _promised_seconds(container) -> float | None:
    """The duration that the header states; None where FFmpeg only estimates it from the file's length."""
    stated = {"matroska", "webm", "avi", "flv", "asf"} & set(container.format.name.split(","))
    return container.duration / 1e6 if stated and container.duration else None


def _refuse_if_cut(path, times: np.ndarray, promised: int, seconds: float | None) -> None:
    if promised - len(times) > max(_MISSING_FRAMES, _MISSING_SHARE * promised):
        raise VideoRefused(path, "truncated", f"{len(times)} frames; the container promises {promised}")
    if promised or seconds is None or not len(times):
        return
    if seconds - times[-1] > max(_MISSING_SECONDS, 0.05 * seconds):
        raise VideoRefused(path, "truncated", f"ends at {times[-1]:.2f} s; the container promises {seconds:.2f} s")


def _rate(times: np.ndarray, stream, path) -> tuple[float, bool, float]:
    """Mean frames per second, whether it varies, and the duration in seconds."""
    if len(times) < 2:
        raise VideoRefused(path, "one_frame", f"{len(times)} frame; wanted at least 2")
    steps = np.diff(times)
    if not np.all(np.isfinite(times)) or times[-1] <= times[0]:
        if not stream.average_rate:
            raise VideoRefused(path, "no_frame_rate", "neither the frames nor the container say when a frame is shown")
        steps = np.full(len(times) - 1, 1 / float(stream.average_rate))
    middle = float(np.median(steps))
    variable = bool(np.any(np.abs(steps - middle) > 0.5 * middle))
    seconds = float(steps.sum())
    fps, stated = len(steps) / seconds, float(stream.average_rate or 0)
    # Times are rounded; the container's own rate is exact.
    fps = stated if not variable and abs(fps - stated) < 0.01 * fps else fps
    return fps, variable, seconds + middle


def _quarter_turns(frame) -> int:
    """How often the stored frame must be turned by 90 degrees anticlockwise to stand upright."""
    return round(frame.rotation / 90) % 4


def _decoded(container, stream, path) -> Iterator[Frame]:
    count, first, last = 0, None, -1
    rate = stream.average_rate
    decoder = container.decode(stream)
    while True:
        try:
            frame = next(decoder, None)
        except av.error.FFmpegError as error:
            raise VideoRefused(path, "damaged", f"cannot be decoded after {count} frames ({error.strerror})") from error
        if frame is None:
            return
        if frame.is_corrupt:
            raise VideoRefused(path, "damaged", f"frame {count} is incomplete")
        if frame.pts is not None:
            microseconds = round(frame.pts * frame.time_base * 1_000_000)
        elif rate:
            microseconds = round(count / rate * 1_000_000)
        else:
            raise VideoRefused(path, "no_frame_rate", f"nothing says when frame {count} is shown")
        first = microseconds if first is None else first
        if microseconds - first <= last:
            raise VideoRefused(path, "damaged", f"frame {count} is shown no later than the one before it")
        last = microseconds - first
        yield Frame(_upright(frame), last, count)
        count += 1


def _upright(frame) -> UInt8[np.ndarray, "height width 3"]:
    # Rows of some widths are padded: MediaPipe takes pixels without gaps only.
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), _quarter_turns(frame)))


class _Pipe:
    """A named pipe as PyAV wants it: something to read from, and nothing else."""

    def __init__(self, file: IO[bytes]):
        self.read = file.read


def _live_frames(path: str | os.PathLike, max_frames: int) -> Iterator[Frame]:
    camera = _CAMERA.fullmatch(os.fspath(path))
    with contextlib.ExitStack() as stack:
        if camera:
            device = f"/dev/video{camera[1]}"
            if not os.path.exists(device):
                raise VideoRefused(path, "missing", f"no camera at {device}")
            source = _container(device, path, format="v4l2", options={})
        else:
            try:
                file = stack.enter_context(open(path, "rb", buffering=0))
            except OSError as error:
                raise VideoRefused(path, "missing", f"cannot be opened: {error.strerror}") from error
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            source = _container(file if regular else _Pipe(file), path)
        for frame in _decoded(*stack.enter_context(source), path):
            if frame.index >= max_frames:
                return
            yield frame
