"""The tool behind `make mutants`: what it takes out, and the list of what survived."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.mutants import plugin, run, sites, switch
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


def test_tests_of_the_own_room_are_recorded_first_and_each_file_once() -> None:
    gate = [site for site in sites.all_sites() if site.module.startswith("carnet_gate")]
    groups = list(run._groups(["tests"], gate))
    names = [name for name, _ in groups]
    assert names == ["tests/unit/gate", "tests/attacks", "tests/property", "tests/unit", "tests"]
    files = [file for _, found in groups for file in found]
    assert len(files) == len(set(files))
    assert not any(file.startswith("tests/mutants/") for file in files)
    assert list(run._groups(["tests/unit/core"], gate)) == [
        ("tests/unit", [f for f in sorted(files) if "unit/core" in f])
    ]


def test_what_is_open_is_told_with_its_place_and_with_who_ought_to_miss_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A check that no test reaches, one that four reach, and that what is not recorded may reach either."""
    nowhere, everywhere = [site for site in sites.all_sites() if site.module == "carnet.strictjson"][:2]
    names = [f"tests/t.py::{name}" for name in "abcd"]
    record = run.Record(tmp_path / "record.json")
    record.tests = {name: {"seconds": 0.1, "passed": True} for name in names}
    record.files = {"tests/t.py": ["", ""]}
    record.fired = {everywhere.name: dict.fromkeys(names, "here")}
    results = run.Results(tmp_path / "results.json", record)
    results._known = {site.name: {"verdict": "survived"} for site in (nowhere, everywhere)}
    assert results.conclude([nowhere, everywhere]) == 1
    told = capsys.readouterr().out
    for site, why in (
        (nowhere, "it fires in no test; "),
        (everywhere, f"it fires, and nothing fails, in {', '.join(names[:3])} and 1 more; "),
    ):
        assert f"UNKNOWN core/carnet/strictjson.py:{site.line}: {site.name}\n          {why}" in told
    assert f"; {len(run._all_tests())} files of tests are not recorded with this code, and may reach it" in told


class _Item:
    """A test of two: one that always fails, and one that fails when a check is taken out."""

    def __init__(self, nodeid: str, trier: list[plugin.Trier], broken: bool) -> None:
        self.nodeid = nodeid
        self.config = self
        self.hook = self
        self._trier, self._broken = trier, broken

    def pytest_runtest_protocol(self, item: Any, nextitem: None) -> None:
        if self._broken or switch.active:
            self._trier[0]._failed = self.nodeid


@pytest.mark.parametrize("fresh", [False, True])
def test_a_test_that_fails_anyway_kills_nothing(fresh: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an old record says of a test is a hint: only where it is about this code, a failure is believed at once."""
    trier: list[plugin.Trier] = []
    items = [_Item("t.py::broken", trier, True), _Item("t.py::good", trier, False)]
    tests = [(item.nodeid, 20.0, fresh) for item in items]
    trier.append(plugin.Trier([{"site": "m:f: raise X", "tests": tests}]))
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(plugin, "_tell", told.append)
    session: Any = SimpleNamespace(items=items)
    assert trier[0].pytest_runtestloop(session)
    assert [(one["verdict"], one["test"]) for one in told] == [("killed", items[0 if fresh else 1].nodeid)]
