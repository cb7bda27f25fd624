"""What the numbers show and do not show, in sentences computed from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fingerprint.reports import wording

if TYPE_CHECKING:
    from fingerprint.reports.evaluation_report import EvaluationReport

SHUFFLED_FRAMES = "shuffled_frames"
STATIC_FRAME = "static_frame"
STATIC_SHAPE = "static_shape"
LENGTH_AND_RATE = "length_and_rate"
TARGET_PROBE = "target_probe"
NOTABLE_AUC = 0.02  # pooled and mean AUC over people that differ by so much are told apart
NEGLIGIBLE_AUC = 0.005  # a loss of AUC below this, the whole interval considered, counts as none

_RIVALS = {
    STATIC_FRAME: "one static frame repeated",
    STATIC_SHAPE: "the static shape of the face alone",
    LENGTH_AND_RATE: "clip length and frame rate alone",
}
_CONTROLS = {SHUFFLED_FRAMES: "shuffled frames", **_RIVALS, TARGET_PROBE: "a probe for the target"}
_HARD = "where the impostor wears the claimed face"


_USELESS = 0.9
"""FNMR above which a threshold that holds holds for nothing."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One sentence, and whether it says what was shown or what was not."""

    shown: bool
    text: str


def compose_headline(rates: Sequence[Mapping[str, Any]], controls: Sequence[Mapping[str, Any]]) -> str:
    """One sentence: how well drivers are told apart, the hard case, and whether motion is read."""
    row = condition(rates, "all")
    eer = rate(row, "eer")
    if eer["value"] is None:
        return f"No error rate could be measured: {_why(row, eer)}."
    known, verdict = wording.spoken("eer", eer), chance_verdict(row)
    if verdict == "better":
        text = f"the model tells drivers apart with an equal error rate of {known}"
    elif verdict == "unknown":
        text = f"the model has an equal error rate of {known}, without an interval to judge it by"
    else:
        text = f"the model is not shown to tell drivers apart: its EER is {known}, and guessing gives 50 %"
    text += _few(eer)
    hard = rate(condition(rates, "same_target"), "eer")
    if hard["value"] is not None:
        text += f", and {wording.spoken('eer', hard, lead='')} {_HARD}{_few(hard)}"
    return f"From facial landmarks alone, {text}; {_MOTION_TAIL[motion_verdict(controls)]}."


_MOTION_TAIL = {
    "reads": "shuffling the frames makes it worse, so it reads the order of motion",
    "hardly": "shuffling the frames costs next to nothing, so it hardly reads the order of motion",
    "ignores": "shuffling the frames costs nothing, so it does not read the order of motion",
    "unclear": "whether it reads the order of motion is not settled by these trials",
    "unmeasured": "whether it reads the order of motion was not measured",
}


def chance_verdict(row: Mapping[str, Any] | None) -> str:
    """Where a condition's whole interval of AUC lies from 0.5: "better", "worse", "same" or "unknown"."""
    auc = rate(row, "auc")
    if auc["value"] is None or auc["low"] is None or auc["high"] is None:
        return "unknown"
    return "better" if auc["low"] > 0.5 else "worse" if auc["high"] < 0.5 else "same"


def motion_verdict(controls: Sequence[Mapping[str, Any]]) -> str:
    """What shuffling the frames says: "reads", "hardly", "ignores", "unclear" or "unmeasured"."""
    lost = _lost_auc(_control(controls, SHUFFLED_FRAMES))
    if lost["value"] is None:
        return "unmeasured"
    if lost["low"] is None or lost["high"] is None:
        return "unclear"
    if lost["high"] < NEGLIGIBLE_AUC:
        return "hardly" if lost["low"] > 0 and lost["value"] > NEGLIGIBLE_AUC / 10 else "ignores"
    return "reads" if lost["low"] > 0 else "unclear"


def findings(report: EvaluationReport) -> list[Finding]:
    """What this evaluation shows and does not show, most important first."""
    return [
        *_accuracy(report.rates),
        *_motion(report.controls),
        *_conditions(report.rates),
        *_people(report),
        *_identification(report),
        *_rivals(report.controls),
        *_probe(report.controls),
        *_not_run(report.controls),
        *_reliability(report.rates),
        *_thresholds(report),
        *_reach(report),
    ]


def condition(rates: Iterable[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    """The row of that condition, or None."""
    return next((row for row in rates if row.get("condition") == name), None)


def rate(row: Mapping[str, Any] | None, name: str) -> dict[str, Any]:
    """The entry of that rate; its value is None where the row or the rate is missing."""
    return wording.entry(((row or {}).get("rates") or {}).get(name))


def people_auc(row: Mapping[str, Any] | None) -> dict[str, Any]:
    """The entry of the mean AUC over people; its value is None where the row has none."""
    return wording.entry((row or {}).get("identity_auc"))


def control_values(control: Mapping[str, Any]) -> dict[str, Any]:
    """The plain entries of a control, such as balanced_accuracy and chance, nested mappings opened."""
    found: dict[str, Any] = {}
    for key, value in control.items():
        if key in ("rates", "difference"):
            continue
        if wording.is_number(value) or (isinstance(value, Mapping) and "value" in value):
            found[key] = value
        elif isinstance(value, Mapping):
            found |= control_values(value)
    return found


def _accuracy(rates) -> list[Finding]:
    row = condition(rates, "all")
    auc = rate(row, "auc")
    verdict = chance_verdict(row)
    if auc["value"] is None:
        return [Finding(False, f"Nothing about accuracy: no error rate could be measured ({_why(row, auc)}).")]
    eer = rate(row, "eer")
    text = f"AUC {wording.rate('auc', auc)}, EER {wording.rate('eer', eer)}{_few(eer)}"
    found = {
        "better": Finding(True, f"Drivers are told apart better than by guessing: {text}."),
        "same": Finding(
            False, f"That drivers are told apart at all: the interval of the AUC includes guessing ({text})."
        ),
        "worse": Finding(
            False,
            f"That drivers are told apart: the scores point the wrong way, strangers score higher ({text}).",
        ),
        "unknown": Finding(False, f"How sure the numbers are: no interval was computed ({text})."),
    }
    return [found[verdict]]


def _conditions(rates) -> list[Finding]:
    claims = {
        "same_target": f"The hard case, {_HARD}",
        "cross_target": "A driver followed onto another face",
        "same_sentence": "Both clips say the same sentence",
        "different_sentence": "The clips say different sentences",
        "single_corpus": "Everybody in a trial from one corpus",
        "cross_corpus": "Impostors from another corpus",
    }
    found = []
    for row in rates:
        name = row.get("condition")
        if name == "all":
            continue
        claim = claims.get(name, str(name).replace("_", " "))
        eer = rate(row, "eer")
        if eer["value"] is None:
            where = "" if name not in claims else ", in the trials of this protocol"
            found.append(Finding(False, f"{claim}{where}: not measured, {_why(row, eer)}."))
            continue
        better = chance_verdict(row) == "better"
        words = "better than guessing" if better else "not shown to be better than guessing"
        found.append(Finding(better, f"{claim}: {words}, EER {wording.rate('eer', eer)}{_few(eer)}."))
    return found


def _people(report: EvaluationReport) -> list[Finding]:
    row = condition(report.rates, "all")
    mean, pooled = people_auc(row), rate(row, "auc")
    found = []
    if mean["low"] is not None and pooled["value"] is not None and not mean["low"] <= pooled["value"] <= mean["high"]:
        gap = pooled["value"] - mean["value"]
        text = f"pooled AUC {wording.number('auc', pooled)}, mean over people {wording.rate('auc', mean)}"
        if gap <= -NOTABLE_AUC:
            found.append(
                Finding(False, f"One threshold for everybody: people's scores lie at different heights ({text}).")
            )
        elif gap >= NOTABLE_AUC:
            found.append(
                Finding(False, f"The pooled accuracy for single people: it is lower for each of them ({text}).")
            )
    people = report.per_identity.get("people") or []
    lost = sum(person["auc"] <= 0.5 for person in people)
    if lost:
        found.append(
            Finding(False, f"Everybody: {lost} of {len(people)} people are told apart no better than by guessing.")
        )
    gap = wording.entry(report.per_identity.get("unseen_minus_seen"))
    if gap["low"] is not None:
        text = f"mean AUC over people, unseen minus seen, {wording.difference(gap)}"
        worse = gap["high"] < 0
        lead = (
            "The same accuracy on generators that training did not see"
            if worse
            else "No loss is seen on new generators"
        )
        found.append(Finding(not worse, f"{lead}: {text}."))
    return found


def _identification(report: EvaluationReport) -> list[Finding]:
    entry = next((entry for entry in report.identification.get("entries") or () if entry["value"] is not None), None)
    if entry is None:
        return []
    far = wording.share(entry["far"])
    text = f"DIR {wording.rate('dir', entry)} at FAR {far}, guessing gives at most {far}"
    if entry["low"] is not None and entry["low"] > entry["far"]:
        return [Finding(True, f"People are found in a gallery better than by guessing: {text}.")]
    return [Finding(False, f"That people are found in a gallery: {text}.")]


def _motion(controls) -> list[Finding]:
    verdict = motion_verdict(controls)
    lost = wording.difference(_lost_auc(_control(controls, SHUFFLED_FRAMES)))
    texts = {
        "reads": f"The model reads the order of motion: AUC, model minus shuffled frames, {lost}.",
        "hardly": f"Use of motion order worth the name: shuffling costs next to nothing in AUC ({lost}).",
        "ignores": (
            f"That motion is read: shuffling the frames costs nothing in AUC ({lost}). "
            "The model does not read motion order; it sees which poses occur, not how they follow each other."
        ),
        "unclear": f"Whether motion order is read: the cost of shuffling is not settled (AUC {lost}).",
    }
    return [Finding(verdict == "reads", texts[verdict])] if verdict in texts else []


def _rivals(controls) -> list[Finding]:
    found = []
    for name, what in _RIVALS.items():
        control = _control(controls, name)
        lead = _lost_auc(control)
        if lead["value"] is not None:
            found.append(_against(what, lead))
        if name == LENGTH_AND_RATE and chance_verdict(control) == "better":
            auc = wording.rate("auc", rate(control, "auc"))
            found.append(
                Finding(
                    False,
                    f"That the accuracy is all motion: {what} already tell drivers apart (AUC {auc}).",
                )
            )
    return found


def _against(what: str, lead) -> Finding:
    text = wording.difference(lead)
    if lead["low"] is not None and lead["low"] > 0:
        return Finding(True, f"The model does better than {what}: AUC {text}.")
    return Finding(False, f"An advantage over {what}: AUC {text}, so the result may rest on that.")


def _probe(controls) -> list[Finding]:
    values = control_values(_control(controls, TARGET_PROBE) or {})
    accuracy, chance = (wording.entry(values.get(name)) for name in ("balanced_accuracy", "chance"))
    if accuracy["value"] is None or chance["value"] is None:
        return []
    known = wording.rate("balanced_accuracy", accuracy)
    text = f"balanced accuracy {known}, chance {wording.number('chance', chance)}"
    least = accuracy["value"] if accuracy["low"] is None else accuracy["low"]
    if least > chance["value"]:
        return [Finding(False, f"That the face is left out: a probe reads the target from the embedding ({text}).")]
    return [Finding(True, f"A probe does not find the target in the embedding better than chance ({text}).")]


def _not_run(controls) -> list[Finding]:
    missing = [
        what
        for name, what in _CONTROLS.items()
        if _control(controls, name) is None or not _has_numbers(_control(controls, name))
    ]
    return (
        [Finding(False, f"What a control would have told; without numbers: {', '.join(missing)}.")] if missing else []
    )


def _reliability(rates) -> list[Finding]:
    row = condition(rates, "all")
    weak = [
        wording.label(name) for name, found in ((row or {}).get("rates") or {}).items() if wording.unreliable(found)
    ]
    found = []
    if weak:
        found.append(
            Finding(
                False,
                f"Rates of all trials with fewer than {wording.RULE_OF_30} errors: {', '.join(weak)}.",
            )
        )
    people = (row or {}).get("identities")
    if wording.is_number(people) and people < 30:
        found.append(
            Finding(
                False,
                f"How it does on people in general: only {wording.count(people)} identities are behind it.",
            )
        )
    return found


def _thresholds(report: EvaluationReport) -> list[Finding]:
    row = condition(report.rates, "all")
    found = []
    for name, point in report.thresholds.items():
        planned, reached = wording.entry(point.get("validation_fmr")), wording.entry(point.get("test_fmr"))
        if planned["value"] is None or reached["value"] is None:
            continue
        if reached["low"] is None:
            reached |= {key: rate(row, f"fmr@threshold:{name}")[key] for key in ("low", "high")}
        text = (
            f"the threshold for {wording.point_label(name)}, at FMR {wording.number('fmr', planned)} "
            f"on validation identities, gives FMR {wording.rate('fmr', reached)} on the test identities"
        )
        missed = rate(row, f"fnmr@threshold:{name}")["value"]
        found.append(_carried(text, planned["value"], reached, missed))
    return found


def _carried(text: str, planned: float, reached: Mapping[str, Any], missed: float | None) -> Finding:
    if missed is not None:
        text += f", FNMR {wording.number('fnmr', missed)}"
        if missed > _USELESS and reached["value"] <= planned:
            return Finding(False, f"A threshold of use: {text}: it rejects nearly everybody.")
    if reached["value"] <= planned:
        return Finding(True, f"A threshold that holds: {text}.")
    if reached["low"] is None:
        return Finding(False, f"Whether a threshold holds: {text}, without an interval to judge it by.")
    if reached["low"] <= planned:
        return Finding(True, f"A threshold not seen to break: {text}.")
    return Finding(False, f"A threshold that holds: {text}, more than planned.")


def _reach(report: EvaluationReport) -> list[Finding]:
    found = []
    for key, what in (("generators", "generator"), ("corpora", "corpus")):
        names = report.data.get(key)
        if isinstance(names, (list, tuple)) and len(names) == 1:
            found.append(Finding(False, f"How it does on another {what}: the test data hold only {names[0]}."))
    leakage = str(report.protocol.get("leakage") or "not checked")
    checked = leakage.startswith("checked")
    found.append(Finding(checked, f"Leakage {leakage}." if checked else f"That nobody is in two splits: {leakage}."))
    failed, videos = (report.acquisition.get(key) for key in ("failed", "videos"))
    if wording.is_number(failed) and failed > 0:
        of = f" of {wording.count(videos)}" if wording.is_number(videos) else ""
        found.append(Finding(False, f"Videos without a usable track: {wording.count(failed)}{of} (see Acquisition)."))
    return found


def _control(controls, name: str) -> Mapping[str, Any] | None:
    return next((control for control in controls if control.get("name") == name), None)


def _lost_auc(control) -> dict[str, Any]:
    return wording.entry(((control or {}).get("difference") or {}).get("auc"))


def _has_numbers(control) -> bool:
    entries = [*(control.get("rates") or {}).values(), *(control.get("difference") or {}).values()]
    entries += control_values(control).values()
    return any(wording.entry(found)["value"] is not None for found in entries)


def _few(found) -> str:
    return f", with fewer than {wording.RULE_OF_30} errors behind it" if wording.unreliable(found) else ""


def _why(row, found) -> str:
    reason = found.get("reason") or (row or {}).get("reason")
    return str(reason) if reason else "no trials of this kind" if row else "no rates in this run"
