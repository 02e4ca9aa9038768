"""`unremembered`: what a run sees is not remembered, so no later run notices when somebody goes back behind it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import Action, Breach, Facts, Rule


def of_no_crate(_: Facts, __: Policy, ___: datetime) -> Iterable[Breach]:
    """No crate breaks it: it is about the machine, and whoever opens the memory asks the policy what follows."""
    return ()


RULE = Rule(
    "unremembered",
    Action.WARN,
    "Of no crate but of a run: carnet's home cannot be written, so what is seen is not remembered.",
    of_no_crate,
    origins=frozenset(),
)
