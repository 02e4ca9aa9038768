"""What a gate asks a mirror to bring, and what the mirror says while it does: docs/formats.md, "An ask".

::

    {"asked": [{"name": "serde", "requirement": "^1.0"}, ...], "locked": false}

The answer is lines of JSON: how far it is, as often as the mirror likes, and one last line that says what came of it.
**Nothing of it is believed**: what was published is seen by looking, as every client does. So what is read of it here
is only what a person wants to know meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from carnet import strictjson
from carnet.cargo.asked import AskedFor
from carnet.errors import FormatError
from carnet.strictjson import Json, JsonObject
from carnet.value import value

URL_PATH = "api/v1/carnet/pull"
"""Where an ask is posted."""
MEDIA_TYPE = "application/json"
LINES = "application/x-ndjson"
"""Media type of the answer."""
MAX_ASK = 1024 * 1024
"""Bytes of an ask."""
MAX_ASKED = 4096
"""Names and requirements in one ask: locks of two thousand packages are the largest that are known."""
MAX_ANSWER = 4 * 1024 * 1024
"""Bytes of an answer, all of its lines together."""
MAX_LINE = 2 * 1024 * 1024
"""Bytes of one line of it."""
MOST_TOLD = 1000
"""Entries of each list in the last line: whoever asked sees the rest by looking."""
LONGEST_REASON = 300
"""Characters of a reason."""


@value
class PullAsk:
    """One ask.

    Attributes:
        asked: Names and requirements, each once.
        locked: Whether that is a whole lock: each requirement is `=VERSION`, and what those depend on is asked for
            beside them or not needed. Otherwise the mirror brings what they depend on as well.
    """

    asked: tuple[AskedFor, ...]
    locked: bool = False

    def __post_init__(self) -> None:
        if not 1 <= len(self.asked) <= MAX_ASKED:
            raise FormatError(
                f"an ask is for 1 to {MAX_ASKED} crates, and not for {len(self.asked)}", hint="ask for less at once"
            )
        if len(set(self.asked)) != len(self.asked):
            raise FormatError("an ask names something twice", hint="name each requirement once")
        loose = next((one for one in self.asked if self.locked and not one.requirement.startswith("=")), None)
        if loose is not None:
            raise FormatError(f"{loose} is no version of a lock", hint="write =1.2.3, or leave `locked` out")

    @classmethod
    def of(cls, asked: Iterable[AskedFor], *, locked: bool = False) -> PullAsk:
        """An ask for these, each once, as many as fit into one.

        Raises:
            FormatError: They are none.
        """
        return cls(tuple(dict.fromkeys(asked))[:MAX_ASKED], locked)

    @classmethod
    def from_bytes(cls, data: bytes) -> PullAsk:
        """Read one that a stranger posted.

        Raises:
            FormatError: It is none, or asks for too much.
        """
        body = strictjson.parse_object(data, "the ask", max_bytes=MAX_ASK)
        asked, locked = body.get("asked"), body.get("locked", False)
        if not isinstance(asked, list) or not isinstance(locked, bool) or not body.keys() <= {"asked", "locked"}:
            raise FormatError(
                "the ask has not exactly `asked`, a list, and `locked`", hint="docs/formats.md shows its form"
            )
        if len(asked) > MAX_ASKED:
            raise FormatError(f"the ask is for more than {MAX_ASKED} crates", hint="ask for less at once")
        return cls(tuple(_asked_for(one) for one in asked), locked)

    def to_bytes(self) -> bytes:
        """As it is posted."""
        asked: list[Json] = [{"name": str(one.name), "requirement": one.requirement} for one in self.asked]
        return strictjson.encode({"asked": asked, "locked": self.locked})


def _asked_for(entry: Json) -> AskedFor:
    match entry:
        case {"name": str(name), "requirement": str(requirement), **more} if not more:
            return AskedFor.of(name, requirement)
    raise FormatError("the ask has an entry that is not exactly name and requirement, two strings")


@value
class PullProgress:
    """How far a mirror says that it is.

    Attributes:
        phase: What it does: `waiting`, `resolving`, `fetching`, `checking`, `publishing`.
        done: How many units are done.
        of: How many there are; 0 where nobody knows.
    """

    phase: str
    done: int = 0
    of: int = 0

    def to_object(self) -> JsonObject:
        """As a line says it."""
        return {"phase": self.phase, "done": self.done, "of": self.of}


@value
class NotBrought:
    """Something that a mirror says it did not bring.

    Attributes:
        what: A crate and version, or a name and requirement.
        reason: Why not, in the mirror's words.
    """

    what: str
    reason: str


@value
class PullEnd:
    """What a mirror says came of an ask.

    Attributes:
        published: Versions that are new, as `name@version`.
        refused: What it does not take.
        missing: What the upstream says that it does not have.
        undecided: What nobody knows: asking again may bring it.
        waiting: What waits for a person to approve it.
        snapshot: The version of the snapshot that has all of it.
    """

    published: tuple[str, ...] = ()
    refused: tuple[NotBrought, ...] = ()
    missing: tuple[NotBrought, ...] = ()
    undecided: tuple[NotBrought, ...] = ()
    waiting: tuple[NotBrought, ...] = ()
    snapshot: int = 0

    def to_object(self) -> JsonObject:
        """As the last line says it, with no more than `MOST_TOLD` entries of each kind."""
        published: list[Json] = list(self.published[:MOST_TOLD])
        return {
            "done": True,
            "published": published,
            "refused": _listed(self.refused),
            "missing": _listed(self.missing),
            "undecided": _listed(self.undecided),
            "waiting": _listed(self.waiting),
            "snapshot": self.snapshot,
        }


def _listed(entries: Sequence[NotBrought]) -> list[Json]:
    return [{"what": one.what, "reason": one.reason[:LONGEST_REASON]} for one in entries[:MOST_TOLD]]


def read_line(data: bytes) -> PullProgress | PullEnd:
    """Read one line of an answer, as a client does that believes nothing of it.

    Args:
        data: The line, without the line break at its end.

    Raises:
        FormatError: It is no such line.
    """
    body = strictjson.parse_object(data, "the mirror's answer", max_bytes=MAX_LINE)
    match body:
        case {"done": True, "published": list(published), "snapshot": int(snapshot)}:
            if not all(isinstance(one, str) for one in published):
                raise FormatError("the mirror's answer has a version that is no string")
            lists = (_read_list(body.get(kind)) for kind in ("refused", "missing", "undecided", "waiting"))
            refused, missing, undecided, waiting = lists
            return PullEnd(tuple(map(str, published)), refused, missing, undecided, waiting, snapshot)
        case {"phase": str(phase), "done": int(done), "of": int(of)}:
            return PullProgress(phase, done, of)
    raise FormatError("the mirror's answer has a line that says neither how far it is nor what came of the ask")


def _read_list(entries: Json) -> tuple[NotBrought, ...]:
    if not isinstance(entries, list) or len(entries) > MOST_TOLD:
        raise FormatError(f"the mirror's answer has no list of at most {MOST_TOLD} where it should")
    found = []
    for entry in entries:
        match entry:
            case {"what": str(what), "reason": str(reason)}:
                found.append(NotBrought(what[:LONGEST_REASON], reason[:LONGEST_REASON]))
            case _:
                raise FormatError("the mirror's answer has an entry that is not what and why")
    return tuple(found)
