"""A landmark track: one face through one video, and the file that holds all tracks of a video.

A track file is an uncompressed `.npz` with two entries of bytes: `header` (JSON) and `frames`, blocks of 64 frames.
Floats are stored as differences in time of their ordered bit patterns, byte by byte, run-length and Huffman coded
(zlib's Z_RLE): values come back bit for bit. Landmarks of a 512-pixel clip of 536 frames, bytes a frame: 3,477 in
0.06 ms; raw 5,736; plain deflate 5,263; XOR in time 3,654; these differences with deflate's level 6 3,509 in 0.20 ms,
with LZMA 3,404 in more than 6 ms. A whole file takes 3.4 to 3.7 kB a frame, mostly noise.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Shaped, UInt8

from fingerprint.errors import ArrayRefused, UnknownName
from fingerprint.landmarks import arrays, topology, track_checks

NUM_POINTS, NUM_BLENDSHAPES = 478, 52
SUFFIX = ".track.npz"
_BLOCK = 64
_VALUES = NUM_POINTS * 3 + NUM_BLENDSHAPES + 16
_MAX_JSON = 4 << 20
_MAX_FRAME_BYTES = 9 + 4 * _VALUES + 64
_LONGEST_GAP = 2.0
"""In frame times: between frames further apart nothing is interpolated."""


@dataclasses.dataclass(frozen=True, eq=False)
class LandmarkTrack:
    """One face through a part of a video; frames without the face stay in place, masked and zero.

    Attributes:
        landmarks: MediaPipe's normalised image coordinates: x by the width, y by the height, z in units of x.
        frame_mask: frame shows the face.
        timestamps: microseconds since the video's first frame, strictly rising.
        blendshapes: MediaPipe's 52 coefficients in [0, 1].
        pose: the head's pose, MediaPipe's facial transformation matrix (centimetres).
        several: other faces were in the picture when last looked, so which face is followed is by rule.
        image_size: width and height as shown, rotation applied.
        fps: mean frames per second of the video; for a resampled track, its rate.
        start_frame: this track's first frame in the video.
        provenance: file, sha256, rotation, extractor and its model's sha256, running mode, versions.
    """

    landmarks: Float[np.ndarray, "time 478 3"]
    frame_mask: Bool[np.ndarray, "time"]
    timestamps: Int[np.ndarray, "time"]
    blendshapes: Float[np.ndarray, "time 52"]
    pose: Float[np.ndarray, "time 4 4"]
    several: Bool[np.ndarray, "time"]
    image_size: tuple[int, int]
    fps: float
    start_frame: int
    provenance: dict[str, Any]

    def __len__(self) -> int:
        return len(self.frame_mask)

    @property
    def steady_fps(self) -> float:
        """Frames per second by the median step between frames, which a pause does not lower."""
        return 1e6 / float(np.median(np.diff(self.timestamps))) if len(self) > 1 else self.fps

    @property
    def uneven(self) -> bool:
        """A step between frames differs from the median step by more than half of it."""
        steps = np.diff(self.timestamps)
        return bool(len(steps) and np.any(np.abs(steps - np.median(steps)) > 0.5 * np.median(steps)))

    def points(self, landmark_set: str) -> Float[np.ndarray, "time vertex 3"]:
        """The landmarks of a named subset of MediaPipe's 478.

        Raises:
            UnknownName: no landmark set of that name, or none that MediaPipe's points contain.
        """
        indices = topology.get(landmark_set).mediapipe_indices
        if indices is None:
            known = [name for name in topology.names() if topology.get(name).mediapipe_indices is not None]
            raise UnknownName("subset of MediaPipe's landmarks", landmark_set, known)
        return self.landmarks[:, indices]


@dataclasses.dataclass(frozen=True, eq=False)
class VideoTracks:
    """All tracks of a video: consecutive parts that together hold every frame; none if no frame shows a face."""

    tracks: tuple[LandmarkTrack, ...]
    num_frames: int
    provenance: dict[str, Any]

    @property
    def longest(self) -> LandmarkTrack | None:
        """The track with most frames that show a face; of equals the first."""
        return max(self.tracks, key=lambda track: int(track.frame_mask.sum()), default=None)


class Writer:
    """Takes the frames of a video one by one; what it keeps in memory does not grow with them. Made by `writer`."""

    def __init__(self, path: pathlib.Path, spool: IO[bytes]):
        self.num_frames = self.num_valid = 0
        self._path, self._spool = path, spool
        self._pending: list[tuple[np.ndarray | None, int, bool]] = []
        self._last, self._last_time = np.zeros((1, _VALUES), np.float32), 0

    def append(
        self,
        landmarks: Float32[np.ndarray, "478 3"] | None,
        blendshapes: Float32[np.ndarray, "52"] | None,
        pose: Float32[np.ndarray, "4 4"] | None,
        timestamp_us: int,
        several: bool,
    ) -> None:
        """Add the next frame; `None` where it shows no face."""
        values = None
        if landmarks is not None:
            values = np.concatenate([landmarks.ravel(), blendshapes, pose.ravel()])
            self.num_valid += 1
        self._pending.append((values, timestamp_us, several))
        self.num_frames += 1
        if len(self._pending) == _BLOCK:
            self._flush()

    def finish(
        self, starts: Sequence[int], image_size: tuple[int, int], fps: float, provenance: dict[str, Any]
    ) -> None:
        """Write the file; it appears whole or not at all.

        Args:
            starts: first frame of each track, the first one 0; empty if no frame shows a face.
            image_size, fps, provenance: as in `LandmarkTrack`.
        """
        self._flush()
        header = {
            "version": track_checks.VERSION,
            "num_frames": self.num_frames,
            "starts": [int(start) for start in starts],
            "image_size": [int(side) for side in image_size],
            "fps": float(fps),
            "provenance": provenance,
        }
        text = json.dumps(header, sort_keys=True, allow_nan=False).encode()
        size = self._spool.tell()
        self._spool.seek(0)
        with _replacing(self._path) as file, zipfile.ZipFile(file, "w") as archive:
            _add(archive, "header", len(text), [text])
            _add(archive, "frames", size, iter(lambda: self._spool.read(1 << 20), b""))

    def _flush(self) -> None:
        if not self._pending:
            return
        valid = [values for values, _, _ in self._pending if values is not None]
        values = np.stack(valid) if valid else np.zeros((0, _VALUES), np.float32)
        times = np.array([time for _, time, _ in self._pending], np.int64)
        flags = np.array([(values is not None) | 2 * several for values, _, several in self._pending], np.uint8)
        steps = np.diff(times, prepend=np.int64(self._last_time))
        change = np.diff(_ordered(np.concatenate([self._last, values])), axis=0)
        coder = zlib.compressobj(1, zlib.DEFLATED, 15, 8, zlib.Z_RLE)
        packed = coder.compress(flags.tobytes() + steps.astype("<i8").tobytes() + _to_planes(change)) + coder.flush()
        self._spool.write(struct.pack("<I", len(packed)) + packed)
        if valid:
            self._last = values[-1:]
        self._last_time, self._pending = int(times[-1]), []


@contextlib.contextmanager
def writer(path: str | os.PathLike) -> Iterator[Writer]:
    """A `Writer` of the track file at `path`; nothing stays behind if its `finish` is not reached."""
    path = pathlib.Path(path)
    with tempfile.TemporaryFile(dir=path.parent) as spool:
        yield Writer(path, spool)


def write(path: str | os.PathLike, video: VideoTracks) -> None:
    """Write a track file; it appears whole or not at all.

    Raises:
        ArrayRefused: the tracks do not follow one another, or differ in image size or frame rate. Frames of a video
            without a face have no time, so such a video is written by `writer` alone.
    """
    starts = [track.start_frame for track in video.tracks]
    lengths = [len(track) for track in video.tracks]
    if not starts or starts != list(np.cumsum([0, *lengths[:-1]])) or sum(lengths) != video.num_frames:
        found = f"tracks start at {starts} with {lengths} frames"
        raise ArrayRefused(
            path, "shape", f"{found}; wanted at least one, each after the other, {video.num_frames} in all"
        )
    if len({(track.image_size, track.fps) for track in video.tracks}) > 1:
        raise ArrayRefused(path, "keys", "tracks of one video differ in image size or frame rate")
    with writer(path) as out:
        for track in video.tracks:
            for i, valid in enumerate(track.frame_mask):
                face = (track.landmarks[i], track.blendshapes[i], track.pose[i]) if valid else (None, None, None)
                out.append(*face, int(track.timestamps[i]), bool(track.several[i]))
        out.finish(starts, video.tracks[0].image_size, video.tracks[0].fps, video.provenance)


def read(path: str | os.PathLike, *, root: str | os.PathLike | None = None) -> VideoTracks:
    """Read and check a track file.

    Raises:
        ArrayRefused: missing, damaged, of another version, outside `root`, or with values that no extraction gives.
    """
    path = arrays._inside(path, root)
    with open(path, "rb") as file:
        header = track_checks.header(_entry(file, path, "header", _MAX_JSON), path)
        blocks = _entry(file, path, "frames", 16 + header["num_frames"] * _MAX_FRAME_BYTES)
    mask, several, times, values = _frames(blocks, header["num_frames"], path)
    track_checks.times(times, header["fps"], path)
    landmarks, blendshapes, pose = np.split(values, np.cumsum([NUM_POINTS * 3, NUM_BLENDSHAPES]), axis=1)
    track_checks.values(landmarks, blendshapes, pose, path)
    landmarks, pose = landmarks.reshape(-1, NUM_POINTS, 3), pose.reshape(-1, 4, 4)
    size, tracks = tuple(header["image_size"]), []
    for start, end in itertools.pairwise([*header["starts"], header["num_frames"]]):
        part = (values[start:end] for values in (landmarks, mask, times, blendshapes, pose, several))
        tracks.append(LandmarkTrack(*part, size, header["fps"], start, header["provenance"]))
    return VideoTracks(tuple(tracks), header["num_frames"], header["provenance"])


def read_header(path: str | os.PathLike, *, root: str | os.PathLike | None = None) -> dict[str, Any]:
    """What a track file says of itself (starts, num_frames, image_size, fps, provenance), if its checksums hold.

    Raises:
        ArrayRefused: as `read`.
    """
    path = arrays._inside(path, root)
    with open(path, "rb") as file:
        header = track_checks.header(_entry(file, path, "header", _MAX_JSON), path)
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
    if damaged:
        raise ArrayRefused(path, "damaged", f"the checksum of {damaged} does not hold")
    return header


def resample(track: LandmarkTrack, fps: float) -> LandmarkTrack:
    """The track at a uniform rate, from its first frame's time on.

    Linear in time between two frames with a face; masked where either neighbour is, or where they are more than two
    frame times (by `steady_fps`) apart. The pose's rotation is made orthonormal again.

    Raises:
        ArrayRefused: no rate, or more than `arrays.MAX_FRAMES` frames would come out.
    """
    if not fps > 0 or not np.isfinite(fps):
        raise ArrayRefused("resample", "keys", f"rate {fps}; wanted a positive number of frames per second")
    old = track.timestamps.astype(np.float64)
    frames = float(old[-1] - old[0]) * fps / 1e6 + 1e-3
    if not frames < arrays.MAX_FRAMES:
        detail = f"{frames:.0f} frames at {fps:g} a second; wanted at most {arrays.MAX_FRAMES}"
        raise ArrayRefused("resample", "too_long", detail)
    count = int(frames) + 1
    times = np.minimum(old[0] + np.arange(count) * 1e6 / fps, old[-1])
    right = np.clip(np.searchsorted(old, times), min(1, len(old) - 1), len(old) - 1)
    left = np.maximum(right - 1, 0)
    gap = old[right] - old[left]
    # Timestamps are whole microseconds: a time that near a frame's own is that frame, and needs no neighbour.
    needs_left, needs_right = old[right] - times > 1, times - old[left] > 1
    weight = np.where(needs_left, np.where(needs_right, (times - old[left]) / np.maximum(gap, 1), 0), 1)
    near = (gap <= _LONGEST_GAP * 1e6 / track.steady_fps + 1) | ~(needs_left & needs_right)
    mask = (track.frame_mask[left] | ~needs_left) & (track.frame_mask[right] | ~needs_right) & near

    def between(values: Shaped[np.ndarray, "time ..."]) -> Float32[np.ndarray, "time ..."]:
        w = weight.reshape(-1, *[1] * (values.ndim - 1))
        mixed = (1 - w) * values[left] + w * values[right]
        return np.where(mask.reshape(w.shape), mixed, 0).astype(np.float32)

    pose = between(track.pose)
    pose[mask, :3, :3] = _nearest_rotation(pose[mask, :3, :3])
    return dataclasses.replace(
        track,
        landmarks=between(track.landmarks),
        frame_mask=mask,
        timestamps=np.round(times).astype(np.int64),
        blendshapes=between(track.blendshapes),
        pose=pose,
        several=(track.several[left] & needs_left) | (track.several[right] & needs_right),
        fps=float(fps),
    )


def track_path(out: str | os.PathLike, relative: str | os.PathLike) -> pathlib.Path:
    """Where the track file of a video lies: `a/b.mp4` becomes `<out>/a/b.mp4.track.npz`.

    Raises:
        ArrayRefused: `relative` is absolute or holds `..`, so that it may lead out of `out`.
    """
    path = pathlib.PurePath(relative)
    if path.is_absolute() or ".." in path.parts:
        raise ArrayRefused(relative, "outside_root", f"leads out of {out}; wanted a path below it without '..'")
    return pathlib.Path(out) / f"{relative}{SUFFIX}"


def _nearest_rotation(matrices: Float32[np.ndarray, "time 3 3"]) -> Float32[np.ndarray, "time 3 3"]:
    u, _, vt = np.linalg.svd(matrices.astype(np.float64))
    u[:, :, 2] *= np.linalg.det(u @ vt)[:, None]
    return (u @ vt).astype(np.float32)


def _ordered(values: Float32[np.ndarray, "..."]) -> Int[np.ndarray, "..."]:
    """Bit patterns as integers that rise with the value; its own inverse on bit patterns."""
    bits = values.view(np.int32)
    return np.where(bits < 0, bits ^ np.int32(2**31 - 1), bits)


def _to_planes(change: Int[np.ndarray, "time value"]) -> bytes:
    """Small steps of either sign become small numbers; all lowest bytes first, then the next."""
    zigzag = ((change << 1) ^ (change >> 31)).astype("<i4")
    return np.ascontiguousarray(zigzag.reshape(-1, 1).view(np.uint8).T).tobytes()


def _from_planes(planes: UInt8[np.ndarray, "_"], count: int) -> Int[np.ndarray, "time value"]:
    zigzag = np.ascontiguousarray(planes.reshape(4, -1).T).view("<u4").reshape(count, _VALUES).astype(np.uint32)
    return (zigzag >> 1).astype(np.int32) ^ -(zigzag & 1).astype(np.int32)


@contextlib.contextmanager
def _replacing(path: pathlib.Path) -> Iterator[IO[bytes]]:
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files for their owner alone; a track file is as readable as any new file.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(partial, 0o666 & ~mask)
        os.replace(partial, path)
    except BaseException:
        pathlib.Path(partial).unlink(missing_ok=True)
        raise


def _add(archive: zipfile.ZipFile, name: str, size: int, pieces: Iterable[bytes]) -> None:
    # A fixed date: the same video gives the same bytes.
    with archive.open(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), "w", force_zip64=True) as entry:
        np.lib.format.write_array_header_1_0(entry, {"descr": "|u1", "fortran_order": False, "shape": (size,)})
        for piece in pieces:
            entry.write(piece)


def _entry(file: IO[bytes], where: pathlib.Path, name: str, most: int) -> bytes:
    """One entry's bytes, their number checked before they are read."""
    try:
        with zipfile.ZipFile(file) as archive:
            if sorted(archive.namelist()) != ["frames.npy", "header.npy"]:
                raise ArrayRefused(where, "keys", f"entries {archive.namelist()[:5]}; wanted those of a track file")
            info = archive.getinfo(f"{name}.npy")
            if info.compress_type != zipfile.ZIP_STORED or info.file_size > most:
                raise ArrayRefused(where, "header", f"{name} announces {info.file_size} bytes; wanted at most {most}")
            with archive.open(info) as entry:
                header = arrays._npy_header(entry, where, info.file_size)
                if header.dtype != np.uint8 or len(header.shape) != 1:
                    raise ArrayRefused(where, "dtype", f"{name} is {header.dtype}{header.shape}; wanted bytes")
                content = entry.read(header.shape[0])
                # Reading to the end makes zipfile compare the checksum.
                entry.read(1)
    except arrays._DAMAGED as error:
        raise ArrayRefused(where, "damaged", f"not a readable track file ({error})") from error
    return content


def _frames(blocks: bytes, num_frames: int, where: pathlib.Path) -> tuple[np.ndarray, ...]:
    """Mask, several, timestamps and values of all frames."""
    mask, several = np.zeros(num_frames, bool), np.zeros(num_frames, bool)
    times, values = np.zeros(num_frames, np.int64), np.zeros((num_frames, _VALUES), np.float32)
    last, last_time, place = np.zeros((1, _VALUES), np.float32), 0, 0
    for start in range(0, num_frames, _BLOCK):
        count = min(_BLOCK, num_frames - start)
        plain, place = _unpack(blocks, place, count * (9 + 4 * _VALUES), where)
        flags = np.frombuffer(plain[:count], np.uint8)
        valid = int(np.count_nonzero(flags & 1))
        if len(plain) != count * 9 + valid * 4 * _VALUES:
            raise ArrayRefused(where, "damaged", f"frames {start} to {start + count} hold {len(plain)} bytes")
        part = slice(start, start + count)
        mask[part], several[part] = flags & 1, flags & 2
        times[part] = last_time + np.cumsum(np.frombuffer(plain[count : 9 * count], "<i8"))
        change = _from_planes(np.frombuffer(plain[9 * count :], np.uint8), valid)
        bits = np.cumsum(np.concatenate([_ordered(last), change]), axis=0, dtype=np.int32)[1:]
        values[part][mask[part]] = _ordered(bits.view(np.float32)).view(np.float32)
        if valid:
            last = values[part][mask[part]][-1:]
        last_time = times[start + count - 1]
    if place != len(blocks):
        raise ArrayRefused(where, "damaged", f"{len(blocks) - place} bytes after the last frame")
    return mask, several, times, values


def _unpack(blocks: bytes, place: int, most: int, where: pathlib.Path) -> tuple[bytes, int]:
    """The plain bytes of the block at `place`, no more than `most` of them, and the next block's place."""
    start = place + 4
    (size,) = struct.unpack("<I", blocks[place:start]) if len(blocks) >= start else (len(blocks),)
    if start + size > len(blocks):
        raise ArrayRefused(where, "truncated", f"a block of {size} bytes announced, {len(blocks) - start} follow")
    decoder = zlib.decompressobj()
    try:
        plain = decoder.decompress(blocks[start : start + size], most)
    except zlib.error as error:
        raise ArrayRefused(where, "damaged", f"a block cannot be read ({error})") from error
    if not decoder.eof:
        raise ArrayRefused(where, "damaged", f"a block holds more than {most} bytes")
    return plain, start + size
