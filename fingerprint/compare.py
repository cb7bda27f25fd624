"""Compare: several configurations over several seeds on one test set and one protocol, trained or restored, one table.

A run is one entry with one seed (and one fold). It lies in `<workdir>/<entry>[/fold_<k>]/seed_<n>` (a restored model of
no seed in `…/restored`) and is an ordinary working directory with its `evaluation`, or one `evaluation_<test>` for each
test set; `run.json` beside it says what is finished and what it cost. A finished run is not repeated, an interrupted
one resumes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from fingerprint import back_end, checkpoint, embed, parallel, provenance, workdir
from fingerprint.compare_table import RunResult, tabulate
from fingerprint.data import datasets
from fingerprint.data.record_sources import RecordSource
from fingerprint.errors import ConfigError, UnknownName
from fingerprint.evaluate import evaluate, open_for
from fingerprint.landmarks import topology
from fingerprint.models import registry
from fingerprint.reports import comparison, report, strict_json
from fingerprint.train import options_differing, train
from fingerprint.validation import VideoTrials, make_trials
from fingerprint.verification import same_trials

RUN_FILE = "run.json"
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]*")
_TIMED, _REPEATS = 32, 5


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """An entry with a seed and a fold.

    Attributes:
        entry: its label. seed: None of a restored model that has none. fold: None without folds.
        directory: of the run. training: configuration to train with. tests: configuration by test set.
        restored: the released model that is tested instead of a trained one, or "".
    """

    entry: str
    seed: int | None
    fold: int | None
    directory: pathlib.Path
    training: ConfigDict
    tests: dict[str, ConfigDict]
    restored: str

    @property
    def name(self) -> str:
        parts = [self.entry, "" if self.fold is None else f"fold {self.fold}"]
        return ", ".join(filter(None, [*parts, "restored" if self.seed is None else f"seed {self.seed}"]))


def compare(config: ConfigDict, directory: str) -> pathlib.Path:
    """Finish every run of a comparison and write its table.

    Returns:
        The comparison's HTML page.

    Raises:
        ConfigError, UnknownName, RatesError, DatasetError, CheckpointError: before the first step where possible.
        workdir.Stopped: asked to stop; the same command goes on.
    """
    if parallel.describe()["processes"] > 1:
        raise ConfigError("a comparison runs in one process (on all its devices), found several; start it without them")
    runs = plan(config, pathlib.Path(directory))
    flag = workdir.StopFlag()

    def check_stop():
        if flag.is_set:
            raise workdir.Stopped(f"stopped between two runs of {directory}; the same command goes on")

    with flag.listening():
        build_missing(runs)
        check_stop()
        if not all(map(is_finished, runs)):
            refuse_other_trials(runs)
        for number, run in enumerate(runs, start=1):
            check_stop()
            print(f"{number} of {len(runs)}: {run.name}", flush=True)
            finish(run, check_stop, with_cost=run in first_runs(runs))
        check_stop()
        results = [result for run in runs for result in read_results(run)]
        origin = provenance.collect(config.to_dict(), parallel.describe())
        found = tabulate(config, results, origin)
        written = comparison.write(found, directory)
        print("\n".join(comparison.summary_lines(found, written)), flush=True)
        return written["html"]


# ---------------------------------------------------------------------------------------------------- what to run


def plan(config: ConfigDict, directory: pathlib.Path) -> list[Run]:
    """Every run of a comparison, seeds outermost, so that all entries have a result early.

    Raises:
        ConfigError: nothing to compare, or options that make no sense. UnknownName: the reference is no entry.
    """
    if "compare" not in config:
        raise ConfigError(
            "no comparison: --mode=compare wants a configuration with entries, e.g. configs/compare_synthetic.py"
        )
    wanted, seeds = config.compare, tuple(config.compare.seeds)
    faults = [
        f"label {name!r} (letters, digits and _)"
        for name in (*wanted.entries, *wanted.tests)
        if not _LABEL.fullmatch(name)
    ]
    faults += ["no entry"] * (not wanted.entries) + [f"seeds {seeds}"] * (not seeds or len(set(seeds)) < len(seeds))
    faults += [f"data.folds={config.data.folds}"] * (config.data.folds < 0)
    if faults:
        raise ConfigError(f"not a comparison: {'; '.join(faults)}")
    if wanted.reference and wanted.reference not in system_names(config):
        raise UnknownName("reference of the comparison", wanted.reference, system_names(config))
    runs = {}
    for seed in seeds:
        for fold in range(config.data.folds) if config.data.folds else [None]:
            for label, entry in wanted.entries.items():
                run = make_run(config, label, entry, seed, fold, directory)
                runs.setdefault(run.directory, run)
    return list(runs.values())


def system_names(config: ConfigDict) -> list[str]:
    """Names of the rows of the table: an entry on a test set."""
    tests = list(config.compare.tests) or [""]
    return [system_name(label, test) for label in config.compare.entries for test in tests]


def system_name(entry: str, test: str) -> str:
    """The row of an entry on a test set."""
    return f"{entry}_on_{test}" if test else entry


def make_run(
    config: ConfigDict, label: str, entry: ConfigDict, seed: int, fold: int | None, directory: pathlib.Path
) -> Run:
    """One run: the entry's configuration with what all entries share."""
    model = entry.evaluate.model
    restored = model.replace("{seed}", str(seed)).replace("{fold}", str(fold))
    seeded = not model or "{seed}" in model
    training = entry.copy_and_resolve_references()
    training.seed = seed
    for name in ("data_dir", "build", "test_split", "folds"):
        training.data[name] = config.data[name]
    training.data.fold = fold or 0
    training.evaluate = config.evaluate.copy_and_resolve_references()
    training.evaluate.update({"model": "", "title": entry.evaluate.title})
    tests = {}
    for name in config.compare.tests or [""]:
        test = training.copy_and_resolve_references()
        test.seed = config.seed  # the same trials and the same re-rendered videos for every seed of training
        if name:
            test.data.update(config.compare.tests[name])
            test.evaluate.name = f"{config.evaluate.name}_{name}"
        tests[name] = test
    place = directory / label / ("" if fold is None else f"fold_{fold}") / (f"seed_{seed}" if seeded else "restored")
    return Run(label, seed if seeded else None, fold, place, training, tests, restored)


def build_missing(runs: list[Run]) -> None:
    """Build embedded data sets that are absent; see that models to be restored are there."""
    for run in runs:
        for config in (run.training, *run.tests.values()) if not run.restored else run.tests.values():
            datasets.build_missing(config)
        if run.restored:
            checkpoint.resolve_model(run.restored)


def refuse_other_trials(runs: list[Run]) -> None:
    """Find before the first step that entries would be tested on different trials, or that a model does not fit its
    test set.

    Raises:
        RatesError: as `same_trials.refuse_others`. ConfigError: as `evaluate.open_for`.
    """
    hashes: dict[tuple[str, int | None], dict[str, str]] = {}
    for run in runs:
        for test, config in run.tests.items():
            found = hashes.setdefault((test, run.fold), {})
            if run.entry not in found:
                source = open_test(run, config)
                trials = make_trials(config.evaluate, seed=config.seed)
                found[run.entry] = VideoTrials(source, trials, scoring=back_end.configured(config)).trials.hash
    for (test, fold), found in hashes.items():
        same_trials.refuse_others(found, where_of(test, fold))


def open_test(run: Run, config: ConfigDict) -> RecordSource:
    """The test set of a run; of a restored model, one that fits it."""
    if run.restored:
        return open_for(embed.open_model(run.restored), config, config.data.test_split)
    return datasets.open_split(config, config.data.test_split)


def where_of(test: str, fold: int | None) -> str:
    """A test set for people."""
    return f"test set {test or 'of the comparison'}" + ("" if fold is None else f", fold {fold}")


def first_runs(runs: list[Run]) -> list[Run]:
    """The first run of every entry, whose network's cost is measured."""
    first: dict[str, Run] = {}
    for run in runs:
        first.setdefault(run.entry, run)
    return list(first.values())


# ---------------------------------------------------------------------------------------------------- one run


def finish(run: Run, check_stop: Callable[[], None], with_cost: bool) -> None:
    """Train, evaluate and measure what of this run is not done yet.

    Raises:
        ConfigError: the directory holds a run of another configuration.
    """
    run.directory.mkdir(parents=True, exist_ok=True)
    record = read_record(run)
    refuse_other_record(run, record)
    model = run.restored or str(run.directory)
    if not run.restored and not record["trained"]:
        with timed(run, record):
            train(run.training, str(run.directory))
        record["trained"] = True
        write_record(run, record)
    for name, config in run.tests.items():
        settings = evaluation_settings(run, config)
        if name not in record["tests"] or options_differing(record["tests"][name], settings):
            check_stop()
            evaluate(config, str(run.directory), model)
            record["tests"][name] = settings
            write_record(run, record)
    if with_cost and not record["cost"]:
        check_stop()
        record["cost"] = measure_cost(model)
        write_record(run, record)
    jax.clear_caches()  # programs of one network are of no use to the next


@contextlib.contextmanager
def timed(run: Run, record: dict[str, Any]) -> Iterator[None]:
    """Adds wall and processor seconds to a run's record, also where training was stopped."""
    wall, processor = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        record["train_seconds"] += time.perf_counter() - wall
        record["train_processor_seconds"] += time.process_time() - processor
        record["sessions"] += 1
        write_record(run, record)


def read_record(run: Run) -> dict[str, Any]:
    """What is known of a run; of a new one, nothing."""
    path = run.directory / RUN_FILE
    new = {
        "training": strict_json.plain(run.training.to_dict()), "restored": run.restored, "trained": False, "tests": {},
        "cost": {}, "train_seconds": 0.0, "train_processor_seconds": 0.0, "sessions": 0,
    }  # fmt: skip
    if not path.exists():
        return new
    try:
        return new | json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"{path}: not readable ({error}); remove it, and the run's evaluation is made again"
        ) from error


def write_record(run: Run, record: dict[str, Any]) -> None:
    """Replace the run's file."""
    report.replace_file(run.directory / RUN_FILE, strict_json.dumps(record, indent=1))


def refuse_other_record(run: Run, record: dict[str, Any]) -> None:
    """Raise ConfigError where the directory belongs to another configuration."""
    differing = options_differing(record["training"], run.training.to_dict())
    if record["restored"] != run.restored:
        differing = [f"evaluate.model: saved {record['restored']!r}, now {run.restored!r}"]
    elif run.restored:
        differing = []
    if differing:
        raise ConfigError(
            f"{run.directory} holds another run ({'; '.join(differing)}); choose another --workdir or undo the change"
        )


def evaluation_settings(run: Run, config: ConfigDict) -> dict[str, Any]:
    """All that an evaluation's numbers depend on."""
    found = strict_json.plain(config.to_dict())
    evaluation = {k: v for k, v in found["evaluate"].items() if k not in ("title", "batch_size")}
    data = {k: v for k, v in found["data"].items() if k not in ("data_dir", "build", "threads", "prefetch", "workers")}
    digest = checkpoint.load_model(run.restored)[2] if run.restored else ""
    return {
        "seed": found["seed"],
        "records": data,
        "scores": evaluation,
        "scoring": found["scoring"],
        "restored": digest,
    }


def is_finished(run: Run) -> bool:
    """All evaluations of the run stand, as they are asked for now."""
    done = read_record(run)["tests"]
    return all(
        name in done and not options_differing(done[name], evaluation_settings(run, config))
        for name, config in run.tests.items()
    )


def measure_cost(model: str) -> dict[str, float]:
    """What a network costs to use: parameters, operations and milliseconds for a window.

    Operations are XLA's count of floating-point operations in the network's program for one window (a multiply-add is
    two), without those of reading and normalising. Milliseconds: the best of five batches of 32 windows, on all
    devices.
    """
    released = embed.open_model(model, batch_size=_TIMED)
    embedder = released.embedder
    layout = embedder.layout
    options = {**released.document["model"], "landmark_set": layout.landmark_set, "extra_channels": layout.channels}
    if registry.takes(options["name"], "chunk"):
        options["chunk"] = 0  # XLA counts the body of a loop once
    whole = registry.build(options)
    shape = (embedder.spec.length, layout.num_vertices, 3)
    rows = jax.ShapeDtypeStruct((1, *shape), jnp.float32), jax.ShapeDtypeStruct((1, shape[0]), bool)
    program = jax.jit(lambda params, windows, mask: whole.apply({"params": params}, windows, mask).vector)
    counted = program.lower(released.params, *rows).cost_analysis() or {}
    face = topology.get(layout.landmark_set).reference_shape
    frame = np.zeros(shape[1:], np.float32)
    frame[: len(face)] = face
    windows = np.broadcast_to(frame, (embedder.batch_size, *shape))
    mask = jax.device_get(jnp.ones(windows.shape[:2], bool))
    seconds = []
    for _ in range(1 + _REPEATS):  # the first compiles
        began = time.perf_counter()
        embedder.embed(released.params, windows, mask)
        seconds.append(time.perf_counter() - began)
    return {
        "parameters": released.num_parameters,
        "operations_per_window": counted.get("flops"),
        "ms_per_window": 1000 * min(seconds[1:]) / embedder.batch_size,
    }


# ---------------------------------------------------------------------------------------------------- what came of it


def read_results(run: Run) -> list[RunResult]:
    """The score files and reports of a run, one for each test set."""
    record = read_record(run)
    return [
        RunResult(
            system=system_name(run.entry, test),
            entry=run.entry,
            test=test,
            seed=run.seed,
            fold=run.fold,
            evaluation=run.directory / config.evaluate.name,
            title=run.training.evaluate.title or run.entry,
            cost=record["cost"] | {name: record[name] for name in ("train_seconds", "train_processor_seconds")}
            if record["trained"]
            else record["cost"],
            where=where_of(test, run.fold),
        )
        for test, config in run.tests.items()
    ]
