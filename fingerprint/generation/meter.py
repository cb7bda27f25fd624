"""Measuring pair after pair: videos opened, their frames given to the metrics, and what is to be told of them kept."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import heapq
import itertools
import logging
import math
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fingerprint.errors import ArrayRefused, FingerprintError, VideoRefused
from fingerprint.generation import faces, frames, resize
from fingerprint.generation.build import Metrics
from fingerprint.generation.frames import Clip, Frames
from fingerprint.generation.metrics import Side, Value
from fingerprint.generation.networks import dwpose
from fingerprint.generation.pairing import Pair, Pairing
from fingerprint.generation.recipes import Definition
from fingerprint.landmarks import batch, track, video
from fingerprint.landmarks.workers import VideoFile
from fingerprint.reports.quality_report import FramePair

REFERENCE, GENERATED = "reference", "generated"
_SHOWN_FOR = ("ssim", "psnr", "lpips", "csim")
"""What the worst frames are chosen by: the first of these that is measured."""
_SHOWN_HEIGHT = 192
_NO_TRACK = "no_track"
_OF_TRACKS = ("extractor", "decoder", "model_sha256", "mode", "clock")
_log = logging.getLogger(__name__)


class Clock:
    """Tells how far the measuring is, every few frames."""

    def __init__(self, videos: int, tell: Callable[[batch.Progress], None] | None):
        self._videos, self._tell = videos, tell
        self._began = time.perf_counter()
        self._done = self._failed = self._frames = 0

    def frames(self, count: int) -> None:
        """So many more frames are measured."""
        self._frames += count
        self._say()

    def video(self, *, failed: int) -> None:
        """One more video is done; so many of all failed."""
        self._done, self._failed = self._done + 1, failed
        self._say()

    def _say(self) -> None:
        if self._tell is None:
            return
        seconds = max(time.perf_counter() - self._began, 1e-9)
        measured = self._done - self._failed
        left = seconds / measured * (self._videos - self._done) if measured else None
        rate = self._frames / seconds
        self._tell(batch.Progress(self._videos, self._done, self._failed, self._frames, rate, left))


class Clips:
    """Opens videos with their tracks, writes their faces if asked, and gives their frames as the recipe sees them.

    Args:
        tracks: folder of tracks, with one below it for either side.
        lost: why some videos have no track.
        detector: DWPose, which the published recipe may cut by.
        published: frames as that recipe has them.
        faces: folder to write each video's face to; None: they are not written.
    """

    def __init__(
        self,
        tracks: pathlib.Path,
        lost: Mapping[pathlib.Path, str],
        detector: dwpose.DwPose | None,
        *,
        published: bool,
        faces: pathlib.Path | None,
    ):
        self._tracks, self._lost, self._detector, self._faces = tracks, lost, detector, faces
        self._written: set[pathlib.Path] = set()
        self.published = published
        self.told: dict[str, Any] = {}

    def open(self, entry: VideoFile, side: str) -> Clip:
        """A video; its share of frames with a face is logged.

        Raises:
            VideoRefused, ArrayRefused: it cannot be used.
        """
        path = track.track_path(self._tracks / side, entry.relative)
        need_face = self._detector is None and not (self.published and frames.is_face_video(entry))
        if entry.path in self._lost and (need_face or not path.exists()):
            raise VideoRefused(entry.path, _NO_TRACK, f"{side} {entry.name}: {self._lost[entry.path]}")
        clip = frames.open_clip(entry, path, need_face=need_face)
        self.told.setdefault("landmarks", {k: v for k, v in clip.tracks.provenance.items() if k in _OF_TRACKS})
        if clip.region is not None:
            faces.log_share(entry.name, clip.region.share_with_face)
        return clip

    def face(self, clip: Clip, side: str) -> tuple[Callable[[], Iterator[Frames]], float]:
        """What makes the frames of the video's face as the recipe sees it, and the share of frames that show it."""
        if self.published:
            crops = frames.published_crops(clip, self._detector)
            share, shown = crops.share_with_face, functools.partial(frames.of_published, clip, crops)
        else:
            share, shown = clip.region.share_with_face, functools.partial(frames.of_one, clip, "face")
        if self._faces is not None:
            out = (self._faces / side / clip.file.relative).with_suffix(".mp4")
            if out not in self._written:
                self._written.add(out)
                out.parent.mkdir(parents=True, exist_ok=True)
                video.write_video(out, (picture for piece in shown() for picture in piece.rgb), clip.info.fps)
        return shown, share


class Meter:
    """Measures pairs and keeps what is to be told of them: a row each, and the worst frames of all."""

    def __init__(
        self,
        metrics: Metrics,
        pairing: Pairing,
        definitions: Sequence[Definition],
        clips: Clips,
        clock: Clock,
        worst: int,
    ):
        self._metrics, self._pairing, self._clips, self._clock, self._worst = metrics, pairing, clips, clock, worst
        self._definitions = {definition.name: definition for definition in definitions}
        self._names = [metric.name for metric in (*metrics.pairs, *metrics.alone)]
        self._shown_for = next((name for name in _SHOWN_FOR if name in self._names), None)
        self._heap: list[tuple[float, int, FramePair]] = []
        self._noted: tuple[float, FramePair] | None = None
        self._number = itertools.count()
        self._real: tuple[frozenset[pathlib.Path], list[Side]] = frozenset(), []
        self.rows: list[dict[str, Any]] = []
        self.failures: list[dict[str, str]] = []

    def measure_all(self, generator: str) -> dict[str, dict[str, Any]]:
        """All of a generator's videos; its values by metric."""
        pairs = [pair for pair in self._pairing.pairs if pair.generator == generator]
        sides = [metric.side() for metric in self._metrics.sets]
        done = len(self.rows)
        for pair in pairs:
            self._measure(pair, sides)
            self._clock.video(failed=len(self.failures))
        rows = self.rows[done:]
        values = {name: _mean([row[name] for row in rows]) for name in self._names}
        if self._metrics.sets:
            for metric, real, made in zip(self._metrics.sets, self._references(pairs), sides, strict=True):
                values |= metric.results(real, made)
        return {name: dataclasses.asdict(values[name]) for name in self._definitions if name in values}

    def worst(self) -> list[FramePair]:
        """The worst frames, at most one a video, the worst first."""
        return [shown for _, _, shown in sorted(self._heap, key=lambda entry: -entry[0])]

    def _references(self, pairs: Sequence[Pair]) -> list[Side]:
        """The references' side of the distances between sets, counted anew only where they are others."""
        files = {pair.reference_file.path: pair.reference_file for pair in pairs}
        if self._real[0] != frozenset(files):
            sides = [metric.side() for metric in self._metrics.sets]
            self._real = frozenset(files), sides
            for entry in files.values():
                with contextlib.suppress(VideoRefused, ArrayRefused):  # told with its pairs
                    self._count(self._clips.open(entry, REFERENCE), REFERENCE, sides)
                self._clock.video(failed=len(self.failures))
        return self._real[1]

    def _count(self, clip: Clip, side: str, sides: Sequence[Side]) -> None:
        """One video's frames to one side of the distances between sets."""
        for view in dict.fromkeys(metric.view for metric in self._metrics.sets):
            seeing = [s for s, metric in zip(sides, self._metrics.sets, strict=True) if metric.view == view]
            shown = self._clips.face(clip, side)[0] if view == "face" else functools.partial(frames.of_one, clip, view)
            try:
                for piece in shown():
                    for one in seeing:
                        one.update(piece)
                    self._clock.frames(len(piece))
            finally:
                for one in seeing:
                    one.end_video()

    def _measure(self, pair: Pair, sides: Sequence[Side]) -> None:
        """One pair; one that cannot be measured is told instead."""
        self._noted = None
        try:
            reference = self._clips.open(pair.reference_file, REFERENCE)
            generated = self._clips.open(pair.generated_file, GENERATED)
            row = (
                self._published(pair, reference, generated)
                if self._clips.published
                else self._standard(pair, reference, generated)
            )
            self._count(generated, GENERATED, sides)
        except Exception as error:  # one video must not cost the others
            if not isinstance(error, FingerprintError):
                _log.exception("%s cannot be measured", pair.name)
            self.failures.append({"video": pair.name, "generator": pair.generator, "reason": _reason(error)})
            self._scores()
        else:
            self.rows.append(row)
            self._keep()

    def _standard(self, pair: Pair, reference: Clip, generated: Clip) -> dict[str, Any]:
        together = frames.beside(reference, generated)
        person = self._person(pair, reference)
        views = {metric.view for metric in self._metrics.pairs}
        count = len(together.numbers)
        if not count and "region" in views:
            raise VideoRefused(
                generated.file.path, "no_moment", "the two videos have no moment in common in which faces are followed"
            )
        if "region" in views:
            self._compare(pair, "region", frames.of_two(reference, generated, together, "region"))
        if "identity" in views and person is not None:
            same = together if person is reference else frames.from_the_start(person, generated)
            self._compare(pair, "identity", frames.of_two(person, generated, same, "identity"))
        if self._metrics.alone:
            self._alone(frames.of_one(generated, "alone"))
        faces_of = {
            side: self._clips.face(clip, side) for side, clip in ((REFERENCE, reference), (GENERATED, generated))
        }
        return {
            **self._who(pair),
            "beside": together.by,
            "covers": len(set(together.numbers[:, 0].tolist())) / reference.num_frames,
            "pace": _pace(reference, generated),
            "framing": "reference" if frames.framed_alike(reference, generated) else "own",
            "identity_reference": person.file.name if person is not None else "",
            "frames": generated.num_frames,
            "reference_frames": reference.num_frames,
            "frames_beside": count,
            "parts": len(generated.tracks.tracks),
            "reference_parts": len(reference.tracks.tracks),
            "share_with_face": faces_of[GENERATED][1],
            "reference_share_with_face": faces_of[REFERENCE][1],
            **self._scores(),
        }

    def _published(self, pair: Pair, reference: Clip, generated: Clip) -> dict[str, Any]:
        (real, real_share), (made, made_share) = (
            self._clips.face(clip, side) for side, clip in ((REFERENCE, reference), (GENERATED, generated))
        )
        first = list(zip(*(itertools.islice(shown(), 1) for shown in (real, made)), strict=True))
        self._compare(pair, "first16", first)
        if self._metrics.alone:
            self._alone(made())
        return {
            **self._who(pair),
            "beside": "start",
            "covers": min(1.0, frames.PIECE / reference.num_frames),
            "pace": _pace(reference, generated),
            "framing": "own",
            "identity_reference": "",
            "frames": generated.num_frames,
            "reference_frames": reference.num_frames,
            "frames_beside": min(len(side) for side in first[0]),
            "parts": len(generated.tracks.tracks),
            "reference_parts": len(reference.tracks.tracks),
            "share_with_face": made_share,
            "reference_share_with_face": real_share,
            **self._scores(),
        }

    def _person(self, pair: Pair, reference: Clip) -> Clip | None:
        """A recording of the person whom the generated video is to show: the reference, unless that is another one."""
        entry = self._pairing.shown_person(pair)
        if entry == pair.reference_file:
            return reference
        with contextlib.suppress(VideoRefused, ArrayRefused):  # told with its own pairs
            return None if entry is None else self._clips.open(entry, REFERENCE)
        return None

    def _compare(self, pair: Pair, view: str, pieces: Iterable[tuple[Frames, Frames]]) -> None:
        for real, made in pieces:
            for metric in self._metrics.pairs:
                if metric.view == view:
                    found = metric.update(real, made)
                    if metric.name == self._shown_for:
                        self._note_worst(pair, found, (real, made))
            self._clock.frames(len(made))

    def _alone(self, pieces: Iterable[Frames]) -> None:
        for made in pieces:
            for metric in self._metrics.alone:
                metric.update(made)
            self._clock.frames(len(made))

    def _scores(self) -> dict[str, float]:
        return {metric.name: metric.end_pair() for metric in (*self._metrics.pairs, *self._metrics.alone)}

    def _who(self, pair: Pair) -> dict[str, Any]:
        return {
            "video": pair.name,
            "generator": pair.generator,
            "reference": pair.reference_file.name,
            "driver": pair.driver,
            "target": pair.target,
            "matched": pair.rule,
        }

    def _note_worst(self, pair: Pair, values, sides: tuple[Frames, Frames]) -> None:
        """Note the worst frame of the pair under way."""
        if values is None or not np.isfinite(values).any():
            return
        definition = self._definitions[self._shown_for]
        sign = -1 if definition.better == "lower" else 1
        at = int(np.nanargmin(sign * values))
        if self._noted is None or sign * values[at] < self._noted[0]:
            pictures = (_small(side.rgb[at]) for side in sides)
            seconds, value = float(sides[1].seconds[at]), float(values[at])
            shown = FramePair(pair.name, pair.generator, seconds, definition.title, value, *pictures)
            self._noted = sign * value, shown

    def _keep(self) -> None:
        """Of a pair that is measured, keep the worst frame, if it is among the worst of all."""
        if self._noted is None or not self._worst:
            return
        goodness, shown = self._noted
        heapq.heappush(self._heap, (-goodness, next(self._number), shown))
        if len(self._heap) > self._worst:
            heapq.heappop(self._heap)


def _pace(reference: Clip, generated: Clip) -> float:
    """How fast the generated video is shown, in its reference's frames; 1 for rates that differ by 1 % or less."""
    pace = generated.info.fps / reference.info.fps
    return 1.0 if abs(pace - 1) <= 0.01 else round(pace, 4)


def _mean(values: Sequence[float]) -> Value:
    """Over the videos that have a value."""
    known = [value for value in values if not math.isnan(value)]
    lost = len(values) - len(known)
    warnings = (f"{lost} videos have no value",) if lost else ()
    return Value(math.fsum(known) / len(known) if known else math.nan, len(known), "videos", warnings)


def _reason(error: Exception) -> str:
    if isinstance(error, VideoRefused) and error.reason == _NO_TRACK:
        return error.detail
    return str(error) if isinstance(error, FingerprintError) else f"{type(error).__name__}: {error}"


def _small(picture: np.ndarray) -> np.ndarray:
    """A picture to be shown, a copy."""
    height, width = picture.shape[:2]
    return resize.whole(picture, _SHOWN_HEIGHT, round(width * _SHOWN_HEIGHT / height)).copy()
