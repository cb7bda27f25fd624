"""The metrics of the recipes, each fed a few frames at a time. Three kinds:

`SetMetric`: a distance between all frames of many videos and all of their references; either side is counted by a
`Side`, so that the references are counted once for all generators. `PairMetric`: a video beside its reference.
`AloneMetric`: a generated video by itself. The latter two give a value a video. Nothing grows with the
number of videos.
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
_FRAMES_AT_ONCE, _CLIPS_AT_ONCE = 64, 8


@dataclasses.dataclass(frozen=True)
class Value:
    """A number of a whole set: from how many of what (videos, frames or clips), and what a reader must know.

    `spread`: standard deviation over subsets, where it was made from those. `reference_count`: of the other side, where
    there are two.
    """

    value: float
    count: int
    of: str
    warnings: tuple[str, ...] = ()
    spread: float | None = None
    reference_count: int | None = None


class Side(Protocol):
    """Counts one side of a distance between sets."""

    def update(self, frames: Frames) -> None: ...

    def end_video(self) -> None: ...


class SetMetric(Protocol):
    """A distance between sets; `names` are those of the recipe's definitions."""

    names: tuple[str, ...]
    view: str

    def side(self) -> Side: ...

    def results(self, real: Side, made: Side) -> dict[str, Value]: ...


class PairMetric(Protocol):
    """A value of a video beside its reference. `update` may give a value a frame; `end_pair` begins anew."""

    name: str
    view: str

    def update(self, reference: Frames, generated: Frames) -> Float[np.ndarray, " frame"] | None: ...

    def end_pair(self) -> float: ...


# ------------------------------------------------------------------------------------------------- sets


class FrameSide:
    """Features of frames, made of many at a time; a sample of them is kept for KID."""

    def __init__(self, features: FrameFeatures, prepare: Callable[[Pictures], Pictures], sample: FeatureSample | None):
        self._features, self._prepare, self._sample = features, prepare, sample
        self._statistics: FeatureStatistics | None = None
        self._waiting: list[Pictures] = []

    def update(self, frames: Frames) -> None:
        """The next frames; all of one size."""
        self._waiting.append(frames.rgb)
        if sum(map(len, self._waiting)) >= _FRAMES_AT_ONCE:
            self._count()

    def end_video(self) -> None:
        """A frame belongs to no other."""

    def statistics(self) -> FeatureStatistics | None:
        """Of all so far; None without any."""
        self._count()
        return self._statistics

    def sample(self) -> Float[np.ndarray, "sample dim"]:
        """What was kept for KID."""
        self._count()
        return self._sample.features

    def _count(self) -> None:
        if self._waiting:
            features = self._features(self._prepare(np.concatenate(self._waiting)))
            self._waiting = []
            self._statistics = self._statistics or FeatureStatistics(features.shape[1])
            self._statistics.add(features)
            if self._sample is not None:
                self._sample.add(features)


class ClipSide:
    """Features of clips of 16 frames of a video, one after the other; a shorter rest is left out."""

    def __init__(self, features: ClipFeatures):
        self._features = features
        self._statistics: FeatureStatistics | None = None
        self._frames: list[Pictures] = []
        self._waiting: list[UInt8[np.ndarray, "16 height width 3"]] = []

    def update(self, frames: Frames) -> None:
        """The next frames of the video."""
        self._frames.append(frames.rgb)
        if sum(map(len, self._frames)) >= PIECE:
            joined = np.concatenate(self._frames)
            self._waiting.append(joined[:PIECE])
            self._frames = [joined[PIECE:]]
        if len(self._waiting) == _CLIPS_AT_ONCE:
            self._count()

    def end_video(self) -> None:
        """The next frame is another video's."""
        self._frames = []

    def statistics(self) -> FeatureStatistics | None:
        """Of all so far; None without any."""
        self._count()
        return self._statistics

    def _count(self) -> None:
        if self._waiting:
            features = self._features(np.stack(self._waiting))
            self._waiting = []
            self._statistics = self._statistics or FeatureStatistics(features.shape[1])
            self._statistics.add(features)


class ExpressionSide:
    """Blendshape coefficients of the frames that show a face."""

    def __init__(self):
        self._statistics: FeatureStatistics | None = None

    def update(self, frames: Frames) -> None:
        """The next frames."""
        if frames.shows_face.any():
            self._statistics = self._statistics or FeatureStatistics(frames.blendshapes.shape[1])
            self._statistics.add(frames.blendshapes[frames.shows_face])

    def end_video(self) -> None:
        """A frame belongs to no other."""

    def statistics(self) -> FeatureStatistics | None:
        """Of all so far; None without any."""
        return self._statistics


def _distance(real: FeatureStatistics | None, made: FeatureStatistics | None, of: str) -> Value:
    """The Fréchet distance; NaN with fewer than two samples on a side."""
    count = min(0 if side is None else side.count for side in (real, made))
    if count < 2:
        return Value(math.nan, count, of, (f"{count} {of}; wanted at least 2",))
    fewer = min((real, made), key=lambda side: side.count).warning
    warnings = () if fewer is None else (fewer,)
    return Value(frechet_distance(real, made), made.count, of, warnings, reference_count=real.count)


class FrechetMetric:
    """Fréchet distance between features of all generated and all reference frames, and KID of a sample of them.

    Args:
        names: what the distance is called, and `kid`: those of them that are wanted.
        view: frames it sees.
        features: of frames. prepare: makes of frames what the network sees.
        seed: of the samples and of KID's subsets.
    """

    def __init__(
        self,
        names: Sequence[str],
        view: str,
        features: FrameFeatures,
        *,
        prepare: Callable[[Pictures], Pictures] = lambda frames: frames,
        seed: int = 0,
    ):
        self.names, self.view = tuple(names), view
        self._features, self._prepare, self._seed = features, prepare, seed

    def side(self) -> FrameSide:
        """A side that has counted nothing."""
        sample = FeatureSample(_KID_KEPT, self._seed) if "kid" in self.names else None
        return FrameSide(self._features, self._prepare, sample)

    def results(self, real: FrameSide, made: FrameSide) -> dict[str, Value]:
        """The distances that are wanted."""
        sides = real.statistics(), made.statistics()
        out = {name: _distance(*sides, "frames") for name in self.names if name != "kid"}
        if "kid" in self.names:
            a, b = real.sample(), made.sample()
            count, value, spread = min(len(a), len(b)), math.nan, None
            if count > 1:
                size = min(_KID_SIZE, max(2, count // 2))
                value, spread = kid(a, b, subsets=_KID_SUBSETS, size=size, seed=self._seed)
            out["kid"] = Value(value, count, "frames", spread=spread)
        return out


class ClipMetric:
    """Fréchet distance between features of clips of 16 frames."""

    def __init__(self, name: str, view: str, features: ClipFeatures):
        self.names, self.view, self._features = (name,), view, features

    def side(self) -> ClipSide:
        """A side that has counted nothing."""
        return ClipSide(self._features)

    def results(self, real: ClipSide, made: ClipSide) -> dict[str, Value]:
        """The distance."""
        return {self.names[0]: _distance(real.statistics(), made.statistics(), "clips")}


class ExpressionMetric:
    """Fréchet distance between blendshape coefficients of the frames that show a face."""

    def __init__(self, name: str, view: str):
        self.names, self.view = (name,), view

    def side(self) -> ExpressionSide:
        """A side that has counted nothing."""
        return ExpressionSide()

    def results(self, real: ExpressionSide, made: ExpressionSide) -> dict[str, Value]:
        """The distance."""
        return {self.names[0]: _distance(real.statistics(), made.statistics(), "frames")}


# ------------------------------------------------------------------------------------------------- videos


class FrameMetric:
    """A value a frame, averaged over the frames of a video.

    Args:
        name: as in the recipe. view: frames it sees.
        compare: values of frames of one size, NaN where a frame has none.
    """

    def __init__(self, name: str, view: str, compare: Callable[[Frames, Frames], Float[np.ndarray, " frame"]]):
        self.name, self.view, self._compare = name, view, compare
        self._total, self._count = 0.0, 0

    def update(self, reference: Frames, generated: Frames) -> Float[np.ndarray, " frame"]:
        """The next frames; those that one side has more are left out."""
        count = min(len(reference), len(generated))
        values = self._compare(reference.first(count), generated.first(count))
        known = values[~np.isnan(values)]
        self._total, self._count = self._total + float(known.sum()), self._count + len(known)
        return values

    def end_pair(self) -> float:
        """The mean over frames; NaN without one."""
        value = self._total / self._count if self._count else math.nan
        self._total, self._count = 0.0, 0
        return value


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


class PublishedFrechet:
    """Fréchet distance between the features of one video's frames and its reference's."""

    def __init__(
        self,
        name: str,
        view: str,
        features: FrameFeatures,
        prepare: Callable[[Pictures], Pictures] = lambda frames: frames,
    ):
        self.name, self.view = name, view
        self._features, self._prepare = features, prepare
        self._value = math.nan

    def update(self, reference: Frames, generated: Frames) -> None:
        """The first 16 frames of both."""
        sides = []
        for frames in (reference, generated):
            sides.append(FrameSide(self._features, self._prepare, None))
            sides[-1].update(frames)
        self._value = _distance(*(side.statistics() for side in sides), "frames").value

    def end_pair(self) -> float:
        """The pair's distance; NaN where a side has a single frame."""
        value, self._value = self._value, math.nan
        return value


class PublishedClip:
    """Squared distance of the features of one clip a side.

    The published script adds 1e-6 to the variances twice over, which takes 2e-6 a feature off the squared distance.
    """

    def __init__(self, name: str, view: str, features: ClipFeatures):
        self.name, self.view, self._features = name, view, features
        self._value = math.nan

    def update(self, reference: Frames, generated: Frames) -> None:
        """The first 16 frames of both; missing ones are black."""
        clips = (np.pad(f.rgb, ((0, PIECE - len(f)), *((0, 0),) * 3))[None] for f in (reference, generated))
        real, made = (np.asarray(self._features(clip), np.float64)[0] for clip in clips)
        self._value = float(np.square(made - real).sum()) - 2e-6 * len(real)

    def end_pair(self) -> float:
        """The pair's distance."""
        value, self._value = self._value, math.nan
        return value


class AloneMetric:
    """One of VBench's scores of the generated video alone.

    Args:
        name: as in the recipe. view: frames it sees.
        make: a fresh score for a video of given frames per second.
    """

    def __init__(self, name: str, view: str, make: Callable[[float], Score]):
        self.name, self.view, self._make = name, view, make
        self._score: Score | None = None

    def update(self, generated: Frames) -> None:
        """The next frames."""
        if self._score is None:
            self._score = self._make(generated.fps)
        self._score.update(generated.rgb)

    def end_pair(self) -> float:
        """The video's score; NaN without a frame."""
        value = math.nan if self._score is None else self._score.result()
        self._score = None
        return value


def _sized(pictures: Pictures, like: Pictures) -> Pictures:
    size = like.shape[1:3]
    return pictures if pictures.shape[1:3] == size else np.stack([resize.plain(one, *size) for one in pictures])
