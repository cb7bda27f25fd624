"""`fingerprint robustness` on track files of made-up faces, and on real clips written again."""

import csv
import json
import pathlib
import shutil

import pytest
from made_up import write_track

from fingerprint import robustness as suite
from fingerprint.app import commands, robustness
from fingerprint.errors import ClaimRefused

HOW = commands.Acquisition(fps=None, tracks=None, landmark_model=None, processes=1, quiet=True)


@pytest.fixture
def short_plan(monkeypatch):
    plan = {"jitter": (0.05,), "frame_rate": (2.0,)}
    monkeypatch.setattr(suite, "planned", lambda severities: plan)


def test_tracks_of_many_people(tracks, model, short_plan, tmp_path):
    result = robustness.run(tracks, model, tmp_path / "out", crf=[23], heights=[90], how=HOW)
    assert [curve["name"] for curve in result["curves"]] == ["jitter", "frame_rate"]
    (noisy,), (slow,) = (curve["rows"] for curve in result["curves"])
    assert result["clean"]["videos"] == noisy["videos"] == 48 and result["clean"]["rates"]["auc"]["low"] is not None
    assert noisy["difference"]["auc"]["low"] is not None and 0 < noisy["similarity"]["mean"] < 1
    # At most 110 frames at 25 a second are 9 at 2 a second; windows want 20.
    assert slow["failed"] == 48 and slow["rates"] == {} and slow["reason"]
    assert any("48 track files cannot be re-encoded" in sentence for sentence in result["warnings"])
    assert json.loads(pathlib.Path(result["written"]["json"]).read_text())["clean"] == result["clean"]


def test_two_people_give_no_interval_and_one_no_rates(model, short_plan, tmp_path):
    for person in range(2):
        for take in range(2):
            write_track(tmp_path / "two" / f"p{person}" / f"{take}.track.npz", person, take)
    two = robustness.run(tmp_path / "two", model, tmp_path / "out", crf=[], heights=[], how=HOW)
    assert two["clean"]["rates"]["auc"]["low"] is None and any("2 people are few" in text for text in two["warnings"])
    shutil.rmtree(tmp_path / "two" / "p1")
    one = robustness.run(tmp_path / "two", model, tmp_path / "out", crf=[], heights=[], how=HOW)
    row = one["curves"][0]["rows"][0]
    assert row["rates"] == {} and 0 < row["similarity"]["mean"] < 1
    assert one["headline"].startswith("No error rates") and "mean cosine" in one["headline"]
    assert "Cosine to clean" in (tmp_path / "out" / "robustness.md").read_text()


@pytest.mark.parametrize("text", ["x", "23,-1", "52", "2.5", "²"])
def test_qualities_that_are_none_are_refused(text):
    with pytest.raises(ClaimRefused, match="--crf"):
        robustness.whole_numbers(text, "--crf", 0, 51)


def test_lists_of_numbers():
    assert robustness.whole_numbers("23, 31,23", "--crf", 0, 51) == [23, 31]
    assert robustness.whole_numbers("", "--crf", 0, 51) == []


@pytest.mark.slow
def test_real_clips_written_again(fingerprint, shared, model, tmp_path):
    """Two speakers; a poor picture moves the embedding more than a good one, and the files go."""
    for name in ("grid_bbaf2n.mpg", "grid_lbax4n.mpg"):
        (tmp_path / "own" / name[5:8]).mkdir(parents=True)
        shutil.copy(shared / "data" / "videos" / "talking" / name, tmp_path / "own" / name[5:8])
    (tmp_path / "temporary").mkdir()
    said = fingerprint(
        "robustness", tmp_path / "own", "--model", model, "--out", tmp_path / "out", "--crf", "18,51", "--height", "48",
        "--processes", 2, "--json", TMPDIR=str(tmp_path / "temporary"),
        FINGERPRINT_FACE_LANDMARKER=str(shared / "models" / "face_landmarker.task"),
    ).json  # fmt: skip
    curves = {curve["name"]: curve["rows"] for curve in said["curves"]}
    good, poor = curves["reencoded"]
    assert good["videos"] == poor["videos"] == 2 and good["failed"] == 0
    assert poor["similarity"]["mean"] < good["similarity"]["mean"] < 1
    rates = [float(row["detail"].split()[0]) for row in (said["clean"], good, poor)]
    assert rates[0] > rates[1] > 4 * rates[2] > 0
    assert set(curves) > {"reencoded", "reencoded_smaller", "jitter", "temporal_blur"}
    assert not list((tmp_path / "temporary").iterdir())
    with open(said["written"]["csv"], encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["severity"] for row in rows if row["degradation"] == "reencoded"] == ["18", "51"]
    assert any("no error rates" in sentence for sentence in said["warnings"])
