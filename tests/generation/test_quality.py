"""A run from folders to a report: the order of scores on real people, what is left out, and what is written."""

import csv
import fractions
import itertools
import json
import math
import shutil
import types

import av
import numpy as np
import pytest

from fingerprint.errors import ArrayRefused, ConfigError, UnknownName, VideoRefused, WeightsMissing
from fingerprint.generation import build, frames, metrics, pairing, quality, resize
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
        assert scores == sorted(scores, reverse=True) and len(set(scores)) == 4, (name, scores)
    assert value(found, "identical", "csim") == pytest.approx(1, abs=1e-9)
    assert all((row["frames"], row["frames_beside"]) == (FRAMES, frames.PIECE) for row in found.rows)
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
    few = [line for line in text.splitlines() if "52 dimensions" in line]
    assert len(few) == 2 and "E-FID (expression) of blurred, identical, other, reencoded: 40 samples" in few[1] + few[0]
    assert quality_document.headline(report).startswith("9 videos of 5 generators: best by")


def test_leakage_stands_beside_quality(report, tmp_path):
    told = {
        "blurred": {"auc": 0.81, "low": 0.7, "high": 0.9, "trials": 40, "people": 4, "protocol": "all_pairs"},
        "other": {"reason": "one driver"},
    }
    both = types.SimpleNamespace(**{**vars(report), "leakage": told, "leakage_model": {"digest": "d"}})
    drawings = quality_figures.draw_all(both)
    assert [drawing.name for drawing in drawings[:2]] == ["quality_videos", "quality_leakage"] and drawings[1].png
    table = quality_document.build(both, drawings).sections[0].blocks[2]
    column = {row[0].text: row[1].text for row in table.rows}
    assert table.header[1] == "Driver told, AUC" and column["blurred"].startswith("0.81") and column["other"] == "n/a"


# ------------------------------------------------------------------------------------------------- orchestration


class Sizes:
    """A stand-in for a distance between sets: remembers what its sides are fed."""

    names, view = ("fid",), "face"

    def __init__(self):
        self.sides = []

    def side(self):
        self.sides.append(types.SimpleNamespace(seen=[], videos=0))
        one = self.sides[-1]
        one.update = lambda frames: one.seen.append(frames.rgb.shape)
        one.end_video = lambda: setattr(one, "videos", one.videos + 1)
        return one

    def results(self, real, made):
        return {"fid": metrics.Value(float(made.videos), real.videos, "videos")}


def test_references_are_counted_once_for_generators_that_share_them(request_of, tracks):
    fid, asked = Sizes(), []

    def make(definitions, mode, weights, seed):
        asked.extend(definition.name for definition in definitions)
        return build.Metrics(sets=(fid,), skipped={"fvd": "get the file"})

    done = []
    found, paired = quality.run(request_of(metrics=["fid", "fvd"]), tracks, make=make, on_measured=done.append)
    assert asked == ["fid", "fvd"] and found.skipped == {"fvd": "get the file"}
    assert {generator: value(found, generator, "fid") for generator in found.values} == {
        "AniPortrait": 1.0, **dict.fromkeys(SANE, 2.0),
    }  # fmt: skip
    assert len(fid.sides) == 5 + 1  # a side a generator, and one for the references
    assert all(side.seen == [(16, 256, 256, 3), (4, 256, 256, 3)] * side.videos for side in fid.sides)
    assert len(paired.pairs) == 10 and done[-1].files == done[-1].finished == 10 + 2
    assert all(one.seconds_left > 0 for one in done[2:-1])
    assert [one.frames for one in done[:3]] == [16, 20, 20] and [one.finished for one in done[:3]] == [0, 0, 1]
    assert done[0].seconds_left is None and done[2].seconds_left > 0 and done[-1].seconds_left == 0


def test_without_any_metric_it_says_what_is_missing(request_of, tracks):
    with pytest.raises(WeightsMissing, match="get the file"):
        quality.run(request_of(), tracks, make=lambda *_: build.Metrics(skipped={"fid": "get the file"}))
    with pytest.raises(UnknownName, match="ssim"):
        quality.run(request_of(metrics=["vmaf"]), tracks)


def test_faces_are_written_as_the_recipe_sees_them(folders, shared, tmp_path):
    """Of one pair that can be measured, and one whose generated video shows no face."""
    for side, name in (("real", "a"), ("real", "b"), ("made/AniPortrait", "a"), ("made/AniPortrait", "b")):
        (tmp_path / side).mkdir(parents=True, exist_ok=True)
        shutil.copy(folders / side / f"{name}.mp4", tmp_path / side / f"{name}.mp4")
    model, first = shared / "models" / "face_landmarker.task", set()
    for mode in ("standard", "published"):
        request = quality.Request(
            tmp_path / "real", tmp_path / "made", mode=mode, metrics=["psnr"], landmark_model=model,
            faces=tmp_path / mode,
        )  # fmt: skip
        quality.run(request, tmp_path / "tracks")
        written = list(video.frames(tmp_path / mode / "generated" / "AniPortrait" / "a.mp4"))
        assert len(written) == FRAMES
        first.add(written[0].rgb.tobytes())
        assert (tmp_path / mode / "reference" / "a.mp4").exists()
        assert not (tmp_path / mode / "generated" / "AniPortrait" / "b.mp4").exists()
    assert len(first) == 2


def test_dwpose_is_of_the_published_recipe(request_of, tracks, tmp_path):
    with pytest.raises(ConfigError, match="published only"):
        quality.run(request_of(dwpose=tmp_path), tracks)


# ------------------------------------------------------------------------------------------------- awkward videos


@pytest.fixture(scope="module")
def awkward(shared, tmp_path_factory):
    """A wide driver, and what was made of it: its square crop, one that loses the face, one that turns into another
    person, one that is twice as long."""
    root, videos = tmp_path_factory.mktemp("awkward"), shared / "data" / "videos"
    shown = pictures(videos / "reenactment" / "aniportrait_aragaki_driver.mp4")
    wide = [np.pad(picture, ((0, 0), (96, 96), (0, 0)), constant_values=128) for picture in shown]
    grey = np.full_like(wide[0], 90)
    other = [
        np.pad(picture, ((0, 0), (192, 0), (0, 0))) for picture in pictures(videos / "talking" / "liveportrait_d12.mp4")
    ]
    put(root / "real" / "a.mp4", wide, quality_factor="4")
    put(root / "made" / "cropped" / "a.mp4", shown, quality_factor="4")
    put(root / "made" / "loses" / "a.mp4", [*wide[:8], *[grey] * 6, *wide[14:]])
    put(root / "made" / "longer" / "a.mp4", [picture for picture in wide for _ in range(2)], fps=50)
    put(root / "made" / "drifts" / "a.mp4", [*wide[:8], *other[:12]])
    put(root / "made" / "short" / "a.mp4", wide[:8])
    put(root / "made" / "slow" / "a.mp4", wide, fps=20)
    model = shared / "models" / "face_landmarker.task"
    alone = AloneFrames()

    def make(*arguments):
        made = build.build_metrics(*arguments)
        return build.Metrics(made.sets, made.pairs, (alone,))

    request = quality.Request(root / "real", root / "made", metrics=["ssim", "expression_fid"], landmark_model=model)
    found, _ = quality.run(request, tmp_path_factory.mktemp("tracks"), make=make)
    return found, {row["generator"]: row for row in found.rows}


class AloneFrames:
    """Counts the frames of a video alone."""

    name, view, seen = "imaging_quality", "alone", 0

    def update(self, generated):
        self.seen += len(generated)

    def end_pair(self):
        seen, self.seen = self.seen, 0
        return float(seen)


def test_a_square_crop_of_a_wide_video_is_compared_face_by_face(awkward):
    found, rows = awkward
    assert rows["cropped"]["framing"] == "own" and rows["loses"]["framing"] == "reference"
    assert rows["cropped"]["ssim"] > 0.9  # over one another they would be other places
    assert any("another shape" in sentence and "cropped/a" in sentence for sentence in found.warnings)


def test_a_face_that_is_lost_and_found_is_measured_in_all_parts(awkward):
    found, rows = awkward
    assert rows["loses"]["share_with_face"] == pytest.approx(14 / 20)
    assert rows["drifts"]["parts"] > 1 and rows["drifts"]["share_with_face"] > 0.9
    assert rows["drifts"]["frames_beside"] == 20 and found.values["drifts"]["expression_fid"]["count"] >= 18
    assert any("another face is followed" in sentence and "drifts/a" in sentence for sentence in found.warnings)


def test_scores_of_a_video_alone_see_all_its_frames(awkward):
    _, rows = awkward
    assert {name: row["imaging_quality"] for name, row in rows.items()} == {
        "cropped": 20, "loses": 20, "longer": 40, "drifts": 20, "short": 8, "slow": 20,
    }  # fmt: skip
    assert rows["longer"]["beside"] == "time" and rows["longer"]["frames"] == 40
    assert rows["longer"]["frames_beside"] >= 39


def test_a_video_that_is_cut_short_or_plays_slower_is_told(awkward):
    found, rows = awkward
    assert rows["short"]["covers"] == pytest.approx(8 / 20, abs=0.06) and rows["longer"]["covers"] == 1
    assert rows["slow"]["pace"] == 0.8 and rows["short"]["pace"] == 1
    for said, name in (("cover less than 90%", "short/a"), ("at another rate", "slow/a")):
        (sentence,) = [sentence for sentence in found.warnings if said in sentence]
        assert sentence.startswith(f"1 of 6 generated videos, e.g. {name},")


def test_another_person_is_compared_with_a_recording_of_that_person(folders, shared, tmp_path):
    """Anna's motion on Ben's face: the identity that counts is Ben's, if a reference shows him."""
    a, b = (folders / "real" / f"{name}.mp4" for name in "ab")
    for name, source in (("1001_DFA_HAP_XX", a), ("1002_ITS_SAD_XX", b)):
        (tmp_path / "real").mkdir(exist_ok=True)
        shutil.copy(source, tmp_path / "real" / f"{name}.mp4")
    (tmp_path / "made").mkdir()
    put(tmp_path / "made" / "1001_DFA_HAP_XX_1002.mp4", pictures(b), quality_factor="20")
    put(tmp_path / "made" / "1001_DFA_HAP_XX_1003.mp4", pictures(b), quality_factor="20")

    def make(*_):
        def brightness(reference, generated):
            return -np.abs(reference.rgb.mean((1, 2, 3)) - generated.rgb.mean((1, 2, 3)))

        return build.Metrics(pairs=(metrics.FrameMetric("csim", "identity", brightness),))

    model = shared / "models" / "face_landmarker.task"
    request = quality.Request(tmp_path / "real", tmp_path / "made", metrics=["csim"], landmark_model=model)
    found, _ = quality.run(request, tmp_path / "tracks", make=make)
    rows = {row["video"]: row for row in found.rows}
    assert rows["1001_DFA_HAP_XX_1002"]["identity_reference"] == "1002_ITS_SAD_XX.mp4"
    assert rows["1001_DFA_HAP_XX_1002"]["csim"] > -3
    assert math.isnan(rows["1001_DFA_HAP_XX_1003"]["csim"]) and not rows["1001_DFA_HAP_XX_1003"]["identity_reference"]
    assert found.values["GAGAvatar"]["csim"]["warnings"] == ("1 videos have no value",)
    assert any("another person than their driver" in sentence for sentence in found.warnings)


class Breaks:
    """A metric that cannot bear dark frames."""

    name, view = "ssim", "region"

    def __init__(self, error):
        self.error = error

    def update(self, reference, generated):
        if generated.rgb.mean() < 60:
            raise self.error
        return np.full(len(generated), 0.5)

    def end_pair(self):
        return 0.5


@pytest.mark.parametrize("error", [ArrayRefused("x", "shape", "too dark"), RuntimeError("out of memory")])
def test_one_bad_pair_costs_no_other(shared, tmp_path, error):
    shown = pictures(shared / "data" / "videos" / "reenactment" / "aniportrait_aragaki_driver.mp4", 6)
    for name in ("bright", "dark"):
        put(tmp_path / "real" / f"{name}.mp4", shown)
        put(tmp_path / "made" / f"{name}.mp4", [picture // (1 if name == "bright" else 4) for picture in shown])
    request = quality.Request(
        tmp_path / "real",
        tmp_path / "made",
        metrics=["ssim"],
        landmark_model=shared / "models" / "face_landmarker.task",
    )
    found, _ = quality.run(request, tmp_path / "tracks", make=lambda *_: build.Metrics(pairs=(Breaks(error),)))
    assert [row["video"] for row in found.rows] == ["bright"] == [frame.video for frame in found.worst]
    assert [(entry["video"], str(error)[:8] in entry["reason"]) for entry in found.failures] == [("dark", True)]


def test_frames_of_a_video_that_breaks_off_do_not_join_the_next_one(shared, tmp_path, monkeypatch):
    shown = pictures(shared / "data" / "videos" / "reenactment" / "aniportrait_aragaki_driver.mp4", 20)
    for name in ("a_breaks", "b_whole"):
        for side in ("real", "made"):
            mirrored = [picture[:, ::-1] if name == "a_breaks" else picture for picture in shown]
            put(tmp_path / side / f"{name}.mp4", mirrored, quality_factor="12" if side == "real" else "30")
    whole, clips = frames.of_one, []

    def breaking(clip, view):
        for piece in whole(clip, view):
            yield piece.first(8) if "breaks" in clip.file.name else piece
            if "breaks" in clip.file.name:
                raise VideoRefused(clip.file.path, "truncated", "it ends early")

    def features(found):
        clips.extend(found)
        return found.reshape(len(found), -1)[:, :4].astype(np.float32)

    monkeypatch.setattr(frames, "of_one", breaking)
    metric = metrics.ClipMetric("fvd", "face", features)
    model = shared / "models" / "face_landmarker.task"
    request = quality.Request(tmp_path / "real", tmp_path / "made", metrics=["fvd"], landmark_model=model)
    found, _ = quality.run(request, tmp_path / "tracks", make=lambda *_: build.Metrics(sets=(metric,)))
    assert [entry["video"] for entry in found.failures] == ["a_breaks"]
    assert len(clips) == 2  # one a side, both of the video that is whole, none of them mirrored at its beginning
    assert all(np.abs(clip[0].astype(int) - clip[15]).mean() < 25 for clip in clips)
    assert found.values["made"]["fvd"]["count"] == 1


def test_face_videos_of_the_public_benchmark_are_not_cut_again(shared, tmp_path):
    """Nor is a face looked for in them: they need not show one that MediaPipe finds."""
    shown = pictures(shared / "data" / "videos" / "reenactment" / "aniportrait_aragaki_driver.mp4", 16)
    put(tmp_path / "real" / "video1.mp4", shown)
    put(tmp_path / "made" / "1-video1-face-v5.mp4", [np.full((64, 80, 3), 90, np.uint8)] * 16)
    request = quality.Request(
        tmp_path / "real", tmp_path / "made", mode="published", metrics=["psnr"],
        landmark_model=shared / "models" / "face_landmarker.task", faces=tmp_path / "faces",
    )  # fmt: skip
    found, _ = quality.run(request, tmp_path / "tracks")
    assert found.rows[0]["share_with_face"] == 1 and 5 < found.rows[0]["psnr"] < 20
    written = video.open_video(tmp_path / "faces" / "generated" / "1-video1-face-v5.mp4")
    assert (written.width, written.height) == (80, 64)


# ------------------------------------------------------------------------------------------------- side by side


def clip_of(numbers, fps, start=0, frames_in_video=None):
    """A clip whose face is followed from frame `start` on."""
    count = frames_in_video or start + len(numbers)
    times = np.zeros(count, np.int64)
    times[start : start + len(numbers)] = np.round(np.array(numbers) * 1e6 / fps)
    follows = (np.arange(count) >= start) & (np.arange(count) < start + len(numbers))
    return types.SimpleNamespace(
        timestamps=times,
        region=types.SimpleNamespace(follows=follows),
        num_frames=count,
        tracks=types.SimpleNamespace(longest=types.SimpleNamespace(steady_fps=fps)),
    )


def put_beside(*clips):
    found = frames.beside(*clips)
    return found.numbers, found.by


def test_frames_are_put_beside_each_other():
    numbers, how = put_beside(clip_of(range(50), 25), clip_of(range(52), 30))
    assert how == "position" and numbers.tolist() == [[i, i] for i in range(50)]
    numbers, how = put_beside(clip_of(range(50), 25), clip_of(range(60), 30))
    assert how == "time" and numbers[:7].tolist() == [[0, 0], [1, 1], [2, 2], [2, 3], [3, 4], [4, 5], [5, 6]]
    assert len(numbers) == 60
    numbers, _ = put_beside(clip_of(range(20), 25), clip_of(range(60), 25))
    assert len(numbers) == 21 and numbers[-1].tolist() == [19, 20]  # one frame time past the end
    numbers, _ = put_beside(clip_of(range(40), 25, start=10, frames_in_video=50), clip_of(range(50), 25))
    assert numbers[0].tolist() == [10, 10] and len(numbers) == 40
    numbers, _ = put_beside(clip_of(range(1), 25), clip_of(range(60), 25))
    assert numbers.tolist() == [[0, 0], [0, 1]]


def test_a_pair_without_a_common_moment():
    numbers, _ = put_beside(clip_of(range(10), 25, frames_in_video=50), clip_of(range(10), 25, 40, 50))
    assert len(numbers) == 0


def test_only_paired_videos_are_looked_at(request_of, tracks, report):
    made = {path.name for path in (tracks / "generated" / "AniPortrait").glob("*.track.npz")}
    assert made == {"a.mp4.track.npz", "b.mp4.track.npz"}
    assert pairing.find_pairs(request_of().reference, request_of().generated).generators[0] == "AniPortrait"
    assert batch.read_failures(tracks / "generated")[0]["reason"] == "no_face"
