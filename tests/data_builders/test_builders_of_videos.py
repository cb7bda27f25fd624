"""Builders over videos, on tracks written beforehand and named as each corpus names its videos."""

import dataclasses
import json
import pathlib
import pickle
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import trees

from data_builders import build, videos
from data_builders.base import Options
from fingerprint.data import records
from fingerprint.errors import DatasetError, UnknownName
from fingerprint.landmarks import topology, track, video

UUIDS = trees.UUIDS
ROLES = ("driver", "target", "generator", "corpus", "clip_id", "sentence")


def written(tmp_path, *files, **kwargs) -> pathlib.Path:
    for file in files:
        trees.video_tracks(tmp_path / "tracks", file, **kwargs)
    return tmp_path / "tracks"


def built(dataset, tmp_path, **options):
    """Builds `dataset` from the tracks in `tmp_path`: its folder and, by split, its metadata."""
    folder = build.build(dataset, tmp_path / "data", Options(**{"tracks": tmp_path / "tracks", **options}))
    info = json.loads((folder / "build.json").read_text())
    opened = {s: records.open_split(tmp_path / "data", dataset, s, verify=True) for s in info["records"]}
    return info, {split: source.metadata() for split, source in opened.items()}


def rows(tables, *columns):
    return {tuple(str(t[c][i]) for c in columns) for t in tables.values() for i in range(len(t["driver"]))}


def drivers(tables):
    return {split: sorted(set(table["driver"].tolist())) for split, table in tables.items()}


CREMAD = ("1002_DFA_ANG_XX.flv", "1004_IEO_ANG_HI.flv", "1001_MTI_NEU_XX.flv")


class TestRecordings:
    def test_ravdess(self, tmp_path):
        written(
            tmp_path,
            "Video_Speech_Actor_01/Actor_01/01-01-03-02-01-02-01.mp4",
            "Video_Speech_Actor_01/Actor_01/02-01-03-02-01-02-01.mp4",  # the same take without sound
            "Video_Song_Actor_01/Actor_01/01-02-03-02-02-02-01.mp4",
            "Actor_17/01-01-01-01-02-01-17.mp4",
            "Actor_19/01-01-01-01-02-01-19.mp4",
            "Audio_Speech_Actors_01-24/03-01-01-01-01-01-19.mp4",
        )
        info, tables = built("ravdess/avaprintdb109", tmp_path)
        assert drivers(tables) == {"train": ["Actor_01"], "validation": ["Actor_17"], "test": ["Actor_19"]}
        assert len(tables["train"]["driver"]) == 2 and info["excluded"] == {"known_bad": 2}
        assert ("Actor_01", "Actor_01", "ORIG", "ravdess", "01-02-03-02-02-02-01", "02") in rows(tables, *ROLES)
        assert info["notes"][0] == "identity split: NVFAIR's"

    def test_cremad(self, tmp_path):
        bad = ("1076_MTI_NEU_XX", "1076_MTI_SAD_XX", "1064_TIE_SAD_XX", "1064_IEO_DIS_MD")
        written(tmp_path, *(f"VideoFlash/{name}" for name in CREMAD), "1040_ITH_SAD_X.mp4", *(f"{b}.flv" for b in bad))
        info, tables = built("cremad/mediapipe478", tmp_path)
        assert drivers(tables) == {"train": ["1002", "1040"], "validation": ["1004"], "test": ["1001"]}
        assert info["excluded"] == {"known_bad": 4} and info["landmark_set"] == "mediapipe478"
        assert ("1040", "1040", "ORIG", "cremad", "1040_ITH_SAD_XX", "ITH") in rows(tables, *ROLES)

    def test_another_split(self, tmp_path):
        written(tmp_path, *CREMAD)
        (tmp_path / "splits.csv").write_text("identity,split\n1002,test\n1004,test\n1001,train\n")
        info, tables = built("cremad/avaprintdb109", tmp_path, splits_csv=tmp_path / "splits.csv")
        assert drivers(tables) == {"test": ["1002", "1004"], "train": ["1001"]}
        assert info["options"]["splits_csv"]["name"] == "splits.csv" and not info["notes"][0].startswith("identity")
        (tmp_path / "splits.csv").write_text("identity,split\n1002,test\n")
        with pytest.raises(DatasetError, match="no split for 2 identities: 1001, 1004"):
            built("cremad/mediapipe478", tmp_path, splits_csv=tmp_path / "splits.csv")

    def test_a_clip_twice_and_names_of_another_corpus(self, tmp_path):
        written(tmp_path, *CREMAD, "holiday.mp4")
        info, _ = built("cremad/avaprintdb109", tmp_path, failure_budget=0.3)
        assert info["refused"] == {"name": 1}
        written(tmp_path, "copy/1001_MTI_NEU_X.mp4")
        with pytest.raises(DatasetError, match=r"1001_MTI_NEU_XX#0: 1001_MTI_NEU_XX.flv, copy/1001_MTI_NEU_X.mp4"):
            built("cremad/mediapipe478", tmp_path, failure_budget=0.3)


class TestNvfair:
    FILES = (
        "NVIDIA-VC-subset/originals/id011/a01-id011.mp4",
        "NVIDIA-VC-subset/lia-generated/id011/id011--1002_IEO_FEA_LO--1002.mp4",
        "NVIDIA-VC-subset/tps-generated/id011/id011--1002_IEO_FEA_LO--1002.mp4",
        "CREMA-D/originals/1004/1004_DFA_ANG_XX.mp4",
        "CREMA-D/facevid2vid-generated/1004/1004--q03-id029--id029.mp4",
        "RAVDESS/originals/Actor_19/01-01-01-01-01-01-19.mp4",
        "RAVDESS/lia-generated/Actor_19/Actor_19--01-01-01-01-01-01-19--Actor_19.mp4",
        "RAVDESS/lia-generated/Actor_19/Actor_19--1002_IEO_FEA_LO--1002.mp4",  # training driver, test face
    )

    def test_everything(self, tmp_path):
        written(tmp_path, *self.FILES)
        info, tables = built("nvfair/avaprintdb109", tmp_path)
        assert info["records"] == {"train": 3, "validation": 2, "test": 2} and info["excluded"] == {"cross_split": 1}
        assert rows(tables, *ROLES, "video_id") == {
            ("id011", "id011", "ORIG", "nvidia_vc", "a01-id011", "a01", "a01-id011"),
            *(
                ("1002", "id011", g, "nvidia_vc", "1002_IEO_FEA_LO", "IEO", f"id011--1002_IEO_FEA_LO--1002--{g}")
                for g in ("LIA", "TPS")
            ),
            ("1004", "1004", "ORIG", "cremad", "1004_DFA_ANG_XX", "DFA", "1004_DFA_ANG_XX"),
            ("id029", "1004", "facevid2vid", "cremad", "q03-id029", "q03", "1004--q03-id029--id029--facevid2vid"),
            ("Actor_19", "Actor_19", "ORIG", "ravdess", "01-01-01-01-01-01-19", "01", "01-01-01-01-01-01-19"),
            (
                *("Actor_19", "Actor_19", "LIA", "ravdess", "01-01-01-01-01-01-19", "01"),
                "Actor_19--01-01-01-01-01-01-19--Actor_19--LIA",
            ),
        }

    def test_one_generator(self, tmp_path):
        written(tmp_path, *self.FILES, "CREMA-D/lia-generated/1004/1004--q03-id029--id029.mp4")
        _, tables = built("nvfair/lia_avaprintdb109", tmp_path)
        assert rows(tables, "generator") == {("LIA",)} and drivers(tables)["validation"] == ["id029"]
        _, tables = built("nvfair/originals_mediapipe478", tmp_path)
        assert rows(tables, "generator") == {("ORIG",)} and len(rows(tables, "driver")) == 3
        with pytest.raises(DatasetError, match="no file for split train, test"):
            built("nvfair/facevid2vid_avaprintdb109", tmp_path)

    @pytest.mark.parametrize(
        "file",
        [
            "CREMA-D/originals/1004/1002_DFA_ANG_XX.mp4",  # another person's folder
            "RAVDESS/lia-generated/id011/id011--1002_IEO_FEA_LO--1002.mp4",  # another corpus' folder
            "CREMA-D/lia-generated/1004/1004_DFA_ANG_XX.mp4",  # an original among the generated
            "CREMA-D/originals/1004/1004--1004_DFA_ANG_XX--1004.mp4",
            "CREMA-D/gan-generated/1004/1004--1004_DFA_ANG_XX--1004.mp4",
            "1004/1004_DFA_ANG_XX.mp4",
        ],
    )
    def test_folders_that_contradict_the_name(self, tmp_path, file):
        written(tmp_path, *self.FILES, file)
        info, _ = built("nvfair/avaprintdb109", tmp_path, failure_budget=0.2)
        assert info["refused"] == {"name": 1} and sum(info["records"].values()) == 7


class TestIdentityFolders:
    def test_folders_of_anybody(self, tmp_path):
        written(tmp_path, *(f"{part}/lab_id00{i}/{v}.mov" for i, part in enumerate("abcde") for v in ("hello", "bye")))
        written(tmp_path, "a/lab_id000/1001_DFA_ANG_XX.mp4", "a/lab_id000/1076_MTI_NEU_XX.mp4", "a/stray/x.mp4")
        info, tables = built("identity_folders/mine", tmp_path, generator="RAVAS", shares=(3, 1, 1), failure_budget=0.1)
        assert {s: len(set(t["driver"])) for s, t in tables.items()} == {"train": 3, "validation": 1, "test": 1}
        found = rows(tables, *ROLES, "video_id")
        assert ("lab_id003", "lab_id003", "RAVAS", "lab", "lab_id003--bye", "", "lab_id003--bye") in found
        assert any(row[4:] == ("1001_DFA_ANG_XX", "DFA", "lab_id000--1001_DFA_ANG_XX") for row in found)
        assert info["refused"] == {"name": 1} and info["excluded"] == {"known_bad": 1}
        assert info["landmark_set"] == "avaprintdb109" and len(found) == 11

    def test_a_config_of_ones_own(self, tmp_path):
        written(tmp_path, *(f"lab_id00{i}/hello.mp4" for i in range(3)))
        info, _ = built("identity_folders/all_points", tmp_path, landmark_set="mediapipe478")
        assert info["landmark_set"] == "mediapipe478"
        for config, landmark_set, error, message in (
            ("x", "ibug68", DatasetError, "none of MediaPipe's points"),
            ("x", "ibug69", UnknownName, "ibug68"),
            ("avaprintdb109", "mediapipe478", DatasetError, "holds landmark set avaprintdb109"),
        ):
            with pytest.raises(error, match=message):
                built(f"identity_folders/{config}", tmp_path, landmark_set=landmark_set)

    FILES = (
        "train/ravdess_id001/01-01-03-02-01-02-01.mp4",
        "nvidia_id053/a01-id029.mp4",
        "val/cremad_id071/1001_DFA_ANG_XX.mp4",
        "cremad_id071/talk.mp4",
    )

    def test_did_d_is_of_nvfairs_people(self, tmp_path):
        written(tmp_path, *self.FILES)
        _, tables = built("identity_folders/did_d_avaprintdb109", tmp_path)
        assert drivers(tables) == {"train": ["Actor_01"], "validation": ["id029"], "test": ["1001"]}
        assert ("1001", "1001", "ORIG", "cremad", "cremad_id071--talk", "") in rows(tables, *ROLES)
        assert ("id029", "id029", "ORIG", "nvidia_vc", "a01-id029", "a01") in rows(tables, *ROLES)
        _, tables = built("identity_folders/tav_d_avaprintdb109", tmp_path)
        assert rows(tables, "generator") == {("RAVAS",)}
        with pytest.raises(DatasetError, match="takes no option seed"):
            built("identity_folders/did_d_mediapipe478", tmp_path, seed=1)

    @pytest.mark.parametrize("file", ["cremad_id072/1001_DFA_ANG_XX.mp4", "lab_id001/a.mp4", "cremad_id001/a.mp4"])
    def test_did_d_with_somebody_else(self, tmp_path, file):
        written(tmp_path, *self.FILES, file)
        info, _ = built("identity_folders/did_d_avaprintdb109", tmp_path, failure_budget=0.3)
        assert info["refused"] == {"name": 1}


class TestGagavatarVideos:
    FILES = tuple(f"{part}/GAGAvatar/{video}.mp4" for part, _, _, video, _ in trees.GAGAVATAR)

    def test_splits_are_those_of_the_windows(self, tmp_path):
        written(tmp_path, *self.FILES)
        _, tables = built("gagavatar_benchmark/gagavatar_videos", tmp_path)
        windows = build.build(
            "gagavatar_benchmark/gagavatar_ravdess_and_cremad",
            tmp_path / "windows",
            Options(source=trees.gagavatar(tmp_path / "tree")),
        )
        for split in json.loads((windows / "build.json").read_text())["records"]:
            wanted = records.open_split(
                tmp_path / "windows", "gagavatar_benchmark/gagavatar_ravdess_and_cremad", split
            ).metadata()
            assert rows({split: wanted}, *ROLES, "video_id") == rows({split: tables[split]}, *ROLES, "video_id")

    def test_what_is_left_out(self, tmp_path):
        written(tmp_path, *(f"raw_videos/{file}" for file in self.FILES))
        written(
            tmp_path, "raw_videos/dev/GAGAvatar/1004_DFA_ANG_XX_1002.mp4", "raw_videos/dev/1002_DFA_ANG_XX_1002.mp4"
        )
        written(tmp_path, "raw_videos/dev/GAGAvatar/02-01-01-01-01-01-01_1002.mp4", "dev/GAGAvatar/a.mp4")
        info, _ = built("gagavatar_benchmark/gagavatar_videos", tmp_path, failure_budget=0.5)
        assert info["excluded"] == {"cross_split": 1, "known_bad": 1} and info["refused"] == {"name": 2}
        info, _ = built(
            "gagavatar_benchmark/gagavatar_videos_mediapipe478", tmp_path, failure_budget=0.5, whole_dev=True
        )
        assert info["records"] == {"train": 3, "test": 1}
        written(tmp_path, "raw_videos/test/GAGAvatar/1038_DFA_ANG_XX_1002.mp4")
        with pytest.raises(DatasetError, match="1002 is in dev and in test"):
            built("gagavatar_benchmark/gagavatar_videos", tmp_path / "again", tracks=tmp_path / "tracks")


class TestAvaprintdbVideos:
    def files(self, generator="GAGA"):
        return [f"{t}--{d}--{UUIDS[clip]}--{generator}.mp4" for _, t, d, clip in trees.AVAPRINTDB]

    def test_a_flat_tree_with_the_tables(self, tmp_path):
        written(tmp_path, *self.files(), *self.files("LIVE"))
        tables_of = trees.avaprintdb(tmp_path / "tree") / "generation"
        info, tables = built("avaprintdb/cremad_gaga_videos", tmp_path, metadata_csv=tables_of)
        assert info["records"] == {"train": 3, "validation": 1, "test": 1} and info["excluded"] == {"cross_split": 1}
        assert ("C1012", "C1014", "GAGA", "cremad", "1012_DFA_ANG_XX", "DFA") in rows(tables, *ROLES)
        info, _ = built("avaprintdb/all_videos_mediapipe478", tmp_path, whole_dev=True)
        assert info["records"] == {"train": 10, "test": 2} and info["landmark_set"] == "mediapipe478"

    def test_folders(self, tmp_path):
        parts = [row[0] for row in trees.AVAPRINTDB]
        written(tmp_path, *(f"{part}/GAGA/{file}" for part, file in zip(parts, self.files(), strict=True)))
        info, _ = built("avaprintdb/cremad_gaga_videos", tmp_path)
        assert info["records"] == {"train": 3, "validation": 1, "test": 1}
        written(tmp_path, f"DEV/LIVE/C1014--C1014--{UUIDS['1001_MTI_NEU_XX']}--GAGA.mp4")
        info, _ = built("avaprintdb/all_videos", tmp_path, failure_budget=0.2)
        assert info["refused"] == {"name": 1}
        written(tmp_path, f"DEV/GAGA/C1003--C1003--{UUIDS['1003_TIE_HAP_XX']}--GAGA.mp4")
        with pytest.raises(DatasetError, match="lies under DEV"):
            built("avaprintdb/all_videos_mediapipe478", tmp_path, failure_budget=0.2)


class TestTracks:
    def test_the_record_is_the_track(self, tmp_path):
        written(tmp_path, *CREMAD)
        for landmark_set in ("avaprintdb109", "mediapipe478"):
            built(f"cremad/{landmark_set}", tmp_path)
            (record,) = records.open_split(tmp_path / "data", f"cremad/{landmark_set}", "test")
            wanted = track.read(track.track_path(tmp_path / "tracks", CREMAD[2])).longest
            indices = topology.get(landmark_set).mediapipe_indices
            np.testing.assert_array_equal(record["landmarks"], wanted.landmarks[:, indices])
            assert record["frame_mask"].tolist() == [True, False, True, True, True, True]
            assert record["fps"] == 25 and record["image_size"].tolist() == [640, 480] and record["start_frame"] == 0
            assert not record["landmarks"][1].any()

    def test_of_several_tracks_the_longest(self, tmp_path):
        written(tmp_path, *CREMAD[:2])
        written(tmp_path, CREMAD[2], lengths=(4, 9, 5))
        info, tables = built("cremad/avaprintdb109", tmp_path)
        assert tables["test"]["num_frames"].tolist() == [9] and tables["test"]["start_frame"].tolist() == [4]
        assert info["excluded"] == {"other_track": 2}
        failures = (tmp_path / "data" / "cremad" / "avaprintdb109" / "1.0.0" / "failures.csv").read_text()
        assert '1001_MTI_NEU_XX.flv,"frames 0-3, 3 with a face; used: frames 4-12, 8 with a face"' in failures

    def test_resampled(self, tmp_path):
        written(tmp_path, *CREMAD[:2], lengths=(50,), fps=25.0)
        written(tmp_path, CREMAD[2], lengths=(60,), fps=30.0)
        written(tmp_path, "1001_DFA_ANG_XX.flv", lengths=(25, 50))
        face = trees.face_track("late", 3)
        late = dataclasses.replace(
            face,
            landmarks=face.landmarks[::-1].copy() * np.array([0, 0, 1], np.float32)[:, None, None],
            frame_mask=np.array([False, False, True]),
        )
        track.write(
            tmp_path / "tracks" / "1001_DFA_SAD_XX.flv.track.npz", track.VideoTracks((late,), 3, face.provenance)
        )
        info, tables = built("cremad/avaprintdb109", tmp_path, resample_fps=10.0, failure_budget=0.2)
        assert info["refused"] == {"no_valid_frame": 1}
        assert tables["test"]["start_frame"][tables["test"]["clip_id"] == "1001_DFA_ANG_XX"].tolist() == [10]
        for table in tables.values():
            assert set(table["fps"]) == {10} and (abs(table["num_frames"] - 20) <= 1).all()
        assert info["options"]["resample_fps"] == 10
        with pytest.raises(DatasetError, match="resample_fps 0.0; wanted"):
            built("cremad/mediapipe478", tmp_path, resample_fps=0.0)

    def test_tracks_without_a_face_damaged_and_failed(self, tmp_path):
        tracks = written(tmp_path, *CREMAD)
        written(tmp_path, "1001_DFA_ANG_XX.flv", lengths=())
        (tracks / "1001_DFA_SAD_XX.flv.track.npz").write_bytes(b"nonsense")
        (tracks / "failures.csv").write_text(
            "file,reason,detail\n1001_DFA_HAP_XX.flv,truncated,cut off\n1001_DFA_ANG_XX.flv,no_face,none\n"
        )
        (tracks / "1001_DFA_FEA_XX.flv.track.npz").symlink_to(
            shutil.copy(track.track_path(tracks, CREMAD[2]), tmp_path / "elsewhere.npz")
        )
        info, _ = built("cremad/avaprintdb109", tmp_path, failure_budget=0.9)
        assert sum(info["refused"].values()) == 4 and info["records"]["test"] == 1
        assert info["refused"]["truncated"] >= 1 and info["refused"]["no_face"] == 1
        assert info["refused"]["outside_root"] == 1
        with pytest.raises(DatasetError, match="more than the failure budget"):
            built("cremad/mediapipe478", tmp_path)

    def test_a_track_that_is_too_long(self, tmp_path):
        written(tmp_path, *CREMAD)
        written(tmp_path, "1001_DFA_ANG_XX.flv", lengths=(8,))
        info, _ = built("cremad/avaprintdb109", tmp_path, max_frames=7, failure_budget=0.5)
        assert info["refused"] == {"too_long": 1}

    def test_how_they_were_made_stands_in_the_build(self, tmp_path):
        written(tmp_path, *CREMAD)
        info, _ = built("cremad/avaprintdb109", tmp_path)
        assert info["notes"][-1] == '3 tracks made with {"extractor": "made up", "mode": "video"}'
        assert str(tmp_path) not in json.dumps(info) and "tracks" not in info["options"]

    def test_they_lie_beside_the_data_sets_and_survive_an_overwrite(self, tmp_path):
        for file in CREMAD:
            trees.video_tracks(tmp_path / "data" / "tracks" / "cremad", file)
        options = dict(tracks=None)
        built("cremad/avaprintdb109", tmp_path, **options)
        digests = tmp_path / "data" / "cremad" / "avaprintdb109" / "1.0.0" / "digests.json"
        before = digests.read_text()
        build.build("cremad/avaprintdb109", tmp_path / "data", Options(), overwrite=True)
        assert digests.read_text() == before
        assert len(list((tmp_path / "data" / "tracks" / "cremad").iterdir())) == 3

    def test_a_build_from_them_loads_no_mediapipe(self, tmp_path):
        written(tmp_path, *CREMAD)
        arguments = ["cremad/avaprintdb109", "--tracks", str(tmp_path / "tracks"), "--data_dir", str(tmp_path / "data")]
        code = (
            "import sys; from data_builders import build; "
            f"assert build.main({arguments}) == 0; sys.exit('mediapipe' in sys.modules or 'av' in sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], cwd=trees.REPOSITORY, check=True, timeout=120)

    def test_neither_videos_nor_tracks(self, tmp_path):
        with pytest.raises(DatasetError, match=r"(?s)no source folder; give --source.*Nor are there tracks"):
            built("cremad/avaprintdb109", tmp_path)
        (tmp_path / "tracks").mkdir()
        with pytest.raises(DatasetError, match="no track in it"):
            built("cremad/avaprintdb109", tmp_path)
        with pytest.raises(DatasetError, match="is no folder"):
            built("cremad/avaprintdb109", tmp_path, source=tmp_path / "absent")
        (tmp_path / "empty").mkdir()
        with pytest.raises(DatasetError, match="no video in"):
            built("cremad/avaprintdb109", tmp_path, source=tmp_path / "empty")


class TestChannels:
    """What records hold beside the landmarks."""

    def test_they_are_the_track_s_bit_for_bit(self, tmp_path):
        tracks = written(tmp_path, *CREMAD, lengths=(9,))
        info, _ = built("cremad/amber152", tmp_path, channels=("pose", "blendshapes"))
        assert info["channels"] == info["options"]["channels"] == ["blendshapes", "pose"] and info["schema"] == 1
        found = {}
        for split in ("train", "validation", "test"):
            source = records.open_split(tmp_path / "data", "cremad/amber152", split)
            again = pickle.loads(pickle.dumps(source))
            assert again.channels == ("blendshapes", "pose") and set(again[0]) == set(source[0])
            found |= {record["video_id"]: record for record in source}
        assert len(found) == 3
        for file in CREMAD:
            made, record = track.read(track.track_path(tracks, file)).longest, found[file.removesuffix(".flv")]
            for name in ("blendshapes", "pose"):
                assert record[name].dtype == np.float32 and np.array_equal(record[name], getattr(made, name))
                assert record[name][record["frame_mask"]].any() and not record[name][~record["frame_mask"]].any()

    def test_they_are_resampled_with_the_track(self, tmp_path):
        tracks = written(tmp_path, *CREMAD, lengths=(20,))
        built("cremad/avaprintdb109", tmp_path, channels=("blendshapes",), resample_fps=10.0)
        (record,) = records.open_split(tmp_path / "data", "cremad/avaprintdb109", "train")
        made = track.resample(track.read(track.track_path(tracks, CREMAD[0])).longest, 10.0)
        assert np.array_equal(record["blendshapes"], made.blendshapes) and "pose" not in record

    def test_without_them_nothing_changes(self, tmp_path):
        """A data set built before there were channels is read and counts as built."""
        written(tmp_path, *CREMAD)
        info, _ = built("cremad/avaprintdb109", tmp_path)
        assert info["channels"] == [] and "channels" not in info["options"]
        folder = tmp_path / "data" / "cremad" / "avaprintdb109" / "1.0.0"
        del info["channels"]
        (folder / "build.json").write_text(json.dumps(info))
        built("cremad/avaprintdb109", tmp_path)
        assert records.open_split(tmp_path / "data", "cremad/avaprintdb109", "train", verify=True).channels == ()
        with pytest.raises(DatasetError, match="--overwrite builds it anew"):
            built("cremad/avaprintdb109", tmp_path, channels=("pose",))

    def test_a_record_that_breaks_their_promise_is_found(self, tmp_path):
        written(tmp_path, *CREMAD)
        built("cremad/avaprintdb109", tmp_path, channels=("pose",))
        source = records.open_split(tmp_path / "data", "cremad/avaprintdb109", "train")
        record = source[0]
        for wrong, said in (
            (np.where(record["frame_mask"][:, None, None], record["pose"], 1), "pose must be finite, and zero where"),
            (np.full_like(record["pose"], np.nan), "pose must be finite"),
            (record["pose"][:-1], "5 frames of pose, 6 in the mask"),
        ):
            source._decode = lambda *_, wrong=wrong: {**record_bytes(record), "pose": wrong}
            with pytest.raises(DatasetError, match=said):
                source.verify()

    def test_those_that_no_record_holds_are_refused(self, tmp_path):
        with pytest.raises(UnknownName, match="unknown channel of records 'canonical'; known: blendshapes, pose"):
            built("cremad/avaprintdb109", tmp_path, channels=("canonical",))
        with pytest.raises(UnknownName, match="unknown channel 'gaze'"):
            Options(channels=("gaze",))

    def test_the_command_takes_them(self, tmp_path, capsys):
        written(tmp_path, *CREMAD)
        common = ["cremad/avaprintdb109", "--data_dir", str(tmp_path / "data")]
        assert build.main([*common, "--tracks", str(tmp_path / "tracks"), "--channels", "pose", "blendshapes"]) == 0
        assert build.main([*common, "--verify"]) == 0
        assert "(landmark set avaprintdb109, blendshapes, pose)" in capsys.readouterr().out


def record_bytes(record):
    """As TFDS decodes it: texts are bytes."""
    return {key: value.encode() if isinstance(value, str) else value for key, value in record.items()}


class TestConfigs:
    def test_one_a_set_of_mediapipes_points(self):
        assert videos.landmark_sets() == ("amber152", "avaprintdb109", "mediapipe478", "nvfair126")
        for name in ("ravdess", "cremad", "nvfair", "identity_folders", "avaprintdb", "gagavatar_benchmark"):
            cls = build.builder_class(name)
            over_videos = [c for c in cls.BUILDER_CONFIGS if isinstance(c, videos.VideoConfig)]
            assert {c.landmark_set for c in over_videos} == set(videos.landmark_sets())
            assert len({c.name for c in cls.BUILDER_CONFIGS}) == len(cls.BUILDER_CONFIGS)

    def test_a_later_set_appears_by_itself(self, monkeypatch):
        later = dataclasses.replace(topology.get("avaprintdb109"), name="later")
        get = topology.get
        monkeypatch.setattr(topology, "names", lambda: ("ibug68", "later"))
        monkeypatch.setattr(topology, "get", lambda name: later if name == "later" else get(name))
        assert videos.landmark_sets() == ("later",)

    @pytest.mark.parametrize(
        ("dataset", "options"),
        [
            ("cremad/avaprintdb109", {"fps": 25.0}),
            ("cremad/avaprintdb109", {"whole_dev": True}),
            ("avaprintdb/cremad_gaga", {"tracks": pathlib.Path("x")}),
            ("avaprintdb/cremad_gaga_videos", {"fps": 25.0}),
            ("gagavatar_benchmark/gagavatar_videos", {"drop_first_frame": True}),
            ("landmark_folder/mine", {"landmark_set": "ibug68", "resample_fps": 25.0}),
            ("landmark_folder/mine", {"landmark_set": "ibug68", "channels": ("pose",)}),
            ("avaprintdb/cremad_gaga", {"channels": ("blendshapes",)}),
            ("synthetic_drivers/full_tiny", {"channels": ("pose",)}),
        ],
    )
    def test_options_are_those_of_the_config(self, tmp_path, dataset, options):
        with pytest.raises(DatasetError, match="takes no option"):
            build.make_builder(dataset, tmp_path, Options(**options))
        with pytest.raises(DatasetError, match="processes 0"):
            build.make_builder("cremad/avaprintdb109", tmp_path, Options(processes=0))


class TestFromVideos:
    """From real clips to records, extracting."""

    @pytest.fixture
    def source(self, shared, tmp_path):
        """Half a second of three people as clips of CREMA-D, a file that is no video, and clips that get no record."""
        clips = shared / "data" / "videos" / "talking"
        for clip, name in (("liveportrait_d10", "1002_DFA_ANG_XX.mp4"), ("s18", "1004_IEO_ANG_HI.mp4")):
            trees.cut(clips / f"{clip}.mp4", tmp_path / "videos" / "VideoMP4" / name)
        trees.cut(clips / "grid_bbaf2n.mpg", tmp_path / "videos" / "1001_MTI_NEU_XX.mp4")
        (tmp_path / "videos" / "1001_DFA_ANG_XX.mp4").write_bytes(b"not a video" * 100)
        (tmp_path / "videos" / "1076_MTI_NEU_XX.mp4").write_bytes(b"known as bad")
        return tmp_path / "videos"

    def test_extracts_once_and_builds_every_set(self, shared, source, tmp_path, capsys):
        model = shared / "models" / "face_landmarker.task"
        common = ["--data_dir", str(tmp_path / "data"), "--failure_budget", "0.3"]
        extracting = ["--source", str(source), "--landmark_model", str(model), "--processes", "2"]
        assert build.main(["cremad/avaprintdb109", *extracting, *common]) == 0, capsys.readouterr().err
        tracks = tmp_path / "data" / "tracks" / "cremad"
        files = {p.relative_to(tracks).as_posix(): p.stat().st_mtime_ns for p in tracks.rglob("*.track.npz")}
        assert set(files) == {
            "VideoMP4/1002_DFA_ANG_XX.mp4.track.npz",
            "VideoMP4/1004_IEO_ANG_HI.mp4.track.npz",
            "1001_MTI_NEU_XX.mp4.track.npz",
        }
        # Another set from the same tracks, and the first one anew without videos or model.
        assert build.main(["cremad/mediapipe478", *extracting, *common]) == 0
        again = ["--tracks", str(tracks), *common[2:], "--data_dir", str(tmp_path / "again")]
        assert build.main(["cremad/avaprintdb109", *again]) == 0
        assert files == {p.relative_to(tracks).as_posix(): p.stat().st_mtime_ns for p in tracks.rglob("*.track.npz")}
        one, other = (tmp_path / d / "cremad" / "avaprintdb109" / "1.0.0" for d in ("data", "again"))
        assert (one / "digests.json").read_text() == (other / "digests.json").read_text()
        info = json.loads((one / "build.json").read_text())
        assert info["refused"] == {"not_a_video": 1} and info["records"] == dict.fromkeys(
            ("train", "validation", "test"), 1
        )
        (record,) = records.open_split(tmp_path / "data", "cremad/avaprintdb109", "train")
        (whole,) = records.open_split(tmp_path / "data", "cremad/mediapipe478", "train")
        assert record["frame_mask"].all() and len(record["frame_mask"]) == 12
        assert record["image_size"].tolist() == list(
            video.open_video(source / "VideoMP4/1002_DFA_ANG_XX.mp4").image_size
        )
        nose, brow, chin = (whole["landmarks"][:, point, 1] for point in (4, 10, 152))
        assert (brow < nose).all() and (nose < chin).all()
        np.testing.assert_array_equal(
            record["landmarks"], whole["landmarks"][:, topology.get("avaprintdb109").mediapipe_indices]
        )

    def test_an_interrupted_extraction_goes_on(self, shared, tmp_path):
        clip = trees.cut(shared / "data" / "videos" / "talking" / "liveportrait_d18.mp4", tmp_path / "clip.mp4", 60)
        (tmp_path / "videos").mkdir()
        for name in CREMAD:
            shutil.copy(clip, tmp_path / "videos" / f"{name[:-4]}.mp4")
        model, tracks = shared / "models" / "face_landmarker.task", tmp_path / "data" / "tracks" / "cremad"
        command = [sys.executable, "-m", "data_builders.build", "cremad/avaprintdb109", "--processes", "1"]
        command += ["--source", tmp_path / "videos", "--landmark_model", model, "--data_dir", tmp_path / "data"]
        process = subprocess.Popen(
            list(map(str, command)), cwd=trees.REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            while process.poll() is None and not list(tracks.glob("[!.]*.track.npz")):
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 130 and "interrupted" in errors
        before = {path: path.stat().st_mtime_ns for path in tracks.glob("[!.]*.track.npz")}
        assert 1 <= len(before) < 3
        subprocess.run(list(map(str, command)), cwd=trees.REPOSITORY, check=True, timeout=120, capture_output=True)
        assert all(path.stat().st_mtime_ns == time_ for path, time_ in before.items())
        assert [len(track.read(path).longest) for path in tracks.glob("[!.]*.track.npz")] == [60, 60, 60]
        for split in ("train", "validation", "test"):
            assert len(records.open_split(tmp_path / "data", "cremad/avaprintdb109", split, verify=True)) == 1

    def test_without_a_model_nothing_is_built(self, source, tmp_path, capsys, monkeypatch):
        monkeypatch.delenv("FINGERPRINT_FACE_LANDMARKER", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        args = ["cremad/avaprintdb109", "--source", str(source), "--data_dir", str(tmp_path / "data")]
        assert build.main(args) == 1
        assert "face_landmarker.task" in capsys.readouterr().err
        with pytest.raises(DatasetError, match="no data set"):
            records.open_split(tmp_path / "data", "cremad/avaprintdb109", "train")
