"""HTTP: what waits, for everybody: `GET /api/v1/carnet/pending`, the page `/pending`, and handing in a proposal.

Proposals are posted to `/api/v1/carnet/proposals`. They are small, kept in memory, and cut when they do not arrive: a
sender of nothing holds one of a few places for seconds. What others wrote is escaped on the page, which allows no
script.
"""

from __future__ import annotations

import asyncio
import html
import ipaddress
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from carnet import strictjson, times
from carnet.claims.receipt import SignedReceipt
from carnet.claims.submission import PENDING_PAGE, PENDING_PATH, PROPOSALS_PATH
from carnet.claims.waiting import Waiting
from carnet.errors import CarnetError
from carnet.strictjson import Json, JsonObject
from carnet_mirror.state.pending import PendingEntry
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.store import Store
from carnet_mirror.waiting import MAX_PROPOSAL, Public
from carnet_mirror.web.submissions import error_response, json_response

_WITHIN = 20.0
"""Seconds for a proposal to arrive."""
_AT_ONCE = 8
"""Proposals that arrive or are judged at once; of these one network has at most half."""
_LOOK_AGAIN = 2.0
"""Seconds for which a list is shown before the table is read again."""


class Proposals:
    """Takes proposals, and leaves every other request to the application behind it.

    Args:
        app: Answers everything else.
        take: Judges a body that came from a network; runs in a thread. None on a mirror that signs nothing.
    """

    def __init__(self, app: ASGIApp, take: Callable[[bytes, str], Public] | None) -> None:
        self._app = app
        self._take = take
        self._busy: list[str] = []
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] != f"/{PROPOSALS_PATH}":
            await self._app(scope, receive, send)
            return
        try:
            response = await self._answer(scope, receive)
        except CarnetError as error:
            response = error_response(error)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        if scope["method"] != "POST":
            return _refused(405, "proposals are posted", allow="POST")
        if self._take is None:
            return _refused(503, "this mirror is read-only")
        length, source = Headers(scope=scope).get("content-length", ""), network_of(scope)
        if not (length.isascii() and length.isdigit() and len(length) <= 9):
            return _refused(411, "a proposal needs a content-length", connection="close")
        if int(length) > MAX_PROPOSAL:
            return _refused(413, f"a proposal has at most {MAX_PROPOSAL} bytes", connection="close")
        if len(self._busy) >= _AT_ONCE or self._busy.count(source) >= _AT_ONCE // 2:
            return _refused(503, "several proposals are waiting", connection="close", **{"retry-after": "5"})
        take = self._take
        self._busy.append(source)
        try:
            async with asyncio.timeout(_WITHIN):
                body = await _body(receive, int(length))
            if body is None:
                return _refused(400, "the proposal has another length than it said", connection="close")
            async with self._one_at_a_time:
                public = await asyncio.to_thread(take, body, source)
        except TimeoutError:
            return _refused(408, "the proposal did not arrive in time", connection="close")
        finally:
            self._busy.remove(source)
        return json_response(200, {"ok": True} | _given(public))


async def _body(receive: Receive, length: int) -> bytes | None:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > length:
            return None
        if not message.get("more_body", False):
            return bytes(body) if len(body) == length else None


def network_of(scope: Scope) -> str:
    """The network that a request comes from: 24 bits of an IPv4 address, 48 of an IPv6 address."""
    try:
        address = ipaddress.ip_address((scope.get("client") or ("", 0))[0])
    except ValueError:
        return "unknown"
    mapped = getattr(address, "ipv4_mapped", None) or address
    return str(ipaddress.ip_network((mapped, 24 if mapped.version == 4 else 48), strict=False))


def _given(public: Public) -> JsonObject:
    proposed, when = public.said.proposed, times.written(public.ends)
    detail = f"this {proposed.kind} of {proposed.crate} is public since {times.written(public.said.time)}, until {when}"
    return {"detail": detail, "digest": proposed.digest, "ends": when, "receipt": public.receipt.to_object()}


def _refused(status: int, detail: str, **headers: str) -> Response:
    return json_response(status, {"errors": [{"detail": detail}]}, headers)


class PendingPages:
    """What waits, as JSON and as a page.

    Args:
        store: Opened for reading.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._until = 0.0
        self._pages: dict[str, tuple[bytes, str]] = {}

    def page(self, path: str) -> tuple[bytes, str] | None:
        """The body and the media type of one of the two pages; None for any other path."""
        if path not in (PENDING_PATH, PENDING_PAGE):
            return None
        if time.monotonic() >= self._until:
            shown = [_shown(entry) for entry in self._listed()]
            waiting = Waiting.of(UnverifiedView(self._store).root())
            self._pages = {
                PENDING_PATH: (_as_json(shown, waiting), "application/json"),
                PENDING_PAGE: (_as_page(shown, waiting), "text/html; charset=utf-8"),
            }
            self._until = time.monotonic() + _LOOK_AGAIN
        return self._pages[path]

    def _listed(self) -> Iterable[PendingEntry]:
        return self._store.pending.entries(datetime.now(UTC))


def _shown(entry: PendingEntry) -> JsonObject:
    receipt = SignedReceipt.from_bytes(entry.receipt).to_object()
    return entry.said | {"asked": times.written(entry.asked), "receipt": receipt}


def _as_json(shown: Iterable[JsonObject], waiting: Waiting) -> bytes:
    listed: list[Json] = list(shown)
    return strictjson.encode({"ok": True, "pending": listed} | waiting.to_object()) + b"\n"


def _as_page(shown: Iterable[JsonObject], waiting: Waiting) -> bytes:
    rows = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in _cells(one))}</tr>\n" for one in shown)
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>What waits</title>\n'
        f"<p>A first claim is public for {waiting.claim} days and a takeover for {waiting.takeover} before it counts. "
        "Anybody can hand one in: nothing here is checked but its form. If one of these names is yours, tell the "
        "registry's holders now.</p>\n"
        "<table><tr><th>crate</th><th>what</th><th>since</th><th>owners</th><th>release keys</th><th>in the place of"
        f"</th><th>sha256</th></tr>\n{rows}</table>\n"
    ).encode()


def _cells(one: Any) -> Iterable[str]:
    yield from (one["crate"], one["kind"], one["asked"])
    for team in (one["owners"], one["releasers"], one["replaces"]):
        people = [] if team is None else [f"{name} ({keyid[:16]})" for keyid, name in team["people"].items()]
        yield f"{team['threshold']} of {', '.join(people)}" if people else ""
    yield one["digest"]
