"""VBench's six scores, made of their networks."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

import jax

from fingerprint.errors import UnknownName
from fingerprint.generation import consistency

Score = (
    consistency.FeatureConsistency | consistency.MotionSmoothness | consistency.DynamicDegree | consistency.MeanScore
)
_MOST_SIZES = 16


def load(name: str, folder: str | os.PathLike | None) -> Callable[[float], Score]:
    """What makes the score of that name for a video of given frames per second, its network loaded once.

    Raises:
        UnknownName: no such score.
        WeightsMissing: a file is not in the folder of weights; says which to get.
        CheckpointError: another file lies in its place.
    """
    if name not in SCORES:
        raise UnknownName("consistency score", name, SCORES)
    return SCORES[name](name, folder)


def _in_few_sizes(network: Callable) -> Callable:
    """The network, whose programs for other frame sizes are forgotten now and then: each takes megabytes."""
    seen: set[tuple[int, int]] = set()

    def call(*pictures):
        size = pictures[0].shape[-3:-1]
        if size not in seen and len(seen) == _MOST_SIZES:
            seen.clear()
            jax.clear_caches()
        seen.add(size)
        return network(*pictures)

    return call


def _consistency(name: str, folder: str | os.PathLike | None) -> Callable[[float], Score]:
    from fingerprint.generation.networks import vision_transformer

    params, architecture = vision_transformer.load(name, folder), vision_transformer.ARCHITECTURES[name]
    features = _in_few_sizes(functools.partial(vision_transformer.features, params, architecture))
    return lambda fps: consistency.FeatureConsistency(features)


def _aesthetic_quality(name: str, folder: str | os.PathLike | None) -> Callable[[float], Score]:
    from fingerprint.generation.networks import vision_transformer

    params, architecture = vision_transformer.load(name, folder), vision_transformer.ARCHITECTURES[name]
    scores = _in_few_sizes(functools.partial(vision_transformer.aesthetic_scores, params, architecture))
    return lambda fps: consistency.MeanScore(scores, 10.0)


def _imaging_quality(name: str, folder: str | os.PathLike | None) -> Callable[[float], Score]:
    from fingerprint.generation.networks import musiq

    scores = _in_few_sizes(functools.partial(musiq.scores, musiq.load(folder)))
    return lambda fps: consistency.MeanScore(scores, 100.0)


def _motion_smoothness(name: str, folder: str | os.PathLike | None) -> Callable[[float], Score]:
    from fingerprint.generation.networks import amt

    middle = _in_few_sizes(functools.partial(amt.middle, amt.load(folder)))
    return lambda fps: consistency.MotionSmoothness(middle)


def _dynamic_degree(name: str, folder: str | os.PathLike | None) -> Callable[[float], Score]:
    from fingerprint.generation.networks import raft

    flow = _in_few_sizes(functools.partial(raft.flow, raft.load(folder)))
    return lambda fps: consistency.DynamicDegree(flow, fps)


SCORES = {
    "subject_consistency": _consistency,
    "background_consistency": _consistency,
    "motion_smoothness": _motion_smoothness,
    "dynamic_degree": _dynamic_degree,
    "aesthetic_quality": _aesthetic_quality,
    "imaging_quality": _imaging_quality,
}
"""What loads each score's network."""
