"""A mirror's HTTP as a maintainer sees it: handing in a submission, and what the answer means.

It stands beside the server, `carnet_mirror.web.submissions`, because both speak one protocol (docs/formats.md,
"A submission"). The verifier does not need it: nothing that a mirror answers here is believed, and what was published
is seen by looking, as every client does.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from carnet import strictjson
from carnet.claims.submission import MEDIA_TYPE, PENDING_PATH, PROPOSALS_PATH, URL_PATH
from carnet.errors import CarnetError, FormatError, TransportError, VerificationError
from carnet_verifier.net.address import parse_url
from carnet_verifier.net.reasons import hint_for_status
from carnet_verifier.net.route import DIRECT, Network, Route
from carnet_verifier.net.wire import tls_context

if TYPE_CHECKING:
    import urllib3

_MAX_ANSWER = 16 * 1024 * 1024
_ASKS = (401, 403, 407)
"""Statuses by which a mirror, or a proxy before it, asks who one is."""
_WITHIN = 600.0
"""Seconds: the mirror checks everything, and publishes it, before it answers."""
_TRIES = 5
"""How often a mirror is asked that says that others are waiting."""
_MAX_PARTS = 10_000
"""Parts of the list of what waits: a million entries."""
_PLACE = re.compile(r"[0-9TZ:.a-f-]{1,100}")
_MAX_PAUSE = 30
"""Seconds until it is asked again, whatever it says."""


def submit(
    url: str, body: bytes, *, network: Network = DIRECT, pause: Callable[[float], None] = time.sleep
) -> dict[str, Any]:
    """Hand a submission to a mirror. Doing so twice is harmless.

    A mirror that says when to come back is asked again a few times.

    Args:
        url: The mirror's base URL.
        body: From `carnet.claims.submission`.
        network: How the mirror is reached, and as whom.
        pause: Waits so many seconds.

    Returns:
        What the mirror answered: `detail` in words, and a `receipt`.

    Raises:
        VerificationError: The mirror refused it; nothing was changed.
        TransportError: The mirror could not be reached, or could not decide.
    """
    return _ask("POST", url, URL_PATH, body, network, pause)


def propose(url: str, body: bytes, *, network: Network = DIRECT) -> dict[str, Any]:
    """Hand the drafts of a claim or a takeover to a mirror, for everybody to see. Doing so twice is harmless.

    Args:
        url: The mirror's base URL.
        body: From `carnet_signer.proposals.waiting.body`.
        network: How the mirror is reached, and as whom.

    Returns:
        What the mirror answered: `ends`, and the signed `receipt`, of which nothing is verified yet.

    Raises:
        VerificationError: The mirror refused it.
        TransportError: The mirror could not be reached, has no room, or could not decide.
    """
    return _ask("POST", url, PROPOSALS_PATH, body, network)


def pending(url: str, *, network: Network = DIRECT) -> Iterator[dict[str, Any]]:
    """Ask a mirror which claims and takeovers wait; nothing of the answers is believed.

    Args:
        url: The mirror's base URL.
        network: How the mirror is reached, and as whom.

    Yields:
        One part of the list after another.

    Raises:
        TransportError: The mirror could not be reached, or does not say, or never comes to an end.
    """
    after = ""
    for _ in range(_MAX_PARTS):
        answer = _ask("GET", url, f"{PENDING_PATH}?after={after}" if after else PENDING_PATH, None, network)
        yield answer
        following = answer.get("next")
        if following is None:
            return
        if not isinstance(following, str) or not _PLACE.fullmatch(following) or following <= after:
            break
        after = following
    raise TransportError(f"the list of what waits at {url} does not come to an end", hint="ask the mirror's operator")


def _ask(
    method: str,
    url: str,
    path: str,
    body: bytes | None,
    network: Network = DIRECT,
    pause: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    origin = parse_url(url, "mirror").origin
    route = network.route_to(origin)
    for left in reversed(range(_TRIES)):
        status, answer, come_back = _once(method, f"{url.rstrip('/')}/{path}", body, route)
        if status != 503 or come_back is None or not left:
            break
        pause(min(come_back, _MAX_PAUSE))
    if status == 200 and answer.get("ok") is True:
        return answer
    raise _refusal(status, answer, url, hint_for_status(status, origin, route) if status in _ASKS else "")


def _once(method: str, url: str, body: bytes | None, route: Route) -> tuple[int, dict[str, Any], int | None]:
    """Ask once: the status, the answer, and after how many seconds the mirror wants to be asked again."""
    import urllib3  # here: it costs tens of milliseconds, and preparing a submission needs none of it

    headers = {"accept": "application/json"} | ({} if body is None else {"content-type": MEDIA_TYPE})
    if route.identity is not None and route.identity.authorization:
        headers["authorization"] = route.identity.authorization
    with _pool(route, tls=url.startswith("https")) as pool:
        try:
            response = pool.request(
                method,
                url,
                body=body,
                headers=headers,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            data = response.read(_MAX_ANSWER + 1)
            status, later = response.status, response.headers.get("retry-after", "")
            response.release_conn()
        except urllib3.exceptions.HTTPError as error:
            again = "nothing is known about what became of it; submitting again is safe"
            raise TransportError(
                f"the mirror at {url} cannot be reached: {str(error)[:200]}", hint="" if body is None else again
            ) from None
    try:
        answer = dict(strictjson.parse_object(data, "the mirror's answer", max_bytes=_MAX_ANSWER))
    except FormatError:
        answer = {}
    return status, answer, int(later) if re.fullmatch("[0-9]{1,6}", later) else None


def _pool(route: Route, *, tls: bool) -> urllib3.PoolManager:
    """Connections that take a route.

    Args:
        route: From here to the mirror.
        tls: Whether TLS is spoken there.

    Raises:
        ConfigError: A file of the route cannot be used.
    """
    import urllib3

    common: dict[str, Any] = {
        "retries": False,
        "timeout": urllib3.Timeout(connect=15.0, total=_WITHIN),
    }
    if tls:
        common["ssl_context"] = tls_context(route)
    if route.proxy is None:
        return urllib3.PoolManager(**common)
    named = {"proxy-authorization": route.proxy.authorization} if route.proxy.authorization else None
    return urllib3.ProxyManager(route.proxy.origin.url, proxy_headers=named, **common)


def _refusal(status: int, answer: Any, url: str, way_on: str = "") -> CarnetError:
    match answer:
        case {"errors": [{"detail": str(detail), **more}, *_]}:
            hint = more.get("hint")
        case _:
            detail, hint = f"it answered with status {status}", None
    text = f"the mirror at {url} did not take it: {detail[:500]}"
    hint = hint[:500] if isinstance(hint, str) else ""
    if status in (400, 409, 413, 422):
        return VerificationError(text, hint=hint)
    return TransportError(text, hint=hint or way_on or "submitting again is safe", status=status)
