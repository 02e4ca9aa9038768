"""The tool behind `make mutants`: what it takes out, and the list of what survived."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from tests.mutants import sites, switch
from tests.mutants.run import read_listed

SOURCE = '''"""A module."""

from __future__ import annotations


def read(text: str) -> str:
    if not text:
        raise ValueError("empty")
    check(text)
    match text[0]:
        case "a":
            return text
        case _:
            raise ValueError("no a")


def check(text: str) -> None:
    try:
        int(text[1:])
    except ValueError:
        raise ValueError("no number") from None


class Reader:
    def check(self, text: str) -> None:
        check(text)
'''


def test_every_raise_and_every_dropped_check_is_a_site() -> None:
    found = sites.sites("m", ast.parse(SOURCE))
    assert [(site.where, site.what, site.line) for site in found] == [
        ("m:read", "raise ValueError('empty')", 8),
        ("m:read", "check(text)", 9),
        ("m:read", "raise ValueError('no a')", 14),
        ("m:check", "raise ValueError('no number') from None", 21),
        ("m:Reader.check", "check(text)", 26),
    ]


def outcome(text: str, active: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What becomes of a text when one check is taken out: the error, or what was read."""
    names: dict[str, Any] = {}
    exec(compile(sites.switchable("m", ast.parse(SOURCE)), "m.py", "exec"), names)
    monkeypatch.setattr(switch, "active", active)
    try:
        return str(names["read"](text))
    except (ValueError, IndexError) as error:
        return str(error)


@pytest.mark.parametrize(
    ("text", "error", "taken_out", "then"),
    [
        ("", "empty", "m:read: raise ValueError('empty')", "no number"),
        ("ax", "no number", "m:read: check(text)", "ax"),
        ("ax", "no number", "m:check: raise ValueError('no number') from None", "ax"),
        ("b1", "no a", "m:read: raise ValueError('no a')", "None"),
    ],
)
def test_one_check_is_taken_out_and_no_other(
    text: str, error: str, taken_out: str, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert outcome(text, "", monkeypatch) == error
    assert outcome(text, "m:Reader.check: check(text)", monkeypatch) == error
    assert outcome(text, taken_out, monkeypatch) == then
    assert outcome("a1", taken_out, monkeypatch) == "a1"


def test_what_is_listed_as_a_survivor_is_there_and_has_a_reason() -> None:
    there = {site.name for site in sites.all_sites()}
    assert len(there) > 500
    for entry in read_listed():
        assert set(entry) == {"where", "what", "why"}
        assert f"{entry['where']}: {entry['what']}" in there
        assert len(entry["why"].split()) >= 5
