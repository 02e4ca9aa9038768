"""A little fuzzing in every run, and what longer ones found."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fuzz.fuzz import Failure, Total, judge, one_input, run_batch
from tests.fuzz.targets import TARGETS, Target

from carnet.errors import FormatError

FOUND = Path(__file__).parent / "found"


@pytest.mark.parametrize("name", TARGETS)
def test_only_our_errors_leave_a_reader_and_no_input_costs_much(name: str) -> None:
    total = Total()
    run_batch(name, total, seed=20260101, failed=None, size=150)
    assert total.inputs == 150


def test_honest_inputs_are_taken() -> None:
    """A reader that refuses everything would pass too: each target takes a seed of its own, whole."""
    refused = []
    for name, target in TARGETS.items():
        if target.mutator.__name__ in ("tarballs", "bodies"):
            continue  # their seeds are what is packed, or a part of a conversation
        try:
            judge(target, target.seeds()[-1] if name == "cargo-config" else target.seeds()[0])
        except Failure:
            refused.append(name)
            continue
        if not any(judge(target, seed)[0] for seed in target.seeds()):
            refused.append(name)
    assert refused == []


@pytest.mark.parametrize("place", sorted(FOUND.glob("*/*")), ids=lambda place: f"{place.parent.name}-{place.name}")
def test_what_was_found_stays_mended(place: Path) -> None:
    judge(TARGETS[place.parent.name], place.read_bytes())


def test_an_input_is_the_same_in_every_run() -> None:
    for name, target in TARGETS.items():
        again = [one_input(target, target.seeds(), 7, name, number) for number in (3, 4, 3)]
        assert again[0] == again[2], name


def test_the_judge_sees_errors_of_others_long_errors_and_slow_readers() -> None:
    def broken(data: bytes) -> None:
        raise KeyError(data)

    def slow(data: bytes) -> None:
        sum(range(20_000_000))

    def refusing(data: bytes) -> None:
        raise FormatError("x" * 100_000)

    for read, says in ((broken, "KeyError at"), (slow, "s of CPU for 1 bytes")):
        with pytest.raises(Failure, match=says):
            judge(Target(list, read), b"x")
    assert judge(Target(list, refusing), b"x")[0] is False
