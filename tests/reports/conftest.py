"""One sample report, written once."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from fingerprint.reports import report as reports

_SPEC = importlib.util.spec_from_file_location("report_sample", Path(__file__).with_name("sample.py"))
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)


@pytest.fixture(scope="session")
def sample():
    """The module that makes sample reports."""
    return _MODULE


@pytest.fixture(scope="session")
def report(sample):
    return sample.make_report()


@pytest.fixture(scope="session")
def written(report, tmp_path_factory):
    """Paths of the sample report."""
    return reports.write(report, tmp_path_factory.mktemp("report"))
