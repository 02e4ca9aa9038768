"""TUF roles as values that cannot be built wrong (TUF specification, section 4).

`carnet.tuf.read` makes them of received bytes. Nothing here decides about trust: who must have signed, and which
version may follow which, are the rules of the verifier.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar

from carnet import strictjson
from carnet.digests import sha256_hex, sha256_raw
from carnet.errors import FormatError, ThresholdNotMet
from carnet.strictjson import JsonObject
from carnet.tuf import paths
from carnet.tuf.keys import Profile, PublicKey, Signature
from carnet.value import field, value

FIELD = "carnet"
"""The signed field that holds what carnet says beside TUF's own fields."""

_HEX = frozenset("0123456789abcdef")
_NO_HASHES: Mapping[str, str] = MappingProxyType({})


@value(eq=False)
class RoleKeys:
    """Who may sign a role, and how many of them must (TUF 4.3, `keyids` and `threshold`).

    Attributes:
        keys: The keys, in the order that the delegator lists them.
        threshold: At least 1; distinct key material that must have signed.
    """

    keys: tuple[PublicKey, ...]
    threshold: int

    def __post_init__(self) -> None:
        if self.threshold < 1:
            raise FormatError(f"a threshold of {self.threshold} would need no signature")

    def check(self, envelope: SignedFile, what: str, step: str) -> None:
        """Demand the threshold over what was signed.

        Each distinct key counts once, under however many ids it is listed; verification stops when the threshold is
        met, so a signature more or less beyond it changes nothing.

        Raises:
            ThresholdNotMet: Fewer distinct keys signed.
        """
        by_id = {key.keyid: key for key in self.keys}
        found: set[bytes] = set()
        for signature in envelope.signatures:
            key = by_id.get(signature.keyid)
            if key is None or key.material in found or not signature.sig:
                continue
            if key.verifies(signature.sig, envelope.message):
                found.add(key.material)
                if len(found) >= self.threshold:
                    return
        raise ThresholdNotMet(
            f"{what} is signed by {len(found)} of its {len(self.keys)} keys, {self.threshold} are needed (TUF {step})"
        )

    def met_by(self, envelope: SignedFile) -> bool:
        """Whether enough of these keys signed a file, where either answer is fine; `check` demands it."""
        try:
            self.check(envelope, "", "")
        except ThresholdNotMet:
            return False
        return True

    @cached_property
    def fingerprint(self) -> bytes:
        """Digest of who decides and how: equal for equal key ids, key material and threshold, in whatever order."""
        digests = sorted(sha256_raw(f"{key.keyid}\0{key.scheme}\0".encode() + key.material) for key in self.keys)
        return sha256_raw(b"".join([self.threshold.to_bytes(8, "big"), *digests]))

    def same_as(self, other: RoleKeys) -> bool:
        """Whether the same people decide in the same way: equal key material and threshold."""
        return self.threshold == other.threshold and {key.material for key in self.keys} == {
            key.material for key in other.keys
        }


class MetaFile(tuple[int, "int | None", "Mapping[str, str]"]):
    """What snapshot or timestamp says of one metadata file (TUF 4.4).

    Attributes:
        version: The version it must have.
        length: Its length in bytes, or None when not given.
        hashes: Algorithm to hex digest; empty when not given.
    """

    # A tuple, because a snapshot lists many thousand; by hand, because `NamedTuple` compiles a class at every start.
    __slots__ = ()

    def __new__(cls, version: int, length: int | None = None, hashes: Mapping[str, str] = _NO_HASHES) -> MetaFile:
        """Make one of its parts."""
        return tuple.__new__(cls, (version, length, hashes))

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)

    def __repr__(self) -> str:
        return f"MetaFile(version={self.version!r}, length={self.length!r}, hashes={self.hashes!r})"

    @property
    def version(self) -> int:
        """See the class."""
        return self[0]

    @property
    def length(self) -> int | None:
        """See the class."""
        return self[1]

    @property
    def hashes(self) -> Mapping[str, str]:
        """See the class."""
        return self[2]


class TargetFile(tuple[int, "Mapping[str, str]", JsonObject]):
    """What a targets role says of one target (TUF 4.5).

    Attributes:
        length: In bytes.
        hashes: Algorithm to hex digest, at least one; the product profile always has `sha256`.
        custom: The signer's own words, empty when there are none.
    """

    __slots__ = ()

    def __new__(cls, length: int, hashes: Mapping[str, str], custom: JsonObject) -> TargetFile:
        """Make one of its parts."""
        return tuple.__new__(cls, (length, hashes, custom))

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)

    def __repr__(self) -> str:
        return f"TargetFile(length={self.length!r}, hashes={self.hashes!r}, custom={self.custom!r})"

    @property
    def length(self) -> int:
        """See the class."""
        return self[0]

    @property
    def hashes(self) -> Mapping[str, str]:
        """See the class."""
        return self[1]

    @property
    def custom(self) -> JsonObject:
        """See the class."""
        return self[2]

    @property
    def sha256(self) -> str:
        """The sha256 in hex.

        Raises:
            FormatError: A foreign repository lists the target under other hashes only.
        """
        digest = self.hashes.get("sha256")
        if digest is None:
            raise FormatError("a target is listed without sha256")
        return digest


@value
class DelegatedRole:
    """One delegation by name (TUF 4.5).

    Attributes:
        name: The role that is trusted.
        signers: With whose signatures.
        terminating: Whether a search that came here never looks at later delegations.
        paths: Patterns of the target paths it is trusted for; None when `path_hash_prefixes` are given instead.
        path_hash_prefixes: Hex prefixes of the sha256 of target paths.
    """

    name: str
    signers: RoleKeys
    terminating: bool
    paths: tuple[str, ...] | None
    path_hash_prefixes: tuple[str, ...] | None = None

    def covers(self, path: str) -> bool:
        """Whether the role is trusted for this target path."""
        if self.paths is not None:
            return paths.matches_any(self.paths, path)
        digest = sha256_hex(path.encode())
        return any(digest.startswith(prefix) for prefix in self.path_hash_prefixes or ())


@value
class SuccinctRoles:
    """Delegation to hash bins (TAP 15).

    Attributes:
        signers: Whose signatures every bin needs.
        bit_length: There are 2 to the power of this many bins.
        prefix: Bins are called `<prefix>-<hex>`.
    """

    signers: RoleKeys
    bit_length: int
    prefix: str

    @property
    def width(self) -> int:
        """Hex digits in a bin's name."""
        return (self.bit_length + 3) // 4

    def bin_of(self, path: str) -> str:
        """The one bin that may list this target path."""
        leading = int.from_bytes(sha256_raw(path.encode())[:4], "big")
        return self.name(leading >> (32 - self.bit_length))

    def name(self, number: int) -> str:
        """The name of a bin, counted from 0."""
        return f"{self.prefix}-{number:0{self.width}x}"

    def names(self) -> Iterator[str]:
        """Every bin's name, in order."""
        return map(self.name, range(1 << self.bit_length))

    def has(self, role: str) -> bool:
        """Whether this is the name of one of the bins."""
        prefix, _, number = role.rpartition("-")
        if prefix != self.prefix or len(number) != self.width or not _HEX.issuperset(number):
            return False
        return int(number, 16) < 1 << self.bit_length


@value
class Delegations:
    """Whom a targets role trusts further: either named roles in their order, or hash bins.

    Attributes:
        roles: By name, in the order of preference; empty when `succinct` is given.
        succinct: Hash bins, or None.
    """

    roles: Mapping[str, DelegatedRole]
    succinct: SuccinctRoles | None = None

    def signers_of(self, role: str) -> RoleKeys | None:
        """Who must sign `role`, or None when it is not delegated to."""
        if self.succinct is not None:
            return self.succinct.signers if self.succinct.has(role) else None
        delegated = self.roles.get(role)
        return None if delegated is None else delegated.signers


@value
class Signed:
    """What all roles have in common (TUF 4.3 to 4.6).

    Class attributes: `TYPE`, the file's `_type`; `MAX_BYTES`, of a file that a client reads.

    Attributes:
        version: 1 or higher.
        expires: Aware, UTC, whole seconds.
        spec_version: As written; its major version is 1.
        extra: Fields that carnet does not know; they are signed all the same.
    """

    TYPE: ClassVar[str] = ""
    MAX_BYTES: ClassVar[int] = 0

    version: int
    expires: datetime
    spec_version: str
    extra: JsonObject

    @property
    def carnet(self) -> JsonObject:
        """What carnet says beside TUF's own fields; empty when that is nothing, or no object."""
        said = self.extra.get(FIELD)
        return said if isinstance(said, dict) else {}

    def expired(self, now: datetime) -> bool:
        """Whether the role's time is over at `now`."""
        return self.expires <= now


@value
class Root(Signed):
    """The root role: which keys sign the other top-level roles (TUF 4.3).

    Attributes:
        roles: For root, timestamp, snapshot and targets.
        consistent_snapshot: Whether file names carry versions and hashes; always in the product profile.
    """

    TYPE: ClassVar[str] = paths.ROOT
    MAX_BYTES: ClassVar[int] = 512_000

    roles: Mapping[str, RoleKeys]
    consistent_snapshot: bool


@value
class Timestamp(Signed):
    """The timestamp role: which snapshot is the newest (TUF 4.6)."""

    TYPE: ClassVar[str] = paths.TIMESTAMP
    MAX_BYTES: ClassVar[int] = 16_384

    snapshot: MetaFile


@value
class Snapshot(Signed):
    """The snapshot role: which version of each targets role belongs to this view (TUF 4.4).

    Attributes:
        meta: By role name, without `.json`.
    """

    TYPE: ClassVar[str] = paths.SNAPSHOT
    MAX_BYTES: ClassVar[int] = 64_000_000
    """2^16 bins and 100,000 claims stay below; python-tuf stops at 2,000,000, unless the timestamp names the length."""

    meta: Mapping[str, MetaFile]


@value
class Targets(Signed):
    """A targets role, top-level or delegated (TUF 4.5).

    Attributes:
        targets: By target path.
        delegations: Whom it trusts further, or None.
    """

    TYPE: ClassVar[str] = paths.TARGETS
    MAX_BYTES: ClassVar[int] = 16_000_000

    targets: Mapping[str, TargetFile]
    delegations: Delegations | None


RoleT = TypeVar("RoleT", bound=Signed)
RoleT_co = TypeVar("RoleT_co", bound=Signed, covariant=True)


@value
class SignedFile:
    """A metadata file of which only the envelope was read: enough to see who signed it, before what it says is read.

    Attributes:
        raw: The file, untouched.
        body: Its `signed` part, as strictly parsed.
        signatures: One for each key id.
    """

    raw: bytes = field(repr=False)
    body: JsonObject = field(repr=False, compare=False)
    signatures: tuple[Signature, ...]

    @cached_property
    def message(self) -> bytes:
        """What the signatures are over: the canonical JSON of the `signed` part, however the file is written.

        Made when it is asked for: a file that met its threshold in an earlier run needs none.
        """
        return strictjson.canonical_again(self.body, len(self.raw))


@value
class RoleFile(SignedFile, Generic[RoleT_co]):
    """A metadata file: the bytes as received, what they say, and the exact bytes that were signed.

    Attributes:
        signed: The role.
        profile: Which keys and names it was read with (see `carnet.tuf.read.check_read_as`).
    """

    signed: RoleT_co
    profile: Profile
