"""A `carnet.toml` made from a lock as it is today, with a comment at everything: for people who then change it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from carnet import strictjson
from carnet.errors import FormatError
from carnet.level import Level
from carnet.value import value
from carnet_cli.terminal.output import plain
from carnet_verifier.policy import rules
from carnet_verifier.policy.policy import Pattern

if TYPE_CHECKING:
    from carnet.cargo.lockfile import LockedPackage
    from carnet_verifier.admit import Admission, Outcome

EXCEPTED_FOR = timedelta(days=180)
"""How long a drafted exception holds: time enough to look at the package, or to replace it."""
_WIDTH = 100
_LONGEST = 300


@value
class Today:
    """A lock as it is judged today.

    Attributes:
        lock: Its name, for the head of the file.
        outcomes: What became of each crate of crates-io.
        foreign: The packages from elsewhere, each with the name of the rule that is about it.
        now: The time.
        seen_in: The repository and the version of its snapshot.
        counts: Whether exceptions count in the file that this is for; a project's own holds none that nobody lets it.
    """

    lock: str
    outcomes: tuple[Outcome, ...]
    foreign: tuple[tuple[LockedPackage, str], ...]
    now: datetime
    seen_in: str
    counts: bool


def draft_policy(today: Today) -> str:
    """Write the file.

    What it asks, the lock fulfils today: the lowest level of all crates from all, and of each crate above that its own.
    """
    sections = (
        _head(today),
        _asked_of_all(today),
        _rules(),
        _asked_of_some(today),
        _exceptions(today),
        _refused(today),
    )
    return "\n".join("\n".join(section) + "\n" for section in map(list, sections) if section)


def _head(today: Today) -> Iterator[str]:
    yield from _comment(
        f"What is asked of crates: made by `carnet policy init` on {today.now:%Y-%m-%d} from {today.lock}, as "
        f"{today.seen_in} had it. Change it as you like; docs/build-systems.md shows every key, and `carnet policy "
        "explain NAME` says who decided what."
    )
    yield "#"
    yield from _comment(
        "Beside Cargo.lock it is the project's word: it can only ask for more than flags, variables, the machine's "
        "file and the user's own file ask."
    )
    yield ""
    yield '# repository = "https://mirror.example/"   # needed where several are trusted'


def _asked_of_all(today: Today) -> Iterator[str]:
    levels = Counter(admission.level for admission in _admissions(today))
    counted = ", ".join(f"{levels[level]} at {level}" for level in sorted(levels)) or "no crate of crates-io"
    yield "[policy]"
    yield from _comment(f"Today: {counted}. The levels are {', '.join(str(level) for level in Level)}.")
    yield f"least-level = {_quoted(str(min(levels, default=Level.REGISTRY)))}"
    yield from _comment("For how many days a version must have been public, so that somebody can look at it first.")
    yield "# least-age-days = 7"


def _rules() -> Iterator[str]:
    yield "[rules]"
    yield from _comment("deny, warn or allow. These are the defaults; take the # away to decide otherwise.")
    width = max(len(rule.name) for rule in rules.ALL)
    for rule in rules.ALL:
        yield f'# {rule.name:<{width}} = "{rule.default}"'


def _asked_of_some(today: Today) -> Iterator[str]:
    admissions = list(_admissions(today))
    least = min((admission.level for admission in admissions), default=Level.REGISTRY)
    levels: dict[str, list[Admission]] = {}
    for admission in admissions:
        levels.setdefault(str(admission.crate.name), []).append(admission)
    above = {name: some for name, some in levels.items() if min(one.level for one in some) > least}
    if above:
        yield from _comment("More stands behind these crates today, and a version with less is not let in.")
    for name, some in sorted(above.items()):
        yield ""
        yield "[[require]]"
        yield f"crates = {_quoted(name)}   # today {', '.join(f'{one.crate.version} at {one.level}' for one in some)}"
        yield f"least-level = {_quoted(str(min(one.level for one in some)))}"


def _exceptions(today: Today) -> Iterator[str]:
    if not today.foreign:
        return
    yield from _comment(
        "Nobody vouches for these packages. Say why each is needed, or take it out: the reason is shown whenever it is "
        "used, and after its day it is refused again. Packages from git are held to the commit in the lock."
    )
    if not today.counts:
        yield from _comment(
            "A project's file cannot except them, so they stand here as comments: write them into your own file "
            "(`carnet policy init --output ~/.config/carnet/carnet.toml`), or let projects do it there: "
            '[project] may-except = ["git"].'
        )
    mark = "" if today.counts else "# "
    for package, rule in today.foreign:
        yield ""
        try:
            pattern = Pattern(str(package.id)).text
        except FormatError:  # cargo takes names there that no pattern has
            yield from _comment(f"{package.id} from {package.source} has a name that no exception can spell.")
            continue
        yield from _comment(f"from {package.source}")
        yield f"{mark}[[exception]]"
        yield f"{mark}crates = {_quoted(pattern)}"
        yield f"{mark}rule = {_quoted(rule)}"
        yield f'{mark}reason = "was in the lock when this file was made; nobody has said why yet"'
        yield f"{mark}expires = {(today.now + EXCEPTED_FOR):%Y-%m-%d}"


def _refused(today: Today) -> Iterator[str]:
    refused = [outcome for outcome in today.outcomes if outcome.error is not None]
    if refused:
        yield from _comment("Refused today, and by this file too:")
    for outcome in refused:
        yield from _comment(f"{outcome.wanted.id}: {outcome.error}")


def _admissions(today: Today) -> Iterable[Admission]:
    return (outcome.admission for outcome in today.outcomes if outcome.admission is not None)


def _comment(text: str) -> Iterator[str]:
    """A comment, whatever is in the text: no letter of it ends the line or hides another one."""
    words = plain(text[:_LONGEST] if len(text) > 2 * _LONGEST else text).split()
    line = "#"
    for word in words:
        if len(line) + len(word) >= _WIDTH and line != "#":
            yield line
            line = "#"
        line += f" {word}"
    yield line


def _quoted(text: str) -> str:
    return strictjson.encode(text).decode()
