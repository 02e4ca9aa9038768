"""Receiving submissions over HTTP: bounds, deadlines, one line of JSON whatever happens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from carnet.claims.submission import URL_PATH
from carnet.errors import FormatError, OpinionsDiffer, PolicyRefused, RollbackDetected, StorageError
from carnet_mirror.intake import Receipt
from carnet_mirror.web.posted import Bounds
from carnet_mirror.web.submissions import BOUNDS, Submissions

RECEIPT = Receipt("demo", ("1.0.0",), (), (), {"crate.demo": 2}, 7)
QUICK = Bounds(size=100, deadline=0.5, least_rate=1000, grace=0.1, at_once=1)


async def behind(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": b"behind"})


def ask(
    app: Submissions,
    chunks: Iterable[bytes | float] = (b"x" * 10,),
    *,
    method: str = "POST",
    path: str = f"/{URL_PATH}",
    headers: dict[str, str] | None = None,
) -> tuple[int, Any]:
    """One request; a number among the chunks is a pause in seconds."""
    return asyncio.run(_ask(app, chunks, method, path, headers))


async def _ask(
    app: Submissions, chunks: Iterable[bytes | float], method: str, path: str, headers: dict[str, str] | None
) -> tuple[int, Any]:
    left = list(chunks)
    length = sum(len(chunk) for chunk in left if isinstance(chunk, bytes))
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        while left and isinstance(left[0], float):
            await asyncio.sleep(left.pop(0))  # type: ignore[arg-type]
        if not left:
            return {"type": "http.disconnect"}
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    async def send(message: Any) -> None:
        sent.append(message)

    found = {"content-length": str(length)} if headers is None else headers
    raw = [(name.encode(), value.encode()) for name, value in found.items()]
    await app({"type": "http", "method": method, "path": path, "headers": raw}, receive, send)
    body = sent[1]["body"]
    assert body.count(b"\n") == (0 if body == b"behind" else 1)
    return sent[0]["status"], body if body == b"behind" else json.loads(body)


def taking(result: Receipt | Exception = RECEIPT) -> Callable[[bytes], Receipt]:
    def take(body: bytes) -> Receipt:
        if isinstance(result, Exception):
            raise result
        return result

    return take


def test_a_submission_is_taken_and_answered() -> None:
    seen: list[bytes] = []

    def take(body: bytes) -> Receipt:
        seen.append(body)
        return RECEIPT

    status, answer = ask(Submissions(behind, take), [b"abc", b"def"])
    assert (status, seen) == (200, [b"abcdef"])
    assert answer["ok"] is True
    assert answer["receipt"]["snapshot"] == 7
    assert "in snapshot 7" in answer["detail"]


def test_everything_else_goes_behind() -> None:
    assert ask(Submissions(behind, taking()), method="GET", path="/metadata/timestamp.json") == (299, b"behind")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (FormatError("not a submission", hint="make one"), 400),
        (PolicyRefused("too little"), 422),
        (RollbackDetected("someone was faster"), 409),
    ],
)
def test_a_refusal_is_told_in_cargos_form(error: Exception, status: int) -> None:
    found, answer = ask(Submissions(behind, taking(error)))
    assert found == status
    assert answer["errors"][0]["detail"] == str(error)


def test_what_failed_here_is_not_told_to_strangers(capsys: pytest.CaptureFixture[str]) -> None:
    status, answer = ask(Submissions(behind, taking(StorageError("/srv/secret: disk on fire"))))
    assert status == 503
    assert "secret" not in json.dumps(answer)
    assert "disk on fire" in capsys.readouterr().err


def test_a_disagreement_alarms_the_operator_and_is_told_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    """It is about what was submitted, not about the mirror: whoever submitted it can look at the file."""
    error = OpinionsDiffer("metadata/2.crate.demo.json", "signatures", ours="fine", theirs="0/2 keys", library="a test")
    status, answer = ask(Submissions(behind, taking(error)))
    assert status == 500
    assert (
        answer["errors"][0]["detail"]
        == "metadata/2.crate.demo.json: signatures: carnet says fine; a test says 0/2 keys"
    )
    assert "keep the file" in answer["errors"][0]["hint"]
    said = capsys.readouterr().err
    assert said.startswith("alarm: a submission was not published: metadata/2.crate.demo.json")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("chunks", "options", "status"),
    [
        pytest.param([b"x" * 101], {}, 413, id="too large"),
        pytest.param([b"x"], {"headers": {"content-length": "9" * 40}}, 413, id="an absurd length"),
        pytest.param([b"x"], {"headers": {}}, 411, id="no length"),
        pytest.param([b"x"], {"headers": {"content-length": "-1"}}, 411, id="a negative length"),
        pytest.param([b"x"], {"headers": {"content-length": "1", "transfer-encoding": "chunked"}}, 411, id="chunked"),
        pytest.param([b"x"], {"headers": {"content-length": "0" * 20 + "999"}}, 413, id="a long length behind zeros"),
        pytest.param([b"x"], {"headers": {"content-length": "9" * 5000}}, 413, id="a length of many digits"),
        pytest.param([b"x" * 9], {"headers": {"content-length": "5"}}, 400, id="more than announced"),
        pytest.param([b"x" * 3], {"headers": {"content-length": "5"}}, 400, id="less than announced"),
        pytest.param([], {"headers": {"content-length": "5"}}, 400, id="cut off"),
        pytest.param([0.3, b"x"], {}, 408, id="silence"),
        pytest.param([b"x", 0.2, b"x", 0.2, b"x"], {}, 408, id="too slow"),
        pytest.param([b"x"], {"method": "GET"}, 405, id="another method"),
    ],
)
def test_a_body_costs_no_more_than_it_may(chunks: list[bytes | float], options: dict[str, Any], status: int) -> None:
    def never(body: bytes) -> Receipt:
        raise AssertionError("it was taken")

    found, answer = ask(Submissions(behind, never, QUICK), chunks, **options)
    assert found == status
    assert answer["errors"][0]["detail"]


def test_a_read_only_mirror_takes_nothing() -> None:
    assert ask(Submissions(behind, None))[0] == 503


def test_bodies_at_once_are_bounded_and_judged_one_at_a_time() -> None:
    running = 0

    def take(body: bytes) -> Receipt:
        nonlocal running
        running += 1
        assert running == 1
        running -= 1
        return RECEIPT

    app = Submissions(behind, take, replace(BOUNDS, at_once=1))

    async def both() -> list[tuple[int, Any]]:
        slow: Awaitable[tuple[int, Any]] = _ask(app, [b"a", 0.2, b"b"], "POST", f"/{URL_PATH}", None)
        first = asyncio.ensure_future(slow)
        await asyncio.sleep(0.05)
        second = await _ask(app, [b"c"], "POST", f"/{URL_PATH}", None)
        return [await first, second]

    assert [status for status, _ in asyncio.run(both())] == [200, 503]
    assert ask(app)[0] == 200, "the place is free again"


def test_reading_stops_where_more_comes_than_was_announced() -> None:
    """Not at the end: there may be none."""
    pieces = 0

    async def endless() -> dict[str, Any]:
        nonlocal pieces
        pieces += 1
        return {"type": "http.request", "body": b"x" * 10, "more_body": pieces < 1000}

    async def ignore(message: Any) -> None:
        pass

    scope = {"type": "http", "method": "POST", "path": f"/{URL_PATH}", "headers": [(b"content-length", b"25")]}
    asyncio.run(Submissions(behind, taking())(scope, endless, ignore))
    assert pieces == 3
