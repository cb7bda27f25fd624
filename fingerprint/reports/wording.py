"""How numbers and names are worded, the same in the page, in Markdown and on the terminal."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from numbers import Real
from typing import Any

RULE_OF_30 = 30  # fewer errors behind a rate: not to be relied on
_MOST_TIMES = 1e6  # a larger ratio rests on the tails of the calibration, where nothing was measured
_EVEN = math.log(1.05)
_PERCENT = ("eer", "fmr", "fnmr", "far", "frr", "fta", "tmr", "accuracy", "balanced_accuracy", "chance", "dir")
_LABELS = {
    "auc": "AUC",
    "eer": "EER",
    "eer_rocch": "EER on the convex hull",
    "min_dcf": "minDCF",
    "act_dcf": "actDCF",
    "cllr": "Cllr",
    "min_cllr": "min Cllr",
    "fta": "FTA",
    "fmr": "FMR",
    "fnmr": "FNMR",
    "far": "FAR",
    "frr": "FRR",
    "dir": "DIR",
    "youden": "the best threshold for these trials (optimistic)",
}
_GLOSSARY = {
    "AUC": "chance that a mated comparison scores above a non-mated one (0.5 is guessing)",
    "EER": "equal error rate: the point where FMR and FNMR are equal (50 % is guessing)",
    "FMR": "false match rate: non-mated comparisons accepted",
    "FNMR": "false non-match rate: mated comparisons rejected",
    "FTA": "failure to acquire: share without a usable face track",
    "FAR, FRR": "FMR and FNMR with failures to acquire counted in",
    "accuracy, balanced accuracy": "share of comparisons with a score decided rightly, and the mean of its value for "
    "mated and for non-mated ones; at a threshold from validation, or, optimistically, at the one that suits these "
    "trials best (Youden)",
    "AUC, mean over people": "each claimed person's AUC against their own impostors, averaged (in claimed_target: the "
    "published per-target AUC); the interval redraws people, as claimed ones and as impostors",
    "DIR at FAR": "detection and identification rate: probes of enrolled people found at rank 1 above the threshold at "
    "which the share FAR of strangers' probes raises a false alarm",
    "minDCF, actDCF": "normalised detection cost at the best and the calibrated threshold (1: no use)",
    "Cllr, min Cllr": "cost of the likelihood ratios in bits, as calibrated and at best (1: no use)",
}


def glossary() -> dict[str, str]:
    """What the names of the rates mean."""
    return dict(_GLOSSARY)


def is_number(value: Any) -> bool:
    """A finite real number, not a boolean."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def entry(value: Any) -> dict[str, Any]:
    """A number or an entry as an entry; what is not finite becomes None."""
    found = dict(value) if isinstance(value, Mapping) else {"value": value}
    for key in ("value", "low", "high"):
        found[key] = float(found[key]) if is_number(found.get(key)) else None
    return found


def unreliable(found: Mapping[str, Any]) -> bool:
    """Fewer than 30 errors behind the rate (rule of 30)."""
    errors = found.get("errors")
    return bool(found.get("unreliable", is_number(errors) and errors < RULE_OF_30))


def label(name: str) -> str:
    """A rate's name for people: "fnmr@fmr=1%" -> "FNMR at FMR 1 %"."""
    rate, _, place = name.partition("@")
    head = _LABELS.get(rate, rate.replace("_", " "))
    if not place:
        return head
    if place.startswith("threshold:"):
        return f"{head} at threshold {point_label(place.removeprefix('threshold:'))}"
    return f"{head} at {point_label(place)}"


def point_label(name: str) -> str:
    """An operating point's name for people: "fmr=1%" -> "FMR 1 %"."""
    known = re.fullmatch(r"(fmr|fnmr)=([\d.]+)%", name)
    return f"{known[1].upper()} {known[2]} %" if known else _LABELS.get(name, name)


def is_percent(name: str) -> bool:
    """The rate is shown in percent."""
    rate = name.partition("@")[0].removesuffix("_rocch")
    return rate in _PERCENT or rate.rpartition("_")[2] in ("fmr", "fnmr", "fta")


def number(name: str, found: Any) -> str:
    """A rate's value: "18.3 %", "0.912", or "n/a"."""
    found = entry(found)
    if found["value"] is None:
        return "n/a"
    scale, unit = (100.0, " %") if is_percent(name) else (1.0, "")
    return f"{scale * found['value']:.{_decimals(name, found)}f}{unit}"


def interval(name: str, found: Any) -> str:
    """A rate's 95 % interval in the unit of its value: "[14.2, 22.5]", or "" where there is none."""
    found = entry(found)
    if found["value"] is None or found["low"] is None or found["high"] is None:
        return ""
    scale, digits = 100.0 if is_percent(name) else 1.0, _decimals(name, found)
    return f"[{scale * found['low']:.{digits}f}, {scale * found['high']:.{digits}f}]"


def rate(name: str, found: Any) -> str:
    """Value and interval: "18.3 % [14.2, 22.5]"."""
    return f"{number(name, found)} {interval(name, found)}".strip()


def share(value: float) -> str:
    """A rate that was asked for, without rounding: 1e-6 -> "0.0001 %"."""
    return f"{100 * value:.6g} %"


def spoken(name: str, found: Any, lead: str = "95 % interval ") -> str:
    """Value and interval in running text: "18.3 % (95 % interval 14.2 to 22.5 %)"."""
    spread = interval(name, found).strip("[]").replace(", ", " to ")
    unit = " %" if is_percent(name) else ""
    return number(name, found) + (f" ({lead}{spread}{unit})" if spread else "")


def difference(found: Any) -> str:
    """A signed difference and its interval: "+0.021 [-0.003, +0.045]"."""
    found = entry(found)
    if found["value"] is None:
        return "n/a"
    text = _signed(found["value"])
    if found["low"] is None or found["high"] is None:
        return text
    return f"{text} [{_signed(found['low'])}, {_signed(found['high'])}]"


def odds(llr: float, claim: str) -> str:
    """A log likelihood ratio (natural log) in words: "12 times more probable if A drives the video than if ..."."""
    if is_even(llr):
        return f"about as probable if {claim} drives the video as if someone else does"
    if llr > 0:
        return f"{times(llr)} times more probable if {claim} drives the video than if someone else does"
    return f"{times(llr)} times more probable if someone else drives the video than if {claim} does"


def is_even(llr: float) -> bool:
    """The likelihood ratio speaks for neither side."""
    return abs(llr) < _EVEN


def times(llr: float) -> str:
    """How many times more probable one side is: "2.0", "37", "1,200", "more than 1,000,000"."""
    if abs(llr) > math.log(_MOST_TIMES):
        return f"more than {_MOST_TIMES:,.0f}"
    ratio = math.exp(abs(llr))
    return f"{ratio:.1f}" if ratio < 9.95 else f"{round(ratio, 1 - int(math.log10(ratio))):,.0f}"


def count(value: Any) -> str:
    """A whole number with commas, "n/a" where there is none."""
    return f"{value:,.0f}" if is_number(value) else "n/a"


def errors_behind(found: Mapping[str, Any]) -> str:
    """ "212 errors", or "" where the number is not known."""
    errors = found.get("errors")
    if not is_number(errors):
        return ""
    return f"{errors:,.0f} error" + ("" if errors == 1 else "s")


def value_text(value: Any) -> str:
    """Any handed-in value in a cell: lists with commas, numbers to six digits."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {value_text(item)}" for key, item in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(value_text(item) for item in value) or "none"
    if is_number(value):
        return f"{value:,d}" if isinstance(value, int) and abs(value) >= 100_000 else f"{value:.6g}"
    return str(value)


def _signed(value: float) -> str:
    text = f"{value:+.3f}"
    return "0.000" if text in ("-0.000", "+0.000") else text


def _decimals(name: str, found: Mapping[str, Any]) -> int:
    if not is_percent(name):
        return 3
    shown = abs(found["value"] or found["high"] or 0.0)
    return 1 if shown >= 0.01 or not shown else 2 if shown >= 0.001 else 3
