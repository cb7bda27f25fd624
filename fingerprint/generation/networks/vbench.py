"""The networks behind VBench's six scores: what the official weights are, and how they are run.

Those that run in JAX take the official file, put into the folder of weights. Each of the others is wanted as an ONNX
file that its user exports once with PyTorch, under the name below, in the same folder; ONNX Runtime runs it. What the
ONNX file must take and give stands with each; preprocessing is done here, as VBench does it. No package that carries
these weights was found, so `--fetch-weights` cannot bring them.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8

from fingerprint.errors import UnknownName, WeightsMissing
from fingerprint.generation import consistency, resize
from fingerprint.generation.networks import onnx

_VISION_TRANSFORMERS = ("subject_consistency", "background_consistency", "aesthetic_quality")
_UNIT = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
Pictures = UInt8[np.ndarray, "frame height width 3"]


@dataclasses.dataclass(frozen=True)
class Network:
    """One of the six.

    Attributes:
        file: ONNX file that is looked for; "" where the official one is. official: the file with the official weights.
        address: where the official file is had. sha256: of the official file, or its first 8 digits where only those
            are published; "" where none is.
        licence: of the weights. takes: what the ONNX file must take, all in RGB. gives: and give.
    """

    file: str
    official: str
    address: str
    sha256: str
    licence: str
    takes: str = ""
    gives: str = ""


_CLIP_ADDRESS = "https://openaipublic.azureedge.net/clip/models"
_CLIP_B = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
_CLIP_L = "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836"
NETWORKS = {
    "subject_consistency": Network(
        "",
        "dino_vitbase16_pretrain.pth",
        "https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth",
        "",
        "Apache-2.0",
    ),
    "background_consistency": Network(
        "",
        "ViT-B-32.pt",
        f"{_CLIP_ADDRESS}/{_CLIP_B}/ViT-B-32.pt",
        _CLIP_B,
        "MIT",
    ),
    "motion_smoothness": Network(
        "amt_s.onnx",
        "amt-s.pth",
        "https://huggingface.co/lalala125/AMT/resolve/main/amt-s.pth",
        "",
        "CC BY-NC 4.0",
        "two float32 [1, 3, height, width] in [0, 1], sides multiples of 16; the middle in time (0.5) built in",
        "float32 [1, 3, height, width] in [0, 1]",
    ),
    "dynamic_degree": Network(
        "raft_things.onnx",
        "raft-things.pth",
        "https://dl.dropboxusercontent.com/s/4j4z58wuv8o0mfz/models.zip",
        "",
        "BSD-3-Clause",
        "two float32 [1, 3, height, width] in [0, 255], sides multiples of 8; 20 iterations built in",
        "float32 [1, 2, height, width]: the upsampled flow in pixels",
    ),
    "aesthetic_quality": Network(
        "",
        "ViT-L-14.pt",
        f"{_CLIP_ADDRESS}/{_CLIP_L}/ViT-L-14.pt",
        _CLIP_L,
        "MIT",
    ),
    "imaging_quality": Network(
        "musiq_spaq.onnx",
        "musiq_spaq_ckpt-358bb6af.pth",
        "https://github.com/chaofengc/IQA-PyTorch/releases/download/v0.1-weights/musiq_spaq_ckpt-358bb6af.pth",
        "358bb6af",
        "Apache-2.0; the conversion as IQA-PyTorch says",
        "float32 [1, 3, height, width] in [0, 1], longer side at most 512",
        "float32 [1, 1] in [0, 100]",
    ),
}
HEADS = {
    "aesthetic_quality": Network(
        "",
        "sa_0_4_vit_l_14_linear.pth",
        "https://github.com/LAION-AI/aesthetic-predictor/blob/main/sa_0_4_vit_l_14_linear.pth?raw=true",
        "",
        "MIT",
    ),
}
Score = (
    consistency.FeatureConsistency | consistency.MotionSmoothness | consistency.DynamicDegree | consistency.MeanScore
)


def load(name: str, folder: str | os.PathLike | None) -> Callable[[float], Score]:
    """What makes the score of that name for a video of given frames per second, its network loaded once.

    Raises:
        UnknownName: no such score.
        WeightsMissing: the network is not in `folder`; says which file to get.
        LibraryMissing: ONNX Runtime is not installed.
    """
    if name not in NETWORKS:
        raise UnknownName("consistency score", name, NETWORKS)
    if name in _VISION_TRANSFORMERS:
        return _of_vision_transformer(name, folder)
    network = NETWORKS[name]
    path = pathlib.Path(folder or "") / network.file
    if folder is None or not path.is_file():
        raise WeightsMissing(
            f"{name} wants {network.file} in the folder of weights: {network.official} ({network.licence}, "
            f"{network.address}) exported to ONNX, taking {network.takes} and giving {network.gives}"
        )
    return of_session(name, onnx.session(path))


def _of_vision_transformer(name: str, folder: str | os.PathLike | None) -> Callable[[float], Score]:
    from fingerprint.generation.networks import vision_transformer

    params, architecture = vision_transformer.load(name, folder), vision_transformer.ARCHITECTURES[name]
    if name in HEADS:
        return lambda fps: consistency.MeanScore(
            lambda frames: vision_transformer.aesthetic_scores(params, architecture, frames), 10.0
        )
    return lambda fps: consistency.FeatureConsistency(
        lambda frames: vision_transformer.features(params, architecture, frames)
    )


def of_session(name: str, session: Any) -> Callable[[float], Score]:
    """As `load`, for a session at hand."""

    made: dict[str, Callable[[float], Score]] = {
        "motion_smoothness": lambda fps: consistency.MotionSmoothness(lambda a, b: _interpolated(session, a, b)),
        "dynamic_degree": lambda fps: consistency.DynamicDegree(lambda a, b: _flow(session, a, b), fps),
        "imaging_quality": lambda fps: consistency.MeanScore(lambda frames: _imaging(session, frames), 100.0),
    }
    return made[name]


def planes(
    frames: Pictures, height: int, width: int, normal: tuple[tuple[float, ...], tuple[float, ...]], *, cubic: bool
) -> Float32[np.ndarray, "frame 3 height width"]:
    """Frames resized without antialiasing, in [0, 1], with a mean and a deviation taken out, channels first."""
    mean, deviation = (np.float32(values) for values in normal)
    small = np.stack([resize.sampled(frame, height, width, cubic=cubic) for frame in frames])
    return np.ascontiguousarray(((small / 255 - mean) / deviation).transpose(0, 3, 1, 2))


def _padded(picture, multiple: int) -> tuple[Float32[np.ndarray, "1 3 height width"], tuple[slice, slice]]:
    """The picture with its edges going on to sides that are multiples, half before and half after; and its place."""
    height, width = picture.shape[:2]
    down, across = -height % multiple, -width % multiple
    padded = np.pad(picture, ((down // 2, down - down // 2), (across // 2, across - across // 2), (0, 0)), mode="edge")
    place = slice(down // 2, down // 2 + height), slice(across // 2, across // 2 + width)
    return padded.transpose(2, 0, 1)[None].astype(np.float32), place


def _interpolated(session, before, after):
    (first, place), (second, _) = _padded(before, 16), _padded(after, 16)
    made = onnx.run(session, first / 255, second / 255)[0][0]
    return (np.clip(made.transpose(1, 2, 0)[place], 0, 1) * 255).astype(np.uint8)


def _flow(session, before, after):
    (first, place), (second, _) = _padded(before, 8), _padded(after, 8)
    return onnx.run(session, first, second)[0][0].transpose(1, 2, 0)[place]


def _imaging(session, frames: Pictures) -> Float[np.ndarray, " frame"]:
    height, width = frames.shape[1:3]
    scale = min(1.0, 512 / max(height, width))
    size = int(scale * height), int(scale * width)
    scores = [onnx.run(session, planes(frame[None], *size, _UNIT, cubic=False))[0] for frame in frames]
    return np.array(scores, np.float64).reshape(len(frames))
