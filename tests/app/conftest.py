"""A gallery made with a small model and made-up faces."""

import json
import os
import shutil
import subprocess
import sys
import types

import pytest
from made_up import save_model, write_track

PEOPLE = ("ada", "bob", "cyd")


@pytest.fixture(scope="session")
def tracks(tmp_path_factory):
    """`<person>/<take>.track.npz` of a dozen people, four takes each."""
    folder = tmp_path_factory.mktemp("tracks")
    for person in range(12):
        for take in range(4):
            write_track(folder / f"person{person:02d}" / f"take{take}.track.npz", person, take, frames=80 + 10 * take)
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model") / "model")


class Fingerprint:
    """The console command in a process of its own; `expect`: its exit code, None for any decision."""

    def __call__(self, *arguments, expect: int | None = 0, **environment) -> types.SimpleNamespace:
        done = subprocess.run(
            [sys.executable, "-c", "from fingerprint.app.cli import main; main()", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            env={**os.environ, "JAX_PLATFORMS": "cpu", "COLUMNS": "160", "NO_COLOR": "1", **environment},
        )
        answered = done.returncode in ((0, 3, 4) if expect is None else (expect,))
        assert answered, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        document = json.loads(done.stdout) if "--json" in arguments and done.stdout else None
        return types.SimpleNamespace(out=done.stdout, err=done.stderr, json=document)


@pytest.fixture(scope="session")
def fingerprint() -> Fingerprint:
    return Fingerprint()


@pytest.fixture(scope="session")
def gallery(tmp_path_factory, tracks, model):
    """Three of the people enrolled with two takes each, calibrated on the nine others."""
    from fingerprint.app import commands

    how = commands.Acquisition(fps=None, tracks=None, landmark_model=None, processes=1, quiet=True)
    folder = tmp_path_factory.mktemp("gallery") / "gallery"
    others = tmp_path_factory.mktemp("others")
    for person in range(3, 12):
        shutil.copytree(tracks / f"person{person:02d}", others / f"person{person:02d}")
    for person, name in enumerate(PEOPLE):
        takes = [tracks / f"person{person:02d}" / f"take{take}.track.npz" for take in (0, 1)]
        commands.enroll(name, takes, folder, model, add=False, how=how)
    commands.calibrate(others, folder, None, source="made-up people", how=how)
    return folder
