"""Addresses, names and locks that somebody typed or brought, and that are refused with what to type instead."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.worlds.claims import World

from carnet.cargo.lockfile import read_lockfile
from carnet.cargo.names import CrateName
from carnet.errors import ConfigError, PolicyRefused
from carnet_verifier.net.address import repository_url
from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import Action
from carnet_verifier.policy.rules.runs import empty_lock
from carnet_verifier.releases.versions import check_spelling
from carnet_verifier.whole_lock import remarks_on

BASE = "https://mirror.example/"


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        (f"{BASE}index/", "is where cargo's index of a mirror would be"),
        (f"sparse+{BASE}index/", "is where cargo's index of a mirror would be"),
        (f"{BASE}metadata/", "is where the metadata of a mirror would be"),
        (f"{BASE}targets", "is where the files of a mirror would be"),
        (f"sparse+{BASE}", "is how cargo names an index"),
    ],
)
def test_an_address_beside_the_mirrors_own(typed: str, why: str) -> None:
    assert repository_url(BASE) == BASE
    with pytest.raises(ConfigError, match=why) as refused:
        repository_url(typed)
    assert BASE in str(refused.value.hint)


def test_a_crate_is_spelled_as_it_is_published(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    world.add(honest_crate("other-lib", "1.0.0"))
    check_spelling(world.fresh(), CrateName("other-lib"))
    check_spelling(world.fresh(), CrateName("absent"))
    with pytest.raises(ConfigError, match="the registry publishes other-lib, and other_lib is another spelling of it"):
        check_spelling(world.fresh(), CrateName("other_lib"))


def test_a_lock_without_a_package_where_the_policy_denies_it() -> None:
    lock = read_lockfile(b"version = 4\n")
    (said,) = remarks_on(lock, Policy(rules={empty_lock.RULE: Action.WARN}), "Cargo.lock")
    with pytest.raises(PolicyRefused) as refused:
        remarks_on(lock, Policy(rules={empty_lock.RULE: Action.DENY}), "Cargo.lock")
    assert str(refused.value) == said
