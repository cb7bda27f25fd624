"""Runs of the real program on a tiny built data set."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory) -> pathlib.Path:
    """A built `synthetic_drivers/full_tiny`."""
    folder = tmp_path_factory.mktemp("data")
    command = [sys.executable, "-m", "data_builders.build", "synthetic_drivers/full_tiny", "--data_dir", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    return folder


@dataclasses.dataclass
class Program:
    """`python -m fingerprint.main` with a tiny network on the tiny data set."""

    data: pathlib.Path

    def command(self, workdir, *extra: str) -> list[str]:
        options = {
            "data.dataset": "synthetic_drivers/full_tiny",
            "data.data_dir": str(self.data),
            "data.window.length": 20,
            "data.window.stride": 20,
            "sampler.drivers_per_batch": 4,
            "sampler.windows_per_driver": 2,
            "augment.mirror": 0.5,
            "augment.jitter": 0.01,
            "augment.reenact": 0.3,
            "model.hidden": 8,
            "model.features": 16,
            "train.num_steps": 12,
            "train.eval_every": 4,
            "checkpoint.every": 2,
            "evaluate.replicates": 30,
        }
        return [
            sys.executable, "-m", "fingerprint.main", "--config=configs/quickstart.py", f"--workdir={workdir}",
            *(f"--config.{name}={value}" for name, value in options.items()), *extra,
        ]  # fmt: skip

    def environment(self, devices: int = 1) -> dict[str, str]:
        return {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        }

    def run(self, workdir, *extra: str, devices: int = 1, expect: int = 0) -> subprocess.CompletedProcess:
        done = subprocess.run(
            self.command(workdir, *extra),
            cwd=ROOT,
            env=self.environment(devices),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == expect, done.stderr[-3000:] + done.stdout[-2000:]
        return done

    def start(self, workdir, *extra: str, devices: int = 1) -> subprocess.Popen:
        return subprocess.Popen(
            self.command(workdir, *extra),
            cwd=ROOT, env=self.environment(devices), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip


def losses(workdir) -> dict[int, float]:
    """Loss by step from a run's log; every step must stand once."""
    rows = [json.loads(line) for line in (pathlib.Path(workdir) / "train_log.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in rows if "loss" in row]
    assert len(steps) == len(set(steps))
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


@pytest.fixture(scope="session")
def program(tiny_data) -> Program:
    return Program(tiny_data)


@pytest.fixture(scope="session")
def finished_run(program, tmp_path_factory) -> pathlib.Path:
    """An uninterrupted run, trained and evaluated."""
    workdir = tmp_path_factory.mktemp("run")
    program.run(workdir)
    return workdir
