"""What a mirror brings because somebody asked for it: crates by pattern, versions by age.

`deny` wins over `approve`, and `approve` over `allow`; a crate that none of them is about is not brought. A pattern of
a whole name (`serde`, `acme-*`) is about every version of it, one with a version (`serde@1.0.*`) about those alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from carnet import times
from carnet.cargo.index_line import IndexLine
from carnet.cargo.names import CrateId, CrateName, Version
from carnet.errors import FormatError, VerificationError
from carnet_verifier.policy.policy import Pattern

_ANY = Version("0.0.0")
_DAY = timedelta(days=1)

APPROVAL = "it waits for a person: the mirror's operator approves of it with `carnet mirror approve`"
_DENIED = "this mirror's operator lets nobody bring it"
_NOT_ALLOWED = "this mirror's operator does not let it be brought"


@dataclass(frozen=True, slots=True)
class PullRules:
    """What may be brought.

    Attributes:
        allow: What is brought when somebody asks for it.
        deny: What is not, whatever else is said of it.
        approve: What is brought once a person has signed it off.
        least_age: How long a version has to have been public, as the upstream says. Where it does not say, a version
            is not brought unless this is nothing.
    """

    allow: tuple[Pattern, ...] = ()
    deny: tuple[Pattern, ...] = ()
    approve: tuple[Pattern, ...] = ()
    least_age: timedelta = field(default=3 * _DAY)

    def signed_off(self) -> PullRules:
        """The rules for what a person has approved of: what else they say holds."""
        return PullRules((*self.allow, *self.approve), self.deny, (), self.least_age)

    def why_no_crate(self, name: CrateName) -> str:
        """Why no version of a crate is brought, in words; empty where some may be."""
        any_version = CrateId(name, _ANY)
        if _cover(self.deny, any_version, whole=True):
            return _DENIED
        if _cover(self.approve, any_version, whole=True):
            return APPROVAL
        named = any(_names(pattern, name) for pattern in (*self.allow, *self.approve))
        return "" if named else _NOT_ALLOWED

    def why_no_version(self, line: IndexLine, now: datetime) -> str:
        """Why a version is not brought, in words; empty where it is."""
        if _cover(self.deny, line.id):
            return _DENIED
        if _cover(self.approve, line.id):
            return APPROVAL
        if not _cover(self.allow, line.id):
            return _NOT_ALLOWED
        return self._too_young(line, now)

    def require(self, line: IndexLine, now: datetime) -> None:
        """Demand that a version may be brought.

        Raises:
            VerificationError: It may not, and why.
        """
        reason = self.why_no_version(line, now)
        if reason:
            raise VerificationError(reason)

    def _too_young(self, line: IndexLine, now: datetime) -> str:
        if not self.least_age:
            return ""
        days = self.least_age // _DAY
        if line.pubtime is None:
            return f"the upstream does not say when it was published, and it has to be {days} days old here"
        try:
            published = times.read_foreign(line.pubtime, "its publication time")
        except FormatError:
            return "the upstream says in no way that can be read when it was published"
        if now - published >= self.least_age:
            return ""
        return f"it was published on {published.date()}: this mirror waits until it is {days} days old"


def _cover(patterns: tuple[Pattern, ...], crate: CrateId, *, whole: bool = False) -> bool:
    """Whether one of some patterns is about a version; or, about every version of a crate."""
    return any(pattern.covers(crate) for pattern in patterns if not whole or "@" not in pattern.text)


def _names(pattern: Pattern, name: CrateName) -> bool:
    """Whether a pattern is about some version of a crate."""
    return Pattern(pattern.text.partition("@")[0]).covers(CrateId(name, _ANY))
