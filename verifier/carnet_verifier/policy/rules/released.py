"""`released`: a crate's owners gave its name up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import Action, Breach, Facts, Rule


def _judge(facts: Facts, _: Policy, __: datetime) -> Iterator[Breach]:
    if facts.released:
        yield Breach(
            f"the owners of {facts.crate.name} gave the name up: nobody vouches for {facts.crate}",
            "use another crate, or allow it with an exception for `released` in your own carnet.toml",
        )


RULE = Rule("released", Action.DENY, "Its owners gave the name up: nobody vouches for it any more.", _judge)
