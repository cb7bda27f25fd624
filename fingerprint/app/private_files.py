"""Files that only their owner may read: written whole, opened without following links, overwritten before they go."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import pathlib
import stat
from collections.abc import Iterator
from typing import IO

from fingerprint.errors import GalleryError

_BLOCK = 1 << 20


def opener(path: str | os.PathLike, flags: int) -> int:
    """For `open`: mode 0600 where the file is new, and no link is followed."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


@contextlib.contextmanager
def opened(path: pathlib.Path, most: int | None = None, *, write: bool = False) -> Iterator[IO[bytes]]:
    """An existing file for reading, or for writing over it: no link to elsewhere, no pipe, no device.

    Args:
        most: largest size accepted, in bytes.

    Raises:
        GalleryError: not such a file.
    """
    flags, mode = (os.O_RDWR, "r+b") if write else (os.O_RDONLY, "rb")
    try:
        # Without O_NONBLOCK a pipe would block before it can be refused.
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        kind = "it is a link, which is not followed" if error.errno == errno.ELOOP else error.strerror
        raise GalleryError(f"{path} cannot be opened: {kind}") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise GalleryError(f"{path} is not a regular file")
        if most is not None and found.st_size > most:
            raise GalleryError(f"{path} is damaged: {found.st_size} bytes, wanted at most {most}")
        with open(descriptor, mode, closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def write(path: pathlib.Path, content: bytes) -> None:
    """Replace a file; it appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        with open(temporary, "xb", opener=opener) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def overwrite(file: IO[bytes]) -> None:
    """Zeros over all of a file. A file system with snapshots or copy on write, or flash, may keep the old blocks."""
    left = os.fstat(file.fileno()).st_size
    file.seek(0)
    while left > 0:
        left -= file.write(b"\0" * min(left, _BLOCK))
    file.flush()
    os.fsync(file.fileno())


def erase(path: pathlib.Path) -> None:
    """Overwrite a file, then delete it.

    Raises:
        GalleryError: as `opened`.
    """
    with opened(path, write=True) as file:
        overwrite(file)
    path.unlink()
    _sync_folder(path.parent)


def erase_leftovers(path: pathlib.Path) -> None:
    """Erase what killed writers of `path` left; the caller sees to it that nobody is writing.

    Raises:
        GalleryError: as `opened`.
    """
    for left in list(path.parent.glob(f".{glob.escape(path.name)}.*.tmp")):
        erase(left)


def _sync_folder(folder: pathlib.Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
