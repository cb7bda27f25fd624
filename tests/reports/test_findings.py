"""Sentences follow the numbers."""

from __future__ import annotations

import pytest

from fingerprint.reports import console, findings


def row(condition="all", auc=(0.9, 0.85, 0.94), eer=(0.18, 0.14, 0.22), errors=200):
    rates = {
        name: dict(zip(("value", "low", "high"), found, strict=True)) for name, found in (("auc", auc), ("eer", eer))
    }
    for entry in rates.values():
        entry |= {"errors": errors, "unreliable": errors < 30}
    return {"condition": condition, "identities": 40, "rates": rates}


def texts(report, shown: bool) -> str:
    return " | ".join(finding.text for finding in findings.findings(report) if finding.shown is shown)


@pytest.mark.parametrize(
    ("lost", "verdict"),
    [
        ((0.08, 0.05, 0.11), "reads"),
        ((0.0, -0.002, 0.002), "ignores"),
        ((6e-8, 5e-8, 7e-8), "ignores"),
        ((-0.02, -0.03, -0.01), "ignores"),
        ((0.003, 0.002, 0.004), "hardly"),
        ((0.04, -0.02, 0.1), "unclear"),
        ((0.04, None, None), "unclear"),
        ((None, None, None), "unmeasured"),
    ],
)
def test_motion_verdict(sample, lost, verdict):
    assert findings.motion_verdict(sample.make_controls(lost)) == verdict


def test_no_controls_is_unmeasured(sample, report):
    assert findings.motion_verdict([]) == "unmeasured"
    bare = sample.replace(report, controls=[])
    assert "without numbers: shuffled frames, one static frame repeated" in texts(bare, shown=False)


def test_headline_of_a_model_that_ignores_motion(sample):
    rows = [row(), row("same_target", eer=(0.25, 0.2, 0.31))]
    headline = findings.compose_headline(rows, sample.make_controls())
    assert "18.0 % (95 % interval 14.0 to 22.0 %)" in headline
    assert "25.0 % (20.0 to 31.0 %) where the impostor wears the claimed face" in headline
    assert "shuffling the frames costs nothing, so it does not read the order of motion" in headline
    assert headline.endswith(".") and headline.count(". ") == 0


def test_headline_of_a_model_that_reads_motion(sample):
    headline = findings.compose_headline([row()], sample.make_controls((0.1, 0.05, 0.15)))
    assert "so it reads the order of motion" in headline


def test_headline_does_not_praise_guessing(sample):
    headline = findings.compose_headline([row(auc=(0.52, 0.45, 0.59))], [])
    assert "not shown to tell drivers apart" in headline and "was not measured" in headline


def test_headline_without_intervals_and_with_few_errors():
    headline = findings.compose_headline([row(auc=(0.9, None, None), eer=(0.1, None, None), errors=9)], [])
    assert "without an interval" in headline and "95 %" not in headline and "tells drivers" not in headline
    assert "fewer than 30 errors behind it" in headline


def test_few_errors_are_said_where_the_number_stands(sample, report):
    changed = sample.replace(report, rates=[row(), row("same_target", errors=3)])
    assert texts(changed, shown=True).count("fewer than 30 errors behind it") == 1
    assert "claimed face, with fewer than 30 errors behind it" in findings.compose_headline(changed.rates, [])


@pytest.mark.parametrize("rates", [[], [{"condition": "all", "rates": {}, "reason": "no mated trial"}]])
def test_headline_without_rates(rates):
    headline = findings.compose_headline(rates, [])
    assert headline.startswith("No error rate could be measured: no ")


def test_findings_of_the_sample(report):
    shown, missing = texts(report, shown=True), texts(report, shown=False)
    assert "Drivers are told apart better than by guessing: AUC 0.912" in shown
    assert "The model does better than one static frame repeated" in shown
    assert "The model does not read motion order" in missing
    assert "An advantage over the static shape of the face alone: AUC +0.007 [-0.019, +0.034]" in missing
    assert "clip length and frame rate alone already tell drivers apart" in missing
    assert (
        "a probe reads the target from the embedding (balanced accuracy 43.2 % [39.1, 47.5], chance 5.6 %)" in missing
    )
    assert "fewer than 30 errors: FNMR at FMR 0.1 %" in missing
    assert "only 18 identities" in missing and "only RAVDESS" in missing
    assert "Leakage checked: nobody" in shown
    assert "the threshold for EER" in shown and "the threshold for FMR 1 %" in missing


def test_findings_turn_with_the_numbers(sample, report):
    controls = sample.make_controls((0.1, 0.05, 0.15))
    controls[-1] |= {"balanced_accuracy": {"value": 0.06, "low": 0.02, "high": 0.1}}
    changed = sample.replace(report, controls=controls, protocol={}, rates=[row(auc=(0.3, 0.2, 0.4))])
    shown, missing = texts(changed, shown=True), texts(changed, shown=False)
    assert "The model reads the order of motion" in shown
    assert "A probe does not find the target" in shown
    assert "scores point the wrong way" in missing
    assert "That nobody is in two splits: not checked" in missing


def test_summary_fits_a_terminal(report, written):
    lines = console.summary_lines(report, written)
    assert len(lines) <= 15 and all("\n" not in line and len(line) <= 120 for line in lines[:-1])
    assert lines[-1] == f"Report: {written['html']}"
    assert any("18.3 % [15.4, 21.2]" in line for line in lines)


def test_summary_of_nothing(sample, report):
    bare = sample.replace(report, rates=[], controls=[], warnings=["a\x1b[2Jb\nc"], headline="No error rate.")
    lines = console.summary_lines(bare)
    assert lines[-1] == "Report: not written"
    assert all(line.isprintable() for line in lines)


def test_a_threshold_that_rejects_everybody_is_no_success(sample, report):
    whole = row()
    whole["rates"] |= {"fmr@threshold:eer": {"value": 0.0, "low": 0.0, "high": 0.0}}
    point = {"threshold": 0.9, "validation_fmr": 0.001, "test_fmr": 0.0, "test_fnmr": 0.98}
    for missed, kept in ((0.98, False), (0.4, True)):
        whole["rates"]["fnmr@threshold:eer"] = {"value": missed, "low": missed, "high": missed}
        found = texts(sample.replace(report, rates=[whole], thresholds={"eer": point}), shown=kept)
        assert f"FNMR {100 * missed:.0f}" in found
        assert ("it rejects nearly everybody" in found) == (not kept)
