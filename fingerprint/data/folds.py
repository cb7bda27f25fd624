"""k-fold over identities: each person is tested once, by a network that has not seen them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from fingerprint.data.records import RecordSource, Table
from fingerprint.errors import ConfigError, DatasetError
from fingerprint.landmarks.names import canonical_identity

ROLES = ("train", "validation", "test")


def assign(drivers: Iterable[str], targets: Iterable[str], folds: int) -> dict[str, int]:
    """Fold of every person; drivers, and then people who only lend their face, are dealt out in the order of a hash, so
    that folds differ by one of either at most.

    Spellings of one person (`canonical_identity`) share a fold.

    Raises:
        ConfigError: fewer than three folds, or fewer drivers than folds.
    """
    names = set(drivers) | set(targets)
    driving = {canonical_identity(name) for name in drivers}
    if folds < 3 or len(driving) < folds:
        raise ConfigError(
            f"data.folds={folds} of {len(driving)} drivers; wanted at least 3 folds (test, validation, training) and a "
            "driver in each"
        )

    def dealt(people: Iterable[str]) -> dict[str, int]:
        order = sorted(people, key=lambda name: hashlib.sha256(f"folds:{name}".encode()).digest())
        return {name: place % folds for place, name in enumerate(order)}

    fold = dealt({canonical_identity(name) for name in names} - driving) | dealt(driving)
    return {name: fold[canonical_identity(name)] for name in names}


def role_of(person_fold: int, folds: int, fold: int) -> str:
    """What people of a fold do where `fold` is tested: `test`; the next one `validation`; else `train`."""
    return {fold: "test", (fold + 1) % folds: "validation"}.get(person_fold, "train")


def rows_of(metadata: Table, role: str, folds: int, fold: int) -> tuple[np.ndarray, int]:
    """Records of which driver and target both have the role, and how many videos belong to no role at all.

    A video whose driver and target have two roles is in none: nobody may be in two of them.
    """
    people = assign(metadata["driver"].tolist(), metadata["target"].tolist(), folds)
    roles = [
        np.array([role_of(people[name], folds, fold) for name in metadata[side].tolist()])
        for side in ("driver", "target")
    ]
    between = len(set(metadata["video_id"][roles[0] != roles[1]].tolist()))
    return np.flatnonzero((roles[0] == role) & (roles[1] == role)), between


class FoldSource:
    """The records of a data set that a role of a fold takes.

    Args:
        source: the whole data set. role: of ROLES. folds: how many. fold: the tested one, from 0.

    Raises:
        ConfigError: another role or fold, or too few people. DatasetError: the role has no record.
    """

    def __init__(self, source: RecordSource, role: str, folds: int, fold: int):
        if role not in ROLES or not 0 <= fold < folds:
            raise ConfigError(
                f"split {role!r} of fold {fold} of {folds}; with data.folds splits are {', '.join(ROLES)}, folds 0 to "
                f"{folds - 1}"
            )
        metadata = source.metadata()
        self._source = source
        self._rows, self.left_out = rows_of(metadata, role, folds, fold)
        if not len(self._rows):
            raise DatasetError(
                f"{role} of fold {fold} of {folds} holds no video whose driver and target are both in it"
            )
        self._table = {name: column[self._rows] for name, column in metadata.items()}
        if role == "test":
            people = len(set(self._table["driver"].tolist()))
            videos = len(set(self._table["video_id"].tolist()))
            print(
                f"fold {fold} of {folds}: {people} drivers and {videos} videos to test; {self.left_out} videos of a "
                "driver and a face in different parts left out",
                flush=True,
            )

    def __len__(self) -> int:
        return len(self._rows)

    def metadata(self) -> Table:
        return self._table

    def __getitem__(self, index: int) -> dict:
        return self._source[int(self._rows[index])]
