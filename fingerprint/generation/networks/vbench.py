"""The networks behind VBench's six scores: what the official weights are, and how they are run.

Networks with a module of their own beside this one read the official file as it is. Each other one is wanted as an
ONNX file that its user exports once with PyTorch, under the name below, in the folder of weights; ONNX Runtime runs it.
What the ONNX file must take and give stands with each; preprocessing is done here, as VBench does it. No package that
carries these weights was found, so `--fetch-weights` cannot bring them.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8

from fingerprint.errors import UnknownName, WeightsMissing
from fingerprint.generation import consistency, resize
from fingerprint.generation.networks import onnx

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_UNIT = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
Pictures = UInt8[np.ndarray, "frame height width 3"]


@dataclasses.dataclass(frozen=True)
class Network:
    """One of the six.

    Attributes:
        file: ONNX file that is looked for. official: the file with the official weights.
        address: where the official file is had. sha256: of the official file, or its first 8 digits where only those
            are published; "" where none is.
        licence: of the weights. takes: what the ONNX file must take, all in RGB. gives: and give. Both "" where the
            official file itself is read.
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
        "dino_vitb16.onnx",
        "dino_vitbase16_pretrain.pth",
        "https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth",
        "",
        "Apache-2.0",
        "float32 [frame, 3, height, width], shorter side 224, ImageNet mean and deviation taken out",
        "float32 [frame, 768]",
    ),
    "background_consistency": Network(
        "clip_vitb32_image.onnx",
        "ViT-B-32.pt",
        f"{_CLIP_ADDRESS}/{_CLIP_B}/ViT-B-32.pt",
        _CLIP_B,
        "MIT",
        "float32 [frame, 3, 224, 224], CLIP's mean and deviation taken out",
        "float32 [frame, 512]: `encode_image`",
    ),
    "motion_smoothness": Network(
        "amt-s.pth",
        "amt-s.pth",
        "https://huggingface.co/lalala125/AMT/resolve/main/amt-s.pth",
        "",
        "CC BY-NC 4.0",
    ),
    "dynamic_degree": Network(
        "raft-things.pth",
        "raft-things.pth",
        "https://dl.dropboxusercontent.com/s/4j4z58wuv8o0mfz/models.zip",
        "",
        "BSD-3-Clause",
    ),
    "aesthetic_quality": Network(
        "clip_vitl14_aesthetic.onnx",
        "ViT-L-14.pt with sa_0_4_vit_l_14_linear.pth",
        f"{_CLIP_ADDRESS}/{_CLIP_L}/ViT-L-14.pt and github.com/LAION-AI/aesthetic-predictor",
        _CLIP_L,
        "MIT",
        "float32 [frame, 3, 224, 224], CLIP's mean and deviation taken out",
        "float32 [frame, 1]: LAION's linear head on the unit-length `encode_image`",
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
Score = (
    consistency.FeatureConsistency | consistency.MotionSmoothness | consistency.DynamicDegree | consistency.MeanScore
)


def load(name: str, folder: str | os.PathLike | None) -> Callable[[float], Score]:
    """What makes the score of that name for a video of given frames per second, its network loaded once.

    Raises:
        UnknownName: no such score.
        WeightsMissing: the network is not in `folder`; says which file to get.
        CheckpointError: its file is another one than the official.
        LibraryMissing: ONNX Runtime is not installed.
    """
    if name not in NETWORKS:
        raise UnknownName("consistency score", name, NETWORKS)
    if name in _READ:
        return _READ[name](folder)
    network = NETWORKS[name]
    path = pathlib.Path(folder or "") / network.file
    if folder is None or not path.is_file():
        raise WeightsMissing(
            f"{name} wants {network.file} in the folder of weights: {network.official} ({network.licence}, "
            f"{network.address}) exported to ONNX, taking {network.takes} and giving {network.gives}"
        )
    return of_session(name, onnx.session(path))


def _motion_smoothness(folder: str | os.PathLike | None) -> Callable[[float], Score]:
    from fingerprint.generation.networks import amt

    params = amt.load(folder)
    return lambda fps: consistency.MotionSmoothness(functools.partial(amt.middle, params))


def _dynamic_degree(folder: str | os.PathLike | None) -> Callable[[float], Score]:
    from fingerprint.generation.networks import raft

    params = raft.load(folder)
    return lambda fps: consistency.DynamicDegree(functools.partial(raft.flow, params), fps)


_READ = {"motion_smoothness": _motion_smoothness, "dynamic_degree": _dynamic_degree}


def of_session(name: str, session: Any) -> Callable[[float], Score]:
    """As `load`, for a session at hand."""

    def vectors(prepare: Callable[[Pictures], np.ndarray]) -> consistency.FrameFeatures:
        return lambda frames: onnx.run(session, prepare(frames))[0]

    made: dict[str, Callable[[float], Score]] = {
        "subject_consistency": lambda fps: consistency.FeatureConsistency(vectors(_dino)),
        "background_consistency": lambda fps: consistency.FeatureConsistency(vectors(_clip)),
        "aesthetic_quality": lambda fps: consistency.MeanScore(
            lambda frames: onnx.run(session, _clip(frames))[0].reshape(len(frames)), 10.0
        ),
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


def _shorter_side(frames: Pictures, side: int) -> tuple[int, int]:
    """Height and width with the shorter one as asked, as torchvision rounds the other."""
    height, width = frames.shape[1:3]
    return (side, int(side * width / height)) if height <= width else (int(side * height / width), side)


def _dino(frames: Pictures) -> Float32[np.ndarray, "frame 3 height width"]:
    return planes(frames, *_shorter_side(frames, 224), _IMAGENET, cubic=False)


def _clip(frames: Pictures) -> Float32[np.ndarray, "frame 3 224 224"]:
    whole = planes(frames, *_shorter_side(frames, 224), _CLIP, cubic=True)
    top, left = (round((side - 224) / 2) for side in whole.shape[2:])
    return np.ascontiguousarray(whole[:, :, top : top + 224, left : left + 224])


def _imaging(session, frames: Pictures) -> Float[np.ndarray, " frame"]:
    height, width = frames.shape[1:3]
    scale = min(1.0, 512 / max(height, width))
    size = int(scale * height), int(scale * width)
    scores = [onnx.run(session, planes(frame[None], *size, _UNIT, cubic=False))[0] for frame in frames]
    return np.array(scores, np.float64).reshape(len(frames))
