"""`mass-yank`: a new version stands where nearly all earlier ones were taken back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from carnet_evidence.history import MASS_YANK
from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import Action, Breach, Facts, Rule


def _judge(facts: Facts, _: Policy, __: datetime) -> Iterator[Breach]:
    seen = facts.of(MASS_YANK)
    if seen is not None:
        yield Breach(seen, "keep the version that you have, and find out why")


RULE = Rule(
    "mass-yank",
    Action.WARN,
    "It is new, and nearly all versions before it were taken back: as an account thief does it.",
    _judge,
    needs=(MASS_YANK,),
    of_version=True,
)
