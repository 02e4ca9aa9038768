"""What a sync did, and what it left as it was: refused, kept although the upstream says less, or waiting.

Absence is no statement. An upstream that errs, answers with something else, lists less, or whose answer cannot be read,
has said nothing: what the mirror has stays, what it does not have waits, and both are told.
"""

from __future__ import annotations

from dataclasses import dataclass

from carnet.cargo.names import CrateId
from carnet_signer.metadata.publish import PublishResult


@dataclass(frozen=True, slots=True)
class Refused:
    """One version that was not taken, and why."""

    crate: CrateId
    reason: str


@dataclass(frozen=True, slots=True)
class WaitingVersion:
    """One version that the mirror does not have, of which the upstream said nothing that decides; and why."""

    crate: CrateId
    reason: str


@dataclass(frozen=True, slots=True)
class KeptVersion:
    """One version that stays as the mirror has it, although the upstream says less of it.

    Attributes:
        crate: The version.
        reason: What the upstream says, or why nothing.
        heard: Whether the upstream answered properly, and says less. Otherwise whether it is yanked by now is not
            known.
    """

    crate: CrateId
    reason: str
    heard: bool


@dataclass(frozen=True, slots=True)
class SyncNote:
    """Something about one version that a person should know and that stops nothing."""

    crate: CrateId
    text: str


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did.

    Attributes:
        added: Versions that the mirror did not have.
        updated: Versions whose yank state or publication time is another one now.
        unchanged: How many of the lock's were there already, with nothing new.
        refused: What was not taken.
        kept: What stays as it was although the upstream says less, locked or not.
        waiting: What the mirror does not have, and the upstream did not say enough of.
        findings: What a person should know.
        appeared: What the upstream lists of claimed crates, and nobody signed: their owners may adopt it.
        published: What the publish did; None when nothing had changed, or it was only asked what would.
        taken_down: Versions that are taken down here because an upstream that is a mirror took them down.
    """

    added: tuple[CrateId, ...]
    updated: tuple[CrateId, ...]
    unchanged: int
    refused: tuple[Refused, ...]
    kept: tuple[KeptVersion, ...]
    waiting: tuple[WaitingVersion, ...]
    findings: tuple[SyncNote, ...]
    published: PublishResult | None
    appeared: tuple[CrateId, ...] = ()
    taken_down: tuple[CrateId, ...] = ()

    @property
    def undecided(self) -> bool:
        """Whether something was not decided: another sync may hear of it."""
        return bool(self.waiting) or any(not one.heard for one in self.kept)
