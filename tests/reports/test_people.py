"""Sections on single people: every person, no matter how many; a gallery; and what is said of both."""

from __future__ import annotations

import shutil

import pytest

from fingerprint.reports import findings
from fingerprint.reports import report as reports
from fingerprint.reports.blocks import Details, Table
from fingerprint.reports.people_document import people
from tests.reports import browser


def text_of(written) -> str:
    return " ".join(written["markdown"].read_text("utf-8").split())


def said(report, shown: bool) -> str:
    return " | ".join(finding.text for finding in findings.findings(report) if finding.shown is shown)


def test_every_person_and_every_mean_is_shown(report, written):
    text = text_of(written)
    for person in report.per_identity["people"][:-1]:
        assert f"| {person['identity']} | {person['auc']:.3f} | 40 | 160 |" in text
    assert "published per-target AUC" in text
    assert text.count("0.871 [0.822, 0.913]") == 4  # conditions with rates
    assert "| AUC, mean over people | 0.871 | [0.822, 0.913] |" in text
    assert "1: no non-mated trial with a score" in text
    assert "-0.051 [-0.082, -0.020]" in text


def test_gallery_rates_stand_with_what_cannot_be_shown(written):
    text = text_of(written)
    assert "| 10 % | 50.1 % [41.0, 59.0], 41 errors |" in text
    assert "43.0 % † [41.0, 59.0], 4 errors" in text
    assert "| 0.0001 % | n/a | 410 probes of people who are not enrolled cannot show it |" in text
    assert {"identity_auc", "identity_similarity", "identification"} <= set(written)


def test_many_people_are_behind_a_summary(sample, report, tmp_path):
    many = sample.replace(report, per_identity=sample.make_people([f"person {n}" for n in range(400)]))
    blocks = people(many, [])
    (folded,) = [block for block in blocks if isinstance(block, Details)]
    assert folded.summary == "All 400 people" and len(folded.blocks[0].rows) == 400
    assert not [block for block in blocks if isinstance(block, Table) and len(block.rows) > 20]
    written = reports.write(many, tmp_path)
    assert written["identity_auc"].stat().st_size < 200_000
    assert [b for b in people(report, []) if isinstance(b, Table) and len(b.rows) == 18]


def test_what_is_said_of_people(sample, report):
    open_text, shown = said(report, False), said(report, True)
    assert "generators that training did not see" in open_text and "-0.051" in open_text
    assert "pooled AUC 0.912" not in open_text + shown  # 0.912 lies in the interval of the mean
    assert "People are found in a gallery better than by guessing: DIR 50.1 %" in shown
    row = dict(report.rates[0], identity_auc={"value": 0.97, "low": 0.95, "high": 0.99})
    assert "One threshold for everybody" in said(sample.replace(report, rates=[row]), False)
    row = dict(row, identity_auc={"value": 0.8, "low": 0.75, "high": 0.85})
    assert "The pooled accuracy for single people" in said(sample.replace(report, rates=[row]), False)
    row = dict(row, identity_auc={"value": 0.901, "low": 0.9, "high": 0.902})
    assert "for everybody" not in said(sample.replace(report, rates=[row]), False)  # sure, but small
    alike = report.per_identity | {"unseen_minus_seen": {"value": -0.01, "low": -0.05, "high": 0.03}}
    assert "No loss is seen on new generators" in said(sample.replace(report, per_identity=alike), True)
    lost = [dict(person, auc=person["auc"] - 0.2) for person in report.per_identity["people"]]
    assert "of 18 people are told apart no better than by guessing" in said(
        sample.replace(report, per_identity=report.per_identity | {"people": lost}), False
    )
    low = dict(report.identification["entries"][0], value=0.12, low=0.08, high=0.2)
    weak = sample.replace(report, identification=report.identification | {"entries": [low]})
    assert "That people are found in a gallery: DIR 12.0 %" in said(weak, False)
    none = sample.replace(report, identification={"reason": "four people wanted, found 3"})
    assert "gallery" not in said(none, True) + said(none, False)


def test_a_gallery_that_could_not_be_searched_says_why(sample, report, tmp_path):
    none = sample.replace(report, identification={"reason": "four people wanted, found 3"})
    written = reports.write(none, tmp_path)
    assert "identification" not in written and "four people wanted, found 3" in text_of(written)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on PATH")
def test_a_browser_lays_out_many_people(sample, report, tmp_path):
    many = sample.replace(report, per_identity=sample.make_people([f"person {n}" for n in range(161)]))
    found = browser.measure(reports.write(many, tmp_path)["html"], width=390)
    assert found["width"] <= 390 and not found["requests"] and not found["hacked"]
    assert "People apart" in found["text"] and "All 161 people" in found["text"]
    assert "Identification in a gallery" in found["text"]
    assert "person 7" not in found["text"]  # folded
    assert len(found["images"]) == 12 and all(done for done, *_ in found["images"])
