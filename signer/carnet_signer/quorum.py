"""A quorum: whose signatures a file needs, how many of them, and who has signed already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from carnet.tuf import keys
from carnet.tuf.keys import PublicKey
from carnet.tuf.roles import RoleFile, RoleKeys


@dataclass(frozen=True)
class Quorum:
    """People who must sign one role. `Quorum.of` counts who has.

    Attributes:
        role: Which role.
        who: Who they are, in words: `the holders`, `previous owners`.
        signers: Their keys and threshold.
        signed: The keys that have signed, each distinct one once.
        people: Names by key id, as far as they are known.
        waived: Whether the role may be published without them: a takeover.
    """

    role: str
    who: str
    signers: RoleKeys
    signed: tuple[PublicKey, ...]
    people: Mapping[str, str] = field(default_factory=dict)
    waived: bool = False

    @classmethod
    def of(
        cls,
        envelope: RoleFile[Any],
        signers: RoleKeys,
        *,
        role: str,
        who: str,
        people: Mapping[str, str] | None = None,
        waived: bool = False,
    ) -> Quorum:
        """Count whose valid signatures a file has.

        Args:
            envelope: The file.
            signers: Who may sign it, and how many must.
            role: The role that it is of.
            who: What to call them together.
            people: Names by key id.
            waived: Whether it may be published without them.
        """
        signed = keys.signers(signers.keys, envelope.signatures, envelope.message)
        return cls(role, who, signers, tuple(signed), people or {}, waived)

    @property
    def met(self) -> bool:
        """Whether enough of them have signed."""
        return len(self.signed) >= self.signers.threshold

    @property
    def missing(self) -> tuple[PublicKey, ...]:
        """The keys that have not signed."""
        done = {key.material for key in self.signed}
        return tuple(key for key in self.signers.keys if key.material not in done)

    def name(self, key: PublicKey) -> str:
        """What to call the holder of a key."""
        return self.people.get(key.keyid) or f"the holder of key {key.keyid}"
