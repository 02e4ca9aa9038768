"""The mirror publishes nothing that cargo or the registry would not, whoever signed it; signers hear of it first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.crates.archives import TarballBuilder, honest_crate, manifest_text
from tests.support.worlds.claims import NAME, World, body, facts, person, refusal, sign

from carnet.cargo.names import CrateId, CrateName
from carnet.claims.waiting import Waiting
from carnet.errors import CarnetError, Unpublishable
from carnet_mirror.intake import take_submission
from carnet_signer.metadata.role_files import at
from carnet_signer.proposals import ownership, review
from carnet_signer.proposals.proposal import Proposal, Request

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12\n"


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World.make(tmp_path)
    world.add(honest_crate(str(NAME), "0.9.0"), honest_crate(str(NAME), "0.9.1+old"))
    world.claim()
    return world


def refused_by_both(world: World, proposal: Proposal) -> CarnetError:
    """What signers are told before they sign, and what the mirror says when they signed all the same."""
    signed = sign(proposal, map(person, ("rita", "sven")))
    told = review.problem(proposal, now=world.now)
    assert isinstance(told, Unpublishable)
    before = world.store.read("metadata/timestamp.json")
    taken = refusal(lambda: take_submission(world.store, world.online, body(signed), now=world.now))
    assert isinstance(taken, Unpublishable)
    assert str(taken) == str(told)
    assert world.store.read("metadata/timestamp.json") == before
    return taken


def of(manifest: str, version: str = "1.0.0", name: str = str(NAME)) -> bytes:
    return TarballBuilder(name, version).file("Cargo.toml", manifest).file("src/lib.rs", "").build()


PRIVATE = manifest_text(CrateId.of(str(NAME), "1.0.0"))
REFUSED = {
    "private": (of(f"{PRIVATE}publish = false\n"), "package.publish is false"),
    "of another registry": (of(f'{PRIVATE}publish = ["corp"]\n'), "package.publish allows corp only"),
    "without a licence": (of(PRIVATE.replace('license = "Apache-2.0"\n', "")), "package.license is missing"),
    "any version": (of(f'{PRIVATE}[dependencies]\nlog = "*"\n'), "dependencies.log takes any version"),
    "a pointer": (honest_crate(str(NAME), "1.0.0", files={"x.bin": POINTER}), "x.bin is what git-lfs keeps"),
    "build metadata": (honest_crate(str(NAME), "0.9.0+b.5"), "differs from 0.9.0"),
    "no build metadata": (honest_crate(str(NAME), "0.9.1"), "differs from 0.9.1+old"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_may_not_be_published_is_refused_before_and_after_signing(world: World, case: str) -> None:
    tarball, said = REFUSED[case]
    assert said in str(refused_by_both(world, world.release_proposal(tarball=tarball)))


def test_another_spelling_is_not_even_assembled(world: World) -> None:
    error = refusal(lambda: world.release_proposal(tarball=honest_crate("demo_lib", "1.0.0")))
    assert "demo_lib@1.0.0 spells the name otherwise than demo-lib" in str(error)
    assert 'name = "demo-lib"' in error.hint


def test_two_new_versions_that_differ_in_build_metadata_only(world: World) -> None:
    world.release("1.0.0+first")
    assert "differs from 1.0.0+first" in str(refused_by_both(world, world.release_proposal("1.0.0")))


def test_a_claim_of_a_registry_of_ones_own_takes_what_names_it(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    world.claim(who=replace(facts(), registry="corp"))
    described = PRIVATE.replace('license = "Apache-2.0"\n', "")
    tarball = of(f'{described}publish = ["corp"]\n[dependencies]\nlog = "*"\n')
    assert world.release(tarball=tarball).added == ("1.0.0",)


def test_what_is_ordinary_is_taken_and_what_is_odd_is_shown(world: World) -> None:
    ordinary = world.release_proposal("1.0.0")
    assert review.remarks(ordinary) == ()
    assert world.release("1.0.0").added == ("1.0.0",)
    older = world.release_proposal("0.9.5")
    assert review.problem(older, now=world.now) is None
    (words,) = [one for one in review.describe(older, now=world.now) if one.title == "worth a look before you sign"]
    assert words.lines == ("version 0.9.5 is older than 1.0.0, which is published",)
    assert world.release("0.9.5").added == ("0.9.5",)


@pytest.mark.parametrize("name", ["std", "proc-macro"])
def test_a_name_that_the_registry_keeps_is_claimed_by_nobody(tmp_path: Path, name: str) -> None:
    world = World.make(tmp_path)
    proposal = world.claim_proposal(name=CrateName(name))
    told = review.problem(proposal, now=world.now)
    assert isinstance(told, Unpublishable)
    keys = [*map(person, ("alice", "bob", "rita", "sven")), *world.ceremony.holders[:2]]
    taken = refusal(lambda: world.submit(sign(proposal, keys)))
    assert str(taken) == str(told)
    assert "is reserved" in str(taken)
    (tmp_path / "waits").mkdir()
    waits = World.make(tmp_path / "waits", waits=Waiting(7, 30))
    listed = refusal(lambda: waits.propose(waits.claim_proposal(name=CrateName(name))))
    assert str(listed) == str(told)
    assert waits.store.pending.entries(waits.now) == []


def test_a_claim_of_another_registry_does_not_bring_a_reserved_name_to_crates_io(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    name = CrateName("std")
    keys = [*map(person, ("alice", "bob", "rita", "sven")), *world.ceremony.holders[:2]]
    elsewhere = replace(facts(), registry="corp")
    world.submit(sign(world.claim_proposal(name=name, who=elsewhere), keys))
    here = world.published(name)
    assert here.owner is not None
    assert here.crate is not None
    request = Request("owners", name, at(world.now))
    moved = ownership._next(here, here.owner, here.crate, request, facts(), None, world.now)
    told = review.problem(moved, now=world.now)
    taken = refusal(lambda: world.submit(sign(moved, keys[:2])))
    assert isinstance(taken, Unpublishable)
    assert "is reserved" in str(taken)
    assert str(told) == str(taken)
