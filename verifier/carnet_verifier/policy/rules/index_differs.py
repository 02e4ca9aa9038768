"""`index-differs`: a version whose index line is not its manifest's, and which the mirror's operator lets in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import Action, Breach, Facts, Rule


def _judge(facts: Facts, _: Policy, __: datetime) -> Iterator[Breach]:
    if facts.let_in is not None:
        yield Breach(
            f"the index line of {facts.crate} is not its manifest's; {facts.let_in}",
            "cargo builds with the index's dependencies and features; use another version, or read the reason",
        )


RULE = Rule(
    "index-differs",
    Action.WARN,
    "Its index line is not its manifest's, and the mirror's operator lets it in, for a reason and until a day.",
    _judge,
    of_version=True,
)
