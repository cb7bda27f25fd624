"""Checkpoints and released models: the one file that says Orbax.

Orbax writes whole steps or none. What it does not do is added here: a digest over every array, so that a flipped byte
is found; an error that names the damaged step, with a fallback to the one before only when asked; and a comparison of
names and shapes that says how a checkpoint differs from the model at hand.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from fingerprint import parallel
from fingerprint.errors import CheckpointError

Path = pathlib.Path
_MODEL_FILE, _BEST_FILE, _WEIGHTS = "model.json", "best.json", "weights"


def flatten(tree: PyTree) -> dict[str, np.ndarray]:
    """Leaves on the host by slash-joined path, e.g. `params/gcn1/kernel`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves}


def unflatten(flat: dict[str, np.ndarray], template: PyTree, where: str) -> PyTree:
    """The tree of `template` filled from `flat`.

    Raises:
        CheckpointError: names or shapes differ; the message lists them.
    """
    wanted = flatten(template)
    faults = [f"missing {name} {wanted[name].shape}" for name in wanted if name not in flat]
    faults += [f"extra {name} {flat[name].shape}" for name in flat if name not in wanted]
    faults += [
        f"{name}: found {flat[name].shape} {flat[name].dtype}, wanted {wanted[name].shape} {wanted[name].dtype}"
        for name in wanted
        if name in flat and (flat[name].shape, flat[name].dtype) != (wanted[name].shape, wanted[name].dtype)
    ]
    if faults:
        raise CheckpointError(f"{where} holds another architecture: " + "; ".join(faults))
    return jax.tree.unflatten(jax.tree.structure(template), [flat[name] for name in wanted])


def digest(flat: dict[str, np.ndarray], document: dict[str, Any]) -> str:
    """sha256 over every array (name, type, shape, bytes) and over the accompanying JSON document."""
    sha = hashlib.sha256()
    for name in sorted(flat):
        array = np.ascontiguousarray(flat[name])
        sha.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        sha.update(array.tobytes())
    sha.update(json.dumps(document, sort_keys=True).encode())
    return sha.hexdigest()


class CheckpointStore:
    """Training checkpoints of one run, saved in the background.

    Args:
        directory: where the steps lie.
        keep: number of newest steps kept.
    """

    def __init__(self, directory: str | os.PathLike, keep: int = 3):
        self.directory = Path(directory).absolute()
        if parallel.is_main():
            self.directory.mkdir(parents=True, exist_ok=True)
        parallel.barrier("checkpoint directory")
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(max_to_keep=keep, create=False, enable_async_checkpointing=True),
        )

    def steps(self) -> list[int]:
        """Whole steps on disk, ascending."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: PyTree, document: dict[str, Any]) -> None:
        """Begin saving, unless that step lies there already; a failed earlier save (a full disk) raises here.

        Args:
            step: steps taken so far.
            state: arrays, equal in every process.
            document: JSON-able: iterator state, configuration, best validation result.
        """
        if step in self._manager.all_steps():
            return
        flat = flatten(state)
        sealed = {"document": document, "digest": digest(flat, document)}
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(state=ocp.args.StandardSave(flat), seal=ocp.args.JsonSave(sealed)),
                force=True,
            )
        except (OSError, ValueError) as error:
            raise CheckpointError(f"saving step {step} in {self.directory} failed: {error}") from error

    def restore(self, template: PyTree, *, fallback: bool = False) -> tuple[int, PyTree, dict[str, Any]] | None:
        """The newest step `(step, state, document)`, or None if there is none.

        Args:
            template: a state of the wanted structure.
            fallback: go back to an older step where the newest is damaged.

        Raises:
            CheckpointError: the newest step is damaged (and no fallback was asked for or none is whole), or is of
            another architecture.
        """
        damaged = []
        for step in reversed(self.steps()):
            try:
                flat, document = self._read(step)
            except CheckpointError as error:
                damaged.append(str(error))
                if not fallback:
                    raise CheckpointError(
                        f"{error}; older steps: {self.steps()[:-1]}. To go on from an older one pass "
                        "--config.checkpoint.fallback=True"
                    ) from error
                continue
            state = unflatten(flat, template, f"checkpoint step {step} in {self.directory}")
            for later in [s for s in self.steps() if s > step]:
                self._manager.delete(later)
            return step, state, document
        if damaged:
            raise CheckpointError("no whole checkpoint is left: " + "; ".join(damaged))
        return None

    def _read(self, step: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        where = f"checkpoint step {step} in {self.directory}"
        try:
            out = self._manager.restore(
                step, args=ocp.args.Composite(state=ocp.args.StandardRestore(), seal=ocp.args.JsonRestore())
            )
            flat = {name: np.asarray(value) for name, value in out["state"].items()}
            document, expected = out["seal"]["document"], out["seal"]["digest"]
        except Exception as error:  # Orbax and TensorStore raise many types for damaged files
            raise CheckpointError(f"{where} is damaged: {_first_line(error)}") from error
        if digest(flat, document) != expected:
            raise CheckpointError(f"{where} is damaged: its arrays do not match their digest")
        return flat, document

    def wait(self) -> None:
        """Until the last save is whole on disk."""
        try:
            self._manager.wait_until_finished()
        except (OSError, ValueError) as error:
            raise CheckpointError(f"saving in {self.directory} failed: {error}") from error

    def close(self) -> None:
        """Wait and release."""
        self.wait()
        self._manager.close()


def save_model(
    directory: str | os.PathLike,
    params: PyTree,
    document: dict[str, Any],
    beside: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Write a released model: weights, and `model.json` with all that embedding, scoring and deciding need.

    `document` must hold `model` (the network's configuration), `landmark_set`, `normalization` and `window`; it may
    hold `channels`, `scoring`, `cohort`, `thresholds`, `calibration`, `provenance`. Arrays `beside` the weights, by
    slash-joined name, lie with them under the same digest. The directory must not exist: it appears whole or not at
    all.
    """
    directory = Path(directory).absolute()
    if directory.exists():
        raise CheckpointError(f"{directory} exists; a released model is never overwritten")
    flat = {**flatten(params), **(beside or {})}
    sealed = json.dumps({"document": document, "digest": digest(flat, document)}, indent=1, sort_keys=True)
    temporary = directory.with_name(f".{directory.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    with _alone() as checkpointer:
        checkpointer.save(temporary / _WEIGHTS, flat)
    (temporary / _MODEL_FILE).write_text(sealed, encoding="utf-8")
    os.replace(temporary, directory)
    return directory


def load_model(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, Any], str]:
    """Read a released model, or the best one of a run's working directory.

    Returns:
        Flat weights, and arrays kept beside them, by name; the document, and the digest that names this model.

    Raises:
        CheckpointError: nothing there, or damaged.
    """
    directory = resolve_model(path)
    try:
        sealed = json.loads((directory / _MODEL_FILE).read_text(encoding="utf-8"))
        with _alone() as checkpointer:
            flat = {n: np.asarray(v) for n, v in checkpointer.restore(directory / _WEIGHTS).items()}
        document, expected = sealed["document"], sealed["digest"]
    except Exception as error:
        raise CheckpointError(f"released model {directory} is damaged: {_first_line(error)}") from error
    if digest(flat, document) != expected:
        raise CheckpointError(f"released model {directory} is damaged: its contents do not match their digest")
    return flat, document, expected


def resolve_model(path: str | os.PathLike) -> Path:
    """The released model's directory that `path` means: itself, or the best one of a working directory."""
    directory = Path(path).absolute()
    if (directory / _MODEL_FILE).exists():
        return directory
    if (directory / _BEST_FILE).exists():
        try:
            return directory / json.loads((directory / _BEST_FILE).read_text(encoding="utf-8"))["model"]
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{directory / _BEST_FILE} is damaged: {_first_line(error)}") from error
    raise CheckpointError(
        f"{directory} holds no model: wanted a released model (with {_MODEL_FILE}) or a run's working directory "
        f"(with {_BEST_FILE})"
    )


def publish_best(
    workdir: str | os.PathLike,
    step: int,
    params: PyTree,
    document: dict[str, Any],
    beside: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Save the best model so far as `models/<step>` of a run and point to it; arguments as of `save_model`.

    The one before stays until the next: the newest checkpoint may still know it as the best.
    """
    models = Path(workdir).absolute() / "models"
    target = models / f"{step:08d}"
    if target.exists():  # made by a run that was killed before its checkpoint: the same step, made again
        os.replace(target, models / f".{target.name}.{os.getpid()}.old")
    save_model(target, params, document, beside)
    point_to_best(workdir, step)
    whole = sorted(path for path in models.iterdir() if not path.name.startswith("."))
    for old in [*models.glob(".*.old"), *(path for path in whole[:-2] if path != target)]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def point_to_best(workdir: str | os.PathLike, step: int) -> None:
    """Make `models/<step>`, if it is there, the best model of a run; atomic."""
    workdir = Path(workdir).absolute()
    if not (workdir / "models" / f"{step:08d}" / _MODEL_FILE).exists():
        return
    pointer = workdir / f".{_BEST_FILE}.{os.getpid()}.tmp"
    pointer.write_text(json.dumps({"model": f"models/{step:08d}", "step": step}), encoding="utf-8")
    os.replace(pointer, workdir / _BEST_FILE)


def _alone() -> ocp.StandardCheckpointer:
    """A checkpointer for this process only: it waits for no other."""
    me = jax.process_index()
    options = ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process_{me}"
    )
    return ocp.StandardCheckpointer(multiprocessing_options=options)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300] if str(error).strip() else 'no message'}"
