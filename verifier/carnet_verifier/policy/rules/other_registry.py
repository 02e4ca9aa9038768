"""`other-registry`: a lock takes a package from another registry than crates-io."""

from __future__ import annotations

from carnet.cargo.lockfile import SourceKind
from carnet_verifier.policy.rule import Action, Rule
from carnet_verifier.policy.rules.git import unvouched

RULE = Rule(
    "other-registry",
    Action.DENY,
    "The lock takes it from a registry that is not crates-io.",
    unvouched,
    origins=frozenset((SourceKind.REGISTRY,)),
)
