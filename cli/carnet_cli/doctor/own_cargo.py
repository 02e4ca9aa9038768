"""The check `cargo`: which cargo the gate would run, and whether it is one that the gate knows."""

from __future__ import annotations

import re
from pathlib import Path

from carnet.errors import ConfigError
from carnet_cli.doctor.check import Check, Diagnosis, Health, Patient
from carnet_gate.cargo import find_cargo

_OLDEST = (1, 70)
"""The first cargo whose own default is the sparse protocol, which the gate's registry speaks."""


def look(patient: Patient) -> Diagnosis:
    """Find it as the gate does, away from any project, and ask for its version."""
    try:
        cargo = find_cargo(None, Path("/"), patient.environment)
    except ConfigError as error:  # those who only verify need none
        none: dict[str, object] = {"path": None, "version": None}
        return Diagnosis(CHECK.name, Health.WARNING, str(error), advice=error.hint, facts=none)
    done = cargo.ask("--version")
    said = done.stdout.strip()[:200]
    version = re.match(r"cargo (\d+)\.(\d+)", said)
    facts = {"path": cargo.command[0], "version": said or None}
    if version is None:
        why = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[0][:200]
        summary = f"{cargo.command[0]} does not say its version"
        return Diagnosis(CHECK.name, Health.FAILURE, summary, (why,), "see https://rustup.rs", facts)
    if (int(version[1]), int(version[2])) < _OLDEST:
        advice = "a newer one speaks the protocol of the gate's registry: `rustup update`"
        return Diagnosis(CHECK.name, Health.WARNING, f"{said} is old", (cargo.command[0],), advice, facts)
    return Diagnosis(CHECK.name, Health.GOOD, said, (cargo.command[0],), facts=facts)


CHECK = Check("cargo", look)
