"""What becomes of each column of the database, and of each setting, when it is made anew from files.

A test compares this with the tables that there are: a new column is decided here before it can be added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DERIVED, TOLD, LOST = "derived", "told", "lost"
"""From what is signed; by who runs the command; not at all."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one of them.

    Attributes:
        how: `DERIVED`, `TOLD` or `LOST`.
        words: From what, or what that means for a person.
    """

    how: str
    words: str


_WAITING = Decision(
    LOST,
    "claims and takeovers that waited, with what the operator said of them: who still means one hands it in again, and "
    "it waits its whole period",
)
_FILE = Decision(DERIVED, "every file that a snapshot of the online key leads to, with the bytes that it promises")
_CRATE = Decision(DERIVED, "the signed index file")
_FOUND_AGAIN = Decision(DERIVED, "found again from the snapshots, from the oldest one on")
_NOTHING = Decision(DERIVED, "nothing is staged: what was not published is left where it lies, and not served")

COLUMNS: Mapping[str, Decision] = {
    "settings.key": Decision(DERIVED, "see `SETTINGS`"),
    "settings.value": Decision(DERIVED, "see `SETTINGS`"),
    "documents.path": Decision(DERIVED, "it is always timestamp.json"),
    "documents.body": Decision(DERIVED, "signed anew, with the next version, for the snapshot that was named last"),
    "files.path": _FILE,
    "files.sha256": _FILE,
    "files.length": _FILE,
    "files.published": Decision(DERIVED, "all of them are"),
    "superseded.path": _FOUND_AGAIN,
    "superseded.since": _FOUND_AGAIN,
    **{
        f"pending.{column}": _WAITING
        for column in ("digest", "crate", "asked", "until", "source", "receipt", "said", "dropped", "reason")
    },
    **{f"crates.{column}": _CRATE for column in ("canonical", "name", "index_sha256")},
    **{
        f"versions.{column}": _CRATE
        for column in ("canonical", "version", "checksum", "length", "path", "line", "digest")
    },
    "versions.upstream": Decision(
        LOST, "from which upstream each version came: of those that were not released here it is `unknown`"
    ),
    "versions.pubtime_source": Decision(
        LOST,
        "whether a version's publication time is the upstream's word: it stays as it is signed, and the next sync of "
        "the version takes the upstream's",
    ),
    "versions.first_seen": Decision(
        LOST, "when this mirror first saw each version: its publication time stands in that place"
    ),
    **{f"staged_crates.{column}": _NOTHING for column in ("canonical", "name", "index_sha256")},
    **{
        f"staged_versions.{column}": _NOTHING
        for column in (
            "canonical", "version", "checksum", "length", "path", "line", "upstream", "pubtime_source", "first_seen",
            "digest",
        )
    },
}  # fmt: skip
"""By table and column."""

SETTINGS: Mapping[str, Decision] = {
    "online-key": Decision(TOLD, "--online-key"),
    "online-memory": Decision(TOLD, "--memory"),
    "online-socket": Decision(TOLD, "--online-socket"),
    "example-keys": Decision(TOLD, "--insecure-example-keys"),
    "second-opinion": Decision(LOST, "whether the second opinion was off: it is on"),
    "staged": _NOTHING,
    "pruned": _FOUND_AGAIN,
    "approvals": Decision(LOST, "what clients asked for and waited for approval: who asks again waits again"),
    "withheld": Decision(DERIVED, "what the signed bins say of versions that were taken down"),
}
"""By key."""


def lost() -> list[str]:
    """What only the database knew, in words."""
    decisions = (*COLUMNS.values(), *SETTINGS.values())
    return list(dict.fromkeys(decision.words for decision in decisions if decision.how == LOST))
