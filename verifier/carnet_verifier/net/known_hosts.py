"""The hosts that a server of ours answers for: a web page whose name was bound to this address anew reads nothing."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

# Nothing that one reader takes for a part of the name and another does not: no user, path or blank.
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9A-Za-z._-]+))(?::[0-9]{0,5})?")

LOOPBACK = ("127.0.0.1", "localhost", "::1")

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]

_TEXT = b"this server does not answer for that host; its operator names the hosts that it answers for\n"
_HEADERS = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close"), (b"cache-control", b"no-store")]


class KnownHosts:
    """Refuses requests for any other host (421, RFC 9110, 15.5.20), and leaves the others to the application behind.

    A browser says in `Host` whose page asks, also where a name leads to loopback all of a sudden.

    Args:
        app: Answers the others.
        hosts: Names and addresses beside those of loopback; ports do not matter.
    """

    def __init__(self, app: App, hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._hosts = frozenset(host.lower().strip("[]") for host in (*LOOPBACK, *hosts))

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        if scope["type"] != "http" or self._is_known(scope):
            await self._app(scope, receive, send)
            return
        length = (b"content-length", str(len(_TEXT)).encode())
        await send({"type": "http.response.start", "status": 421, "headers": [*_HEADERS, length]})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else _TEXT})

    def _is_known(self, scope: Scope) -> bool:
        named = [value for name, value in scope["headers"] if name == b"host"]
        return len(named) == 1 and _host(named[0].decode("latin-1")) in self._hosts


def _host(authority: str) -> str | None:
    """The host of a `Host` header (RFC 9110, 7.2), without its port and brackets; None where it is anything else."""
    found = _AUTHORITY.fullmatch(authority)
    return (found[1] or found[2]).lower() if found is not None else None
