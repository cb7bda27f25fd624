"""`fingerprint extract`: many videos to track files, what to look at beside them, and what failed."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.markup import escape

from fingerprint import workdir
from fingerprint.app import console
from fingerprint.landmarks import avaprintdb, batch, extract, model_file, overlay, track

Path = pathlib.Path
_FAITHFUL = ".avaprintdb109.npy"


def run(
    paths: Sequence[Path],
    out: Path,
    *,
    landmark_model: Path | None,
    processes: int,
    overlays: bool,
    faithful: bool,
    max_frames: int,
    failure_budget: float,
    quiet: bool,
) -> dict[str, Any]:
    """Extract videos or trees of them into `out`; JSON-able summary.

    Raises:
        VideoRefused: a path that is not there. ModelFileMissing: no landmark model.
    """
    model = model_file.find(landmark_model)
    videos = batch.find_videos(paths)
    options = extract.ExtractionOptions(max_frames=max_frames, clock="index" if faithful else "container")
    with workdir.StopFlag().listening() as flag, console.progress(quiet) as on_progress:
        summary = batch.extract_all(
            videos,
            out,
            model_file=model,
            options=options,
            processes=processes,
            on_progress=on_progress,
            failure_budget=failure_budget,
            stopped=lambda: flag.is_set,
        )
        for entry in videos:
            where = track.track_path(out, entry.relative)
            if flag.is_set or not (overlays or faithful) or not where.exists():
                continue
            found = track.read(where)
            beside = where.with_name(where.name.removesuffix(track.SUFFIX))
            if faithful and found.tracks:
                _save(pathlib.Path(f"{beside}{_FAITHFUL}"), avaprintdb.faithful(found))
            if overlays:
                overlay.write_overlay(entry.path, found, pathlib.Path(f"{beside}{batch.OVERLAY_SUFFIX}"))
    return {
        "out": str(out),
        **dataclasses.asdict(summary),
        "stopped": flag.is_set or summary.stopped,
        "failures": batch.read_failures(out),
    }


def show(summary: dict[str, Any]) -> None:
    """For people."""
    rows = [
        ("videos", f"{summary['files']}: {summary['done']} extracted, {summary['skipped']} done before"),
        (
            "frames",
            f"{summary['extracted_frames']} in {summary['seconds']:.1f} s, {summary['frames_per_second']:.0f} a second",
        ),
        ("failed", f"{summary['failed']}"),
        ("no face", f"{summary['no_face']}"),
        ("failure to acquire", console.percent(summary["fta_rate"])),
        ("written to", escape(summary["out"])),
    ]
    console.facts("", rows)
    for failure in summary["failures"]:
        console.out.print(
            f"[yellow]{escape(failure['reason'])}[/] {escape(failure['file'])}: {escape(failure['detail'])}"
        )
    if summary["stopped"]:
        console.err.print("stopped; the same command goes on")
    elif summary["over_budget"]:
        console.err.print("[bold red]more videos failed than --failure-budget allows[/]")


def _save(path: Path, landmarks: np.ndarray) -> None:
    temporary = path.with_name(f".{path.name}.tmp.npy")
    np.save(temporary, landmarks, allow_pickle=False)
    temporary.replace(path)
