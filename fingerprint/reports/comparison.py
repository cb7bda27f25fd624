"""A comparison on disk: comparison.json, .csv, .md, .html, and its figures."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from pathlib import Path
from typing import Any

from fingerprint.reports import markdown, page, report, strict_json, wording
from fingerprint.reports.comparison_report import ComparisonReport

SCHEMA = "fingerprint-comparison/1"


def write(found: ComparisonReport, directory: str | os.PathLike) -> dict[str, Path]:
    """Write the comparison; each file appears whole or not at all.

    Returns:
        Path by part: "json", "csv", "markdown", "html", and every figure by its name.
    """
    from fingerprint.reports import comparison_document, comparison_figures  # matplotlib is heavy

    directory = Path(directory)
    (directory / "figures").mkdir(parents=True, exist_ok=True)
    drawings = comparison_figures.draw_all(found)
    content = comparison_document.build(found, drawings)
    written = {}
    for drawing in drawings:
        target = directory / "figures" / f"{drawing.name}.png"
        if drawing.png is not None:
            written[drawing.name] = report.replace_file(target, drawing.png)
        else:
            target.unlink(missing_ok=True)
    fields = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    text = strict_json.dumps({"schema": SCHEMA, **fields}, indent=2)
    written["json"] = report.replace_file(directory / "comparison.json", text)
    written["csv"] = report.replace_file(directory / "comparison.csv", as_csv(found))
    written["markdown"] = report.replace_file(directory / "comparison.md", markdown.render(content))
    written["html"] = report.replace_file(directory / "comparison.html", page.render(content))
    return written


def as_csv(found: ComparisonReport) -> str:
    """One row a system, numbers at full precision, empty where there is none."""
    rows = [csv_row(row) for row in found.systems]
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def csv_row(row: dict[str, Any]) -> dict[str, Any]:
    """A system's numbers in one level."""
    flat = {
        name: row[name] for name in ("system", "entry", "test", "network", "dataset", "trials", "scored_by_all", "fta")
    }
    flat["seeds"] = len(row["seeds"])
    for metric, entry in row["rates"].items():
        flat |= {metric: entry["value"], f"{metric}_low": entry["low"], f"{metric}_high": entry["high"]}
        flat |= {f"{metric}_lowest_seed": min(entry["seeds"]), f"{metric}_highest_seed": max(entry["seeds"])}
    for metric, entry in (row["difference"] or {}).items():
        flat |= {
            f"{metric}_difference{end}": entry[key] for end, key in (("", "value"), ("_low", "low"), ("_high", "high"))
        }
    for name, control in row["controls"].items():
        flat[f"control_{name}"] = control["mean"]
    return flat | row["cost"]


def summary_lines(found: ComparisonReport, written: dict[str, Path]) -> list[str]:
    """The table in a few lines for the terminal, and where the page is."""
    lines = [found.title, found.headline]
    for row in found.systems:
        lead = wording.difference(row["difference"]["auc"]) if row["difference"] else "reference"
        rates = f"AUC {wording.rate('auc', row['rates']['auc'])}  EER {wording.rate('eer', row['rates']['eer'])}"
        lines.append(f"  {row['system']:<24} {rates}  difference in AUC {lead}")
    return [*lines, *(f"Warning: {text}" for text in found.warnings), f"Comparison: {written['html']}"]
