"""What a report on robustness says: the clean result, what each degradation costs, one table a degradation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fingerprint.reports import strict_json, wording
from fingerprint.reports.blocks import (
    Bullets,
    Cell,
    Code,
    Details,
    Document,
    Drawing,
    Number,
    Numbers,
    Pictures,
    Section,
    Table,
    Text,
)
from fingerprint.reports.document import fact_table

if TYPE_CHECKING:
    from fingerprint.reports.robustness_report import Curve, RobustnessReport, Row

_RATES = ("auc", "eer")


def build(report: RobustnessReport, drawings: Sequence[Drawing]) -> Document:
    """The report's content, in reading order."""
    parts = [
        ("numbers", "", _numbers(report)),
        ("findings", "What each degradation costs", _findings(report)),
        ("figures", "Curves", [Pictures(tuple(drawings))]),
        ("tables", "Tables", [block for curve in report.curves for block in _table(report.clean, curve)]),
        ("warnings", "Warnings", [Bullets(tuple(report.warnings), mark="warning")] if report.warnings else [_NONE]),
        ("data", "Data", fact_table(report.data, "no description of the data in this run")),
        ("model", "Model", fact_table(report.model, "no description of the model in this run")),
        ("protocol", "Protocol", fact_table(report.protocol, "no trials in this run")),
        ("provenance", "Provenance", fact_table(report.provenance, "no provenance in this run")),
    ]
    if report.config:
        whole = Code(strict_json.dumps(report.config, indent=2).rstrip())
        parts.append(("config", "Configuration", [Details("The whole configuration", (whole,))]))
    sections = tuple(Section(anchor, title, tuple(blocks)) for anchor, title, blocks in parts)
    return Document(report.title, headline(report), sections)


_NONE = Text("None.")


def headline(report: RobustnessReport) -> str:
    """The clean result and the largest loss, in two sentences."""
    if not report.clean["rates"]:
        faithful = [row for curve in report.curves for row in curve.rows if row["similarity"]]
        if not faithful:
            return f"No error rates: {report.clean['reason']}. No degraded video could be embedded."
        worst = min(faithful, key=lambda row: row["similarity"]["mean"])
        return (
            f"No error rates: {report.clean['reason']}. The embedding moves most at {_place(report, worst)}: mean "
            f"cosine {_cosine(worst)} to the clean one."
        )
    clean = f"Clean videos: {wording.label('auc')} {wording.spoken('auc', report.clean['rates']['auc'])}."
    known = [row for curve in report.curves for row in _telling(curve)]
    if not known:
        return f"{clean} No degraded video could be compared with them."
    worst = min(known, key=lambda row: row["difference"]["auc"]["value"])
    return f"{clean} Largest change: {_change(worst)} at {_place(report, worst)}."


def findings(curve: Curve) -> str:
    """At which severities a degradation is shown to cost accuracy, and how many videos it loses."""
    words, rows = _words(curve.name), _telling(curve)
    close = [row for row in curve.rows if row["similarity"]]
    lossy = [row for row in rows if (row["difference"]["auc"]["high"] or 0) < 0]
    if lossy:
        text = "a loss is shown at " + ", ".join(f"{row['label']} ({_change(row)})" for row in lossy)
    elif not rows:
        text = "no error rates to rely on"
        text += f"; mean cosine to the clean embedding {_cosine(close[-1])} at {close[-1]['label']}" if close else ""
    elif rows[-1]["difference"]["auc"]["high"] is None:
        text = f"{_change(rows[-1])} at {rows[-1]['label']}, too few people for an interval"
    else:
        text = f"no loss is shown up to {rows[-1]['label']} ({_change(rows[-1])})"
    lost = [f"{wording.number('fta', row['fta'])} at {row['label']}" for row in curve.rows if row["failed"]]
    return f"{words}: {text}" + (f"; probes without a window: {', '.join(lost)}." if lost else ".")


def _telling(curve: Curve) -> list[Row]:
    """Rows that can be compared with the clean one, with enough errors behind them where any row has these."""
    rows = [row for row in curve.rows if row["difference"]]
    return [row for row in rows if not wording.unreliable(row["rates"]["auc"])] or rows


def _cosine(row: Row) -> str:
    return f"{row['similarity']['mean']:.3f}"


def _change(row: Row) -> str:
    return f"{wording.label('auc')} {wording.difference(row['difference']['auc'])}"


def _place(report: RobustnessReport, row: Row) -> str:
    (name,) = [curve.name for curve in report.curves if any(other is row for other in curve.rows)]
    return f"{_words(name).lower()} of {row['label']}"


def _numbers(report) -> list:
    clean = report.clean
    numbers = [
        Number(
            f"{wording.label(name)}, clean",
            wording.number(name, entry),
            wording.interval(name, entry),
            wording.errors_behind(entry),
            wording.unreliable(entry),
        )
        for name, entry in clean["rates"].items()
    ]
    fta = {"value": clean["fta"], "errors": clean["failed"]}
    numbers.append(Number("FTA, clean", wording.number("fta", fta), "", wording.errors_behind(fta), False))
    behind = f"{wording.count(clean['videos'])} probes, {wording.count(clean['windows'])} windows"
    if clean["rates"]:
        behind += f", {wording.count(clean['trials'])} trials of {wording.count(clean['identities'])} people"
    text = f"Brackets hold 95 % intervals from resampled people. Behind the clean numbers: {behind}."
    return [Numbers(tuple(numbers)), Text(text, muted=True)]


def _findings(report) -> list:
    rule = (
        "A loss counts as shown where the paired 95 % interval of the difference in AUC lies below zero; among many "
        "severities one in forty does so by chance. Videos that give no window are failures to acquire (FTA): they are "
        "counted, and not in AUC and EER."
    )
    return [Bullets(tuple(findings(curve) for curve in report.curves)), Text(rule, muted=True)]


def _table(clean: Row, curve: Curve) -> list:
    detail = any(row.get("detail") for row in curve.rows)
    header = (
        curve.axis,
        *(["Measured"] if detail else []),
        *(text for name in _RATES for text in (wording.label(name), f"{wording.label(name)}, change")),
        "FTA",
        "Windows",
        "Trials",
        "Cosine to clean",
    )
    rows = tuple(_row(row, detail) for row in ({**clean, "label": "clean"}, *curve.rows))
    reasons = tuple(f"{row['label']}: {row['reason']}" for row in curve.rows if row["reason"])
    blocks = [Table(header, rows, f"{_words(curve.name)}: {curve.summary.rstrip('.')}")]
    return [*blocks, Bullets(reasons, "Without error rates")] if reasons and clean["rates"] else blocks


def _row(row: Row, detail: bool) -> tuple[Cell, ...]:
    cells = [Cell(row["label"])]
    if detail:
        cells.append(Cell(row.get("detail") or ""))
    for name in _RATES:
        entry = row["rates"].get(name)
        weak = entry is not None and wording.unreliable(entry)
        dagger = " †" if weak else ""
        cells.append(Cell(wording.number(name, entry) + dagger, wording.interval(name, entry), weak or entry is None))
        change, _, spread = wording.difference(row["difference"].get(name)).partition(" ")
        cells.append(Cell("" if change == "n/a" else change, spread))
    lost = f"{row['failed']} of {row['videos']}" if row["failed"] else ""
    cells.append(Cell(wording.number("fta", row["fta"]), lost))
    cells += [Cell(wording.count(row[key])) for key in ("windows", "trials")]
    close = row["similarity"]
    cells.append(Cell(f"{close['mean']:.3f}", f"5 % below {close['low']:.3f}") if close else Cell(""))
    return tuple(cells)


def _words(name: str) -> str:
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]
