"""What commands found, for people to read."""

from __future__ import annotations

import pathlib
from typing import Any

from rich.markup import escape

from fingerprint.app import console
from fingerprint.app.decision import ACCEPTED, REJECTED, UNDECIDED
from fingerprint.reports import wording


def enrolled(result: dict[str, Any]) -> None:
    """What an enrolment kept."""
    rows = [
        [
            pathlib.Path(found["video"]).name,
            f"{found['seconds']:.1f}",
            str(found["windows"]),
            f"{found['share_with_face']:.0%}",
        ]
        for found in result["videos"]
    ]
    console.table(["video", "seconds", "windows", "frames with face"], rows)
    for found in result["videos"]:
        console.warn(f"{pathlib.Path(found['video']).name}: {sentence}" for sentence in found["warnings"])
    console.out.print(
        f"enrolled [bold]{escape(result['name'])}[/] in {escape(result['gallery'])}: "
        f"{console.count(result['enrolled_videos'], 'video')}, {console.count(result['enrolled_windows'], 'window')}"
    )


def verified(result: dict[str, Any]) -> None:
    """The answer of `verify`."""
    score = f"{result['score']:.4f}"
    rows = [("score", f"{score}  ({result['scoring']})")]
    if result["llr"] is not None:
        rows.append(
            ("likelihood ratio", f"{wording.odds(result['llr'], result['claim'])}  (log LR {result['llr']:+.2f})")
        )
    point = result.get("threshold")
    if point:
        rows.append(
            (
                "threshold",
                f"{point['value']:.4f}  ({escape(point['name'])}: FMR {console.percent(point['fmr'])}"
                f"{escape(console.interval(point['fmr_interval']))}, FNMR {console.percent(point['fnmr'])}"
                f"{escape(console.interval(point['fnmr_interval']))}; {escape(str(point['source']))})",
            )
        )
    if "asked" in result:
        asked, bounds = result["asked"], result["bounds"]
        rows.append(
            (
                "sequential test",
                f"log LR {bounds['lower']:+.2f} rejects, {bounds['upper']:+.2f} accepts "
                f"(FMR {console.percent(asked['fmr'])}, FNMR {console.percent(asked['fnmr'])}: asked, not measured)",
            )
        )
        evidence_text = (
            f"{result['seconds']:.1f} s, {console.count(result['windows'], 'window')} worth "
            f"{result['effective_windows']:.1f} independent; {result['ended']}"
        )
    else:
        found = result["evidence"]
        evidence_text = (
            f"{found['seconds']:.1f} s, {console.count(found['windows'], 'window')}, face in "
            f"{found['share_with_face']:.0%} of the frames, {found['fps']:.4g} frames/s"
        )
    rows.append(("evidence", evidence_text))
    if result.get("report"):
        rows.append(("report", escape(result["report"])))
    console.facts(
        "", [("claim", escape(result["claim"])), ("decision", console.decision_text(result["decision"])), *rows]
    )
    console.warn(result["warnings"])


def identified(result: dict[str, Any]) -> None:
    """The candidates and the answer of `identify`."""
    console.table(
        ["candidate", "score", "log LR", ""],
        [
            [found["name"], f"{found['score']:.4f}", _number(found["llr"]), found["decision"]]
            for found in result["candidates"]
        ],
    )
    words = {
        ACCEPTED: f"[bold green]driver: {escape(str(result['driver']))}[/]",
        REJECTED: "[bold red]nobody enrolled[/] passes the threshold",
        UNDECIDED: "[bold yellow]undecided[/]: there is no threshold to decide by",
    }
    console.out.print(words[result["decision"]])
    if result["false_positive_bound"] is not None:
        console.out.print(
            f"Compared with {console.count(result['people'], 'template')}: somebody who is not enrolled passes as one "
            f"of them with a probability of up to {console.percent(result['false_positive_bound'])} (upper 95 % limit "
            "of the FMR, times templates; for people and videos like those the threshold was set on)"
        )
    console.warn(result["warnings"])


def calibrated(result: dict[str, Any]) -> None:
    """The operating points that `calibrate` found."""
    rows = [
        [
            name,
            f"{point['threshold']:.4f}",
            console.percent(point["validation_fmr"]) + console.interval(point.get("validation_fmr_interval")),
            console.percent(point["validation_fnmr"]) + console.interval(point.get("validation_fnmr_interval")),
        ]
        for name, point in result["thresholds"].items()
    ]
    console.table(["operating point", "threshold", "FMR", "FNMR"], rows)
    console.out.print(
        f"{result['videos']} videos of {result['people']} people ({result['protocol']}); kept in "
        f"{escape(result['gallery'])} as calibration {result['calibration'][:12]}"
    )
    console.warn(result["warnings"])


def people(result: dict[str, Any]) -> None:
    """Everybody enrolled."""
    if not result["people"]:
        console.out.print("nobody is enrolled")
        return
    console.table(
        ["name", "videos", "windows", "seconds", "enrolled"],
        [
            [p["name"], str(len(p["videos"])), str(p["windows"]), f"{p['seconds']:.1f}", p["videos"][-1]["enrolled"]]
            for p in result["people"]
        ],
    )


def kept(result: dict[str, Any]) -> None:
    """What is kept of a person or a gallery."""
    rows = [(key, escape(_cell(value))) for key, value in result.items() if key not in ("videos", "thresholds")]
    console.facts("", rows)
    if result.get("thresholds"):
        console.table(
            ["operating point", "threshold", "FMR"],
            [
                [name, f"{point['threshold']:.4f}", console.percent(point["validation_fmr"])]
                for name, point in result["thresholds"].items()
            ],
        )
    for found in result.get("videos", ()):
        console.out.print(escape(f"  {found['sha256'][:12]}…  {found['seconds']:.1f} s, {found['windows']} windows"))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"


def _cell(value: Any) -> str:
    return ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else str(value)
