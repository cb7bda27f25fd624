"""A comparison's files: frontier, table, page."""

import csv
import json
import re
import shutil

import pytest

from fingerprint.reports import comparison, comparison_figures
from fingerprint.reports.comparison_report import ComparisonReport, compose_headline, frontier
from tests.reports import browser


def system(name, auc, operations, lead=None, seeds=(0.0, 0.02), **changes):
    """A row of a table; `lead` is its difference to the reference in AUC."""
    difference = lead and {"value": lead[0], "low": lead[1], "high": lead[2]}
    row = {
        "system": name, "entry": name, "test": "", "title": f"Network of {name}", "network": "gcn_tap",
        "dataset": "made/up", "reading": "as recorded", "window": {"length": 70}, "seeds": [0, 1], "trials": 900,
        "scored_by_all": 880, "fta": 0.01, "score": "mean cosine", "leakage": "checked",
        "rates": {
            "auc": {"value": auc, "low": auc - 0.1, "high": auc + 0.08, "seeds": [auc + s for s in seeds]},
            "eer": {"value": 1 - auc, "low": 0.9 - auc, "high": 1.1 - auc, "seeds": [1 - auc - s for s in seeds]},
        },
        "difference": lead and {"auc": difference, "eer": {"value": -lead[0], "low": -lead[2], "high": -lead[1]}},
        "folds": [{"fold": k, "auc": auc, "eer": 1 - auc} for k in range(3)],
        "runs": [{"seed": s, "fold": None, "auc": auc, "eer": 1 - auc, "step": 9, "digest": "ab"} for s in (0, 1)],
        "conditions": {"all": {"auc": auc, "eer": 1 - auc}},
        "controls": {
            "shuffled_frames": {"mean": auc - 0.05, "min": auc - 0.06, "max": auc - 0.04},
            "target_probe": {"mean": 0.3, "min": 0.2, "max": 0.4, "chance": 0.0625},
        },
        "cost": {"parameters": 21312, "operations_per_window": operations, "train_processor_seconds": 80.0},
    }  # fmt: skip
    return row | changes


def make(**changes) -> ComparisonReport:
    systems = [
        system("gcn_tap", 0.74, 4e7),
        system("st_gcn", 0.70, 9e7, lead=(-0.04, -0.1, 0.02)),
        system("temporal_cnn", 0.81, 8e6, lead=(0.07, 0.01, 0.12)),
    ]
    protocol = {
        "test": "", "fold": None, "name": "claimed_target", "hash": "f" * 64, "trials": 900, "mated": 240,
        "scored_by_all": 880, "people": 16,
    }  # fmt: skip
    fields = {
        "title": "Made-up <comparison>",
        "headline": compose_headline(systems, "gcn_tap"),
        "provenance": {"command": "python", "devices": ["cpu"]},
        "protocol": [protocol],
        "reference": "gcn_tap",
        "systems": systems,
        "contrasts": [{"system": "st_gcn_on_b", "minus": "st_gcn_on_a", **systems[1]["difference"]}],
        "warnings": ["16 people were tested."],
        "config": {"seed": 0},
    }
    return ComparisonReport(**fields | changes)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return comparison.write(make(), tmp_path_factory.mktemp("comparison"))


@pytest.mark.parametrize(
    ("cost", "error", "best"),
    [
        ([1, 2, 3], [0.3, 0.2, 0.1], [0, 1, 2]),
        ([3, 2, 1], [0.1, 0.2, 0.3], [2, 1, 0]),
        ([1, 2, 3], [0.1, 0.2, 0.3], [0]),
        ([1, 2, 2, 4], [0.3, 0.2, 0.1, 0.1], [0, 2]),  # one dearer and no better, one as dear and worse
        ([1, 1], [0.2, 0.2], [0, 1]),
        ([5], [0.5], [0]),
    ],
)
def test_the_frontier_holds_what_nothing_beats(cost, error, best):
    assert frontier(cost, error) == best


def test_the_headline_says_whether_the_lead_is_more_than_its_interval():
    sure = [system("a", 0.7, 1), system("b", 0.8, 1, lead=(0.1, 0.02, 0.2))]
    assert "its lead over a, +0.100 [+0.020, +0.200], is more than the interval" in compose_headline(sure, "a")
    unsure = [system("a", 0.7, 1), system("b", 0.8, 1, lead=(0.1, -0.02, 0.2))]
    assert "is not more than the interval" in compose_headline(unsure, "a")
    first = [
        system("a", 0.9, 1),
        system("b", 0.8, 1, lead=(-0.1, -0.2, -0.02)),
        system("c", 0.85, 1, lead=(-0.05, -0.1, 0.1)),
    ]
    assert "a has the highest AUC" in compose_headline(first, "a") and "1 of the other 2" in compose_headline(
        first, "a"
    )


def test_figures_name_what_is_on_the_frontier_and_what_was_not_measured():
    drawings = {drawing.name: drawing for drawing in comparison_figures.draw_all(make())}
    assert drawings["pareto_operations_per_window"].alt == (
        "Error against cost: operations a window. On the frontier: temporal_cnn 19.0 %."
    )
    assert drawings["pareto_ms_per_window"].png is None and "measured" in drawings["pareto_ms_per_window"].missing
    assert all(drawings[name].png for name in ("rates", "controls", "pareto_parameters"))


def test_the_files_hold_every_number(written):
    found = json.loads(written["json"].read_text(encoding="utf-8"))
    assert found["schema"] == comparison.SCHEMA and found["systems"][2]["difference"]["auc"]["low"] == 0.01
    rows = list(csv.DictReader(written["csv"].read_text(encoding="utf-8").splitlines()))
    assert [row["system"] for row in rows] == ["gcn_tap", "st_gcn", "temporal_cnn"]
    assert float(rows[2]["auc_difference_high"]) == 0.12 and rows[0]["auc_difference"] == ""
    assert float(rows[1]["control_shuffled_frames"]) == 0.7 - 0.05 and float(rows[0]["operations_per_window"]) == 4e7
    markdown = written["markdown"].read_text(encoding="utf-8")
    assert (
        "| 0.810 [0.710, 0.890] |" in markdown
        and "| 0.810 to 0.830 2 seeds |" in markdown
        and "+0.070 [+0.010, +0.120]" in markdown
    )
    assert "30.0 % chance 6.2 %" in markdown and "figures/rates.png" in markdown


def test_the_terminal_gets_the_table(written):
    lines = comparison.summary_lines(make(), written)
    assert lines[2].split()[:3] == ["gcn_tap", "AUC", "0.740"] and lines[-1].endswith("comparison.html")


def test_a_comparison_without_costs_and_controls_says_so(tmp_path):
    bare = [system("a", 0.7, None, controls={}, cost={"parameters": 5}, folds=[], seeds=(0.0,), title="a")]
    text = comparison.write(make(systems=bare, contrasts=[], warnings=[]), tmp_path)["html"].read_text(encoding="utf-8")
    assert "No controls were run" in text and "no controls were run" in text and "was measured" in text
    assert "Between test sets" not in text and ">Folds<" not in text
    assert not (tmp_path / "figures" / "controls.png").exists()


def test_the_page_asks_for_nothing_and_escapes_what_came_from_data(written):
    text = written["html"].read_text(encoding="utf-8")
    assert "Made-up &lt;comparison&gt;" in text and "<comparison>" not in text
    assert not re.search(r'(src|href)="(?!data:|#)', text) and "<script" not in text


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on PATH")
@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_draws_the_page_without_sideways_scrolling(written, width):
    found = browser.measure(written["html"], width)
    assert found["width"] <= width and found["requests"] == [] and found["scripts"] == 0
    assert len(found["images"]) == 5 and all(done and wide > 400 for done, wide, _ in found["images"])


def test_a_rule_of_scoring_is_said_of_each_system_that_has_its_own(tmp_path):
    alike = comparison.write(make(), tmp_path / "alike")["markdown"].read_text(encoding="utf-8")
    assert "Score: mean cosine." in alike
    systems = [system("gcn_tap", 0.74, 4e7), system("st_gcn", 0.7, 9e7, lead=(0.1, 0.0, 0.2), score="as-norm")]
    apart = comparison.write(make(systems=systems, contrasts=[]), tmp_path / "apart")["markdown"].read_text("utf-8")
    said = [line for line in apart.splitlines() if line.startswith("- Score")]
    assert len(said) == 2 and said[0].endswith(": mean cosine.") and said[1].endswith(": as-norm.")
