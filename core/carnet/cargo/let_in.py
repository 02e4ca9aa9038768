"""Versions whose index line is not their manifest's, let in by a mirror's operator by name, digest, reason and expiry.

It stands in `custom` of the index file's target, which the online keys sign (docs/formats.md, "An index line that
differs"): they vouch for that file, so nobody gains a word by it that they did not have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from carnet import times
from carnet.cargo.names import read_version
from carnet.errors import FormatError
from carnet.strictjson import JsonObject
from carnet.value import value

FIELD = "let_in"
MAX_REASON = 200
"""Characters in a reason."""
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_FIELDS = frozenset(("sha256", "reason", "expires"))
_REVOKED = "revoked"


@value
class LetIn:
    """One version that is let in.

    Attributes:
        sha256: Of its tarball, in hex: of another tarball nothing is said.
        reason: Why, on one line; shown wherever it counts.
        expires: From when on it does not count any more, in UTC.
        revoked: Since when the operator takes it back, before its day; the reason is then why. None when it counts.
    """

    sha256: str
    reason: str
    expires: datetime
    revoked: datetime | None = None

    def __post_init__(self) -> None:
        if _SHA256.match(self.sha256) is None:
            raise FormatError(f"{self.sha256[:80]!a} is not a sha256 in lower-case hex")
        if not 0 < len(self.reason) <= MAX_REASON or not self.reason.isprintable() or self.reason.isspace():
            raise FormatError(f"a reason has 1 to {MAX_REASON} characters on one line")

    def counts(self, now: datetime) -> bool:
        """Whether a version is let in by it at a time."""
        return self.revoked is None and now < self.expires

    def __str__(self) -> str:
        if self.revoked is not None:
            return f"the mirror's operator let it in, and took that back on {self.revoked:%Y-%m-%d}: {self.reason}"
        return f"the mirror's operator lets it in until {self.expires:%Y-%m-%d}: {self.reason}"


def read_let_in(custom: JsonObject, what: str) -> dict[str, LetIn]:
    """What `custom` of an index file's target says, by version.

    Args:
        custom: As signed; other fields in it are of no concern here.
        what: The target, for messages.

    Raises:
        FormatError: `let_in` is there and is not of this form, or about something that is no version.
    """
    listed = custom.get(FIELD, {})
    if not isinstance(listed, dict):
        raise FormatError(f"{what}: {FIELD} is not an object")
    found = {}
    for version, said in listed.items():
        read_version(version, f"{what}: {FIELD}")
        if not isinstance(said, dict) or said.keys() - {_REVOKED} != _FIELDS:
            raise FormatError(f"{what}: {FIELD} of {version[:40]!a} has not exactly {', '.join(sorted(_FIELDS))}")
        sha256, reason, expires = said["sha256"], said["reason"], said["expires"]
        if not isinstance(sha256, str) or not isinstance(reason, str) or not isinstance(expires, str):
            raise FormatError(f"{what}: {FIELD} of {version[:40]!a} holds something else than strings")
        revoked = said.get(_REVOKED)
        if _REVOKED in said and not isinstance(revoked, str):
            raise FormatError(f"{what}: {_REVOKED} of {version[:40]!a} is no time")
        found[version] = LetIn(
            sha256,
            reason,
            times.read(expires, f"{what}: expires"),
            times.read(revoked, f"{what}: {_REVOKED}") if isinstance(revoked, str) else None,
        )
    return found


def write_let_in(versions: Mapping[str, LetIn]) -> JsonObject:
    """`custom` for these versions; empty when there are none."""
    listed: JsonObject = {version: _written(one) for version, one in sorted(versions.items())}
    return {FIELD: listed} if listed else {}


def _written(one: LetIn) -> JsonObject:
    said: JsonObject = {"sha256": one.sha256, "reason": one.reason, "expires": times.written(one.expires)}
    return said if one.revoked is None else said | {_REVOKED: times.written(one.revoked)}
