import concurrent.futures
import json
import pathlib
import pickle
import shutil

import numpy as np
import pytest

from data_builders.base import Options
from data_builders.build import build
from fingerprint.data import records
from fingerprint.errors import DatasetError, UnknownName
from fingerprint.landmarks import topology

NAME = "landmark_folder/small"
PEOPLE, FRAMES = 6, 8


def write_tree(root: pathlib.Path) -> pathlib.Path:
    """Six persons: a whole track each, and one cut into three windows; coordinates tell person and frame."""
    face = topology.get("ibug68").reference_shape
    for person in range(PEOPLE):
        folder = root / f"p{person}" / f"p{person}"
        (folder / "cut").mkdir(parents=True)
        track = face + (person + np.arange(3 * FRAMES, dtype=np.float32)[:, None, None] / 100)
        whole = track[:5].copy()
        whole[2, 0, 0] = np.nan
        np.save(folder / "whole.npy", whole)
        for window in range(3):
            np.save(folder / "cut" / f"w{window}.npy", track[FRAMES * window : FRAMES * (window + 1)])
    return root


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    options = Options(
        source=write_tree(folder / "tree"),
        fps=25.0,
        image_size=(640, 480),
        shares=(3, 1, 2),
        corpus="made up",
    )
    build(NAME, folder / "data", options)
    return folder / "data"


@pytest.fixture
def copy(built, tmp_path):
    """A copy that a test may damage, and its folder of shards."""
    shutil.copytree(built, tmp_path / "data")
    return tmp_path / "data", tmp_path / "data" / NAME / "1.0.0"


@pytest.fixture
def train(built):
    return records.open_split(built, NAME, "train")


def shard_of(folder: pathlib.Path, split: str = "train") -> pathlib.Path:
    (shard,) = folder.glob(f"*-{split}.array_record*")
    return shard


def test_a_record_is_what_the_contract_says(train):
    assert len(train) == 3 * 4 and train.landmark_set == "ibug68"
    for index in range(len(train)):
        record = train[index]
        assert record["landmarks"].dtype == np.float32 and record["landmarks"].shape[1:] == (68, 3)
        assert record["frame_mask"].dtype == bool and len(record["frame_mask"]) == len(record["landmarks"])
        assert record["image_size"].dtype == np.int32 and record["image_size"].tolist() == [640, 480]
        assert record["fps"] == np.float32(25) and record["fps"].dtype == np.float32
        assert record["window_index"].dtype == record["start_frame"].dtype == np.int32
        for field in records.TEXT_FIELDS:
            assert type(record[field]) is str
        person = int(record["driver"][1:])
        assert record["target"] == record["driver"] and record["generator"] == "ORIG" and record["corpus"] == "made up"
        assert record["clip_id"] == f"p{person}--{record['video_id'].rsplit('--')[-1]}" and record["sentence"] == ""
        nose = record["landmarks"][record["frame_mask"]][:, topology.get("ibug68").nose_tip, 0]
        at = record["start_frame"] + np.flatnonzero(record["frame_mask"])
        np.testing.assert_allclose(nose, person + at / 100, atol=1e-5)
    assert set(records.features("ibug68")) == set(train[0])
    with pytest.raises(UnknownName):
        records.features("ibug70")


def test_index_out_of_range(train):
    for index in (len(train), -1):
        with pytest.raises(IndexError):
            train[index]


def test_metadata_is_one_row_a_record(train):
    table = train.metadata()
    assert set(table) == set(records.features("ibug68")) - {"landmarks", "frame_mask"} | {
        "num_frames",
        "num_valid",
    }
    for index in range(len(train)):
        record = train[index]
        for key, column in table.items():
            if key in record:
                np.testing.assert_array_equal(column[index], record[key])
        assert table["num_frames"][index] == len(record["frame_mask"])
        assert table["num_valid"][index] == record["frame_mask"].sum()
    assert table["num_valid"].dtype == table["image_size"].dtype == np.int32 and table["fps"].dtype == np.float32
    assert (table["num_valid"] < table["num_frames"]).sum() == 3  # the NaN frame of every whole track


def test_video_table_is_one_row_a_video(train):
    table, videos = train.metadata(), train.video_table()
    assert len(videos["video_id"]) == len(set(table["video_id"])) == 6
    for row, (first, end) in enumerate(videos["records"]):
        assert set(table["video_id"][first:end]) == {videos["video_id"][row]}
        assert table["window_index"][first:end].tolist() == list(range(end - first))
        assert videos["num_frames"][row] == table["num_frames"][first:end].sum()
        assert videos["num_valid"][row] == table["num_valid"][first:end].sum()
    assert sorted(videos["num_frames"]) == [5, 5, 5, 24, 24, 24]
    assert sum(end - first for first, end in videos["records"]) == len(train)


def test_sub_splits_and_sums_do_not_leak(built):
    whole = records.open_split(built, NAME, "train")
    part = records.open_split(built, NAME, "train[2:5]")
    assert part.metadata()["video_id"].tolist() == whole.metadata()["video_id"][2:5].tolist()
    assert [part[i]["window_index"] for i in range(3)] == whole.metadata()["window_index"][2:5].tolist()
    both = records.open_split(built, NAME, "train+validation")
    validation = records.open_split(built, NAME, "validation")
    assert len(both) == len(whole) + len(validation)
    assert set(both.metadata()["driver"]) == set(whole.metadata()["driver"]) | set(validation.metadata()["driver"])
    assert not set(whole.metadata()["driver"]) & set(validation.metadata()["driver"])


def test_threads_and_pickles_read_the_same(train):
    wanted = [train[i]["landmarks"] for i in range(len(train))]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for index, record in zip(
            range(5 * len(train)),
            pool.map(lambda i: train[i % len(train)], range(5 * len(train))),
            strict=True,
        ):
            np.testing.assert_array_equal(record["landmarks"], wanted[index % len(train)])
    train.metadata()
    state = pickle.dumps(train)
    assert len(state) < 5000
    again = pickle.loads(state)
    np.testing.assert_array_equal(again[3]["landmarks"], wanted[3])
    assert repr(again) == repr(train) and "0x" not in repr(train)  # grain compares the text when it restores


def test_grain_reads_it(train):
    grain = pytest.importorskip("grain")
    data = grain.MapDataset.source(train).shuffle(seed=0).to_iter_dataset(grain.ReadOptions(num_threads=2))
    assert sorted(r["video_id"] for r in data) == sorted(train.metadata()["video_id"])


def test_missing_data_set_names_the_command(tmp_path):
    with pytest.raises(DatasetError, match=r"python -m data_builders\.build landmark_folder/absent --data_dir"):
        records.open_split(tmp_path, "landmark_folder/absent", "train")


@pytest.mark.parametrize(
    "name", ["", "../x", "landmark_folder/../x", "/etc", "landmark_folder/a/b", "landmark_folder/x:1"]
)
def test_names_that_are_none(tmp_path, name):
    with pytest.raises(DatasetError, match="wanted name/config"):
        records.open_split(tmp_path, name, "train")


def test_a_missing_config_lists_those_built(built):
    with pytest.raises(DatasetError, match="landmark_folder/small"):
        records.open_split(built, "landmark_folder", "train")


def test_unknown_split_lists_the_known(built):
    with pytest.raises(DatasetError, match="test, train, validation"):
        records.open_split(built, NAME, "dev")


def test_versions(copy):
    data, folder = copy
    assert len(records.open_split(data, f"{NAME}:1.0.0", "train")) == 12
    with pytest.raises(DatasetError, match=r"no version 2\.0\.0; built: 1\.0\.0"):
        records.open_split(data, f"{NAME}:2.0.0", "train")
    build = json.loads((folder / "build.json").read_text())
    (folder / "build.json").write_text(json.dumps({**build, "schema": records.SCHEMA + 1}))
    with pytest.raises(DatasetError, match="this code reads schema"):
        records.open_split(data, NAME, "train")
    (folder / "build.json").write_text(json.dumps({**build, "landmark_set": "avaprintdb109"}))
    with pytest.raises(DatasetError, match=r"features\.json differs"):
        records.open_split(data, NAME, "train")
    (folder / "build.json").unlink()
    with pytest.raises(DatasetError, match=r"build\.json"):
        records.open_split(data, NAME, "train")


def test_verify_passes_a_sound_set(built):
    for split in ("train", "validation", "test"):
        assert len(records.open_split(built, NAME, split, verify=True))


@pytest.mark.parametrize("cut", [1, 10_000])
def test_a_truncated_shard_is_named_at_once(copy, cut):
    data, folder = copy
    shard = shard_of(folder)
    shard.write_bytes(shard.read_bytes()[:-cut])
    with pytest.raises(DatasetError, match=f"{shard.name}.*damaged shard"):
        records.open_split(data, NAME, "train")


def test_a_missing_shard_is_named(copy):
    data, folder = copy
    shard = shard_of(folder, "test")
    shard.unlink()
    with pytest.raises(DatasetError, match=f"{shard.name}.*missing"):
        records.open_split(data, NAME, "train")


def test_flipped_bytes_are_never_read_silently(copy):
    data, folder = copy
    shard = shard_of(folder)
    good = shard.read_bytes()
    wanted = [records.open_split(data, NAME, "train")[i] for i in range(12)]
    found = 0
    for place in np.linspace(0, len(good) - 1, 25).astype(int):
        content = bytearray(good)
        content[place] ^= 1
        shard.write_bytes(content)
        with pytest.raises(DatasetError, match=shard.name):
            records.open_split(data, NAME, "train", verify=True)
        # Without verify, array_record's own checksums find it as soon as the bytes are used; else nothing
        # differs.
        try:
            source = records.open_split(data, NAME, "train")
            source.metadata()
            for record, other in zip(wanted, map(source.__getitem__, range(12)), strict=True):
                np.testing.assert_array_equal(record["landmarks"], other["landmarks"])
        except DatasetError as error:
            assert shard.name in str(error)
            found += 1
    assert found > 5


def test_verify_finds_what_checksums_cannot(copy):
    data, folder = copy
    # A sound shard in the place of another, of the same length because array_record pads.
    shard_of(folder, "test").write_bytes(shard_of(folder, "validation").read_bytes())
    with pytest.raises(DatasetError, match=r"test\.array_record.*sha256"):
        records.open_split(data, NAME, "test", verify=True)


def test_interleaved_windows_are_refused(train, monkeypatch):
    table = {key: column[::-1].copy() for key, column in train.metadata().items()}
    order = np.argsort(table["window_index"], kind="stable")
    monkeypatch.setattr(train, "_metadata", {key: column[order] for key, column in table.items()})
    with pytest.raises(DatasetError, match="not side by side"):
        train.video_table()


def test_windows_that_disagree_are_refused(train, monkeypatch):
    table = {key: column.copy() for key, column in train.metadata().items()}
    table["target"][np.flatnonzero(table["window_index"] == 1)[0]] = "p9"
    monkeypatch.setattr(train, "_metadata", table)
    with pytest.raises(DatasetError, match="differ in target"):
        train.video_table()
