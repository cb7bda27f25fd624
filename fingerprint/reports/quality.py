"""A quality run written down: one page, the same as Markdown, a summary as JSON, and a row a video as CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from pathlib import Path
from typing import Any

from fingerprint.reports import markdown, page, quality_document, quality_figures, report, strict_json
from fingerprint.reports.quality_report import QualityReport

SCHEMA = "fingerprint-quality/1"
_COLUMNS = (
    "video",
    "generator",
    "reference",
    "driver",
    "target",
    "matched",
    "beside",
    "framing",
    "identity_reference",
    "frames",
    "reference_frames",
    "frames_beside",
    "covers",
    "pace",
    "parts",
    "reference_parts",
    "share_with_face",
    "reference_share_with_face",
)
_OWN = 0o600  # they show faces, or say whose they are


def write(found: QualityReport, directory: str | os.PathLike) -> dict[str, Path]:
    """Write quality.json, quality.md, quality.html, per_video.csv and figures/*.png for their owner alone to read.

    Each file appears whole or not at all; figures of an earlier run are removed.

    Returns:
        Path by part: "json", "markdown", "html", "csv", and every figure by its name.
    """
    directory = Path(directory)
    (directory / "figures").mkdir(parents=True, exist_ok=True)
    drawings = quality_figures.draw_all(found)
    content = quality_document.build(found, drawings)
    written = {
        drawing.name: report.replace_file(directory / "figures" / f"{drawing.name}.png", drawing.png, mode=_OWN)
        for drawing in drawings
        if drawing.png is not None
    }
    for old in (directory / "figures").glob("*.png"):
        if quality_figures.is_figure_name(old.stem) and old.stem not in written:
            old.unlink()
    files = {
        "json": ("quality.json", strict_json.dumps(as_dict(found), indent=2)),
        "markdown": ("quality.md", markdown.render(content)),
        "html": ("quality.html", page.render(content)),
        "csv": ("per_video.csv", per_video_csv(found)),
    }
    return written | {
        part: report.replace_file(directory / name, text, mode=_OWN) for part, (name, text) in files.items()
    }


def as_dict(found: QualityReport) -> dict[str, Any]:
    """The report without its pictures."""
    fields = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    shown = ("video", "generator", "seconds", "metric", "value")
    fields["worst"] = [{name: getattr(frame, name) for name in shown} for frame in found.worst]
    return {"schema": SCHEMA, **fields}


def per_video_csv(found: QualityReport) -> str:
    """A row a video: who, how it was matched, and its scores; empty cells where there is none."""
    text = io.StringIO()
    scores = [metric["name"] for metric in found.metrics if metric["per_video"] and metric["name"] not in found.skipped]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*_COLUMNS, *scores))
    for row in found.rows:
        plain = strict_json.plain(row)
        writer.writerow(["" if plain.get(name) is None else plain[name] for name in (*_COLUMNS, *scores)])
    return text.getvalue()
