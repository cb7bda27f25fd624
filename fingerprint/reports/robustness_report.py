"""Everything that a report on robustness shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from fingerprint.errors import FingerprintError

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Curve:
    """One degradation at several severities.

    Attributes:
        name: of the degradation. summary: one sentence on what it does. axis: what a severity is.
        rows: from mild to severe, each as `verification.degraded.Comparison.degraded` gives it, with "severity" (a
            number), "label" (as people read it) and perhaps "detail" (what was measured of the degraded videos).
    """

    name: str
    summary: str
    axis: str
    rows: Sequence[Row]


@dataclasses.dataclass(frozen=True)
class RobustnessReport:
    """Everything that the report shows.

    Attributes:
        title: of the page.
        clean: the row of the videos as they are, as `Comparison.clean` gives it.
        curves: one a degradation.
        data, model, protocol, provenance: facts for the reader, by name; nested where it helps.
        warnings: sentences.
        config: the whole configuration; empty where there is none.

    Raises:
        FingerprintError: two curves of one name.
    """

    title: str
    clean: Row
    curves: Sequence[Curve]
    data: Mapping[str, Any]
    model: Mapping[str, Any]
    protocol: Mapping[str, Any]
    provenance: Mapping[str, Any]
    warnings: Sequence[str] = ()
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        names = [curve.name for curve in self.curves]
        if len(set(names)) < len(names):
            raise FingerprintError(f"a robustness report wants one curve a degradation, found {', '.join(names)}")
