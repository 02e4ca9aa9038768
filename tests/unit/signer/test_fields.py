"""Fields that no sentence speaks of: what covers them, and what very many of them cost."""

from __future__ import annotations

from typing import Any

import pytest

from carnet_signer import fields

SAID = [
    ("carnet", "shards", fields.REST),
    ("targets", fields.ANY, "length"),
    ("targets", fields.ANY, "custom", "index"),
]


@pytest.mark.parametrize(
    ("path", "covered"),
    [
        (("carnet", "shards"), True),
        (("carnet", "shards", "0", "x"), True),
        (("carnet",), False),
        (("carnet", "least"), False),
        (("targets", "a", "length"), True),
        (("targets", "*", "length"), True),
        (("targets", "**", "length"), True),
        (("targets", "length"), False),
        (("targets", "a", "length", "x"), False),
        (("targets", "a", "custom", "index"), True),
        (("targets", "a", "custom", "**"), False),
        ((), False),
    ],
)
def test_a_pattern_covers_what_it_says_and_nothing_below(path: fields.Path, covered: bool) -> None:
    assert (path in fields._Covered(SAID)) is covered


@pytest.mark.parametrize("where", ["carnet", "targets", "unknown"])
def test_what_nobody_reads_is_counted_and_not_written(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of unknown fields cost whoever wrote them a few bytes each, and every signer a line of text."""
    shown: list[Any] = []

    def show(value: Any) -> str:
        shown.append(value)
        return str(value)

    monkeypatch.setattr(fields, "_shown", show)
    lines = fields.unsaid(None, {where: {f"field{number}": number for number in range(5_000)}}, SAID)
    assert len(lines) == fields._MOST + 1
    assert lines[-1] == f"and {5_000 - fields._MOST} more: far too many, do not sign this"
    assert len(shown) == fields._MOST
