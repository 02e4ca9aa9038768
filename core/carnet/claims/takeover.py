"""The mark of a takeover: an owner role that says of itself that the registry put these owners in the place of others.

A client that saw the owners before follows their signatures and notices. One that starts afresh has only this mark, so
nobody signs or publishes a takeover without it (docs/formats.md, "A claim").
"""

from __future__ import annotations

from datetime import datetime, timedelta

from carnet.claims.holders import ClaimFacts
from carnet.errors import MetadataMismatch

TOLD_FOR = timedelta(days=365)
"""How long a takeover is told, whatever the new owners do meanwhile."""
_DRAFTED_WITHIN = timedelta(days=180)
"""How long before it is published a takeover may have been drafted: longer than any waiting period."""
_CLOCKS = timedelta(days=1)


def check_mark(role: str, before: ClaimFacts | None, after: ClaimFacts, *, taken_over: bool, now: datetime) -> None:
    """Demand that an owner role says that it is a takeover, or was one lately, if and only if that is so.

    Args:
        role: The owner role's name.
        before: What its published version says; None when the name was never claimed.
        after: What the next one says.
        taken_over: Whether its owners are others, and those before do not sign.
        now: The time.

    Raises:
        MetadataMismatch: The mark is missing, was dropped too early, or says something else.
    """
    old, new = None if before is None else before.taken_over, after.taken_over
    if taken_over:
        if new is None or new == old or not -_CLOCKS <= now - new <= _DRAFTED_WITHIN:
            raise MetadataMismatch(
                f"{role} has other owners, those before do not sign, and it does not say that this is a takeover",
                hint="make it with `carnet claim handover --takeover`, or let the owners before sign",
            )
    elif new != old and not (new is None and old is not None and now - old >= TOLD_FOR):
        raise MetadataMismatch(
            f"{role} says that owners were replaced on {_day(new)}, and the version before says {_day(old)}",
            hint=f"a takeover is told for {TOLD_FOR.days} days; `carnet claim handover` keeps what is said of it",
        )


def told(facts: ClaimFacts, now: datetime) -> datetime | None:
    """When the registry replaced a crate's owners, while that is still to be told; None otherwise."""
    when = facts.taken_over
    return when if when is not None and now - when < TOLD_FOR else None


def _day(moment: datetime | None) -> str:
    return "no day" if moment is None else f"{moment:%Y-%m-%d}"
