"""What a check of `carnet doctor` is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from carnet_verifier.policy.policy import Policy


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
    """

    home: Path
    policy: Policy
    environment: Mapping[str, str]


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
