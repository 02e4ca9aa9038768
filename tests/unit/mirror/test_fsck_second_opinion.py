"""`fsck --second-opinion`: everything that is published, judged by three; a disagreement is a finding."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import quiet
from tests.support.worlds.ceremony import make_ceremony
from tests.support.worlds.claims import NAME, World, people, person, sign
from tests.support.worlds.release import HonestRelease, synthetic

from carnet import strictjson
from carnet.cargo.names import CrateId
from carnet.tuf import paths
from carnet.tuf.keys import PublicKey
from carnet.tuf.roles import RoleKeys
from carnet_mirror.fsck.fsck import FsckReport, fsck
from carnet_mirror.second_opinion import in_toto_steps, python_tuf, stock_client
from carnet_mirror.state.store import Store
from carnet_mirror.writing import publish, writing
from carnet_signer.metadata.new_roles import Change
from carnet_signer.proposals import ownership
from carnet_signer.proposals.proposal import draft
from carnet_verifier.provenance import provenance as ours

NOW = datetime.now(UTC).replace(microsecond=0)  # python-tuf's client reads the clock


@pytest.fixture(scope="module")
def release() -> HonestRelease:
    return synthetic().with_layout(expires=NOW + timedelta(days=300))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, release: HonestRelease) -> World:
    """A registry with an unclaimed crate and a claimed one with evidence; copied for each test."""
    ceremony = make_ceremony(bit_length=1, now=NOW)
    online, folder = ceremony.signer(), tmp_path_factory.mktemp("made")
    with Store.create(folder / "mirror") as store:
        with writing(store, online, now=NOW):
            publish(store, online, Change(roles=ceremony.files), now=NOW)
        world = World(folder, ceremony, online, store, NOW)
        world.add(honest_crate("other"))
        world.claim(layout=ownership.NewLayout(release.layout_file, release.terms))
        world.release(tarball=release.tarball, bundle=release.bundle())
    return world


@pytest.fixture
def world(made: World, tmp_path: Path) -> Iterator[World]:
    shutil.copytree(made.folder / "mirror", tmp_path / "mirror")
    with Store.open(tmp_path / "mirror", write=True) as store:
        yield replace(made, folder=tmp_path, online=copy.deepcopy(made.online), store=store, clients={})


def check(world: World, now: datetime | None = None) -> FsckReport:
    return fsck(world.store, now=now or world.now, progress=quiet, second_opinion=True)


def where(report: FsckReport) -> set[str]:
    return {problem.where for problem in report.problems}


def test_a_sound_mirror_is_sound_to_all_three(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def counted(module: object, name: str) -> None:
        original: Callable[..., object] = getattr(module, name)

        def count(*arguments: object, **options: object) -> object:
            seen.append(name)
            return original(*arguments, **options)

        monkeypatch.setattr(module, name, count)

    counted(python_tuf, "delegated")
    counted(in_toto_steps, "judge_release")
    counted(stock_client, "_fetch")
    report = check(world)
    assert (report.problems, report.notes) == ([], [])
    # Root, timestamp and snapshot, targets, claims and its shards, index and its bins, owner and crate.
    assert seen.count("delegated") == 1 + 2 + 1 + 1 + 256 + 1 + 2 + 2
    assert seen.count("judge_release") == 1
    assert seen.count("_fetch") == 2 + 3  # two index files; layout, tarball, bundle


def test_without_the_flag_nobody_else_is_asked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python_tuf, "read", None)
    assert fsck(world.store, now=world.now, progress=quiet).problems == []


def test_a_role_below_its_threshold_that_carnet_let_through(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """`RoleKeys.check` takes everything, when it was published and now."""
    owner = paths.owner_role(NAME)
    proposal = world.owner_proposal(ownership.OwnerChanges(releasers=people(("rita", "sven", "uwe"), 2)))
    monkeypatch.setattr(RoleKeys, "check", lambda *_: None)
    assert check(world).problems == []
    world.publish_roles({owner: sign(proposal, [person("alice")]).drafts[owner].raw})
    report = check(world)
    assert f"metadata/2.{owner}.json" in where(report)
    assert any("owner.demo_lib was signed by 1/2 keys" in problem.what for problem in report.problems)


def test_a_timestamp_that_nobody_signed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PublicKey, "verifies", lambda *_: True)
    assert check(world).problems == []
    world.online.key = replace(world.online.key, private=person("a stranger").private)
    world.add(honest_crate("third"))
    assert where(check(world)) >= {"metadata/timestamp.json"}


def test_a_target_that_python_tufs_client_cannot_download(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published past the intake, with a digest that carnet's own look at the state does not compare."""
    other = synthetic(crate=CrateId.of(str(NAME), "0.2.0"))
    proposal = world.release_proposal(tarball=other.tarball, bundle=other.bundle())
    role = paths.crate_role(NAME)
    signed = strictjson.parse_object(proposal.drafts[role].message, role, max_bytes=10**7)
    path = paths.crate_path(other.crate.id)
    listed = signed["targets"]
    assert isinstance(listed, dict)
    entry = listed[path]
    assert isinstance(entry, dict)
    entry["hashes"] = {"sha256": other.crate.sha256, "sha512": "00" * 64}
    bad = sign(replace(proposal, drafts={role: draft(role, signed)}), map(person, ("rita", "sven")))
    monkeypatch.setattr("carnet_signer.metadata.new_roles._check_digests", lambda *_: None)
    world.publish_roles({role: bad.drafts[role].raw}, dict(bad.targets))
    found = {problem.where: problem.what for problem in check(world).problems}
    assert "LengthOrHashMismatch" in found[path]


def test_evidence_that_only_carnet_takes(world: World, release: HonestRelease, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that carnet does not evaluate: in-toto does."""
    evaluated: list[object] = []
    monkeypatch.setattr(ours, "check_rules", lambda *arguments: evaluated.append(arguments))
    assert check(world).problems == []
    assert evaluated
    reduce_chain_links = vars(in_toto_steps)["reduce_chain_links"]

    def spoilt(found: dict[str, dict[str, object]]) -> object:
        reduced = reduce_chain_links(found)
        reduced["review"].products = {"evil.rs": {"sha256": "66" * 32}}
        return reduced

    monkeypatch.setattr(in_toto_steps, "reduce_chain_links", spoilt)
    report = check(world)
    assert where(report) == {paths.bundle_path(release.crate.id)}
    assert "rules: carnet says no artifact rule is broken; in-toto says" in report.problems[0].what


def test_an_expired_mirror_is_not_a_damaged_one(world: World) -> None:
    report = check(world, world.now + timedelta(days=2))
    assert report.problems == []
    assert any("python-tuf's client was not asked" in note for note in report.notes)
