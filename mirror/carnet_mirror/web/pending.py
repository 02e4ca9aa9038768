"""HTTP: what waits, for everybody: `GET /api/v1/carnet/pending`, the page `/pending`, and handing in a proposal.

Both lists come in parts, so that a long one costs each request no more than a short one. Proposals are posted to
`/api/v1/carnet/proposals`, taken as submissions are. What others wrote is escaped on the page, which allows no script.
"""

from __future__ import annotations

import html
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.types import ASGIApp

from carnet import strictjson, times
from carnet.claims.receipt import MAX_RECEIPT
from carnet.claims.submission import PENDING_PAGE, PENDING_PATH, PROPOSALS_PATH
from carnet.claims.waiting import Waiting
from carnet.errors import FormatError
from carnet.strictjson import Json, JsonObject
from carnet_mirror.state.disk import Disk
from carnet_mirror.state.pending import PendingEntry, PendingPlace
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.store import Store
from carnet_mirror.waiting import MAX_PROPOSAL, Public
from carnet_mirror.web.posted import Bounds, Posted
from carnet_mirror.web.senders import network_of
from carnet_mirror.web.tally import Tally

BOUNDS = Bounds(size=MAX_PROPOSAL, deadline=60.0, at_once=128, from_one=4, room=128 * MAX_PROPOSAL)
PAGE = 50
"""Entries of one part of a list."""
_KEPT = 64
"""Parts that are kept as they were made: those that were asked for last."""
_AFTER = re.compile(r"after=([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)\.([0-9a-f]{64})")
_LOOK_AGAIN = 2.0
"""Seconds for which a part is shown, unless something was written: what is over leaves it."""
_REST = 20
"""How many times as long as it took to make a part nobody makes it anew: a flood of claims is no flood of work."""


class Proposals(Posted):
    """Takes proposals, and leaves every other request to the application behind it.

    Args:
        app: Answers everything else.
        take: Judges a body that came from a network; runs in a thread. None on a mirror that signs nothing.
        bounds: What a body may cost.
        sender_header: As for `carnet_mirror.web.submissions.Submissions`.
        tally: Counts what is refused.
        disk: As for `carnet_mirror.web.posted.Posted`.
    """

    def __init__(
        self,
        app: ASGIApp,
        take: Callable[[bytes, str], Public] | None,
        bounds: Bounds = BOUNDS,
        *,
        sender_header: str | None = None,
        tally: Tally | None = None,
        disk: Disk | None = None,
    ) -> None:
        judged = None if take is None else lambda body, sender: _given(take(body, network_of(sender)))
        super().__init__(
            app,
            path=PROPOSALS_PATH,
            what="proposal",
            take=judged,
            bounds=bounds,
            sender_header=sender_header,
            tally=tally,
            disk=disk,
        )


def _given(public: Public) -> JsonObject:
    proposed, when = public.said.proposed, times.written(public.ends)
    detail = f"this {proposed.kind} of {proposed.crate} is public since {times.written(public.said.time)}, until {when}"
    return {"detail": detail, "digest": proposed.digest, "ends": when, "receipt": public.receipt.to_object()}


@dataclass(frozen=True, slots=True)
class _Made:
    """A page of the list as it was made last.

    Attributes:
        body: What is sent, and its media type.
        revision: Of the database, when it was made.
        rest: Until when it is not made anew, whatever is written.
        until: Until when it is shown, if nothing is written.
    """

    body: tuple[bytes, str]
    revision: int
    rest: float
    until: float


class PendingPages:
    """What waits, as JSON and as a page, in parts of `PAGE` entries.

    Args:
        store: Opened for reading.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._made: OrderedDict[tuple[str, str], _Made] = OrderedDict()

    def page(self, path: str, query: str = "") -> tuple[bytes, str] | None:
        """The body and the media type of one part of one of the two lists; None for any other path.

        Args:
            path: Of the request.
            query: Nothing for the first part, or `after=PLACE` for what comes behind an entry.

        Raises:
            FormatError: The query is another one.
        """
        if path not in (PENDING_PATH, PENDING_PAGE):
            return None
        begun = time.monotonic()
        made = self._made.get((path, query))
        if made is None or begun >= made.rest:
            revision = self._store.pending.revision()
            if made is None or revision != made.revision or begun >= made.until:
                made = self._make(path, query, revision, begun)
        self._made[path, query] = made
        self._made.move_to_end((path, query))
        while len(self._made) > _KEPT:
            self._made.popitem(last=False)
        return made.body

    def _make(self, path: str, query: str, revision: int, begun: float) -> _Made:
        found = list(self._listed(read_place(query)))
        following = found[PAGE - 1].place if len(found) > PAGE else None
        shown = [_shown(entry) for entry in found[:PAGE]]
        waiting = Waiting.of(UnverifiedView(self._store).root())
        if path == PENDING_PATH:
            body = _as_json(shown, waiting, following), "application/json"
        else:
            body = _as_page(shown, waiting, following), "text/html; charset=utf-8"
        ended = time.monotonic()
        rest = ended + _REST * (ended - begun)
        return _Made(body, revision, rest, max(ended + _LOOK_AGAIN, rest))

    def _listed(self, after: PendingPlace | None) -> Iterable[PendingEntry]:
        return self._store.pending.entries(datetime.now(UTC), after=after, most=PAGE + 1)


def read_place(query: str) -> PendingPlace | None:
    """The place in the list that a query names; None for its beginning.

    Raises:
        FormatError: It is no such query.
    """
    if not query:
        return None
    found = _AFTER.fullmatch(query)
    if found is None:
        raise FormatError("a part of what waits is asked for with after=PLACE, as `next` of the part before names it")
    return PendingPlace(*found.groups())


def _named(place: PendingPlace) -> str:
    return f"{place.asked}.{place.digest}"


def _shown(entry: PendingEntry) -> JsonObject:
    receipt = strictjson.parse_object(entry.receipt, "a receipt", max_bytes=MAX_RECEIPT)
    dropped: JsonObject = {}
    if entry.dropped is not None:
        dropped = {"dropped": {"time": times.written(entry.dropped.time), "reason": entry.dropped.reason}}
    return entry.said | {"asked": times.written(entry.asked), "receipt": receipt} | dropped


def _as_json(shown: Iterable[JsonObject], waiting: Waiting, following: PendingPlace | None) -> bytes:
    listed: list[Json] = list(shown)
    more = None if following is None else _named(following)
    return strictjson.encode({"ok": True, "pending": listed, "next": more} | waiting.to_object()) + b"\n"


def _as_page(shown: Iterable[JsonObject], waiting: Waiting, following: PendingPlace | None) -> bytes:
    rows = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in _cells(one))}</tr>\n" for one in shown)
    more = "" if following is None else f'<p><a href="?after={_named(following)}">later ones</a></p>\n'
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>What waits</title>\n'
        f"<p>A first claim is public for {waiting.claim} days and a takeover for {waiting.takeover} before it counts. "
        "Anybody can hand one in: nothing here is checked but its form. If one of these names is yours, tell the "
        "registry's holders now. What the operator dropped waits all the same.</p>\n"
        "<table><tr><th>crate</th><th>what</th><th>since</th><th>owners</th><th>release keys</th><th>in the place of"
        f"</th><th>sha256</th><th>dropped by the operator</th></tr>\n{rows}</table>\n{more}"
    ).encode()


def _cells(one: Any) -> Iterable[str]:
    yield from (one["crate"], one["kind"], one["asked"])
    for team in (one["owners"], one["releasers"], one["replaces"]):
        people = [] if team is None else [f"{name} ({keyid[:16]})" for keyid, name in team["people"].items()]
        yield f"{team['threshold']} of {', '.join(people)}" if people else ""
    yield one["digest"]
    yield f"{one['dropped']['time']}: {one['dropped']['reason']}" if "dropped" in one else ""
