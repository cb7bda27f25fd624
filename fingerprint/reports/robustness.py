"""Writes a report on robustness down: for programs, for spreadsheets, for people."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fingerprint.reports import strict_json
from fingerprint.reports.report import replace_file

if TYPE_CHECKING:
    from fingerprint.reports.robustness_report import RobustnessReport, Row

SCHEMA = "fingerprint-robustness/1"
_COUNTS = ("videos", "failed", "fta", "windows", "trials", "identities")


def write(report: RobustnessReport, directory: str | os.PathLike) -> dict[str, Path]:
    """Write robustness.json, .csv, .md, .html, .png and figures/*.png; each file appears whole or not at all.

    Returns:
        Path by part: "json", "csv", "markdown", "html", "figure".
    """
    from fingerprint.reports import markdown, page, robustness_document, robustness_figures  # matplotlib is heavy

    directory = Path(directory)
    (directory / "figures").mkdir(parents=True, exist_ok=True)
    drawings = robustness_figures.draw_all(report)
    content = robustness_document.build(report, drawings)
    for drawing in drawings:
        replace_file(directory / "figures" / f"{drawing.name}.png", drawing.png)
    parts = {
        "json": ("json", strict_json.dumps({"schema": SCHEMA, **strict_json.plain(report)}, indent=2)),
        "csv": ("csv", as_csv(report)),
        "figure": ("png", robustness_figures.draw_together(report)),
        "markdown": ("md", markdown.render(content)),
        "html": ("html", page.render(content)),
    }
    return {part: replace_file(directory / f"robustness.{ending}", text) for part, (ending, text) in parts.items()}


def as_csv(report: RobustnessReport) -> str:
    """One line for the clean videos, then one for every severity; an empty cell where there is no number."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    rows = [_flat("clean", {"severity": 0, "label": "", **report.clean})]
    rows += [_flat(curve.name, row) for curve in report.curves for row in curve.rows]
    writer.writerow(rows[0])
    writer.writerows([["" if value is None else value for value in row.values()] for row in rows])
    return file.getvalue()


def _flat(name: str, row: Row) -> dict[str, Any]:
    flat = {"degradation": name, "severity": row["severity"], "detail": row.get("detail", "")}
    flat |= {key: row[key] for key in _COUNTS}
    for part, of in (("", "rates"), ("_change", "difference")):
        for rate in ("auc", "eer"):
            entry = row[of].get(rate) or {}
            flat |= {f"{rate}{part}{end}": entry.get(key) for key, end in _ENDS.items()}
    close = row["similarity"] or {}
    return flat | {"cosine_mean": close.get("mean"), "cosine_low": close.get("low"), "reason": row["reason"]}


_ENDS = {"value": "", "low": "_low", "high": "_high"}
