"""Where MediaPipe's model file lies, and how it is had. Opens the network when asked, as the
weights of `generation` do.

Looked for in this order: the argument, the environment variable `FINGERPRINT_FACE_LANDMARKER`, the cache folder
(`$XDG_CACHE_HOME/fingerprint` or `~/.cache/fingerprint`). Landmarks depend on the very bytes of the model, so only the
file with the known digest is taken.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import tempfile
import urllib.error
import urllib.request

from fingerprint.errors import ModelFileMissing

NAME = "face_landmarker.task"
VARIABLE = "FINGERPRINT_FACE_LANDMARKER"
SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
SIZE = 3_758_596
ADDRESS = (
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task"
)


def cache_folder() -> pathlib.Path:
    """The folder that holds what was downloaded."""
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "fingerprint"


def find(argument: str | os.PathLike | None = None) -> pathlib.Path:
    """The model file, its digest checked.

    Args:
        argument: where the caller says it is; nothing else is tried then.

    Raises:
        ModelFileMissing: it is nowhere, or a file of other content lies there.
    """
    if argument is not None:
        path, why = pathlib.Path(argument), "given"
    elif os.environ.get(VARIABLE):
        path, why = pathlib.Path(os.environ[VARIABLE]), f"named by the environment variable {VARIABLE}"
    else:
        path, why = cache_folder() / NAME, "the cache"
    if not path.is_file():
        raise ModelFileMissing(
            f"MediaPipe's model file is not at {path} ({why}); `fingerprint fetch-model` downloads it from {ADDRESS}, "
            f"or put it there yourself, or set {VARIABLE} to its path"
        )
    if path.stat().st_size != SIZE or hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise ModelFileMissing(
            f"{path} ({why}) is another file than the model that results are made with: wanted {SIZE} bytes with "
            f"SHA-256 {SHA256}; `fingerprint fetch-model` downloads the right one from {ADDRESS}"
        )
    return path


def fetch(
    folder: str | os.PathLike | None = None, *, address: str = ADDRESS, sha256: str = SHA256, timeout: float = 60.0
) -> pathlib.Path:
    """Download the model file into `folder` (default: the cache folder); it appears whole and checked, or not at all.

    Raises:
        ModelFileMissing: the address cannot be reached or sends another file.
    """
    target = pathlib.Path(folder) if folder is not None else cache_folder()
    try:
        with urllib.request.urlopen(address, timeout=timeout) as response:
            content = response.read(SIZE + 1)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise ModelFileMissing(
            f"{address} cannot be reached ({getattr(error, 'reason', error)}); download it where there is a network "
            f"and put it at {target / NAME}, or set {VARIABLE} to its path"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ModelFileMissing(
            f"{address} sent another file ({len(content)} bytes read, SHA-256 {found}; wanted {SIZE} bytes, {sha256}); "
            f"nothing was kept. Put the right file at {target / NAME}"
        )
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target, prefix=f".{NAME}.", delete=False) as partial:
        try:
            partial.write(content)
            partial.flush()
            os.fsync(partial.fileno())
            os.replace(partial.name, target / NAME)
        except BaseException:
            os.unlink(partial.name)
            raise
    return target / NAME
