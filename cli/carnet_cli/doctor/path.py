"""The check `path`: whether `carnet` and `cargo carnet` are found, and are this installation's."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from carnet_cli.doctor.check import Check, Diagnosis, Health, Patient

_PROGRAMS = ("carnet", "cargo-carnet")


def look(patient: Patient) -> Diagnosis:
    """Look for both in PATH, as a shell and cargo do."""
    found = {name: shutil.which(name, path=patient.environment.get("PATH", "")) for name in _PROGRAMS}
    here = Path(sys.executable).parent
    facts = {"programs": found, "installation": str(here)}
    missing = [name for name, place in found.items() if place is None]
    details = tuple(f"{name}: {place or 'not found'}" for name, place in found.items())
    if missing:
        summary = f"{' and '.join(missing)} cannot be found in PATH"
        advice = f'`export PATH="{here}:$PATH"`, so that `cargo carnet` is found'
        return Diagnosis(CHECK.name, Health.WARNING, summary, details, advice, facts)
    folders = {str(Path(place).resolve().parent) for place in found.values() if place is not None}
    others = folders - {str(here.resolve())}
    if others:
        summary = f"another carnet than this one comes first in PATH: {', '.join(sorted(others))}"
        advice = "if you did not mean that, put this one first, or remove the other"
        return Diagnosis(CHECK.name, Health.WARNING, summary, (*details, f"this one: {here}"), advice, facts)
    return Diagnosis(CHECK.name, Health.GOOD, "`carnet` and `cargo carnet` are found", details, facts=facts)


CHECK = Check("path", look)
