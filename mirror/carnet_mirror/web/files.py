"""HTTP: metadata, targets, the sparse index, downloads.

Everything but `timestamp.json`, the plain sparse-index files and `config.json` is immutable under its name, and is
served so. Paths are looked up in the list of published files: what is not in the list is 404, however spelled. The
server underneath cuts neither slow bodies nor large ones, so bodies are refused here.
"""

from __future__ import annotations

import gzip
import os
import sys
import time
from collections import OrderedDict
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from carnet import strictjson
from carnet.cargo.names import CrateId
from carnet.digests import sha256_hex
from carnet.errors import CarnetError, FormatError
from carnet.strictjson import JsonObject
from carnet.tuf.paths import DOWNLOAD_PREFIX, METADATA_PREFIX, SPARSE_INDEX_PREFIX, TARGETS_PREFIX, metadata_name
from carnet_mirror import log
from carnet_mirror.state.records import StoredFile
from carnet_mirror.state.store import Store
from carnet_mirror.web.pending import PendingPages
from carnet_mirror.web.tally import Tally

_FOREVER = "public, max-age=31536000, immutable"
_REVALIDATE = "no-cache"
_TIMESTAMP = METADATA_PREFIX + metadata_name("timestamp", None)
_CONFIG = SPARSE_INDEX_PREFIX + "config.json"
_MAX_PATH = 1024
_STREAM_FROM = 256 * 1024
"""Larger files are sent from the disk, piece by piece."""
_COMPRESS_FROM = 512
_COMPRESSED_CACHE = 64 * 1024 * 1024

_WELCOME = """This is a carnet mirror: crates with signed metadata.

    carnet trust add {url} --root root.json     trust it, from a root that you were given
    cargo carnet build                          build with verified crates only
"""


class Mirror:
    """The ASGI application of one mirror.

    Args:
        store: Opened for reading; used from the event loop's thread only.
        url: The base URL that `config.json` announces for downloads.
    """

    def __init__(self, store: Store, url: str) -> None:
        self._store = store
        self._url = url.rstrip("/")
        self._pending = PendingPages(store)
        self._compressed = _Compressed(_COMPRESSED_CACHE)
        self._config = strictjson.encode({"dl": f"{self._url}/{DOWNLOAD_PREFIX.rstrip('/')}"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            response = self._respond(scope)
        except CarnetError as error:
            log.error(f"{scope['path']!a}: {error}")
            response = _text(500, "this mirror cannot read a file that it published; its operator has been told")
        await response(scope, receive, send)

    def _respond(self, scope: Scope) -> Response:
        headers = Headers(scope=scope)
        if scope["method"] not in ("GET", "HEAD"):
            return _text(405, "only GET and HEAD", {"allow": "GET, HEAD"})
        if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
            return _text(413, "a request without a body, please", {"connection": "close"})
        path = scope["path"].removeprefix("/")
        if len(path) > _MAX_PATH:
            return _text(414, "no path here is this long")
        if not path.isascii() or not path.isprintable():
            return _not_found()
        if path == "":
            return _text(200, _WELCOME.format(url=self._url))
        if path == _CONFIG:
            return self._changing(headers, self._config, "application/json")
        if path == _TIMESTAMP:
            body = self._store.read(path)
            return _not_found() if body is None else self._changing(headers, body, "application/json")
        try:
            page = self._pending.page(path, scope.get("query_string", b"").decode("latin-1"))
        except FormatError as error:
            return _text(400, str(error))
        if page is not None:
            response = self._changing(headers, *page)
            response.headers["content-security-policy"] = "default-src 'none'"
            return response
        if path.startswith(DOWNLOAD_PREFIX):
            return self._download(headers, path)
        if path.startswith(SPARSE_INDEX_PREFIX):
            file = self._store.published_index(path)
            return _not_found() if file is None else self._send(headers, file, "text/plain; charset=utf-8", _REVALIDATE)
        if path.startswith((METADATA_PREFIX, TARGETS_PREFIX)):
            why = self._store.withheld(path)
            if why is not None:
                return _text(451, why)
            file = self._store.files.published(path)
            return _not_found() if file is None else self._send(headers, file, _media_type(path), _FOREVER)
        return _not_found()

    def _download(self, headers: Headers, path: str) -> Response:
        crate = downloaded(path)
        if crate is None:
            return _not_found()
        stored = self._store.crates.version(crate)
        if stored is None or stored.id != crate:
            return _not_found(f"this mirror does not have {crate}\n")
        file = self._store.files.published(stored.path)
        why = self._store.withheld(stored.path)
        if why is not None:
            return _text(451, why)
        if file is None or not stored.is_here:
            return _not_found(f"this mirror lists {crate} and has no tarball of it: its operator can sync it\n")
        return self._send(headers, file, "application/gzip", _FOREVER)

    def _changing(self, headers: Headers, body: bytes, media_type: str) -> Response:
        sha256 = sha256_hex(body)
        return self._entity(headers, body, sha256, media_type, _REVALIDATE)

    def _send(self, headers: Headers, file: StoredFile, media_type: str, cache: str) -> Response:
        if _matches(headers.get("if-none-match"), file.sha256):
            return Response(status_code=304, headers=_caching(file.sha256, cache))
        if media_type == "application/gzip" and file.length >= _STREAM_FROM:
            path = self._store.files.place(file)
            return FileResponse(path, media_type=media_type, headers=_caching(file.sha256, cache))
        return self._entity(headers, self._store.files.read(file), file.sha256, media_type, cache)

    def _entity(self, headers: Headers, body: bytes, sha256: str, media_type: str, cache: str) -> Response:
        if _matches(headers.get("if-none-match"), sha256):
            return Response(status_code=304, headers=_caching(sha256, cache))
        compressible = media_type != "application/gzip" and len(body) >= _COMPRESS_FROM
        if compressible and _accepts_gzip(headers.get("accept-encoding", "")):
            body = self._compressed.get(sha256, body)
            sent = _caching(f"{sha256}-gzip", cache) | {"content-encoding": "gzip"}
        else:
            sent = _caching(sha256, cache)
        if compressible:
            sent["vary"] = "accept-encoding"
        return Response(body, media_type=media_type, headers=sent)


def downloaded(path: str) -> CrateId | None:
    """The version that somebody downloads with a path, as `dl` of `config.json` makes it; None where it is no such."""
    name, _, rest = path.removeprefix(DOWNLOAD_PREFIX).partition("/")
    version, slash, last = rest.rpartition("/")
    try:
        return CrateId.of(name, version) if slash == "/" and last == "download" else None
    except FormatError:
        return None


class _Compressed:
    """The newest compressed forms, by the sha256 of what was compressed; at most `limit` bytes of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()

    def get(self, sha256: str, body: bytes) -> bytes:
        key = (sha256, len(body))
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        made = gzip.compress(body, 6, mtime=0)
        self._kept[key] = made
        self._size += len(made)
        while self._size > self._limit:
            self._size -= len(self._kept.popitem(last=False)[1])
        return made


class RequestLog:
    """Writes one line for each request: when, who, what, and what came of it.

    Args:
        app: What answers.
        stream: Where the lines go.
        log_format: How they are written.
        tally: Counts them.
    """

    def __init__(
        self, app: ASGIApp, stream: TextIO, log_format: log.LogFormat = "text", tally: Tally | None = None
    ) -> None:
        self._app = app
        self._stream = stream
        self._format = log_format
        self._tally = tally or Tally()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request and log it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        logged = False

        async def logging(message: Message) -> None:
            nonlocal logged
            if message["type"] == "http.response.start":
                # Before the answer leaves: whoever has an answer finds its line.
                length = int(Headers(raw=message["headers"]).get("content-length", "0"))
                self._write(scope, message["status"], length, time.monotonic() - started)
                logged = True
            await send(message)

        try:
            await self._app(scope, receive, logging)
        finally:
            if not logged:
                self._write(scope, 500, 0, time.monotonic() - started)

    def _write(self, scope: Scope, status: int, sent: int, seconds: float) -> None:
        self._tally.answered(scope["path"], status, seconds)
        request, now = Request(scope), datetime.now(UTC)
        client = request.client.host if request.client is not None else "-"
        agent, path = request.headers.get("user-agent", "-")[:100], scope["path"][:_MAX_PATH]
        if self._format == "json":
            said: JsonObject = {"client": client, "method": scope["method"], "path": path, "status": status}
            said |= {"bytes": sent, "microseconds": int(seconds * 1e6), "agent": agent}
            line = log.json_line("request", now, said)
        else:
            agent, path = ascii(agent)[1:-1], ascii(path)[1:-1].replace(" ", "%20")
            when = now.strftime("%Y-%m-%dT%H:%M:%SZ")
            line = f'{when} {client} {scope["method"]} {path} {status} {sent} {seconds * 1000:.1f}ms "{agent}"'
        self._stream.write(f"{line}\n")
        self._stream.flush()


def open_log(path: Path | None) -> TextIO:
    """The stream that a request log goes to: a file, appended to, or stderr. A new file is its operator's alone."""
    if path is None:
        return sys.stderr
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY, 0o600)
    return os.fdopen(descriptor, "a", encoding="utf-8", newline="\n")


def _text(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    body = text if text.endswith("\n") else text + "\n"
    return PlainTextResponse(
        body, status, {"cache-control": "no-store", "x-content-type-options": "nosniff"} | (headers or {})
    )


def _not_found(text: str = "there is nothing here\n") -> Response:
    return _text(404, text)


def _caching(etag: str, cache: str) -> dict[str, str]:
    return {"etag": f'"{etag}"', "cache-control": cache, "x-content-type-options": "nosniff"}


def _matches(if_none_match: str | None, sha256: str) -> bool:
    """Whether the client has these bytes already, compressed or not (RFC 9110, 13.1.2)."""
    if if_none_match is None:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return not tags.isdisjoint(("*", f'"{sha256}"', f'"{sha256}-gzip"'))


def _accepts_gzip(accept: str) -> bool:
    for part in accept.lower().split(","):
        coding, _, rest = part.partition(";")
        if coding.strip() in ("gzip", "*"):
            return rest.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _media_type(path: str) -> str:
    if path.endswith(".crate"):
        return "application/gzip"
    return "application/json" if path.endswith(".json") else "text/plain; charset=utf-8"
