"""A comparison from command to table, killed, stopped and resumed."""

import json
import signal
import subprocess
import sys
import time

import pytest

from tests.e2e.conftest import ROOT

pytestmark = pytest.mark.slow

CONFIG = """
from fingerprint import options


def get_config():
    config = options.comparison()
    config.compare.seeds = (0, 1)
    config.evaluate.replicates = 30
    for label, hidden in (("small", 4), ("large", 8)):
        entry = options.load("configs/quickstart.py", "full")
        entry.data.dataset = "synthetic_drivers/full_tiny"
        entry.data.window.length = entry.data.window.stride = 20
        entry.sampler.drivers_per_batch, entry.sampler.windows_per_driver = 4, 2
        entry.model.hidden, entry.model.features = hidden, 16
        entry.train.num_steps = entry.train.eval_every = entry.checkpoint.every = 2
        config.compare.entries[label] = entry
    return config
"""


@pytest.fixture(scope="module")
def start(program, tmp_path_factory):
    """Starts the comparison in a directory."""
    config = tmp_path_factory.mktemp("config") / "two.py"
    config.write_text(CONFIG, encoding="utf-8")

    def start(workdir, *more: str) -> subprocess.Popen:
        command = [
            sys.executable, "-m", "fingerprint.main", "--mode=compare", f"--config={config}", f"--workdir={workdir}",
            f"--config.data.data_dir={program.data}", *more,
        ]  # fmt: skip
        return subprocess.Popen(
            command, cwd=ROOT, env=program.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    return start


def end(process: subprocess.Popen, expect: int = 0) -> str:
    output, _ = process.communicate(timeout=900)
    assert process.returncode == expect, output[-4000:]
    return output


def wait_for(path, process: subprocess.Popen) -> None:
    deadline = time.time() + 600
    while not path.exists():
        assert process.poll() is None and time.time() < deadline, process.stdout.read()
        time.sleep(0.02)


def systems(workdir) -> list[dict]:
    """The table without what depends on the clock."""
    rows = json.loads((workdir / "comparison.json").read_text(encoding="utf-8"))["systems"]
    for row in rows:
        row["cost"] = {k: v for k, v in row["cost"].items() if k in ("parameters", "operations_per_window")}
    return rows


def test_killed_and_stopped_half_way_the_same_command_makes_the_same_table(start, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    output = end(start(whole))
    assert "4 of 4: small, seed 1" in output and f"Comparison: {whole / 'comparison.html'}" in output
    process = start(broken)
    wait_for(broken / "small" / "seed_0" / "train_log.jsonl", process)
    process.send_signal(signal.SIGKILL)
    end(process, expect=-signal.SIGKILL)
    process = start(broken)
    wait_for(broken / "large" / "seed_1" / "config.json", process)
    process.send_signal(signal.SIGTERM)
    assert "the same command" in end(process, expect=75)
    assert not (broken / "comparison.json").exists()
    finished = (broken / "large" / "seed_0" / "evaluation" / "scores.csv").stat().st_mtime_ns
    end(start(broken))
    assert systems(broken) == systems(whole)
    assert (broken / "large" / "seed_0" / "evaluation" / "scores.csv").stat().st_mtime_ns == finished
    (row, _) = systems(whole)
    assert row["cost"]["operations_per_window"] > 1e5 and len(row["rates"]["auc"]["seeds"]) == 2
    refused = end(start(whole, "--config.compare.reference=tiny"), expect=1)
    assert "unknown reference of the comparison 'tiny'; known: large, small" in refused and "Traceback" not in refused
