"""`empty-lock`: a lock without a single package, of which nothing could be checked."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import Action, Breach, Facts, Rule


def _of_no_crate(_: Facts, __: Policy, ___: datetime) -> Iterable[Breach]:
    """No crate breaks it: it is about a lock that names none (`carnet_verifier.whole_lock`)."""
    return ()


RULE = Rule(
    "empty-lock",
    Action.WARN,
    "Of no crate but of a lock: it names no package, not even the project's own, so nothing was checked.",
    _of_no_crate,
    origins=frozenset(),
)
