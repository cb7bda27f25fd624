"""The content of a report as sections of plain blocks; Markdown and the page render the same blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fingerprint.reports import findings as found
from fingerprint.reports import people_document, strict_json, wording
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
from fingerprint.reports.cells import RULE, gap_cell, rate_cell, words

if TYPE_CHECKING:
    from fingerprint.reports.evaluation_report import EvaluationReport

_LONG_LIST = 12


def build(report: EvaluationReport, drawings: Sequence[Drawing]) -> Document:
    """The report's content, in reading order."""
    general = tuple(drawing for drawing in drawings if drawing.name not in people_document.FIGURES)
    parts = [
        ("numbers", "", _numbers(report)),
        ("findings", "What this does and does not show", _findings(report)),
        ("rates", "Error rates by condition", _rates(report)),
        ("people", "People apart", people_document.people(report, drawings)),
        ("identification", "Identification in a gallery", people_document.identification(report, drawings)),
        ("controls", "Controls", _controls(report)),
        ("thresholds", "Thresholds fixed on validation", _thresholds(report)),
        ("figures", "Figures", [Pictures(general)]),
        ("data", "Data", fact_table(report.data, "no description of the data in this run")),
        ("model", "Model", fact_table(report.model, "no description of the model in this run")),
        ("protocol", "Protocol", _protocol(report)),
        ("acquisition", "Acquisition", _acquisition(report)),
        ("warnings", "Warnings", _warnings(report)),
        ("provenance", "Provenance", fact_table(report.provenance, "no provenance in this run")),
        ("config", "Configuration", _config(report)),
    ]
    sections = tuple(Section(anchor, title, tuple(blocks)) for anchor, title, blocks in parts)
    return Document(report.title, report.headline, sections)


def main_numbers(rates: Sequence[Mapping[str, Any]]) -> list[Number]:
    """The numbers a reader wants first: accuracy on all trials, and the EER of the two face conditions."""
    wanted = [
        ("all", "auc", "AUC"),
        ("all", "identity_auc", "AUC, mean over people"),
        ("all", "eer", "EER"),
        ("same_target", "eer", "EER, impostor wears the claimed face"),
    ]
    wanted += [("cross_target", "eer", "EER, driver on another face")]
    wanted += [("all", f"fnmr@fmr={share}%", f"FNMR at FMR {share} %") for share in ("10", "1", "0.1")]
    wanted += [("all", "cllr", "Cllr"), ("all", "fta", "FTA")]
    numbers = []
    for name, rate_name, text in wanted:
        row = found.condition(rates, name)
        entry = found.people_auc(row) if rate_name == "identity_auc" else found.rate(row, rate_name)
        if entry["value"] is not None:
            numbers.append(
                Number(
                    text,
                    wording.number(rate_name, entry),
                    wording.interval(rate_name, entry),
                    wording.errors_behind(entry),
                    wording.unreliable(entry),
                )
            )
    return numbers


def _numbers(report) -> list:
    numbers = main_numbers(report.rates)
    if not numbers:
        return [Text("No error rate could be measured in this run.")]
    row = found.condition(report.rates, "all") or {}
    behind = ", ".join(
        f"{wording.count(row[key])} {what}"
        for key, what in (
            ("identities", "identities"),
            ("videos", "videos"),
            ("mated", "mated trials"),
            ("non_mated", "non-mated trials"),
        )
        if wording.is_number(row.get(key))
    )
    text = "Brackets hold 95 % intervals." + (f" All trials: {behind}." if behind else "")
    if any(number.muted for number in numbers):
        text += f" Greyed: {RULE}."
    blocks = [Numbers(tuple(numbers)), Text(text, muted=True)]
    if report.warnings or any(row.get("warnings") for row in report.rates):
        blocks.append(Text("This run raised warnings; they stand in their own section below."))
    return blocks


def _findings(report) -> list:
    sides = {True: [], False: []}
    for finding in found.findings(report):
        sides[finding.shown].append(finding.text)
    return [
        Bullets(tuple(sides[True]) or ("Nothing.",), "Shown", "yes"),
        Bullets(tuple(sides[False]) or ("Nothing was left open by the checks of this report.",), "Not shown", "no"),
    ]


def _rates(report) -> list:
    if not report.rates:
        return [Text("No error rates in this run.")]
    header = ("Condition", "What it holds", "Identities", "Videos", "Mated", "Non-mated", "FTA")
    rows = [
        (
            Cell(words(row.get("condition"))),
            Cell(str(row.get("description") or "")),
            *(Cell(wording.count(row.get(key))) for key in ("identities", "videos", "mated", "non_mated")),
            Cell(wording.number("fta", row.get("fta"))),
        )
        for row in report.rates
    ]
    blocks = [
        Table(header, tuple(rows), "What stands behind each condition"),
        *_rate_table(report.rates, carried=False),
    ]
    reasons = [
        f"{words(row.get('condition'))}: {wording.label(name)} is not defined, {entry['reason']}"
        for row in report.rates
        for name, entry in (row.get("rates") or {}).items()
        if isinstance(entry, Mapping) and entry.get("reason")
    ]
    reasons += [
        f"{words(row.get('condition'))}: no rates, {row['reason']}" for row in report.rates if row.get("reason")
    ]
    if reasons:
        blocks.append(Bullets(tuple(reasons), "Not defined"))
    glossary = tuple(f"{name}: {meaning}." for name, meaning in wording.glossary().items())
    return [*blocks, Details("What the names mean", (Bullets(glossary),))]


def _rate_table(rates, carried: bool) -> list:
    """Rates as rows, conditions as columns; `carried`: those at validation thresholds, else the others."""
    shown = [row for row in rates if row.get("rates")]
    names = list(dict.fromkeys(name for row in shown for name in row["rates"] if ("@threshold:" in name) == carried))
    if not names:
        return [] if carried else [Text("No rates in this run.")]
    header = ("Rate", *(words(row.get("condition")) for row in shown))
    rows = tuple(
        (Cell(wording.label(name)), *(rate_cell(name, row["rates"].get(name)) for row in shown)) for name in names
    )
    blocks: list = [Table(header, rows, "Value, 95 % interval, and the errors behind it")]
    if any(cell.muted for row in rows for cell in row):
        blocks.append(Text(f"Greyed and marked †: {RULE}.", muted=True))
    return blocks


def _controls(report) -> list:
    if not report.controls:
        return [Text("No controls in this run: what the model reads is not known.")]
    compared = [control for control in report.controls if control.get("rates") or control.get("difference")]
    blocks: list = []
    if compared:
        names = list(dict.fromkeys(name for control in compared for name in control.get("rates") or {}))
        gaps = list(dict.fromkeys(name for control in compared for name in control.get("difference") or {}))
        header = (
            "Control",
            *map(wording.label, names),
            *(f"Model minus control, {wording.label(name)}" for name in gaps),
        )
        rows = tuple(
            (
                Cell(words(control.get("name"))),
                *(rate_cell(name, (control.get("rates") or {}).get(name)) for name in names),
                *(gap_cell((control.get("difference") or {}).get(name)) for name in gaps),
            )
            for control in compared
        )
        blocks.append(Table(header, rows, "The same trials scored by each control; 95 % intervals in brackets"))
    for control in report.controls:
        values = [
            f"{wording.label(name)} {wording.rate(name, value)}"
            for name, value in found.control_values(control).items()
        ]
        texts = [
            str(control.get("description") or "").strip(),
            ", ".join(values),
            str(control.get("reading") or "").strip(),
        ]
        texts = [text[:1].upper() + text[1:] for text in texts]
        body = " ".join(text if text.endswith((".", "!", "?")) else f"{text}." for text in texts if text)
        blocks.append(Bullets((body or "No description.",), words(control.get("name"))))
    return blocks


def _thresholds(report) -> list:
    carried = _rate_table(report.rates, carried=True)
    if not report.thresholds:
        return [Text("No thresholds were fixed on validation identities in this run."), *carried]
    names = ("validation_fmr", "test_fmr", "test_fnmr")
    header = ("Operating point", "Threshold", "FMR on validation", "FMR on test", "FNMR on test")
    rows = tuple(
        (
            Cell(wording.point_label(str(name))),
            Cell(wording.value_text(point.get("threshold"))),
            *(rate_cell(key, point.get(key)) for key in names),
        )
        for name, point in report.thresholds.items()
    )
    lead = Text("Set on validation identities and applied unchanged to the test identities.")
    return [lead, Table(header, rows, "Operating points"), *carried]


def fact_table(facts: Mapping[str, Any], absent: str) -> list:
    """Names and values as a table, nested ones flattened; `absent`: said where there are none."""
    rows, lists = _fact_rows(facts, "")
    if not rows:
        return [Text(absent[0].upper() + absent[1:] + ".")]
    return [Table(("", ""), tuple(rows)), *lists]


def _fact_rows(facts: Mapping[str, Any], prefix: str) -> tuple[list, list]:
    rows: list = []
    lists: list = []
    for key, value in facts.items():
        name = f"{prefix}{words(key)}"
        value = strict_json.plain(value)
        if isinstance(value, Mapping) and value:
            inner, more = _fact_rows(value, f"{name}: ")
            if key == "durations":
                inner = [
                    (label, Cell(f"{cell.text} s" if cell.text != "not known" else cell.text)) for label, cell in inner
                ]
            rows += inner
            lists += more
        elif isinstance(value, list) and len(value) > _LONG_LIST:
            rows.append((Cell(name), Cell("listed below")))
            lists.append(Details(f"All {name}", (Text(wording.value_text(value)),)))
        else:
            rows.append(
                (
                    Cell(name),
                    Cell(wording.number("fta", value) if key == "fta" else wording.value_text(value)),
                )
            )
    return rows, lists


def _protocol(report) -> list:
    notes = report.protocol.get("notes") or ()
    notes = (notes,) if isinstance(notes, str) else tuple(map(str, notes))
    facts = {key: value for key, value in report.protocol.items() if key != "notes"}
    return [*fact_table(facts, "no protocol in this run"), *([Bullets(notes, "Notes")] if notes else [])]


def _acquisition(report) -> list:
    reasons = report.acquisition.get("reasons") or {}
    facts = {key: value for key, value in report.acquisition.items() if key != "reasons"}
    blocks = fact_table(facts, "no record of acquisition in this run")
    if not reasons:
        return [*blocks, Text("No failure was recorded.")] if facts else blocks
    rows = tuple((Cell(str(reason)), Cell(wording.value_text(number))) for reason, number in reasons.items())
    return [*blocks, Table(("Reason of failure", "Videos"), rows)]


def _warnings(report) -> list:
    texts = [str(text) for text in report.warnings]
    texts += [f"{words(row.get('condition'))}: {text}" for row in report.rates for text in row.get("warnings") or ()]
    return [Bullets(tuple(texts), mark="warning")] if texts else [Text("None.")]


def _config(report) -> list:
    if not report.config:
        return [Text("No configuration in this run.")]
    return [Details("The whole configuration", (Code(strict_json.dumps(report.config, indent=2).rstrip()),))]
