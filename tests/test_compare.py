"""A comparison: which runs, which are done, what its table says of their score files."""

import json
import pathlib
import types

import numpy as np
import pytest

from fingerprint import compare, compare_table, options, workdir
from fingerprint.data import datasets
from fingerprint.errors import CheckpointError, ConfigError, RatesError, UnknownName
from fingerprint.verification import intervals, score_file
from tests import made_up_runs
from tests.made_up_runs import comparison
from tests.sources import make_source


@pytest.fixture
def calls(monkeypatch):
    """Training and evaluation are made up; gives what was called for, in order."""
    made = []

    def noted(what, function):
        def call(config, directory, *more):
            made.append((what, str(pathlib.Path(directory).relative_to(pathlib.Path(directory).parents[1]))))
            return function(config, directory, *more)

        return call

    monkeypatch.setattr(compare, "train", noted("train", made_up_runs.train))
    monkeypatch.setattr(compare, "evaluate", noted("evaluate", made_up_runs.evaluate))
    monkeypatch.setattr(compare, "measure_cost", made_up_runs.cost)
    monkeypatch.setattr(datasets, "build_missing", lambda config: None)

    def open_split(config, split):
        people = 6 if config.data.dataset.startswith("synthetic") else 7
        return make_source(drivers=people, targets=1, clips=3, frames=4)

    monkeypatch.setattr(datasets, "open_split", open_split)
    return made


def table_of(folder) -> dict:
    return json.loads((folder / "comparison.json").read_text(encoding="utf-8"))


def test_every_entry_runs_with_every_seed_and_the_table_says_what_the_score_files_say(calls, tmp_path):
    config = comparison("a", "b")
    page = compare.compare(config, str(tmp_path))
    assert page == tmp_path / "comparison.html" and page.exists()
    assert [place for what, place in calls if what == "train"] == ["a/seed_0", "b/seed_0", "a/seed_1", "b/seed_1"]
    found = table_of(tmp_path)
    rows = {row["system"]: row for row in found["systems"]}
    tables = {
        label: [[score_file.read(tmp_path / label / f"seed_{n}" / "evaluation" / "scores.csv") for n in (0, 1)]]
        for label in ("a", "b")
    }
    wanted = intervals.paired(tables, replicates=20, seed=0)
    assert found["reference"] == "a" and rows["a"]["difference"] is None
    for metric in ("auc", "eer"):
        rate, lead = wanted.rate("b", metric), wanted.difference("b", "a", metric)
        assert rows["b"]["rates"][metric]["value"] == rate.value and rows["b"]["rates"][metric]["low"] == rate.low
        assert [rows["b"]["difference"][metric][key] for key in ("value", "low", "high")] == [
            lead.value,
            lead.low,
            lead.high,
        ]
        assert np.mean(rows["b"]["rates"][metric]["seeds"]) == pytest.approx(rate.value)
    assert rows["b"]["controls"]["shuffled_frames"] == {"mean": 0.515, "min": 0.515, "max": 0.515}
    assert rows["b"]["controls"]["target_probe"]["chance"] == 0.1
    assert rows["b"]["conditions"] == {"all": {"auc": pytest.approx(0.7), "eer": pytest.approx(0.3)}}
    assert {"parameters", "ms_per_window", "train_seconds", "train_processor_seconds"} <= set(rows["a"]["cost"])
    assert any("Fewer than three seeds" in text for text in found["warnings"])


def test_all_seeds_are_tested_on_the_trials_of_the_comparison(calls, tmp_path):
    runs = compare.plan(comparison("a", seeds=(3, 4)), tmp_path)
    assert [run.training.seed for run in runs] == [3, 4] and {run.tests[""].seed for run in runs} == {0}


def test_a_finished_run_is_not_repeated_and_a_new_seed_is_added(calls, tmp_path):
    compare.compare(comparison("a", "b"), str(tmp_path))
    before = table_of(tmp_path)["systems"]
    calls.clear()
    compare.compare(comparison("a", "b"), str(tmp_path))
    assert calls == [] and table_of(tmp_path)["systems"] == before
    compare.compare(comparison("a", "b", seeds=(0, 1, 2)), str(tmp_path))
    assert [place for what, place in calls if what == "train"] == ["a/seed_2", "b/seed_2"]
    calls.clear()
    changed = comparison("a", "b")
    changed.evaluate.replicates = 30
    compare.compare(changed, str(tmp_path))  # tested otherwise, trained alike
    assert [what for what, _ in calls] == ["evaluate"] * 4


def test_options_that_a_finished_run_did_not_know_do_not_undo_it(calls, tmp_path):
    compare.compare(comparison("a", seeds=(0,)), str(tmp_path))
    calls.clear()
    later = comparison("a", seeds=(0,))
    later.compare.entries.a.model.newer = 1
    later.evaluate.newer = 1
    compare.compare(later, str(tmp_path))
    assert calls == []
    later.compare.entries.a.train.num_steps = 7
    with pytest.raises(ConfigError, match=r"seed_0 holds another run \(train.num_steps: saved 1000, now 7\)"):
        compare.compare(later, str(tmp_path))


def test_a_stopped_training_keeps_its_time_and_goes_on(calls, tmp_path, monkeypatch):
    def stopped(config, directory):
        raise workdir.Stopped("stopped")

    trained = compare.train
    monkeypatch.setattr(compare, "train", stopped)
    with pytest.raises(workdir.Stopped):
        compare.compare(comparison("a"), str(tmp_path))
    record = json.loads((tmp_path / "a" / "seed_0" / compare.RUN_FILE).read_text())
    assert not record["trained"] and record["sessions"] == 1 and record["train_seconds"] > 0
    monkeypatch.setattr(compare, "train", trained)
    compare.compare(comparison("a"), str(tmp_path))
    again = json.loads((tmp_path / "a" / "seed_0" / compare.RUN_FILE).read_text())
    assert again["sessions"] == 2 and again["train_seconds"] > record["train_seconds"]


def test_a_signal_between_two_runs_stops_there(calls, tmp_path, monkeypatch):
    import os
    import signal

    trained = compare.train

    def then_signalled(config, directory):
        os.kill(os.getpid(), signal.SIGTERM)
        assert workdir.StopFlag().is_set  # whoever listens from here on knows
        return trained(config, directory)

    monkeypatch.setattr(compare, "train", then_signalled)
    with pytest.raises(workdir.Stopped, match="the same command goes on"):
        compare.compare(comparison("a"), str(tmp_path))
    assert [what for what, _ in calls] == ["train"] and not workdir.StopFlag().is_set


def test_entries_on_other_trials_are_refused_before_the_first_step(calls, tmp_path):
    config = comparison("a", "b")
    config.compare.entries.b.data.dataset = "other/people"
    with pytest.raises(RatesError, match=r"wanted one trial list for all entries, found 2 \(a: \w+; b: \w+\)"):
        compare.compare(config, str(tmp_path))
    assert calls == []


def test_a_score_file_of_other_trials_is_refused(calls, tmp_path):
    compare.compare(comparison("a", "b"), str(tmp_path))
    path = tmp_path / "b" / "seed_1" / "evaluation" / "scores.csv"
    head, rest = path.read_text().split("\n", 1)
    path.write_text(json.dumps(json.loads(head[2:]) | {"hash": "f" * 64}).join(["# ", "\n"]) + rest)
    with pytest.raises(RatesError, match=r"found 2 \(a seed 0, b seed 0, a seed 1: \w+; b seed 1: ffffffffffff\)"):
        compare.compare(comparison("a", "b"), str(tmp_path))
    path.unlink()
    with pytest.raises(RatesError, match="scores.csv"):
        compare.compare(comparison("a", "b"), str(tmp_path))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"compare.reference": "c"}, UnknownName, "unknown reference of the comparison 'c'; known: a, b"),
        ({"compare.seeds": ()}, ConfigError, r"seeds \(\)"),
        ({"compare.seeds": (1, 1)}, ConfigError, r"seeds \(1, 1\)"),
        ({"compare.entries": {}}, ConfigError, "no entry"),
        ({"compare.entries.a.evaluate.model": "/nowhere"}, CheckpointError, "/nowhere holds no model"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_sentence(calls, tmp_path, change, error, message):
    config = comparison("a", "b")
    for path, value in change.items():
        config.update_from_flattened_dict({path: value}) if value != {} else config.compare.update(entries={})
        if value == {}:
            config.compare.entries = type(config.compare)()
    with pytest.raises(error, match=message):
        compare.compare(config, str(tmp_path))
    assert calls == []


def test_a_configuration_without_entries_names_one_that_has_some(tmp_path):
    with pytest.raises(ConfigError, match="configs/compare_synthetic.py"):
        compare.compare(options.defaults(), str(tmp_path))


def test_a_restored_model_is_tested_once_or_one_of_each_seed(calls, tmp_path, monkeypatch):
    monkeypatch.setattr(compare.checkpoint, "resolve_model", pathlib.Path)
    monkeypatch.setattr(compare.checkpoint, "load_model", lambda path: (None, None, f"digest of {path}"))
    released = {"document": {"landmark_set": "ibug68"}, "directory": "models"}
    monkeypatch.setattr(compare.embed, "open_model", lambda path: types.SimpleNamespace(**released))
    config = comparison("a", "b", "c")
    config.compare.entries.b.evaluate.model = "models/released"
    config.compare.entries.c.evaluate.model = "runs/c_{seed}"
    with pytest.raises(
        ConfigError, match="wants landmark set ibug68; synthetic_drivers/full_quickstart test holds ava"
    ):
        compare.compare(config, str(tmp_path))
    assert calls == []  # found before anything is trained
    released["document"]["landmark_set"] = "avaprintdb109"
    compare.compare(config, str(tmp_path))
    assert {place for what, place in calls if what == "train"} == {"a/seed_0", "a/seed_1"}
    assert {place for what, place in calls if what == "evaluate"} == {
        "a/seed_0", "a/seed_1", "b/restored", "c/seed_0", "c/seed_1",
    }  # fmt: skip
    rows = {row["system"]: row for row in table_of(tmp_path)["systems"]}
    assert rows["b"]["seeds"] == [None] and "train_seconds" not in rows["b"]["cost"] and rows["c"]["seeds"] == [0, 1]
    calls.clear()
    monkeypatch.setattr(compare.checkpoint, "load_model", lambda path: (None, None, f"another {path}"))
    compare.compare(config, str(tmp_path))  # other weights at the same place
    assert {place for _, place in calls} == {"b/restored", "c/seed_0", "c/seed_1"}


def test_folds_are_runs_of_their_own_and_rates_are_averaged_over_them(calls, tmp_path, monkeypatch):
    def open_split(config, split):
        source = make_source(drivers=4, targets=1, clips=3, frames=4)
        for record in source.records:
            for name in ("driver", "target", "video_id"):
                record[name] = f"{config.data.fold}-{record[name]}"
        return source

    monkeypatch.setattr(datasets, "open_split", open_split)
    config = comparison("a", "b", seeds=(0,))
    config.data.folds = 3
    compare.compare(config, str(tmp_path))
    assert [place for what, place in calls if what == "train"][:3] == ["fold_0/seed_0"] * 2 + ["fold_1/seed_0"]
    assert (
        json.loads((tmp_path / "b" / "fold_2" / "seed_0" / compare.RUN_FILE).read_text())["training"]["data"]["fold"]
        == 2
    )
    found = table_of(tmp_path)
    row = found["systems"][1]
    assert [fold["fold"] for fold in row["folds"]] == [0, 1, 2] and len(found["protocol"]) == 3
    assert row["rates"]["auc"]["value"] == pytest.approx(np.mean([fold["auc"] for fold in row["folds"]]))
    assert row["trials"] == sum(protocol["trials"] for protocol in found["protocol"])


def test_test_sets_make_a_row_each_and_the_difference_between_them(calls, tmp_path):
    config = comparison("a", "b")
    config.compare.tests.clear = {"anonymise": False}
    config.compare.tests.hidden = {"anonymise": True}
    config.compare.reference = "a_on_clear"
    compare.compare(config, str(tmp_path))
    found = table_of(tmp_path)
    assert [row["system"] for row in found["systems"]] == ["a_on_clear", "a_on_hidden", "b_on_clear", "b_on_hidden"]
    assert len([what for what, _ in calls if what == "train"]) == 4
    assert (tmp_path / "a" / "seed_0" / "evaluation_hidden" / "scores.csv").exists()
    first = found["contrasts"][0]
    assert [(row["system"], row["minus"]) for row in found["contrasts"]] == [
        ("a_on_hidden", "a_on_clear"),
        ("b_on_hidden", "b_on_clear"),
        ("b_on_clear", "a_on_clear"),
        ("b_on_hidden", "a_on_hidden"),
    ]
    assert first["auc"] == {
        "value": 0.0,
        "low": 0.0,
        "high": 0.0,
        "replicates_used": 20,
    }  # made-up scores look at neither


def test_test_sets_of_other_people_are_refused(calls, tmp_path):
    config = comparison("a")
    config.compare.tests.here = {"dataset": "synthetic_drivers/x"}
    config.compare.tests.there = {"dataset": "other/people"}
    with pytest.raises(RatesError, match="a_on_there has 1 drivers that a_on_here has not, and lacks 0"):
        compare.compare(config, str(tmp_path))


def test_a_damaged_report_is_named(tmp_path):
    result = compare_table.RunResult("a", "a", "", 0, None, tmp_path, "", {}, "here")
    with pytest.raises(RatesError, match=r"report.json: no report"):
        compare_table.read_report(result)
