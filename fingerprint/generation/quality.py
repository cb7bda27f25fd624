"""A quality run: pairs of videos, their faces, the metrics of a recipe, and what came of them by generator."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import heapq
import importlib.metadata
import itertools
import logging
import math
import pathlib
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fingerprint import __version__
from fingerprint.errors import ArrayRefused, ConfigError, FingerprintError, VideoRefused, WeightsMissing
from fingerprint.generation import build, faces, frames, recipes, resize
from fingerprint.generation.build import Metrics
from fingerprint.generation.frames import Clip, Frames
from fingerprint.generation.metrics import Side, Value
from fingerprint.generation.networks import dwpose
from fingerprint.generation.pairing import Pair, Pairing, find_pairs
from fingerprint.generation.recipes import Definition
from fingerprint.landmarks import batch, track, video
from fingerprint.landmarks.workers import VideoFile
from fingerprint.reports.quality_report import FramePair, QualityReport

_SHOWN_FOR = ("ssim", "psnr", "lpips", "csim")
"""What the worst frames are chosen by: the first of these that is measured."""
_SHOWN_HEIGHT = 192
REFERENCE, GENERATED = "reference", "generated"
_NO_TRACK = "no_track"
_COVERS, _STRANGERS = 0.9, 0.3
"""Below these it is said that a video is cut short, and that two people may be shown (SFace: 0.07 for others, 0.74)."""
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Request:
    """What is to be measured, and how.

    Attributes:
        reference, generated: folders of videos.
        mode: recipe. metrics: `all`, or names.
        weights: folder of the networks' weights; None: where they are kept.
        landmark_model: MediaPipe's; None: where it is kept.
        dwpose: folder of DWPose's networks, for the recipe `published`; None cuts faces by MediaPipe's points.
        faces: folder to write each video's face to, as a video; None: they are not written.
        processes: videos whose faces are looked for at the same time.
        worst: frames to show.
        seed: of KID's sample.
        people: driver and target of generated videos, by their resolved path, where names do not say.
    """

    reference: pathlib.Path
    generated: pathlib.Path
    mode: str = recipes.STANDARD
    metrics: str | Sequence[str] = recipes.ALL
    weights: pathlib.Path | None = None
    landmark_model: pathlib.Path | None = None
    dwpose: pathlib.Path | None = None
    faces: pathlib.Path | None = None
    processes: int = 1
    worst: int = 12
    seed: int = 0
    people: Mapping[pathlib.Path, tuple[str, str]] = dataclasses.field(default_factory=dict)


def run(
    request: Request,
    tracks: pathlib.Path,
    *,
    on_extracted: Callable[[batch.Progress], None] | None = None,
    on_measured: Callable[[batch.Progress], None] | None = None,
    make: Callable[..., Metrics] = build.build_metrics,
) -> tuple[QualityReport, Pairing]:
    """Measure; the report is without identity leakage, which others add.

    Args:
        request: what to measure.
        tracks: folder for the track files of both sides; those that are there are taken.
        on_extracted: told how far the search for faces is.
        on_measured: told how far the measuring is; its videos are generated ones and the
            references of distances between sets, its frames all that were looked at.
        make: makes the metrics, as `build.build_metrics`.

    Raises:
        UnknownName: no such recipe or metric. DatasetError, VideoRefused: as `pairing.find_pairs`.
        ConfigError: DWPose was asked for in another recipe than `published`.
        ModelFileMissing: no landmark model.
        WeightsMissing, LibraryMissing: DWPose was asked for and cannot be had, or no metric that was asked for can.
    """
    began = time.perf_counter()
    definitions = recipes.recipe(request.mode, request.metrics)
    if request.dwpose is not None and request.mode != recipes.PUBLISHED:
        raise ConfigError(f"DWPose cuts faces in the recipe {recipes.PUBLISHED} only; asked for was {request.mode}")
    pairing = find_pairs(request.reference, request.generated).labelled(request.people)
    metrics = make(definitions, request.mode, request.weights, request.seed)
    if not metrics:
        raise WeightsMissing("nothing can be measured: " + "; ".join(dict.fromkeys(metrics.skipped.values())))
    detector = dwpose.load(request.dwpose) if request.dwpose is not None else None
    lost = _extract(pairing, tracks, request, on_extracted)
    clips = _Clips(request, tracks, detector, lost)
    used = metrics.weights | ({} if request.dwpose is None else dwpose.provenance(request.dwpose))
    meter = _Meter(metrics, pairing, definitions, clips, _Clock(_to_do(pairing, metrics), on_measured), request.worst)
    values = {generator: meter.measure_all(generator) for generator in pairing.generators}
    report = QualityReport(
        mode=request.mode,
        metrics=[_about(definition) for definition in definitions],
        values=values,
        rows=meter.rows,
        skipped=metrics.skipped,
        unmatched=[dataclasses.asdict(lost) for lost in pairing.unmatched],
        failures=meter.failures,
        leakage={},
        leakage_model={},
        worst=meter.worst(),
        warnings=[*_warnings(pairing, request, meter), *metrics.warnings],
        provenance=_provenance(request, clips, used, time.perf_counter() - began),
    )
    return report, pairing


def _to_do(pairing: Pairing, metrics: Metrics) -> int:
    """Videos to look at: all generated ones and, for distances between sets, each set of references in turn."""
    count, before = len(pairing.pairs), None
    for generator in pairing.generators if metrics.sets else ():
        files = frozenset(pair.reference_file.path for pair in pairing.pairs if pair.generator == generator)
        count, before = count + (len(files) if files != before else 0), files
    return count


class _Clock:
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


class _Clips:
    """Opens videos with their tracks, writes their faces if asked, and gives their frames as the recipe sees them."""

    def __init__(
        self,
        request: Request,
        tracks: pathlib.Path,
        detector: dwpose.DwPose | None,
        lost: dict[pathlib.Path, str],
    ):
        self._request, self._tracks, self._detector, self._lost = request, tracks, detector, lost
        self._written: set[pathlib.Path] = set()
        self.published = request.mode == recipes.PUBLISHED
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
        if self._request.faces is not None:
            out = (self._request.faces / side / clip.file.relative).with_suffix(".mp4")
            if out not in self._written:
                self._written.add(out)
                out.parent.mkdir(parents=True, exist_ok=True)
                video.write_video(out, (picture for piece in shown() for picture in piece.rgb), clip.info.fps)
        return shown, share


class _Meter:
    """Measures pairs and keeps what is to be told of them: a row each, and the worst frames of all."""

    def __init__(
        self,
        metrics: Metrics,
        pairing: Pairing,
        definitions: Sequence[Definition],
        clips: _Clips,
        clock: _Clock,
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


_OF_TRACKS = ("extractor", "decoder", "model_sha256", "mode", "clock")


def _extract(pairing: Pairing, tracks: pathlib.Path, request: Request, on_extracted) -> dict[pathlib.Path, str]:
    """Tracks of all videos that have a partner; returns why some have none."""
    lost: dict[pathlib.Path, str] = {}
    for side in (REFERENCE, GENERATED):
        entries = list(dict.fromkeys(getattr(pair, f"{side}_file") for pair in pairing.pairs))
        if side == REFERENCE:
            shown = (pairing.shown_person(pair) for pair in pairing.pairs)
            entries = list(dict.fromkeys([*entries, *(entry for entry in shown if entry is not None)]))
        out = tracks / side
        out.mkdir(parents=True, exist_ok=True)
        batch.extract_all(
            entries,
            out,
            model_file=request.landmark_model,
            processes=min(request.processes, len(entries)),
            on_progress=on_extracted,
            failure_budget=1.0,
        )
        told = {row["file"]: f"{row['detail']} [{row['reason']}]" for row in batch.read_failures(out)}
        lost |= {entry.path: told[entry.name] for entry in entries if entry.name in told}
    return lost


def _about(definition: Definition) -> dict[str, Any]:
    return {**dataclasses.asdict(definition), "frames": recipes.VIEWS[definition.view]}


def _warnings(pairing: Pairing, request: Request, meter: _Meter) -> Iterator[str]:
    def example(rows: list[dict[str, Any]]) -> str:
        return f"{len(rows)} of {len(pairing.pairs)} generated videos, e.g. {rows[0]['video']}"

    if meter.failures:
        yield f"from {example(meter.failures)}, no score came: why stands under what is left out"
    if same := [pair.name for pair in pairing.pairs if pair.same_bytes]:
        yield f"{len(same)} of {len(pairing.pairs)} generated videos, e.g. {same[0]}, are byte for byte their reference"

    if low := [row for row in meter.rows if row["share_with_face"] < faces.LOW_SHARE]:
        yield f"in {example(low)}, fewer than 20 % of the frames show a face"
    if low := [row for row in meter.rows if row["reference_share_with_face"] < faces.LOW_SHARE]:
        yield f"in the references of {example(low)}, fewer than 20 % of the frames show a face"
    if by_time := [row for row in meter.rows if row["beside"] == "time"]:
        yield (
            f"{example(by_time)}, have more or fewer frames than their reference: frames were put beside each other by "
            "time"
        )
    if request.mode == recipes.PUBLISHED:
        if request.dwpose is None:
            yield "faces were cut by MediaPipe's points; the published benchmark cuts them by DWPose's"
        return
    if broken := [row for row in meter.rows if row["parts"] > 1]:
        yield f"in {example(broken)}, another face is followed from some frame on: all parts are measured"
    if broken := [row for row in meter.rows if row["reference_parts"] > 1]:
        yield f"in the references of {example(broken)}, another face is followed from some frame on"
    if short := [row for row in meter.rows if row["beside"] == "time" and row["covers"] < _COVERS]:
        yield f"{example(short)}, cover less than {_COVERS:.0%} of their reference's time: only that much is compared"
    if slower := [row for row in meter.rows if row["beside"] == "position" and row["pace"] != 1]:
        yield f"{example(slower)}, have as many frames as their reference at another rate: they play at another pace"
    if strangers := [
        row for row in meter.rows if row["target"] in ("", row["driver"]) and row.get("csim", 1) < _STRANGERS
    ]:
        yield (
            f"{example(strangers)}, have a CSIM below {_STRANGERS}: as two different people have. If another person "
            "than the driver is shown, PSNR, SSIM, LPIPS and FID say little; --drivers tells who is"
        )
    if own := [row for row in meter.rows if row["framing"] == "own"]:
        yield (
            f"{example(own)}, have pictures of another shape than their reference: pixels were compared between each "
            "video's own face square, so that a displaced face costs nothing"
        )
    if others := [row for row in meter.rows if row["target"] not in ("", row["driver"])]:
        yield (
            f"{example(others)}, show another person than their driver: PSNR, SSIM and LPIPS then say how much two "
            "people differ; CSIM is taken against a recording of the person shown, where there is one"
        )


def _provenance(request: Request, clips: _Clips, weights: dict[str, str], seconds: float) -> dict[str, Any]:
    return {
        "fingerprint": __version__,
        "reference": str(request.reference),
        "generated": str(request.generated),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1) if math.isfinite(seconds) else None,
        "seed": request.seed,
        "weights": weights,
        "faces": "MediaPipe" if request.dwpose is None else "DWPose",
        "versions": _versions(),
        **clips.told,
    }


def _versions() -> dict[str, str]:
    """Of what computes, as far as it is installed."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in ("jax", "jaxlib", "numpy", "onnxruntime"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
