"""The report on robustness: what it says of losses, gaps and few people, and how a browser shows it."""

import csv
import io
import json

import numpy as np
import pytest

from fingerprint.errors import FingerprintError
from fingerprint.reports import robustness as reports
from fingerprint.reports import robustness_document
from fingerprint.reports.robustness_report import Curve, RobustnessReport
from tests.reports import browser

in_a_browser = pytest.mark.skipif(browser.PROGRAM is None, reason="no chromium on PATH")


def entry(value, low, high, errors=200):
    return {"value": value, "low": low, "high": high, "errors": errors, "unreliable": errors < 30}


def row(severity, label, auc=0.8, loss=0.0, *, failed=0, spread=0.05, errors=200, **changes):
    """A row as it is measured; `loss` of AUC with an interval of ±`spread`."""
    return {
        "severity": severity, "label": label, "detail": "", "videos": 100, "failed": failed, "fta": failed / 100,
        "windows": 300, "trials": 1500, "identities": 20, "reason": "",
        "rates": {"auc": entry(auc, auc - 0.1, auc + 0.1, errors), "eer": entry(0.25, 0.2, 0.3, errors)},
        "difference": {
            "auc": {"value": -loss, "low": -loss - spread, "high": -loss + spread},
            "eer": {"value": loss, "low": loss - spread, "high": loss + spread},
        },
        "similarity": {"mean": 1 - loss, "low": 0.9 - loss},
        **changes,
    }  # fmt: skip


def gone(severity, label):
    nothing = {"rates": {}, "difference": {}, "similarity": None, "reason": "no trial with a score", "trials": 0}
    return row(severity, label, failed=100) | nothing


def make_report(**changes):
    curves = [
        Curve("jitter", "Noise <b>on</b> every frame.", "Noise (%)", [
            row(0.01, "1 %", 0.79, 0.01), row(0.05, "5 %", 0.7, 0.1), row(0.1, "10 %", 0.6, 0.2),
        ]),
        Curve("frame_rate", "A lower rate.", "Frames a second", [
            row(15.0, "15 frames/s", 0.79, 0.01, failed=40), row(12.0, "12 frames/s", 0.2, 0.6, failed=95, errors=3),
            gone(8.0, "8 frames/s"),
        ]),
        Curve("reencoded", "Written again.", "crf", [row(23, "crf 23", 0.8, detail="155 kbit/s")]),
    ]  # fmt: skip
    clean = row(0, "") | {"difference": {}, "similarity": None, "detail": "1200 kbit/s"}
    parts = {"curves": curves, "clean": clean, "data": {"dataset": "made_up/one"}, "model": {}, "protocol": {}}
    return RobustnessReport("Robustness of a made-up model", **{**parts, "provenance": {}, **changes})


def without_rates():
    few = {"rates": {}, "difference": {}, "reason": "too few people for trials", "trials": 0}
    report = make_report()
    curves = [Curve(c.name, c.summary, c.axis, [dict(r) | few for r in c.rows]) for c in report.curves]
    return make_report(curves=curves, clean=dict(report.clean) | few)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return reports.write(make_report(), tmp_path_factory.mktemp("report"))


def test_losses_are_shown_only_where_the_interval_says_so():
    jitter, rate, again = (robustness_document.findings(curve) for curve in make_report().curves)
    assert jitter == (
        "Jitter: a loss is shown at 5 % (AUC -0.100 [-0.150, -0.050]), 10 % (AUC -0.200 [-0.250, -0.150])."
    )
    # Three errors behind an AUC show nothing, whatever its interval.
    assert rate.startswith("Frame rate: no loss is shown up to 15 frames/s (AUC -0.010 [-0.060, +0.040])")
    assert rate.endswith("without a window: 40.0 % at 15 frames/s, 95.0 % at 12 frames/s, 100.0 % at 8 frames/s.")
    assert again == "Reencoded: no loss is shown up to crf 23 (AUC 0.000 [-0.050, +0.050])."


def test_the_headline_names_the_largest_reliable_change():
    text = robustness_document.headline(make_report())
    assert "AUC 0.800 (95 % interval 0.700 to 0.900)" in text
    assert text.endswith("Largest change: AUC -0.200 [-0.250, -0.150] at jitter of 10 %.")


def test_few_people_read_honestly():
    report = without_rates()
    text = robustness_document.headline(report)
    assert text.startswith("No error rates: too few people for trials.") and "mean cosine 0.400" in text
    assert "no error rates to rely on; mean cosine to the clean embedding 0.800 at 10 %" in (
        robustness_document.findings(report.curves[0])
    )
    no_interval = row(0.1, "10 %", 0.6, 0.2)
    no_interval["difference"] = {name: {"value": -0.2, "low": None, "high": None} for name in ("auc", "eer")}
    curve = Curve("jitter", "Noise.", "Noise (%)", [no_interval])
    assert robustness_document.findings(curve) == "Jitter: AUC -0.200 at 10 %, too few people for an interval."


def test_the_files_hold_the_same_numbers(written):
    report = make_report()
    found = json.loads(written["json"].read_text("utf-8"))
    assert found["schema"] == reports.SCHEMA
    assert found["curves"][0]["rows"] == [dict(r) for r in report.curves[0].rows]
    lines = list(csv.DictReader(io.StringIO(written["csv"].read_text("utf-8"))))
    assert [line["degradation"] for line in lines] == ["clean", *["jitter"] * 3, *["frame_rate"] * 3, "reencoded"]
    assert (lines[2]["auc"], lines[2]["auc_change_high"], lines[2]["cosine_mean"]) == ("0.7", "-0.05", "0.9")
    assert (lines[6]["auc"], lines[6]["fta"], lines[6]["reason"]) == ("", "1.0", "no trial with a score")
    text = written["markdown"].read_text("utf-8")
    assert "| 5 % | 0.700 [0.600, 0.800] | -0.100 [-0.150, -0.050] |" in text
    assert "| 12 frames/s | 0.200 † [0.100, 0.300] |" in text and "95.0 % 95 of 100" in text
    assert "| crf 23 | 155 kbit/s | 0.800" in text and "| clean | 1200 kbit/s |" in text
    assert text.count("kbit/s") == 2  # only where something was measured of the files
    assert "<b>" not in text
    for picture in ("jitter", "frame_rate", "reencoded"):
        assert (written["html"].parent / "figures" / f"{picture}.png").read_bytes().startswith(b"\x89PNG")


def test_a_report_without_rates_is_drawn_too(tmp_path):
    written = reports.write(without_rates(), tmp_path)
    assert "Cosine to the clean embedding at 1 %: 0.990, 5 %: 0.900" in written["markdown"].read_text("utf-8")


def test_the_figure_shows_values_where_they_are():
    from fingerprint.reports import robustness_figures
    from fingerprint.reports.figures import panel

    report = make_report()
    _, axes = panel("severity", "AUC")
    robustness_figures._curve(axes, report, report.curves[1])
    (line,) = [line for line in axes.lines if len(line.get_ydata()) == 4]
    np.testing.assert_allclose(line.get_ydata(), [0.8, 0.79, 0.2, np.nan])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["clean", "15", "12", "8"]
    assert [text.get_text() for text in axes.texts] == ["40.0 %\nlost", "95.0 %\nlost", "100.0 %\nlost"]
    assert axes.get_ylim()[0] < 0.1


def test_curves_of_one_name_are_refused():
    curve = make_report().curves[0]
    with pytest.raises(FingerprintError, match="jitter, jitter"):
        make_report(curves=[curve, curve])


@in_a_browser
@pytest.mark.parametrize("width", [360, 1200])
def test_a_browser_shows_it_whole_and_asks_for_nothing(written, width):
    seen = browser.measure(written["html"], width)
    assert seen["width"] <= width and seen["scripts"] == 0
    assert all(address.startswith("data:") for address in seen["requests"])
    assert len(seen["images"]) == 3 and all(complete and wide > 300 for complete, wide, _ in seen["images"])
    assert "Noise <b>on</b> every frame" in seen["text"] and "Largest change" in seen["text"]
