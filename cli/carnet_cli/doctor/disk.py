"""The check `disk`: whether there is room where carnet keeps tarballs and sources, and where temporary files go."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from carnet_cli.doctor.check import Check, Diagnosis, Health, Patient, worst

_LITTLE, _NONE = 1_000_000_000, 50_000_000
"""Bytes: the sources of a thousand crates, and those of a few."""


def look(patient: Patient) -> Diagnosis:
    """Ask how much is free, and whether this user may write there."""
    try:
        temporary = tempfile.gettempdir()
    except OSError:
        temporary = ""
    places = {"carnet's home": patient.home, **({"temporary files": Path(temporary)} if temporary else {})}
    found = [(what, place, *_free(place)) for what, place in places.items()]
    facts = {
        "places": [{"path": str(place), "free_bytes": free, "writable": writable} for _, place, free, writable in found]
    }
    health = [_health(free, writable=writable) for *_, free, writable in found]
    health += [] if temporary else [Health.FAILURE]
    details = [
        f"{what} ({place}): {free / 1e9:.1f} GB free{'' if writable else ', and cannot be written'}"
        for what, place, free, writable in found
    ]
    details += [] if temporary else ["temporary files: there is no folder that can be written"]
    whole = worst(health)
    summary = "there is room" if whole is Health.GOOD else "there is little room, or it cannot be written"
    advice = "" if whole is Health.GOOD else "make room, or set CARNET_HOME and TMPDIR to folders with some"
    return Diagnosis(CHECK.name, whole, summary, tuple(details), advice, facts)


def _free(place: Path) -> tuple[int, bool]:
    """Bytes that are free, and whether one may write: where the folder is, or would be made."""
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        return shutil.disk_usage(place).free, os.access(place, os.W_OK)
    except OSError:
        return 0, False


def _health(free: int, *, writable: bool) -> Health:
    if free < _NONE:
        return Health.FAILURE
    return Health.GOOD if writable and free >= _LITTLE else Health.WARNING


CHECK = Check("disk", look)
