"""What a mirror tells its operator: the same facts as text and as JSON, and a line is never two."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from carnet.errors import StorageError
from carnet_mirror import log
from carnet_mirror.web.files import RequestLog
from carnet_mirror.web.tally import Tally

ODD = "a\nerror: forged\x1b[2J\u2028\U0001f600\udc80"


@pytest.fixture(autouse=True)
def _text_again() -> Iterator[None]:
    yield
    log.write_as("text")


def test_text_is_a_line_for_a_message_and_one_for_its_hint(capsys: pytest.CaptureFixture[str]) -> None:
    log.error(StorageError("the disk is full", hint="make room"))
    log.warn("targets expires in 7 days", "its holders sign")
    log.alarm("two opinions")
    log.note("published", snapshot=7)
    log.error(ODD)
    assert capsys.readouterr().err.splitlines() == [
        "error: the disk is full",
        "hint: make room",
        "warning: targets expires in 7 days",
        "hint: its holders sign",
        "alarm: two opinions",
        "error: a\\nerror: forged\\x1b[2J\\u2028\U0001f600\\udc80",
    ]


def test_json_has_the_same_and_what_was_done(capsys: pytest.CaptureFixture[str]) -> None:
    log.write_as("json")
    log.error(StorageError("the disk is full", hint="make room"))
    log.note("published", snapshot=7)
    log.error(ODD)
    first, second, third = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert first.pop("time").endswith("Z")
    assert first == {"event": "message", "level": "error", "message": "the disk is full", "hint": "make room"}
    assert (second["level"], second["message"], second["snapshot"]) == ("note", "published", 7)
    assert third["message"] == ODD.encode("utf-8", "backslashreplace").decode()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_request_is_one_line_and_counted(log_format: log.LogFormat) -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"3")]})
        await send({"type": "http.response.body", "body": b"no\n"})

    stream, tally = io.StringIO(), Tally()
    scope: dict[str, Any] = {"type": "http", "path": "/index/a\nb", "method": "GET", "client": ("192.0.2.1", 1)}
    scope |= {"headers": [(b"user-agent", b'x"y')]}

    async def nothing(*_: Any) -> Any:
        return None

    asyncio.run(RequestLog(app, stream, log_format, tally)(scope, nothing, nothing))
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert line.isascii()
    assert list(tally.requests) == [("index", "4xx")]
    if log_format == "json":
        said = json.loads(line)
        assert said.pop("time").endswith("Z")
        assert isinstance(said.pop("microseconds"), int)
        assert said == {
            "event": "request",
            "client": "192.0.2.1",
            "method": "GET",
            "path": "/index/a\nb",
            "status": 404,
            "bytes": 3,
            "agent": 'x"y',
        }
    else:
        assert " 192.0.2.1 GET /index/a\\nb 404 3 " in line
