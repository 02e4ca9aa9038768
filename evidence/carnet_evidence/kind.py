"""Kinds of evidence: what each needs, how it is gathered, and what was found, bound to the tarball that it is about.

A kind is one value in one module. It says what it needs, so that whoever gathers knows beforehand whether a tarball has
to be fetched; it gathers from `Material`, does no I/O, and raises when what it looks at is not what it should be.
Nothing lists the kinds: a rule names those that it judges by, and they are gathered when the rule is in force.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from carnet.errors import FormatError, MetadataMismatch
from carnet.made import made_by, maker
from carnet.value import field, value

if TYPE_CHECKING:
    # Most crates are judged by their index line alone: start-up time counts.
    from datetime import datetime
    from typing import Literal

    from carnet.cargo.crate import CrateFile
    from carnet.cargo.index_file import IndexLine
    from carnet.claims.releases import Demands, SignedRelease

    Need = Literal["line", "history", "claim", "tarball"]
    """The index line; the crate's other versions; what its owners and release keys signed; the tarball."""

T = TypeVar("T")


@value(eq=False)
class Material:
    """What is in hand about one version, all of it verified.

    Attributes:
        line: Its index line, as the registry signed it.
        history: Gives every line of the crate that counts, yanked as those say whose word it is; called when a kind
            looks, for old crates have hundreds.
        now: The time of the check, aware.
        release: What the release keys signed for it; None when the crate is unclaimed.
        demands: What the owners ask of their releases; None when the crate is unclaimed.
        tarball: The tarball, read; None before anybody fetched it.
        beside: Signed files that came with the tarball, by target path: its bundle, the owners' layouts.
    """

    line: IndexLine
    history: Callable[[], Sequence[IndexLine]]
    now: datetime
    release: SignedRelease | None = None
    demands: Demands | None = None
    tarball: CrateFile | None = None
    beside: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.tarball is not None and self.tarball.sha256 != self.line.cksum:
            raise MetadataMismatch(f"the tarball of {self.tarball.id} was offered as evidence about other bytes")


def always(_: Material) -> bool:
    """For a kind that has something to say of every version."""
    return True


@value(eq=False)
class Kind(Generic[T]):
    """One kind of evidence.

    Attributes:
        name: Unique, kebab-case; in messages and in JSON.
        needs: What it gathers from. Only a tarball costs a fetch, so only for a tarball anything has to wait.
        gather: From material that has all it needs to what was found. Pure; raises a `CarnetError` when what it looks
            at does not hold.
        concerns: Whether there is anything to find about a version, as far as metadata tells. Where there is not, None
            is found, and nothing is fetched for it.
    """

    name: str
    needs: frozenset[Need]
    gather: Callable[[Material], T]
    concerns: Callable[[Material], bool] = always

    def waits_for_bytes(self, material: Material) -> bool:
        """Whether it can only be gathered once the tarball is there."""
        return "tarball" in self.needs and material.tarball is None and self.concerns(material)


@made_by("gather")
@value(eq=False)
class Evidence:
    """What was found about one version.

    Attributes:
        sha256: Of the tarball that all of it is about.
        found: What each kind found; a kind that was not gathered is missing.
    """

    sha256: str
    found: Mapping[Kind[Any], Any]

    def __contains__(self, kind: Kind[Any]) -> bool:
        return kind in self.found

    def of(self, kind: Kind[T]) -> T:
        """What a kind found.

        Raises:
            LookupError: It was not gathered: the rule that asks does not name it among its needs.
        """
        if kind not in self.found:
            raise LookupError(f"evidence of the kind {kind.name} was not gathered")
        return cast("T", self.found[kind])


_evidence = maker(Evidence)


def gather(kinds: Iterable[Kind[Any]], material: Material) -> Evidence:
    """Gather what can be gathered from the material in hand; kinds that wait for the tarball are left out.

    Args:
        kinds: Which.
        material: What is in hand.

    Raises:
        CarnetError: What a kind looked at does not hold.
    """
    found = {}
    for kind in kinds:
        if not kind.waits_for_bytes(material):
            try:
                found[kind] = kind.gather(material) if kind.concerns(material) else None
            except (ArithmeticError, ValueError) as error:  # one odd line must not end the look at a whole lock
                raise FormatError(f"{material.line.id}: its {kind.name} cannot be reckoned with: {error}") from error
    return _evidence(material.line.cksum, found)
