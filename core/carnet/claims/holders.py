"""What an owner role says beside TUF's own fields: who the owners and releasers are (docs/formats.md, "A claim").

The signer writes this and the verifier reads it, so it stands here once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from carnet import times
from carnet.errors import FormatError
from carnet.people import check_people, check_person
from carnet.strictjson import JsonObject
from carnet.tuf.keys import PublicKey, is_keyid
from carnet.tuf.roles import FIELD, RoleKeys, Targets
from carnet.value import value

_TAKEOVER = "takeover"


@value
class Holders:
    """The people who sign a role of a claim: their keys, how many are needed, and who has which key.

    Attributes:
        signers: Keys and threshold; equal to what the delegator says.
        people: Owner id by key id, for every key; nobody has two.
    """

    signers: RoleKeys
    people: Mapping[str, str]

    def __post_init__(self) -> None:
        keyids = [key.keyid for key in self.signers.keys]
        if set(self.people) != set(keyids):
            raise FormatError("people does not name the holder of exactly each key")
        names: set[str] = set()
        for person in self.people.values():
            if check_person(person, "an owner id").casefold() in names:
                raise FormatError(f"{person!a} has two keys in one role: a threshold counts people")
            names.add(person.casefold())
        check_people(self.people.values())


@value
class ClaimFacts:
    """The `carnet` field of an owner role.

    Attributes:
        owners: Who signs the owner role; a verifier demands that the shard's entry says the same.
        releasers: Who signs the crate role, with the keys that the owner role delegates to.
        registry: The registry that the crate belongs to, such as `crates-io`.
        taken_over: When the registry put these owners, or some before them, in the place of others who did not sign;
            None when that never was, or is long ago (`carnet.claims.takeover`).
    """

    owners: Holders
    releasers: Holders
    registry: str
    taken_over: datetime | None = None

    @classmethod
    def of(cls, owner: Targets) -> ClaimFacts:
        """Read them from a parsed owner role.

        Raises:
            FormatError: They are missing or malformed, or a person has two keys.
        """
        said: Any = owner.extra.get(FIELD)
        match said:
            case {
                "owners": {"threshold": int(threshold), "keys": dict(keys), "people": dict(people)},
                "releasers": {"people": dict(release_people)},
                "registry": str(registry),
            } if not isinstance(threshold, bool):
                pass
            case _:
                raise FormatError("an owner role needs carnet.owners, carnet.releasers and carnet.registry")
        if owner.delegations is None or len(owner.delegations.roles) != 1:
            raise FormatError("an owner role delegates to its crate role and nobody else")
        if not registry.isascii() or not registry.isprintable() or " " in registry or not 0 < len(registry) <= 64:
            raise FormatError("carnet.registry is empty, has more than 64 characters, or others than ASCII draws")
        (release,) = owner.delegations.roles.values()
        parsed = tuple(PublicKey.from_object(key, keyid=keyid) for keyid, key in keys.items())
        if threshold > len({key.material for key in parsed}) or len({key.material for key in parsed}) != len(parsed):
            raise FormatError("carnet.owners cannot meet its threshold with distinct keys")
        return cls(
            Holders(RoleKeys(parsed, threshold), _people(people)),
            Holders(release.signers, _people(release_people)),
            registry,
            _taken_over(said),
        )

    def to_object(self) -> JsonObject:
        """The `carnet` field, as the owner role carries it."""
        keys: JsonObject = {key.keyid: key.to_object() for key in self.owners.signers.keys}
        mark: JsonObject = {} if self.taken_over is None else {_TAKEOVER: times.written(self.taken_over)}
        return mark | {
            "owners": {
                "threshold": self.owners.signers.threshold,
                "keys": keys,
                "people": dict(self.owners.people),
            },
            "releasers": {"people": dict(self.releasers.people)},
            "registry": self.registry,
        }


@value
class SeenOwners:
    """The owners of a crate as a client saw them last.

    Attributes:
        version: Of the owner role.
        signers: Their keys and threshold.
    """

    version: int
    signers: RoleKeys

    @classmethod
    def from_object(cls, value: Any) -> SeenOwners:
        """Read what `to_object` wrote.

        Raises:
            FormatError: Something else.
        """
        match value:
            case {"version": int(version), "threshold": int(threshold), "keys": dict(keys)}:
                found = tuple(PublicKey.from_object(key, keyid=keyid) for keyid, key in keys.items())
                return cls(version, RoleKeys(found, threshold))
            case _:
                raise FormatError("remembered owners need version, threshold and keys")

    def to_object(self) -> JsonObject:
        """As JSON, for a client's memory."""
        keys: JsonObject = {key.keyid: key.to_object() for key in self.signers.keys}
        return {"version": self.version, "threshold": self.signers.threshold, "keys": keys}


def _taken_over(said: Mapping[Any, Any]) -> datetime | None:
    if _TAKEOVER not in said:
        return None
    match said[_TAKEOVER]:
        case str(moment):
            return times.read(moment, "carnet.takeover")
        case _:
            raise FormatError("carnet.takeover of an owner role is not a time")


def _people(value: Mapping[Any, Any]) -> dict[str, str]:
    if not all(isinstance(name, str) for name in value.values()) or not all(is_keyid(key) for key in value):
        raise FormatError("people is not an object from key ids to owner ids")
    return dict(value)
