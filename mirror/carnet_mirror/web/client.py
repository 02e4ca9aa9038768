"""A mirror's HTTP as a maintainer sees it: handing in a submission, and what the answer means.

It stands beside the server, `carnet_mirror.web.submissions`, because both speak one protocol (docs/formats.md,
"A submission"). The verifier does not need it: nothing that a mirror answers here is believed, and what was published
is seen by looking, as every client does.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from carnet import strictjson
from carnet.claims.submission import MEDIA_TYPE, PENDING_PATH, PROPOSALS_PATH, URL_PATH
from carnet.errors import CarnetError, FormatError, TransportError, VerificationError

_MAX_ANSWER = 16 * 1024 * 1024
_WITHIN = 600.0
"""Seconds: the mirror checks everything, and publishes it, before it answers."""
_TRIES = 5
"""How often a mirror is asked that says that others are waiting."""
_MAX_PARTS = 10_000
"""Parts of the list of what waits: a million entries."""
_PLACE = re.compile(r"[0-9TZ:.a-f-]{1,100}")
_MAX_PAUSE = 30
"""Seconds until it is asked again, whatever it says."""


def submit(url: str, body: bytes, *, pause: Callable[[float], None] = time.sleep) -> dict[str, Any]:
    """Hand a submission to a mirror. Doing so twice is harmless.

    A mirror that says when to come back is asked again a few times.

    Args:
        url: The mirror's base URL.
        body: From `carnet.claims.submission`.
        pause: Waits so many seconds.

    Returns:
        What the mirror answered: `detail` in words, and a `receipt`.

    Raises:
        VerificationError: The mirror refused it; nothing was changed.
        TransportError: The mirror could not be reached, or could not decide.
    """
    return _ask("POST", url, URL_PATH, body, pause)


def propose(url: str, body: bytes) -> dict[str, Any]:
    """Hand the drafts of a claim or a takeover to a mirror, for everybody to see. Doing so twice is harmless.

    Args:
        url: The mirror's base URL.
        body: From `carnet_signer.proposals.waiting.body`.

    Returns:
        What the mirror answered: `ends`, and the signed `receipt`, of which nothing is verified yet.

    Raises:
        VerificationError: The mirror refused it.
        TransportError: The mirror could not be reached, has no room, or could not decide.
    """
    return _ask("POST", url, PROPOSALS_PATH, body)


def pending(url: str) -> Iterator[dict[str, Any]]:
    """Ask a mirror which claims and takeovers wait; nothing of the answers is believed.

    Yields:
        One part of the list after another.

    Raises:
        TransportError: The mirror could not be reached, or does not say, or never comes to an end.
    """
    after = ""
    for _ in range(_MAX_PARTS):
        answer = _ask("GET", url, f"{PENDING_PATH}?after={after}" if after else PENDING_PATH, None)
        yield answer
        following = answer.get("next")
        if following is None:
            return
        if not isinstance(following, str) or not _PLACE.fullmatch(following) or following <= after:
            break
        after = following
    raise TransportError(f"the list of what waits at {url} does not come to an end", hint="ask the mirror's operator")


def _ask(
    method: str, url: str, path: str, body: bytes | None, pause: Callable[[float], None] = time.sleep
) -> dict[str, Any]:
    for left in reversed(range(_TRIES)):
        status, answer, come_back = _once(method, url, path, body)
        if status != 503 or come_back is None or not left:
            break
        pause(min(come_back, _MAX_PAUSE))
    if status == 200 and answer.get("ok") is True:
        return answer
    raise _refusal(status, answer, url)


def _once(method: str, url: str, path: str, body: bytes | None) -> tuple[int, dict[str, Any], int | None]:
    """Ask once: the status, the answer, and after how many seconds the mirror wants to be asked again."""
    import urllib3  # here: it costs tens of milliseconds, and preparing a submission needs none of it

    timeout = urllib3.Timeout(connect=15.0, total=_WITHIN)
    headers = {"accept": "application/json"} | ({} if body is None else {"content-type": MEDIA_TYPE})
    with urllib3.PoolManager(retries=False, timeout=timeout) as pool:
        try:
            response = pool.request(
                method,
                f"{url.rstrip('/')}/{path}",
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


def _refusal(status: int, answer: Any, url: str) -> CarnetError:
    match answer:
        case {"errors": [{"detail": str(detail), **more}, *_]}:
            hint = more.get("hint")
        case _:
            detail, hint = f"it answered with status {status}", None
    text = f"the mirror at {url} did not take it: {detail[:500]}"
    hint = hint[:500] if isinstance(hint, str) else ""
    if status in (400, 409, 413, 422):
        return VerificationError(text, hint=hint)
    return TransportError(text, hint=hint or "submitting again is safe", status=status)
