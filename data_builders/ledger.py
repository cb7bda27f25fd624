"""What a build left out and why: refusals count against the failure budget, exclusions follow a rule."""

from __future__ import annotations

import collections
import csv
import dataclasses
import pathlib

FAILURES_FILE = "failures.csv"


@dataclasses.dataclass(frozen=True)
class Row:
    """One file left out: `status` is `refused` or `excluded`, `reason` short and machine-readable."""

    status: str
    reason: str
    file: str
    detail: str


class Ledger:
    """The rows of `failures.csv`, in the order in which they arose."""

    def __init__(self):
        self.rows: list[Row] = []

    def refuse(self, file, reason: str, detail) -> None:
        """A file that should have given a record and could not."""
        self.rows.append(Row("refused", reason, str(file), str(detail)))

    def exclude(self, file, reason: str, detail) -> None:
        """A file that a rule of the builder leaves out."""
        self.rows.append(Row("excluded", reason, str(file), str(detail)))

    def count(self, status: str) -> int:
        """Number of rows of a status."""
        return sum(row.status == status for row in self.rows)

    def reasons(self, status: str) -> dict[str, int]:
        """Number of rows by reason, most frequent first."""
        return dict(collections.Counter(row.reason for row in self.rows if row.status == status).most_common())

    def write(self, path: pathlib.Path) -> None:
        """Write all rows as CSV; a data set without failures gets the header alone."""
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([field.name for field in dataclasses.fields(Row)])
            writer.writerows(dataclasses.astuple(row) for row in self.rows)
