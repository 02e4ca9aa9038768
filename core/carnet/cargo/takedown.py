"""Versions that a mirror's operator has taken down, with the reason: nobody gets them from there any more.

It stands in `custom` of the index file's target, which the online keys sign (docs/formats.md, "A version that was taken
down"). A bin that does not say it any more has a higher version; one that never said it is an older one, and clients
that have seen a newer snapshot refuse it as a rollback.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from carnet import times
from carnet.cargo.names import read_version
from carnet.errors import FormatError
from carnet.strictjson import JsonObject
from carnet.value import value

FIELD = "taken_down"
MAX_REASON = 200
"""Characters in a reason."""


@value
class Takedown:
    """One version that was taken down.

    Attributes:
        reason: Why, on one line, for everybody.
        since: Since when, in UTC.
    """

    reason: str
    since: datetime

    def __post_init__(self) -> None:
        if not 0 < len(self.reason) <= MAX_REASON or not self.reason.isprintable() or self.reason.isspace():
            raise FormatError(f"a reason has 1 to {MAX_REASON} characters on one line")

    def __str__(self) -> str:
        return f"the mirror's operator took it down on {self.since:%Y-%m-%d}: {self.reason}"


def read_takedowns(custom: JsonObject, what: str) -> dict[str, Takedown]:
    """What `custom` of an index file's target says, by version.

    Args:
        custom: As signed; other fields in it are of no concern here.
        what: The target, for messages.

    Raises:
        FormatError: `taken_down` is there and is not of this form, or about something that is no version.
    """
    listed = custom.get(FIELD, {})
    if not isinstance(listed, dict):
        raise FormatError(f"{what}: {FIELD} is not an object")
    found = {}
    for version, said in listed.items():
        read_version(version, f"{what}: {FIELD}")
        match said:
            case {"reason": str(reason), "since": str(since), **more} if not more:
                found[version] = Takedown(reason, times.read(since, f"{what}: since"))
            case _:
                raise FormatError(f"{what}: {FIELD} of {version[:40]!a} has not exactly a reason and since when")
    return found


def write_takedowns(versions: Mapping[str, Takedown]) -> JsonObject:
    """`custom` for these versions; empty when there are none."""
    listed: JsonObject = {
        version: {"reason": one.reason, "since": times.written(one.since)} for version, one in sorted(versions.items())
    }
    return {FIELD: listed} if listed else {}
