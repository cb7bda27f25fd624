"""Who is in which split. Identities are split, not videos: nobody is driver or target in two splits."""

from __future__ import annotations

import csv
import hashlib
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from fingerprint.errors import DatasetError
from fingerprint.landmarks.names import check_identity

TRAIN, VALIDATION, TEST = NAMES = ("train", "validation", "test")


def _ids(text: str, prefix: str = "") -> frozenset[str]:
    return frozenset(prefix + part for part in text.replace("\n", "").replace(" ", "").split(","))


# AVAPrintDB: its own DEV and TEST identities, and the validation identities its graph model declares. That
# list also names Actor_19, a TEST identity, who is left out here. Source: BiDAlab/AVAPrintDB,
# database/generation/*.csv and constants.py (MIT).
AVAPRINTDB_TEST = _ids("01,02,17,18,19,20,21,22", "Actor_") | _ids(
    """1003,1004,1005,1007,1018,1027,1029,1031,1033,1041,1048,1049,1058,1059,1061,1068,1070,1072,1074,1078,1081,1083,1090,
    1091""",
    "C",
)
_AVAPRINTDB_ABSENT = _ids("1002,1008,1009,1019,1064,1076", "C")
AVAPRINTDB_DEV = (frozenset(f"Actor_{n:02d}" for n in range(1, 25)) | frozenset(f"C{n}" for n in range(1001, 1092))) - (
    AVAPRINTDB_TEST | _AVAPRINTDB_ABSENT
)
AVAPRINTDB_VALIDATION = _ids("03,13,23", "Actor_") | _ids(
    "1001,1010,1011,1016,1021,1024,1030,1032,1037,1040,1050,1053,1055,1057,1063,1069,1075,1086", "C"
)

# NVFAIR: 46 people of its own, RAVDESS and CREMA-D. Source: its train_val_test_splits.txt as shown in
# Mchapariniya/TrustFA-FG2026.
NVFAIR_TEST = (
    frozenset(f"id{n:03d}" for n in range(1, 11))
    | _ids("19,20,21,22,23,24", "Actor_")
    | _ids("1001,1003,1010,1026,1038,1041,1049,1056,1059,1061,1066,1068,1070,1078,1079,1085,1088,1090,1091")
)
NVFAIR_VALIDATION = (
    _ids("029,030,031,032", "id") | _ids("17,18", "Actor_") | _ids("1004,1017,1028,1033,1058,1060,1063,1083,1084")
)
NVFAIR_TRAIN = (
    frozenset(f"id{n:03d}" for n in range(1, 47))
    | frozenset(f"Actor_{n:02d}" for n in range(1, 25))
    | frozenset(str(n) for n in range(1001, 1092))
) - (NVFAIR_TEST | NVFAIR_VALIDATION)
NVFAIR = {
    **dict.fromkeys(NVFAIR_TRAIN, TRAIN),
    **dict.fromkeys(NVFAIR_VALIDATION, VALIDATION),
    **dict.fromkeys(NVFAIR_TEST, TEST),
}


def by_hash(
    identities: Iterable[str], shares: Sequence[float], seed: int, names: Sequence[str] = NAMES
) -> dict[str, str]:
    """Split identities in the order of a seeded hash; every split with a share gets at least one.

    Args:
        identities: who to split.
        shares: share of each split, not negative; they are divided by their sum.
        seed: other seeds give other splits.
        names: split of each share.

    Raises:
        DatasetError: fewer identities than splits with a share, or shares that make no sense.
    """
    if len(shares) != len(names) or min(shares) < 0 or not sum(shares) > 0:
        raise DatasetError(
            f"shares {tuple(shares)}; wanted {len(names)} numbers, none negative, for {', '.join(names)}"
        )
    order = sorted(set(identities), key=lambda i: hashlib.sha256(f"{seed}:{i}".encode()).digest())
    used = [(name, share / sum(shares)) for name, share in zip(names, shares, strict=True) if share > 0]
    if len(order) < len(used):
        raise DatasetError(f"{len(order)} identities cannot fill {len(used)} splits ({', '.join(n for n, _ in used)})")
    counts = [max(1, round(share * len(order))) for _, share in used]
    while sum(counts) != len(order):
        # Rounding is repaired where it hurts least: at the largest split.
        counts[counts.index(max(counts))] += 1 if sum(counts) < len(order) else -1
    labels = [name for (name, _), count in zip(used, counts, strict=True) for _ in range(count)]
    return dict(zip(order, labels, strict=True))


def from_csv(path: pathlib.Path, identities: Iterable[str]) -> dict[str, str]:
    """Split from a file with the columns `identity,split`; the splits are train, validation and test.

    Raises:
        DatasetError: another column or split, an identity in two splits, or one of `identities` without a
            row.
    """
    split_of: dict[str, str] = {}
    for row in read_csv(path, required=("identity", "split"), optional=()):
        identity, split = check_identity(row["identity"]), row["split"]
        if split not in NAMES:
            raise DatasetError(f"{path}: {identity} is in split {split!r}; known: {', '.join(NAMES)}")
        if split_of.setdefault(identity, split) != split:
            raise DatasetError(
                f"{path}: {identity} is in {split_of[identity]} and in {split}; an identity has one split"
            )
    if missing := sorted(set(identities) - set(split_of)):
        raise DatasetError(f"{path}: no split for {len(missing)} identities: {', '.join(missing[:10])}")
    return split_of


def of_video(split_of: Mapping[str, str], driver: str, target: str) -> str | None:
    """The split of a video; None if driver and target are in two, when it can be in neither."""
    return split_of[driver] if split_of[driver] == split_of[target] else None


def read_csv(path: pathlib.Path, *, required: Sequence[str], optional: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV file as stripped strings.

    Raises:
        DatasetError: the file cannot be read, a column is missing or unknown, or a row is of another length.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            rows, columns = list(reader), reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: not a readable CSV file ({error})") from error
    missing, unknown = set(required) - set(columns), set(columns) - set(required) - set(optional)
    if missing or unknown:
        raise DatasetError(
            f"{path}: columns {', '.join(columns)}; missing: {', '.join(sorted(missing)) or 'none'}; "
            f"unknown: {', '.join(sorted(unknown)) or 'none'}; known: {', '.join((*required, *optional))}"
        )
    for line, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise DatasetError(f"{path}: line {line} has another number of fields than the header")
    return [{key: value.strip() for key, value in row.items()} for row in rows]
