"""The networks behind VBench's six scores: which official files they read, and how scores are made of them.

The files are PyTorch's, put into the folder of weights as their publishers give them; they are read without executing
anything in them. No package that carries them was found, so `--fetch-weights` cannot bring them.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable

from fingerprint.errors import UnknownName
from fingerprint.generation import consistency


@dataclasses.dataclass(frozen=True)
class Network:
    """One of the files.

    Attributes:
        file: its name as published. address: where it is had.
        sha256: of the file, or its first 8 digits where only those are published; "" where none is.
        licence: of the weights.
    """

    file: str
    address: str
    sha256: str
    licence: str


_CLIP_ADDRESS = "https://openaipublic.azureedge.net/clip/models"
_CLIP_B = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
_CLIP_L = "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836"
NETWORKS = {
    "subject_consistency": Network(
        "dino_vitbase16_pretrain.pth",
        "https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth",
        "",
        "Apache-2.0",
    ),
    "background_consistency": Network("ViT-B-32.pt", f"{_CLIP_ADDRESS}/{_CLIP_B}/ViT-B-32.pt", _CLIP_B, "MIT"),
    "motion_smoothness": Network(
        "amt-s.pth", "https://huggingface.co/lalala125/AMT/resolve/main/amt-s.pth", "", "CC BY-NC 4.0"
    ),
    "dynamic_degree": Network(
        "raft-things.pth", "https://dl.dropboxusercontent.com/s/4j4z58wuv8o0mfz/models.zip", "", "BSD-3-Clause"
    ),
    "aesthetic_quality": Network("ViT-L-14.pt", f"{_CLIP_ADDRESS}/{_CLIP_L}/ViT-L-14.pt", _CLIP_L, "MIT"),
    "imaging_quality": Network(
        "musiq_spaq_ckpt-358bb6af.pth",
        "https://github.com/chaofengc/IQA-PyTorch/releases/download/v0.1-weights/musiq_spaq_ckpt-358bb6af.pth",
        "358bb6af",
        "Apache-2.0; the conversion as IQA-PyTorch says",
    ),
}
HEADS = {
    "aesthetic_quality": Network(
        "sa_0_4_vit_l_14_linear.pth",
        "https://github.com/LAION-AI/aesthetic-predictor/blob/main/sa_0_4_vit_l_14_linear.pth?raw=true",
        "",
        "MIT",
    ),
}
"""What makes a score of a network's features."""
Score = (
    consistency.FeatureConsistency | consistency.MotionSmoothness | consistency.DynamicDegree | consistency.MeanScore
)


def load(name: str, folder: str | os.PathLike | None) -> Callable[[float], Score]:
    """What makes the score of that name for a video of given frames per second, its network loaded once.

    Raises:
        UnknownName: no such score.
        WeightsMissing: a file is not in the folder of weights; says which to get.
        CheckpointError: another file lies in its place.
    """
    if name not in _LOADERS:
        raise UnknownName("consistency score", name, _LOADERS)
    return _LOADERS[name](name, folder)


def _consistency(name: str, folder: str | os.PathLike | None) -> Callable[[float], Score]:
    from fingerprint.generation.networks import vision_transformer

    params, architecture = vision_transformer.load(name, folder), vision_transformer.ARCHITECTURES[name]
    features = functools.partial(vision_transformer.features, params, architecture)
    return lambda fps: consistency.FeatureConsistency(features)


def _aesthetic_quality(name: str, folder: str | os.PathLike | None) -> Callable[[float], Score]:
    from fingerprint.generation.networks import vision_transformer

    params, architecture = vision_transformer.load(name, folder), vision_transformer.ARCHITECTURES[name]
    scores = functools.partial(vision_transformer.aesthetic_scores, params, architecture)
    return lambda fps: consistency.MeanScore(scores, 10.0)


def _imaging_quality(name: str, folder: str | os.PathLike | None) -> Callable[[float], Score]:
    from fingerprint.generation.networks import musiq

    scores = functools.partial(musiq.scores, musiq.load(folder))
    return lambda fps: consistency.MeanScore(scores, 100.0)


def _motion_smoothness(name: str, folder: str | os.PathLike | None) -> Callable[[float], Score]:
    from fingerprint.generation.networks import amt

    middle = functools.partial(amt.middle, amt.load(folder))
    return lambda fps: consistency.MotionSmoothness(middle)


def _dynamic_degree(name: str, folder: str | os.PathLike | None) -> Callable[[float], Score]:
    from fingerprint.generation.networks import raft

    flow = functools.partial(raft.flow, raft.load(folder))
    return lambda fps: consistency.DynamicDegree(flow, fps)


_LOADERS = {
    "subject_consistency": _consistency,
    "background_consistency": _consistency,
    "motion_smoothness": _motion_smoothness,
    "dynamic_degree": _dynamic_degree,
    "aesthetic_quality": _aesthetic_quality,
    "imaging_quality": _imaging_quality,
}
