"""A claim adopts the whole history that an upstream lists, by checksum; tarballs come later, or never otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.command import carnet
from tests.support.registries.mirror_process import quiet
from tests.support.registries.sparse import SparseRegistry, sparse_registry
from tests.support.worlds.claims import NAME, World, person, refusal, sign, with_dependency
from tests.support.worlds.release import synthetic

from carnet.cargo.asked import AskedFor
from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import line_from_crate
from carnet.cargo.lockfile import CRATES_IO, LockedPackage
from carnet.cargo.names import CrateId, Version
from carnet.claims import history as bounds
from carnet.claims.history import History, ListedVersion
from carnet.claims.releases import Digest, Releases
from carnet.errors import MetadataMismatch, NotFound, PolicyRefused, ThresholdNotMet
from carnet.tuf import paths
from carnet_cli.commands.maintain import proposal_folders
from carnet_cli.config import home
from carnet_gate.choosing.resolving import Resolved, with_owners
from carnet_gate.reporter import Lacking
from carnet_mirror.fsck.fsck import fsck
from carnet_mirror.pull.rules import PullRules
from carnet_mirror.pull.scheduled import sync_what_is_named
from carnet_mirror.pull.settings import SyncSettings
from carnet_mirror.state.files import blob_path
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.records import StoredVersion
from carnet_mirror.sync.closure import close
from carnet_mirror.sync.outcome import SyncReport
from carnet_mirror.sync.sync import sync
from carnet_mirror.upstream.sparse import SparseUpstream
from carnet_signer.metadata.publish import Change, publish
from carnet_signer.own_view import OwnView
from carnet_signer.proposals import ownership, review, state_before
from carnet_signer.proposals.proposal import Proposal, load
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.policy.policy import Pattern
from carnet_verifier.releases.published_versions import read_history
from carnet_verifier.tuf.view import View

_MADE = synthetic(crate=CrateId(NAME, Version("1.0.20")))
_OLD, _NEW = ("0.9.0", "1.0.0-rc.1", "1.0.0"), "1.0.19"


class Claimed:
    """A mirror that had one version of a crate, and its claim; the upstream has more."""

    def __init__(self, world: World, registry: SparseRegistry, **claim: object) -> None:
        self.world, self.registry = world, registry
        for version in (*_OLD, _NEW):
            registry.add(honest_crate(str(NAME), version), yanked=version == "1.0.0")
        assert self.sync(_NEW).added == (self.id(_NEW),)
        world.claim(**claim)

    @staticmethod
    def id(version: str) -> CrateId:
        return CrateId(NAME, Version(version))

    def sync(self, *versions: str) -> SyncReport:
        upstream = SparseUpstream(self.registry.index_url)
        wanted = [LockedPackage(self.id(version), CRATES_IO, None) for version in versions]
        world = self.world
        return sync(world.store, world.online, upstream, wanted, now=world.now, progress=quiet, index=upstream)

    def signed(self) -> Releases:
        return UnverifiedView(self.world.store).releases(NAME)

    def problems(self) -> list[str]:
        report = fsck(self.world.store, now=self.world.now, progress=quiet)
        return [f"{one.where}: {one.what}" for one in report.problems]


@pytest.fixture
def claimed(tmp_path: Path) -> Iterator[Claimed]:
    world = World.make(tmp_path)
    with sparse_registry() as registry:
        yield Claimed(world, registry)
    world.store.close()


def test_old_versions_that_nobody_had_are_brought_after_the_claim(claimed: Claimed) -> None:
    signed = claimed.signed()
    assert [str(one.id.version) for one in signed] == [*_OLD, _NEW]
    assert [one.by_checksum for one in signed] == [True, True, True, False]
    assert isinstance(refusal(lambda: claimed.world.admit("0.9.0")), NotFound)
    assert str(claimed.world.admit(_NEW).level) == "maintainer", "what lacks refuses nothing else"
    report = claimed.sync("0.9.0", "1.0.0")
    assert (report.added, report.refused, report.appeared) == ((claimed.id("0.9.0"), claimed.id("1.0.0")), (), ())
    for version in ("0.9.0", _NEW):
        assert str(claimed.world.admit(version, client="one").level) == "maintainer"
    assert claimed.world.index().line(Version("1.0.0")).yanked, "as the maintainers signed it"  # type: ignore[union-attr]
    found = close(
        claimed.world.store, SparseUpstream(claimed.registry.index_url), [AskedFor.parse(f"{NAME}@=1.0.0-rc.1")]
    )
    assert [str(one.id) for one in found.packages] == [f"{NAME}@1.0.0-rc.1"]
    assert claimed.problems() == []


def test_a_version_that_appears_later_is_shown_and_published_by_nobody_but_its_owners(claimed: Claimed) -> None:
    claimed.registry.add(honest_crate(str(NAME), "1.0.20"))
    claimed.registry.requests.clear()
    assert claimed.sync(_NEW).unchanged == 1
    assert claimed.registry.requests == [], "nobody asked for anything that is not here"
    report = claimed.sync("1.0.20")
    assert (report.added, report.appeared) == ((), (claimed.id("1.0.20"),))
    assert f"`carnet claim adopt {NAME}@1.0.20`" in report.refused[0].reason
    assert [str(line.id.version) for line in claimed.world.index().lines] == [_NEW]
    history = UnverifiedView(claimed.world.store).history(NAME)
    assert history is not None
    assert Version("1.0.20") in history.versions
    assert claimed.problems() == []


def test_what_was_adopted_comes_with_that_checksum_and_that_line_or_not_at_all(claimed: Claimed) -> None:
    claimed.registry.add(honest_crate(str(NAME), "0.9.0", source="// another"))
    candidate = claimed.registry.lines[str(NAME)][0]
    assert candidate["vers"] == "1.0.0-rc.1"
    candidate["deps"] = with_dependency(claimed.world.index().lines[0]).raw["deps"]
    report = claimed.sync("0.9.0", "1.0.0-rc.1")
    assert (report.added, len(report.refused)) == ((), 2)
    assert [claimed.world.store.crates.version(claimed.id(version)) for version in _OLD] == [None, None, None]


def adopt(claimed: Claimed, *versions: str) -> Proposal:
    """As its owners draft it, from the mirror's history."""
    history = read_history(claimed.world.fresh(), NAME)
    assert history is not None
    listed = [history.versions[Version(version)] for version in versions]
    return ownership.adopt_listed(claimed.world.published(), NAME, listed, now=claimed.world.now)


def test_its_owners_sign_it_in_and_then_it_comes(claimed: Claimed) -> None:
    claimed.registry.add(honest_crate(str(NAME), "1.0.20"))
    claimed.sync("1.0.20")
    proposal = adopt(claimed, "1.0.20")
    world = claimed.world
    view = world.fresh()
    compared = state_before.compare(proposal, OwnView(view.trusted.root, "compared", "test", view)).proposal
    review.lint(compared, now=world.now)
    said = [line for words in review.describe(compared, now=world.now) for line in words.lines]
    assert any(line.startswith("1 versions that the mirror's upstream lists are adopted by checksum") for line in said)
    assert isinstance(refusal(lambda: world.submit(sign(proposal, [person("rita")]))), ThresholdNotMet)
    assert world.submit(sign(proposal, map(person, ("rita", "sven")))).added == ("1.0.20",)
    assert claimed.sync("1.0.20").added == (claimed.id("1.0.20"),)
    assert str(world.admit("1.0.20", client="one").level) == "maintainer"
    assert claimed.problems() == []


def test_its_owners_see_it_and_are_told_what_to_type(
    claimed: Claimed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = claimed.world

    @contextmanager
    def looking(_: str | None) -> Iterator[View]:
        yield View(world.fresh(), ReadFetcher(world.store.read), "http://registry.test/")

    monkeypatch.setattr(proposal_folders, "looking", looking)
    monkeypatch.setattr(home, "now", lambda: world.now)
    assert carnet("claim", "adopt", NAME).status == 0
    claimed.registry.add(honest_crate(str(NAME), "1.0.20"), yanked=True)
    assert "1.0.20" in str(refusal(lambda: world.admit("1.0.20")).hint)
    claimed.sync("1.0.20")
    shown = carnet("claim", "adopt", NAME)
    assert (shown.status, shown.out.count("\n")) == (1, 1)
    assert f"{NAME}@1.0.20, sha256 " in shown.out
    assert "carnet claim adopt demo-lib@1.0.20 -o DIR" in shown.err
    (line,) = carnet("claim", "adopt", NAME, "--message-format", "json").out.splitlines()
    assert [one["version"] for one in json.loads(line)["appeared"]] == ["1.0.20"]
    unknown = carnet("claim", "adopt", f"{NAME}@9.9.9", "-o", tmp_path / "no")
    assert unknown.status == 2
    assert "carnet mirror sync DIR --history demo-lib" in unknown.err
    assert carnet("claim", "adopt", f"{NAME}@1.0.20", "-o", tmp_path / "folder").status == 0
    proposal = load(tmp_path / "folder")
    assert world.submit(sign(proposal, map(person, ("rita", "sven")))).added == ("1.0.20",)
    assert carnet("claim", "adopt", NAME).status == 0


def test_whoever_lacks_a_version_is_told_who_can_help(claimed: Claimed) -> None:
    """The operator brings what was adopted; of anything else its owners alone can do something."""
    adopted, other = refusal(lambda: claimed.world.admit("0.9.0")), refusal(lambda: claimed.world.admit("2.0.0"))
    assert "carnet mirror sync DIR demo-lib@=0.9.0" in str(adopted.hint)
    assert "carnet claim adopt demo-lib@2.0.0" in str(other.hint)
    assert "operator" not in str(other.hint)


def test_a_version_that_is_listed_and_not_here_is_adopted_by_its_checksum_as_well(tmp_path: Path) -> None:
    world, tarball = World.make(tmp_path), honest_crate(str(NAME), "0.9.0")
    world.add(honest_crate(str(NAME), _NEW))
    line = line_from_crate(read_crate(tarball), pubtime=None)
    listed = StoredVersion(line, 0, blob_path(line.cksum), "test", False, "2026-11-23T12:00:00Z")
    with world.store.change():
        versions = [*world.store.crates.versions(NAME), listed]
        change = Change(index_files={paths.index_path(NAME): world.store.crates.stage(NAME, versions)})
        publish(world.store, world.online, change, now=world.now)
    world.claim()
    assert [one.by_checksum for one in UnverifiedView(world.store).releases(NAME)] == [True, False]
    assert str(world.admit("0.9.0").level) == "maintainer", "its line is signed, whoever brings its tarball"
    with sparse_registry() as registry:
        registry.add(tarball)
        upstream = SparseUpstream(registry.index_url)
        wanted = [LockedPackage(CrateId(NAME, Version("0.9.0")), CRATES_IO, None)]
        report = sync(world.store, world.online, upstream, wanted, now=world.now, progress=quiet, index=upstream)
    assert (len(report.added), report.refused) == (1, ())
    stored = world.store.crates.version(CrateId(NAME, Version("0.9.0")))
    assert stored is not None
    assert stored.is_here
    world.store.close()


def test_whoever_chooses_versions_is_told_so_too(claimed: Claimed) -> None:
    view = View(claimed.world.fresh(), ReadFetcher(claimed.world.store.read), "http://registry.test/")
    lacking = [Lacking(AskedFor.parse(text)) for text in (f"{NAME}@2", f"{NAME}@=0.9.0", "other")]
    told = with_owners(view, lacking)
    assert [one.owned for one in told] == [True, False, False]
    hint = Resolved(101, told).hint
    assert "operator for `carnet mirror sync DIR demo-lib@=0.9.0 other`" in hint
    assert "ask the owners of demo-lib" in hint
    assert "operator" not in Resolved(101, told[:1]).hint


def test_maintainers_yank_what_they_adopted_and_release_beside_it(claimed: Claimed) -> None:
    world = claimed.world
    assert world.yank("0.9.0").yanked == ("0.9.0",)
    assert world.release("1.1.0").added == ("1.1.0",)
    claimed.sync("0.9.0")
    assert [str(line.id.version) for line in world.index().lines if line.yanked] == ["0.9.0"]
    assert world.yank("0.9.0", yanked=False).unyanked == ("0.9.0",)
    assert isinstance(world.admit("0.9.0").line.yanked, bool)
    assert claimed.problems() == []


def test_where_a_layout_is_in_force_the_owners_sign_as_well(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    with sparse_registry() as registry:
        claimed = Claimed(world, registry, layout=ownership.NewLayout(_MADE.layout_file, _MADE.terms))
        registry.add(honest_crate(str(NAME), "1.0.20"))
        claimed.sync("1.0.20")
        proposal = adopt(claimed, "1.0.20")
        assert set(proposal.drafts) == {paths.owner_role(NAME), paths.crate_role(NAME)}
        review.lint(proposal, now=world.now)
        alone = replace(proposal, drafts={paths.crate_role(NAME): proposal.drafts[paths.crate_role(NAME)]})
        refused = refusal(lambda: world.submit(sign(alone, map(person, ("rita", "sven")))))
        assert isinstance(refused, PolicyRefused), "release keys alone let nothing stand without its evidence"
        world.submit(sign(proposal, map(person, ("rita", "sven", "alice", "bob"))))
        assert len(claimed.sync("1.0.20", "0.9.0").added) == 2
        assert str(world.admit("1.0.20").level) == str(world.admit("0.9.0").level) == "maintainer"
    world.store.close()


def test_of_a_long_history_signers_see_a_part_and_the_digest_of_all(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    world.add(honest_crate(str(NAME), _NEW))
    listed = [
        ListedVersion(CrateId(NAME, Version(f"0.{number}.0")), f"{number:064x}", f"{number:064x}", yanked=False)
        for number in range(500)
    ]
    history = History(NAME, {one.id.version: one for one in listed})
    with world.store.change():
        change = Change(index_files={paths.history_path(NAME): history.to_bytes()})
        publish(world.store, world.online, change, now=world.now)
    shown = []
    for number in (499, 1):
        proposal = world.claim_proposal()
        if number == 1:  # somebody swapped two digests that nobody is shown
            other = replace(listed[number], cksum=listed[499].cksum)
            releases = Releases.of(NAME, proposal.drafts[paths.crate_role(NAME)].signed)
            versions = {**releases.versions, other.id.version: ownership.by_checksum(other, "crates-io")}
            draft = ownership.crate_draft(NAME, 1, Releases(NAME, versions), world.now)
            proposal = replace(proposal, drafts={**proposal.drafts, paths.crate_role(NAME): draft})
        words = review.describe(proposal, now=world.now)
        shown.append([line for one in words if one.title == "versions" for line in one.lines])
    assert len(shown[0]) < 110
    assert any(f"@0.499.0, sha256 {499:064x}" in line for line in shown[0]), "the newest, which builds would take"
    assert not any(f"@0.{number}.0, sha256" in line for number in (0, 1) for line in shown[0])
    assert shown[0] != shown[1]
    assert len(world.claim_proposal().drafts[paths.crate_role(NAME)].raw) < 120_000
    assert len(world.claim().added) == 501


def test_an_upstream_that_lists_any_number_of_versions_makes_a_history_that_can_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = 175 * bounds.MOST_VERSIONS + bounds.MOST_VERSIONS * bounds._MOST_TEXT
    assert whole < bounds.MAX_HISTORY, "what an entry has beside its version, and the versions"
    monkeypatch.setattr(bounds, "MOST_VERSIONS", 40)

    def line(version: str, **more: object) -> bytes:
        return json.dumps({"name": str(NAME), "vers": version, "cksum": "ab" * 32, "yanked": False} | more).encode()

    long = [line(f"1.0.{number}-{'x' * 100}") for number in range(25)]
    short = [line(f"2.0.{number}") for number in range(45)]
    for lines in (long, short, [*long, *short]):
        history = History(NAME, {}).heard(lines)
        assert 9 < len(history.versions) <= 40
        assert len(history.to_bytes()) < 175 * 40 + 40 * bounds._MOST_TEXT + 100
        assert History.from_bytes(history.to_bytes(), NAME) == history
    odd = [b"{}", b"[", b'{"name":1}', line("x"), line("1.0.0", cksum="AB"), line("1.0.0", name="other"), b"\xff" * 9]
    assert History(NAME, {}).heard(odd).versions == {}
    once = History(NAME, {}).heard([line("1.0.0")])
    later = once.heard([line("1.0.0", cksum="cd" * 32), line("1.0.1", yanked=True)])
    assert [(one.cksum, one.yanked) for one in later] == [("ab" * 32, False), ("ab" * 32, True)]
    assert later.heard([line("1.0.0", yanked=True)]).versions[Version("1.0.0")].yanked
    assert later.heard([]) == later


def test_what_appears_is_looked_for_by_the_clock_too(claimed: Claimed) -> None:
    claimed.registry.add(honest_crate(str(NAME), "1.0.20"))
    world, upstream = claimed.world, SparseUpstream(claimed.registry.index_url)
    settings = SyncSettings("sparse", timedelta(hours=1), (), (), yanks=True, rules=PullRules((Pattern("*"),)))
    brought = sync_what_is_named(world.store, world.online, upstream, settings, (), now=world.now, progress=quiet)
    assert brought.report.appeared == (claimed.id("1.0.20"),)
    assert brought.report.added == ()


def test_nothing_is_adopted_that_the_upstream_does_not_list(claimed: Claimed) -> None:
    claimed.registry.add(honest_crate(str(NAME), "1.0.20"))
    claimed.sync("1.0.20")
    honest = adopt(claimed, "1.0.20")
    role, world = paths.crate_role(NAME), claimed.world
    releases = Releases.of(NAME, honest.drafts[role].signed)
    one = releases.versions[Version("1.0.20")]
    lies = (
        replace(one, id=claimed.id("1.0.21")),
        replace(one, tarball=Digest(None, "ab" * 32)),
        replace(one, index="cd" * 32),
    )
    view = OwnView(world.fresh().trusted.root, "compared", "test", world.fresh())
    for lie in lies:
        versions = {**releases.versions, lie.id.version: lie}
        draft = ownership.crate_draft(NAME, honest.drafts[role].signed.version, Releases(NAME, versions), world.now)
        proposal = replace(honest, drafts={role: draft})
        assert isinstance(refusal(lambda: state_before.compare(proposal, view)), MetadataMismatch)  # noqa: B023
        signed = sign(proposal, map(person, ("rita", "sven")))
        assert isinstance(refusal(lambda: world.submit(signed)), MetadataMismatch)  # noqa: B023
    assert [str(line.id.version) for line in world.index().lines] == [_NEW]
