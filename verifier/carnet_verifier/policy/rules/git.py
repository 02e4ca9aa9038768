"""`git`: a lock takes a package from a git repository."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from carnet.cargo.lockfile import SourceKind
from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import Action, Breach, Facts, Rule


def unvouched(facts: Facts, _: Policy, __: datetime) -> Iterator[Breach]:
    """Whatever the rule is about breaks it: to allow it takes the policy's word."""
    rule = "git" if facts.origin is SourceKind.GIT else "other-registry"
    instead = (
        "depend on a published version"
        if facts.origin is SourceKind.GIT
        else "take it from crates.io (in Cargo.toml without `registry`, then `cargo carnet generate-lockfile`)"
    )
    yield Breach(
        f"{facts.crate} comes from {facts.source[:200]}, which no signed metadata vouches for",
        f'{instead}, or allow it in your own carnet.toml: [[exception]] with crates = "{facts.crate}", rule = '
        f'"{rule}", a reason and an expires',
    )


RULE = Rule(
    "git",
    Action.DENY,
    "The lock takes it from a git repository, which no registry vouches for.",
    unvouched,
    origins=frozenset((SourceKind.GIT,)),
)
