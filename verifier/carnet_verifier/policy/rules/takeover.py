"""`takeover`: the registry replaced a crate's owners."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import Action, Breach, Facts, Rule


def _judge(facts: Facts, _: Policy, __: datetime) -> Iterator[Breach]:
    when = "" if facts.taken_over is None else f" on {facts.taken_over:%Y-%m-%d}"
    if facts.owners_seen_in:
        yield Breach(
            f"the owners of {facts.crate.name} are others than {facts.owners_seen_in} has seen, who did not sign it",
            f"ask the registry why, or whoever changed that file last (`git log {facts.owners_seen_in}`); an exception "
            "for `takeover` in your own carnet.toml accepts the new owners",
        )
    elif facts.takeover or facts.taken_over is not None:
        yield Breach(
            f"the registry replaced the owners of {facts.crate.name} without their signatures{when}",
            "ask the registry why; an exception for `takeover` in your own carnet.toml accepts the new owners",
        )


RULE = Rule("takeover", Action.DENY, "The registry replaced its owners without their signatures.", _judge)
