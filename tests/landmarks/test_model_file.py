"""Where the model file is looked for, and that only the known bytes are taken."""

import functools
import hashlib
import http.server
import threading

import pytest

from fingerprint.errors import ModelFileMissing
from fingerprint.landmarks import model_file


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.delenv(model_file.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def real(shared):
    path = shared / "models" / model_file.NAME
    if not path.is_file():
        pytest.skip(f"MediaPipe's model file is not at {path}")
    return path


@pytest.fixture
def server(tmp_path):
    """Serves what lies in `tmp_path / "served"` and counts what is asked of it."""
    (tmp_path / "served").mkdir()
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    handler = functools.partial(quiet, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/{model_file.NAME}"
        running.shutdown()


def test_argument_before_variable_before_cache(real, monkeypatch, tmp_path):
    cached = tmp_path / "cache" / "fingerprint" / model_file.NAME
    cached.parent.mkdir(parents=True)
    cached.write_bytes(real.read_bytes())
    assert model_file.find() == cached
    monkeypatch.setenv(model_file.VARIABLE, str(real))
    assert model_file.find() == real
    assert model_file.find(cached) == cached
    with pytest.raises(ModelFileMissing, match="nowhere.task"):
        model_file.find(tmp_path / "nowhere.task")


def test_absent_says_where_it_looked_and_what_to_do(tmp_path):
    with pytest.raises(ModelFileMissing) as caught:
        model_file.find()
    said = str(caught.value)
    assert str(tmp_path / "cache" / "fingerprint" / model_file.NAME) in said
    assert "fetch-model" in said and model_file.ADDRESS in said and model_file.VARIABLE in said and "\n" not in said


def test_another_file_is_not_taken(real, tmp_path):
    content = bytearray(real.read_bytes())
    content[1000] ^= 1
    (tmp_path / "other.task").write_bytes(content)
    with pytest.raises(ModelFileMissing, match=model_file.SHA256):
        model_file.find(tmp_path / "other.task")


def test_fetch_keeps_the_right_file(real, server, tmp_path):
    (tmp_path / "served" / model_file.NAME).write_bytes(real.read_bytes())
    path = model_file.fetch(address=server)
    assert path == model_file.find() and path.read_bytes() == real.read_bytes()
    assert [p.name for p in path.parent.iterdir()] == [model_file.NAME]


@pytest.mark.parametrize("content", [b"", b"something else", bytes(model_file.SIZE + 10)])
def test_fetch_keeps_no_other_file(server, tmp_path, content):
    (tmp_path / "served" / model_file.NAME).write_bytes(content)
    with pytest.raises(ModelFileMissing, match="another file"):
        model_file.fetch(tmp_path / "folder", address=server)
    assert not (tmp_path / "folder").exists() or not list((tmp_path / "folder").iterdir())


def test_fetch_reads_no_more_than_the_file_is_long(server, tmp_path):
    """A server that sends on and on does not fill the memory."""
    content = b"x" * (model_file.SIZE + 5_000)
    (tmp_path / "served" / model_file.NAME).write_bytes(content)
    digest = hashlib.sha256(content[: model_file.SIZE + 1]).hexdigest()
    with pytest.raises(ModelFileMissing, match=digest):
        model_file.fetch(address=server)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/none.task", "file:///etc/hostname", "no address"])
def test_offline_names_the_address_and_the_folder(tmp_path, address):
    with pytest.raises(ModelFileMissing) as caught:
        model_file.fetch(address=address, timeout=2)
    assert address in str(caught.value)
    assert str(tmp_path / "cache" / "fingerprint" / model_file.NAME) in str(caught.value)
