"""`unremembered`: what a run sees is not remembered, so no later run notices when somebody goes back behind it."""

from __future__ import annotations

from carnet_verifier.policy.rule import Action, Rule, of_no_crate

RULE = Rule(
    "unremembered",
    Action.WARN,
    "Of no crate but of a run: carnet's home cannot be written, so what is seen is not remembered.",
    of_no_crate,
    origins=frozenset(),
)
