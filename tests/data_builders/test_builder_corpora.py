"""Each builder on a small tree of its own layout."""

import json
import pathlib
import shutil

import numpy as np
import pytest
import trees

from data_builders import build
from data_builders.base import Options
from data_builders.landmark_folder import from_react68
from fingerprint.data import records, simulator
from fingerprint.errors import ArrayRefused, DatasetError, FingerprintError


def built(dataset, tmp_path, **options):
    """Builds `dataset` and returns its folder and, by split, its metadata."""
    folder = build.build(dataset, tmp_path / "data", Options(**options))
    opened = {s: records.open_split(tmp_path / "data", dataset, s, verify=True) for s in _info(folder)["records"]}
    return folder, {split: source.metadata() for split, source in opened.items()}


def _info(folder: pathlib.Path) -> dict:
    return json.loads((folder / "build.json").read_text())


def _videos(tables, *columns):
    return {tuple(str(table[c][i]) for c in columns) for table in tables.values() for i in range(len(table["driver"]))}


class TestLandmarkFolder:
    def test_dummy_data(self, tmp_path):
        folder, tables = built("landmark_folder/mine", tmp_path, source=trees.dummy_data("landmark_folder"))
        assert {s: len(t["driver"]) for s, t in tables.items()} == {"train": 6, "validation": 2, "test": 2}
        assert _info(folder)["landmark_set"] == "avaprintdb109"
        assert "/" not in json.dumps(_info(folder)["options"])
        for table in tables.values():
            npz = np.char.endswith(table["video_id"], "goodbye")
            assert set(table["fps"][npz]) == {25} and set(table["fps"][~npz]) == {0}
            assert table["image_size"][npz].tolist() == [[640, 480]] * npz.sum()
            assert (table["num_valid"][npz] == 4).all() and (table["num_frames"][npz] == 5).all()

    def test_landmarks_survive(self, tmp_path):
        tree = trees.landmark_folder(tmp_path / "tree")
        build.build("landmark_folder/mine", tmp_path / "data", Options(source=tree))
        source = records.open_split(tmp_path / "data", "landmark_folder/mine", "train+validation+test")
        for i in range(len(source)):
            if source[i]["video_id"] == "p3--p3--hello":
                wanted = np.load(tree / "p3" / "p3" / "hello.npy").astype(np.float32)
                np.testing.assert_array_equal(source[i]["landmarks"], wanted)
                return
        pytest.fail("p3--p3--hello is not there")

    def test_the_same_options_give_the_same_bytes(self, tmp_path):
        tree = trees.landmark_folder(tmp_path / "tree")
        for name in "ab":
            build.build("landmark_folder/mine", tmp_path / name, Options(source=tree))
        digests = [(tmp_path / n / "landmark_folder" / "mine" / "1.0.0" / "digests.json").read_text() for n in "ab"]
        assert digests[0] == digests[1]

    def test_reenactments_cross_no_split(self, tmp_path):
        tree = trees.landmark_folder(tmp_path / "tree")
        trees.save(tree / "p0" / "p1" / "hello.npy")
        trees.save(tree / "p0" / "p4" / "hello.npy")
        csv = tmp_path / "splits.csv"
        csv.write_text("identity,split\n" + "".join(f"p{i},{'test' if i > 2 else 'train'}\n" for i in range(5)))
        folder, tables = built("landmark_folder/mine", tmp_path, source=tree, splits_csv=csv)
        assert ("p0", "p1", "unknown", "p0--hello") in _videos(tables, "driver", "target", "generator", "clip_id")
        assert ("p0", "p0", "ORIG", "p0--hello") in _videos(tables, "driver", "target", "generator", "clip_id")
        assert "excluded,cross_split,p0/p4/hello.npy" in (folder / "failures.csv").read_text()
        assert not {"p3", "p4"} & set(tables["train"]["target"])

    def test_metadata_csv(self, tmp_path):
        tree = trees.landmark_folder(tmp_path / "tree")
        csv = tmp_path / "metadata.csv"
        csv.write_text(
            "video_id,clip_id,sentence,generator,fps,width,height\n"
            "p0--p0--hello,take7,DFA,LIVE,30,1280,720\np1--p1--goodbye,,,,,,\n"
        )
        _, tables = built("landmark_folder/mine", tmp_path, source=tree, metadata_csv=csv, fps=10.0, corpus="lab")
        columns = ("video_id", "clip_id", "sentence", "generator", "fps", "image_size", "corpus")
        videos = _videos(tables, *columns)
        assert ("p0--p0--hello", "take7", "DFA", "LIVE", "30.0", "[1280  720]", "lab") in videos
        assert ("p1--p1--goodbye", "p1--goodbye", "", "ORIG", "10.0", "[640 480]", "lab") in videos
        for text, message in (
            ("video_id,colour\np0,red\n", "unknown: colour"),
            ("video_id,fps\nhello,fast\n", "must be positive numbers"),
            ("video_id,width\nhello,640\n", "width with height"),
            ("video_id\nhello\nhello\n", "stands twice"),
        ):
            csv.write_text(text)
            with pytest.raises(DatasetError, match=message):
                build.build("landmark_folder/other", tmp_path / "data", Options(source=tree, metadata_csv=csv))
        csv.write_text("video_id\nnobody--nobody--none\n")
        with pytest.raises(DatasetError, match="1 × missing"):
            build.build("landmark_folder/other", tmp_path / "data", Options(source=tree, metadata_csv=csv))

    def test_a_set_for_testing_only(self, tmp_path):
        tree = trees.landmark_folder(tmp_path / "tree", people=2)
        _, tables = built("landmark_folder/shares", tmp_path, source=tree, shares=(0, 0, 1))
        assert {s: len(t["driver"]) for s, t in tables.items()} == {"test": 4}
        (tmp_path / "splits.csv").write_text("identity,split\np0,test\np1,test\n")
        _, tables = built("landmark_folder/csv", tmp_path, source=tree, splits_csv=tmp_path / "splits.csv")
        assert list(tables) == ["test"]
        (tmp_path / "splits.csv").write_text("identity,split\np0,test\np1,test\np9,train\n")
        with pytest.raises(DatasetError, match="no file for split train"):
            built("landmark_folder/empty", tmp_path, source=tree, splits_csv=tmp_path / "splits.csv")

    def test_windows_share_their_video(self, tmp_path):
        tree = trees.landmark_folder(tmp_path / "tree", people=3)
        for window in (0, 1, 10, 2):
            trees.save(tree / "p0" / "p0" / "long" / f"w{window}.npy", frames=7)
        trees.save(tree / "p0" / "p0" / "long" / "notes.npy")
        folder, tables = built("landmark_folder/mine", tmp_path, source=tree)
        windows = _videos(tables, "video_id", "window_index", "start_frame")
        assert {w for w in windows if w[0] == "p0--p0--long"} == {
            ("p0--p0--long", "0", "0"),
            ("p0--p0--long", "1", "7"),
            ("p0--p0--long", "2", "14"),
            ("p0--p0--long", "10", "70"),
        }
        assert "excluded,extension,p0/p0/long/notes.npy" in (folder / "failures.csv").read_text()

    def test_bad_files_are_refused_with_their_reasons(self, tmp_path):
        tree = trees.landmark_folder(tmp_path / "tree")
        good = tree / "p0" / "p0"
        np.save(good / "object.npy", np.array([{}], object), allow_pickle=True)
        np.save(good / "vertices.npy", np.zeros((4, 68, 3), np.float32))
        np.save(good / "nan.npy", np.full((4, 109, 3), np.nan, np.float32))
        (good / "short.npy").write_bytes((good / "hello.npy").read_bytes()[:-9])
        (good / "out.npy").symlink_to(shutil.copy(good / "hello.npy", tmp_path / "secret.npy"))
        (good / "_odd name.npy").write_bytes((good / "hello.npy").read_bytes())
        (good / "readme.txt").write_text("hello")
        (tree / ".cache" / "p0").mkdir(parents=True)
        np.save(tree / "p0" / "no_target.npy", np.zeros((4, 109, 3), np.float32))
        np.save(tree / ".cache" / "p0" / "hidden.npy", np.zeros((4, 109, 3), np.float32))
        folder, tables = built("landmark_folder/mine", tmp_path, source=tree, failure_budget=0.5)
        assert _info(folder)["refused"] == {
            reason: 1 for reason in ("layout", "name", "pickle", "shape", "no_valid_frame", "truncated", "outside_root")
        }
        assert _info(folder)["excluded"] == {"extension": 1}
        assert sum(len(t["driver"]) for t in tables.values()) == 10

    def test_the_landmark_set_must_be_known(self, tmp_path):
        np_tree = trees.landmark_folder(tmp_path / "tree", landmark_set="ibug68")
        folder, _ = built("landmark_folder/mine", tmp_path, source=np_tree)
        assert _info(folder)["landmark_set"] == "ibug68"
        with pytest.raises(DatasetError, match="10 × shape"):
            build.build(
                "landmark_folder/other",
                tmp_path / "data",
                Options(source=np_tree, landmark_set="avaprintdb109"),
            )
        odd = tmp_path / "odd" / "p0" / "p0"
        odd.mkdir(parents=True)
        np.save(odd / "a.npy", np.zeros((4, 70, 3), np.float32))
        with pytest.raises(DatasetError, match=r"70 points; give --landmark_set.*ibug68 \(68 points\)"):
            build.build("landmark_folder/odd", tmp_path / "data", Options(source=tmp_path / "odd"))
        (tmp_path / "empty").mkdir()
        with pytest.raises(DatasetError, match="no readable landmark file"):
            build.build("landmark_folder/empty", tmp_path / "data", Options(source=tmp_path / "empty"))
        with pytest.raises(DatasetError, match="no landmark file"):
            build.build("landmark_folder/ibug68", tmp_path / "data", Options(source=tmp_path / "empty"))
        with pytest.raises(DatasetError, match="is no folder"):
            build.build("landmark_folder/ibug68", tmp_path / "data", Options(source=tmp_path / "absent"))


class TestAvaprintdb:
    def test_dummy_data(self, tmp_path):
        folder, tables = built("avaprintdb/cremad_gaga", tmp_path, source=trees.dummy_data("avaprintdb"))
        assert {s: len(t["driver"]) for s, t in tables.items()} == {"train": 3, "validation": 1, "test": 1}
        videos = _videos(tables, "driver", "target", "generator", "corpus", "clip_id", "sentence")
        assert ("C1012", "C1014", "GAGA", "cremad", "1012_DFA_ANG_XX", "DFA") in videos
        assert ("C1014", "C1012", "GAGA", "cremad", "1012_DFA_ANG_XX", "DFA") not in videos
        assert tables["test"]["image_size"].tolist() == [[0, 0]] and set(tables["test"]["driver"]) == {"C1003"}
        assert _info(folder)["excluded"] == {"cross_split": 1}
        assert any("4 from CREMA-D_all.csv" in note for note in _info(folder)["notes"])

    def test_whole_dev(self, tmp_path):
        options = dict(source=trees.dummy_data("avaprintdb"), whole_dev=True, image_size=(480, 360), fps=30.0)
        _, tables = built("avaprintdb/all", tmp_path, **options)
        assert {s: len(t["driver"]) for s, t in tables.items()} == {"train": 5, "test": 1}
        assert tables["test"]["image_size"].tolist() == [[480, 360]] and tables["test"]["fps"].tolist() == [30]

    def test_without_tables_the_uuid_is_the_recording(self, tmp_path):
        tree = trees.avaprintdb(tmp_path / "tree")
        (tree / "generation" / "CREMA-D_all.csv").unlink()
        folder, tables = built("avaprintdb/cremad_gaga", tmp_path, source=tree / "landmarks")
        assert set(tables["test"]["clip_id"]) == {trees.UUIDS["1003_TIE_HAP_XX"]}
        assert set(tables["test"]["sentence"]) == {""}
        assert "no source recordings found" in _info(folder)["notes"][0]

    def test_another_part_is_another_config(self, tmp_path):
        with pytest.raises(DatasetError, match="no file of cremad, rendered by LIVE"):
            build.build("avaprintdb/cremad_live", tmp_path / "data", Options(source=trees.dummy_data("avaprintdb")))

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            (("DEV", "C1003", "C1003", "1003_TIE_HAP_XX"), "lies under DEV.*officially in test"),
            (("TEST", "C1012", "C1012", "1012_DFA_ANG_XX"), "lies under TEST.*officially in train"),
            (("TEST", "C1003", "C1012", "1012_DFA_ANG_XX"), "lies under TEST.*officially in test and train"),
            (("DEV", "C1014", "C1014", "1012_DFA_ANG_XX"), "stands for 1012_DFA_ANG_XX of 1012"),
        ],
    )
    def test_a_tree_against_the_official_split(self, tmp_path, row, message):
        tree = trees.avaprintdb(tmp_path / "tree", rows=[*trees.AVAPRINTDB, row])
        with pytest.raises(DatasetError, match=message):
            build.build("avaprintdb/cremad_gaga", tmp_path / "data", Options(source=tree))

    def test_names_and_tables_that_are_none(self, tmp_path):
        tree = trees.avaprintdb(tmp_path / "tree")
        trees.save(tree / "landmarks" / "DEV" / "GAGA" / "C1012--C1012--GAGA.npy")
        trees.save(tree / "landmarks" / "DEV" / "GAGA" / f"C1012--C1012--{trees.UUIDS['1012_DFA_ANG_XX']}--LIVE.npy")
        trees.save(tree / "landmarks" / "DEV" / "GAGA" / f"C1002--C1002--{trees.UUIDS['1012_DFA_ANG_XX']}--GAGA.npy")
        folder, _ = built("avaprintdb/all", tmp_path, source=tree, failure_budget=0.5)
        assert _info(folder)["refused"] == {"name": 2, "identity": 1}
        (tmp_path / "other.csv").write_text("a,b\n1,2\n")
        for given, message in (("other.csv", "no row with a UUID"), ("none.csv", "no such file")):
            with pytest.raises(DatasetError, match=message):
                options = Options(source=tree, metadata_csv=tmp_path / given)
                build.build("avaprintdb/cremad_gaga", tmp_path / "data", options)
        with pytest.raises(DatasetError, match="no folder DEV or TEST"):
            build.build("avaprintdb/cremad_gaga", tmp_path / "data", Options(source=tmp_path))


class TestGagavatarBenchmark:
    NAME = "gagavatar_benchmark/gagavatar_ravdess_and_cremad"

    def test_dummy_data(self, tmp_path):
        folder, tables = built(self.NAME, tmp_path, source=trees.dummy_data("gagavatar_benchmark"))
        assert _videos(tables, "driver", "target", "corpus", "generator", "clip_id", "sentence") == {
            ("1002", "Actor_01", "cremad", "GAGAvatar", "1002_DFA_HAP_XX", "DFA"),
            ("1004", "1004", "cremad", "GAGAvatar", "1004_DFA_ANG_XX", "DFA"),
            ("Actor_19", "1038", "ravdess", "GAGAvatar", "01-01-01-01-01-01-19", "01"),
        }
        assert tables["validation"]["driver"].tolist() == ["1004"]  # an NVFAIR validation identity
        assert _info(folder)["notes"] == ["folder order: driver/target (2 videos whose driver is not the target)"]

    def test_windows(self, tmp_path):
        tree = trees.gagavatar(tmp_path / "tree")
        _, tables = built(self.NAME, tmp_path / "kept", source=tree)
        assert tables["train"]["window_index"].tolist() == [0, 1] and tables["train"]["start_frame"].tolist() == [0, 50]
        assert set(tables["train"]["video_id"]) == {"1002_DFA_HAP_XX_Actor_01"} and set(
            tables["train"]["num_frames"]
        ) == {50}
        _, tables = built(self.NAME, tmp_path / "dropped", source=tree, drop_first_frame=True)
        assert tables["train"]["start_frame"].tolist() == [1, 51] and set(tables["train"]["num_frames"]) == {49}
        source = records.open_split(tmp_path / "dropped" / "data", self.NAME, "train")
        wanted = trees.track("w1.npy", 50).astype(np.float32)[1:]
        np.testing.assert_array_equal(source[1]["landmarks"], wanted)

    def test_swapped_folders_give_the_same_records(self, tmp_path):
        everything = {row[3] for row in trees.GAGAVATAR}
        tree = trees.gagavatar(tmp_path / "tree", swapped=everything)
        folder, tables = built(self.NAME, tmp_path, source=tree)
        assert ("1002", "Actor_01") in _videos(tables, "driver", "target")
        assert _info(folder)["notes"][0].startswith("folder order: target/driver")

    def test_a_mixed_tree_is_refused(self, tmp_path):
        tree = trees.gagavatar(tmp_path / "tree", swapped={"01-01-01-01-01-01-19_1038"})
        with pytest.raises(DatasetError, match=r"mix two orders \(1 × driver/target.*1 × target/driver"):
            build.build(self.NAME, tmp_path / "data", Options(source=tree))

    def test_folders_that_contradict_the_name(self, tmp_path):
        rows = [*trees.GAGAVATAR, ("dev", "1005", "1006", "1002_DFA_HAP_XX_1006", 1)]
        tree = trees.gagavatar(tmp_path / "tree", rows=rows)
        with pytest.raises(DatasetError, match="the folders say neither"):
            build.build(self.NAME, tmp_path / "data", Options(source=tree))

    def test_an_identity_in_dev_and_test(self, tmp_path):
        tree = trees.gagavatar(
            tmp_path / "tree", rows=[*trees.GAGAVATAR, ("test", "1038", "1002", "1038_DFA_HAP_XX_1002", 1)]
        )
        with pytest.raises(DatasetError, match="1002 is in dev and in test"):
            build.build(self.NAME, tmp_path / "data", Options(source=tree))

    def test_what_is_left_out(self, tmp_path):
        rows = [
            *trees.GAGAVATAR,
            ("dev", "1004", "1002", "1004_DFA_ANG_XX_1002", 1),  # validation driver, training face
            ("dev", "Actor_01", "1002", "02-01-01-01-01-01-01_1002", 1),
            ("dev", "1076", "1002", "1076_MTI_NEU_XX_1002", 1),
            ("dev", "1002", "1002", "holiday", 1),
        ]
        folder, tables = built(
            self.NAME, tmp_path, source=trees.gagavatar(tmp_path / "tree", rows=rows), failure_budget=0.3
        )
        assert _info(folder)["excluded"] == {"known_bad": 2, "cross_split": 1}
        assert _info(folder)["refused"] == {"name": 1}
        assert {s: len(t["driver"]) for s, t in tables.items()} == {"train": 2, "validation": 1, "test": 1}
        _, tables = built(self.NAME, tmp_path / "whole", source=tmp_path / "tree", failure_budget=0.3, whole_dev=True)
        assert {s: len(t["driver"]) for s, t in tables.items()} == {"train": 4, "test": 1}

    def test_windows_of_another_length_are_refused(self, tmp_path):
        tree = trees.gagavatar(tmp_path / "tree", frames=49)
        with pytest.raises(DatasetError, match="4 × window_length"):
            build.build(self.NAME, tmp_path / "data", Options(source=tree))

    @pytest.mark.parametrize(
        ("config", "people", "video"),
        [
            ("originals_cremad", "1038", "1038_DFA_HAP_X"),
            ("originals_ravdess", "Actor_19", "01-01-01-01-01-01-19"),
        ],
    )
    def test_originals_have_a_test_split_only(self, tmp_path, config, people, video):
        trees.save(
            tmp_path / "tree" / config / "test_landmarks_cut_50_50" / people / people / video / "w0.npy",
            frames=50,
        )
        folder, tables = built(f"gagavatar_benchmark/{config}", tmp_path, source=tmp_path / "tree")
        assert list(tables) == ["test"] and tables["test"]["generator"].tolist() == ["ORIG"]
        assert "cannot be told" in _info(folder)["notes"][0]

    def test_no_such_tree(self, tmp_path):
        with pytest.raises(DatasetError, match=r"no folder .*_landmarks_cut_50_50"):
            build.build(self.NAME, tmp_path / "data", Options(source=tmp_path))


class TestSyntheticDrivers:
    @pytest.mark.parametrize("regime", ["full", "dynamics_only"])
    def test_tiny(self, tmp_path, regime):
        folder, tables = built(f"synthetic_drivers/{regime}_tiny", tmp_path, seed=5)
        sizes = simulator.get_plan("tiny")
        assert [len(set(tables[s]["driver"])) for s in ("train", "validation", "test")] == list(sizes.people)
        assert _info(folder)["refused"] == {}
        spec = simulator.plan(5, sizes, "test")[0]
        source = records.open_split(tmp_path / "data", f"synthetic_drivers/{regime}_tiny", "test")
        row = tables["test"]["video_id"].tolist().index(spec.video_id)
        record = source[row]
        assert (record["driver"], record["target"], record["clip_id"], record["sentence"]) == (
            spec.driver,
            spec.target,
            spec.clip_id,
            spec.sentence,
        )
        from fingerprint.landmarks import topology

        points = topology.get("avaprintdb109").mediapipe_indices
        video = simulator.simulate(spec, 5, simulator.get_config(regime), points)
        np.testing.assert_array_equal(record["landmarks"], video.landmarks)
        np.testing.assert_array_equal(record["frame_mask"], video.frame_mask)
        assert record["fps"] == video.fps and tuple(record["image_size"]) == video.image_size

    def test_configs_are_every_regime_and_size(self):
        names = {config.name for config in build.builder_class("synthetic_drivers").BUILDER_CONFIGS}
        sizes, sets = ("", "_quickstart", "_tiny"), ("", "_nvfair126", "_amber152")
        assert names == {f"{r}{s}{p}" for r in ("full", "dynamics_only") for s in sizes for p in sets}


class TestReact68:
    @staticmethod
    def pack(path, frames=6):
        xyz = np.random.default_rng(0).integers(-900, 900, size=(frames, 68, 3))
        deltas = np.diff(xyz.transpose(1, 2, 0), axis=2, prepend=0).astype(np.int16)
        np.savez(
            path,
            landmarks_mm10_delta=deltas,
            confidence=np.array([0.98, 0.5] + [0.9] * (frames - 2), np.float16),
        )
        return xyz

    def test_unpacks_and_builds(self, tmp_path):
        wanted = {}
        for person in ("PP101", "PP102", "PP103"):
            wanted[person] = self.pack(tmp_path / f"{person}_g1.npz")
        assert from_react68.main(["--source", str(tmp_path), "--out", str(tmp_path / "tree")]) == 0
        _, tables = built("landmark_folder/react68", tmp_path, source=tmp_path / "tree")
        assert _videos(tables, "image_size", "fps", "generator", "num_frames", "num_valid") == {
            ("[1 1]", "0.0", "ORIG", "6", "5")
        }
        source = records.open_split(tmp_path / "data", "landmark_folder/react68", "train")
        record = source[0]
        mask = record["frame_mask"]
        np.testing.assert_allclose(record["landmarks"][mask], wanted[record["driver"]][mask] / 10, atol=1e-4)
        assert mask.tolist() == [True, False, True, True, True, True] and source.landmark_set == "ibug68"

    def test_what_is_no_packed_track(self, tmp_path):
        with pytest.raises(FingerprintError, match=r"no file PPxxx_gN\.npz"):
            from_react68.unpack_folder(tmp_path, tmp_path / "tree")
        np.savez(tmp_path / "PP101_g1.npz", landmarks=np.zeros(3))
        with pytest.raises(ArrayRefused):
            from_react68.unpack_folder(tmp_path, tmp_path / "tree")
        assert from_react68.main(["--source", str(tmp_path), "--out", str(tmp_path / "tree")]) == 1

    def test_real_tracks(self, shared, tmp_path):
        for name in ("PP102_g3.npz", "PP102_g4.npz", "PP105_g2.npz", "PP109_g5.npz"):
            (tmp_path / "packed").mkdir(exist_ok=True)
            shutil.copy(shared / "data" / "react68" / name, tmp_path / "packed" / name)
        files, frames, masked = from_react68.unpack_folder(tmp_path / "packed", tmp_path / "tree")
        assert files == 4 and frames > 2000 and masked < 0.05 * frames
        _, tables = built("landmark_folder/react68", tmp_path, source=tmp_path / "tree")
        assert sum(int(t["num_frames"].sum()) for t in tables.values()) == frames
        assert sum(int(t["num_valid"].sum()) for t in tables.values()) == frames - masked
