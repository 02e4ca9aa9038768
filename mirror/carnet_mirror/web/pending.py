"""HTTP: what waits, for everybody: `GET /api/v1/carnet/pending`, the page `/pending`, and handing in a proposal.

Proposals are posted to `/api/v1/carnet/proposals`, taken as submissions are. What others wrote is escaped on the page,
which allows no script.
"""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from starlette.types import ASGIApp

from carnet import strictjson, times
from carnet.claims.receipt import SignedReceipt
from carnet.claims.submission import PENDING_PAGE, PENDING_PATH, PROPOSALS_PATH
from carnet.claims.waiting import Waiting
from carnet.strictjson import Json, JsonObject
from carnet_mirror.state.pending import PendingEntry
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.store import Store
from carnet_mirror.waiting import MAX_PROPOSAL, Public
from carnet_mirror.web.posted import Bounds, Posted
from carnet_mirror.web.senders import network_of

BOUNDS = Bounds(size=MAX_PROPOSAL, deadline=60.0, at_once=128, from_one=4, room=128 * MAX_PROPOSAL)
_LOOK_AGAIN = 2.0
"""Seconds for which a list is shown, unless something was written: what is over leaves it."""
_REST = 20
"""How many times as long as it took to make a list nobody makes it anew: a flood of claims is no flood of work."""


class Proposals(Posted):
    """Takes proposals, and leaves every other request to the application behind it.

    Args:
        app: Answers everything else.
        take: Judges a body that came from a network; runs in a thread. None on a mirror that signs nothing.
        bounds: What a body may cost.
        sender_header: As for `carnet_mirror.web.submissions.Submissions`.
    """

    def __init__(
        self,
        app: ASGIApp,
        take: Callable[[bytes, str], Public] | None,
        bounds: Bounds = BOUNDS,
        *,
        sender_header: str | None = None,
    ) -> None:
        judged = None if take is None else lambda body, sender: _given(take(body, network_of(sender)))
        super().__init__(
            app, path=PROPOSALS_PATH, what="proposal", take=judged, bounds=bounds, sender_header=sender_header
        )


def _given(public: Public) -> JsonObject:
    proposed, when = public.said.proposed, times.written(public.ends)
    detail = f"this {proposed.kind} of {proposed.crate} is public since {times.written(public.said.time)}, until {when}"
    return {"detail": detail, "digest": proposed.digest, "ends": when, "receipt": public.receipt.to_object()}


class PendingPages:
    """What waits, as JSON and as a page.

    Args:
        store: Opened for reading.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rest = self._until = 0.0
        self._revision = -1
        self._pages: dict[str, tuple[bytes, str]] = {}

    def page(self, path: str) -> tuple[bytes, str] | None:
        """The body and the media type of one of the two pages; None for any other path."""
        if path not in (PENDING_PATH, PENDING_PAGE):
            return None
        begun = time.monotonic()
        revision = self._store.pending.revision() if begun >= self._rest else self._revision
        if revision != self._revision or begun >= self._until:
            self._revision = revision
            shown = [_shown(entry) for entry in self._listed()]
            waiting = Waiting.of(UnverifiedView(self._store).root())
            self._pages = {
                PENDING_PATH: (_as_json(shown, waiting), "application/json"),
                PENDING_PAGE: (_as_page(shown, waiting), "text/html; charset=utf-8"),
            }
            ended = time.monotonic()
            self._rest = ended + _REST * (ended - begun)
            self._until = max(ended + _LOOK_AGAIN, self._rest)
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
