"""Versions that are asked for by name and requirement: what is read, and how it is typed in a shell."""

from __future__ import annotations

import shlex

import pytest

from carnet.cargo.asked import AskedFor
from carnet.errors import FormatError


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("serde", "serde@*"),
        ("serde@1", "serde@^1"),
        ("serde@=1.0.3", "serde@=1.0.3"),
        ("serde@>=1, <2", "serde@>=1, <2"),
        ("serde@*", "serde@*"),
    ],
)
def test_what_is_asked_for_is_typed_as_it_is_read(text: str, meaning: str) -> None:
    asked = AskedFor.parse(text)
    assert str(asked) == meaning
    (typed,) = shlex.split(asked.typed)
    assert AskedFor.parse(typed) == asked


@pytest.mark.parametrize("text", ["serde@", "@1", "", "../x", "serde@one", "serde@1@2", "serde@" + "1," * 10_000])
def test_what_is_neither_a_name_nor_a_requirement(text: str) -> None:
    with pytest.raises(FormatError) as refused:
        AskedFor.parse(text)
    assert len(str(refused.value)) < 400
    if text == "serde@":
        assert "has no requirement" in str(refused.value)
