"""Extraction on Apache Beam against extraction without it. To run these tests:

pip install -e ".[beam,test]"
python -m pytest tests/data_builders/test_extract_on_beam.py
"""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
import trees

from data_builders import extract_on_beam
from fingerprint.errors import DatasetError, ModelFileMissing
from fingerprint.landmarks import batch, video

needs_beam = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None, reason='apache_beam is not installed: pip install -e ".[beam]"'
)
CLIPS = ("liveportrait_d10.mp4", "s18.mp4", "grid_bbaf2n.mpg")


@pytest.fixture(scope="module")
def tree(shared, tmp_path_factory):
    """Cuts of three clips in folders, a video without a face, a file that is no video, a hidden one, a way out."""
    root = tmp_path_factory.mktemp("tree")
    for i, clip in enumerate(CLIPS):
        trees.cut(shared / "data" / "videos" / "talking" / clip, root / f"part {i}" / f"{clip[:3]}.mp4", frames=10)
    grey = np.full((120, 160, 3), 128, np.uint8)
    video.write_video(root / "grey.mp4", [grey] * 5, 25.0)
    (root / "broken.mp4").write_bytes(b"not a video" * 100)
    (root / "._s18.mp4").write_bytes(b"left by a file manager")
    (root / "readme.txt").write_text("no video")
    outside = trees.cut(root / "part 0" / "liv.mp4", tmp_path_factory.mktemp("outside") / "clip.mp4", frames=5)
    (root / "leaving.mp4").symlink_to(outside)
    return root


@pytest.fixture(scope="module")
def model(shared):
    return shared / "models" / "face_landmarker.task"


@pytest.fixture(scope="module")
def local(tree, model, tmp_path_factory):
    """What extraction without Beam writes."""
    out = tmp_path_factory.mktemp("local")
    summary = batch.extract_all(batch.find_videos([tree]), out, model_file=model)
    assert summary.done == 3 and summary.no_face == 1 and summary.hidden == 1
    return contents(out), summary


def contents(out):
    """Every track file and the list of failures, by name."""
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.suffix in (".npz", ".csv")}


def run(*args):
    command = [sys.executable, "-m", "data_builders.extract_on_beam", *map(str, args)]
    return subprocess.run(command, cwd=trees.REPOSITORY, capture_output=True, text=True, timeout=300, check=False)


@needs_beam
def test_several_workers_write_the_same_bytes_and_resume(tree, model, local, tmp_path):
    arguments = ["--source", tree, "--out", tmp_path, "--landmark_model", model, "--failure_budget", "0.6"]
    runner = ["--", "--runner=DirectRunner", "--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    done = run(*arguments, *runner)
    assert done.returncode == 0, done.stderr
    wanted, summary = local
    assert contents(tmp_path) == wanted and len(wanted) == 5
    assert json.loads((tmp_path / "summary.json").read_text()) == {
        "files": summary.files,
        "failed": summary.failed + summary.no_face,
        "reasons": summary.reasons,
        "fta_rate": summary.fta_rate,
    }
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.track.npz")}
    assert extract_on_beam.main([str(a) for a in arguments]) == 0
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.track.npz")} == before and contents(tmp_path) == wanted
    # A track that is cut off is made anew.
    cut = next(iter(before))
    cut.write_bytes(cut.read_bytes()[:1000])
    assert extract_on_beam.main([str(a) for a in arguments]) == 0 and contents(tmp_path) == wanted


@needs_beam
def test_more_failures_than_the_budget(tree, model, tmp_path, capsys):
    arguments = ["--source", tree, "--out", tmp_path, "--landmark_model", model]
    assert extract_on_beam.main([str(a) for a in arguments]) == 1
    assert "more failures than the budget of 1.00%" in capsys.readouterr().err


@needs_beam
def test_addresses(tree, model, local, tmp_path, far):
    """Source, tracks and model at addresses that only Beam opens: what a worker of a cluster sees."""
    arguments = ["--source", f"far:/{tree}", "--out", f"far:/{tmp_path}", "--landmark_model", f"far:/{model}"]
    for _ in range(2):
        assert extract_on_beam.main([*arguments, "--failure_budget", "1"]) == 0
        # A link is followed there: behind an address there are none.
        wanted = {name: data for name, data in local[0].items() if name != "failures.csv"}
        found = contents(tmp_path)
        assert {name: found[name] for name in wanted} == wanted
        assert b"broken.mp4,not_a_video" in found["failures.csv"] and b"grey.mp4,no_face" in found["failures.csv"]
        assert b"._s18" not in found["failures.csv"]
    with pytest.raises(DatasetError, match="no video in far:"):
        extract_on_beam.extract_all(f"far:/{tmp_path}", str(tmp_path), landmark_model=str(model))


@pytest.fixture
def far():
    """A file system of Beam's whose addresses `far://PATH` nothing else can open."""
    from apache_beam.io.filesystem import FileMetadata, MatchResult
    from apache_beam.io.localfilesystem import LocalFileSystem

    near = LocalFileSystem(None)

    def here(address):
        assert address.startswith("far://")
        return address.removeprefix("far:/")

    class FarFileSystem(LocalFileSystem):
        @classmethod
        def scheme(cls):
            return "far"

        def match(self, patterns, limits=None):
            results = near.match([here(pattern) for pattern in patterns], limits)
            return [
                MatchResult(r.pattern, [FileMetadata(f"far:/{m.path}", m.size_in_bytes) for m in r.metadata_list])
                for r in results
            ]

        def open(self, path, *args, **kwargs):
            return near.open(here(path), *args, **kwargs)

        def create(self, path, *args, **kwargs):
            return near.create(here(path), *args, **kwargs)

        def exists(self, path):
            return near.exists(here(path))

        def rename(self, sources, targets):
            return near.rename([here(s) for s in sources], [here(t) for t in targets])

    return FarFileSystem


@needs_beam
def test_what_cannot_begin(tree, tmp_path, monkeypatch):
    monkeypatch.delenv("FINGERPRINT_FACE_LANDMARKER", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(ModelFileMissing):
        extract_on_beam.extract_all(str(tree), str(tmp_path / "out"))
    with pytest.raises(DatasetError, match="absent is no folder"):
        extract_on_beam.extract_all(str(tree / "absent"), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_without_beam(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    assert extract_on_beam.main(["--source", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert 'pip install -e ".[beam]"' in capsys.readouterr().err


def test_help_needs_no_beam():
    done = run("--help")
    assert done.returncode == 0 and "--landmark_model" in done.stdout
