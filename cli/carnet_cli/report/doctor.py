"""What `carnet doctor` found, for people and for machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from carnet_cli.doctor.check import Diagnosis, Health
from carnet_cli.terminal import output

_MARKS = {Health.GOOD: "ok", Health.WARNING: "warning", Health.FAILURE: "failed"}


def as_text(diagnoses: Sequence[Diagnosis]) -> None:
    """A line for each check, and below it why and what to do."""
    for diagnosis in diagnoses:
        output.echo(f"{_MARKS[diagnosis.health]:8}{diagnosis.check}: {diagnosis.summary}")
        for line in diagnosis.details:
            output.echo(f"        - {line}")
        if diagnosis.advice:
            output.echo(f"        {diagnosis.advice}")


def as_json(diagnoses: Sequence[Diagnosis]) -> Iterator[Any]:
    """An object for each check."""
    for diagnosis in diagnoses:
        yield {
            "reason": "check",
            "check": diagnosis.check,
            "health": diagnosis.health.value,
            "summary": diagnosis.summary,
            "details": [*diagnosis.details],
            "advice": diagnosis.advice or None,
            **(diagnosis.facts or {}),
        }
