"""`downgrade`: a crate offers less than a version of it did before."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import Action, Breach, Facts, Rule
from carnet_verifier.provenance.kind import PROVENANCE


def _judge(facts: Facts, _: Policy, __: datetime) -> Iterator[Breach]:
    if facts.highest_seen is not None and (facts.level is None or facts.level < facts.highest_seen):
        yield Breach(
            f"{facts.crate} is at level {facts.level}, {facts.crate.name} was seen at {facts.highest_seen} before",
            "ask its maintainers why, or whoever changed carnet.lock last, where the project has one (`git log "
            "carnet.lock`); an exception for `downgrade` in your own carnet.toml lets it in for a while",
        )


RULE = Rule(
    "downgrade",
    Action.DENY,
    "It offers less than a version of the same crate that was admitted before.",
    _judge,
    needs=(PROVENANCE,),
    of_version=True,
)
