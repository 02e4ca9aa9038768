"""`no-checksum`: a lock names a crate of crates-io and does not pin its bytes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import Action, Breach, Facts, Rule


def _judge(facts: Facts, _: Policy, __: datetime) -> Iterator[Breach]:
    if facts.unpinned:
        taken = "that of the signed index" if facts.evidence is None else facts.evidence.sha256
        yield Breach(
            f"{facts.crate} has no checksum in the lock; the signed index says {taken}, and that is taken",
            "let cargo write it (`cargo update --workspace`), so that the lock pins the bytes",
        )


RULE = Rule(
    "no-checksum",
    Action.WARN,
    "The lock names it without a checksum, so the signed index alone says which bytes it is.",
    _judge,
)
