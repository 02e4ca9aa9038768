"""`banned`: the policy names the crate in a `[[ban]]`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import ANYWHERE, Action, Breach, Facts, Rule

_OTHER = "`cargo carnet update` takes no banned version; where every one is, use another crate, or have the ban lifted"


def _in_force(policy: Policy) -> bool:
    return bool(policy.bans)


def _judge(facts: Facts, policy: Policy, _: datetime) -> Iterator[Breach]:
    for ban in policy.bans:
        if ban.pattern.covers(facts.crate):
            yield Breach(f"{facts.crate} is banned by the policy: {ban.reason}", hint=_OTHER, source=ban.source)


RULE = Rule(
    "banned",
    Action.DENY,
    "A `[[ban]]` of the policy names it, wherever it comes from.",
    _judge,
    origins=ANYWHERE,
    of_version=True,
    in_force=_in_force,
)
