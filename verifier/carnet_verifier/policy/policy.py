"""What a build asks of its crates: settings, demands for some crates, what breaking a rule leads to, exceptions.

Rules only ever take away: a finding that denies cannot be undone by another one, only by an exception that names the
rule and the crate, says why, and ends on a day.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from carnet.errors import FormatError
from carnet.value import field, value
from carnet_verifier.policy.rule import Action

if TYPE_CHECKING:
    from datetime import datetime

    from carnet.cargo.names import CrateId
    from carnet_verifier.policy.rule import Rule, Setting

T = TypeVar("T")

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
    """More than the policy asks of every crate, of some crates.

    Attributes:
        pattern: Which crates.
        settings: What is asked of them.
    """

    pattern: Pattern
    settings: Mapping[Setting[Any], Any]


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
        settings: Of every crate; the defaults of those not listed.
        demands: More than that, of some crates; every demand that covers a crate counts.
        rules: What breaking a rule leads to; the defaults of those not listed.
        bans: Crates that are never let in.
        excuses: Exceptions.
    """

    settings: Mapping[Setting[Any], Any] = field(default_factory=dict)
    demands: tuple[Demand, ...] = ()
    rules: Mapping[Rule, Action] = field(default_factory=dict)
    bans: tuple[Ban, ...] = ()
    excuses: tuple[Excuse, ...] = ()

    def action(self, rule: Rule) -> Action:
        """What breaking a rule leads to."""
        return self.rules.get(rule, rule.default)

    def asks(self, setting: Setting[T], crate: CrateId) -> T:
        """What is asked of a crate: the strictest of what holds for all and of every demand that covers it."""
        asked = cast("T", self.settings.get(setting, setting.default))
        for demand in self.demands:
            if setting in demand.settings and demand.pattern.covers(crate):
                asked = setting.stricter(asked, demand.settings[setting])
        return asked

    def asked(self, setting: Setting[T]) -> tuple[T, ...]:
        """Everything that is asked with a setting: of every crate, and of some."""
        more = (demand.settings[setting] for demand in self.demands if setting in demand.settings)
        return (cast("T", self.settings.get(setting, setting.default)), *more)

    def excuse_for(self, rule: Rule, crate: CrateId, now: datetime) -> Excuse | None:
        """The exception in force for a rule and a crate, or None."""
        for excuse in self.excuses:
            if excuse.rule is rule and now < excuse.expires and excuse.pattern.covers(crate):
                return excuse
        return None
