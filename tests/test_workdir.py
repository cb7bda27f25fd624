"""A run's directory is held by one run; a run that is asked to stop finishes what it is at."""

import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest

from fingerprint import workdir
from fingerprint.errors import WorkdirLocked

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
HOLD = """
import sys
from fingerprint import workdir
with workdir.locked(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the directory."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate(timeout=30)


def test_a_second_run_is_refused_while_the_first_holds_and_let_in_after(holder, tmp_path):
    with (
        pytest.raises(WorkdirLocked, match=f"in use by process {holder.pid}; .*--workdir"),
        workdir.locked(tmp_path / "run"),
    ):
        pytest.fail("two runs in one directory")
    holder.communicate("", timeout=30)
    with workdir.locked(tmp_path / "run") as path:
        assert path == tmp_path / "run" and (path / ".lock").read_text() == str(os.getpid())


def test_a_killed_run_holds_nothing(holder, tmp_path):
    holder.kill()
    holder.wait(30)
    with workdir.locked(tmp_path / "run"):
        pass


def test_other_directories_are_free(holder, tmp_path):
    with workdir.locked(tmp_path / "other" / "deep") as path:
        assert path.is_dir()


def test_the_lock_goes_with_an_error(tmp_path):
    with pytest.raises(RuntimeError), workdir.locked(tmp_path):
        raise RuntimeError
    with workdir.locked(tmp_path):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_sets_the_flag_and_nothing_else(number):
    before = signal.getsignal(number)
    flag = workdir.StopFlag()
    with flag.listening() as same:
        assert same is flag and not flag.is_set
        os.kill(os.getpid(), number)
        assert flag.is_set
    assert signal.getsignal(number) is before


def test_a_second_interrupt_interrupts_at_once():
    flag = workdir.StopFlag()
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), flag.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # a second request to stop is the same request
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_the_main_thread_the_flag_stays_clear():
    seen = []

    def listen():
        with workdir.StopFlag().listening() as flag:
            seen.append(flag.is_set)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join(10)
    assert seen == [False]


def test_the_exit_code_of_a_stopped_run_is_its_own():
    assert workdir.EXIT_STOPPED == 75
