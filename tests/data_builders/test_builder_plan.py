"""What all builders refuse, however the plan came about."""

import collections
import dataclasses
import json
import pathlib
import pickle

import numpy as np
import pytest
import trees

from data_builders import base, build, splits
from data_builders.base import Options, Window
from data_builders.landmark_folder.landmark_folder_dataset_builder import Builder, make_config
from data_builders.ledger import Ledger
from fingerprint.data import records
from fingerprint.errors import DatasetError, UnknownName
from fingerprint.landmarks.arrays import LoadedTrack

ABOUT = dict(generator="ORIG", corpus="c", clip_id="x", sentence="", load=None, file="f", num_bytes=1)


def window(split, video_id, driver, target, **changes):
    return Window(split=split, video_id=video_id, driver=driver, target=target, **{**ABOUT, **changes})


def test_a_key_twice():
    plan = [window("train", "v", "a", "a", file="one.npy"), window("train", "v", "a", "a", file="two.npy")]
    with pytest.raises(DatasetError, match=r"v#0: one\.npy, two\.npy"):
        base.check_plan(plan, ["train"], Ledger())
    base.check_plan([plan[0], dataclasses.replace(plan[1], window_index=1)], ["train"], Ledger())


@pytest.mark.parametrize("role", ["driver", "target"])
def test_an_identity_in_two_splits_in_either_role(role):
    other = {"driver": ("a", "c"), "target": ("c", "a")}[role]
    plan = [window("train", "v", "a", "b"), window("test", "w", *other)]
    with pytest.raises(DatasetError, match="a is in 2 splits"):
        base.check_plan(plan, ["train", "test"], Ledger())


def test_an_empty_split():
    with pytest.raises(DatasetError, match="no file for split validation"):
        base.check_plan([window("train", "v", "a", "a")], ["train", "validation"], Ledger())


def test_a_record_that_is_not_finite_never_gets_in():
    track = LoadedTrack(np.full((3, 68, 3), np.nan, np.float32), np.ones(3, bool), 0.0, np.zeros(2, np.int32), 0.0)
    with pytest.raises(DatasetError, match="must be finite"):
        base.as_record(window("train", "v", "a", "a"), track, "ibug68")


def test_shards_keep_windows_together_and_in_turn():
    plan = [window("train", f"v{i}", "a", "a", window_index=k, num_bytes=20 << 20) for k in (1, 0, 2) for i in range(7)]
    shards = base._shards(plan)
    assert len(shards) == 7 and all(sum(w.num_bytes for w in shard) <= 64 << 20 for shard in shards)
    order = [w for shard in shards for w in shard]
    assert [w.window_index for w in order] == [0, 1, 2] * 7
    videos = [w.video_id for w in order[::3]]
    assert len(set(videos)) == 7 and videos != sorted(videos)


def test_splits_by_hash():
    people = [f"p{i}" for i in range(50)]
    split_of = splits.by_hash(people, (0.7, 0.1, 0.2), seed=0)
    assert collections.Counter(split_of.values()) == {"train": 35, "validation": 5, "test": 10}
    assert split_of == splits.by_hash(people[::-1], (7, 1, 2), seed=0)
    assert split_of != splits.by_hash(people, (0.7, 0.1, 0.2), seed=1)
    assert collections.Counter(splits.by_hash(people[:3], (0.98, 0.01, 0.01), 0).values()) == dict.fromkeys(
        splits.NAMES, 1
    )
    assert set(splits.by_hash(people, (1, 0, 1), 0).values()) == {"train", "test"}
    with pytest.raises(DatasetError, match="2 identities cannot fill 3 splits"):
        splits.by_hash(people[:2], (0.7, 0.1, 0.2), seed=0)
    for shares in ((0, 0, 0), (1, -1, 1), (1, 1)):
        with pytest.raises(DatasetError, match="shares"):
            splits.by_hash(people, shares, seed=0)


def test_official_lists():
    """Sizes as published: 61 + 24 CREMA-D, 16 + 8 RAVDESS; NVFAIR 111, 15, 35."""
    cremad = [i for i in splits.AVAPRINTDB_DEV if i.startswith("C")]
    assert (len(cremad), len(splits.AVAPRINTDB_DEV) - len(cremad), len(splits.AVAPRINTDB_TEST)) == (
        61,
        16,
        32,
    )
    assert splits.AVAPRINTDB_VALIDATION < splits.AVAPRINTDB_DEV and len(splits.AVAPRINTDB_VALIDATION) == 21
    assert "Actor_19" in splits.AVAPRINTDB_TEST and not splits.AVAPRINTDB_DEV & splits.AVAPRINTDB_TEST
    assert (len(splits.NVFAIR_TRAIN), len(splits.NVFAIR_VALIDATION), len(splits.NVFAIR_TEST)) == (111, 15, 35)
    assert collections.Counter(splits.NVFAIR.values()) == {"train": 111, "validation": 15, "test": 35}
    train = {"id011", "id028", "id033", "id046", "Actor_01", "Actor_16", "1002", "1089"}
    validation = {"id029", "id032", "Actor_17", "Actor_18", "1004", "1084"}
    test = {"id001", "id010", "Actor_19", "Actor_24", "1001", "1091"}
    for people, split in ((train, "train"), (validation, "validation"), (test, "test")):
        assert {splits.NVFAIR[person] for person in people} == {split}
    assert sum(person.startswith("1") for person in splits.NVFAIR_TRAIN) == 63


def test_splits_csv(tmp_path):
    path = tmp_path / "splits.csv"
    path.write_text("identity,split\na,train\nb,test\n")
    assert splits.from_csv(path, ["a", "b"]) == {"a": "train", "b": "test"}
    for text, message in (
        ("identity,split\na,train\na,test\n", "an identity has one split"),
        ("identity,split\na,dev\n", "known: train, validation, test"),
        ("identity,split\nb,train\n", "no split for 1 identities: a"),
        ("identity,part\na,train\n", "missing: split"),
        ("identity,split,age\na,train,3\n", "unknown: age"),
        ("identity,split\na\n", "line 2"),
        ("identity,split\n\xff\n", "CSV"),
    ):
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(DatasetError, match=message):
            splits.from_csv(path, ["a"])
    with pytest.raises(DatasetError, match="not a readable CSV"):
        splits.from_csv(tmp_path / "none.csv", ["a"])


def test_a_builder_refuses_options_it_does_not_take(tmp_path):
    with pytest.raises(DatasetError, match="takes no option drop_first_frame"):
        Builder(data_dir=tmp_path, config="ibug68", options=Options(drop_first_frame=True))
    with pytest.raises(DatasetError, match="failure budget"):
        Builder(data_dir=tmp_path, config="ibug68", options=Options(failure_budget=1.5))
    with pytest.raises(DatasetError, match="array_record"):
        Builder(data_dir=tmp_path, config="ibug68", file_format="tfrecord")


def test_a_pickled_builder_keeps_its_options(tmp_path):
    builder = Builder(data_dir=tmp_path, config="ibug68", options=Options(seed=3))
    assert pickle.loads(pickle.dumps(builder)).options == builder.options


@pytest.mark.parametrize("name", build.BUILDERS)
def test_every_builder_is_registered_described_and_of_the_schema(tmp_path, name):
    """What TFDS' own test case checks and needs TensorFlow for."""
    cls = build.builder_class(name)
    builder = cls(data_dir=tmp_path, config=cls.BUILDER_CONFIGS[0].name)
    assert builder.name == name and builder.info.features.to_json() == records.features(builder.landmark_set).to_json()
    metadata = cls.get_metadata()
    assert metadata.description and metadata.citation.startswith("@") and metadata.tags
    from tensorflow_datasets.core import dataset_metadata

    assert set(metadata.tags) <= set(dataset_metadata.valid_tags())
    assert all(config.description for config in cls.BUILDER_CONFIGS)


@pytest.mark.parametrize("name", ["landmark_folder", "avaprintdb", "gagavatar_benchmark"])
def test_dummy_data_is_what_the_script_makes(tmp_path, monkeypatch, name):
    committed = trees.dummy_data(name)
    monkeypatch.setattr(trees, "dummy_data", lambda builder: tmp_path / builder)
    trees.main()

    def content(root: pathlib.Path):
        def points(path):
            loaded = np.load(path)
            return loaded["landmarks"] if path.suffix == ".npz" else loaded

        files = [p for p in sorted(root.rglob("*")) if p.is_file()]
        return {str(p.relative_to(root)): p.read_text() if p.suffix == ".csv" else points(p).tolist() for p in files}

    assert content(committed) == content(tmp_path / name)
    assert all(p.stat().st_size < 40_000 for p in committed.rglob("*"))


def test_the_failure_budget(tmp_path):
    tree = trees.landmark_folder(tmp_path / "tree")
    (tree / "p0" / "p0" / "bad.npy").write_bytes(b"nonsense")
    options = Options(source=tree, failure_budget=0.05)
    with pytest.raises(DatasetError, match=r"1 of 11 files refused \(1 × truncated\).*failures\.csv") as error:
        build.build("landmark_folder/x", tmp_path / "data", options)
    listed = pathlib.Path(str(error.value).rsplit(" ", 1)[1])
    assert "refused,truncated,p0/p0/bad.npy" in listed.read_text()
    with pytest.raises(DatasetError, match="no data set"):
        records.open_split(tmp_path / "data", "landmark_folder/x", "train")
    folder = build.build("landmark_folder/x", tmp_path / "data", dataclasses.replace(options, failure_budget=0.1))
    assert "refused,truncated,p0/p0/bad.npy" in (folder / "failures.csv").read_text()
    assert json.loads((folder / "build.json").read_text())["refused"] == {"truncated": 1}
    assert not listed.exists()


def test_a_split_whose_files_are_all_refused(tmp_path):
    tree = trees.landmark_folder(tmp_path / "tree", people=3)
    for path in (tree / "p1" / "p1").iterdir():
        path.write_bytes(b"")
    (tmp_path / "splits.csv").write_text("identity,split\np0,train\np1,train\np2,test\n")
    options = Options(source=tree, failure_budget=1, splits_csv=tmp_path / "splits.csv")
    build.build("landmark_folder/some", tmp_path / "data", options)
    (tmp_path / "splits.csv").write_text("identity,split\np0,test\np1,train\np2,test\n")
    with pytest.raises(DatasetError, match="no usable file in split train"):
        build.build("landmark_folder/none", tmp_path / "data", options)


def test_unknown_names(tmp_path):
    with pytest.raises(UnknownName, match="landmark_folder"):
        build.make_builder("nothing/x", tmp_path, Options())
    with pytest.raises(UnknownName, match="cremad_gaga"):
        build.make_builder("avaprintdb/cremad", tmp_path, Options())
    with pytest.raises(UnknownName, match="cremad_gaga"):
        build.make_builder("avaprintdb", tmp_path, Options())
    with pytest.raises(UnknownName, match="ibug68"):
        make_config("x", Options(landmark_set="ibug70"))
