"""Back ends: processor seconds for 100,000 trials by every rule and norm; for a trained run, AUC and EER of each.

python -m benchmarks.scoring [--run runs/quickstart] [--seeds 3]
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import time

import numpy as np
from ml_collections import ConfigDict

from fingerprint import embed
from fingerprint.data import datasets
from fingerprint.training_people import CohortRecords
from fingerprint.validation import VideoTrials, make_trials
from fingerprint.verification import intervals, protocols
from fingerprint.verification.cohort import Cohort
from fingerprint.verification.error_rates import DetCurve
from fingerprint.verification.scoring import Scoring, score
from fingerprint.verification.trials import COLUMNS

RULES = ("mean", "max", "min", "top_k", "log_sum_exp")
NORMS = ("none", "z", "s", "as")


def unit(rng: np.random.Generator, count: int, dim: int = 256) -> np.ndarray:
    vectors = rng.normal(size=(count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def seconds_of_each(people: int, clips: int, windows: int, trials: int, repeats: int = 2) -> dict[str, dict]:
    """Processor seconds, best of several, all rules taking turns; cohort of 100 videos; ratios to the plain mean."""
    rng, count = np.random.default_rng(0), people * clips
    table = {name: np.array([f"{name}{row}" for row in range(count)]) for name in COLUMNS}
    table["driver"] = table["target"] = np.repeat([f"P{person}" for person in range(people)], clips)
    found = protocols.get("all_pairs")(table, seed=0, enrolment_clips=1, max_trials=trials)
    vectors, video = unit(rng, count * windows), np.repeat(np.arange(count), windows)
    cohort = Cohort(unit(rng, 100 * windows), np.repeat(np.arange(100), windows), ())
    best: dict[str, float] = {}
    for _, rule, norm in itertools.product(range(repeats), RULES, NORMS):
        began = time.process_time()
        score(Scoring(over_windows=rule, norm=norm), vectors, video, count, found, cohort)
        spent = time.process_time() - began
        best[f"{rule}, {norm}"] = min(best.get(f"{rule}, {norm}", np.inf), spent)
    return {
        "trials": len(found),
        "windows": len(vectors),
        "seconds": {name: round(spent, 3) for name, spent in best.items()},
        "ratio": {name: round(spent / best["mean, none"], 1) for name, spent in best.items()},
    }


def rates_of_each(run: str, seeds: int) -> list[dict]:
    """AUC and EER on the run's own test split: mean and range over draws of the cohort; the first draw's lead in AUC
    over the plain mean, with its paired 95 % interval from resampled identities."""
    with open(f"{run}/config.json", encoding="utf-8") as file:
        config = ConfigDict(json.load(file))
    released = embed.open_model(run, batch_size=64)
    source, training = (datasets.open_split(config, s) for s in (config.data.test_split, config.data.train_split))
    windows = released.embedder.split(released.params, source)
    cohorts = [
        CohortRecords(training, 100, seed, released.embedder.spec).embed(released.embedder, released.params)
        for seed in range(seeds)
    ]
    subject = VideoTrials(source, make_trials(config.evaluate, seed=config.seed), scoring=Scoring())
    trials, plain, rows = subject.trials, subject.scores(windows), []
    who = (trials.mated, trials.reference_driver, trials.probe_driver)
    for similarity, rule, norm in itertools.product(("cosine", "squared_euclidean"), RULES, NORMS):
        subject.scoring = Scoring(similarity, rule, norm=norm, as_top=min(20, *map(len, cohorts)))
        found = []
        for subject.cohort in cohorts if norm != "none" else cohorts[:1]:
            found.append(subject.scores(windows))
        curves = [DetCurve.from_scores(scores, trials.mated) for scores in found]
        row = {"similarity": similarity, "over_windows": rule, "norm": norm, "cohort": len(cohorts[0])}
        for metric in ("auc", "eer"):
            values = [curve.metric(metric) for curve in curves]
            row[metric] = [round(float(of(values)), 4) for of in (np.mean, np.min, np.max)]
        lead = intervals.paired_difference(found[0], plain, *who, seed=0, metrics=("auc",))["auc"]
        row["lead"] = [round(float(value), 4) for value in (lead.value, lead.low, lead.high)]
        rows.append(row)
    print(
        json.dumps(
            {"trials": len(trials), "drivers": len(trials.drivers), **dataclasses.asdict(released.embedder.spec)}
        )
    )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", default="", help="working directory of a run; its data set is opened as it says")
    parser.add_argument("--seeds", type=int, default=3, help="draws of the cohort")
    arguments = parser.parse_args()
    if arguments.run:
        for row in rates_of_each(arguments.run, arguments.seeds):
            print(json.dumps(row))
    else:
        for windows in (2, 10):
            print(json.dumps({"windows_a_video": windows, **seconds_of_each(100, 10, windows, 100_000)}))


if __name__ == "__main__":
    main()
