"""The command line, and interrupted builds."""

import signal
import subprocess
import sys
import time

import pytest
import trees

from data_builders import build
from fingerprint.data import records
from fingerprint.errors import DatasetError

NAME = "landmark_folder/mine"


def run(*args, **kwargs):
    command = [sys.executable, "-m", "data_builders.build", *map(str, args)]
    return subprocess.run(command, cwd=trees.REPOSITORY, capture_output=True, text=True, timeout=120, **kwargs)


def test_help_is_quick_and_loads_no_tfds():
    started = time.perf_counter()
    result = run("--help")
    assert result.returncode == 0 and "--verify" in result.stdout and time.perf_counter() - started < 3
    code = "import sys, data_builders.build; sys.exit('tensorflow_datasets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=trees.REPOSITORY, check=False).returncode == 0


def test_list(capsys):
    assert build.main(["--list"]) == 0
    out = capsys.readouterr().out
    for text in (
        "avaprintdb: cremad_gaga",
        "originals_ravdess",
        "dynamics_only_quickstart",
        "--drop_first_frame",
        "nvfair: amber152, avaprintdb109, mediapipe478, nvfair126, originals_amber152",
        "cremad_gaga_videos_mediapipe478",
        "options: --channels, --landmark_model, --processes, --resample_fps, --source, --splits_csv, --tracks",
    ):
        assert text in out


def test_build_verify_and_overwrite(tmp_path):
    tree, data = trees.landmark_folder(tmp_path / "tree"), tmp_path / "data"
    result = run(NAME, "--source", tree, "--data_dir", data)
    assert result.returncode == 0, result.stderr
    assert str(data / NAME / "1.0.0") in result.stdout and "3 drivers" in result.stdout and " s\n" in result.stdout
    assert "100%" in result.stderr and "Downloading" not in result.stdout
    result = run(NAME, "--data_dir", data, "--verify")
    assert result.returncode == 0 and "every record read and checked" in result.stdout
    assert "no data set" in run("landmark_folder/none", "--data_dir", data, "--verify").stderr


def test_in_process(tmp_path, capsys):
    tree, data = trees.landmark_folder(tmp_path / "tree"), tmp_path / "data"
    common = [NAME, "--source", str(tree), "--data_dir", str(data)]
    assert build.main(common) == 0
    shard = next((data / NAME / "1.0.0").glob("*train*"))
    before = shard.stat().st_mtime_ns
    assert build.main(common) == 0
    assert "already built" in capsys.readouterr().out and shard.stat().st_mtime_ns == before
    assert build.main([*common, "--seed", "1"]) == 1
    assert "--overwrite builds it anew" in capsys.readouterr().err
    trees.save(tree / "p0" / "p0" / "more.npy")
    assert build.main([*common, "--seed", "1", "--overwrite"]) == 0
    assert sum(len(records.open_split(data, NAME, s)) for s in ("train", "validation", "test")) == 11
    # A failing overwrite leaves the old one as it was.
    (tree / "p1" / "p1" / "bad.npy").write_bytes(b"")
    assert build.main([*common, "--overwrite"]) == 1
    assert sum(len(records.open_split(data, NAME, s)) for s in ("train", "validation", "test")) == 11
    assert "truncated" in (data / NAME / "failures.csv").read_text()
    assert str(data / NAME / "failures.csv") in capsys.readouterr().err
    assert not list(data.glob(".overwrite-*"))
    damaged = bytearray(shard.read_bytes())
    damaged[-1] ^= 1
    shard.write_bytes(damaged)
    assert build.main([NAME, "--data_dir", str(data), "--verify"]) == 1
    assert shard.name in capsys.readouterr().err


def test_equal_options_make_equal_files(tmp_path):
    """In two processes: protobuf's order of the fields changes from one to the next."""
    for data in ("a", "b"):
        run("synthetic_drivers/full_tiny", "--data_dir", tmp_path / data, check=True)
    one, other = (
        {str(p.relative_to(tmp_path / data)): p.read_bytes() for p in (tmp_path / data).rglob("*") if p.is_file()}
        for data in ("a", "b")
    )
    assert one == other and any("train.array_record" in name for name in one)


def test_wrong_usage(tmp_path, capsys):
    for args in ([], [NAME], [NAME, "--data_dir", str(tmp_path), "--nonsense"]):
        with pytest.raises(SystemExit) as exit_:
            build.main(args)
        assert exit_.value.code == 2
    assert build.main(["nothing/x", "--data_dir", str(tmp_path)]) == 1
    assert "known: avaprintdb" in capsys.readouterr().err
    assert build.main(["landmark_folder/../x", "--data_dir", str(tmp_path)]) == 1
    assert build.main(["avaprintdb/all", "--data_dir", str(tmp_path)]) == 1
    assert "zenodo" in capsys.readouterr().err


SLOW = """
import sys, time
from fingerprint.landmarks import arrays
from data_builders import build
load, done = arrays.load_landmarks, 0
def slow(*args, **kwargs):
    global done
    done += 1
    if done == 7:
        print("HALFWAY", file=sys.__stdout__, flush=True)
        time.sleep(60)
    return load(*args, **kwargs)
arrays.load_landmarks = slow
sys.exit(build.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_build_is_never_read(tmp_path, how):
    tree, data = trees.landmark_folder(tmp_path / "tree"), tmp_path / "data"
    args = [NAME, "--source", str(tree), "--data_dir", str(data)]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *args],
        cwd=trees.REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout.readline() == "HALFWAY\n"
        half = list((data / NAME).glob("incomplete.*"))
        assert len(half) == 1 and list(half[0].iterdir())
        process.send_signal(how)
        code = process.wait(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert code == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[how]
    # SIGKILL leaves the incomplete folder, the others take it with them; neither is ever opened.
    assert half[0].exists() == (how == signal.SIGKILL)
    with pytest.raises(DatasetError, match="no data set"):
        records.open_split(data, NAME, "train")
    assert build.main(args) == 0
    assert len(records.open_split(data, NAME, "train", verify=True)) == 6


AS_TFDS_DOES = """
import importlib, sys
import tensorflow_datasets as tfds
folder, name, config, manual, data = sys.argv[1:]
sys.path.insert(0, folder)
cls = importlib.import_module(f"{name}.{name}_dataset_builder").Builder
assert cls.name == name and cls.get_metadata().citation
builder = cls(data_dir=data, config=config, file_format="array_record")
builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual))
"""


@pytest.mark.parametrize(
    ("name", "config"),
    [("landmark_folder", "avaprintdb109"), ("avaprintdb", "cremad_gaga"), ("synthetic_drivers", "full_tiny")],
)
def test_imported_and_built_as_the_tfds_command_does(tmp_path, name, config):
    """The steps of `tfds build` in a builder's folder, without TensorFlow."""
    manual = trees.dummy_data(name) if name != "synthetic_drivers" else tmp_path
    command = [
        sys.executable,
        "-c",
        AS_TFDS_DOES,
        trees.REPOSITORY / "data_builders",
        name,
        config,
        manual,
        tmp_path,
    ]
    subprocess.run(list(map(str, command)), cwd=trees.REPOSITORY, check=True, timeout=120, capture_output=True)
    assert len(records.open_split(tmp_path, f"{name}/{config}", "train", verify=True))
