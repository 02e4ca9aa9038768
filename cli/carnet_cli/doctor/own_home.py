"""The check `own-home`: whether somebody else may write to carnet's home, or take it away."""

from __future__ import annotations

from carnet.errors import CarnetError
from carnet_cli.config import home
from carnet_cli.doctor.check import Check, Diagnosis, Health, Patient
from carnet_gate.comparison.permissions import open_to_others

_MOST = 10


def look(patient: Patient) -> Diagnosis:
    """Look at the folders above and at everything inside."""
    try:
        home.require_own()
        found = sorted(open_to_others(patient.home))
    except CarnetError as error:
        return Diagnosis(CHECK.name, Health.FAILURE, str(error), advice=error.hint, facts={"open": []})
    facts = {"open": found[:_MOST]}
    if not found:
        return Diagnosis(CHECK.name, Health.GOOD, f"nobody else can write to {patient.home}", facts=facts)
    more = (f"and {len(found) - _MOST} more",) if len(found) > _MOST else ()
    return Diagnosis(
        CHECK.name,
        Health.FAILURE,
        f"others than you can write to {patient.home}",
        (*found[:_MOST], *more),
        f"find out what opened it, and whether it is what you left; then `chmod -R go-w {patient.home}`, and `chown` "
        "what is another user's",
        facts,
    )


CHECK = Check("own-home", look)
