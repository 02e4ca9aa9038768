"""The gate's own words for what it does: told to whoever runs it, while it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from carnet.value import value

if TYPE_CHECKING:
    # What reads requirements is imported where there are some: start-up time counts.
    from carnet.cargo.asked import AskedFor
    from carnet.cargo.names import CrateId
    from carnet.errors import CarnetError
    from carnet.level import Level
    from carnet_verifier.policy.verdict import Verdict

if TYPE_CHECKING:
    from carnet.cargo.pull import PullEnd, PullProgress


@value
class Lacking:
    """What the mirror has not.

    Attributes:
        asked: Name and requirement.
        by: The version that depends on it; None when the project does.
        owned: Whether the crate is claimed, and its owners alone can sign such a version in.
    """

    asked: AskedFor
    by: CrateId | None = None
    owned: bool = False


@value
class Skipped:
    """A version that cargo would have chosen, and that is not let in.

    Attributes:
        crate: The newest such version.
        others: How many older ones are not let in either.
        reason: Why the newest is not: what the policy says of it, or that nobody vouches for it.
    """

    crate: CrateId
    others: int
    reason: str


class Reporter(Protocol):
    """Is told what the gate finds; what it does with that decides nothing."""

    def warn(self, text: str) -> None:
        """Something that a person should know and that stops nothing."""

    def remarks(self, verdict: Verdict) -> None:
        """What the policy says of a crate beside a denial."""

    def refused(self, error: CarnetError) -> None:
        """One of several crates that were not admitted; the error that ends the run says how many there were."""

    def admitted(self, levels: Sequence[Level], url: str) -> None:
        """Every package of the lock was let in, at these levels; `url` is where the repository is."""

    def skipped(self, versions: Sequence[Skipped]) -> None:
        """Versions that cargo would have chosen, had they been let in; one for each crate."""

    def missing(self, lacking: Sequence[Lacking]) -> None:
        """What the mirror has not, and cargo did not find."""

    def asking(self, asked: Sequence[AskedFor]) -> None:
        """The mirror is asked to bring these."""

    def mirror_says(self, said: PullProgress | PullEnd) -> None:
        """How far the mirror says that it is, or what came of the ask: its own words, which nobody believes."""

    def cargo_said(self, text: str, hint: str = "") -> None:
        """What cargo wrote to its stderr when it could not work with the lock, and what to do, where that is known."""

    def counting(self, label: str, length: int) -> AbstractContextManager[Callable[[int], None]]:
        """A long piece of work of `length` units begins; the function says that so many more are done."""
