"""Comparisons whose training and evaluation are made up: fast, and with scores that a test can choose."""

from __future__ import annotations

import json
import pathlib

import numpy as np
from ml_collections import ConfigDict

from fingerprint import options
from fingerprint.data import datasets
from fingerprint.validation import VideoTrials, make_trials
from fingerprint.verification import score_file
from fingerprint.verification.scoring import Scoring

CONTROLS = ("shuffled_frames", "static_frame", "static_shape")


def comparison(*labels: str, seeds=(0, 1)) -> ConfigDict:
    """A comparison of entries at their defaults; an entry's learning rate says how good its scores are."""
    config = options.comparison()
    config.compare.seeds = seeds
    config.evaluate.replicates = 20
    for number, label in enumerate(labels):
        entry = options.defaults()
        entry.evaluate.title = f"Network {label}"
        entry.optimizer.learning_rate = 0.5 + number
        config.compare.entries[label] = entry
    return config


def train(config: ConfigDict, directory: str) -> pathlib.Path:
    """In place of training."""
    return pathlib.Path(directory)


def evaluate(config: ConfigDict, directory: str, model: str) -> pathlib.Path:
    """In place of an evaluation: scores that follow from the run's directory."""
    out = pathlib.Path(directory) / config.evaluate.name
    out.mkdir(parents=True, exist_ok=True)
    source = datasets.open_split(config, config.data.test_split)
    subject = VideoTrials(source, make_trials(config.evaluate, seed=config.seed), scoring=Scoring())
    rng = np.random.default_rng(list(pathlib.Path(directory).name.encode()))
    scores = rng.normal(size=len(subject.trials)) + config.optimizer.learning_rate * subject.trials.mated
    score_file.write(out / "scores.csv", subject.trials, subject.videos, scores)
    (out / "report.json").write_text(json.dumps(report(config, subject)), encoding="utf-8")
    return out / "report.html"


def report(config: ConfigDict, subject: VideoTrials) -> dict:
    """The parts of a report that a comparison reads."""
    rates = {"auc": {"value": 0.7}, "eer": {"value": 0.3}}
    return {
        "model": {
            "name": "gcn_tap",
            "window": {"length": 70},
            "trained_step": 2,
            "digest": "0" * 64,
            "parameters": 100,
        },
        "data": {"dataset": config.data.dataset, "reading": "as recorded"},
        "protocol": {"fusion": "mean", "leakage": "checked"},
        "acquisition": {"fta": 0.0},
        "rates": [{"condition": "all", "rates": rates}, {"condition": "cross_target", "rates": {}}],
        "controls": [
            *(
                {"name": name, "rates": {"auc": {"value": 0.5 + 0.01 * config.optimizer.learning_rate}}}
                for name in CONTROLS
            ),
            {"name": "target_probe", "balanced_accuracy": 0.2, "chance": 0.1},
        ],
    }


def cost(model: str) -> dict[str, float]:
    """In place of measuring a network."""
    return {"parameters": 100, "operations_per_window": 1e6 * (1 + len(model) % 3), "ms_per_window": 0.5}
