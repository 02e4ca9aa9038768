"""HTTP: bodies that strangers post, taken within bounds and judged one at a time.

The server underneath cuts neither slow nor large bodies, so both are cut here; large ones wait on the disk. Places are
for those who send (`carnet_mirror.web.senders`). What arrived is judged in a thread of its own, one at a time and of
several networks each in turn, while the mirror goes on serving. Answers are one line of JSON, errors in the form that
cargo reads: `{"errors":[{"detail":"...","hint":"..."}]}`.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from carnet import strictjson
from carnet.errors import (
    CarnetError,
    FormatError,
    NoRoom,
    OpinionsDiffer,
    RollbackDetected,
    SigningError,
    StorageError,
    TransportError,
    VerificationError,
)
from carnet.strictjson import JsonObject
from carnet_mirror import log
from carnet_mirror.state.disk import FULL, Disk
from carnet_mirror.web.senders import Arrival, Full, Senders, Turns, sender_of
from carnet_mirror.web.tally import Tally


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one body may cost before anything about it is known.

    Attributes:
        size: Bytes of a body.
        deadline: Seconds for the body to arrive.
        least_rate: Bytes a second, on average after `grace` seconds.
        grace: Seconds before the least rate counts.
        at_once: Bodies that are received or wait to be judged.
        from_one: Those of one sender. Who finds all places taken gets one of the network that has the most, or that of
            somebody who hardly sends, or is asked to come back.
        room: Bytes of all bodies that wait on the disk; one sender has a quarter of it.
    """

    size: int
    deadline: float = 300.0
    least_rate: int = 16 * 1024
    grace: float = 10.0
    at_once: int = 512
    from_one: int = 32
    room: int = 4 * 1024**3


_Spool = tempfile.SpooledTemporaryFile[bytes]
_IN_MEMORY = 64 * 1024
"""Bytes of one body that are kept in memory; what is larger waits on the disk until it is judged."""
_COME_BACK = {"connection": "close", "retry-after": "2"}


class NotTaken(Exception):  # noqa: N818  -- an answer on its way out, not an error
    """What is posted is not taken: the status, the reason in words, and more headers of the answer."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers


class Posted:
    """Takes what is posted to one path, and leaves every other request to the application behind it.

    Args:
        app: Answers everything else.
        path: The path, without the slash at its beginning.
        what: What to call a body in answers: `submission`.
        take: Judges a body, given with its sender (`carnet_mirror.web.senders.sender_of`), and answers, with an object
            or a whole response; may raise `NotTaken`. Runs in a thread, never twice at a time. None on a mirror that
            takes nothing.
        bounds: What a body may cost.
        sender_header: The header in which a proxy before this server says who asks; None when there is no proxy.
        tally: Counts what is refused, and is told how much waits.
        disk: The mirror's: nothing is received while it is full. None where nobody looks.
    """

    def __init__(  # noqa: PLR0913  -- what is taken, who judges it, and within what
        self,
        app: ASGIApp,
        *,
        path: str,
        what: str,
        take: Callable[[bytes, str], JsonObject | Response] | None,
        bounds: Bounds,
        sender_header: str | None = None,
        tally: Tally | None = None,
        disk: Disk | None = None,
    ) -> None:
        self._app = app
        self._path = f"/{path}"
        self._what = what
        self._take = take
        self._bounds = bounds
        self._sender_header = sender_header
        self._disk = disk
        self._on_disk = 0
        self._turns = Turns()
        self._senders = Senders(
            at_once=self._bounds.at_once, from_one=self._bounds.from_one, least_rate=self._bounds.least_rate
        )
        self._tally = tally or Tally()
        self._tally.waiting[what] = self._senders.__len__

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] != self._path:
            await self._app(scope, receive, send)
            return
        try:
            response = await self._answer(scope, receive)
        except NotTaken as refused:
            self._tally.refused(self._what, f"status-{refused.status}")
            response = _json(refused.status, {"errors": [{"detail": str(refused)}]}, refused.headers)
        except CarnetError as error:
            self._tally.refused(self._what, error.kind)
            response = _error(error, self._what)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        if scope["method"] != "POST":
            raise NotTaken(405, f"{self._what}s are posted", allow="POST")
        if self._take is None:
            raise NotTaken(503, "this mirror is read-only")
        take = self._take
        length = self._length(Headers(scope=scope))
        self._require_room()
        sender = sender_of(scope, self._sender_header)
        place: Arrival | None = None
        try:
            async with asyncio.timeout(self._bounds.deadline) as until:
                with (
                    self._senders.place(sender, until) as place,
                    tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY, prefix="carnet-posted-") as spool,
                ):
                    try:
                        await self._read(length, receive, spool, place)
                        self._all_there(place, until)
                        async with self._turns.turn(place.network):
                            self._judged(place)
                            answer = await asyncio.to_thread(lambda: take(_all_of(spool), sender))
                    finally:
                        self._on_disk -= place.received
        except Full:
            raise NotTaken(503, f"several {self._what}s are waiting", **_COME_BACK) from None
        except TimeoutError:
            if place is not None and place.taken_away:
                detail = (
                    f"others are waiting, and this {self._what} hardly arrives, or many of its network wait already"
                )
                raise NotTaken(503, detail, **_COME_BACK) from None
            raise NotTaken(408, f"the {self._what} did not arrive in time", connection="close") from None
        return answer if isinstance(answer, Response) else _json(200, {"ok": True} | answer)

    @staticmethod
    def _all_there(place: Arrival, until: asyncio.Timeout) -> None:
        """Whoever has sent all of it waits for a turn, without a deadline."""
        if place.taken_away:
            raise TimeoutError
        place.arriving = False
        until.reschedule(None)

    @staticmethod
    def _judged(place: Arrival) -> None:
        """From here on nobody takes the place away: a thread that judges cannot be ended."""
        if place.taken_away:
            raise TimeoutError
        place.judged = True

    def _length(self, headers: Headers) -> int:
        length = headers.get("content-length", "")
        if not length.isascii() or not length.isdigit() or "transfer-encoding" in headers:
            raise NotTaken(411, f"a {self._what} needs a content-length", connection="close")
        digits = length.lstrip("0") or "0"  # zeros in front are allowed, and as many digits as fit into a header
        if len(digits) > 18 or int(digits) > self._bounds.size:
            raise NotTaken(413, f"a {self._what} has at most {self._bounds.size} bytes", connection="close")
        return int(digits)

    def _require_room(self) -> None:
        if self._disk is not None:
            self._disk.require()

    async def _read(self, length: int, receive: Receive, spool: _Spool, place: Arrival) -> None:
        while True:
            elapsed = time.monotonic() - place.started
            wait = self._bounds.grace + place.received / self._bounds.least_rate - elapsed
            async with asyncio.timeout(max(wait, 0)):
                message = await receive()
            if message["type"] == "http.disconnect":
                raise NotTaken(400, f"the {self._what} was cut off", connection="close")
            data = message.get("body", b"")
            place.received += len(data)
            self._on_disk += len(data)
            if place.received > length:
                raise NotTaken(400, f"the {self._what} is longer than its content-length", connection="close")
            room = self._bounds.room
            if self._on_disk > room or self._senders.held(place.sender) > max(room // 4, self._bounds.size):
                raise NotTaken(503, f"there is no room for more {self._what}s", **_COME_BACK)
            self._require_room()  # bodies that wait may lie on the mirror's own disk
            _keep(spool, data)
            if not message.get("more_body", False):
                break
        if place.received != length:
            raise NotTaken(400, f"the {self._what} was cut off", connection="close")


def _keep(spool: _Spool, data: bytes) -> None:
    try:
        spool.write(data)
    except OSError as error:
        raise StorageError(f"what is posted cannot be kept while it arrives: {error.strerror}") from None


def _all_of(spool: _Spool) -> bytes:
    try:
        spool.seek(0)
        return spool.read()
    except OSError as error:
        raise StorageError(f"what was posted cannot be read back: {error.strerror}") from None


def _error(error: CarnetError, what: str) -> Response:
    if isinstance(error, RollbackDetected):
        status = 409
    elif isinstance(error, FormatError):
        status = 400
    elif isinstance(error, VerificationError):
        status = 422
    elif isinstance(error, OpinionsDiffer):
        # Whoever submitted it may be the one who found it: both are told, and only the operator can look further.
        log.alarm(f"a {what} was not published: {error}")
        status = 500
    elif isinstance(error, NoRoom):
        # The operator is told when it begins, and not by everybody who asks.
        return _json(507, {"errors": [{"detail": FULL}]}, {"connection": "close"})
    else:
        # What failed here is the operator's to know and to mend.
        log.error(f"a {what} was not decided: {error}")
        busy = isinstance(error, StorageError | SigningError | TransportError)
        return _json(
            503 if busy else 500, {"errors": [{"detail": "the mirror could not decide; its operator was told"}]}
        )
    entry: JsonObject = {"detail": str(error)}
    if error.hint:
        entry["hint"] = error.hint
    return _json(status, {"errors": [entry]})


def _json(status: int, value: JsonObject, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        strictjson.encode(value) + b"\n",
        status,
        {"cache-control": "no-store", "x-content-type-options": "nosniff"} | dict(headers or {}),
        "application/json",
    )
