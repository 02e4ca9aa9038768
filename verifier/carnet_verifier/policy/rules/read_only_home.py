"""`read-only-home`: nothing keeps build scripts from writing to carnet's home while cargo compiles."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import Action, Breach, Facts, Rule


def of_no_crate(_: Facts, __: Policy, ___: datetime) -> Iterable[Breach]:
    """No crate breaks it: it is about the machine that builds, and the gate asks the policy what follows."""
    return ()


RULE = Rule(
    "read-only-home",
    Action.WARN,
    "Of no crate but of a build: nothing keeps build scripts from writing to carnet's home (`carnet doctor` says why).",
    of_no_crate,
    origins=frozenset(),
)
