"""A run from folders to a report: the order of scores on real people, what is left out, and what is written."""

import csv
import fractions
import itertools
import json
import shutil
import types

import av
import numpy as np
import pytest

from fingerprint.errors import UnknownName, WeightsMissing
from fingerprint.generation import frames, metrics, pairing, quality, resize
from fingerprint.landmarks import batch, video
from fingerprint.reports import quality as writer
from fingerprint.reports import quality_document, quality_figures

FRAMES = 20
SANE = ("identical", "reencoded", "blurred", "other")


def pictures(path, count=FRAMES, side=256):
    return [resize.whole(frame.rgb, side, side) for frame in itertools.islice(video.frames(path), count)]


def put(path, shown, fps=25, quality_factor="12"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fractions.Fraction(fps), options={"crf": quality_factor})
        stream.height, stream.width, stream.pix_fmt = *shown[0].shape[:2], "yuv420p"
        for picture in shown:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def blurred(picture):
    height, width = picture.shape[:2]
    return resize.whole(resize.whole(picture, height // 6, width // 6), height, width)


@pytest.fixture(scope="module")
def folders(shared, tmp_path_factory):
    """Two drivers' clips, four ways to reproduce them, and a real reenactment; one video shows no face."""
    root, videos = tmp_path_factory.mktemp("quality"), shared / "data" / "videos"
    driver, other = (
        videos / "reenactment" / "aniportrait_aragaki_driver.mp4",
        videos / "talking" / "liveportrait_d12.mp4",
    )
    people = {"a": pictures(driver), "b": pictures(other)}
    for name, shown in people.items():
        put(root / "real" / f"{name}.mp4", shown)
        (root / "made" / "identical").mkdir(parents=True, exist_ok=True)
        shutil.copy(root / "real" / f"{name}.mp4", root / "made" / "identical" / f"{name}.mp4")
        put(root / "made" / "reencoded" / f"{name}.mp4", shown, quality_factor="34")
        put(root / "made" / "blurred" / f"{name}.mp4", [blurred(picture) for picture in shown])
    strangers = videos / "talking" / "liveportrait_d14.mp4", videos / "reenactment" / "aniportrait_num18_driver.mp4"
    for name, stranger in zip(people, strangers, strict=True):
        put(root / "made" / "other" / f"{name}.mp4", pictures(stranger))
    put(root / "made" / "AniPortrait" / "a.mp4", pictures(str(driver).replace("_driver", "_generated")))
    put(root / "made" / "AniPortrait" / "b.mp4", [np.full((256, 256, 3), 90, np.uint8)] * FRAMES)
    put(root / "made" / "AniPortrait" / "z.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 3)
    return root


@pytest.fixture(scope="module")
def request_of(folders, shared):
    def made(**changes):
        model = shared / "models" / "face_landmarker.task"
        return quality.Request(folders / "real", folders / "made", landmark_model=model, processes=2, **changes)

    return made


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    return tmp_path_factory.mktemp("tracks")


@pytest.fixture(scope="module")
def report(request_of, tracks):
    found, _ = quality.run(request_of(metrics=["psnr", "ssim", "expression_fid"]), tracks)
    return found


def value(report, generator, name):
    return report.values[generator][name]["value"]


def test_scores_on_real_people_are_in_a_sane_order(report):
    for name, better in (("ssim", 1), ("psnr", 1), ("expression_fid", -1)):
        scores = [better * value(report, generator, name) for generator in SANE]
        assert scores == sorted(scores, reverse=True) and len(set(scores)) == 4, (name, scores)
    assert value(report, "identical", "ssim") == pytest.approx(1, abs=1e-6)
    assert value(report, "identical", "psnr") == metrics.PSNR_OF_EQUALS
    assert value(report, "identical", "expression_fid") == pytest.approx(0, abs=1e-9)
    assert value(report, "reencoded", "ssim") > 0.8 > 0.6 > value(report, "other", "ssim")


def test_published_scores_are_in_a_sane_order(request_of, tracks):
    found, _ = quality.run(request_of(mode="published", metrics=["psnr", "ssim", "csim"]), tracks)
    for name in ("ssim", "psnr", "csim"):
        scores = [value(found, generator, name) for generator in SANE]
        assert scores == sorted(scores, reverse=True), (name, scores)
    assert value(found, "identical", "csim") == pytest.approx(1, abs=1e-9)
    assert all(row["frames"] == frames.PIECE for row in found.rows)
    assert any("DWPose" in sentence for sentence in found.warnings)


def test_what_is_left_out_is_told(report):
    assert [(entry["video"], "no_face" in entry["reason"]) for entry in report.failures] == [("AniPortrait/b", True)]
    assert ("generated", "AniPortrait/z.mp4") in [(entry["side"], entry["name"]) for entry in report.unmatched]
    assert any("byte for byte" in sentence for sentence in report.warnings)
    assert len(report.rows) == 9 and not any("z" in row["video"] for row in report.rows)
    assert report.values["AniPortrait"]["ssim"]["count"] == 1
    assert report.values["other"]["expression_fid"]["warnings"]  # 40 frames in 52 dimensions


def test_worst_frames_are_the_worst(report):
    shown = report.worst
    assert len(shown) == 9 and len({frame.video for frame in shown}) == 9
    assert [frame.value for frame in shown] == sorted(frame.value for frame in shown)
    assert {frame.generator for frame in shown[:2]} <= {"other", "AniPortrait"} and shown[-1].generator == "identical"
    assert shown[0].reference.shape == shown[0].generated.shape == (192, 192, 3)
    means = {row["video"]: row["ssim"] for row in report.rows}
    assert all(frame.value <= means[frame.video] for frame in shown)
    np.testing.assert_array_equal(shown[-1].reference, shown[-1].generated)


def test_what_is_written(report, tmp_path):
    files = writer.write(report, tmp_path)
    assert all(path.stat().st_mode & 0o077 == 0 for path in files.values())
    rows = list(csv.DictReader(files["csv"].open(encoding="utf-8")))
    assert len(rows) == 9 and float(rows[0]["ssim"]) == report.rows[0]["ssim"]
    summary = json.loads(files["json"].read_text())
    assert summary["values"]["blurred"]["psnr"]["value"] == value(report, "blurred", "psnr")
    page, text = files["html"].read_text(), files["markdown"].read_text()
    assert page.count("data:image/png;base64,") == 10 and "<script" not in page
    for said in ("other/a", "SSIM ↑", "byte for byte", "AniPortrait/b", "recipe is “standard”"):
        assert said in page and said.split("/")[0] in text
    assert "fewer" not in quality_document.headline(report)


def test_leakage_stands_beside_quality(report, tmp_path):
    told = {
        "blurred": {"auc": 0.81, "low": 0.7, "high": 0.9, "trials": 40, "people": 4, "protocol": "all_pairs"},
        "other": {"reason": "one driver"},
    }
    both = types.SimpleNamespace(**{**vars(report), "leakage": told, "leakage_model": {"digest": "d"}})
    drawings = quality_figures.draw_all(both)
    assert [drawing.name for drawing in drawings[:2]] == ["quality_videos", "quality_leakage"] and drawings[1].png
    table = quality_document.build(both, drawings).sections[0].blocks[1]
    column = {row[0].text: row[-1].text for row in table.rows}
    assert table.header[-1] == "Driver told, AUC" and column["blurred"].startswith("0.81") and column["other"] == "n/a"


# ------------------------------------------------------------------------------------------------- orchestration


class Counter:
    """A stand-in: remembers what it is fed."""

    def __init__(self, name, region, log):
        self.names, self.region, self.log, self.pairs = (name,), region, log, 0

    def update(self, reference, generated):
        self.log.append((reference.rgb.shape, generated.rgb.shape, generated.shows_face.sum()))

    def end_pair(self):
        self.pairs += 1
        return {self.names[0]: float(self.pairs)}

    def results(self):
        return {self.names[0]: metrics.Value(float(self.pairs), self.pairs, "videos")}


def test_metrics_are_made_anew_for_every_generator(request_of, tracks):
    log, asked = [], []

    def make(definitions, mode, weights, seed):
        asked.extend(definition.name for definition in definitions)
        return [lambda: Counter("fid", "face", log)], {"fvd": "get the file"}

    done = []
    found, paired = quality.run(
        request_of(metrics=["fid", "fvd"]), tracks, make=make, on_pair=lambda *at: done.append(at)
    )
    assert asked == ["fid", "fvd"] and found.skipped == {"fvd": "get the file"}
    assert {generator: value(found, generator, "fid") for generator in found.values} == {
        "AniPortrait": 1.0, **dict.fromkeys(SANE, 2.0),
    }  # fmt: skip
    assert {sizes[:2] for sizes in log} == {((16, 256, 256, 3),) * 2, ((4, 256, 256, 3),) * 2}
    assert done == [(number, 10) for number in range(1, 11)] and len(paired.pairs) == 10


def test_without_any_metric_it_says_what_is_missing(request_of, tracks):
    with pytest.raises(WeightsMissing, match="get the file"):
        quality.run(request_of(), tracks, make=lambda *_: ([], {"fid": "get the file"}))
    with pytest.raises(UnknownName, match="ssim"):
        quality.run(request_of(metrics=["vmaf"]), tracks)


def test_faces_are_written_on_demand(request_of, tracks, tmp_path):
    def make(*_):
        return [lambda: Counter("fid", "whole", [])], {}

    quality.run(request_of(faces=tmp_path, metrics=["fid"]), tracks, make=make)
    assert video.open_video(tmp_path / "generated" / "blurred" / "a.mp4").num_frames == FRAMES
    assert (tmp_path / "reference" / "b.mp4").exists() and not (
        tmp_path / "generated" / "AniPortrait" / "b.mp4"
    ).exists()


# ------------------------------------------------------------------------------------------------- side by side


def clip_of(numbers, fps, start=0, frames_in_video=None):
    times = np.round(np.array(numbers) * 1e6 / fps).astype(np.int64)
    track = types.SimpleNamespace(timestamps=times, steady_fps=fps, start_frame=start, __len__=lambda: len(times))
    track = type("Track", (), {**vars(track), "__len__": lambda self: len(times)})()
    return types.SimpleNamespace(track=track, num_frames=frames_in_video or start + len(times))


def test_frames_are_put_beside_each_other():
    numbers, how = frames.beside(clip_of(range(50), 25), clip_of(range(52), 30))
    assert how == "position" and numbers.tolist() == [[i, i] for i in range(50)]
    numbers, how = frames.beside(clip_of(range(50), 25), clip_of(range(60), 30))
    assert how == "time" and numbers[:7].tolist() == [[0, 0], [1, 1], [2, 2], [2, 3], [3, 4], [4, 5], [5, 6]]
    assert len(numbers) == 60
    numbers, _ = frames.beside(clip_of(range(20), 25), clip_of(range(60), 25))
    assert len(numbers) == 21 and numbers[-1].tolist() == [19, 20]  # one frame time past the end
    numbers, _ = frames.beside(clip_of(range(40), 25, start=10, frames_in_video=50), clip_of(range(50), 25))
    assert numbers[0].tolist() == [10, 10] and len(numbers) == 40


def test_a_pair_without_a_common_moment():
    numbers, _ = frames.beside(clip_of(range(10), 25, frames_in_video=50), clip_of(range(10), 25, 40, 50))
    assert len(numbers) == 0


def test_only_paired_videos_are_looked_at(request_of, tracks, report):
    made = {path.name for path in (tracks / "generated" / "AniPortrait").glob("*.track.npz")}
    assert made == {"a.mp4.track.npz", "b.mp4.track.npz"}
    assert pairing.find_pairs(request_of().reference, request_of().generated).generators[0] == "AniPortrait"
    assert batch.read_failures(tracks / "generated")[0]["reason"] == "no_face"
