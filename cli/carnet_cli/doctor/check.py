"""What a check of `carnet doctor` is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from carnet.errors import CarnetError
from carnet_verifier.policy.policy import Policy

if TYPE_CHECKING:
    from carnet_cli.config.network.reading import NetworkSettings
    from carnet_cli.doctor.seen import SeenMirror


class Health(Enum):
    """How something stands."""

    GOOD = "good"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True)
class Patient:
    """What is looked at.

    Attributes:
        home: Carnet's own folder.
        policy: What holds where the command was started.
        environment: The user's variables.
        now: This machine's time, aware, UTC.
        warn_before: How long before something ends people are told.
        network: How servers are reached; or why that cannot be read.
        mirrors: The trusted mirrors, each asked once; or why nobody knows which they are.
    """

    home: Path
    policy: Policy
    environment: Mapping[str, str]
    now: datetime
    warn_before: timedelta
    network: NetworkSettings | CarnetError
    mirrors: tuple[SeenMirror, ...] | CarnetError


@dataclass(frozen=True)
class Diagnosis:
    """What a check found.

    Attributes:
        check: Its name.
        health: How it stands.
        summary: One line.
        details: More lines: why.
        advice: What a person can do; empty when there is nothing to do.
        facts: The same for machines: plain values by name.
    """

    check: str
    health: Health
    summary: str
    details: tuple[str, ...] = ()
    advice: str = ""
    facts: Mapping[str, object] | None = None


@dataclass(frozen=True)
class Check:
    """One thing that is looked at.

    Attributes:
        name: Kebab-case, unique.
        look: Finds out; changes nothing.
    """

    name: str
    look: Callable[[Patient], Diagnosis]

    def examine(self, patient: Patient) -> Diagnosis:
        """Look, and call what keeps it from looking a failure."""
        try:
            return self.look(patient)
        except CarnetError as error:
            return Diagnosis(self.name, Health.FAILURE, str(error), advice=error.hint)


def worst(found: list[Health]) -> Health:
    """The worst of several; good where there is none."""
    order = (Health.FAILURE, Health.WARNING)
    return next((health for health in order if health in found), Health.GOOD)
