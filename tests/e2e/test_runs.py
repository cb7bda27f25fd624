"""A run from command to report; killed, stopped, damaged, doubled, changed; on several devices and processes."""

import json
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.e2e.conftest import ROOT, losses


def test_quickstart_ends_in_a_report_on_unseen_people(finished_run):
    report = json.loads((finished_run / "evaluation" / "report.json").read_text())
    assert report["data"]["drivers"] == 3 and report["acquisition"]["failed"] == 0
    assert report["protocol"]["leakage"].startswith("checked")
    assert {c["name"] for c in report["controls"]} == {
        "shuffled_frames", "static_frame", "static_shape", "length_and_rate", "target_probe",
    }  # fmt: skip
    shuffled = next(c for c in report["controls"] if c["name"] == "shuffled_frames")
    assert abs(shuffled["difference"]["auc"]["value"]) < 0.01  # the network is a bag of poses
    assert (finished_run / "evaluation" / "report.html").stat().st_size > 50_000
    assert set(report["thresholds"]) >= {"eer", "fmr=10%", "fmr=1%"}
    best = json.loads((finished_run / "best.json").read_text())
    model = json.loads((finished_run / best["model"] / "model.json").read_text())["document"]
    train_and_validation = {name for _, name in model["identities"]}
    rows = (finished_run / "evaluation" / "scores.csv").read_text().splitlines()
    assert len(rows) == report["protocol"]["trials"] + 2  # a comment and a header
    assert not any(name in rows[2] for name in train_and_validation)


def test_the_log_holds_every_step_and_tensorboard_reads_it(finished_run):
    assert sorted(losses(finished_run)) == list(range(1, 13))
    from tests.e2e.tensorboard_events import scalars

    events = scalars(finished_run / "tensorboard")
    assert events["loss"] == pytest.approx(losses(finished_run), rel=1e-6)


def test_sigkill_at_a_random_step_changes_nothing(program, finished_run, tmp_path):
    process = program.start(tmp_path, "--mode=train")
    victim = random.Random().randrange(3, 11)
    log = tmp_path / "train_log.jsonl"
    deadline = time.time() + 200
    while process.poll() is None and time.time() < deadline:
        if log.exists() and f'"step": {victim}' in log.read_text():
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.01)
    process.wait(60)
    assert process.returncode == -signal.SIGKILL, process.stdout.read()
    again = program.run(tmp_path, "--mode=train")
    assert "Resuming at step" in again.stdout + again.stderr or victim < 4
    assert losses(tmp_path) == losses(finished_run)  # bit for bit
    assert model_digest(tmp_path) == model_digest(finished_run)


def test_sigterm_saves_and_exits_with_its_own_code(program, finished_run, tmp_path):
    process = program.start(tmp_path, "--mode=train", "--config.checkpoint.every=1000", "--config.train.eval_every=12")
    wait_for_step(tmp_path, process, 2)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output
    assert "the same command resumes" in output
    assert "stopped at step" in output
    taken = max(losses(tmp_path))
    assert any((tmp_path / "checkpoints" / str(step)).exists() for step in (taken, taken + 1))
    program.run(tmp_path, "--mode=train", "--config.checkpoint.every=1000", "--config.train.eval_every=12")
    assert losses(tmp_path) == losses(finished_run)


def test_devices_and_processes_change_nothing(program, finished_run, tmp_path):
    reference = losses(finished_run)
    four = ("--mode=train", "--config.train.num_steps=4", "--config.optimizer.schedule=constant")
    program.run(tmp_path / "one", *four)
    program.run(tmp_path / "eight", *four, devices=8)
    two = {"2 processes": two_processes(program, tmp_path / "two", *four)}
    one = losses(tmp_path / "one")
    assert losses(tmp_path / "eight") == pytest.approx(one, rel=1e-5)
    assert losses(tmp_path / "two") == pytest.approx(one, rel=1e-5), two
    assert one[1] == reference[1]
    # One process alone is refused where two have begun.
    refused = program.run(tmp_path / "two", *four, expect=1)
    assert "processes: saved 2, now 1" in refused.stderr


def test_two_processes_stop_together_and_resume(program, tmp_path):
    options = (
        "--mode=train",
        "--config.checkpoint.every=1000",
        "--config.train.eval_every=12",
        "--config.train.num_steps=12",
    )
    program.run(tmp_path / "one", *options)
    processes = start_two(program, tmp_path / "two", *options)
    wait_for_step(tmp_path / "two", processes[0], 2)
    processes[1].send_signal(signal.SIGTERM)  # only one of them is told
    outputs = [process.communicate(timeout=200)[0] for process in processes]
    assert [process.returncode for process in processes] == [75, 75], outputs
    assert two_processes(program, tmp_path / "two", *options) == [0, 0]
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)


def test_another_configuration_is_refused_with_the_difference(program, finished_run):
    refused = program.run(finished_run, "--config.optimizer.learning_rate=0.5", expect=1)
    assert "optimizer.learning_rate: saved 0.002, now 0.5" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_second_run_in_the_same_folder_is_refused(program, tmp_path):
    process = program.start(tmp_path, "--mode=train", "--config.train.num_steps=2000")
    wait_for_step(tmp_path, process, 1)
    refused = program.run(tmp_path, "--mode=train", "--config.train.num_steps=2000", expect=1)
    assert f"in use by process {process.pid}" in refused.stderr
    process.kill()
    process.wait(30)


def test_a_damaged_checkpoint_is_named_and_passed_over_only_when_asked(program, finished_run, tmp_path):
    import shutil

    workdir = tmp_path / "run"
    shutil.copytree(finished_run, workdir)
    newest = max((workdir / "checkpoints").iterdir(), key=lambda p: int(p.name) if p.name.isdigit() else -1)
    for victim in (p for p in newest.rglob("d/*") if p.is_file()):  # the arrays; which file is read is Orbax's affair
        raw = bytearray(victim.read_bytes())
        raw[len(raw) // 2] ^= 1
        victim.write_bytes(raw)
    refused = program.run(workdir, "--mode=train", expect=1)
    assert f"checkpoint step {newest.name}" in refused.stderr and "damaged" in refused.stderr
    program.run(workdir, "--mode=train", "--config.checkpoint.fallback=True")
    assert losses(workdir) == losses(finished_run)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--config.sampler.drivers_per_batch=9", "has 4 drivers with usable records; a batch asks for 9"),
        ("--config.model.name=resnet", "unknown model 'resnet'; known: gcn_tap, st_gcn, temporal_cnn"),
        ("--config.data.landmark_set=ibug68", "records hold landmark set avaprintdb109"),
        ("--config.data.window.length=5000", "drivers with usable records"),
        ("--config.evaluate.protocol=guess", "unknown protocol 'guess'"),
        ("--config.data.dataset=landmark_folder/absent", "data_builders.build landmark_folder/absent"),
    ],
)
def test_what_cannot_run_is_said_before_the_first_step(program, tmp_path, option, message):
    refused = program.run(tmp_path, option, "--config.data.build=False", expect=1)
    assert message in refused.stderr and "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=configs/nope.py", "--workdir=x"], "No such file or directory: 'configs/nope.py'"),
        (["--config=configs/quickstart.py", "--workdir=x", "--config.train.num_step=5"], "num_steps"),
        (
            ["--config=configs/landmark_folder_gcn.py:wrong", "--workdir=x"],
            "known: ('raw', 'motion_only', 'reenacted')",
        ),
        (["--config=configs/quickstart.py"], "flag --workdir"),
        (["--config=configs/quickstart.py", "--workdir=x", "--mode=evaluat"], "train_and_evaluate|train|evaluate"),
        (["--config=configs/quickstart.py", "--workdir=x", "--config.evaluate.model=y"], "goes with --mode=evaluate"),
    ],
)
def test_a_command_line_that_is_not_understood_gets_one_sentence(arguments, message):
    command = [sys.executable, "-m", "fingerprint.main", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.startswith("error: ") and done.stderr.count("\n") <= 2


def test_evaluate_without_a_model_writes_nothing(program, tmp_path):
    refused = program.run(tmp_path / "run", "--mode=evaluate", f"--config.data.data_dir={tmp_path / 'data'}", expect=1)
    assert "holds no model" in refused.stderr and not (tmp_path / "data").exists()


def test_evaluate_alone_on_an_imported_model(program, shared, tmp_path):
    from fingerprint import import_weights

    released = shared / "parity" / "avaprintdb_graph" / "checkpoint_graph_trained_cremad_liveportrait.pt"
    import_weights.import_avaprintdb(released, tmp_path / "model")
    program.run(
        tmp_path / "run", "--mode=evaluate", f"--config.evaluate.model={tmp_path / 'model'}",
        "--config.evaluate.development_split=validation",
    )  # fmt: skip
    report = json.loads((tmp_path / "run" / "evaluation" / "report.json").read_text())
    assert report["model"]["parameters"] == 21312 and report["model"]["normalization"] == "published"
    assert report["model"]["window"]["length"] == 70 and report["thresholds"]


def model_digest(workdir: pathlib.Path) -> list[bytes]:
    from fingerprint import checkpoint

    flat, _, _ = checkpoint.load_model(workdir)
    return [flat[name].tobytes() for name in sorted(flat)]


def wait_for_step(workdir, process, step: int) -> None:
    log = pathlib.Path(workdir) / "train_log.jsonl"
    deadline = time.time() + 200
    while time.time() < deadline:
        if log.exists() and f'"step": {step}' in log.read_text():
            return
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.02)
    raise AssertionError("the run did not get going")


def start_two(program, workdir, *options: str):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return [
        program.start(workdir, f"--coordinator=127.0.0.1:{port}", "--num_processes=2", f"--process_id={i}", *options)
        for i in range(2)
    ]


def two_processes(program, workdir, *options: str) -> list[int]:
    processes = start_two(program, workdir, *options)
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert all(process.returncode == 0 for process in processes), outputs
    return [process.returncode for process in processes]
