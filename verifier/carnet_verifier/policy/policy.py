"""What a build asks of a crate, and whether what was found is enough: facts and rules to a verdict.

Pure: nothing here fetches, reads a clock or a file. A verdict lists every rule that was broken, so that a person sees
everything at once. Rules only ever take away: a finding that denies cannot be undone by another one, only by an
exception that names the rule and the crate, says why, and ends on a day.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum, IntEnum

from carnet.cargo.names import CrateId
from carnet.errors import FormatError, PolicyRefused
from carnet.level import Level
from carnet.value import field, value


class Action(IntEnum):
    """What a rule that was broken leads to."""

    ALLOW = 0
    WARN = 1
    DENY = 2

    def __str__(self) -> str:
        return self.name.lower()


class Rule(Enum):
    """What a crate can break. The value is the name in `carnet.toml`, in messages and in JSON."""

    LEVEL = "level"
    """It offers less than the least level."""
    DOWNGRADE = "downgrade"
    """It offers less than a version of the same crate that was admitted before."""
    TAKEOVER = "takeover"
    """The registry replaced its owners without their signatures."""
    RELEASED = "released"
    """Its owners gave the name up: nobody vouches for it any more."""
    YANKED = "yanked"
    """Its maintainers or the registry took the version back."""
    MASS_YANK = "mass-yank"
    """It is new, and nearly all versions before it were taken back: as an account thief does it."""
    YOUNG = "young"
    """It was published more recently than `least-age-days`."""
    BANNED = "banned"
    """The policy names it."""
    GIT = "git"
    """The lock takes it from a git repository, which no registry vouches for."""
    OTHER_REGISTRY = "other-registry"
    """The lock takes it from a registry that is not crates-io."""


DEFAULT_RULES: Mapping[Rule, Action] = {
    Rule.LEVEL: Action.DENY,
    Rule.DOWNGRADE: Action.DENY,
    Rule.TAKEOVER: Action.DENY,
    Rule.RELEASED: Action.DENY,
    Rule.YANKED: Action.WARN,
    Rule.MASS_YANK: Action.WARN,
    Rule.YOUNG: Action.DENY,
    Rule.BANNED: Action.DENY,
    Rule.GIT: Action.DENY,
    Rule.OTHER_REGISTRY: Action.DENY,
}

_PATTERN = r"[A-Za-z0-9_*?-]{1,64}(?:@[0-9A-Za-z.+*?-]{1,128})?\Z"


@value
class Pattern:
    """Which crates something is about: `serde`, `acme-*`, `serde@1.0.219`, `serde@1.*`.

    Names are compared in their canonical form, so that `-` and `_` and case make no difference.

    Attributes:
        text: A name with `*` and `?`, and after `@` a version with `*` and `?`; every version when there is no `@`.
    """

    text: str

    def __post_init__(self) -> None:
        if re.match(_PATTERN, self.text) is None:
            raise FormatError(
                f"{self.text[:80]!a} is not a crate pattern", hint="write a name such as serde, acme-* or serde@1.0.*"
            )

    def __str__(self) -> str:
        return self.text

    def covers(self, crate: CrateId) -> bool:
        """Whether the pattern is about this crate."""
        name, at, version = self.text.partition("@")
        if not fnmatch.fnmatchcase(crate.name.canonical, name.lower().replace("-", "_")):
            return False
        return not at or fnmatch.fnmatchcase(str(crate.version), version)


@value
class Demand:
    """The least level that some crates must reach."""

    pattern: Pattern
    least_level: Level


@value
class Ban:
    """Crates that are never let in, and why."""

    pattern: Pattern
    reason: str


@value
class Excuse:
    """An exception: one rule does not deny some crates, for a reason and until a day.

    Attributes:
        pattern: Which crates.
        rule: Which rule.
        reason: Why; shown wherever the exception is used.
        expires: From this moment on it excuses nothing.
    """

    pattern: Pattern
    rule: Rule
    reason: str
    expires: datetime


@value
class Policy:
    """What a build asks.

    Attributes:
        least_level: Of every crate.
        demands: More than that, of some crates; every demand that covers a crate counts.
        rules: What breaking a rule leads to; the defaults for those not listed.
        bans: Crates that are never let in.
        excuses: Exceptions.
        least_age: How long a version must have been public.
    """

    least_level: Level = Level.REGISTRY
    demands: tuple[Demand, ...] = ()
    rules: Mapping[Rule, Action] = field(default_factory=dict)
    bans: tuple[Ban, ...] = ()
    excuses: tuple[Excuse, ...] = ()
    least_age: timedelta = timedelta(0)

    def action(self, rule: Rule) -> Action:
        """What breaking a rule leads to."""
        return self.rules.get(rule, DEFAULT_RULES[rule])

    def least_level_of(self, crate: CrateId) -> Level:
        """The highest of the default and of every demand that covers the crate."""
        asked = (demand.least_level for demand in self.demands if demand.pattern.covers(crate))
        return max((self.least_level, *asked))

    def excuse_for(self, rule: Rule, crate: CrateId, now: datetime) -> Excuse | None:
        """The exception in force for a rule and a crate, or None."""
        for excuse in self.excuses:
            if excuse.rule is rule and now < excuse.expires and excuse.pattern.covers(crate):
                return excuse
        return None


@value
class Facts:
    """What verification established about one crate: what the rules look at.

    Attributes:
        crate: Which one.
        level: What stands behind it.
        owner_least_level: The level that its owners ask of every release, or None.
        highest_seen: The highest level at which any version of it was admitted before, or None.
        takeover: Whether the registry replaced its owners.
        released: Whether its owners gave the name up.
        yanked: Who took the version back (`the maintainers`, `the registry`), or None.
        published: When it was published, or None when the registry does not say.
        mass_yank: What was seen of a mass yank, or None.
    """

    crate: CrateId
    level: Level
    owner_least_level: Level | None = None
    highest_seen: Level | None = None
    takeover: bool = False
    released: bool = False
    yanked: str | None = None
    published: datetime | None = None
    mass_yank: str | None = None


@value
class Finding:
    """A rule that a crate broke.

    Attributes:
        rule: Which.
        action: What follows, after exceptions.
        message: What was found, against what was asked.
        hint: Who can mend it.
        excuse: The exception that keeps it from denying, or None.
    """

    rule: Rule
    action: Action
    message: str
    hint: str = ""
    excuse: Excuse | None = None


@value
class Verdict:
    """What the policy says of one crate.

    Attributes:
        crate: Which one.
        level: What stands behind it.
        findings: Every rule it broke that the policy does not simply allow.
    """

    crate: CrateId
    level: Level | None
    findings: tuple[Finding, ...]

    @property
    def denials(self) -> tuple[Finding, ...]:
        """The findings that deny."""
        return tuple(finding for finding in self.findings if finding.action is Action.DENY)

    def require(self) -> None:
        """Refuse what the policy denies.

        Raises:
            PolicyRefused: A rule denies the crate.
        """
        denials = self.denials
        if denials:
            more = f" (and {len(denials) - 1} more)" if len(denials) > 1 else ""
            raise PolicyRefused(f"{denials[0].message} [{denials[0].rule.value}]{more}", hint=denials[0].hint)


def evaluate(facts: Facts, policy: Policy, *, now: datetime) -> Verdict:
    """Judge one crate of crates-io by what was established about it."""
    return Verdict(facts.crate, facts.level, tuple(_judge(_broken(facts, policy, now), facts.crate, policy, now)))


def evaluate_foreign(crate: CrateId, rule: Rule, source: str, policy: Policy, *, now: datetime) -> Verdict:
    """Judge a package that no trusted registry vouches for: from git, or from another registry.

    Args:
        crate: The package.
        rule: `Rule.GIT` or `Rule.OTHER_REGISTRY`.
        source: What the lock names.
        policy: The build's.
        now: The time of the check.
    """
    broken = [
        Finding(
            rule,
            Action.DENY,
            f"{crate} comes from {source[:200]}, which no signed metadata vouches for",
            "depend on a published version, or allow it in carnet.toml with a reason and an expiry",
        ),
        *_banned(crate, policy),
    ]
    return Verdict(crate, None, tuple(_judge(broken, crate, policy, now)))


def _judge(broken: Iterable[Finding], crate: CrateId, policy: Policy, now: datetime) -> Iterator[Finding]:
    for finding in broken:
        action = policy.action(finding.rule)
        excuse = policy.excuse_for(finding.rule, crate, now) if action is Action.DENY else None
        if excuse is not None:
            action = Action.WARN
        if action is not Action.ALLOW:
            yield Finding(finding.rule, action, finding.message, finding.hint, excuse)


def _banned(crate: CrateId, policy: Policy) -> Iterator[Finding]:
    for ban in policy.bans:
        if ban.pattern.covers(crate):
            yield Finding(Rule.BANNED, Action.DENY, f"{crate} is banned by the policy: {ban.reason}")


def _broken(facts: Facts, policy: Policy, now: datetime) -> Iterator[Finding]:
    crate = facts.crate
    yield from _banned(crate, policy)
    least = policy.least_level_of(crate)
    if facts.level < least:
        yield Finding(
            Rule.LEVEL,
            Action.DENY,
            f"{crate} is at level {facts.level}, the policy asks for {least}",
            "its maintainers can claim it and sign this version; or lower least-level for it in carnet.toml",
        )
    if facts.owner_least_level is not None and facts.level < facts.owner_least_level:
        yield Finding(
            Rule.LEVEL,
            Action.DENY,
            f"{crate} is at level {facts.level}, its owners ask for {facts.owner_least_level}",
            "its maintainers can submit the missing evidence",
        )
    if facts.highest_seen is not None and facts.level < facts.highest_seen:
        yield Finding(
            Rule.DOWNGRADE,
            Action.DENY,
            f"{crate} is at level {facts.level}, {crate.name} was seen at {facts.highest_seen} before",
            "ask its maintainers why; an exception for `downgrade` in carnet.toml lets it in for a while",
        )
    if facts.takeover:
        yield Finding(
            Rule.TAKEOVER,
            Action.DENY,
            f"the registry replaced the owners of {crate.name} without their signatures",
            "ask the registry why; an exception for `takeover` in carnet.toml accepts the new owners",
        )
    if facts.released:
        yield Finding(
            Rule.RELEASED,
            Action.DENY,
            f"the owners of {crate.name} gave the name up: nobody vouches for {crate}",
            "use another crate, or allow it with an exception for `released` in carnet.toml",
        )
    if facts.yanked is not None:
        # No advice to update: a thief who yanks good versions wants exactly that.
        yield Finding(Rule.YANKED, Action.WARN, f"{crate} was yanked by {facts.yanked}")
    if facts.mass_yank is not None:
        yield Finding(Rule.MASS_YANK, Action.DENY, facts.mass_yank, "keep the version that you have, and find out why")
    if policy.least_age > timedelta(0):
        yield from _young(facts, policy, now)


def _young(facts: Facts, policy: Policy, now: datetime) -> Iterator[Finding]:
    days = policy.least_age.days
    if facts.published is None:
        yield Finding(Rule.YOUNG, Action.DENY, f"the registry does not say when {facts.crate} was published")
    elif now - facts.published < policy.least_age:
        day = facts.published.astimezone(UTC).date()
        yield Finding(
            Rule.YOUNG,
            Action.DENY,
            f"{facts.crate} was published on {day}, less than {days} days ago",
            f"wait until {day + policy.least_age}, or use an older version",
        )
