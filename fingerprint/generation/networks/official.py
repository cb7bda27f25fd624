"""Files of weights that are read as their publishers give them: what they are, where they lie, and what is in them.

They are PyTorch's, put into the folder of weights by the user, and read without executing anything in them. No package
that carries them was found, so `--fetch-weights` cannot bring them.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from fingerprint.errors import CheckpointError, WeightsMissing
from fingerprint.generation.networks import weights


@dataclasses.dataclass(frozen=True)
class Official:
    """One of the files.

    Attributes:
        purpose: what wants it. file: its name as published. address: where it is had.
        sha256: of the file, or its first 8 digits where only those are published; "" where none is.
        licence: of the weights.
    """

    purpose: str
    file: str
    address: str
    sha256: str
    licence: str


_CLIP = "https://openaipublic.azureedge.net/clip/models"
_CLIP_B = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
_CLIP_L = "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836"
FILES = {
    "subject_consistency": Official(
        "subject_consistency",
        "dino_vitbase16_pretrain.pth",
        "https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth",
        "",
        "Apache-2.0",
    ),
    "background_consistency": Official(
        "background_consistency", "ViT-B-32.pt", f"{_CLIP}/{_CLIP_B}/ViT-B-32.pt", _CLIP_B, "MIT"
    ),
    "motion_smoothness": Official(
        "motion_smoothness",
        "amt-s.pth",
        "https://huggingface.co/lalala125/AMT/resolve/main/amt-s.pth",
        "",
        "CC BY-NC 4.0",
    ),
    "dynamic_degree": Official(
        "dynamic_degree",
        "raft-things.pth",
        "https://dl.dropboxusercontent.com/s/4j4z58wuv8o0mfz/models.zip",
        "",
        "BSD-3-Clause",
    ),
    "aesthetic_quality": Official("aesthetic_quality", "ViT-L-14.pt", f"{_CLIP}/{_CLIP_L}/ViT-L-14.pt", _CLIP_L, "MIT"),
    "aesthetic_head": Official(
        "aesthetic_quality",
        "sa_0_4_vit_l_14_linear.pth",
        "https://github.com/LAION-AI/aesthetic-predictor/blob/main/sa_0_4_vit_l_14_linear.pth?raw=true",
        "",
        "MIT",
    ),
    "imaging_quality": Official(
        "imaging_quality",
        "musiq_spaq_ckpt-358bb6af.pth",
        "https://github.com/chaofengc/IQA-PyTorch/releases/download/v0.1-weights/musiq_spaq_ckpt-358bb6af.pth",
        "358bb6af",
        "Apache-2.0; the conversion as IQA-PyTorch says",
    ),
    "inception_v3": Official(
        "FID as published",
        "inception_v3_google-0cc3c7bd.pth",
        "https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth",
        "0cc3c7bd",
        "BSD-3-Clause",
    ),
}


def require(name: str, folder: str | os.PathLike | None = None) -> pathlib.Path:
    """The official file `name`, its digest checked where one is published.

    Raises:
        WeightsMissing: it is not in the folder of weights.
        CheckpointError: another file lies in its place.
    """
    wanted = FILES[name]
    path = weights.folder_of(folder) / wanted.file
    if not path.is_file():
        raise WeightsMissing(
            f"{path} is not there: {wanted.purpose} wants {wanted.file} as published ({wanted.licence}), from "
            f"{wanted.address}, in the folder of weights"
        )
    try:
        found = weights.sha256_of(path)
    except OSError as error:
        raise WeightsMissing(f"{path} cannot be read: {error.strerror or error}") from error
    if not found.startswith(wanted.sha256):
        raise CheckpointError(f"{path} has SHA-256 {found}, wanted {wanted.sha256}: get it anew from {wanted.address}")
    return path


def provenance(names: Sequence[str], folder: str | os.PathLike | None = None) -> dict[str, str]:
    """Digest of each of these files that is there, by its name."""
    paths = (weights.folder_of(folder) / FILES[name].file for name in names)
    return {path.name: weights.sha256_of(path) for path in paths if path.is_file()}


def checked(
    path: pathlib.Path, state: Any, shapes: Mapping[str, tuple[int, ...]], *, ignored: tuple[str, ...] = ()
) -> dict[str, Float[np.ndarray, "..."]]:
    """The arrays of a network, if they are all there, of the right shapes, finite, and nothing else is.

    Args:
        path: the file they come from.
        state: arrays by name, as the file holds them.
        shapes: wanted, by name.
        ignored: ends of names that count for nothing.

    Raises:
        CheckpointError: the file is another network's, or damaged.
    """
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds {type(state).__name__}, wanted the arrays of {path.name} by name")
    state = {str(key): value for key, value in state.items() if not str(key).endswith(ignored or "\0")}
    for wrong, what in ((shapes.keys() - state.keys(), "lacks"), (state.keys() - shapes.keys(), "also holds")):
        if wrong:
            raise CheckpointError(
                f"{path} {what} {len(wrong)} arrays, {min(wrong)} among them; wanted the {len(shapes)} of the "
                f"official {path.name}"
            )
    for name, shape in shapes.items():
        array = state[name]
        if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype.kind != "f":
            found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            raise CheckpointError(f"{path}: {name} is {found}, wanted floats of shape {shape}")
        if not np.isfinite(array).all():
            raise CheckpointError(f"{path}: {name} holds values that are not finite")
    return {name: state[name] for name in shapes}
