"""The content of a quality run's page: the table of both questions, frames to look at, and what each number says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fingerprint.reports import strict_json, wording
from fingerprint.reports.blocks import (
    Bullets,
    Cell,
    Code,
    Details,
    Document,
    Drawing,
    Pictures,
    Section,
    Table,
    Text,
)
from fingerprint.reports.quality_figures import number
from fingerprint.reports.quality_report import QualityReport

_MODES = {
    "standard": "The recipe is “standard”: the names mean what the field means by them.",
    "published": (
        "The recipe is “published”: it follows the scripts of the public face-avatar benchmark, whose FID, E-FID, FVD "
        "and CSIM are other quantities than the field's. Compare these numbers with its rows only, and see below what "
        "differs."
    ),
}
_MOST_ROWS = 60


def build(report: QualityReport, drawings: Sequence[Drawing]) -> Document:
    """The page's content in reading order; `drawings` as `quality_figures.draw_all` gives them."""
    frames = tuple(drawing for drawing in drawings if drawing.name.startswith("quality_frame_"))
    others = tuple(drawing for drawing in drawings if drawing not in frames)
    sections = [Section("result", "", tuple(_result(report)))]
    if report.warnings or report.skipped or report.leakage:
        sections.append(Section("mind", "What to mind", tuple(_mind(report))))
    shown = (Pictures(frames),) if frames else (Text("No metric of this run has a value for single frames."),)
    sections += [
        Section("frames", "The worst frames, side by side", (Text(_about_frames(report)), *shown)),
        Section("videos", "Videos", (Pictures(others), *_videos(report))),
        Section("metrics", "What each number says", tuple(_definitions(report))),
    ]
    if report.unmatched or report.failures:
        sections.append(Section("left-out", "Left out", tuple(_left_out(report))))
    sections.append(Section("provenance", "How this was made", (_provenance(report),)))
    return Document("Quality of generated video", headline(report), tuple(sections))


def headline(report: QualityReport) -> str:
    """One sentence: how many videos of how many generators, and the first numbers of the one or best of them."""
    videos = _count(len(report.rows), "video")
    generators = list(report.values)
    metric = next((m for m in report.metrics if _known(report, m["name"])), None)
    if metric is None:
        return f"{videos} of {_count(len(generators), 'generator')}: nothing could be measured."
    if len(generators) == 1:
        known = [m for m in report.metrics if _known(report, m["name"])][:3]
        said = ", ".join(f"{m['title']} {_score(report, generators[0], m)}" for m in known)
        return f"{generators[0]}, {videos}: {said}{_told(report, generators[0])}."
    known = _known(report, metric["name"])
    best = (min if metric["better"] == "lower" else max)(known, key=known.get)
    said = f"best by {metric['title']} is {best} ({_score(report, best, metric)}{_told(report, best)})"
    return f"{videos} of {len(generators)} generators: {said}."


def _result(report: QualityReport) -> list:
    return [
        Text(_MODES[report.mode]),
        Text(
            f"Reference: {report.provenance.get('reference')}. Generated: {report.provenance.get('generated')}.",
            muted=True,
        ),
        _table(report),
        Text(
            "↑ higher is better, ↓ lower is better; small print: from how many videos, frames or clips; ±: standard "
            "deviation over subsets."
            + (
                " AUC: the chance that two videos of one driver look more alike to the fingerprint than two of "
                "different drivers; 0.5 is guessing, and what exceeds it shows of the driver."
                if report.leakage
                else ""
            ),
            muted=True,
        ),
    ]


def _table(report: QualityReport) -> Table:
    """A row a generator; the fingerprint's AUC stands beside the scores of quality."""
    metrics = [m for m in report.metrics if m["name"] not in report.skipped]
    arrows = {"higher": " ↑", "lower": " ↓"}
    told = ["Driver told, AUC"] if report.leakage else []
    header = ["Generator", *told, *(f"{m['title']}{arrows.get(m['better'], '')}" for m in metrics)]
    rows = []
    for generator, values in report.values.items():
        videos = sum(row["generator"] == generator for row in report.rows)
        cells = [Cell(generator, _count(videos, "video"))]
        if report.leakage:
            cells.append(_leakage_cell(report.leakage.get(generator, {})))
        for metric in metrics:
            entry = values.get(metric["name"], {})
            few = bool(entry.get("warnings"))
            counted = f"{wording.count(entry.get('count'))} {entry.get('of', '')}".strip()
            if entry.get("reference_count") not in (None, entry.get("count")):
                counted += f", reference {wording.count(entry['reference_count'])}"
            if wording.is_number(entry.get("spread")):
                counted += f", ± {number(entry['spread'], metric['name'])}"
            cells.append(Cell(number(entry.get("value"), metric["name"]) + (" †" if few else ""), counted, few))
        rows.append(tuple(cells))
    return Table(tuple(header), tuple(rows), caption=f"Quality by generator, recipe {report.mode}")


def _leakage_cell(entry: dict[str, Any]) -> Cell:
    if not wording.is_number(entry.get("auc")):
        return Cell("n/a", "see what to mind", True)
    found = {"value": entry["auc"], "low": entry.get("low"), "high": entry.get("high")}
    behind = (
        f"{_count(entry['people'], 'person', 'people')}, {wording.count(entry['trials'])} trials, {entry['protocol']}"
    )
    return Cell(wording.rate("auc", found), behind)


def _mind(report: QualityReport) -> list:
    blocks: list = []
    of_numbers = _of_numbers(report)
    warnings = [_sentence(sentence) for sentence in (*report.warnings, *_of_leakage(report))]
    if warnings:
        blocks.append(Bullets(tuple(warnings), mark="warning"))
    if of_numbers:
        blocks.append(Bullets(tuple(of_numbers), heading="† Numbers that rest on little", mark="warning"))
    if report.skipped:
        titles = {metric["name"]: metric["title"] for metric in report.metrics}
        items = (f"{titles.get(name, name)}: {reason}." for name, reason in report.skipped.items())
        blocks.append(Bullets(tuple(items), heading="Not measured", mark="no"))
    return blocks


def _of_leakage(report: QualityReport) -> list[str]:
    out = [
        f"{generator}: its driver is not told: {e['reason']}"
        for generator, e in report.leakage.items()
        if "reason" in e
    ]
    if any(entry.get("protocol") == "all_pairs" for entry in report.leakage.values()):
        out.append(
            "AUC over all pairs of a generator's videos: where a driver always wears the same face, that face is told "
            "as well as the driver; only where people wear each other's faces is it the motion alone"
        )
    if few := [g for g, e in report.leakage.items() if wording.is_number(e.get("auc")) and e.get("low") is None]:
        out.append(f"AUC of {', '.join(few)} rests on too few people for an interval")
    return out


def _of_numbers(report: QualityReport) -> list[str]:
    """What is to be said of numbers, each sentence once: of which scores of which generators."""
    said: dict[str, dict[str, list[str]]] = {}
    for metric in report.metrics:
        for generator, values in report.values.items():
            for sentence in values.get(metric["name"], {}).get("warnings", ()):
                said.setdefault(sentence, {}).setdefault(metric["title"], []).append(generator)
    out = []
    for sentence, generators_of in said.items():
        alike: dict[tuple[str, ...], list[str]] = {}
        for title, generators in generators_of.items():
            alike.setdefault(tuple(generators), []).append(title)
        of = "; ".join(f"{', '.join(titles)} of {', '.join(generators)}" for generators, titles in alike.items())
        out.append(f"{of}: {sentence}.")
    return out


def _about_frames(report: QualityReport) -> str:
    if not report.worst:
        return "There is nothing to show."
    return (
        f"For each video the frame that is worst by {report.worst[0].metric} is kept; these are the worst of all, at "
        "most one a video. Left the reference, right the generated video."
    )


def _videos(report: QualityReport) -> list:
    metrics = [m for m in report.metrics if m["per_video"] and m["name"] not in report.skipped]
    if not report.rows:
        return [Text("No video gave a score.")]
    rows = report.rows
    if metrics:
        first = metrics[0]
        sign = -1 if first["better"] == "lower" else 1
        known = [row for row in rows if wording.is_number(row.get(first["name"]))]
        rest = [row for row in rows if row not in known]
        rows = rest + sorted(known, key=lambda row: sign * row[first["name"]])
    header = ("Video", "Generator", "Reference", "Frames", "With a face", *(m["title"] for m in metrics))
    table = Table(
        header,
        tuple(
            (
                Cell(row["video"]),
                Cell(row["generator"]),
                Cell(row["reference"], row["matched"]),
                Cell(wording.count(row["frames"]), f"{wording.count(row['frames_beside'])} compared"),
                Cell(f"{100 * row['share_with_face']:.0f} %"),
                *(Cell(number(row.get(m["name"]), m["name"])) for m in metrics),
            )
            for row in rows[:_MOST_ROWS]
        ),
        caption="Worst first" + (f" by {metrics[0]['title']}" if metrics else ""),
    )
    more = len(rows) - _MOST_ROWS
    return [table, *([Text(f"{more} more videos stand in per_video.csv.", muted=True)] if more > 0 else [])]


def _definitions(report: QualityReport) -> list:
    rows = [
        (
            Cell(metric["title"], "not measured" if metric["name"] in report.skipped else ""),
            Cell(metric["says"]),
            Cell(metric["frames"]),
            Cell(metric["source"]),
        )
        for metric in report.metrics
    ]
    return [Table(("Name", "What it is", "Frames it sees", "Source"), tuple(rows))]


def _left_out(report: QualityReport) -> list:
    blocks: list = []
    if report.failures:
        items = (f"{failure['video']} ({failure['generator']}): {failure['reason']}" for failure in report.failures)
        blocks.append(Bullets(tuple(items), heading="Pairs from which no score came", mark="no"))
    for side in ("generated", "reference"):
        lost = [entry for entry in report.unmatched if entry["side"] == side]
        if lost:
            items = tuple(f"{entry['name']}: {entry['reason']}" for entry in lost)
            blocks.append(
                Details(f"{_count(len(lost), 'video')} of the {side} side without a partner", (Bullets(items),))
            )
    return blocks


def _provenance(report: QualityReport) -> Code:
    whole = {**report.provenance, "mode": report.mode}
    if report.leakage_model:
        whole["identity_leakage"] = report.leakage_model
    return Code(strict_json.dumps(whole, indent=2).rstrip())


def _known(report: QualityReport, name: str) -> dict[str, float]:
    values = {generator: entries.get(name, {}).get("value") for generator, entries in report.values.items()}
    return {generator: value for generator, value in values.items() if wording.is_number(value)}


def _score(report: QualityReport, generator: str, metric: dict[str, Any]) -> str:
    text = number(report.values[generator][metric["name"]]["value"], metric["name"])
    return f"{text} {metric['unit']}".strip()


def _told(report: QualityReport, generator: str) -> str:
    entry = report.leakage.get(generator, {})
    if not wording.is_number(entry.get("auc")):
        return ""
    return f"; its driver is told with AUC {number(entry['auc'])}"


def _count(value: int, one: str, many: str = "") -> str:
    return f"{value:,d} {one if value == 1 else many or one + 's'}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
