"""`fingerprint` on real videos of real people: extract, enrol, verify, identify, as a stream too."""

import os
import shutil
import threading

import numpy as np
import pytest

PAIR = "aniportrait_aragaki"


@pytest.fixture(scope="module")
def videos(shared):
    return shared / "data" / "videos"


@pytest.fixture(scope="module")
def tool(shared, fingerprint):
    """The command with the landmark model at hand."""
    model = shared / "models" / "face_landmarker.task"

    def run(*arguments, **options):
        return fingerprint(*arguments, FINGERPRINT_FACE_LANDMARKER=str(model), **options)

    return run


@pytest.fixture(scope="module")
def released_weights(shared, tmp_path_factory):
    """AVAPrintDB's released weights, which bring no threshold."""
    from fingerprint import import_weights

    out = tmp_path_factory.mktemp("imported") / "cremad_live"
    checkpoint = shared / "parity" / "avaprintdb_graph" / "checkpoint_graph_trained_cremad_liveportrait.pt"
    import_weights.main([str(checkpoint), "--out", str(out)])
    return out


@pytest.fixture(scope="module")
def real_tracks(tool, videos, tmp_path_factory):
    """A tree of four videos and a file that is none, extracted."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("tracks")
    for path in (
        *(videos / "reenactment" / f"{PAIR}_{side}.mp4" for side in ("driver", "generated")),
        videos / "talking" / "grid_bbaf2n.mpg",
        videos / "talking" / "liveportrait_d18.mp4",
    ):
        shutil.copy(path, tree)
    (tree / "notes.mp4").write_text("no video")
    said = tool("extract", tree, "--out", out, "--processes", 2, "--json", expect=5).json
    assert (said["files"], said["done"], said["failed"]) == (5, 4, 1)
    assert [(row["file"], row["reason"]) for row in said["failures"]] == [("notes.mp4", "not_a_video")]
    assert said["fta_rate"] == pytest.approx(0.2) and said["over_budget"]
    again = tool("extract", tree, "--out", out, "--failure-budget", 0.2, "--json").json
    assert (again["done"], again["skipped"], again["extracted_frames"]) == (0, 4, 0)
    return out


def of(folder, name):
    return folder / f"{name}.track.npz"


def test_a_driver_behind_another_face(tool, real_tracks, videos, released_weights, tmp_path):
    """The driver's own video enrols; the avatar it drives is closer to it than a stranger is."""
    gallery = tmp_path / "gallery"
    tool("enroll", "driver", of(real_tracks, f"{PAIR}_driver.mp4"), "--gallery", gallery, "--model", released_weights)
    tool("enroll", "stranger", of(real_tracks, "liveportrait_d18.mp4"), "--gallery", gallery)
    avatar = of(real_tracks, f"{PAIR}_generated.mp4")
    said = tool("verify", avatar, "--claim", "driver", "--gallery", gallery, "--json", expect=4).json
    assert said["decision"] == "undecided" and -1 <= said["score"] <= 1 and said["llr"] is None
    assert any("no threshold" in sentence for sentence in said["warnings"])
    found = tool("identify", avatar, "--gallery", gallery, "--json", expect=4).json
    assert {c["name"] for c in found["candidates"]} == {"driver", "stranger"} and found["driver"] is None
    # A video gives what its track file gives.
    raw = videos / "reenactment" / f"{PAIR}_generated.mp4"
    direct = tool("verify", raw, "--claim", "driver", "--gallery", gallery, "--json", expect=4).json
    assert direct["score"] == said["score"] and direct["sha256"] == said["sha256"]


def test_report_shows_the_frames_it_looked_at(tool, gallery, videos, tmp_path):
    page = tmp_path / "out.html"
    video = videos / "talking" / "grid_bbaf2n.mpg"
    arguments = ("verify", video, "--claim", "ada", "--gallery", gallery, "--at", "eer", "--report", page, "--json")
    said = tool(*arguments, expect=None).json
    assert said["evidence"]["share_with_face"] > 0.95
    with_pictures = page.stat().st_size
    tool(*arguments, "--no-pictures", expect=None)
    assert page.stat().st_size < with_pictures
    assert page.stat().st_mode & 0o077 == 0


def test_a_stream_scores_as_the_file_does(tool, gallery, videos):
    video = videos / "talking" / "grid_bbaf2n.mpg"
    whole = tool("verify", video, "--claim", "ada", "--gallery", gallery, "--at", "eer", "--json", expect=None).json
    arguments = ("--claim", "ada", "--gallery", gallery, "--stream", "--fmr", 1e-200, "--fnmr", 1e-200, "--json")
    stream = tool("verify", video, *arguments, expect=4).json
    scores = [moment["window_score"] for moment in stream["moments"]]
    np.testing.assert_allclose(scores, whole["window_scores"], atol=1e-4)
    assert stream["effective_windows"] <= stream["windows"] == len(scores)
    assert stream["decision"] == "undecided" and "ended" in stream["ended"]


def test_a_stream_ends_with_a_decision(tool, gallery, videos):
    video = videos / "talking" / "liveportrait_d18.mp4"
    arguments = ("--claim", "ada", "--gallery", gallery, "--stream", "--fmr", 0.4, "--fnmr", 0.4, "--json")
    said = tool("verify", video, *arguments, expect=3).json  # nobody here looks like a made-up face
    assert said["decision"] == "rejected" and said["llr"] <= said["bounds"]["lower"] and said["ended"] == "decided"
    assert said["seconds"] < 2


def test_paths_with_dots_lead_where_they_lead(tool, videos, tmp_path, monkeypatch):
    (tmp_path / "videos").mkdir()
    (tmp_path / "here").mkdir()
    shutil.copy(videos / "talking" / "grid_bbaf2n.mpg", tmp_path / "videos")
    monkeypatch.chdir(tmp_path / "here")
    for what in ("../videos", "../videos/grid_bbaf2n.mpg"):
        said = tool("extract", what, "--out", "../tracks", "--json").json
        assert said["failed"] == 0 and said["done"] + said["skipped"] == 1
    assert (tmp_path / "tracks" / "grid_bbaf2n.mpg.track.npz").exists()
    assert not list((tmp_path / "videos").glob("*.track.npz"))


def test_a_name_that_is_not_there_is_refused_before_the_work(tool, videos, tmp_path):
    said = tool("extract", tmp_path / "vidoes", "--out", tmp_path / "tracks", "--json", expect=1).json
    assert said["error"]["reason"] == "missing" and not (tmp_path / "tracks").exists()


def test_a_pipe_is_a_live_source(tool, gallery, videos, tmp_path):
    """Bytes that come as a camera's do: once, in order, with no end in sight."""
    pipe, page = tmp_path / "live", tmp_path / "live.html"
    os.mkfifo(pipe)
    content = (videos / "talking" / "grid_bbaf2n.mpg").read_bytes()

    def send():
        with open(pipe, "wb") as file:
            file.write(content)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    said = tool(
        "verify", pipe, "--claim", "ada", "--gallery", gallery, "--stream", "--report", page, "--json", expect=None
    ).json
    assert said["windows"] >= 1 and said["decision"] in ("accepted", "rejected", "undecided")
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_an_absent_camera_is_refused(tool, gallery):
    said = tool("verify", "camera:97", "--claim", "ada", "--gallery", gallery, "--stream", "--json", expect=1).json
    assert said["error"]["type"] == "VideoRefused"


def test_without_the_landmark_model_one_sentence_says_where_to_get_it(fingerprint, gallery, videos, tmp_path):
    video = videos / "talking" / "grid_bbaf2n.mpg"
    said = fingerprint(
        "verify", video, "--claim", "ada", "--gallery", gallery, "--json",
        expect=1, XDG_CACHE_HOME=str(tmp_path), FINGERPRINT_FACE_LANDMARKER="",
    ).json  # fmt: skip
    assert said["error"]["type"] == "ModelFileMissing" and "fingerprint fetch-model" in said["error"]["message"]
