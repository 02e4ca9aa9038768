"""`empty-lock`: a lock without a single package, of which nothing could be checked."""

from __future__ import annotations

from carnet_verifier.policy.rule import Action, Rule, of_no_crate

RULE = Rule(
    "empty-lock",
    Action.WARN,
    "Of no crate but of a lock: it names no package, not even the project's own, so nothing was checked.",
    of_no_crate,
    origins=frozenset(),
)
