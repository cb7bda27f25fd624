"""What all tests share: where real data lie, and that JAX runs on the CPU unless the environment says otherwise."""

import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder of real data and reference results beside the repository, or the one that FINGERPRINT_SHARED names."""
    folder = pathlib.Path(os.environ.get("FINGERPRINT_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"real data and reference results are not at {folder}; set FINGERPRINT_SHARED to their folder")
    return folder


@pytest.fixture(scope="module")
def quick_compilation():
    """XLA without most of its optimisations: for tests that compile much and compute little."""
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def start_on_devices(devices: int, out: pathlib.Path, *arguments: str) -> subprocess.Popen:
    """`on_devices.py` on so many CPU devices."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # most of the time is compilation
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": str(REPOSITORY),
    }
    command = [sys.executable, str(REPOSITORY / "tests" / "on_devices.py"), str(out), *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish_on_devices(processes: list[subprocess.Popen], out: pathlib.Path) -> dict[str, np.ndarray]:
    """What process 0 wrote, once all are done; none is left behind."""
    try:
        for process in processes:
            output, _ = process.communicate(timeout=240)
            assert process.returncode == 0, output[-4000:]
    finally:
        for process in processes:
            process.kill()
    with np.load(out, allow_pickle=False) as results:
        return dict(results)


@pytest.fixture(scope="session")
def on_devices(tmp_path_factory) -> dict[int, dict[str, np.ndarray]]:
    """A training step with every loss and an embedded split, on 1, 2 and 8 devices of one process."""
    folder = tmp_path_factory.mktemp("devices")
    running = {count: start_on_devices(count, folder / f"{count}.npz") for count in (1, 2, 8)}
    return {count: finish_on_devices([process], folder / f"{count}.npz") for count, process in running.items()}


@pytest.fixture(scope="session")
def in_two_processes(tmp_path_factory) -> dict[str, np.ndarray]:
    """The same in two processes of two devices each."""
    out = tmp_path_factory.mktemp("processes") / "results.npz"
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    return finish_on_devices([start_on_devices(2, out, coordinator, "2", str(i)) for i in range(2)], out)
