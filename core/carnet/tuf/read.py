"""TUF metadata files: from received bytes to the values of `carnet.tuf.roles`.

`parse_role` is the only way; `read_envelope` and `open_envelope` are its halves, for whoever looks at the signatures
before anything else. It decides nothing about trust. The product profile refuses what carnet's own repositories
never hold; the general one reads any repository that follows the specification.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, cast

from carnet import strictjson, times
from carnet.errors import FormatError
from carnet.strictjson import JsonObject
from carnet.tuf import paths
from carnet.tuf.keys import Profile, PublicKey, Signature
from carnet.tuf.listed import ListedFiles
from carnet.tuf.roles import (
    DelegatedRole,
    Delegations,
    MetaFile,
    RoleFile,
    RoleKeys,
    RoleT,
    Root,
    Signed,
    SignedFile,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)

MAX_SIGNATURES = 1024
MAX_KEYS = 256
"""Keys of one role, in the product profile: people are fewer, and a client remembers the owners of every crate.

A file lists no more than that for each role that it names: more are refused before one of them is read.
"""
MAX_VERSION = 2**63 - 1
MAX_BIT_LENGTH = 32
"""Of succinct roles; TAP 15 allows no more."""

_SPEC_VERSION = r"1\.[0-9]{1,9}(\.[0-9]{1,9})?\Z"
_OUR_SPEC_VERSION = "1.0.31"
"""What carnet's own repositories say: a pattern for it would be compiled at every start."""
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_HEX = frozenset("0123456789abcdef")
_ANY_HEX = frozenset("0123456789abcdefABCDEF")
_PATH_HASH_PREFIX = r"[0-9a-f]{1,64}\Z"
# Names are read before signatures are checked: there may be one way only in which this can match.
_ROLE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9_])?\Z")
_STRINGS = frozenset((str,))
_TOP_LEVEL = (paths.ROOT, paths.TIMESTAMP, paths.SNAPSHOT, paths.TARGETS)


def parse_role(
    data: bytes,
    role_type: type[RoleT],
    *,
    profile: Profile = Profile.PRODUCT,
    max_bytes: int | None = None,
    what: str = "",
    known: bool = False,
) -> RoleFile[RoleT]:
    """Read a metadata file; nothing about it is trusted yet.

    Args:
        data: The file as received.
        role_type: `Root`, `Timestamp`, `Snapshot` or `Targets`; a file of another type is refused.
        profile: Which keys and names are accepted.
        max_bytes: Refused above this size, before parsing; what a client reads of the type (`MAX_BYTES`) when None.
        what: What to call it in messages; the type's name when empty.
        known: Whether these very bytes were read before, as a proof says that is remembered with them.

    Raises:
        FormatError: Anything that is not well-formed metadata of that type.
    """
    what = what or role_type.TYPE
    most = role_type.MAX_BYTES if max_bytes is None else max_bytes
    envelope = read_envelope(data, what, max_bytes=most, known=known)
    return open_envelope(envelope, role_type, profile=profile, what=what)


def read_envelope(data: bytes, what: str, *, max_bytes: int, known: bool = False) -> SignedFile:
    """Read no more of a metadata file than says who signed it: cheap, whatever stands in it.

    Args:
        data: The file as received.
        what: What to call it in messages.
        max_bytes: Refused above this size, before parsing.
        known: As for `parse_role`.

    Raises:
        FormatError: No strict JSON, or no `signed` and `signatures`.
    """
    parsed = strictjson.parse_known(data, what) if known else strictjson.parse(data, what, max_bytes=max_bytes)
    try:
        document = _object(parsed, "the file")
        return SignedFile(data, _object(document.get("signed"), "signed"), _signatures(document.get("signatures")))
    except FormatError as error:
        raise FormatError(f"{what}: {error}", hint=error.hint) from None


def open_envelope(
    envelope: SignedFile, role_type: type[RoleT], *, profile: Profile = Profile.PRODUCT, what: str = ""
) -> RoleFile[RoleT]:
    """Read what a metadata file says.

    Raises:
        FormatError: Anything that is not well-formed metadata of that type.
    """
    try:
        role = cast(RoleT, _read(role_type, envelope.body, profile))
    except FormatError as error:
        raise FormatError(f"{what or role_type.TYPE}: {error}", hint=error.hint) from None
    return RoleFile(envelope.raw, envelope.body, envelope.signatures, role, profile)


def check_read_as(envelope: RoleFile[Targets], what: str, *, profile: Profile = Profile.PRODUCT) -> RoleFile[Targets]:
    """Demand that a file which was parsed elsewhere would be read here, and read the same.

    Parsing once must not let a file in that was read with another profile, or that is larger than what is read here.

    Raises:
        FormatError: It was, or it is.
    """
    if envelope.profile is not profile:
        raise FormatError(f"{what} was read with the {envelope.profile.name.lower()} profile")
    if len(envelope.raw) > Targets.MAX_BYTES:
        raise FormatError(f"{what} is larger than {Targets.MAX_BYTES} bytes")
    return envelope


def check_role_name(name: str, profile: Profile) -> str:
    """Refuse a name that cannot be a delegated role's.

    Names become parts of file names and URLs. The general profile takes any text, because `carnet.tuf.paths` quotes it;
    the product's own names need no quoting and cannot lead anywhere.

    Raises:
        FormatError: Empty, too long, one of the four top-level names, or (product) not of the form of our names.
    """
    product = profile is Profile.PRODUCT
    if not 0 < len(name) <= 200 or (not product and len(paths.role_file(name)) > 240):
        raise FormatError("a role name must have 1 to 200 characters")
    if name in _TOP_LEVEL:
        raise FormatError(f"a delegated role is called {name}, which is a top-level role")
    if product and _ROLE_NAME.match(name) is None:  # such a name is its own file name, unquoted
        raise FormatError(f"role name {name[:80]!a} is not one of carnet's")
    return name


# --- reading the parts ---


def _read(role_type: type[Signed], signed: JsonObject, profile: Profile) -> Signed:
    kind = signed.get("_type")
    if kind != role_type.TYPE:
        raise FormatError(f"is of type {str(kind)[:40]!a}, not {role_type.TYPE}")
    reader, known = _READERS[role_type]
    extra: JsonObject = {name: value for name, value in signed.items() if name not in known}
    spec_version = _string(signed.get("spec_version"), "spec_version")
    if spec_version != _OUR_SPEC_VERSION and re.match(_SPEC_VERSION, spec_version) is None:
        raise FormatError(f"spec_version {spec_version[:20]!a} is not 1.x")
    common = (_version(signed.get("version")), _expires(signed.get("expires"), profile), spec_version, extra)
    return reader(common, signed, profile)  # type: ignore[no-any-return]


_KnownKeys = dict[tuple[tuple[str, ...], int], RoleKeys]
_Common = tuple[int, datetime, str, JsonObject]


def _read_root(common: _Common, signed: JsonObject, profile: Profile) -> Root:
    listed = _object(signed.get("roles"), "roles")
    keys = _keys(signed.get("keys"), profile, roles=len(listed))
    if profile is Profile.PRODUCT and set(listed) != set(_TOP_LEVEL):
        raise FormatError("must name exactly the roles root, timestamp, snapshot and targets")
    missing = [name for name in _TOP_LEVEL if name not in listed]
    if missing:
        raise FormatError(f"names no keys for {missing[0]}")
    roles = {name: _role_keys(_object(listed[name], name), keys, profile) for name in _TOP_LEVEL}
    consistent = signed.get("consistent_snapshot", False)
    if not isinstance(consistent, bool):
        raise FormatError("consistent_snapshot is not true or false")
    if profile is Profile.PRODUCT and not consistent:
        raise FormatError("consistent_snapshot must be true")
    return Root(*common, roles=roles, consistent_snapshot=consistent)


def _read_timestamp(common: _Common, signed: JsonObject, profile: Profile) -> Timestamp:
    meta = _object(signed.get("meta"), "meta")
    if profile is Profile.PRODUCT and len(meta) != 1:
        raise FormatError("meta must list snapshot.json and nothing else")
    return Timestamp(*common, snapshot=_meta_file(meta.get("snapshot.json"), "snapshot.json"))


def _read_snapshot(common: _Common, signed: JsonObject, profile: Profile) -> Snapshot:
    listed = _object(signed.get("meta"), "meta")
    return Snapshot(*common, ListedFiles(listed, _meta_file))


def _read_targets(common: _Common, signed: JsonObject, profile: Profile) -> Targets:
    listed = _object(signed.get("targets"), "targets")
    if profile is Profile.PRODUCT:
        for path in listed:
            paths.check_target_path(path)
    targets = {path: _target_file(entry, path, profile) for path, entry in listed.items()}
    delegations = _delegations(signed["delegations"], profile) if "delegations" in signed else None
    return Targets(*common, targets, delegations)


_COMMON_FIELDS = frozenset(("_type", "version", "expires", "spec_version"))
_READERS: dict[type[Signed], tuple[Any, frozenset[str]]] = {
    Root: (_read_root, _COMMON_FIELDS | {"keys", "roles", "consistent_snapshot"}),
    Timestamp: (_read_timestamp, _COMMON_FIELDS | {"meta"}),
    Snapshot: (_read_snapshot, _COMMON_FIELDS | {"meta"}),
    Targets: (_read_targets, _COMMON_FIELDS | {"targets", "delegations"}),
}


def _delegations(value: Any, profile: Profile) -> Delegations:
    delegations = _object(value, "delegations")
    roles, succinct = delegations.get("roles"), delegations.get("succinct_roles")
    if ("roles" in delegations) == ("succinct_roles" in delegations):
        raise FormatError("delegations need either roles or succinct_roles")
    if "succinct_roles" in delegations:
        keys = _keys(delegations.get("keys"), profile, roles=1)
        return Delegations({}, _succinct(_object(succinct, "succinct_roles"), keys, profile))
    found: dict[str, DelegatedRole] = {}
    known: _KnownKeys = {}
    entries = _list(roles, "delegations.roles")
    keys = _keys(delegations.get("keys"), profile, roles=len(entries))
    for entry in entries:
        role = _delegated_role(_object(entry, "a delegation"), keys, profile, known)
        if role.name in found:
            raise FormatError(f"delegates to {role.name[:80]!a} twice")
        found[role.name] = role
    return Delegations(found)


def _delegated_role(
    entry: JsonObject, keys: Mapping[str, PublicKey], profile: Profile, known: _KnownKeys
) -> DelegatedRole:
    name = check_role_name(_string(entry.get("name"), "a delegation's name"), profile)
    terminating = entry.get("terminating")
    if not isinstance(terminating, bool):
        raise FormatError(f"delegation to {name[:80]!a}: terminating is not true or false")
    patterns, prefixes = entry.get("paths"), entry.get("path_hash_prefixes")
    if ("paths" in entry) == ("path_hash_prefixes" in entry):
        raise FormatError(f"delegation to {name[:80]!a} needs either paths or path_hash_prefixes")
    if profile is Profile.PRODUCT and "paths" not in entry:
        raise FormatError(f"delegation to {name[:80]!a} is by path_hash_prefixes, which carnet does not use")
    signers = _role_keys(entry, keys, profile, known)
    if "paths" in entry:
        return DelegatedRole(name, signers, terminating, _strings(patterns, "paths"), None)
    listed = _strings(prefixes, "path_hash_prefixes")
    if any(re.match(_PATH_HASH_PREFIX, prefix) is None for prefix in listed):
        raise FormatError(f"delegation to {name[:80]!a} has a path hash prefix that is not hex")
    return DelegatedRole(name, signers, terminating, None, listed)


def _succinct(entry: JsonObject, keys: Mapping[str, PublicKey], profile: Profile) -> SuccinctRoles:
    bit_length = entry.get("bit_length")
    if type(bit_length) is not int or not 1 <= bit_length <= MAX_BIT_LENGTH:
        raise FormatError(f"succinct_roles need a bit_length from 1 to {MAX_BIT_LENGTH}")
    prefix = check_role_name(_string(entry.get("name_prefix"), "name_prefix"), profile)
    return SuccinctRoles(_role_keys(entry, keys, profile), bit_length, prefix)


def _keys(value: Any, profile: Profile, *, roles: int) -> dict[str, PublicKey]:
    """The keys of a file in which so many roles can name them."""
    listed = _object(value, "keys")
    if profile is Profile.PRODUCT and len(listed) > MAX_KEYS * max(roles, 1):
        raise FormatError(f"lists {len(listed)} keys for {roles} roles, and no role has more than {MAX_KEYS} keys")
    return {keyid: PublicKey.from_object(entry, keyid=keyid, profile=profile) for keyid, entry in listed.items()}


def _role_keys(
    entry: JsonObject, keys: Mapping[str, PublicKey], profile: Profile, known: _KnownKeys | None = None
) -> RoleKeys:
    """The keys of a role; delegations to the same people share one value, when `known` is kept between calls."""
    keyids, threshold = _strings(entry.get("keyids"), "keyids"), entry.get("threshold")
    if type(threshold) is not int:
        raise FormatError("a threshold is not an integer")
    if known is not None and (keyids, threshold) in known:
        return known[keyids, threshold]
    if len(set(keyids)) != len(keyids):
        raise FormatError("a role lists a key id twice")
    if profile is Profile.PRODUCT and len(keyids) > MAX_KEYS:
        raise FormatError(f"a role lists more than {MAX_KEYS} keys")
    role = RoleKeys(tuple(keys[keyid] for keyid in keyids if keyid in keys), threshold)
    if profile is Profile.PRODUCT:
        if len(role.keys) != len(keyids):
            raise FormatError("a role lists a key id that has no key")
        if len({key.material for key in role.keys}) != len(keyids):
            raise FormatError("a role lists one key under two ids")
        if threshold > len(keyids):
            raise FormatError(f"a threshold of {threshold} cannot be met by {len(keyids)} keys")
    if known is not None:
        known[keyids, threshold] = role
    return role


def _signatures(value: Any) -> tuple[Signature, ...]:
    listed = _list(value, "signatures")
    if len(listed) > MAX_SIGNATURES:
        raise FormatError(f"has more than {MAX_SIGNATURES} signatures")
    found: dict[str, Signature] = {}
    for entry in listed:
        keyid, sig = (entry.get("keyid"), entry.get("sig")) if isinstance(entry, dict) else (None, None)
        if not isinstance(keyid, str) or not isinstance(sig, str):
            raise FormatError("a signature needs keyid and sig, both strings")
        if keyid in found:
            raise FormatError(f"has two signatures for key id {keyid[:64]!a} (TUF 4.2)")
        # What is no hex is no signature; it counts for nothing, like an empty one, and spoils nothing either.
        found[keyid] = Signature(keyid, bytes.fromhex(sig) if len(sig) % 2 == 0 and _ANY_HEX.issuperset(sig) else b"")
    return tuple(found.values())


def _meta_file(value: Any, name: str) -> MetaFile:
    if not isinstance(value, dict):
        raise FormatError(f"meta for {name[:80]!a} is not an object")
    length = value.get("length")
    if (length is None and "length" in value) or (length is not None and (type(length) is not int or length < 0)):
        raise FormatError(f"meta for {name[:80]!a}: length is not a size")
    version = _version(value.get("version"))
    return MetaFile(version, length, _hashes(value["hashes"], name)) if "hashes" in value else MetaFile(version, length)


def _target_file(value: Any, path: str, profile: Profile) -> TargetFile:
    if not isinstance(value, dict):
        raise FormatError(f"target {path[:80]!a} is not an object")
    length = value.get("length")
    if type(length) is not int or length < 0:
        raise FormatError(f"target {path[:80]!a}: length is not a size")
    hashes = _hashes(value.get("hashes"), path)
    if profile is Profile.PRODUCT and len(hashes.get("sha256", "")) != 64:
        raise FormatError(f"target {path[:80]!a} has no sha256 of 64 lower-case hex digits")
    return TargetFile(length, hashes, _object(value["custom"], "custom") if "custom" in value else {})


def _hashes(value: Any, name: str) -> dict[str, str]:
    if type(value) is dict and len(value) == 1:
        digest = value.get("sha256")
        if type(digest) is str and _SHA256.match(digest) is not None:
            return value  # nearly all of them
    if not isinstance(value, dict) or not value or not all(type(digest) is str for digest in value.values()):
        raise FormatError(f"hashes of {name[:80]!a} are not an object of strings")
    if any(not 0 < len(digest) <= 256 or len(digest) % 2 or not _HEX.issuperset(digest) for digest in value.values()):
        raise FormatError(f"a hash of {name[:80]!a} is not lower-case hex")
    return value


def _version(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= MAX_VERSION:
        raise FormatError("version is not an integer of 1 or more")
    return value


def _expires(value: Any, profile: Profile) -> datetime:
    return _time(_string(value, "expires"), profile)


@lru_cache(maxsize=256)  # roles are signed together, and expire together
def _time(text: str, profile: Profile) -> datetime:
    return (times.read if profile is Profile.PRODUCT else times.read_foreign)(text, "expires")


def _object(value: Any, name: str) -> JsonObject:
    if not isinstance(value, dict):
        raise FormatError(f"{name} is not an object")
    return value


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise FormatError(f"{name} is not a list")
    return value


def _string(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise FormatError(f"{name} is not a string")
    return value


def _strings(value: Any, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not {*map(type, value)} <= _STRINGS:
        raise FormatError(f"{name} is not a list of strings")
    return tuple(value)
