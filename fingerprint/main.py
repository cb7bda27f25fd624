"""`python -m fingerprint.main --config=configs/quickstart.py --workdir=DIR [--mode=…] [--config.x=y …]`."""

from __future__ import annotations

import sys

from absl import app, flags, logging
from ml_collections import config_flags

MODES = ("train_and_evaluate", "train", "evaluate", "robustness", "compare", "quality")
_OF_A_MODEL = ("evaluate", "robustness")

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Experiment, e.g. configs/quickstart.py or configs/avaprintdb_gcn.py:cremad_gaga."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Directory of the run: checkpoints, log, models, report. The same command resumes."
)
_MODE = flags.DEFINE_enum(
    "mode",
    MODES[0],
    MODES,
    "What to do. `evaluate` and `robustness` take --config.evaluate.model, or the workdir's best model; `compare` a "
    "configuration with entries; `quality` --config.quality.reference and .generated.",
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", "", "host:port of process 0 of several, or `auto` on a Cloud TPU slice."
)
_PROCESSES = flags.DEFINE_integer("num_processes", 1, "Processes in all (with --coordinator=host:port).", lower_bound=1)
_PROCESS = flags.DEFINE_integer("process_id", 0, "This process, from 0 (with --coordinator=host:port).", lower_bound=0)
flags.mark_flags_as_required(["config", "workdir"])


def main(argv: list[str]) -> int:
    """Run; returns the exit code."""
    if len(argv) > 1:
        print(f"error: unknown arguments {argv[1:]}", file=sys.stderr)
        return 2
    # Imported here so that --help is fast.
    import jax

    from fingerprint import checkpoint, parallel, robustness, workdir
    from fingerprint.compare import compare
    from fingerprint.data import datasets
    from fingerprint.errors import FingerprintError
    from fingerprint.evaluate import evaluate
    from fingerprint.train import train

    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    config, directory = _CONFIG.value, _WORKDIR.value
    if config.evaluate.model and _MODE.value not in _OF_A_MODEL:
        modes = " or ".join(_OF_A_MODEL)
        print(f"error: --config.evaluate.model goes with --mode={modes}, not {_MODE.value}", file=sys.stderr)
        return 2
    jax.config.update("jax_default_matmul_precision", config.matmul_precision)
    try:
        parallel.initialize(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
        with parallel.main_holds(lambda: workdir.locked(directory)):
            if _MODE.value == "compare":
                compare(config, directory)
                return 0
            if _MODE.value == "quality":
                from fingerprint.app import quality  # MediaPipe is heavy

                return quality.from_config(config, directory) if parallel.is_main() else 0
            model = config.evaluate.model or directory
            if _MODE.value in _OF_A_MODEL:
                checkpoint.resolve_model(model)
            if parallel.is_main():
                datasets.build_missing(config)
            parallel.barrier("data set")
            if _MODE.value not in _OF_A_MODEL:
                model = train(config, directory)
            if _MODE.value == "robustness":
                robustness.measure(config, directory, model)
            elif _MODE.value != "train":
                evaluate(config, directory, model)
    except workdir.Stopped as stopped:
        print(stopped, file=sys.stderr)
        return workdir.EXIT_STOPPED
    except (FingerprintError, OSError) as error:  # OSError: a full or read-only disk, which names its file
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def parse(argv: list[str]) -> list[str]:
    """Read the command line and load the configuration; a mistake ends the program with one sentence and code 2."""
    if {"--help", "-h", "-help"} & set(argv):
        app.usage(shorthelp=True, writeto_stdout=True)
        sys.exit(0)
    try:
        rest = flags.FLAGS(argv)
        _ = _CONFIG.value.seed  # a configuration that could not be loaded says so when it is read
    except AttributeError as error:  # an option that does not exist
        print(f"error: no such option: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:  # a configuration file can fail in any way; the first cause says how
        while error.__cause__ or error.__context__:
            error = error.__cause__ or error.__context__
        lines = str(error).strip().splitlines() or [type(error).__name__]
        print(f"error: {lines[0 if isinstance(error, flags.Error) else -1].strip()}", file=sys.stderr)
        sys.exit(2)
    return rest


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
