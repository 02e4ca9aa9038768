"""`read-only-home`: nothing keeps build scripts from writing to carnet's home while cargo compiles."""

from __future__ import annotations

from carnet_verifier.policy.rule import Action, Rule, of_no_crate

RULE = Rule(
    "read-only-home",
    Action.WARN,
    "Of no crate but of a build: nothing keeps build scripts from writing to carnet's home (`carnet doctor` says why).",
    of_no_crate,
    origins=frozenset(),
)
