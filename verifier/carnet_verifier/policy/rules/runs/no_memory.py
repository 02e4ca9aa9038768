"""`no-memory`: no `carnet.lock` lies beside the lock, or another repository's: a fresh machine knows nothing."""

from __future__ import annotations

from carnet_verifier.policy.rule import Action, Rule, of_no_crate

RULE = Rule(
    "no-memory",
    Action.ALLOW,
    "Of no crate but of a run: no `carnet.lock` beside the lock says what was seen before.",
    of_no_crate,
    origins=frozenset(),
)
