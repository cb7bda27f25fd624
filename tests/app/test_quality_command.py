"""`fingerprint quality` and `fingerprint sc-calculate` as commands."""

import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from made_up import write_track

from fingerprint.app import calibrate, console, leakage
from fingerprint.embed import open_model
from fingerprint.generation import pairing, vbench_csv
from fingerprint.landmarks import batch, video


def test_published_averages(fingerprint, shared, tmp_path):
    tables = shared / "data" / "facebenchmark" / "SCres"
    said = fingerprint("sc-calculate", tables, "--out", tmp_path / "out", "--json").json
    means = {(table["model"], table["type"]): table["means"] for table in said["tables"]}
    assert means["1", "face"]["subject_consistency"] == pytest.approx(0.6506258048803124, rel=1e-12)
    assert means["3", "face"]["imaging_quality"] == pytest.approx(33.676054275475245, rel=1e-12)
    filtered = vbench_csv.read(tmp_path / "out" / "1_face_filtered.csv")
    assert list(filtered.means().values()) == list(means["1", "face"].values())
    assert (tmp_path / "out" / vbench_csv.SUMMARY).read_text().count("\n") == 5
    assert {pathlib.Path(path).name for path in said["passed_over"]} == {
        "1_face_filtered.csv", "2_face_filtered.csv", "3_face_filtered.csv", vbench_csv.SUMMARY,
    }  # fmt: skip
    (tmp_path / "list.csv").write_text("model,type,video,unmatched\n9,face,a.mp4,1\n")
    shown = fingerprint("sc-calculate", tables / "1-face-score.csv", "--unmatched", tmp_path / "list.csv").out
    assert "0.6506" in shown and "tables that are not here: 9 face" in shown and "passed over" not in shown


def test_a_table_that_is_none_is_one_sentence(fingerprint, tmp_path):
    (tmp_path / "1-face-score.csv").write_text("a,b\n1,2\n")
    said = fingerprint("sc-calculate", tmp_path, "--json", expect=1).json
    assert said["error"]["type"] == "DatasetError" and "video_id" in said["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ((), "fingerprint quality REFERENCE GENERATED"),
        (("{0}/a",), "fingerprint quality REFERENCE GENERATED"),
        (("{0}", "{0}"), "one folder"),
        (("{0}/a", "{0}/b", "--mode", "faithful"), "known: published, standard"),
        (("{0}/a", "{0}/b", "--metrics", "fid,vmaf"), "vmaf"),
        (("{0}/a", "{0}/b", "--metrics", " ,"), "names no metric"),
        (("{0}/a", "{0}/b", "--drivers", "{0}/x.csv"), "x.csv"),
        (("{0}/a", "{0}/b", "--drivers", "{0}/b.csv"), "wanted paths below the folder that b.csv lies in"),
        (("{0}/a", "{0}/b", "--index", "https://an.index/simple"), "--fetch-weights"),
        (("--fetch-weights", "--weights", "{0}", "--index", "http://u:s3cret@127.0.0.1:1"), "index: [Errno 111]"),
        (("{0}/a", "{0}/b", "--out", "{0}/a/v.mp4/deeper"), "is a file"),
        (("{0}/a", "{0}/b", "--dwpose", "{0}"), "published only"),
    ],
)
def test_what_is_refused_before_the_work(fingerprint, tmp_path, arguments, found):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "v.mp4").write_bytes(name.encode())
    (tmp_path / "b.csv").write_text("file,driver\nv.mp4,ann\n")
    said = fingerprint("quality", *(text.format(tmp_path) for text in arguments), "--json", expect=1).json
    assert found in said["error"]["message"]
    assert not (pathlib.Path.cwd() / "quality").exists()


def test_a_run_on_real_videos(fingerprint, shared, tmp_path):
    """One driver and its reenactment, weights absent: what needs none is measured, the rest says what to get."""
    clips = shared / "data" / "videos" / "reenactment"
    for side, where in (("driver", "real"), ("generated", "made")):
        (tmp_path / where).mkdir()
        shown = (
            frame.rgb[::2, ::2]
            for frame, _ in zip(video.frames(clips / f"aniportrait_aragaki_{side}.mp4"), range(20), strict=False)
        )
        video.write_video(tmp_path / where / "clip.mp4", shown, 25)
    (tmp_path / "weights").mkdir()
    arguments = (
        "quality",
        tmp_path / "real",
        tmp_path / "made",
        "--out",
        tmp_path / "out",
        "--weights",
        tmp_path / "weights",
    )
    metrics = ("--metrics", "fid,ssim,expression_fid,imaging_quality", "--processes", 1)
    model = str(shared / "models" / "face_landmarker.task")
    said = fingerprint(*arguments, *metrics, "--json", FINGERPRINT_FACE_LANDMARKER=model).json
    assert said["videos"] == 1 and 0.2 < said["values"]["made"]["ssim"]["value"] < 1
    assert set(said["skipped"]) == {"fid", "imaging_quality"}
    assert "--fetch-weights" in said["skipped"]["fid"] and "musiq_spaq" in said["skipped"]["imaging_quality"]
    page = pathlib.Path(said["files"]["html"])
    assert "Not measured" in page.read_text() and page.stat().st_mode & 0o077 == 0
    summary = json.loads((tmp_path / "out" / "quality.json").read_text())
    assert summary["rows"][0]["generator"] == "made" and summary["provenance"]["landmarks"]["mode"] == "video"


def test_the_same_on_main(shared, tmp_path):
    """By a configuration; who is shown stands in a table, and one pair of two that fails is another exit code."""
    clips = shared / "data" / "videos" / "reenactment"
    for where, side in (("real", "driver"), ("made", "generated")):
        (tmp_path / where).mkdir()
        frames = video.frames(clips / f"aniportrait_aragaki_{side}.mp4")
        shown = [frame.rgb[::2, ::2] for frame, _ in zip(frames, range(12), strict=False)]
        video.write_video(tmp_path / where / "a.mp4", shown, 25)
        video.write_video(tmp_path / where / "b.mp4", [np.zeros_like(shown[0])] * 5, 25)
    (tmp_path / "people.csv").write_text("file,driver,target\nmade/a.mp4,ann,ben\nmade/c.mp4,ann,ben\n")
    asked = {
        "reference": tmp_path / "real",
        "generated": tmp_path / "made",
        "metrics": "PSNR,ssim",
        "drivers": tmp_path / "people.csv",
        "landmark_model": shared / "models" / "face_landmarker.task",
    }
    done = subprocess.run(
        [
            *(sys.executable, "-m", "fingerprint.main", "--config=configs/quickstart.py", "--mode=quality"),
            *(f"--workdir={tmp_path / 'run'}", *(f"--config.quality.{name}={value}" for name, value in asked.items())),
        ],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 5, done.stderr
    summary = json.loads((tmp_path / "run" / "quality" / "quality.json").read_text())
    assert set(summary["values"]["made"]) == {"psnr", "ssim"} and len(summary["rows"]) == len(summary["failures"]) == 1
    assert (summary["rows"][0]["driver"], summary["rows"][0]["target"]) == ("ann", "ben")
    assert "1 of 2 rows of people.csv name no generated video" in done.stdout
    assert "1 video, 1 not measured" in done.stdout


def test_where_nothing_could_be_measured_it_fails_and_says_why(fingerprint, shared, tmp_path):
    for number, where in enumerate(("real", "made")):
        (tmp_path / where).mkdir()
        video.write_video(tmp_path / where / "grey.mp4", np.full((5, 64, 64, 3), 100 + number, np.uint8), 25)
    model = str(shared / "models" / "face_landmarker.task")
    said = fingerprint(
        "quality", tmp_path / "real", tmp_path / "made", "--out", tmp_path / "out", "--metrics", "ssim",
        "--json", expect=1, FINGERPRINT_FACE_LANDMARKER=model,
    ).json  # fmt: skip
    assert "none of 1 pairs" in said["error"]["message"] and "shows a face" in said["error"]["message"]
    assert "shows a face" in (tmp_path / "out" / "quality.html").read_text()


def test_without_a_terminal_progress_is_a_line_now_and_then(monkeypatch, capsys):
    at = iter([0.0, 10.0, 31.0, 31.0, 50.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(at))
    monkeypatch.setattr(console, "err", console.Console(stderr=True, force_terminal=False, width=200))
    with console.progress(quiet=False, what="finding faces") as update:
        for finished in (1, 2, 3):
            update(batch.Progress(8, finished, 0, 100 * finished, 4.25, 70.0), part="measuring")
    assert capsys.readouterr().err == "measuring: 2/8 videos, 200 frames, 4.2 frames/s, 70 s left\n"


# ------------------------------------------------------------------------------------------------- identity leakage


@pytest.fixture
def generated(tmp_path, tracks):
    """Tracks of four drivers behind two names of generators: one that keeps their motion, one that mixes it up."""
    rng = np.random.default_rng(0)
    people = [f"10{number:02d}" for number in range(1, 5)]
    clips = ["DFA_HAP_XX", "ITS_SAD_XX", "TSI_NEU_XX", "IWL_ANG_XX"]
    (tmp_path / "real").mkdir()
    names = [(person, clip) for person in range(4) for clip in range(4)]
    mixed = rng.permutation(len(names))
    for number, (person, clip) in enumerate(names):
        stem = f"{people[person]}_{clips[clip]}"
        (tmp_path / "real" / f"{stem}.mp4").write_bytes(stem.encode())
        for generator, (who, take) in (("keeps", (person, clip)), ("mixes", names[mixed[number]])):
            file = tmp_path / "made" / generator / f"{stem}.mp4"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(f"{generator} {stem}".encode())
            out = tmp_path / "tracks" / "generated" / generator / f"{stem}.mp4.track.npz"
            out.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tracks / f"person{who:02d}" / f"take{take}.track.npz", out)
    return tmp_path


def whole_table(folder):
    rows = [
        f"made/{file.parent.name}/{file.name},{file.name[:4]},{file.name[:4]}"
        for file in sorted(folder.glob("made/*/*.mp4"))
    ]
    (folder / "drivers.csv").write_text("file,driver,target\n" + "\n".join(rows) + "\n")
    return folder / "drivers.csv"


def test_the_fingerprint_tells_drivers_where_motion_was_kept(generated, model):
    found = pairing.find_pairs(generated / "real", generated / "made")
    released = open_model(model)
    said = {item.path.resolve(): (item.driver, item.target) for item in calibrate.find(whole_table(generated))}
    told = leakage.measure(found.labelled(said), generated / "tracks", released)
    assert told["keeps"]["auc"] > 0.9 > 0.75 > told["mixes"]["auc"]
    assert told["keeps"]["low"] is None is told["keeps"]["high"]  # four people give no interval
    assert (told["keeps"]["people"], told["keeps"]["videos"], told["keeps"]["protocol"]) == (4, 16, "all_pairs")
    assert told["keeps"]["trials"] == 16 * 15 // 2
    by_name = leakage.measure(found, generated / "tracks", released)
    assert by_name["keeps"] == told["keeps"]


def test_a_video_without_a_track_is_left_out(generated, model):
    found = pairing.find_pairs(generated / "real", generated / "made")
    for path in (generated / "tracks" / "generated" / "keeps").glob("1001_*"):
        path.unlink()
    told = leakage.measure(found, generated / "tracks", open_model(model))
    assert told["keeps"]["videos"] == 12 and told["keeps"]["auc"] > 0.9


@pytest.mark.parametrize(
    ("names", "reason"),
    [(("1001_DFA_HAP_XX", "1001_ITS_SAD_XX"), "two drivers"), (("a", "b"), "neither names nor --drivers say who")],
)
def test_one_driver_or_nobody_known_is_no_answer(tmp_path, model, names, reason):
    for take, stem in enumerate(names):
        for side in ("real", "made"):
            (tmp_path / side).mkdir(exist_ok=True)
            (tmp_path / side / f"{stem}.mp4").write_bytes(f"{side}{stem}".encode())
        write_track(tmp_path / "tracks" / "generated" / f"{stem}.mp4.track.npz", 1, take)
    told = leakage.measure(
        pairing.find_pairs(tmp_path / "real", tmp_path / "made"), tmp_path / "tracks", open_model(model)
    )
    assert set(told) == {"made"} and reason in told["made"]["reason"]
