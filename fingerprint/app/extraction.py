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
from fingerprint.errors import FingerprintError, VideoRefused
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
    for path in paths:
        if not path.exists():
            raise VideoRefused(path, "missing", "no such file or folder")
    if out.exists() and not out.is_dir():
        raise VideoRefused(out, "not_a_folder", "--out wants a folder, and this is a file")
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
        beside = []
        for entry in videos:
            where = track.track_path(out, entry.relative)
            if flag.is_set or not (overlays or faithful) or not where.exists():
                continue
            try:
                _write_beside(entry, where, overlays=overlays, faithful=faithful)
            except FingerprintError as error:  # the others are to be had
                beside.append({"file": entry.name, "reason": "not_drawn", "detail": str(error)})
    return {
        "out": str(out),
        **dataclasses.asdict(summary),
        "stopped": flag.is_set or summary.stopped,
        "failures": [*batch.read_failures(out), *beside],
    }


def _write_beside(entry: batch.VideoFile, where: Path, *, overlays: bool, faithful: bool) -> None:
    """What is wanted beside a track file and is not there or older."""
    stem = f"{where}".removesuffix(track.SUFFIX)
    landmarks, picture = Path(stem + _FAITHFUL), Path(stem + batch.OVERLAY_SUFFIX)
    wanted = [path for path, asked in ((landmarks, faithful), (picture, overlays)) if asked and _older(path, where)]
    if not wanted:
        return
    found = track.read(where)
    if landmarks in wanted and found.tracks:
        _save(landmarks, avaprintdb.faithful(found))
    if picture in wanted:
        overlay.write_overlay(entry.path, found, picture)


def _older(path: Path, other: Path) -> bool:
    return not path.exists() or path.stat().st_mtime_ns < other.stat().st_mtime_ns


def show(summary: dict[str, Any]) -> None:
    """For people."""
    rows = [
        ("videos", f"{summary['files']}: {summary['done']} extracted now, {summary['skipped']} were there already"),
        (
            "frames",
            f"{summary['extracted_frames']} in {summary['seconds']:.1f} s, {summary['frames_per_second']:.0f} a second",
        ),
        ("failed", f"{summary['failed']}" + (f", {summary['hidden']} hidden left out" if summary["hidden"] else "")),
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
