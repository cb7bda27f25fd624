"""The splits that a configuration names, built first where they are embedded in the package."""

from __future__ import annotations

import pathlib
import subprocess
import sys

from ml_collections import ConfigDict

from fingerprint.data import folds, records
from fingerprint.data.one_face import OneFaceSource
from fingerprint.data.record_sources import RecordSource, ReenactedSource
from fingerprint.errors import ConfigError, DatasetError


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
    """Records of a split in the configured reading: as recorded; re-rendered in landmark space onto several faces; or
    all on one.

    With `data.folds` the splits are those of `folds.role_of`, whatever the data set's own are.

    Raises:
        ConfigError, DatasetError: each says what was found and wanted.
    """
    data = config.data
    if data.anonymise and data.reenact_targets:
        raise ConfigError(
            f"data.anonymise shows one face, data.reenact_targets={data.reenact_targets} several; choose one of the two"
        )
    if data.folds:
        source = folds.FoldSource(records.open_split(data.data_dir, data.dataset, "all"), split, data.folds, data.fold)
    else:
        source = records.open_split(data.data_dir, data.dataset, split)
    if data.anonymise:
        return OneFaceSource(source)
    if data.reenact_targets:
        return ReenactedSource(source, data.reenact_targets, config.seed)
    return source
