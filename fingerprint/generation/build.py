"""From a recipe's definitions to metrics that count: weights are looked for once, and what is missing is skipped."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from fingerprint.errors import CheckpointError, LibraryMissing, WeightsMissing
from fingerprint.generation import metrics, recipes
from fingerprint.generation.frames import Frames
from fingerprint.generation.metrics import AloneMetric, PairMetric, SetMetric
from fingerprint.generation.networks import vbench
from fingerprint.generation.recipes import Definition


@dataclasses.dataclass(frozen=True)
class Metrics:
    """The metrics of a run, by kind; `skipped`: by name, why those that are missing cannot be had."""

    sets: tuple[SetMetric, ...] = ()
    pairs: tuple[PairMetric, ...] = ()
    alone: tuple[AloneMetric, ...] = ()
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.sets or self.pairs or self.alone)


def build_metrics(
    definitions: Sequence[Definition], mode: str, weights: str | os.PathLike | None, seed: int = 0
) -> Metrics:
    """The metrics of these definitions.

    Args:
        definitions: of the recipe `mode`.
        weights: folder of the networks' weights; None looks where `weights.find` does.
        seed: of KID's sample.
    """
    networks = _Networks(weights)
    wanted = {definition.name: definition for definition in definitions}
    made, skipped = [], {}
    for name, definition in wanted.items():
        if name == "kid" and "fid" in wanted:
            continue  # they share their features
        names = ("fid", "kid") if name == "fid" and "kid" in wanted else (name,)
        try:
            made.append((definition, _make(names, definition, mode, networks, seed)))
        except (WeightsMissing, CheckpointError, LibraryMissing) as missing:
            skipped |= dict.fromkeys(names, str(missing))
    alone = tuple(metric for definition, metric in made if definition.name in recipes.CONSISTENCY)
    sets = tuple(metric for definition, metric in made if not definition.per_video)
    pairs = tuple(metric for _, metric in made if metric not in alone and metric not in sets)
    return Metrics(sets, pairs, alone, skipped)


def _make(
    names: tuple[str, ...], definition: Definition, mode: str, networks: _Networks, seed: int
) -> SetMetric | PairMetric | AloneMetric:
    name, view = names[0], definition.view
    published = mode == recipes.PUBLISHED
    if name in recipes.CONSISTENCY:
        return metrics.AloneMetric(name, view, vbench.load(name, networks.folder))
    if name in ("fid", "kid", "e_fid"):
        features = networks.inception
        prepare = networks.edges if name == "e_fid" else _as_they_are
        if published:
            return metrics.PublishedFrechet(name, view, features, prepare)
        return metrics.FrechetMetric(names, view, features, prepare=prepare, seed=seed)
    if name == "fvd":
        clips = networks.i3d(signed=not published)
        kind = metrics.PublishedClip if published else metrics.ClipMetric
        return kind(name, view, clips)
    if name == "expression_fid":
        return metrics.ExpressionMetric(name, view)
    if name == "csim":
        compare = metrics.pixel_cosine if published else networks.identity
    elif name == "lpips":
        compare = networks.lpips
    else:
        from fingerprint.generation import pixels

        function = {"psnr": pixels.psnr, "ssim": pixels.ssim}[name]
        compare = metrics.pixels_of(function, metrics.PSNR_OF_EQUALS if name == "psnr" else np.inf)
    return metrics.FrameMetric(name, view, compare)


def _as_they_are(frames: metrics.Pictures) -> metrics.Pictures:
    return frames


class _Networks:
    """The networks, each loaded when first asked for; jax and ONNX Runtime with them."""

    def __init__(self, folder: str | os.PathLike | None):
        self._asked = folder

    @property
    def folder(self) -> os.PathLike:
        from fingerprint.generation.networks import weights

        return weights.folder_of(self._asked)

    @functools.cached_property
    def inception(self) -> metrics.FrameFeatures:
        from fingerprint.generation.networks import inception

        params = inception.load(self._asked)
        return lambda frames: inception.features(params, frames)

    @functools.cached_property
    def edges(self) -> Callable[[metrics.Pictures], metrics.Pictures]:
        from fingerprint.generation import expression

        return expression.edges

    def i3d(self, *, signed: bool) -> metrics.ClipFeatures:
        from fingerprint.generation.networks import i3d

        params = i3d.load(self._asked)
        return lambda clips: i3d.features(params, clips, signed=signed)

    @functools.cached_property
    def lpips(self) -> Callable[[Frames, Frames], Float[np.ndarray, " frame"]]:
        from fingerprint.generation.networks import lpips

        params = lpips.load(self._asked)
        return metrics.pixels_of(lambda reference, generated: lpips.distance(params, reference, generated))

    @functools.cached_property
    def identity(self) -> Callable[[Frames, Frames], Float[np.ndarray, " frame"]]:
        from fingerprint.generation.networks import identity

        network = identity.FaceEmbedder(self._asked)

        def compare(reference: Frames, generated: Frames) -> Float[np.ndarray, " frame"]:
            both = reference.shows_face & generated.shows_face
            return identity.csim(*(network.embed(f.rgb, f.landmarks, both) for f in (reference, generated)))

        return compare
