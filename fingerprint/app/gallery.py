"""A gallery: the people enrolled with one model, as embeddings only; nothing of a video is kept but its digest.

    gallery.json        model digest, landmark set, normalisation, windows, calibration with its id
    people/NAME.npz     window embeddings of NAME's videos

Files have mode 0600, folders 0700. Everything appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import io
import json
import os
import pathlib
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fingerprint.errors import GalleryError, NameRefused
from fingerprint.landmarks.names import check_identity

_FORMAT = "fingerprint gallery 1"
_FILE, _PEOPLE = "gallery.json", "people"
_MAX_BYTES = 256 << 20
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
            GalleryError: it was made with another model.
        """
        if calibration.get("model") != self._document["model"]:
            raise GalleryError(
                f"the calibration is for model {_short(calibration.get('model'))}, the gallery for "
                f"{_short(self._document['model'])}; calibrate with the gallery's model"
            )
        with self._held():
            self._document = {**self._document, "calibration": calibration, "calibration_id": identifier(calibration)}
            _write(self.folder / _FILE, json.dumps(self._document, indent=1, sort_keys=True).encode())

    def names(self) -> list[str]:
        """Enrolled people, sorted."""
        return sorted(path.stem for path in (self.folder / _PEOPLE).glob("*.npz"))

    def template(self, name: str) -> Template:
        """The template of `name`.

        Raises:
            GalleryError: nobody of that name, or a damaged file.
        """
        path = self._path(name)
        if not path.exists():
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
            if path.exists():
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
            _write(path, _template_bytes(template))
        return template

    def remove(self, name: str) -> None:
        """Remove a person: the template's bytes are overwritten before the file goes.

        A file system that keeps old blocks (snapshots, copy on write, flash) may still hold them.

        Raises:
            GalleryError: nobody of that name.
        """
        with self._held():
            path = self._path(name)
            if not path.exists():
                raise GalleryError(f"{name} is not enrolled in {self.folder}")
            with open(path, "r+b") as file:
                file.write(b"\0" * path.stat().st_size)
                file.flush()
                os.fsync(file.fileno())
            path.unlink()
            _sync_folder(path.parent)

    def _path(self, name: str) -> pathlib.Path:
        try:
            return self.folder / _PEOPLE / f"{check_identity(name, 'name')}.npz"
        except NameRefused as refusal:
            raise GalleryError(str(refusal)) from None

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        with open(self.folder / ".lock", "a", opener=_private) as file:
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
        GalleryError: something lies there already.
    """
    folder = pathlib.Path(folder)
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
    _write(folder / _FILE, json.dumps(document, indent=1, sort_keys=True).encode())
    return Gallery(folder, document)


def exists(folder: str | os.PathLike) -> bool:
    """Whether a gallery lies there."""
    return (pathlib.Path(folder) / _FILE).is_file()


def open_gallery(folder: str | os.PathLike) -> Gallery:
    """The gallery in `folder`.

    Raises:
        GalleryError: none there, of another version, or damaged.
    """
    folder = pathlib.Path(folder)
    if not exists(folder):
        raise GalleryError(f"{folder} holds no gallery (no {_FILE}); `fingerprint enroll` makes one")
    try:
        document = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        version, calibration, given = document["format"], document["calibration"], document["calibration_id"]
        whole = all(name in document for name in (*_BOUND, "model_path"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GalleryError(f"{folder / _FILE} is damaged ({type(error).__name__}: {error})") from error
    if version != _FORMAT or not whole:
        raise GalleryError(f"{folder / _FILE}: found format {version!r}, wanted {_FORMAT!r} with all its entries")
    if given != (identifier(calibration) if calibration is not None else None):
        raise GalleryError(f"{folder / _FILE}: the calibration is not the one its id names; calibrate again")
    return Gallery(folder, document)


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
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes, wanted at most {_MAX_BYTES}")
        with np.load(path, allow_pickle=False) as archive:
            if sum(entry.file_size for entry in archive.zip.infolist()) > _MAX_BYTES:
                raise ValueError("larger inside than it may be")
            vectors, video = archive["vectors"], archive["video"]
            sealed = json.loads(archive["document"].tobytes())
        sound = vectors.ndim == 2 and vectors.dtype == np.float32 and video.shape == vectors.shape[:1]
        sound = sound and video.dtype == np.int32 and sealed["digest"] == _digest(vectors, video)
        sound = sound and sealed["name"] == name
        template = Template(name, vectors, video, tuple(sealed["videos"]))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise GalleryError(f"{path} is damaged ({type(error).__name__}: {error}); enrol {name} again") from error
    if not sound:
        raise GalleryError(f"{path} is damaged: its contents do not match their digest; enrol {name} again")
    return template


def _digest(vectors: np.ndarray, video: np.ndarray) -> str:
    return hashlib.sha256(f"{vectors.shape}".encode() + vectors.tobytes() + video.tobytes()).hexdigest()


def _private(path, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _write(path: pathlib.Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        with open(temporary, "xb", opener=_private) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: pathlib.Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _short(value: Any) -> str:
    return f"{value[:12]}…" if isinstance(value, str) and len(value) > 40 else str(value)
