"""A role file as carnet reads it and as python-tuf does, in one shape, so that the two can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tuf.api.metadata import DelegatedRole, Delegations, Key, Metadata, MetaFile, Root, Signed, Targets

from carnet.digests import sha256_hex
from carnet.tuf import paths, roles

Reading = Metadata[Any]
"""A file as python-tuf reads it; callers hand it on and do not look inside."""


def as_carnet_reads(envelope: roles.RoleFile[roles.Signed]) -> dict[str, Any]:
    """What carnet's parser understood, and the digest of the bytes that it takes signatures to be over."""
    signed = envelope.signed
    found = _common(signed.TYPE, signed) | {"extra": dict(signed.extra)}
    match signed:
        case roles.Root():
            found["roles"] = {name: _our_signers(keys) for name, keys in signed.roles.items()}
            found["consistent_snapshot"] = signed.consistent_snapshot
        case roles.Targets():
            found["targets"] = {
                path: _target(file.length, file.hashes, file.custom) for path, file in signed.targets.items()
            }
            found["delegations"] = _our_delegations(signed.delegations)
        case roles.Snapshot():
            found["meta"] = {f"{role}.json": _meta(file) for role, file in signed.meta.items()}
        case roles.Timestamp():
            found["meta"] = {"snapshot.json": _meta(signed.snapshot)}
    who = sorted(signature.keyid for signature in envelope.signatures)
    return {"signed": found, "signatures": who, "signed bytes": sha256_hex(envelope.message)}


def as_python_tuf_reads(reading: Reading) -> dict[str, Any]:
    """What python-tuf's parser understood, likewise."""
    signed: Any = reading.signed
    found = _common(signed.type, signed) | {"extra": dict(signed.unrecognized_fields)}
    match signed:
        case Root():
            found["roles"] = {
                name: _their_signers(role.keyids, role.threshold, signed.keys) for name, role in signed.roles.items()
            }
            found["consistent_snapshot"] = signed.consistent_snapshot
        case Targets():
            found["targets"] = {
                path: _target(file.length, file.hashes, file.custom or {}) for path, file in signed.targets.items()
            }
            found["delegations"] = _their_delegations(signed.delegations)
        case _:
            named = signed.meta if signed.type == paths.SNAPSHOT else {"snapshot.json": signed.snapshot_meta}
            found["meta"] = {name: _meta(file) for name, file in named.items()}
    return {"signed": found, "signatures": sorted(reading.signatures), "signed bytes": sha256_hex(reading.signed_bytes)}


def _common(kind: str, signed: Signed | roles.Signed) -> dict[str, Any]:
    return {
        "_type": kind,
        "version": signed.version,
        "expires": f"{signed.expires:%Y-%m-%dT%H:%M:%SZ}",
        "spec_version": signed.spec_version,
    }


def _target(length: int, hashes: Mapping[str, str], custom: Any) -> dict[str, Any]:
    return {"length": length, "hashes": dict(hashes), "custom": dict(custom)}


def _meta(file: MetaFile | roles.MetaFile) -> dict[str, Any]:
    return {"version": file.version, "length": file.length, "hashes": dict(file.hashes or {})}


def _our_signers(signers: roles.RoleKeys) -> dict[str, Any]:
    keys = {key.keyid: {"keytype": key.keytype, "scheme": key.scheme, "public": key.public} for key in signers.keys}
    return {"threshold": signers.threshold, "keys": keys}


def _their_signers(keyids: Iterable[str], threshold: int, keys: Mapping[str, Key]) -> dict[str, Any]:
    known = {keyid: keys[keyid] for keyid in keyids}
    found = {
        keyid: {"keytype": key.keytype, "scheme": key.scheme, "public": key.keyval.get("public")}
        for keyid, key in known.items()
    }
    return {"threshold": threshold, "keys": found}


def _our_delegations(delegations: roles.Delegations | None) -> Any:
    if delegations is None:
        return None
    succinct = delegations.succinct
    if succinct is not None:
        return _bins(succinct.bit_length, succinct.prefix) | _our_signers(succinct.signers)
    return [_named(role, role.name) | _our_signers(role.signers) for role in delegations.roles.values()]


def _their_delegations(delegations: Delegations | None) -> Any:
    if delegations is None:
        return None
    succinct, keys = delegations.succinct_roles, delegations.keys
    if succinct is not None:
        found = _bins(succinct.bit_length, succinct.name_prefix)
        return found | _their_signers(succinct.keyids, succinct.threshold, keys)
    return [
        _named(role, name) | _their_signers(role.keyids, role.threshold, keys)
        for name, role in (delegations.roles or {}).items()
    ]


def _bins(bit_length: int, prefix: str) -> dict[str, Any]:
    return {"bit_length": bit_length, "name_prefix": prefix}


def _listed(values: Iterable[str] | None) -> list[str] | None:
    return None if values is None else list(values)


def _named(role: DelegatedRole | roles.DelegatedRole, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "terminating": role.terminating,
        "paths": _listed(role.paths),
        "path_hash_prefixes": _listed(role.path_hash_prefixes),
    }
