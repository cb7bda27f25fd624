"""Many videos: the same bytes however the work is divided, interrupted or taken up again; nothing fails silently."""

import dataclasses
import fcntl
import json
import multiprocessing
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import bad_videos
import pytest

from fingerprint.errors import ArrayRefused, ConfigError, DatasetError, ModelFileMissing, WorkdirLocked
from fingerprint.landmarks import batch, track
from fingerprint.landmarks.extract import ExtractionOptions

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CLIPS = {"a.mp4": "liveportrait_d10.mp4", "b.mp4": "liveportrait_d18.mp4", "deep/c.mp4": "liveportrait_d19.mp4"}
BATCH = """
import sys
from fingerprint import workdir
from fingerprint.landmarks import batch

if __name__ == "__main__":
    with workdir.StopFlag().listening() as flag:
        summary = batch.extract_all(
            batch.find_videos([sys.argv[1]]), sys.argv[2], model_file=sys.argv[3], processes=2,
            on_progress=lambda progress: print(progress.frames, flush=True), stopped=lambda: flag.is_set,
        )
    sys.exit(workdir.EXIT_STOPPED if summary.stopped else 0)
"""


@pytest.fixture(scope="module")
def model_file(shared):
    return shared / "models" / "face_landmarker.task"


@pytest.fixture(scope="module")
def tree(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    (folder / "deep").mkdir()
    for name, source in CLIPS.items():
        bad_videos.cut(shared / "data" / "videos" / "talking" / source, folder / name, 36, every=2)
    return folder


@pytest.fixture(scope="module")
def undisturbed(tree, model_file, tmp_path_factory):
    """The tree extracted once by one process: summary and the bytes of each file."""
    out = tmp_path_factory.mktemp("undisturbed")
    return batch.extract_all(batch.find_videos([tree]), out, model_file=model_file), files_in(out)


def files_in(out: pathlib.Path) -> dict[str, bytes]:
    """All that a batch leaves but the times in its summary, by name."""
    found = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    return {name: content for name, content in found.items() if name not in (".lock", batch.SUMMARY)}


@pytest.fixture
def extracted(tree, undisturbed, tmp_path):
    """A copy of the tree, the files of an undisturbed extraction of it, and a function that extracts again."""
    videos, out = tmp_path / "videos", tmp_path / "out"
    shutil.copytree(tree, videos)
    for name, content in undisturbed[1].items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
    return videos, out


def failures(out: pathlib.Path) -> dict[str, tuple[str, str]]:
    return {row["file"]: (row["reason"], row["detail"]) for row in batch.read_failures(out)}


# ------------------------------------------------------------------------------------------------ which videos


def names(found):
    return [(entry.name, entry.refused) for entry in found]


def test_a_tree_gives_its_videos_in_order_and_says_what_it_leaves_out(tmp_path):
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    for path in (tree / "b.MP4", tree / "a" / "z.webm", tree / "notes.txt", outside / "c.mp4"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tree / ".hidden.mp4").write_bytes(b"x")
    (tree / ".trash").mkdir()
    (tree / ".trash" / "old.mov").write_bytes(b"x")
    (tree / "folder.avi").mkdir()
    (tree / "folder.avi" / "in.avi").write_bytes(b"x")
    (tree / "leaves.mp4").symlink_to(outside / "c.mp4")
    (tree / "linked_folder").symlink_to(outside)
    (tree / "stays.mp4").symlink_to(tree / "b.MP4")
    (tree / "same_folder").symlink_to(tree / "a")
    assert names(batch.find_videos([tree])) == [
        (".hidden.mp4", "hidden"),
        (".trash/old.mov", "hidden"),
        ("a/z.webm", ""),
        ("b.MP4", ""),
        ("folder.avi", "not_a_file"),
        ("folder.avi/in.avi", ""),
        ("leaves.mp4", "outside_root"),
        ("linked_folder", "outside_root"),
        ("stays.mp4", ""),
    ]


def test_a_named_file_is_taken_whatever_it_is_called(tmp_path):
    for name in ("odd.name", ".hidden.mp4", "absent.mp4"):
        assert names(batch.find_videos([tmp_path / name])) == [(name, "")]
    (tmp_path / ".hidden.mp4").write_bytes(b"x")
    for paths in ([tmp_path, tmp_path / ".hidden.mp4"], [tmp_path / ".hidden.mp4", tmp_path]):
        assert names(batch.find_videos(paths)) == [(".hidden.mp4", "")]


def test_one_video_named_twice_is_one_and_two_of_one_name_are_an_error(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.mp4").write_bytes(b"x")
    assert names(batch.find_videos([tmp_path / "x", tmp_path / "x" / "a.mp4"])) == [("a.mp4", "")]
    with pytest.raises(DatasetError, match=r"x/a\.mp4 and .*y/a\.mp4 would both"):
        batch.find_videos([tmp_path / "x", tmp_path / "y" / "a.mp4"])
    assert names(batch.find_videos([tmp_path])) == [("x/a.mp4", ""), ("y/a.mp4", "")]


def test_no_video_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match=r"no video in .*\.mp4"):
        batch.find_videos([tmp_path])
    (tmp_path / "._a.mp4").write_bytes(b"left by a file manager")
    with pytest.raises(DatasetError, match=r"no video in .*\.mp4.*; 1 hidden"):
        batch.find_videos([tmp_path])


def test_a_folder_that_cannot_be_listed_is_not_passed_over(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    (tmp_path / "a.mp4").write_bytes(b"x")
    scandir = os.scandir

    def refused(folder):
        if pathlib.Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refused)  # root may list everything
    with pytest.raises(DatasetError, match=r"locked: cannot be listed \(Permission denied\)"):
        batch.find_videos([tmp_path])


def test_what_a_killed_overlay_left_is_not_even_a_hidden_video(tmp_path):
    for name in ("a.mp4", "a.mp4.overlay.mp4", ".a.mp4.overlay.mp4.x7f2.mp4"):
        (tmp_path / name).write_bytes(b"x")
    assert names(batch.find_videos([tmp_path])) == [("a.mp4", "")]


# ------------------------------------------------------------------------------------------------ the batch


def test_all_is_extracted_and_counted(undisturbed, tree):
    summary, files = undisturbed
    assert sorted(files) == [*(f"{name}{track.SUFFIX}" for name in sorted(CLIPS)), batch.FAILURES]
    assert files[batch.FAILURES] == b"file,reason,detail\n"
    assert (summary.files, summary.done, summary.skipped, summary.failed, summary.no_face) == (3, 3, 0, 0, 0)
    assert summary.frames == summary.extracted_frames == 3 * 36
    assert summary.fta_rate == 0 and not summary.over_budget and not summary.stopped


def test_two_processes_give_the_bytes_of_one_and_tell_how_far_they_are(undisturbed, tree, model_file, tmp_path):
    seen = []
    videos = batch.find_videos([tree])
    summary = batch.extract_all(videos, tmp_path, model_file=model_file, processes=2, on_progress=seen.append)
    assert files_in(tmp_path) == undisturbed[1]
    assert json.loads((tmp_path / batch.SUMMARY).read_text()) == dataclasses.asdict(summary)
    frames = [progress.frames for progress in seen]
    assert frames == sorted(frames) and frames[-1] == 108 and seen[-1].finished == seen[-1].files == 3
    assert any(progress.finished < 1 and progress.frames for progress in seen)  # while a video runs
    assert seen[0].seconds_left > seen[-1].seconds_left == 0
    assert seen[-1].frames_per_second >= summary.frames_per_second > 0


def test_what_is_done_is_not_done_again(extracted, undisturbed, model_file):
    videos, out = extracted
    before = {path: path.stat().st_ino for path in out.rglob(f"*{track.SUFFIX}")}
    for path in videos.rglob("*.mp4"):
        os.utime(path, (1, 1))  # times decide nothing
    summary = batch.extract_all(batch.find_videos([videos]), out, model_file=model_file)
    assert (summary.done, summary.skipped, summary.frames, summary.extracted_frames) == (0, 3, 108, 0)
    assert {path: path.stat().st_ino for path in before} == before and files_in(out) == undisturbed[1]


def test_other_bytes_of_a_video_and_damaged_tracks_are_extracted_again(extracted, undisturbed, model_file):
    videos, out = extracted
    was = (videos / "a.mp4").stat()
    shutil.copyfile(videos / "b.mp4", videos / "a.mp4")
    os.utime(videos / "a.mp4", ns=(was.st_atime_ns, was.st_mtime_ns))
    flipped = bytearray(undisturbed[1][f"b.mp4{track.SUFFIX}"])
    flipped[len(flipped) // 2] ^= 1
    (out / f"b.mp4{track.SUFFIX}").write_bytes(flipped)
    half = undisturbed[1][f"deep/c.mp4{track.SUFFIX}"]
    (out / f"deep/c.mp4{track.SUFFIX}").write_bytes(half[: len(half) // 2])
    summary = batch.extract_all(batch.find_videos([videos]), out, model_file=model_file)
    assert (summary.done, summary.skipped) == (3, 0)
    files = files_in(out)
    for name in ("b.mp4", "deep/c.mp4"):
        assert files[f"{name}{track.SUFFIX}"] == undisturbed[1][f"{name}{track.SUFFIX}"]
    assert (
        track.read(out / f"a.mp4{track.SUFFIX}").provenance["sha256"]
        == track.read(out / f"b.mp4{track.SUFFIX}").provenance["sha256"]
    )


def test_other_options_extract_again(extracted, undisturbed, model_file):
    videos, out = extracted
    options = ExtractionOptions(mode="image")
    (entry,) = batch.find_videos([videos / "a.mp4"])
    again = [batch.extract_all([entry], out, model_file=model_file, options=options) for _ in range(2)]
    assert [(summary.done, summary.skipped) for summary in again] == [(1, 0), (0, 1)]
    assert files_in(out)[f"a.mp4{track.SUFFIX}"] != undisturbed[1][f"a.mp4{track.SUFFIX}"]


def test_the_track_of_what_a_video_was_does_not_stay_when_it_is_damaged(extracted, model_file):
    videos, out = extracted
    (videos / "a.mp4").write_bytes(b"no longer a video")
    summary = batch.extract_all(batch.find_videos([videos]), out, model_file=model_file, failure_budget=0.34)
    assert (summary.failed, summary.skipped, summary.over_budget) == (1, 2, False)
    assert summary.fta_rate == pytest.approx(1 / 3) and summary.reasons == {"not_a_video": 1}
    assert not (out / f"a.mp4{track.SUFFIX}").exists() and failures(out)["a.mp4"][0] == "not_a_video"
    # Gone is not damaged: the disk may come back.
    (videos / "b.mp4").rename(videos / "elsewhere")
    summary = batch.extract_all(batch.find_videos([videos / "b.mp4"]), out, model_file=model_file)
    assert failures(out) == {"b.mp4": ("missing", "cannot be opened: No such file or directory")}
    assert (out / f"b.mp4{track.SUFFIX}").exists() and summary.over_budget


@pytest.mark.usefixtures("extracted")
def test_paths_that_lead_up_from_another_folder(undisturbed, model_file, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = batch.find_videos(["../videos", "../videos/a.mp4"])
    assert names(found) == [(name, "") for name in CLIPS]
    summary = batch.extract_all(found, "../new", model_file=model_file)
    assert (summary.done, summary.failed) == (3, 0) and files_in(tmp_path / "new") == undisturbed[1]
    (entry,) = batch.find_videos(["../elsewhere/../videos/a.mp4"])
    assert batch.extract_all([entry], "../new", model_file=model_file).skipped == 1


def test_hidden_files_are_counted_and_are_no_failures(extracted, undisturbed, model_file):
    videos, out = extracted
    (videos / "._a.mp4").write_bytes(b"left by a file manager")
    seen = []
    summary = batch.extract_all(batch.find_videos([videos]), out, model_file=model_file, on_progress=seen.append)
    assert (summary.files, summary.hidden, summary.skipped, summary.failed) == (3, 1, 3, 0)
    assert summary.fta_rate == 0 and summary.reasons == {} and not summary.over_budget and not summary.stopped
    assert seen[-1].files == seen[-1].finished == 3 and files_in(out) == undisturbed[1]


def test_what_killed_processes_left_is_removed_and_nothing_else(extracted, model_file):
    videos, out = extracted
    left = [
        f".a.mp4{track.SUFFIX}.x7.partial",
        "deep/.c.mp4.overlay.mp4.x7f2.mp4",
        "deep/.c.mp4.avaprintdb109.npy.tmp.npy",
        ".failures.csv.x7f2",
        ".summary.json.x7f2",
    ]
    kept = ["a.mp4.overlay.mp4", "deep/c.mp4.avaprintdb109.npy", ".notes.npy", ".mine.mp4"]
    for name in (*left, *kept):
        (out / name).write_bytes(b"x")
    batch.extract_all(batch.find_videos([videos]), out, model_file=model_file)
    assert [name for name in (*left, *kept) if (out / name).exists()] == kept


@pytest.mark.parametrize("relative", ["../a.mp4", "/a.mp4"])
def test_no_track_is_looked_for_or_removed_outside_the_folder(relative, tree, model_file, tmp_path):
    (tmp_path / f"a.mp4{track.SUFFIX}").write_bytes(b"somebody's")
    entry = batch.VideoFile(tree / "deep", pathlib.PurePath(relative))
    with pytest.raises(ArrayRefused, match="leads out of"):
        batch.extract_all([entry], tmp_path / "out", model_file=model_file)
    assert (tmp_path / f"a.mp4{track.SUFFIX}").read_bytes() == b"somebody's"
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------------ interruptions


def start(tree, out, model_file) -> subprocess.Popen:
    """A batch with two workers in a process group of its own, under way."""
    script = out.parent / "run.py"
    script.write_text(BATCH)
    process = subprocess.Popen(
        [sys.executable, str(script), str(tree), str(out), str(model_file)],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while int(process.stdout.readline()) == 0:
        pass
    return process


def group_is_gone(group: int) -> bool:
    """Nobody of the process group is left, after at most ten seconds."""
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("killed", ["the whole group", pytest.param("the batch alone", marks=pytest.mark.slow)])
def test_after_a_kill_the_same_call_ends_with_the_same_bytes(killed, undisturbed, tree, model_file, tmp_path):
    out = tmp_path / "out"
    process = start(tree, out, model_file)
    time.sleep(random.uniform(0, 0.6))
    (os.killpg if killed == "the whole group" else os.kill)(process.pid, signal.SIGKILL)
    process.wait(30)
    assert group_is_gone(process.pid), "workers outlive their batch"
    for name, content in files_in(out).items():
        if name.endswith(track.SUFFIX) and not pathlib.Path(name).name.startswith("."):
            assert content == undisturbed[1][name]  # whole, or not there
    (out / f".a.mp4{track.SUFFIX}.x7.partial").write_bytes(b"left by a dead run")
    batch.extract_all(batch.find_videos([tree]), out, model_file=model_file)
    assert files_in(out) == undisturbed[1]


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_asked_to_stop_it_stops_and_the_same_call_goes_on(number, undisturbed, tree, model_file, tmp_path):
    out = tmp_path / "out"
    process = start(tree, out, model_file)
    os.killpg(process.pid, number)  # as Ctrl-C does: workers hear it as well
    assert process.wait(10) == 75 and group_is_gone(process.pid)
    summary = json.loads((out / batch.SUMMARY).read_text())
    assert summary["stopped"] and summary["done"] < 3 and failures(out) == {}
    assert not [name for name in files_in(out) if pathlib.Path(name).name.startswith(".")]
    batch.extract_all(batch.find_videos([tree]), out, model_file=model_file)
    assert files_in(out) == undisturbed[1]


def test_an_error_in_the_caller_leaves_no_worker_and_no_lock(tree, model_file, tmp_path):
    def interrupt(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batch.extract_all(batch.find_videos([tree]), tmp_path, model_file=model_file, on_progress=interrupt)
    assert not multiprocessing.active_children() and files_in(tmp_path) == {}
    stopped = batch.extract_all(batch.find_videos([tree]), tmp_path, model_file=model_file, stopped=lambda: True)
    assert stopped.stopped and stopped.done == 0


def test_a_worker_that_dies_costs_its_video_only(undisturbed, tree, model_file, tmp_path):
    killed = []

    def kill_once(progress):
        if not killed:
            killed.extend(multiprocessing.active_children())
            os.kill(killed[0].pid, signal.SIGKILL)

    videos = batch.find_videos([tree])
    largest = max(videos, key=lambda entry: entry.path.stat().st_size).name
    summary = batch.extract_all(videos, tmp_path, model_file=model_file, on_progress=kill_once)
    assert len(killed) == 1 and failures(tmp_path) == {largest: ("crashed", failures(tmp_path)[largest][1])}
    assert "SIGKILL" in failures(tmp_path)[largest][1]
    assert (summary.done, summary.failed, summary.reasons) == (2, 1, {"crashed": 1})
    again = batch.extract_all(videos, tmp_path, model_file=model_file)
    assert (again.done, again.skipped, again.failed) == (1, 2, 0) and files_in(tmp_path) == undisturbed[1]


def test_a_folder_is_held_by_one_batch(tree, model_file, tmp_path):
    with (tmp_path / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(WorkdirLocked, match="in use by another extraction"):
            batch.extract_all(batch.find_videos([tree]), tmp_path, model_file=model_file)


def test_no_model_file_is_one_error_and_not_one_a_video(tree, tmp_path):
    with pytest.raises(ModelFileMissing):
        batch.extract_all(batch.find_videos([tree]), tmp_path / "out", model_file=tmp_path / "absent.task")


def test_no_process_is_an_error(tree, model_file, tmp_path):
    with pytest.raises(ConfigError, match="0 processes"):
        batch.extract_all(batch.find_videos([tree]), tmp_path, model_file=model_file, processes=0)
