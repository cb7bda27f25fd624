"""Read landmark files from elsewhere: what the header promises is checked before the data are touched.

A `.npy` file holds landmarks [T, V, 3]. An `.npz` file holds `landmarks` and may hold `frame_mask` [T] bool,
`fps` (scalar, 0 = unknown) and `image_size` (width, height; (1, 1) = isotropic coordinates, (0, 0) =
unknown); other entries are not read.
"""

from __future__ import annotations

import dataclasses
import io
import math
import os
import pathlib
import stat
import struct
import zipfile
import zlib
from typing import IO

import numpy as np
from jaxtyping import Bool, Float, Int

from fingerprint.errors import ArrayRefused
from fingerprint.landmarks import topology

Landmarks = Float[np.ndarray, "time vertex 3"]
FrameMask = Bool[np.ndarray, "time"]
ImageSize = Int[np.ndarray, "2"]

MAX_FRAMES = 200_000
MAX_MAGNITUDE = 1e6
"""A frame with a larger coordinate counts as broken: no unit in use gives one, and products overflow."""
_MAX_HEADER = 10_000
_MAX_ENTRIES = 64
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    struct.error,
    OSError,
    NotImplementedError,
    RuntimeError,
)


@dataclasses.dataclass(frozen=True)
class Header:
    """What a file says of its landmarks before any of them is read.

    Attributes:
        shape: (frames, vertices, 3).
        dtype: float16, float32 or float64.
        fortran_order: column-major on disk.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    fortran_order: bool


@dataclasses.dataclass(frozen=True, eq=False)
class LoadedTrack:
    """A checked track.

    Attributes:
        landmarks: as stored, but finite everywhere; masked frames are zero.
        frame_mask: frame has a valid face.
        fps: frames per second; 0.0 = unknown.
        image_size: width, height; (1, 1) = isotropic; (0, 0) = unknown.
        non_finite: share of the frames masked because a coordinate was NaN, infinite or beyond
            `MAX_MAGNITUDE`.
    """

    landmarks: Landmarks
    frame_mask: FrameMask
    fps: float
    image_size: ImageSize
    non_finite: float


def load_landmarks(
    path: str | os.PathLike,
    landmark_set: str,
    *,
    root: str | os.PathLike | None = None,
    max_frames: int = MAX_FRAMES,
) -> LoadedTrack:
    """Read one landmark file.

    A frame with any coordinate that is NaN, infinite or beyond `MAX_MAGNITUDE` is masked as a whole and set
    to zero; so is every frame that the file's own `frame_mask` masks. Nothing is interpolated and no frame is
    removed: time stays uniform.

    Args:
        path: `.npy` or `.npz` file.
        landmark_set: name of the set; gives the number of vertices.
        root: folder that the file, symbolic links followed, must lie in.
        max_frames: longest track accepted.

    Raises:
        ArrayRefused: with `reason` one of `missing`, `not_a_file`, `outside_root`, `extension`, `truncated`,
            `header`,
            `pickle`, `dtype`, `shape`, `empty`, `too_long`, `keys`, `damaged`, `no_valid_frame`.
        UnknownName: no such landmark set.
    """
    wanted = topology.get(landmark_set).num_vertices
    path = _inside(path, root)
    with open(path, "rb") as file:
        if path.suffix == ".npy":
            header = _npy_header(file, path, os.fstat(file.fileno()).st_size)
            _check_landmarks(header, path, wanted, max_frames)
            landmarks, extra = _npy_data(file, header, path), {}
        else:
            with _archive(file, path) as archive:
                landmarks, extra = _read_npz(archive, path, wanted, max_frames)
    return _masked(landmarks, extra, path)


def read_header(path: str | os.PathLike, *, root: str | os.PathLike | None = None) -> Header:
    """Shape and type of a landmark file's landmarks, without reading them.

    Raises:
        ArrayRefused: as `load_landmarks`, but the number of vertices may be any.
    """
    path = _inside(path, root)
    with open(path, "rb") as file:
        if path.suffix == ".npy":
            header = _npy_header(file, path, os.fstat(file.fileno()).st_size)
        else:
            with _archive(file, path) as archive, _entry(archive, "landmarks", path) as entry:
                header = _npy_header(entry, path, archive.getinfo("landmarks.npy").file_size)
    _check_landmarks(header, path, None, None)
    return header


def _inside(path: str | os.PathLike, root: str | os.PathLike | None) -> pathlib.Path:
    path = pathlib.Path(path)
    if root is not None and not path.resolve().is_relative_to(pathlib.Path(root).resolve()):
        raise ArrayRefused(path, "outside_root", f"leads to {path.resolve()}; wanted a file under {root}")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ArrayRefused(path, "missing", f"cannot be opened: {error.strerror}") from error
    # A pipe or device would block or never end.
    if not stat.S_ISREG(mode):
        raise ArrayRefused(path, "not_a_file", "not a regular file; wanted .npy or .npz")
    if path.suffix not in (".npy", ".npz"):
        raise ArrayRefused(path, "extension", f"extension {path.suffix!r}; wanted .npy or .npz")
    return path


def _npy_header(file: IO[bytes], where, size: int) -> Header:
    """Read and check the header of a `.npy` stream of `size` bytes; leaves the stream at the first value."""
    start = file.read(12)
    if len(start) < 12:
        raise ArrayRefused(where, "truncated", f"{size} bytes, shorter than a .npy header")
    if start[:6] != b"\x93NUMPY":
        raise ArrayRefused(where, "header", f"starts with {start[:6]!r}; wanted the magic string of a .npy file")
    version = tuple(start[6:8])
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ArrayRefused(where, "header", f".npy version {version}; wanted 1.0, 2.0 or 3.0")
    fixed, length = (
        (10, struct.unpack("<H", start[8:10])[0]) if version == (1, 0) else (12, struct.unpack("<I", start[8:])[0])
    )
    if length > _MAX_HEADER:
        raise ArrayRefused(where, "header", f"header of {length} bytes; wanted at most {_MAX_HEADER}")
    text = start[fixed:] + file.read(length - (12 - fixed))
    if len(text) < length:
        raise ArrayRefused(where, "truncated", f"header of {length} bytes announced, {len(text)} found")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, fortran_order, dtype = read(io.BytesIO(start[8:fixed] + text), max_header_size=_MAX_HEADER)
    except Exception as error:  # a hostile header can raise anything from SyntaxError to MemoryError
        raise ArrayRefused(where, "header", f"unreadable .npy header ({type(error).__name__}: {error})") from error
    if dtype.hasobject:
        raise ArrayRefused(where, "pickle", f"dtype {dtype} holds pickled objects; wanted float16, float32 or float64")
    if any(n < 0 for n in shape):
        raise ArrayRefused(where, "shape", f"shape {shape} has a negative axis")
    wanted, found = math.prod(shape) * dtype.itemsize, size - fixed - length
    if wanted != found:
        reason = "truncated" if found < wanted else "header"
        raise ArrayRefused(where, reason, f"header announces {shape} {dtype} = {wanted} bytes, {found} bytes follow")
    return Header(shape, dtype, fortran_order)


def _check_landmarks(header: Header, where, vertices: int | None, max_frames: int | None) -> None:
    if header.dtype.kind != "f" or header.dtype.itemsize not in (2, 4, 8):
        raise ArrayRefused(where, "dtype", f"dtype {header.dtype}; wanted float16, float32 or float64")
    shape = header.shape
    if len(shape) != 3 or shape[2] != 3 or shape[1] != (vertices or shape[1]):
        also = topology.for_num_vertices(shape[1]) if len(shape) == 3 else ()
        hint = f"; {shape[1]} vertices are those of {', '.join(also)}" if also and vertices else ""
        raise ArrayRefused(where, "shape", f"shape {shape}; wanted (frames, {vertices or 'vertices'}, 3){hint}")
    if shape[0] == 0:
        raise ArrayRefused(where, "empty", "no frame")
    if max_frames is not None and shape[0] > max_frames:
        raise ArrayRefused(where, "too_long", f"{shape[0]} frames; wanted at most {max_frames}")


def _npy_data(file: IO[bytes], header: Header, where) -> np.ndarray:
    raw = file.read(math.prod(header.shape) * header.dtype.itemsize)
    try:
        flat = np.frombuffer(raw, header.dtype)
        return flat.reshape(header.shape, order="F" if header.fortran_order else "C")
    except ValueError as error:  # shrank between the check and the read
        raise ArrayRefused(where, "truncated", f"{len(raw)} bytes of data for {header.shape}") from error


def _archive(file: IO[bytes], where) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(file)
    except _DAMAGED as error:
        raise ArrayRefused(where, "damaged", f"not a readable .npz archive ({error})") from error
    entries = archive.namelist()
    if len(entries) > _MAX_ENTRIES or len(set(entries)) != len(entries):
        raise ArrayRefused(
            where, "keys", f"{len(entries)} entries, {len(set(entries))} distinct; at most {_MAX_ENTRIES}"
        )
    if "landmarks.npy" not in entries:
        raise ArrayRefused(where, "keys", f"entries {entries[:10]}; wanted 'landmarks'")
    return archive


def _entry(archive: zipfile.ZipFile, key: str, where) -> IO[bytes]:
    try:
        return archive.open(f"{key}.npy")
    except _DAMAGED as error:
        raise ArrayRefused(where, "damaged", f"entry {key!r} cannot be opened ({error})") from error


def _read_npz(
    archive: zipfile.ZipFile, where, vertices: int, max_frames: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    # A bomb announces itself: the announced size must be that of the announced shape, the shape is capped,
    # and no more than the announced size is ever inflated.
    arrays = {}
    for key in ("landmarks", "frame_mask", "fps", "image_size"):
        if f"{key}.npy" not in archive.namelist():
            continue
        try:
            with _entry(archive, key, where) as entry:
                header = _npy_header(entry, where, archive.getinfo(f"{key}.npy").file_size)
                if key == "landmarks":
                    _check_landmarks(header, where, vertices, max_frames)
                elif math.prod(header.shape) > max(2, arrays["landmarks"].shape[0]):
                    raise ArrayRefused(where, "shape", f"{key} has shape {header.shape}")
                arrays[key] = _npy_data(entry, header, where)
                # Reading to the end makes zipfile compare the checksum.
                entry.read(1)
        except _DAMAGED as error:
            raise ArrayRefused(where, "damaged", f"entry {key!r} cannot be read ({error})") from error
    return arrays.pop("landmarks"), arrays


def _masked(landmarks: np.ndarray, extra: dict[str, np.ndarray], where) -> LoadedTrack:
    mask = extra.get("frame_mask", np.ones(len(landmarks), bool))
    if mask.dtype != bool or mask.shape != landmarks.shape[:1]:
        raise ArrayRefused(where, "shape", f"frame_mask {mask.dtype}{mask.shape}; wanted bool ({len(landmarks)},)")
    fps, size = extra.get("fps", np.zeros(())), extra.get("image_size", np.zeros(2, np.int32))
    if fps.dtype.kind not in "fiu" or fps.size != 1 or not 0 <= fps.item() <= 10_000:
        raise ArrayRefused(where, "keys", f"fps {fps.dtype}{fps.shape}; wanted one number from 0 to 10,000")
    if size.dtype.kind not in "iu" or size.shape != (2,) or not (size.min() >= 0 and size.max() <= 100_000):
        raise ArrayRefused(where, "keys", f"image_size {size.dtype}{size.shape}; wanted two integers from 0 to 100,000")
    with np.errstate(invalid="ignore", over="ignore"):
        sound = np.all(np.abs(landmarks) <= MAX_MAGNITUDE, axis=(1, 2))
        landmarks = landmarks.astype(np.float32)
    broken = float(np.mean(mask & ~sound))
    mask = mask & sound
    if not mask.any():
        raise ArrayRefused(where, "no_valid_frame", f"none of {len(mask)} frames is unmasked and finite")
    landmarks[~mask] = 0
    return LoadedTrack(landmarks, mask, float(fps.item()), size.astype(np.int32), broken)
