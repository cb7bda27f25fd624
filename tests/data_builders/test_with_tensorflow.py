"""TFDS' own command line and test case, which need TensorFlow. To run these tests and nothing else:

    pip install -e ".[tfds,test]"
    python -m pytest tests/data_builders/test_with_tensorflow.py

Without TensorFlow the file is skipped whole; run alone it then ends with pytest's exit code 5 (no tests).
"""

import importlib.util
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import trees

from data_builders import build
from data_builders.base import Options
from fingerprint.data import records
from fingerprint.errors import DatasetError

NEEDED = ("tensorflow", "apache_beam", "mlcroissant", "dill")  # TFDS imports the last three itself
if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
    pytest.skip(f'{", ".join(missing)} not installed: pip install -e ".[tfds]"', allow_module_level=True)

import tensorflow_datasets as tfds  # noqa: E402

SPLITS = ("train", "validation", "test")


def tfds_build(*args, cwd: pathlib.Path = trees.REPOSITORY) -> subprocess.CompletedProcess:
    command = [pathlib.Path(sys.executable).with_name("tfds"), "build", *args, "--file_format=array_record"]
    environment = {**os.environ, "PYTHONPATH": str(trees.REPOSITORY)}
    return subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("landmark_folder", "avaprintdb109"),
        ("avaprintdb", "cremad_gaga"),
        ("gagavatar_benchmark", "gagavatar_ravdess_and_cremad"),
        ("synthetic_drivers", "full_tiny"),
    ],
)
def test_tfds_build_in_a_builders_folder(tmp_path, name, config):
    """The same bytes as from `python -m data_builders.build`, and readable the same way."""
    source = None if name == "synthetic_drivers" else trees.dummy_data(name)
    dataset, ours, theirs = f"{name}/{config}", tmp_path / "ours", tmp_path / "theirs"
    manual = [] if source is None else [f"--manual_dir={source}"]
    done = tfds_build(
        f"--config={config}", *manual, f"--data_dir={theirs}", cwd=trees.REPOSITORY / "data_builders" / name
    )
    assert done.returncode == 0, done.stderr
    build.build(dataset, ours, Options(source=source))
    for split in SPLITS:
        a, b = (records.open_split(data, dataset, split, verify=True) for data in (ours, theirs))
        assert len(a) == len(b) > 0
        for one, other in zip(a, b, strict=True):
            np.testing.assert_equal(one, other)
    folders = [records.locate(data, dataset)[0] for data in (ours, theirs)]
    assert {p.name for p in folders[0].iterdir()} == {p.name for p in folders[1].iterdir()}
    for file in folders[0].iterdir():
        if file.name != "dataset_info.json":  # names the module by its path
            assert file.read_bytes() == (folders[1] / file.name).read_bytes(), file.name


def test_tfds_build_from_the_root(tmp_path):
    tree = trees.landmark_folder(tmp_path / "tracks", landmark_set="ibug68")
    arguments = ["data_builders/landmark_folder", "--config=ibug68", f"--data_dir={tmp_path / 'data'}"]
    (tree / "p0" / "p0" / "bad.npy").write_bytes(b"nonsense")
    refused = tfds_build(*arguments, f"--manual_dir={tree}")
    assert refused.returncode != 0 and "more than the failure budget" in refused.stderr
    with pytest.raises(DatasetError, match="no data set"):
        records.open_split(tmp_path / "data", "landmark_folder/ibug68", "train")
    (tree / "p0" / "p0" / "bad.npy").unlink()
    assert tfds_build(*arguments, f"--manual_dir={tree}").returncode == 0
    assert len(records.open_split(tmp_path / "data", "landmark_folder/ibug68", "train", verify=True)) == 6


class _ReadsArrayRecords:
    """TFDS' test case for data sets that `tf.data` has no reader of."""

    MOCK_OUT_FORBIDDEN_OS_FUNCTIONS = False  # sources are local files, and np.load is given their paths

    def _assertAsDataset(self, builder):
        for split, number in self.SPLITS.items():
            source = builder.as_data_source(split)
            self.assertLen(source, number)
            for record in source:
                self.assertEqual(record["landmarks"].dtype, np.float32)
                self.assertEqual(record["landmarks"].shape[0], len(record["frame_mask"]))


class LandmarkFolderTest(_ReadsArrayRecords, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = build.builder_class("landmark_folder")
    BUILDER_CONFIG_NAMES_TO_TEST = ("avaprintdb109",)
    SPLITS = {"train": 6, "validation": 2, "test": 2}  # noqa: RUF012


class AvaprintdbTest(_ReadsArrayRecords, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = build.builder_class("avaprintdb")
    BUILDER_CONFIG_NAMES_TO_TEST = ("cremad_gaga",)
    SPLITS = {"train": 3, "validation": 1, "test": 1}  # noqa: RUF012


class GagavatarBenchmarkTest(_ReadsArrayRecords, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = build.builder_class("gagavatar_benchmark")
    BUILDER_CONFIG_NAMES_TO_TEST = ("gagavatar_ravdess_and_cremad",)
    SPLITS = {"train": 1, "validation": 1, "test": 1}  # noqa: RUF012


class SyntheticDriversTest(_ReadsArrayRecords, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = build.builder_class("synthetic_drivers")
    BUILDER_CONFIG_NAMES_TO_TEST = ("full_tiny", "dynamics_only_tiny")
    EXAMPLE_DIR = str(trees.REPOSITORY)  # reads no file; TFDS wants a folder
    SPLITS = {"train": 32, "validation": 24, "test": 24}  # noqa: RUF012
