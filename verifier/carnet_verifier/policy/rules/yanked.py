"""`yanked`: a version was taken back. It never comes with advice to update: a thief who yanks wants exactly that."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import Action, Breach, Facts, Rule


def _judge(facts: Facts, _: Policy, __: datetime) -> Iterator[Breach]:
    if facts.yanked is not None:
        yield Breach(f"{facts.crate} was yanked by {facts.yanked}")


RULE = Rule("yanked", Action.WARN, "Its maintainers or the registry took the version back.", _judge, of_version=True)
