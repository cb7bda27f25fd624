"""A quality run: pairs of videos, their faces, the metrics of a recipe, and what came of them by generator."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import heapq
import itertools
import math
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fingerprint import __version__
from fingerprint.errors import ArrayRefused, VideoRefused, WeightsMissing
from fingerprint.generation import build, faces, frames, recipes, resize
from fingerprint.generation.frames import Clip
from fingerprint.generation.metrics import Metric
from fingerprint.generation.networks import dwpose
from fingerprint.generation.pairing import Pair, Pairing, find_pairs
from fingerprint.generation.recipes import Definition
from fingerprint.landmarks import batch, track
from fingerprint.landmarks.workers import VideoFile
from fingerprint.reports.quality_report import FramePair, QualityReport

_SHOWN_FOR = ("ssim", "psnr", "csim")
"""What the worst frames are chosen by: the first of these that is measured."""
_SHOWN_HEIGHT = 192
REFERENCE, GENERATED = "reference", "generated"


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


def run(
    request: Request,
    tracks: pathlib.Path,
    *,
    on_extracted: Callable[[batch.Progress], None] | None = None,
    on_measured: Callable[[batch.Progress], None] | None = None,
    make: Callable[..., tuple[list[build.Make], dict[str, str]]] = build.build_metrics,
) -> tuple[QualityReport, Pairing]:
    """Measure; the report is without identity leakage, which others add.

    Args:
        request: what to measure.
        tracks: folder for the track files of both sides; those that are there are taken.
        on_extracted: told how far the search for faces is.
        on_measured: told how far the measuring is; its videos are pairs, its frames those of either side together.
        make: makes the metrics, as `build.build_metrics`.

    Raises:
        UnknownName: no such recipe or metric. DatasetError, VideoRefused: as `pairing.find_pairs`.
        ModelFileMissing: no landmark model.
        WeightsMissing, LibraryMissing: DWPose was asked for and cannot be had, or no metric that was asked for can.
    """
    began = time.perf_counter()
    definitions = recipes.recipe(request.mode, request.metrics)
    pairing = find_pairs(request.reference, request.generated)
    makes, skipped = make(definitions, request.mode, request.weights, request.seed)
    if not makes:
        raise WeightsMissing("nothing can be measured: " + "; ".join(dict.fromkeys(skipped.values())))
    detector = dwpose.load(request.dwpose) if request.dwpose is not None else None
    lost = _extract(pairing, tracks, request, on_extracted)
    meter = _Meter(request, tracks, definitions, detector, lost)
    values: dict[str, dict[str, dict[str, Any]]] = {}
    clock = _Clock(len(pairing.pairs), on_measured)
    for generator in pairing.generators:
        counting = [one() for one in makes]
        for pair in pairing.pairs:
            if pair.generator == generator:
                meter.measure(pair, counting, clock.frames)
                clock.pair(failed=len(meter.failures))
        values[generator] = {
            name: dataclasses.asdict(value) for metric in counting for name, value in metric.results().items()
        }
    report = QualityReport(
        mode=request.mode,
        metrics=[_about(definition) for definition in definitions],
        values=values,
        rows=meter.rows,
        skipped=skipped,
        unmatched=[dataclasses.asdict(lost) for lost in pairing.unmatched],
        failures=meter.failures,
        leakage={},
        leakage_model={},
        worst=meter.worst(),
        warnings=list(_warnings(pairing, request, meter)),
        provenance=_provenance(request, meter, time.perf_counter() - began),
    )
    return report, pairing


class _Clock:
    """Tells how far the measuring is, every few frames."""

    def __init__(self, pairs: int, tell: Callable[[batch.Progress], None] | None):
        self._pairs, self._tell = pairs, tell
        self._began = time.perf_counter()
        self._done = self._failed = self._frames = 0

    def frames(self, count: int) -> None:
        """So many more frames are measured."""
        self._frames += count
        self._say()

    def pair(self, *, failed: int) -> None:
        """One more pair is done; so many of all failed."""
        self._done, self._failed = self._done + 1, failed
        self._say()

    def _say(self) -> None:
        if self._tell is None:
            return
        seconds = max(time.perf_counter() - self._began, 1e-9)
        measured = self._done - self._failed
        left = seconds / measured * (self._pairs - self._done) if measured else None
        rate = self._frames / seconds
        self._tell(batch.Progress(self._pairs, self._done, self._failed, self._frames, rate, left))


class _Meter:
    """Measures pairs and keeps what is to be told of them: a row each, and the worst frames of all."""

    def __init__(
        self,
        request: Request,
        tracks: pathlib.Path,
        definitions: Sequence[Definition],
        detector: dwpose.DwPose | None,
        lost: dict[pathlib.Path, str],
    ):
        self._request, self._tracks, self._detector, self._lost = request, tracks, detector, lost
        self._titles = {definition.name: definition.title for definition in definitions}
        self._heap: list[tuple[float, int, FramePair]] = []
        self._number = itertools.count()
        self.rows: list[dict[str, Any]] = []
        self.failures: list[dict[str, str]] = []
        self.told: dict[str, Any] = {}

    def measure(self, pair: Pair, counting: Sequence[Metric], on_frames: Callable[[int], None]) -> None:
        """Feed one pair to the metrics; a pair that cannot be read is told instead."""
        reasons = [self._lost[path] for path in (pair.reference, pair.generated) if path in self._lost]
        if reasons:
            self._fail(pair, reasons[0])
            return
        try:
            reference = self._open(pair.reference_file, REFERENCE)
            generated = self._open(pair.generated_file, GENERATED)
        except (VideoRefused, ArrayRefused) as refusal:
            self._fail(pair, str(refusal))
            return
        shown_for = next((n for n in _SHOWN_FOR if any(n in metric.names for metric in counting)), None)
        worst: FramePair | None = None
        count = 0
        try:
            for piece in self._pieces(reference, generated, {metric.region for metric in counting}):
                number = max(len(made) for _, made in piece.values())
                count += number
                for metric in counting:
                    if metric.region in piece:
                        found = metric.update(*piece[metric.region]) or {}
                        worst = self._worse(worst, pair, found.get(shown_for), shown_for, piece[metric.region])
                on_frames(number)
        except VideoRefused as refusal:
            if count:  # what is counted cannot be taken back
                raise
            self._fail(pair, str(refusal))
            return
        scores = {name: value for metric in counting for name, value in metric.end_pair().items()}
        if not count:
            self._fail(pair, "the two videos have no moment in common in which their faces are followed")
            return
        self._keep(worst)
        self.rows.append(self._row(pair, reference, generated, count, scores))

    def worst(self) -> list[FramePair]:
        """The worst frames, at most one a video, the worst first."""
        return [shown for _, _, shown in sorted(self._heap, key=lambda entry: -entry[0])]

    def _open(self, entry: VideoFile, side: str) -> Clip:
        clip = frames.open_clip(entry, track.track_path(self._tracks / side, entry.relative))
        self.told.setdefault("landmarks", {k: v for k, v in clip.track.provenance.items() if k in _OF_TRACKS})
        faces.log_share(entry.name, clip.region.share_with_face)
        if self._request.faces is not None:
            out = (self._request.faces / side / entry.relative).with_suffix(".mp4")
            if not out.exists():
                out.parent.mkdir(parents=True, exist_ok=True)
                faces.write_region(entry.path, clip.region, out, root=entry.root)
        return clip

    def _pieces(self, reference: Clip, generated: Clip, regions: set[str]) -> Iterator[frames.Piece]:
        if self._request.mode == recipes.STANDARD:
            return frames.standard_pieces(reference, generated, regions)
        return frames.published_pieces(reference, generated, regions, self._detector)

    def _row(
        self, pair: Pair, reference: Clip, generated: Clip, count: int, scores: dict[str, float]
    ) -> dict[str, Any]:
        return {
            "video": pair.name,
            "generator": pair.generator,
            "reference": pair.reference_file.name,
            "driver": pair.driver,
            "target": pair.target,
            "matched": pair.rule,
            "beside": frames.beside(reference, generated)[1] if self._request.mode == recipes.STANDARD else "start",
            "frames": count,
            "share_with_face": generated.region.share_with_face,
            "reference_share_with_face": reference.region.share_with_face,
            **scores,
        }

    def _worse(self, worst, pair: Pair, values, name: str | None, sides) -> FramePair | None:
        if values is None or not np.isfinite(values).any():
            return worst
        at = int(np.nanargmin(values))
        if worst is not None and worst.value <= values[at]:
            return worst
        real, made = sides
        pictures = (_small(side.rgb[at]) for side in (real, made))
        return FramePair(
            pair.name, pair.generator, float(made.seconds[at]), self._titles[name], float(values[at]), *pictures
        )

    def _keep(self, worst: FramePair | None) -> None:
        if worst is None or not self._request.worst:
            return
        heapq.heappush(self._heap, (-worst.value, next(self._number), worst))
        if len(self._heap) > self._request.worst:
            heapq.heappop(self._heap)

    def _fail(self, pair: Pair, reason: str) -> None:
        self.failures.append({"video": pair.name, "generator": pair.generator, "reason": reason})


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
    return {**dataclasses.asdict(definition), "frames": recipes.REGIONS[definition.region]}


def _warnings(pairing: Pairing, request: Request, meter: _Meter) -> Iterator[str]:
    same = [pair.name for pair in pairing.pairs if pair.same_bytes]
    if same:
        yield f"{len(same)} generated videos are byte for byte their reference, e.g. {same[0]}"
    low = [row["video"] for row in meter.rows if row["share_with_face"] < faces.LOW_SHARE]
    if low:
        yield f"in {len(low)} generated videos fewer than 20 % of the frames show a face, e.g. {low[0]}"
    by_time = sum(row["beside"] == "time" for row in meter.rows)
    if by_time:
        yield (
            f"{by_time} generated videos have more or fewer frames than their reference: frames were put beside each "
            "other by time"
        )
    if request.mode == recipes.PUBLISHED and request.dwpose is None:
        yield "faces were cut by MediaPipe's points; the published benchmark cuts them by DWPose's"
    people = collections.Counter(bool(row["driver"] and row["target"] not in ("", row["driver"])) for row in meter.rows)
    if people[True]:
        yield (
            f"{people[True]} generated videos show another person than their driver: PSNR, SSIM and CSIM against the "
            "driver's video then say how much two people differ"
        )


def _provenance(request: Request, meter: _Meter, seconds: float) -> dict[str, Any]:
    return {
        "fingerprint": __version__,
        "reference": str(request.reference),
        "generated": str(request.generated),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1) if math.isfinite(seconds) else None,
        **meter.told,
    }
