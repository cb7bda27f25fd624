"""The log of a run: exact numbers, cut back on resume, readable after a kill."""

import json
import math

import pytest

from fingerprint import metrics_log
from fingerprint.metrics_log import MetricsLog


def write(workdir, steps, resume_step=0, **values):
    log = MetricsLog(workdir, resume_step=resume_step, num_steps=10, enabled=True)
    for step in steps:
        log.write(step, {"loss": step / 3, **values})
        log.progress(step, loss="…")
    log.say("done")
    log.close()


def steps(workdir):
    return [row["step"] for row in metrics_log.read(workdir)]


def test_numbers_read_back_exactly(tmp_path):
    values = {"a": 0.1 + 0.2, "b": 1e-300, "c": 3, "d": math.pi, "e": True}
    write(tmp_path, [1, 2], **values)
    assert metrics_log.read(tmp_path) == [{"step": s, "loss": s / 3, **values} for s in (1, 2)]


def test_not_a_number_reads_back(tmp_path):
    write(tmp_path, [1], bad=math.nan, endless=math.inf)
    (row,) = metrics_log.read(tmp_path)
    assert math.isnan(row["bad"]) and row["endless"] == math.inf


def test_no_log_is_an_empty_one(tmp_path):
    assert metrics_log.read(tmp_path) == []


def test_rows_past_the_step_resumed_from_are_dropped(tmp_path):
    write(tmp_path, range(1, 7))
    write(tmp_path, [4, 5], resume_step=3, again=1)
    rows = metrics_log.read(tmp_path)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row.get("again") for row in rows] == [None, None, None, 1, 1]


def test_a_fresh_start_begins_an_empty_log(tmp_path):
    write(tmp_path, [1, 2])
    write(tmp_path, [1])
    assert steps(tmp_path) == [1]


@pytest.mark.parametrize("cut", [1, 5, 12, 19])
def test_a_half_written_last_line_is_left_out_and_written_over(tmp_path, cut):
    write(tmp_path, [1, 2, 3])
    path = tmp_path / "train_log.jsonl"
    text = path.read_text()
    path.write_text(text[: len(text) - cut])
    assert steps(tmp_path) == ([1, 2, 3] if cut == 1 else [1, 2])  # without its newline a row is whole
    write(tmp_path, [3], resume_step=2)
    assert steps(tmp_path) == [1, 2, 3]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_every_row_is_on_disk_at_once(tmp_path):
    log = MetricsLog(tmp_path, resume_step=0, num_steps=3, enabled=True)
    log.write(1, {"loss": 0.5})
    assert steps(tmp_path) == [1]
    log.close()
    log.close()  # a second time does no harm
    assert not list(tmp_path.glob(".*"))


def test_tensorboard_gets_the_numbers(tmp_path):
    write(tmp_path, [1, 2], text="not a number")
    assert sum(path.stat().st_size for path in (tmp_path / "tensorboard").iterdir()) > 0


def test_the_other_processes_write_nothing(tmp_path):
    log = MetricsLog(tmp_path, resume_step=0, num_steps=3, enabled=False)
    log.write(1, {"loss": 0.5})
    log.progress(1)
    log.say("hello")
    log.close()
    assert list(tmp_path.iterdir()) == []
