"""A gallery: the people enrolled with one model, as embeddings only; nothing of a video is kept but its digest.

    gallery.json        model digest, landmark set, normalisation, windows, calibration with its id
    people/NAME.npz     window embeddings of NAME's videos

Files have mode 0600, folders 0700. Everything appears whole or not at all. Links are not followed, and what a file
says of its size is checked before memory is taken for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import io
import json
import math
import numbers
import os
import pathlib
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fingerprint.app import private_files
from fingerprint.errors import GalleryError, NameRefused
from fingerprint.landmarks.names import check_identity
from fingerprint.verification.quality import MEASURES

_FORMAT = "fingerprint gallery 1"
_FILE, _PEOPLE = "gallery.json", "people"
CALIBRATION_FORMAT = "fingerprint calibration 1"
_MAX_BYTES, _MAX_DOCUMENT, _MAX_HEADER = 256 << 20, 16 << 20, 10_000
_DAMAGED = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    MemoryError,
    RuntimeError,  # RecursionError too
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)
_BOUND = ("model", "landmark_set", "normalization", "window")


@dataclasses.dataclass(frozen=True, eq=False)
class Template:
    """What is kept of an enrolled person.

    Attributes:
        name: of the person.
        vectors: unit embeddings of all windows.
        video: the video of each window.
        videos: one entry a video: sha256, seconds, windows, share_with_face, fps, enrolled (date).
    """

    name: str
    vectors: Float[np.ndarray, "window dim"]
    video: Int[np.ndarray, "window"]
    videos: tuple[dict[str, Any], ...]


class Gallery:
    """A gallery on disk; make with `create` or `open_gallery`."""

    def __init__(self, folder: pathlib.Path, document: dict[str, Any]):
        self.folder, self._document = folder, document

    @property
    def model(self) -> dict[str, Any]:
        """What binds the gallery to its model: model (digest), landmark_set, normalization, window."""
        return {name: self._document[name] for name in _BOUND}

    @property
    def model_path(self) -> str:
        """Where the model lay when the gallery was made."""
        return self._document["model_path"]

    @property
    def calibration(self) -> dict[str, Any] | None:
        """Thresholds and calibration that decisions are made with; None: there are none yet."""
        return self._document["calibration"]

    @property
    def calibration_id(self) -> str | None:
        """sha256 of the calibration; None without one."""
        return identifier(self.calibration) if self.calibration is not None else None

    def check_model(self, released) -> None:
        """Refuse a model that the gallery's embeddings are not of.

        Raises:
            GalleryError: another model, landmark set, normalisation or window; the message lists what differs.
        """
        found = binding(released)
        differing = [
            f"{name}: gallery {_short(self._document[name])}, model {_short(found[name])}"
            for name in _BOUND
            if self._document[name] != found[name]
        ]
        if differing:
            raise GalleryError(
                f"{self.folder} was made with another model ({'; '.join(differing)}); "
                f"pass --model {self.model_path}, or enrol everybody anew into another --gallery"
            )

    def set_calibration(self, calibration: dict[str, Any]) -> None:
        """Replace the calibration.

        Raises:
            GalleryError: it was made with another model, is of another version, or lacks numbers.
        """
        _check_calibration(calibration, self.model)
        with self._held():
            self._document = {**self._document, "calibration": calibration, "calibration_id": identifier(calibration)}
            private_files.write(self.folder / _FILE, json.dumps(self._document, indent=1, sort_keys=True).encode())

    def names(self) -> list[str]:
        """Enrolled people, sorted."""
        return sorted(path.stem for path in (self.folder / _PEOPLE).glob("*.npz"))

    def template(self, name: str) -> Template:
        """The template of `name`.

        Raises:
            GalleryError: nobody of that name, or a damaged file.
        """
        path = self._path(name)
        if not os.path.lexists(path):
            known = ", ".join(self.names()[:20]) or "nobody"
            raise GalleryError(f"{name} is not enrolled in {self.folder}; enrolled: {known}")
        return _read_template(path, name)

    def enroll(self, template: Template, *, add: bool) -> Template:
        """Keep a template; with `add`, its videos join those that the person has already.

        Raises:
            GalleryError: the person is enrolled and `add` is false, or a video is in the template already.
        """
        with self._held():
            path = self._path(template.name)
            private_files.erase_leftovers(path)
            there = os.path.lexists(path)
            if there:
                if not add:
                    raise GalleryError(
                        f"{template.name} is enrolled already; --add adds videos, "
                        f"`fingerprint gallery remove {template.name}` removes"
                    )
                template = _joined(_read_template(path, template.name), template)
            seen: set[str] = set()
            for video in template.videos:
                if video["sha256"] in seen:
                    raise GalleryError(f"{template.name}: one video twice (sha256 {video['sha256'][:12]}…)")
                seen.add(video["sha256"])
            with private_files.opened(path, _MAX_BYTES, write=True) if there else contextlib.nullcontext() as old:
                private_files.write(path, _template_bytes(template))
                if old is not None:
                    private_files.overwrite(old)
        return template

    def remove(self, name: str) -> None:
        """Remove a person: the template's bytes, and those of what a killed enrolment left, are overwritten first.

        A file system that keeps old blocks (snapshots, copy on write, flash) may still hold them.

        Raises:
            GalleryError: nobody of that name.
        """
        with self._held():
            path = self._path(name)
            private_files.erase_leftovers(path)
            if not os.path.lexists(path):
                raise GalleryError(f"{name} is not enrolled in {self.folder}")
            private_files.erase(path)

    def _path(self, name: str) -> pathlib.Path:
        people = self.folder / _PEOPLE
        if people.is_symlink():
            raise GalleryError(f"{people} is a link; wanted the gallery's own folder")
        try:
            return people / f"{check_identity(name, 'name')}.npz"
        except NameRefused as refusal:
            raise GalleryError(str(refusal)) from None

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        try:
            file = open(self.folder / ".lock", "a", opener=private_files.opener)  # noqa: SIM115
        except OSError as error:
            raise GalleryError(f"{self.folder} cannot be written to ({error})") from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def binding(released) -> dict[str, Any]:
    """What of a released model a gallery or calibration is bound to."""
    document = released.document
    return {
        "model": released.digest,
        "landmark_set": document["landmark_set"],
        "normalization": document["normalization"],
        "window": document["window"],
    }


def identifier(calibration: dict[str, Any]) -> str:
    """sha256 that names a calibration."""
    return hashlib.sha256(json.dumps(calibration, sort_keys=True).encode()).hexdigest()


def create(folder: str | os.PathLike, released, calibration: dict[str, Any] | None) -> Gallery:
    """A new, empty gallery for a released model.

    Raises:
        GalleryError: something lies there already, or the calibration is none for this model.
    """
    folder = pathlib.Path(folder)
    if calibration is not None:
        _check_calibration(calibration, binding(released))
    if folder.exists() and any(folder.iterdir()):
        raise GalleryError(f"{folder} exists and is no gallery; choose an empty or new folder")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    (folder / _PEOPLE).mkdir(mode=0o700, exist_ok=True)
    document = {
        "format": _FORMAT,
        "model_path": str(released.directory),
        "calibration": calibration,
        "calibration_id": identifier(calibration) if calibration is not None else None,
        **binding(released),
    }
    private_files.write(folder / _FILE, json.dumps(document, indent=1, sort_keys=True).encode())
    return Gallery(folder, document)


def exists(folder: str | os.PathLike) -> bool:
    """Whether a gallery lies there."""
    return (pathlib.Path(folder) / _FILE).is_file()


def open_gallery(folder: str | os.PathLike, *, calibrated: bool = True) -> Gallery:
    """The gallery in `folder`.

    Args:
        calibrated: False leaves out its calibration, to replace one that is refused or to do without.

    Raises:
        GalleryError: none there, of another version, or damaged.
    """
    folder = pathlib.Path(folder)
    if not exists(folder):
        raise GalleryError(f"{folder} holds no gallery (no {_FILE}); `fingerprint enroll` makes one")
    try:
        with private_files.opened(folder / _FILE, _MAX_DOCUMENT) as file:
            document = json.loads(file.read())
        if not calibrated:
            document |= {"calibration": None, "calibration_id": None}
        version, calibration, given = document["format"], document["calibration"], document["calibration_id"]
        whole = all(name in document for name in _BOUND) and isinstance(document["model_path"], str)
        named = identifier(calibration) if calibration is not None else None
    except _DAMAGED as error:
        raise GalleryError(f"{folder / _FILE} is damaged ({type(error).__name__}: {error})") from error
    if version != _FORMAT or not whole:
        raise GalleryError(f"{folder / _FILE}: found format {version!r}, wanted {_FORMAT!r} with all its entries")
    if given != named:
        raise GalleryError(f"{folder / _FILE}: the calibration is not the one its id names; calibrate again")
    found = Gallery(folder, document)
    if calibration is not None:
        _check_calibration(calibration, found.model)
    return found


def _check_calibration(found: Any, bound: dict[str, Any]) -> None:
    """Refuse a calibration of another version or model, or without the numbers that decisions need."""
    version = found.get("format") if isinstance(found, dict) else None
    if version != CALIBRATION_FORMAT:
        raise GalleryError(f"the calibration has format {version!r}, wanted {CALIBRATION_FORMAT!r}; calibrate again")
    for name in _BOUND:
        if found.get(name) != bound[name]:
            raise GalleryError(
                f"the calibration is for {name} {_short(found.get(name))}, the gallery for {_short(bound[name])}; "
                "calibrate with the gallery's model"
            )
    if lacking := sorted(name for name, sound in _calibration_parts(found) if not sound):
        raise GalleryError(f"the calibration is damaged (see {', '.join(lacking)}); calibrate again")


def _calibration_parts(found: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    points, line, evidence = found.get("thresholds"), found.get("calibration"), found.get("evidence")
    yield "source", isinstance(found.get("source"), str)
    yield "thresholds", isinstance(points, dict)
    for name, point in points.items() if isinstance(points, dict) else ():
        sound = isinstance(point, dict) and _numbers(point, "threshold", "validation_fmr", "validation_fnmr")
        yield name, sound and all(item is None or _is_number(item) or _row(item, 2) for item in point.values())
    yield "calibration", isinstance(line, dict) and _numbers(line, "scale", "offset")
    weights = line.get("quality", []) if isinstance(line, dict) else []
    yield "quality", weights == [] or _row(weights, len(MEASURES))
    bounds = line.get("llr_bounds") if isinstance(line, dict) else None
    yield "llr_bounds", bounds is None or (_row(bounds, 2) and bounds[0] < 0 < bounds[1])
    known = isinstance(evidence, dict) and _row(evidence.get("windows"), 3) and _numbers(evidence, "enrolment_clips")
    yield "evidence", evidence is None or known


def _numbers(found: dict[str, Any], *names: str) -> bool:
    return all(_is_number(found.get(name)) for name in names)


def _row(found: Any, length: int) -> bool:
    return isinstance(found, list) and len(found) == length and all(map(_is_number, found))


def _is_number(found: Any) -> bool:
    return isinstance(found, numbers.Real) and not isinstance(found, bool) and math.isfinite(found)


def _joined(old: Template, new: Template) -> Template:
    return Template(
        old.name,
        np.concatenate([old.vectors, new.vectors]),
        np.concatenate([old.video, new.video + len(old.videos)]),
        (*old.videos, *new.videos),
    )


def _template_bytes(template: Template) -> bytes:
    vectors = np.ascontiguousarray(template.vectors, np.float32)
    video = np.ascontiguousarray(template.video, np.int32)
    sealed = {"name": template.name, "videos": list(template.videos), "digest": _digest(vectors, video)}
    buffer = io.BytesIO()
    np.savez(buffer, vectors=vectors, video=video, document=np.frombuffer(json.dumps(sealed).encode(), np.uint8))
    return buffer.getvalue()


def _read_template(path: pathlib.Path, name: str) -> Template:
    try:
        with private_files.opened(path, _MAX_BYTES) as file, zipfile.ZipFile(file) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _MAX_BYTES:
                raise ValueError("larger inside than it may be")
            vectors, video = _array(archive, "vectors", np.float32, 2), _array(archive, "video", np.int32, 1)
            sealed = json.loads(_array(archive, "document", np.uint8, 1).tobytes())
        videos = tuple(sealed["videos"])
        sound = sealed["name"] == name and sealed["digest"] == _digest(vectors, video)
        sound = sound and all(isinstance(found["sha256"], str) for found in videos)
        # Every video has a window, and every window a video.
        sound = sound and len(video) == len(vectors) and np.unique(video).tolist() == list(range(len(videos)))
        template = Template(name, vectors, video, videos)
    except _DAMAGED as error:
        raise GalleryError(f"{path} is damaged ({type(error).__name__}: {error}); enrol {name} again") from error
    if not sound:
        raise GalleryError(f"{path} is damaged: its contents do not match their digest; enrol {name} again")
    return template


def _array(archive: zipfile.ZipFile, name: str, dtype: type, axes: int) -> np.ndarray:
    """An entry whose header promises no more than the entry holds."""
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as entry:
        if (version := np.lib.format.read_magic(entry)) != (1, 0):
            raise ValueError(f"{name}: .npy version {version}, wanted (1, 0)")
        try:
            shape, by_column, found = np.lib.format.read_array_header_1_0(entry, max_header_size=_MAX_HEADER)
        except (SyntaxError, tokenize.TokenError) as error:  # what a hostile header raises depends on the Python
            raise ValueError(f"{name}: unreadable .npy header") from error
        size, there = math.prod(shape) * found.itemsize, info.file_size - entry.tell()
        if found != dtype or len(shape) != axes or by_column or min(shape) < 0 or size != there:
            raise ValueError(f"{name}: header announces {found} {shape}, {there} bytes follow")
        content = entry.read(size)
        entry.read(1)  # the end makes zipfile compare the checksum
    return np.frombuffer(content, dtype).reshape(shape)


def _digest(vectors: np.ndarray, video: np.ndarray) -> str:
    return hashlib.sha256(f"{vectors.shape}".encode() + vectors.tobytes() + video.tobytes()).hexdigest()


def _short(value: Any) -> str:
    return f"{value[:12]}…" if isinstance(value, str) and len(value) > 40 else str(value)
