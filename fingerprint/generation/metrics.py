"""The metrics of the recipes, each fed a few frames at a time, a pair of videos after the other.

A metric is made anew for every generator. `update` takes the next frames of the pair under way and may give a value a
frame; `end_pair` gives the pair's values; `results` those of the whole set. Nothing grows with the number of videos but
one number a video.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Float, Float32, UInt8

from fingerprint.generation import resize
from fingerprint.generation.frames import PIECE, Frames
from fingerprint.generation.networks.vbench import Score
from fingerprint.generation.statistics import FeatureSample, FeatureStatistics, frechet_distance, kid

Pictures = UInt8[np.ndarray, "frame height width 3"]
FrameFeatures = Callable[[Pictures], Float32[np.ndarray, "frame dim"]]
ClipFeatures = Callable[[UInt8[np.ndarray, "clip time height width 3"]], Float32[np.ndarray, "clip dim"]]
PSNR_OF_EQUALS = 100.0
_KID_KEPT, _KID_SUBSETS, _KID_SIZE = 2_000, 50, 1_000


@dataclasses.dataclass(frozen=True)
class Value:
    """A number of a whole set: from how many of what (videos, frames or clips), and what a reader must know."""

    value: float
    count: int
    of: str
    warnings: tuple[str, ...] = ()


class Metric(Protocol):
    """What a recipe's metric does; `names` are those of the recipe's definitions."""

    names: tuple[str, ...]
    region: str

    def update(self, reference: Frames | None, generated: Frames) -> dict[str, Float[np.ndarray, " frame"]] | None: ...

    def end_pair(self) -> dict[str, float]: ...

    def results(self) -> dict[str, Value]: ...


class _PerVideo:
    """A metric whose value of a set is the mean of its videos."""

    def __init__(self, name: str, region: str):
        self.names, self.region = (name,), region
        self._videos: list[float] = []
        self._none = 0

    def _end(self, value: float) -> dict[str, float]:
        if math.isnan(value):
            self._none += 1
        else:
            self._videos.append(value)
        return {self.names[0]: value}

    def results(self) -> dict[str, Value]:
        """The mean over videos that have a value."""
        mean = math.fsum(self._videos) / len(self._videos) if self._videos else math.nan
        lost = (f"{self._none} videos have no value",) if self._none else ()
        return {self.names[0]: Value(mean, len(self._videos), "videos", lost)}


class FrameMetric(_PerVideo):
    """A value a frame, averaged over the frames of a video.

    Args:
        name: as in the recipe. region: frames it sees.
        compare: values of frames of one size, NaN where a frame has none.
    """

    def __init__(self, name: str, region: str, compare: Callable[[Frames, Frames], Float[np.ndarray, " frame"]]):
        super().__init__(name, region)
        self._compare = compare
        self._total, self._count = 0.0, 0

    def update(self, reference: Frames, generated: Frames) -> dict[str, Float[np.ndarray, " frame"]]:
        """The next frames; those that one side has more are left out."""
        count = min(len(reference), len(generated))
        values = self._compare(_head(reference, count), _head(generated, count))
        known = values[~np.isnan(values)]
        self._total, self._count = self._total + float(known.sum()), self._count + len(known)
        return {self.names[0]: values}

    def end_pair(self) -> dict[str, float]:
        """The mean over frames; NaN without one."""
        value = self._total / self._count if self._count else math.nan
        self._total, self._count = 0.0, 0
        return self._end(value)


def pixels_of(function: Callable[[Pictures, Pictures], np.ndarray], cap: float = math.inf):
    """A comparison of pixels for `FrameMetric`: the generated frames take the reference's size.

    Args:
        function: of frames, of which it is always given `PIECE`, so that it is compiled once a size.
        cap: larger values become this.
    """

    def compare(reference: Frames, generated: Frames) -> Float[np.ndarray, " frame"]:
        fill = ((0, PIECE - len(reference)), (0, 0), (0, 0), (0, 0))
        values = function(np.pad(reference.rgb, fill), np.pad(_sized(generated.rgb, reference.rgb), fill))
        return np.minimum(np.asarray(values, np.float64)[: len(reference)], cap)

    return compare


def pixel_cosine(reference: Frames, generated: Frames) -> Float[np.ndarray, " frame"]:
    """Cosine of two frames as vectors of pixel values, 0 where one is black: what the public benchmark calls CSIM."""
    sides = reference.rgb, _sized(generated.rgb, reference.rgb)
    a, b = (pixels.reshape(len(pixels), -1).astype(np.float64) for pixels in sides)
    length = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.divide(np.einsum("fp,fp->f", a, b), length, out=np.zeros(len(a)), where=length > 0)


class _Sides:
    """Statistics of the features of either side."""

    def __init__(self, of: str):
        self._of = of
        self._statistics: tuple[FeatureStatistics, FeatureStatistics] | None = None

    def add(self, reference: Float[np.ndarray, "sample dim"], generated: Float[np.ndarray, "sample dim"]) -> None:
        if self._statistics is None:
            self._statistics = FeatureStatistics(reference.shape[1]), FeatureStatistics(generated.shape[1])
        for features, statistics in zip((reference, generated), self._statistics, strict=True):
            statistics.add(features)

    def value(self) -> Value:
        """The Fréchet distance; NaN with fewer than two samples on a side."""
        sides = self._statistics or ()
        count = min((side.count for side in sides), default=0)
        if count < 2:
            return Value(math.nan, count, self._of, (f"{count} {self._of}; wanted at least 2",))
        warnings = dict.fromkeys(side.warning for side in sides if side.warning is not None)
        return Value(frechet_distance(*sides), count, self._of, tuple(warnings))


class _OfSet:
    """A metric that knows no single video."""

    def __init__(self, names: Sequence[str], region: str, of: str):
        self.names, self.region = tuple(names), region
        self._sides = _Sides(of)

    def end_pair(self) -> dict[str, float]:
        """Nothing: one video is no distribution."""
        return {}

    def results(self) -> dict[str, Value]:
        """The distance."""
        return {self.names[0]: self._sides.value()}


class FrechetMetric(_OfSet):
    """Fréchet distance between features of all generated and all reference frames, and KID of a sample of them.

    Args:
        names: what the distance is called, and `kid`: those of them that are wanted.
        region: frames it sees.
        features: of frames. prepare: makes of frames what the network sees.
        seed: of the sample and of KID's subsets.
    """

    def __init__(
        self,
        names: Sequence[str],
        region: str,
        features: FrameFeatures,
        *,
        prepare: Callable[[Pictures], Pictures] = lambda frames: frames,
        seed: int = 0,
    ):
        super().__init__(names, region, "frames")
        self._features, self._prepare, self._seed = features, prepare, seed
        self._samples = FeatureSample(_KID_KEPT, seed), FeatureSample(_KID_KEPT, seed + 1)

    def update(self, reference: Frames, generated: Frames) -> None:
        """The next frames."""
        found = [self._features(self._prepare(frames.rgb)) for frames in (reference, generated)]
        self._sides.add(*found)
        if "kid" in self.names:
            for sample, features in zip(self._samples, found, strict=True):
                sample.add(features)

    def results(self) -> dict[str, Value]:
        """The distances that are wanted."""
        out = {name: self._sides.value() for name in self.names if name != "kid"}
        if "kid" in self.names:
            a, b = (sample.features for sample in self._samples)
            count, value = min(len(a), len(b)), math.nan
            if count > 1:
                value, _ = kid(a, b, subsets=_KID_SUBSETS, size=min(_KID_SIZE, max(2, count // 2)), seed=self._seed)
            out["kid"] = Value(value, count, "frames")
        return out


class ExpressionMetric(_OfSet):
    """Fréchet distance between blendshape coefficients of the frames in which both sides show a face."""

    def __init__(self, name: str, region: str):
        super().__init__((name,), region, "frames")

    def update(self, reference: Frames, generated: Frames) -> None:
        """The next frames."""
        both = reference.shows_face & generated.shows_face
        if both.any():
            self._sides.add(reference.blendshapes[both], generated.blendshapes[both])


class ClipMetric(_OfSet):
    """Fréchet distance between features of clips of 16 frames, one after the other; a shorter rest is left out."""

    def __init__(self, name: str, region: str, features: ClipFeatures):
        super().__init__((name,), region, "clips")
        self._features = features

    def update(self, reference: Frames, generated: Frames) -> None:
        """The next frames."""
        if len(reference) == len(generated) == PIECE:
            self._sides.add(*(self._features(frames.rgb[None]) for frames in (reference, generated)))


class PublishedFrechet(_PerVideo):
    """Fréchet distance between the features of one video's frames and its reference's, averaged over videos."""

    def __init__(
        self,
        name: str,
        region: str,
        features: FrameFeatures,
        prepare: Callable[[Pictures], Pictures] = lambda frames: frames,
    ):
        super().__init__(name, region)
        self._features, self._prepare = features, prepare
        self._value = math.nan

    def update(self, reference: Frames, generated: Frames) -> None:
        """The first 16 frames of both."""
        sides = _Sides("frames")
        sides.add(*(self._features(self._prepare(frames.rgb)) for frames in (reference, generated)))
        self._value = sides.value().value

    def end_pair(self) -> dict[str, float]:
        """The pair's distance; NaN where a side has a single frame."""
        value, self._value = self._value, math.nan
        return self._end(value)


class PublishedClip(_PerVideo):
    """Squared distance of the features of one clip a side, averaged over videos.

    The published script adds 1e-6 to the variances twice over, which takes 2e-6 a feature off the squared distance.
    """

    def __init__(self, name: str, region: str, features: ClipFeatures):
        super().__init__(name, region)
        self._features, self._value = features, math.nan

    def update(self, reference: Frames, generated: Frames) -> None:
        """The first 16 frames of both; missing ones are black."""
        clips = (np.pad(f.rgb, ((0, PIECE - len(f)), *((0, 0),) * 3))[None] for f in (reference, generated))
        real, made = (np.asarray(self._features(clip), np.float64)[0] for clip in clips)
        self._value = float(np.square(made - real).sum()) - 2e-6 * len(real)

    def end_pair(self) -> dict[str, float]:
        """The pair's distance."""
        value, self._value = self._value, math.nan
        return self._end(value)


class ConsistencyMetric(_PerVideo):
    """One of VBench's scores of the generated video alone.

    Args:
        name: as in the recipe. region: frames it sees.
        make: a fresh score for a video of given frames per second.
    """

    def __init__(self, name: str, region: str, make: Callable[[float], Score]):
        super().__init__(name, region)
        self._make = make
        self._score: Score | None = None

    def update(self, reference: Frames | None, generated: Frames) -> None:
        """The next frames."""
        if self._score is None:
            self._score = self._make(generated.fps)
        self._score.update(generated.rgb)

    def end_pair(self) -> dict[str, float]:
        """The video's score."""
        value = math.nan if self._score is None else self._score.result()
        self._score = None
        return self._end(value)


def _head(frames: Frames, count: int) -> Frames:
    if len(frames) == count:
        return frames
    return Frames(*(getattr(frames, name)[:count] for name in _ARRAYS), frames.fps)


def _sized(pictures: Pictures, like: Pictures) -> Pictures:
    size = like.shape[1:3]
    return pictures if pictures.shape[1:3] == size else np.stack([resize.plain(one, *size) for one in pictures])


_ARRAYS = ("rgb", "landmarks", "blendshapes", "shows_face", "seconds")
