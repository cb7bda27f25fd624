"""The quickstart notebook: runs headless from top to bottom, and is committed clean."""

import base64
import copy
import html
import json
import pathlib
import re
import shutil
import subprocess
import sys
import types

import nbclient
import nbformat
import numpy as np
import pytest

from fingerprint.verification import score_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "quickstart.ipynb"
# A path from the root, a home or a drive, where one can begin: at a quote, a bracket, a blank, an equals sign.
ABSOLUTE_PATH = re.compile(r"""(?:^|["'`(\[\s=])(?:/|~/|[A-Za-z]:\\|file:)[A-Za-z]""", re.MULTILINE)


@pytest.fixture(scope="module")
def committed():
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("notebook")


@pytest.fixture(scope="module")
def executed(committed, work):
    """Outputs of every code cell by its tag, after a run at the tiny size with the control asked for."""
    notebook = copy.deepcopy(committed)
    control = cell_of(notebook, "control")
    control.source = control.source.replace("RUN_CONTROL = False", "RUN_CONTROL = True")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FINGERPRINT_NOTEBOOK_SIZE", "tiny")
        patch.setenv("FINGERPRINT_NOTEBOOK_DIR", str(work))
        patch.setenv("IPYTHONDIR", str(work / "ipython"))
        resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
        nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    return {cell.metadata.tags[0]: cell for cell in notebook.cells if cell.cell_type == "code"}


def cell_of(notebook, tag: str):
    return next(cell for cell in notebook.cells if tag in cell.metadata.get("tags", ()))


def data_of(cell, mime: str) -> list[str]:
    return [output["data"][mime] for output in cell.outputs if mime in output.get("data", {})]


def text_of(cell) -> str:
    return "".join(output["text"] for output in cell.outputs if output["output_type"] == "stream")


def report_of(workdir: pathlib.Path) -> dict:
    return json.loads((workdir / "evaluation" / "report.json").read_text(encoding="utf-8"))


def test_every_cell_ran_and_none_failed(executed, work):
    assert [cell.execution_count for cell in executed.values()] == list(range(1, len(executed) + 1))
    for tag, cell in executed.items():
        assert not [output for output in cell.outputs if output["output_type"] == "error"], tag
    assert re.search(r"JAX \d\S* runs on \d+ [A-Z]+ device", text_of(executed["run"]))
    assert {path.name for path in work.iterdir()} >= {"data", "runs"}


DRAWN = ("track", "windows", "normalizations", "pairs", "curves", "figures", "attention", "trial-figure")


@pytest.mark.parametrize("tag", DRAWN)
def test_cells_that_draw_show_pictures(executed, tag):
    images = [base64.b64decode(image) for image in data_of(executed[tag], "image/png")]
    assert images and all(image.startswith(b"\x89PNG") and len(image) > 5000 for image in images)


def test_the_normalisations_are_told_as_the_registry_says(executed):
    table = "".join(data_of(executed["normalizations"], "text/markdown"))
    assert "| `published` | framing, scale, translation |" in table
    assert "| `motion_only` | aspect, framing, rotation, scale, shape, translation |" in table


def test_one_face_with_two_drivers_and_two_faces_with_one(executed):
    line = r"faces ([\d.]+) inner-eye distances apart, mouth movements correlate ([+-][\d.]+)"
    found = re.findall(line, text_of(executed["pairs"]))
    (face_ab, motion_ab), (face_bc, motion_bc) = np.array(found, float)
    assert face_ab < 0.5 * face_bc and motion_ab < motion_bc and motion_bc > 0.9


def test_the_report_is_the_runs_report(executed, work):
    report = report_of(work / "runs" / "tiny")
    assert report["headline"] in "".join(data_of(executed["headline"], "text/markdown"))
    rates = "".join(data_of(executed["rates"], "text/markdown"))
    assert re.search(r"\| all \| .*\[.*\].* \| .* % \[", rates)
    controls = "".join(data_of(executed["controls"], "text/markdown"))
    assert all(row["name"].replace("_", " ") in controls and row["reading"] in controls for row in report["controls"])
    (frame,) = data_of(executed["page"], "text/html")
    srcdoc = re.fullmatch(r'<div><iframe sandbox srcdoc="([^"]*)" title="report" [^>]*></iframe></div>', frame)[1]
    assert html.unescape(srcdoc) == (work / "runs" / "tiny" / "evaluation" / "report.html").read_text(encoding="utf-8")


def test_the_trial_by_hand_has_the_score_of_the_evaluation(executed, work):
    text = text_of(executed["trial"])
    enrolled, *probes = re.findall(r"^(?:enrolled|probe): .* (\S+)$", text, re.MULTILINE)
    line = r"^driven by (.+): score (-?[\d.]+) (>=|<) threshold (-?[\d.]+), (\w+) \((\w+)\)$"
    lines = re.findall(line, text, re.MULTILINE)
    assert [line[0] for line in lines] == ["X", "somebody else"] and len(probes) == 2
    table = score_file.read(work / "runs" / "tiny" / "evaluation" / "scores.csv")
    template = np.array(table.videos)[[rows[0] for rows in table.templates]][table.template_index].tolist()
    pairs = [frozenset(pair) for pair in zip(template, np.array(table.videos)[table.probe_index].tolist(), strict=True)]
    threshold = report_of(work / "runs" / "tiny")["thresholds"]["eer"]["threshold"]
    for probe, (_, score, sign, shown, verdict, right), mated in zip(probes, lines, (True, False), strict=True):
        row = pairs.index(frozenset((enrolled, probe)))
        assert table.mated[row] == mated and float(score) == pytest.approx(table.scores[row], abs=6e-4)
        assert float(shown) == pytest.approx(threshold, abs=6e-4)
        assert (sign == ">=") == (verdict == "accepted") == (mated == (right == "right"))


def test_the_control_runs_only_when_asked(committed, executed, work):
    assert "RUN_CONTROL = False" in cell_of(committed, "control").source
    headline = report_of(work / "runs" / "dynamics_only_tiny")["headline"]
    assert headline in "".join(data_of(executed["control"], "text/markdown"))


def test_committed_without_outputs(committed):
    nbformat.validate(committed)
    code = [cell for cell in committed.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert committed.metadata["kernelspec"]["name"] == "python3" and "colab" in committed.metadata


def test_names_no_absolute_path(committed):
    assert all(ABSOLUTE_PATH.search(text) for text in ('x = "/home/me"', "cd ~/code", r"'C:\data'"))
    found = {cell.id: ABSOLUTE_PATH.findall(cell.source) for cell in committed.cells}
    assert not {name: paths for name, paths in found.items() if paths}


def test_links_lead_somewhere(committed):
    links = [link for cell in committed.cells for link in re.findall(r"\]\((?!https?:)([^)#]+)", cell.source)]
    assert "../README.md" in links and "../docs" in links
    assert not [link for link in links if not (NOTEBOOK.parent / link).exists()]


@pytest.mark.parametrize(
    ("driver", "wanted"),
    [("", ["-e", "."]), ("| Driver Version: 550.54.15   CUDA Version: 12.4 |", ["-e", ".", "jax[cuda12]"])],
)
def test_on_colab_it_clones_and_installs(committed, monkeypatch, tmp_path, driver, wanted):
    commands = []

    def run(command, **options):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, stdout=driver)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(shutil, "which", lambda name: name if driver else None)
    source = cell_of(committed, "setup").source
    with pytest.raises(ValueError, match="set REPOSITORY"):
        exec(source, {})
    assert commands == []
    names: dict = {}
    exec(source.replace("OWNER/", "somebody/", 1), names)
    assert commands[0][:2] == ["git", "clone"] and "https://github.com/somebody/fingerprint.git" in commands[0]
    assert commands[-1][:4] == [sys.executable, "-m", "pip", "install"] and commands[-1][-len(wanted) :] == wanted
    assert names["REPO"] == tmp_path / "fingerprint" and sys.path[0] == str(names["REPO"])


def test_outside_a_checkout_it_says_so(committed, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(FileNotFoundError, match="no checkout at or above"):
        exec(cell_of(committed, "setup").source, {})
