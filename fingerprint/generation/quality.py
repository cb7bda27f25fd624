"""A quality run: pairs of videos, their faces, the metrics of a recipe, and what came of them by generator."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import importlib.metadata
import math
import pathlib
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from fingerprint import __version__
from fingerprint.errors import ConfigError, WeightsMissing
from fingerprint.generation import build, faces, recipes
from fingerprint.generation.build import Metrics
from fingerprint.generation.meter import GENERATED, REFERENCE, Clips, Clock, Meter
from fingerprint.generation.networks import dwpose
from fingerprint.generation.pairing import Pairing, find_pairs
from fingerprint.generation.recipes import Definition
from fingerprint.landmarks import batch
from fingerprint.reports.quality_report import QualityReport

_COVERS, _STRANGERS = 0.9, 0.3
"""Below these it is said that a video is cut short, and that two people may be shown (SFace: 0.07 for others, 0.74)."""


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
    published = request.mode == recipes.PUBLISHED
    clips = Clips(tracks, lost, detector, published=published, faces=request.faces)
    used = metrics.weights | ({} if request.dwpose is None else dwpose.provenance(request.dwpose))
    meter = Meter(metrics, pairing, definitions, clips, Clock(_to_do(pairing, metrics), on_measured), request.worst)
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


def _warnings(pairing: Pairing, request: Request, meter: Meter) -> Iterator[str]:
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


def _provenance(request: Request, clips: Clips, weights: dict[str, str], seconds: float) -> dict[str, Any]:
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
