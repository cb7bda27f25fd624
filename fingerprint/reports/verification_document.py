"""The content of a verification's page: the answer in words, the numbers behind it, and what it does not prove."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

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

if TYPE_CHECKING:
    from fingerprint.reports.verification_report import VerificationReport

_MARKS = {"accepted": "yes", "rejected": "no", "undecided": ""}
_ORDER_BLIND = ("gcn_tap",)  # architectures that pool frames without regard to their order


def build(report: VerificationReport, drawings: Mapping[str, Drawing]) -> Document:
    """The page's content in reading order; `drawings` by name, as `verification_figures.draw_all` gives them."""
    time = [drawings[name] for name in ("score_over_time", "sequential", "attention") if name in drawings]
    parts = [
        ("answer", "", _numbers(report)),
        ("time", "Along the video", [Pictures(tuple(time))]),
        ("calibration", "What the score is worth", _calibration(report, drawings["calibration"])),
        ("evidence", "What it rests on", _evidence(report)),
        ("limits", "What this does not prove", _limits(report)),
        ("provenance", "Provenance", _provenance(report)),
    ]
    sections = tuple(Section(anchor, title, tuple(blocks)) for anchor, title, blocks in parts)
    return Document(f"Verification: is {report.video} driven by {report.claim}?", answer(report), sections)


def answer(report: VerificationReport) -> str:
    """The result in one plain sentence."""
    who, what = f"“{report.claim}”", f"“{report.video}”"
    if report.decision == "undecided":
        return f"Undecided: {_reason(report)}, so it stays open whether {who} drives {what}."
    fits = "fits" if report.decision == "accepted" else "does not fit"
    return f"{report.decision.capitalize()}: the facial motion in {what} {fits} the claim that {who} drives it."


def grounds(report: VerificationReport) -> str:
    """What the result rests on: threshold or bounds and their error rates, strength of evidence, how much was seen."""
    parts = []
    if report.sequential is not None:
        asked = [wording.number(rate, report.sequential.get(rate)) for rate in ("fmr", "fnmr")]
        parts.append(
            f"The running test was asked to accept at most {asked[0]} of false claims and to reject at most "
            f"{asked[1]} of true ones, and stops at whichever bound is reached first."
        )
    elif report.threshold is not None and report.score is not None:
        threshold = report.threshold["value"]
        side = "reaches" if report.score >= threshold else "stays below"
        parts.append(
            f"The score of {_number(report.score)} {side} the threshold of {_number(threshold)}, at which "
            f"{_rate_in_words(report.threshold, 'fmr')} of false claims were accepted among the people it was set on."
        )
    if _known(report.llr):
        subject = "a score" if report.sequential is None else "evidence"
        parts.append(f"Such {subject} is {wording.odds(report.llr, report.claim)}.")
    seconds, windows = report.evidence.get("seconds"), report.evidence.get("windows")
    shown = f" with a face in {share} of the frames" if (share := _face_share(report)) != "n/a" else ""
    parts.append(f"What was seen: {_seconds(seconds)} of video{shown}, {_windows(windows)}.")
    return " ".join(parts)


def crossing(sequential: Mapping[str, Any]) -> int | None:
    """The first place of a running test's path that reaches a bound, or None."""
    llr = np.asarray(sequential.get("llr", ()), np.float64)
    crossed = np.flatnonzero((llr >= sequential["upper"]) | (llr <= sequential["lower"]))
    return int(crossed[0]) if len(crossed) else None


def _reason(report) -> str:
    if report.score is None:
        return "no score could be made"
    if report.sequential is not None:
        return "the evidence reached neither bound of the running test"
    if report.threshold is None:
        return "there is no threshold to hold the score against"
    return "no decision was made"


def _windows(count: Any) -> str:
    return "1 window scored" if count == 1 else f"{wording.count(count)} windows scored"


def _face_share(report) -> str:
    return wording.number("fta", report.evidence.get("share_with_face"))


def _known(value: Any) -> bool:
    return wording.is_number(value)


def _numbers(report) -> list:
    still_open = report.decision == "undecided"
    cards = [
        Number(
            "Decision",
            report.decision.capitalize(),
            _by_what(report),
            _side(report),
            still_open,
            _MARKS[report.decision],
        ),
        Number("Score", _number(report.score), "between −1 and 1", "mean over windows", not _known(report.score)),
        Number(
            "Log likelihood ratio", _signed(report.llr), "natural logarithm", _odds(report.llr), not _known(report.llr)
        ),
        *(_rate_card(report, rate) for rate in ("fmr", "fnmr")),
    ]
    blocks: list = [Text(grounds(report)), Numbers(tuple(cards))]
    if report.warnings:
        blocks.append(Bullets(tuple(map(_sentence, report.warnings)), "Warnings", "warning"))
    note = []
    if any(card.interval.startswith("[") for card in cards):
        note.append("Brackets hold 95 % intervals, from resampling the people behind the rate.")
    if any(card.muted for card in cards):
        note.append(
            f"Greyed and marked †: not known, not decided, or a rate with fewer than {wording.RULE_OF_30} errors "
            "behind it, which is not to be relied on (rule of 30)."
        )
    return [*blocks, Text(" ".join(note), muted=True)] if note else blocks


def _rate_card(report, rate: str) -> Number:
    label = {"fmr": "False claims accepted (FMR)", "fnmr": "True claims rejected (FNMR)"}[rate]
    if report.sequential is not None:
        asked = report.sequential.get(rate)
        return Number(
            label, wording.number(rate, asked), "asked, not measured", "by the running test", not _known(asked)
        )
    point = report.threshold or {}
    found = _entry(point, rate)
    behind, weak = "no threshold", found["value"] is None
    if _known(errors := _errors(point, rate)):
        behind, weak = wording.errors_behind({"errors": errors}), errors < wording.RULE_OF_30
    elif point:
        behind = f"at threshold {_number(point.get('value'))}"
    spread = wording.interval(rate, found) or _limit(point, rate)
    return Number(label, wording.number(rate, found), spread, behind, weak)


def _errors(point: Mapping[str, Any], rate: str) -> int | None:
    value, trials = point.get(rate), point.get({"fmr": "non_mated", "fnmr": "mated"}[rate])
    return round(value * trials) if _known(value) and _known(trials) else None


def _calibration(report, drawing: Drawing) -> list:
    if report.calibration is None:
        return [
            Text("No calibration goes with this model or gallery: the score cannot be read as strength of evidence.")
        ]
    blocks: list = [Pictures((drawing,))]
    if beyond := _beyond(report):
        blocks.insert(0, Bullets((beyond,), mark="warning"))
    if report.sequential is not None:
        text = "The running test weighs single windows; the curve below is of whole videos, for comparison."
        return [Text(text), *blocks]
    return [Text(_strength(report)), *blocks] if _known(report.llr) else blocks


def _strength(report) -> str:
    return (
        f"The log likelihood ratio is {_signed(report.llr)}: on the scale fitted to development videos, this score is "
        f"{wording.odds(report.llr, report.claim)}. This weighs the video alone; how probable the claim is depends "
        "also on what else is known."
    )


def _beyond(report) -> str:
    """A sentence where the score lies outside all development scores, "" else."""
    ends = [value for side in ("mated", "non_mated") for value in report.calibration.get(f"{side}_quantiles") or ()]
    if report.score is None or not ends or min(ends) <= report.score <= max(ends):
        return ""
    side = "above" if report.score > max(ends) else "below"
    return (
        f"The score lies {side} every score that the calibration was fitted on; its likelihood ratio is extrapolated."
    )


def _evidence(report) -> list:
    found, size = dict(report.evidence), report.evidence.get("image_size")
    rows = [
        ("Claim", report.claim),
        ("Enrolment", _enrolment(report.enrolment)),
        ("Video", report.video),
        ("Length seen", _seconds(found.pop("seconds", None))),
        ("Windows scored", wording.count(found.pop("windows", None))),
        ("Frames", wording.count(found.pop("frames", None))),
        ("Frames with a face", wording.number("fta", found.pop("share_with_face", None))),
        ("Frame rate", _unit(found.pop("fps", None), "frames/s")),
        ("Picture", " × ".join(map(wording.value_text, size)) + " pixels" if size else "not known"),
        ("Face tracks in the video", wording.count(found.pop("tracks", None))),
    ]
    found.pop("image_size", None)
    rows += _flat(found)
    point = report.threshold
    if point is not None:
        behind = [
            f"{wording.count(point.get(key))} {what}"
            for key, what in (("identities", "people"), ("mated", "mated"), ("non_mated", "non-mated comparisons"))
            if _known(point.get(key))
        ]
        rows += [
            ("Threshold", f"{_number(point.get('value'))} ({wording.point_label(str(point.get('name')))})"),
            ("Threshold set on", wording.value_text(point.get("source"))),
            ("Behind its error rates", ", ".join(behind) or "not known"),
        ]
        rows += [(wording.label(rate), _rate_in_words(point, rate)) for rate in ("fmr", "fnmr")]
    else:
        rows.append(("Threshold", "none"))
    return [_facts(rows)]


def _limits(report) -> list:
    who = report.claim
    items = [
        "Not who the person is. The score compares facial motion with that of the videos enrolled under the name "
        f"“{who}”; whether that name is right was settled, or not, at enrolment.",
        "Not whether the video is real or fake. A genuine recording and an avatar that the same person drives can "
        "score alike, and a high score does not mean that nothing was altered.",
        "Not that nobody else could have scored so high. Error rates are shares over many comparisons, not the "
        "probability that this one is wrong.",
        "Error rates hold only for people, generators, cameras, frame rates and lengths like those they were measured "
        "on. For others they are not known.",
        "Imitation is not ruled out. Somebody who copies the person's motion, or a rendering of the person's own "
        "recorded motion onto another face, may score like the person.",
    ]
    if report.ids.get("architecture") in _ORDER_BLIND:
        items.append(
            "Not the timing of motion. This network does not see the order of frames: it reads which poses and "
            "expressions occur, not how one follows another."
        )
    if report.sequential is not None:
        items.append(
            "Not the error rates of the running test. They were asked for and hold as far as windows of this video "
            "behave like those of the calibration's people; they were not measured on such decisions."
        )
    return [Bullets(tuple(items), mark="no")]


def _provenance(report) -> list:
    rows = [("SHA-256 of the video", report.sha256 or "none: a stream is seen only once"), *_flat(report.ids)]
    blocks: list = [_facts(rows)]
    if report.provenance:
        whole = strict_json.dumps(report.provenance, indent=2).rstrip()
        blocks.append(Details("How the landmarks were made", (Code(whole),)))
    return blocks


def _flat(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for key, value in facts.items():
        name = f"{prefix}{str(key).replace('_', ' ')}"
        if isinstance(value, Mapping) and value:
            rows += _flat(value, f"{name}: ")
        else:
            rows.append((name[:1].upper() + name[1:], wording.value_text(strict_json.plain(value))))
    return rows


def _facts(rows) -> Table:
    return Table(("", ""), tuple((Cell(name), Cell(text)) for name, text in rows))


def _enrolment(enrolment: Mapping[str, Any]) -> str:
    counts = [f"{wording.count(enrolment.get(key))} {key}" for key in ("videos", "windows")]
    return f"“{enrolment.get('name', 'not known')}”, {', '.join(counts)}"


def _entry(point: Mapping[str, Any], rate: str) -> dict[str, Any]:
    low, high = point.get(f"{rate}_interval") or (None, None)
    return wording.entry({"value": point.get(rate), "low": low, "high": high})


def _rate_in_words(point: Mapping[str, Any], rate: str) -> str:
    found = _entry(point, rate)
    if found["value"] is None:
        return "a share that is not known"
    if found["low"] is not None:
        return wording.spoken(rate, found)
    return f"{wording.number(rate, found)} ({_limit(point, rate) or 'no interval could be made'})"


def _limit(point: Mapping[str, Any], rate: str) -> str:
    upper = point.get(f"{rate}_upper")
    return f"95 % upper limit {wording.number(rate, upper)}" if _known(upper) else ""


def _by_what(report) -> str:
    if report.sequential is not None:
        return "by the running test"
    return f"at {wording.point_label(str(report.threshold.get('name')))}" if report.threshold else "no threshold"


def _side(report) -> str:
    if report.sequential is not None:
        first = crossing(report.sequential)
        return "no bound reached" if first is None else f"after {_seconds(report.sequential['seconds'][first])}"
    if report.threshold is None or not _known(report.score):
        return ""
    return f"score {'≥' if report.score >= report.threshold['value'] else '<'} {_number(report.threshold['value'])}"


def _odds(llr: float | None) -> str:
    if not _known(llr):
        return "no calibration"
    if wording.is_even(llr):
        return "for neither side"
    return f"{wording.times(llr)} : 1 {'for' if llr > 0 else 'against'} the claim"


def _number(value: Any) -> str:
    return f"{value:.3f}".replace("-", "−") if _known(value) else "n/a"


def _signed(value: Any) -> str:
    return f"{value:+.2f}".replace("-", "−") if _known(value) else "n/a"


def _seconds(value: Any) -> str:
    return f"{value:.1f} s" if _known(value) else "n/a"


def _unit(value: Any, unit: str) -> str:
    return f"{value:.4g} {unit}" if _known(value) else "not known"


def _sentence(text: str) -> str:
    text = str(text).strip()
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
