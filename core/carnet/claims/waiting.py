"""What waits before it counts: first claims and takeovers, and for how long (docs/formats.md, "What waits").

The root says how long, so the registry's holders decide it together, and nobody who has the online keys or the mirror's
disk can shorten it. What previous owners sign themselves waits for nothing.
"""

from __future__ import annotations

from datetime import timedelta

from carnet.claims.holders import ClaimFacts
from carnet.errors import FormatError
from carnet.strictjson import JsonObject
from carnet.tuf.roles import FIELD, Root
from carnet.value import value

CLAIM, TAKEOVER = "claim", "takeover"
KINDS = (CLAIM, TAKEOVER)
MAX_DAYS = 90
"""Days that a registry may let anything wait: what is drafted and signed meanwhile must not expire over it."""
_FIELD = "waiting"


@value
class Waiting:
    """How many days a registry lets a first claim and a takeover stand in public before they count.

    Attributes:
        claim: Days for the first claim of a name; 0 lets it count at once.
        takeover: Days for a change of owners that the owners before do not sign; 0 lets it count at once.
    """

    claim: int = 7
    takeover: int = 30

    def __post_init__(self) -> None:
        for days in (self.claim, self.takeover):
            if type(days) is not int or not 0 <= days <= MAX_DAYS:
                raise FormatError(f"a waiting period has from 0 to {MAX_DAYS} days")

    @classmethod
    def of(cls, root: Root) -> Waiting:
        """What a verified root says; a root that says nothing asks for the periods above, never for none.

        Raises:
            FormatError: It says something else than days.
        """
        said = root.extra.get(FIELD)
        if not isinstance(said, dict) or _FIELD not in said:
            return cls()
        match said[_FIELD]:
            case {"claim": int(claim), "takeover": int(takeover), **more} if not more:
                return cls(claim, takeover)
            case _:
                raise FormatError("the root's carnet.waiting needs exactly claim and takeover, in days")

    def to_object(self) -> JsonObject:
        """As a field of `carnet` in the root."""
        return {_FIELD: {CLAIM: self.claim, TAKEOVER: self.takeover}}

    def period(self, kind: str) -> timedelta:
        """How long one kind of change waits."""
        return timedelta(days=self.takeover if kind == TAKEOVER else self.claim)


def kind_of(before: ClaimFacts | None, after: ClaimFacts) -> str | None:
    """What an unsigned next version of an owner role would be, if it waits for anything.

    Whether previous owners will sign cannot be seen in a draft. A takeover says of itself that it is one
    (`carnet.claims.takeover`), and is refused without saying so.

    Args:
        before: What is published; None when the name is unclaimed.
        after: What is drafted.

    Returns:
        `CLAIM`, `TAKEOVER`, or None for a change that its owners sign.
    """
    if before is None:
        return CLAIM
    return TAKEOVER if after.taken_over not in (None, before.taken_over) else None
