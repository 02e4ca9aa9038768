"""`git`: a lock takes a package from a git repository."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from carnet.cargo.lockfile import SourceKind
from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import Action, Breach, Facts, Rule


def unvouched(facts: Facts, _: Policy, __: datetime) -> Iterator[Breach]:
    """Whatever the rule is about breaks it: to allow it takes the policy's word."""
    yield Breach(
        f"{facts.crate} comes from {facts.source[:200]}, which no signed metadata vouches for",
        "depend on a published version, or allow it in your own carnet.toml with a reason and an expiry",
    )


RULE = Rule(
    "git",
    Action.DENY,
    "The lock takes it from a git repository, which no registry vouches for.",
    unvouched,
    origins=frozenset((SourceKind.GIT,)),
)
