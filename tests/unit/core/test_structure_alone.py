"""What a role may say, asked of each role by itself: what another check would refuse too is refused here, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.support.worlds.simulator import key

from carnet import strictjson
from carnet.cargo.names import CrateName
from carnet.errors import MetadataMismatch
from carnet.tuf import paths
from carnet.tuf.read import parse_role
from carnet.tuf.roles import Targets
from carnet.tuf.structure import check_structure, shards_of

SERDE, RAND = CrateName("serde"), CrateName("rand")
SHARD = "claims-8b"
PUBLIC = key("anyone").public_key


def entry(role: str, patterns: tuple[str, ...]) -> dict[str, Any]:
    who = {"keyids": [PUBLIC.keyid], "threshold": 1}
    return {"name": role, "terminating": True, "paths": list(patterns)} | who


def role(*entries: dict[str, Any], targets: tuple[str, ...] = (), says: Any = None) -> Targets:
    signed: dict[str, Any] = {
        "_type": "targets",
        "version": 1,
        "spec_version": "1.0.31",
        "expires": "2030-01-01T00:00:00Z",
        "targets": {path: {"length": 1, "hashes": {"sha256": "0" * 64}} for path in targets},
    }
    if says is not None:
        signed["carnet"] = says
    if entries:
        signed["delegations"] = {"keys": {PUBLIC.keyid: PUBLIC.to_dict()}, "roles": list(entries)}
    return parse_role(strictjson.encode({"signed": signed, "signatures": []}), Targets).signed


def owner(name: CrateName) -> dict[str, Any]:
    return entry(paths.owner_role(name), paths.owner_patterns(name))


def crate(name: CrateName) -> dict[str, Any]:
    return entry(paths.crate_role(name), paths.crate_patterns(name))


def speaks_for(*shards: str) -> dict[str, Any]:
    """What a shard says of itself, and of the names in it."""
    least = {"serde": {"owner": 1, "crate": 1}} if shards == ("8b",) else {}
    return {"shards": sorted(shards), "least": least}


def is_called(name: str) -> dict[str, Any]:
    return {"role": name}


GOOD: dict[str, Callable[[], Targets]] = {
    SHARD: lambda: role(owner(SERDE), says=speaks_for("8b")),
    "claims-00": lambda: role(says=speaks_for("00", "01")),
    "index-1": lambda: role(targets=("index/se/rd/serde",), says=is_called("index-1")),
    "crate.serde": lambda: role(targets=("crates/8b/serde/serde-1.0.0.crate",), says=is_called("crate.serde")),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_the_trust_model_has_passes(name: str) -> None:
    check_structure(name, GOOD[name]())


WRONG: dict[str, tuple[str, Callable[[], Targets], str]] = {
    "another shard's owner, with its own paths": (
        SHARD,
        lambda: role(owner(RAND), says=speaks_for("8b")),
        "delegates to owner.rand, whose shard is ",
    ),
    "a crate role in a shard": (
        SHARD,
        lambda: role(crate(SERDE), says=speaks_for("8b")),
        "delegates to 'crate.serde', which is no owner role",
    ),
    "a shard in a shard": (
        SHARD,
        lambda: role(entry("claims-00", paths.shard_patterns("00")), says=speaks_for("8b")),
        "which is no owner role",
    ),
    "a shard that says nothing": (SHARD, lambda: role(owner(SERDE)), "does not say that it speaks for that shard"),
    "a shard that says another": (SHARD, lambda: role(says=speaks_for("00")), "does not say that it speaks"),
    "a shard with entries that speaks for two": (
        SHARD,
        lambda: role(owner(SERDE), says=speaks_for("8b", "00")),
        "has entries, and speaks for other shards as well",
    ),
    "a bin that says nothing": ("index-1", role, "does not say that it is"),
    "a bin that says another": ("index-1", lambda: role(says=is_called("index-0")), "does not say that it is"),
    "a bin that delegates": (
        "index-1",
        lambda: role(owner(SERDE), says=is_called("index-1")),
        "index-1 delegates, and must not",
    ),
    "a bin that lists a tarball": (
        "index-1",
        lambda: role(targets=("crates/8b/serde/serde-1.0.0.crate",), says=is_called("index-1")),
        "which is not its own",
    ),
    "a crate role that delegates": (
        "crate.serde",
        lambda: role(owner(SERDE), says=is_called("crate.serde")),
        "crate.serde delegates, and must not",
    ),
    "an owner of two crates": (
        "owner.serde",
        lambda: role(crate(SERDE), crate(RAND), says=is_called("owner.serde")),
        "exactly its crate's role",
    ),
    "an owner of nobody's": ("owner.serde", lambda: role(says=is_called("owner.serde")), "exactly its crate's role"),
    "an owner of another's": (
        "owner.serde",
        lambda: role(crate(RAND), says=is_called("owner.serde")),
        "exactly its crate's role",
    ),
    "an owner for too much": (
        "owner.serde",
        lambda: role(crate(SERDE) | {"paths": ["crates/8b/*/*"]}, says=is_called("owner.serde")),
        "with paths that are not exactly its own",
    ),
    "a crate that does not end the search": (
        "owner.serde",
        lambda: role(crate(SERDE) | {"terminating": False}, says=is_called("owner.serde")),
        "without terminating the search there",
    ),
    "an owner who lists a tarball": (
        "owner.serde",
        lambda: role(crate(SERDE), targets=("crates/8b/serde/serde-1.0.0.crate",), says=is_called("owner.serde")),
        "which is not its own",
    ),
    "a shard in claims, of all": (
        "claims",
        lambda: role(entry(SHARD, ("crates/*/*/*",))),
        "with paths that are not its own",
    ),
    "an owner in claims": ("claims", lambda: role(owner(SERDE)), "which is no shard of claims"),
    "claims with a target": ("claims", lambda: role(targets=("x",)), "lists the target 'x', and must list none"),
    "index with named roles": ("index", lambda: role(owner(SERDE)), "does not delegate to hash bins called index"),
    "index with nobody": ("index", role, "does not delegate to hash bins called index"),
    "targets with nobody": ("targets", role, "exactly claims and index"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_it_does_not_have_is_refused(name: str) -> None:
    where, make, why = WRONG[name]
    with pytest.raises(MetadataMismatch, match=why):
        check_structure(where, make())


@pytest.mark.parametrize("said", [None, 1, "8b", {"8b": 1}, [1], ["8b", None]], ids=str)
def test_shards_that_are_no_list_of_names_are_none(said: Any) -> None:
    assert shards_of(role(says={"shards": said})) == ()
    with pytest.raises(MetadataMismatch, match="does not say that it speaks for that shard"):
        check_structure(SHARD, role(says={"shards": said}))
