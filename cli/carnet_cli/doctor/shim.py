"""The check `shim`: which cargo comes first for an editor that is started here, and how the user's shims stand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from carnet.errors import CarnetError
from carnet_cli.config.ancestors import require_held
from carnet_cli.config.shims.folder import PROGRAMS, WHY, Shim, known, led_to, read_shim
from carnet_cli.doctor.check import Check, Diagnosis, Health, Patient
from carnet_gate.comparison.permissions import open_to_others


def look(patient: Patient) -> Diagnosis:
    """Go each way that an editor may go, and look at every shim of this user's."""
    ways = led_to(patient.environment)
    folders = known()
    facts = {
        "ways": {way: None if shim is None else str(shim.folder) for way, shim in ways.items()},
        "shims": [str(folder) for folder in folders],
    }
    details = tuple(
        f"{way} leads to {'cargo itself, or nowhere' if shim is None else f'the shim in {shim.folder}'}"
        for way, shim in ways.items()
    )
    for folder in folders:
        for health, summary, advice in _wrong_with(folder):
            return Diagnosis(CHECK.name, health, summary, details, advice, facts)
    # rust-analyzer describes projects with the cargo in CARGO_HOME, and checks them with that of CARGO or PATH.
    describes, checks = ways["CARGO_HOME"], ways["CARGO" if patient.environment.get("CARGO") else "PATH"]
    led = describes or checks
    if led is None:
        made = f"made are {', '.join(map(str, folders))}; " if folders else ""
        return Diagnosis(
            CHECK.name, Health.GOOD, f"{made}what is started here calls cargo itself", details, facts=facts
        )
    if describes is None or checks is None:
        summary = (
            f"an editor that is started here comes to the shim in {led.folder} by one way, and around it by another"
        )
        advice = f"set both: `export CARGO_HOME={led.folder} CARGO={led.program}`"
        return Diagnosis(CHECK.name, Health.WARNING, summary, details, advice, facts)
    summary = f"what is started here calls the shim in {led.folder}"
    return Diagnosis(CHECK.name, Health.GOOD, summary, details, facts=facts)


def _wrong_with(folder: Path) -> Iterator[tuple[Health, str, str]]:
    """What is wrong with a shim: how bad it is, what it is, what to do."""
    again = f"`carnet shim {folder}` writes it again, `carnet shim --remove {folder}` forgets it"
    try:
        require_held(folder, "you", (os.geteuid(),), WHY)
        for path in sorted(open_to_others(folder)):
            advice = f"find out what opened it; then `chmod -R go-w {folder}`, and {again}"
            yield Health.FAILURE, f"others than you can write to {path}, {WHY}", advice
    except CarnetError as error:
        yield Health.FAILURE, str(error), error.hint
    shim = read_shim(folder / PROGRAMS / "cargo")
    if shim is None:
        yield Health.WARNING, f"the shim in {folder} is gone, or is none any more", again
    elif shim != Shim(folder, shim.cargo, shim.home) or shim.program.read_bytes() != shim.script:
        yield Health.WARNING, f"the shim in {folder} starts another carnet than this one", again
    elif not os.access(shim.cargo, os.X_OK):
        yield Health.WARNING, f"the shim in {folder} stands before {shim.cargo}, which is gone", again


CHECK = Check("shim", look)
