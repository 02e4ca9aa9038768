"""Delegations are exact: whoever holds a role's keys cannot use them for anything that is not the role's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.support.worlds.simulator import NOW, Simulator, key

from carnet.cargo.names import CrateName
from carnet.errors import MetadataMismatch
from carnet.tuf import paths
from carnet_verifier.tuf.refresh import read_repository

SERDE = CrateName("serde")
SHARD = "claims-8b"
Change = Callable[[dict[str, Any]], object]


def look(sim: Simulator) -> None:
    repository = read_repository(sim.root_file(), sim, now=NOW)
    repository.find_target("index/se/rd/serde")
    assert repository.claim(SERDE) is not None
    repository.find_target("crates/8b/serde/serde-1.0.0.crate")


def entry(signed: dict[str, Any], number: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = signed["delegations"]["roles"][number]
    return found


def shard_entry(signed: dict[str, Any]) -> dict[str, Any]:
    """The claims role's entry for serde's shard."""
    (found,) = [role for role in signed["delegations"]["roles"] if role["name"] == SHARD]
    assert isinstance(found, dict)
    return found


TARGET = {"length": 3, "hashes": {"sha256": "0" * 64}}


def lists(path: str) -> Change:
    return lambda signed: signed["targets"].update({path: TARGET})


def also(role: str, *patterns: str) -> Change:
    """One more delegation, with the keys of the first one."""

    def change(signed: dict[str, Any]) -> None:
        first = entry(signed)
        signed["delegations"]["roles"].append(first | {"name": role, "paths": list(patterns), "terminating": True})

    return change


CHANGES: dict[str, tuple[str, Change]] = {
    "targets lists a tarball": ("targets", lists("crates/8b/serde/serde-1.0.0.crate")),
    "targets: index before claims": ("targets", lambda signed: signed["delegations"]["roles"].reverse()),
    "targets: no claims": ("targets", lambda signed: signed["delegations"]["roles"].pop(0)),
    "targets: a third role": ("targets", also("extra", "crates/*/*/*")),
    "targets: claims for more": ("targets", lambda signed: entry(signed)["paths"].append("index/*/*")),
    "targets: claims for less": ("targets", lambda signed: entry(signed)["paths"].pop()),
    "targets: index for tarballs": ("targets", lambda signed: entry(signed, 1).update(paths=["crates/*/*/*"])),
    "claims lists a tarball": ("claims", lists("crates/8b/serde/serde-1.0.0.crate")),
    "claims: an owner directly": ("claims", also("owner.serde", "crates/8b/serde/*", "layouts/8b/serde/*")),
    "claims: a shard for all": ("claims", lambda signed: shard_entry(signed).update(paths=["crates/*/*/*"])),
    "claims: a shard of another": (
        "claims",
        lambda signed: shard_entry(signed).update(paths=list(paths.shard_patterns("00"))),
    ),
    "claims: no shard": ("claims", lambda signed: signed["delegations"]["roles"].remove(shard_entry(signed))),
    "claims: a shard called 8bb": ("claims", lambda signed: shard_entry(signed).update(name="claims-8bb")),
    "shard lists a tarball": (SHARD, lists("crates/8b/serde/serde-1.0.0.crate")),
    "shard: another shard's owner": (SHARD, also("owner.rand", "crates/8b/rand/*", "layouts/8b/rand/*")),
    "shard: a role of another name": (SHARD, also("serde", "crates/8b/serde/*", "layouts/8b/serde/*")),
    "shard: owner, not terminating": (SHARD, lambda signed: entry(signed).update(terminating=False)),
    "shard: owner without layouts": (SHARD, lambda signed: entry(signed)["paths"].pop()),
    "shard: owner of all": (SHARD, lambda signed: entry(signed).update(paths=["crates/8b/*/*", "layouts/8b/*/*"])),
    "shard: owner of another's": (SHARD, lambda signed: entry(signed)["paths"].append("crates/8b/serde_json/*")),
    "shard: hash bins": (
        SHARD,
        lambda signed: signed.update(
            delegations={
                "keys": signed["delegations"]["keys"],
                "succinct_roles": {
                    "keyids": entry(signed)["keyids"],
                    "threshold": 1,
                    "bit_length": 2,
                    "name_prefix": "owner.serde",
                },
            }
        ),
    ),
    "owner lists a tarball": ("owner.serde", lists("crates/8b/serde/serde-1.0.0.crate")),
    "owner lists another's layout": ("owner.serde", lists("layouts/8b/rand/1.layout.json")),
    "owner: a second crate role": ("owner.serde", also("crate.rand", "crates/8b/rand/*")),
    "owner: another crate role": ("owner.serde", lambda signed: entry(signed).update(name="crate.rand")),
    "owner: crate, not terminating": ("owner.serde", lambda signed: entry(signed).update(terminating=False)),
    "owner: crate for layouts": ("owner.serde", lambda signed: entry(signed)["paths"].append("layouts/8b/serde/*")),
    "owner: nobody": ("owner.serde", lambda signed: signed["delegations"]["roles"].clear()),
    "crate lists another's tarball": ("crate.serde", lists("crates/8b/rand/rand-1.0.0.crate")),
    "crate lists a layout": ("crate.serde", lists("layouts/8b/serde/9.layout.json")),
    "crate delegates": ("crate.serde", lambda signed: signed.update(delegations=_delegation("crates/8b/serde/*"))),
    "index lists a target": ("index", lists("index/se/rd/serde")),
    "index: bins of another name": (
        "index",
        lambda signed: signed["delegations"]["succinct_roles"].update(name_prefix="bins"),
    ),
    "index: named roles": ("index", lambda signed: signed.update(delegations=_delegation("index/*/*"))),
    "bin delegates": ("index-1", lambda signed: signed.update(delegations=_delegation("index/*/*"))),
    "bin lists a tarball": ("index-1", lists("crates/8b/serde/serde-1.0.0.crate")),
}


def _delegation(pattern: str) -> dict[str, Any]:
    public = key("anyone").public_key
    role = {"name": "extra", "keyids": [public.keyid], "threshold": 1, "terminating": False, "paths": [pattern]}
    return {"keys": {public.keyid: public.to_dict()}, "roles": [role]}


def made() -> Simulator:
    sim = Simulator()
    sim.add_index("serde", b"{}\n")
    sim.claim("serde", releases={"serde-1.0.0.crate": b"tarball"}, layout=b"{}")
    sim.publish()
    assert sim.bin_of("index/se/rd/serde") == "index-1"
    return sim


@pytest.mark.parametrize("name", CHANGES)
def test_a_departure_from_the_tree_is_refused_though_it_is_well_signed(name: str) -> None:
    role, change = CHANGES[name]
    sim = made()
    look(sim)
    sim.forge(role, lambda signed: signed.update({"x-note": "well signed, and otherwise the same"}))
    sim.vouch(role)
    look(sim)  # the control: editing and signing is not what is refused
    sim.forge(role, change)
    sim.vouch(role)
    with pytest.raises(MetadataMismatch):
        look(sim)


def test_a_role_that_has_no_place_is_refused() -> None:
    sim = made()
    repository = read_repository(sim.root_file(), sim, now=NOW)
    with pytest.raises(MetadataMismatch):
        repository.role("maintainers")
