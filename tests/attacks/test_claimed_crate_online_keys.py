"""Stolen online keys: they sign index files, timestamps and snapshots, and change nothing of a claimed crate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.worlds.claims import NAME, World, refusal, with_dependency

from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import IndexLine, line_from_crate
from carnet.cargo.names import CrateId, Version
from carnet.errors import MetadataMismatch, NotFound
from carnet_verifier.admit import Wanted
from carnet_verifier.claims.owners import Claim
from carnet_verifier.line import attribute, find_target, open_index, vouch
from carnet_verifier.outcomes import Vouched
from carnet_verifier.releases.signed_releases import attest, judge_index, read_signed_releases


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World.make(tmp_path)
    world.add(honest_crate(str(NAME), "0.9.0"))
    world.claim()
    world.release("1.0.0")
    world.release("1.1.0")
    return world


def _line(world: World, version: str) -> IndexLine:
    return next(line for line in world.index().lines if str(line.id.version) == version)


@pytest.mark.parametrize("version", ["0.9.0", "1.0.0", "1.1.0"])
def test_untouched_it_is_admitted(world: World, version: str) -> None:
    admission = world.admit(version)
    assert str(admission.level) == "maintainer"
    assert not admission.line.yanked


def test_a_dependency_is_added_to_a_line(world: World) -> None:
    bad = with_dependency(_line(world, "1.0.0"))
    world.publish_index(lambda index: [bad if line.id == bad.id else line for line in index.lines])
    assert isinstance(refusal(lambda: world.admit("1.0.0")), MetadataMismatch)
    assert world.admit("1.1.0"), "the versions that were not touched are admitted"


def test_a_feature_is_added_to_a_line(world: World) -> None:
    line = _line(world, "1.0.0")
    bad = IndexLine.from_object({**line.raw, "features": {"default": []}})
    world.publish_index(lambda index: [bad if one.id == bad.id else one for one in index.lines])
    assert isinstance(refusal(lambda: world.admit("1.0.0")), MetadataMismatch)


def test_a_new_version_is_published(world: World) -> None:
    evil = line_from_crate(read_crate(honest_crate(str(NAME), "1.2.0")), pubtime="2026-11-23T12:00:00Z")
    world.publish_index(lambda index: [*index.lines, evil])
    assert isinstance(refusal(lambda: world.admit("1.2.0")), NotFound)
    assert world.admit("1.1.0"), "an extra version never refuses the crate"


def test_a_version_of_another_spelling_is_published(world: World) -> None:
    """`demo-lib` and `demo_lib` are one crate to the registry, and two lines to cargo."""
    judged = judge_index(read_signed_releases(_claim(world)), world.index())
    assert [one.refusal for one in judged] == [None] * 3
    raw = {**_line(world, "1.1.0").raw, "name": "demo_lib"}
    line = IndexLine.from_object(raw)
    signed = read_signed_releases(_claim(world))
    assert isinstance(refusal(lambda: attest(signed, line)), NotFound)


def _claim(world: World) -> Claim:
    claim = world.fresh().claim(NAME)
    assert claim is not None
    return claim


def test_a_checksum_is_replaced(world: World) -> None:
    other = read_crate(honest_crate(str(NAME), "1.0.0", source="pub fn evil() {}\n"))
    bad = line_from_crate(other, pubtime="2026-11-23T12:00:00Z")
    world.publish_index(lambda index: [bad if line.id == bad.id else line for line in index.lines])
    error = refusal(lambda: world.admit("1.0.0"))
    assert isinstance(error, MetadataMismatch)
    assert f"its maintainers signed {_line_signed(world)}" in str(error)


def _line_signed(world: World) -> str:
    release = read_signed_releases(_claim(world)).releases.get(Version("1.0.0"))
    assert release is not None
    return release.tarball.sha256


@pytest.mark.parametrize("hidden", ["0.9.0", "1.1.0"])
def test_a_version_is_hidden(world: World, hidden: str) -> None:
    """A fix that is hidden leaves people on the broken version: the whole file is refused."""
    world.publish_index(lambda index: [line for line in index.lines if str(line.id.version) != hidden])
    error = refusal(lambda: world.admit("1.0.0"))
    assert isinstance(error, MetadataMismatch)
    assert hidden in str(error)


def test_the_good_one_is_yanked(world: World) -> None:
    world.publish_index(lambda index: [line.with_(yanked=str(line.id.version) == "1.1.0") for line in index.lines])
    admission = world.admit("1.1.0")
    assert not admission.line.yanked, "cargo gets the maintainers' word"
    judged = judge_index(read_signed_releases(_claim(world)), world.index())
    notes = [one.note for one in judged if one.note]
    assert notes == ["the registry marks demo-lib@1.1.0 as yanked; its maintainers did not sign that"]
    assert all(not one.line.yanked for one in judged)


def test_a_yanked_one_is_unyanked(world: World) -> None:
    world.yank("1.0.0")
    world.publish_index(lambda index: [line.with_(yanked=False) for line in index.lines])
    assert world.admit("1.0.0").line.yanked


def test_a_release_for_another_registry_is_not_this_ones(world: World) -> None:
    """What is signed for a company's registry cannot be passed off on the public one."""
    claim = _claim(world)
    line = _line(world, "1.0.0")
    assert attest(read_signed_releases(claim), line)
    other = replace(claim, facts=replace(claim.facts, registry="internal"))
    error = refusal(lambda: attest(read_signed_releases(other), line))
    assert "was signed for the registry 'crates-io'" in str(error)


@pytest.mark.parametrize("hidden", ["0.9.0", "1.1.0"])
def test_a_version_is_hidden_from_whoever_asks_for_another(world: World, hidden: str) -> None:
    """The line itself refuses, whatever kinds of evidence look through the whole file afterwards."""
    claim, wanted = _claim(world), Wanted(CrateId(NAME, Version("1.0.0")))

    def vouched() -> Vouched:
        repository = world.fresh()
        return vouch(open_index(repository, NAME, find_target(repository, NAME)), wanted)

    assert attribute(vouched(), claim, released=False).release is not None
    world.publish_index(lambda index: [line for line in index.lines if str(line.id.version) != hidden])
    for ask in (
        lambda: attribute(vouched(), claim, released=False),
        lambda: judge_index(read_signed_releases(claim), world.index()),
    ):
        assert f"hides {NAME}@{hidden}" in str(refusal(ask))
