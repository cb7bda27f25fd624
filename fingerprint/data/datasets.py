"""The splits that a configuration names, built first where they are embedded in the package."""

from __future__ import annotations

import pathlib
import subprocess
import sys

from ml_collections import ConfigDict

from fingerprint.data import records
from fingerprint.data.input_pipeline import RecordSource, ReenactedSource
from fingerprint.errors import DatasetError


def build_missing(config: ConfigDict) -> None:
    """With `data.build`, build the data set if it is absent, by the documented command.

    Raises:
        DatasetError: the build failed.
    """
    data_dir = pathlib.Path(config.data.data_dir).expanduser()
    folder = data_dir / config.data.dataset.partition(":")[0]
    if not config.data.build or (folder.is_dir() and any(version.name[0].isdigit() for version in folder.iterdir())):
        return
    command = [sys.executable, "-m", "data_builders.build", config.data.dataset, "--data_dir", str(data_dir)]
    if code := subprocess.run(command, check=False).returncode:
        raise DatasetError(f"building {config.data.dataset} failed with exit code {code}: {' '.join(command)}")


def open_split(config: ConfigDict, split: str) -> RecordSource:
    """Records of a split in the configured reading: as recorded, or re-rendered in landmark space onto several
    faces."""
    source = records.open_split(config.data.data_dir, config.data.dataset, split)
    if config.data.reenact_targets:
        return ReenactedSource(source, config.data.reenact_targets, config.seed)
    return source
