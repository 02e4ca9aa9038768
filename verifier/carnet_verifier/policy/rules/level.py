"""`level`: a crate offers less than the policy or its owners ask."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from carnet.level import Level
from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import Action, Breach, Facts, Rule, Setting
from carnet_verifier.provenance.kind import PROVENANCE

LEAST_LEVEL: Setting[Level] = Setting(
    "least-level",
    Level.REGISTRY,
    str,
    Level.parse,
    max,
    f"The least level that every crate must reach: {', '.join(map(str, Level))}.",
)


def _judge(facts: Facts, policy: Policy, _: datetime) -> Iterator[Breach]:
    crate, level = facts.crate, facts.level
    if level is None:
        yield Breach(f"nothing says at what level {crate} is")
        return
    least = policy.asks(LEAST_LEVEL, crate)
    if level < least:
        yield Breach(
            f"{crate} is at level {level}, the policy asks for {least}",
            "its maintainers can claim it and sign this version; or lower least-level where it is asked for",
            policy.who_asks(LEAST_LEVEL, crate),
        )
    if facts.owner_least_level is not None and level < facts.owner_least_level:
        yield Breach(
            f"{crate} is at level {level}, its owners ask for {facts.owner_least_level}",
            "its maintainers can submit the missing evidence",
            "",
        )


RULE = Rule(
    "level",
    Action.DENY,
    "It is below the least level, of the policy or of the crate's owners.",
    _judge,
    needs=(PROVENANCE,),
    settings=(LEAST_LEVEL,),
    of_version=True,
)
