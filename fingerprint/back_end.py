"""Which back end scores: the one that is configured, or the one that a released model brings."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from fingerprint.embed import ReleasedModel
from fingerprint.errors import ConfigError, UnknownName
from fingerprint.verification.scoring import Scoring


def configured(config: ConfigDict) -> Scoring:
    """The back end of `config.scoring`.

    Raises:
        UnknownName, ConfigError: as `Scoring`.
    """
    if (size := config.scoring.cohort_size) < 2:
        raise ConfigError(f"scoring.cohort_size is {size}; wanted at least 2 training people")
    return Scoring.from_dict({name: value for name, value in config.scoring.items() if name != "cohort_size"})


def chosen(config: ConfigDict, released: ReleasedModel) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """The back end that evaluation scores with, as arguments of `VideoTrials`; the model's operating points that hold
    under it; and a sentence where they do not.

    Raises:
        UnknownName: of `evaluate.scoring`, or as `Scoring`.
        ConfigError: as `Scoring`, or its norm wants a cohort that the model lacks.
    """
    if config.evaluate.scoring not in ("model", "config"):
        raise UnknownName("evaluate.scoring", config.evaluate.scoring, ("model", "config"))
    scoring = released.scoring if config.evaluate.scoring == "model" else configured(config)
    scoring.check_cohort(0 if released.cohort is None else len(released.cohort))
    arguments = {"scoring": scoring, "cohort": None if scoring.norm == "none" else released.cohort}
    points = {name: released.document[name] for name in ("thresholds", "calibration") if name in released.document}
    if scoring.in_use() == released.scoring.in_use() or not points:
        return arguments, points, []
    return (
        arguments,
        {},
        [
            "scored otherwise than the model does by itself, so its thresholds and calibration do not apply; "
            "evaluate.development_split makes others"
        ],
    )
