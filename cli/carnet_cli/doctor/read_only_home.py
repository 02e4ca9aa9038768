"""The check `read-only-home`: what keeps builds from writing to carnet's home, and why nothing better does."""

from __future__ import annotations

from carnet_cli.doctor.check import Check, Diagnosis, Health, Patient
from carnet_gate.confinement.protection import WRITABLE, Means, find_protection
from carnet_verifier.policy.rule import Action
from carnet_verifier.policy.rules.runs import read_only_home


def look(patient: Patient) -> Diagnosis:
    """Find out what is in force, and hold it against the policy."""
    protection = find_protection(patient.home, patient.environment)
    facts = {"protection": protection.means.value, "about": protection.about, "lacking": [*protection.lacking]}
    if protection.means is not Means.NONE:
        return Diagnosis(
            CHECK.name,
            Health.GOOD,
            f"builds cannot write to {patient.home}: {protection.about}",
            protection.lacking,
            facts=facts,
        )
    denied = patient.policy.action(read_only_home.RULE) is Action.DENY
    return Diagnosis(
        CHECK.name,
        Health.FAILURE if denied else Health.WARNING,
        f"builds can write to {patient.home}{'; the policy forbids that' if denied else ''}",
        protection.lacking,
        f"unset {WRITABLE}" if patient.environment.get(WRITABLE) else "use Linux 6.2 or later, or install bubblewrap",
        facts,
    )


CHECK = Check(read_only_home.RULE.name, look)
