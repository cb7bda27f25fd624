"""From a recipe's definitions to metrics that count: weights are looked for once, and what is missing is skipped."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Collection, Iterator, Sequence

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
    """The metrics of a run, by kind.

    Attributes:
        sets, pairs, alone: the metrics.
        skipped: by name, why those that are missing cannot be had.
        weights: digests of the files that the others read.
        warnings: what to say of those files.
    """

    sets: tuple[SetMetric, ...] = ()
    pairs: tuple[PairMetric, ...] = ()
    alone: tuple[AloneMetric, ...] = ()
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)
    weights: dict[str, str] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()

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
    needed = dict.fromkeys(need for name, one in wanted.items() if name not in skipped for need in one.needs)
    return Metrics(sets, pairs, alone, skipped, networks.provenance(needed), tuple(networks.doubts(needed)))


def _make(
    names: tuple[str, ...], definition: Definition, mode: str, networks: _Networks, seed: int
) -> SetMetric | PairMetric | AloneMetric:
    name, view = names[0], definition.view
    published = mode == recipes.PUBLISHED
    if name in recipes.CONSISTENCY:
        return metrics.AloneMetric(name, view, vbench.load(name, networks.folder))
    if name.startswith(("fid", "kid", "e_fid")):
        prepare = networks.edges if name.startswith("e_fid") else _as_they_are
        if published:
            features = networks.inception if name in recipes.OF_INCEPTION_2015 else networks.inception_v3
            return metrics.PublishedFrechet(name, view, features, prepare)
        return metrics.FrechetMetric(names, view, networks.inception, prepare=prepare, seed=seed)
    if name == "fvd":
        kind = metrics.PublishedClip if published else metrics.ClipMetric
        return kind(name, view, networks.i3d(published=published))
    if name == "expression_fid":
        return metrics.ExpressionMetric(name, view)
    if name == "csim":
        compare = metrics.pixel_cosine if published else networks.identity
    elif name == "lpips":
        compare = networks.lpips
    else:
        from fingerprint.generation import pixels

        function = {"psnr": pixels.psnr, "ssim": pixels.ssim_of_any_size if published else pixels.ssim}[name]
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

    def provenance(self, needed: Collection[str]) -> dict[str, str]:
        """Digests of the files that these needs are met by."""
        from fingerprint.generation.networks import official, weights

        kept = weights.provenance([need for need in needed if need in weights.KNOWN], self._asked)
        return kept | official.provenance([need for need in needed if need in official.FILES], self._asked)

    def doubts(self, needed: Collection[str]) -> Iterator[str]:
        """Sentences on files whose publishers state no digest."""
        from fingerprint.generation.networks import official

        files = [
            official.FILES[need].file for need in needed if need in official.FILES and not official.FILES[need].sha256
        ]
        if files:
            yield (
                f"the publishers of {', '.join(files)} state no digest: names and shapes of their arrays were checked, "
                "and their digests stand with how this was made"
            )

    @functools.cached_property
    def inception(self) -> metrics.FrameFeatures:
        from fingerprint.generation.networks import inception

        return functools.partial(inception.features, inception.load(self._asked))

    @functools.cached_property
    def edges(self) -> Callable[[metrics.Pictures], metrics.Pictures]:
        from fingerprint.generation import edges

        return edges.canny

    @functools.cached_property
    def inception_v3(self) -> metrics.FrameFeatures:
        from fingerprint.generation.networks import inception_v3

        return functools.partial(inception_v3.features, inception_v3.load(self._asked))

    def i3d(self, *, published: bool) -> metrics.ClipFeatures:
        from fingerprint.generation.networks import i3d

        return functools.partial(i3d.features_as_published if published else i3d.features, i3d.load(self._asked))

    @functools.cached_property
    def lpips(self) -> Callable[[Frames, Frames], Float[np.ndarray, " frame"]]:
        from fingerprint.generation.networks import lpips

        return metrics.pixels_of(functools.partial(lpips.distance, lpips.load(self._asked)))

    @functools.cached_property
    def identity(self) -> Callable[[Frames, Frames], Float[np.ndarray, " frame"]]:
        from fingerprint.generation.networks import identity

        network = identity.FaceEmbedder(self._asked)

        def compare(reference: Frames, generated: Frames) -> Float[np.ndarray, " frame"]:
            both = reference.shows_face & generated.shows_face
            return identity.csim(*(network.embed(f.rgb, f.landmarks, both) for f in (reference, generated)))

        return compare
