"""What all tests share: where real data lie, and that JAX runs on the CPU unless the environment says otherwise."""

import os
import pathlib

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
