"""What a snapshot lists: read when it is asked for, checked at once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carnet.errors import FormatError
from carnet.tuf.listed import ListedFiles
from carnet.tuf.read import MAX_VERSION, _meta_file
from carnet.tuf.roles import MetaFile

DIGEST = "ab" * 32
ENTRIES = st.one_of(
    st.builds(lambda version: {"version": version}, st.integers(1, 3)),
    st.just({"version": 2, "length": 3, "hashes": {"sha256": DIGEST}}),
    st.just({"version": 2, "other": [1]}),
)
NAMES = st.text(min_size=1, max_size=3).map(lambda name: f"{name}.json".replace("\0", "-"))


@given(st.dictionaries(NAMES, ENTRIES), st.dictionaries(NAMES, ENTRIES))
def test_says_what_reading_each_entry_says(entries: dict[str, Any], others: dict[str, Any]) -> None:
    listed, other = ListedFiles(entries, _meta_file), ListedFiles(others, _meta_file)
    plain = {name[:-5]: _meta_file(entry, name) for name, entry in entries.items()}
    assert {name: listed[name] for name in listed} == plain == dict(listed.items()) == listed
    assert len(listed) == len(plain)
    assert all(name in listed for name in plain)
    assert "none at all" not in listed
    theirs = {name[:-5]: _meta_file(entry, name) for name, entry in others.items()}
    differ = {name for name, meta in plain.items() if theirs.get(name) != meta}
    assert differ <= {*listed.unlike(other)} <= {*plain}
    assert not {*listed.unlike(listed)}
    assert {*listed.unlike(plain)} == {*plain}


@pytest.mark.parametrize(
    "name", ["targets", ".json", "a.jsonx", "a.json\0", "a\0.json", "a.json\0b.json", "", "\0", "json"]
)
def test_name_that_is_no_file_of_metadata_is_refused(name: str) -> None:
    with pytest.raises(FormatError, match="not a metadata file"):
        ListedFiles({"a.json": {"version": 1}, name: {"version": 1}, "b.json": {"version": 1}}, _meta_file)


@pytest.mark.parametrize(
    "entry",
    [
        {"version": True},
        {"version": 0},
        {"version": MAX_VERSION + 1},
        {"version": "1"},
        {"version": None},
        {},
        {"length": 1},
        [1],
        [{"version": 1}],
        "version",
        {"version": 1, "length": True},
        {"version": 1, "length": None},
        {"version": 1, "hashes": {}},
        {"version": 1, "hashes": {"sha256": "AB"}},
        {"version": -1, "length": 1},
    ],
)
def test_one_bad_entry_among_good_ones_is_refused_at_once(entry: object) -> None:
    good: dict[str, Any] = {f"{number}.json": {"version": 1} for number in range(5)}
    assert ListedFiles(good, _meta_file)["3"] == MetaFile(1)
    for entries in ({**good, "bad.json": entry}, {"bad.json": entry, **good}):
        with pytest.raises(FormatError):
            ListedFiles(entries, _meta_file)


def test_who_is_not_listed_is_a_key_error_by_its_own_name() -> None:
    with pytest.raises(KeyError, match="'bin'"):
        ListedFiles({}, _meta_file)["bin"]
