"""What a rule is, one value in one file of `carnet_verifier.policy.rules`; what it looks at; what may be set of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from carnet.cargo.lockfile import SourceKind
from carnet.value import value

if TYPE_CHECKING:
    from datetime import datetime

    from carnet.cargo.let_in import LetIn
    from carnet.cargo.names import CrateId
    from carnet.level import Level
    from carnet_evidence.kind import Evidence, Kind
    from carnet_verifier.policy.policy import Policy

T = TypeVar("T")

CRATES_IO = frozenset((SourceKind.CRATES_IO,))
ANYWHERE = frozenset((SourceKind.CRATES_IO, SourceKind.GIT, SourceKind.REGISTRY))


class Action(IntEnum):
    """What a rule that was broken leads to."""

    ALLOW = 0
    WARN = 1
    DENY = 2

    def __str__(self) -> str:
        return self.name.lower()


@value
class Breach:
    """One way in which a crate breaks a rule, as the rule says it.

    Attributes:
        message: What was found, against what was asked.
        hint: Who can mend it.
        source: Who asked, such as a file; None for whoever decided what the rule leads to.
    """

    message: str
    hint: str = ""
    source: str | None = None


@value
class Facts:
    """What verification established about one package of a lock.

    Attributes:
        crate: Which one.
        level: What stands behind it; None of a foreign package, and while the bytes that decide it were not looked at.
        owner_least_level: The level that its owners ask of this release, or None.
        highest_seen: The highest level at which any version of it was admitted before, or None.
        takeover: Whether the registry replaced its owners.
        released: Whether its owners gave the name up.
        yanked: Who took the version back (`its maintainers`, `the registry`), or None.
        evidence: What was gathered about it; None of a foreign package.
        origin: Where the lock takes it from.
        source: What the lock names as its source, of a foreign package.
        taken_over: When the registry replaced owners of it, as its owner role says; None when it does not say so.
        let_in: What the mirror's operator says of it, when its index line is not its manifest's.
        unpinned: Whether the lock that names it has no checksum for it.
        owners_seen_in: The project's file that alone remembers other owners of it, or nothing.
    """

    crate: CrateId
    level: Level | None = None
    owner_least_level: Level | None = None
    highest_seen: Level | None = None
    takeover: bool = False
    released: bool = False
    yanked: str | None = None
    evidence: Evidence | None = None
    origin: SourceKind = SourceKind.CRATES_IO
    source: str = ""
    taken_over: datetime | None = None
    let_in: LetIn | None = None
    unpinned: bool = False
    owners_seen_in: str = ""

    def has(self, kind: Kind[Any]) -> bool:
        """Whether a kind of evidence was gathered."""
        return self.evidence is not None and kind in self.evidence

    def of(self, kind: Kind[T]) -> T:
        """What a kind of evidence found.

        Raises:
            LookupError: It was not gathered: a rule that asks must name it among its needs.
        """
        if self.evidence is None:
            raise LookupError(f"no evidence was gathered of {self.crate}")
        return self.evidence.of(kind)


def of_no_crate(_: Facts, __: Policy, ___: datetime) -> Iterable[Breach]:
    """Judges no crate: the rule is about a run or a lock, and whoever finds it broken asks the policy what follows."""
    return ()


@value(eq=False)
class Setting(Generic[T]):
    """Something that a rule asks of a crate and that a policy may set.

    It stands in `[policy]` of `carnet.toml`, in a `[[require]]` for some crates, in the environment as `CARNET_` and
    its name, and as a flag of that name.

    Attributes:
        name: Kebab-case, unique among all rules.
        default: What holds when nobody says anything.
        form: `str` or `int`: what is written.
        read: From what is written to the value; raises a `FormatError` when it is none.
        stricter: The one of two values that lets less in: several demands about one crate all count, and a project's
            file counts only where it says that one. Where it is the stricter one, the rule denies all that it denies
            with the other.
        about: One sentence, for help texts and documents.
        written: From a value back to what is written, for people and machines.
    """

    name: str
    default: T
    form: type[str] | type[int]
    read: Callable[[Any], T]
    stricter: Callable[[T, T], T]
    about: str
    written: Callable[[T], str | int] = str

    @property
    def flag(self) -> str:
        """`--least-level` of `least-level`."""
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        """`CARNET_LEAST_LEVEL` of `least-level`."""
        return f"CARNET_{self.name.upper().replace('-', '_')}"


def whatever(_: Policy) -> bool:
    """For a rule that is in force unless the policy allows what it finds."""
    return True


@value(eq=False)
class Rule:
    """What a crate can break.

    Attributes:
        name: Kebab-case, unique: in `carnet.toml`, in messages and in JSON.
        default: What breaking it leads to, unless the policy says otherwise.
        about: One paragraph for help texts and documents, in Markdown; it begins with what breaks the rule.
        judge: From facts, policy and the time to the ways in which the crate breaks it: none when it does not. Pure. It
            can only take away: nothing that it returns undoes what another rule found.
        needs: The kinds of evidence that it looks at. A rule whose evidence is not there yet is not judged, and nothing
            is admitted before it was.
        settings: What a policy may ask with it.
        origins: The packages that it is about.
        of_version: Whether it is about one version, so that a resolver does better with another one: the proxy does
            not show cargo a version that such a rule denies.
        in_force: Whether the policy asks anything with it; where not, its evidence is not gathered either.
    """

    name: str
    default: Action
    about: str
    judge: Callable[[Facts, Policy, datetime], Iterable[Breach]]
    needs: tuple[Kind[Any], ...] = ()
    settings: tuple[Setting[Any], ...] = ()
    origins: frozenset[SourceKind] = CRATES_IO
    of_version: bool = False
    in_force: Callable[[Policy], bool] = whatever
