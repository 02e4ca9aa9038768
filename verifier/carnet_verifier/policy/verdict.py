"""What judging a crate leads to: findings, and the verdict that they add up to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carnet.errors import PolicyRefused
from carnet.made import made_by
from carnet.value import value
from carnet_verifier.policy.rule import Action, Rule

if TYPE_CHECKING:
    from carnet.cargo.names import CrateId
    from carnet.level import Level
    from carnet_verifier.policy.policy import Excuse


@value
class Finding:
    """A rule that a crate broke, and what follows from it.

    Attributes:
        rule: Which.
        action: What follows, after exceptions.
        message: What was found, against what was asked.
        hint: Who can mend it.
        excuse: The exception that keeps it from denying, or None.
        source: Who decided it, such as a file; empty when it is carnet's default, or not known.
    """

    rule: Rule
    action: Action
    message: str
    hint: str = ""
    excuse: Excuse | None = None
    source: str = ""

    def __str__(self) -> str:
        return f"{self.message} [{self.rule.name}]{f', says {self.source}' if self.source else ''}"


@made_by("evaluate")
@value
class Verdict:
    """What the policy says of one crate.

    Attributes:
        crate: Which one.
        level: What stands behind it; None of a foreign package, and while the bytes that decide it were not looked at.
        findings: Every rule it broke that the policy does not simply allow: what denies comes first, then by name.
        waiting: Rules in force that could not be judged, because what they need was not gathered yet. A verdict with
            one of them admits nothing.
    """

    crate: CrateId
    level: Level | None
    findings: tuple[Finding, ...]
    waiting: tuple[Rule, ...] = ()

    @property
    def denials(self) -> tuple[Finding, ...]:
        """The findings that deny."""
        return tuple(finding for finding in self.findings if finding.action is Action.DENY)

    def require(self) -> None:
        """Refuse what the policy denies. A verdict that waits for bytes is refused for what metadata alone shows.

        Raises:
            PolicyRefused: A rule denies the crate.
        """
        denials = self.denials if self.findings else ()
        if denials:
            more = f" (and {len(denials) - 1} more)" if len(denials) > 1 else ""
            raise PolicyRefused(f"{denials[0]}{more}", hint=denials[0].hint, decided_by=denials[0].source)
