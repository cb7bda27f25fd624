"""Devices and processes: the one file that says pmap.

Parameters are replicated: every process holds a whole copy on each of its devices, and steps keep the copies equal. The
batch is split: a process loads its part of the global batch, `shard` splits that over its devices.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from fingerprint.errors import ConfigError

AXIS = "devices"


def initialize(coordinator: str, num_processes: int, process_id: int) -> None:
    """Join the other processes of a run; does nothing for a single process.

    Args:
        coordinator: `host:port` of process 0, or `auto` where the platform knows (Cloud TPU slices, SLURM); empty for
            one process.
        num_processes: processes in all; 0 with `auto`.
        process_id: this process, from 0.
    """
    if not coordinator:
        return
    if "cpu" in (jax.config.jax_platforms or os.environ.get("JAX_PLATFORMS", "cpu")):
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    if coordinator == "auto":
        jax.distributed.initialize()
    else:
        jax.distributed.initialize(coordinator, num_processes, process_id)


def describe() -> dict[str, Any]:
    """Platform, device kind and counts, for logs and provenance."""
    first = jax.local_devices()[0]
    return {
        "platform": first.platform,
        "device_kind": first.device_kind,
        "devices": jax.device_count(),
        "local_devices": jax.local_device_count(),
        "processes": jax.process_count(),
    }


def is_main() -> bool:
    """True in the one process that writes files and prints."""
    return jax.process_index() == 0


def share_of(total: int) -> slice:
    """The rows of a global batch that this process loads.

    Raises:
        ConfigError: the batch does not divide over all devices.
    """
    if total % jax.device_count():
        raise ConfigError(
            f"a global batch of {total} windows does not divide over {jax.device_count()} devices; choose "
            f"drivers x windows per batch as a multiple of {jax.device_count()}"
        )
    size = total // jax.process_count()
    return slice(jax.process_index() * size, (jax.process_index() + 1) * size)


def shard(batch: PyTree) -> PyTree:
    """Split this process's rows over its devices: [rows, …] → [local devices, rows per device, …]."""
    count = jax.local_device_count()
    return jax.tree.map(lambda x: x.reshape(count, x.shape[0] // count, *x.shape[1:]), batch)


def map_step(step: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]]) -> Callable:
    """`step(state, batch) → (state, metrics)` over all devices: state replicated in and out, batch split, metrics
    replicated."""
    return jax.pmap(step, axis_name=AXIS, in_axes=(None, 0), out_axes=None)


def gather(tree: PyTree) -> PyTree:
    """Inside a step: every device's rows, concatenated in device order, on every device."""
    return jax.tree.map(lambda x: jax.lax.all_gather(x, AXIS, tiled=True), tree)


def mean(tree: PyTree) -> PyTree:
    """Inside a step: the mean over devices."""
    return jax.lax.pmean(tree, AXIS)


def total(x: Array) -> Array:
    """Inside a step: the sum over devices."""
    return jax.lax.psum(x, AXIS)


def map_rows(function: Callable[[PyTree, PyTree], PyTree]) -> Callable[[PyTree, PyTree], PyTree]:
    """jit `function(parameters, rows)` with the rows split over this process's devices; the row count must divide by
    them."""
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()), (AXIS,))
    replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(AXIS))
    mapped = jax.jit(function, in_shardings=(replicated, split), out_shardings=split)

    def run(parameters, rows):
        # With several processes jit takes neither host arrays nor arrays that lie on other processes' devices too.
        parameters = jax.device_put(jax.tree.map(_own_copy, parameters), replicated)
        return mapped(parameters, jax.device_put(rows, split))

    return run


def _own_copy(x):
    return x.addressable_data(0) if isinstance(x, jax.Array) and not x.is_fully_addressable else x


def all_processes(rows: np.ndarray) -> np.ndarray:
    """Every process's rows, concatenated in process order, in every process. All must hold equally many."""
    if jax.process_count() == 1:
        return rows
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(jnp.asarray(rows), tiled=True))


def main_holds(resource: Callable[[], contextlib.AbstractContextManager]) -> contextlib.AbstractContextManager:
    """`resource()` in the main process, nothing in the others."""
    return resource() if is_main() else contextlib.nullcontext()


def barrier(name: str) -> None:
    """Wait until every process is here."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)
