"""HTTP for whoever watches: `/health`, `/ready` and `/metrics`. Nothing in them is signed, and no client asks for them.

They are not for the public: they tell how busy a mirror is, and cost more than a file. On the mirror's own port they
are answered to this machine alone, and not where a proxy stands before it, because to a proxy on the same machine
everybody would be this machine. On a port of their own whoever reaches that port is answered.
"""

from __future__ import annotations

from datetime import datetime
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from carnet import VERSION, strictjson, times
from carnet.errors import CarnetError, ConfigError
from carnet.strictjson import Json, JsonObject
from carnet_mirror import log
from carnet_mirror.schedule import STAGES, Expiry
from carnet_mirror.web.tally import Tally
from carnet_mirror.web.watch import Watch

_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_OF_PROXIES = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
_MOST_TOLD = 100
"""Roles that `/health` names; there may be thousands of claimed crates."""


class Watching:
    """Answers the three paths, and leaves every other request to the application behind it.

    Args:
        watch: Looks at the mirror.
        tally: What the server counted.
        app: Answers everything else; None on a port of its own.
        near: Whether only this machine is answered, without a proxy between.
    """

    def __init__(self, watch: Watch, tally: Tally, app: ASGIApp | None = None, *, near: bool = False) -> None:
        self._watch = watch
        self._tally = tally
        self._app = app
        self._near = near
        self._answers = {"/health": self._health, "/ready": self._ready, "/metrics": self._metrics}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        answer = self._answers.get(scope["path"])
        if answer is None or (self._near and not _is_near(scope)):
            behind = self._app or PlainTextResponse("there is nothing here\n", 404, _HEADERS)
            await behind(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if scope["method"] not in ("GET", "HEAD"):
            response = _text(405, "only GET and HEAD")
            response.headers["allow"] = "GET, HEAD"
        elif headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
            response = _text(413, "a request without a body, please")
            response.headers["connection"] = "close"
        else:
            response = await answer()
        await response(scope, receive, send)

    async def _ready(self) -> Response:
        reason = await self._watch.unready()
        return _text(200, "ready") if reason is None else _text(503, reason)

    async def _health(self) -> Response:
        """Who is answered is alive; what else may be wrong is told, and is no reason to start a process anew."""
        watch, now = self._watch, self._watch.now()
        said: JsonObject = {"version": VERSION, "time": times.written(now)}
        problems: list[Json] = []
        try:
            published, contents = await watch.published(), await watch.contents()
            said["published"] = {"timestamp": published.timestamp, "snapshot": published.snapshot[0]}
            ends = [one for one in (*published.roles, *contents.claims) if one.warning(now)]
            said["ends"] = [_ending(one, now) for one in ends[:_MOST_TOLD]]
            said["ends_in_all"] = len(ends)
            said["clock"] = None if published.clock is None else str(published.clock)
            problems += [f"{one.role} has ended" for one in published.ended(now)]
            problems += ["the clock cannot be right"] if published.clock is not None else []
            full = watch.disk.shortage() is not None
            said["disk"] = {
                "free_bytes": watch.disk.free(),
                "reserve_bytes": watch.disk.rules.reserve,
                "intake": "paused" if full else "open",
            }
            problems += ["the disk is full: nothing is taken in"] if full else []
        except CarnetError as error:
            log.error(f"/health: {error}")
            problems.append("the mirror cannot be read; its log says more")
        said["problems"] = problems
        said["status"] = "failing" if problems else "ending" if said["ends"] else "good"
        return Response(strictjson.encode(said) + b"\n", 200, _HEADERS, "application/json")

    async def _metrics(self) -> Response:
        try:
            # 0.1 s and more, once, and many mirrors are never asked.
            from carnet_mirror.web import metrics
        except ConfigError as error:
            return _text(501, str(error))
        return Response(await metrics.exposed(self._watch, self._tally), 200, _HEADERS, metrics.MEDIA_TYPE)


def _ending(one: Expiry, now: datetime) -> JsonObject:
    return {
        "role": one.role,
        "version": one.version,
        "expires": times.written(one.expires),
        "within_days": min(stage.days for stage in STAGES if one.expires - now <= stage or stage == STAGES[0]),
        "online": one.online,
        "warning": one.warning(now),
    }


def _is_near(scope: Scope) -> bool:
    """Whether a request was made on this machine, and by nobody who passes on those of others."""
    headers = Headers(scope=scope)
    client = scope.get("client")
    try:
        address = ip_address(client[0] if client else "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback and not any(name in headers for name in _OF_PROXIES)


def _text(status: int, text: str) -> Response:
    return PlainTextResponse(text + "\n", status, _HEADERS)
