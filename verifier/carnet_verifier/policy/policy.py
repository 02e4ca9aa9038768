"""What a build asks of its crates: settings, demands for some crates, what breaking a rule leads to, exceptions.

Rules only ever take away: a finding that denies cannot be undone by another one, only by an exception that names the
rule and the crate, says why, and ends on a day.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from carnet.cargo.names import Version
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
        version = self.text.partition("@")[2]
        if version and not {"*", "?"} & set(version):  # such as `1.0`: it would be about nothing at all, unnoticed
            try:
                Version(version)
            except FormatError:
                raise FormatError(
                    f"{self.text[:80]!a} covers no version: {version[:40]!a} is not one",
                    hint="write the whole version, such as serde@1.0.219, or one with *, such as serde@1.0.*",
                ) from None

    def __str__(self) -> str:
        return self.text

    def covers(self, crate: CrateId) -> bool:
        """Whether the pattern is about this crate, for what takes away: `serde@1.0.0` is about `1.0.0+build` too.

        Build metadata does not make another version (SemVer 10), and whoever publishes writes what they like there.
        """
        return self.names(crate) or ("+" not in self.text and self._fits(crate, str(crate.version).partition("+")[0]))

    def names(self, crate: CrateId) -> bool:
        """Whether the pattern is about this crate, for what lets in: build metadata is written out, or a `*` there."""
        return self._fits(crate, str(crate.version))

    def _fits(self, crate: CrateId, as_version: str) -> bool:
        name, at, version = self.text.partition("@")
        if not fnmatch.fnmatchcase(crate.name.canonical, name.lower().replace("-", "_")):
            return False
        return not at or fnmatch.fnmatchcase(as_version, version)


@value
class Demand:
    """More than the policy asks of every crate, of some crates.

    Attributes:
        pattern: Which crates.
        settings: What is asked of them.
        source: Who asks, such as a file; empty when that is not known.
    """

    pattern: Pattern
    settings: Mapping[Setting[Any], Any]
    source: str = ""


@value
class Ban:
    """Crates that are never let in, why, and who says so (a file, or nothing when that is not known)."""

    pattern: Pattern
    reason: str
    source: str = ""


@value
class Excuse:
    """An exception: one rule does not deny some crates, for a reason and until a day.

    Attributes:
        pattern: Which crates.
        rule: Which rule.
        reason: Why; shown wherever the exception is used.
        expires: From this moment on it excuses nothing.
        source: Who says so, such as a file; empty when that is not known.
    """

    pattern: Pattern
    rule: Rule
    reason: str
    expires: datetime
    source: str = ""

    def holds(self, rule: Rule, crate: CrateId, now: datetime) -> bool:
        """Whether it is about a rule and a crate, and its time is not over."""
        return self.rule is rule and now < self.expires and self.pattern.names(crate)


@value
class Policy:
    """What a build asks, or what one of those asks who may say so (`carnet_verifier.policy.floor` puts them together).

    Attributes:
        settings: Of every crate; the defaults of those not listed.
        demands: More than that, of some crates; every demand that covers a crate counts.
        rules: What breaking a rule leads to; the defaults of those not listed.
        bans: Crates that are never let in.
        excuses: Exceptions.
        may_except: The rules that a project's exceptions may be about; None when nothing was said, which means none.
        sources: Who said each of `settings` and `rules`, such as a file; those not listed are not known.
        floor: What holds whatever the project's exceptions say, which may be about `projects_excuses` only where this
            does not deny; None when no project had a say.
        projects_excuses: Exceptions of a project that the floor does not let it make.
    """

    settings: Mapping[Setting[Any], Any] = field(default_factory=dict)
    demands: tuple[Demand, ...] = ()
    rules: Mapping[Rule, Action] = field(default_factory=dict)
    bans: tuple[Ban, ...] = ()
    excuses: tuple[Excuse, ...] = ()
    may_except: frozenset[Rule] | None = None
    sources: Mapping[Setting[Any] | Rule, str] = field(default_factory=dict)
    floor: Policy | None = None
    projects_excuses: tuple[Excuse, ...] = ()

    def action(self, rule: Rule) -> Action:
        """What breaking a rule leads to."""
        return self.rules.get(rule, rule.default)

    def asks(self, setting: Setting[T], crate: CrateId) -> T:
        """What is asked of a crate: the strictest of what holds for all and of every demand that covers it."""
        asked = self.asks_of_all(setting)
        for demand in self.demands:
            if setting in demand.settings and demand.pattern.covers(crate):
                asked = setting.stricter(asked, demand.settings[setting])
        return asked

    def asks_of_all(self, setting: Setting[T]) -> T:
        """What is asked of every crate."""
        return cast("T", self.settings.get(setting, setting.default))

    def asked(self, setting: Setting[T]) -> tuple[T, ...]:
        """Everything that is asked with a setting: of every crate, and of some."""
        more = (demand.settings[setting] for demand in self.demands if setting in demand.settings)
        return (self.asks_of_all(setting), *more)

    def who_says(self, about: Setting[Any] | Rule) -> str:
        """Who decided what is asked of every crate, or what a rule leads to: such as a file.

        Returns:
            Its name; empty when it is carnet's default, or not known.
        """
        return self.sources.get(about, "")

    def who_asks(self, setting: Setting[Any], crate: CrateId) -> str:
        """Who decided what is asked of one crate; as `who_says`."""
        source, strictest = self.who_says(setting), self.asks_of_all(setting)
        for demand in self.demands:
            if setting in demand.settings and demand.pattern.covers(crate):
                asked = setting.stricter(strictest, demand.settings[setting])
                source, strictest = (source if asked == strictest else demand.source), asked
        return source

    def excuse_for(self, rule: Rule, crate: CrateId, now: datetime) -> Excuse | None:
        """The exception in force for a rule and a crate, or None."""
        return next((excuse for excuse in self.excuses if excuse.holds(rule, crate, now)), None)
