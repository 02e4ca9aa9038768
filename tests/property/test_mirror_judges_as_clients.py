"""The mirror judges as clients do: what it takes they admit, and what they refuse it never publishes.

Each case is handed to the mirror, and published past its judgement too, as a mirror without any would. Then a client is
asked that saw nothing before, with an empty policy: a mirror has none, so bans, ages, exceptions, git packages are no
questions of its (a sync takes no package from git, and what the policy says of one is `test_one_judgement`).

By design a mirror refuses more than clients do: what guards the *next* version, which a client without a memory cannot
know, and what cargo and the registry would not publish. Those cases say so. What a client refuses it never takes.

Each judge was once made to take all it was given (the intake's line, its level and its signed line; the sync's line and
the operator's word that has ended): each time this failed.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote

import pytest
from tests.support.crates.archives import TarballBuilder, honest_crate
from tests.support.registries.mirror_process import Tarballs, quiet
from tests.support.worlds.claims import NAME, World, person, sign, with_dependency
from tests.support.worlds.release import synthetic
from tests.unit.mirror.test_intake import release_with_line

from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import IndexFile, IndexLine, line_from_crate
from carnet.cargo.let_in import LetIn, write_let_in
from carnet.cargo.names import CrateId, CrateName
from carnet.errors import CarnetError
from carnet.tuf import paths
from carnet_mirror.state.files import blob_path
from carnet_mirror.state.store import Store
from carnet_mirror.sync.sync import sync
from carnet_signer.metadata.publish import Change, publish
from carnet_signer.proposals import ownership
from carnet_signer.proposals.proposal import Proposal
from carnet_verifier.admit import Wanted, admit_all, admit_tarball
from carnet_verifier.explain import explain
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.policy.policy import Policy
from carnet_verifier.tuf.refresh import read_repository

BOTH = ("rita", "sven")
PROVEN = synthetic(crate=CrateId.of(str(NAME), "1.0.0"))
BARE = honest_crate(str(NAME), "1.0.0")
LOOSE = TarballBuilder(str(NAME), "1.0.0").manifest().file("src/lib.rs", "").file("SRC/LIB.rs", "").build()
"""Two names that some file systems take for one: a client warns of what has long been published."""


@dataclass
class Mirror:
    """A world, and copies of it."""

    world: World
    folder: Path
    copies: int = 0

    def copy(self) -> World:
        """The same mirror once more, to be changed."""
        self.copies += 1
        folder = self.folder / str(self.copies)
        shutil.copytree(self.world.folder / "mirror", folder / "mirror")
        store = Store.open(folder / "mirror", write=True)
        return World(folder, self.world.ceremony, copy.deepcopy(self.world.online), store, self.world.now)


def made(folder: Path, **claim: object) -> Mirror:
    world = World.make(folder / "first")
    world.add(honest_crate(str(NAME), "0.9.0"))
    world.claim(**claim)
    return Mirror(world, folder)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Mirror:
    return made(tmp_path_factory.mktemp("mirror"))


@pytest.fixture(scope="module")
def demanding(tmp_path_factory: pytest.TempPathFactory) -> Mirror:
    """Whose owners ask that their layout was carried out."""
    layout = ownership.NewLayout(PROVEN.layout_file, PROVEN.terms)
    return made(tmp_path_factory.mktemp("demanding"), layout=layout)


def client(world: World, crate: CrateId) -> CarnetError | None:
    """What comes of a version at a client, which all of its ways agree about; None when it is let in."""

    def read(path: str) -> bytes | None:
        blobs = {paths.download_path(one.id): one.line.cksum for one in world.store.crates.versions(crate.name)}
        sha256 = blobs.get(path) or blobs.get(unquote(path))
        return world.store.read(path) if sha256 is None else world.store.read(blob_path(sha256))

    view = read_repository(world.ceremony.root, ReadFetcher(read), now=world.now)
    try:
        admit_tarball(view, Wanted(crate), Policy(), None, now=world.now)
        found = None
    except CarnetError as error:
        found = error
    (outcome,) = admit_all(view, [Wanted(crate)], Policy(), None, now=world.now)
    chain = explain(view, Wanted(crate), Policy(), None, now=world.now)
    failed = chain.failure.error if chain.failure is not None else None
    assert str(failed) == str(outcome.error)
    assert outcome.error is None or str(outcome.error) == str(found), "what metadata refuses, bytes do not mend"
    return found


def forced(world: World, proposal: Proposal) -> None:
    """Publish what was submitted as it is."""
    path = paths.index_path(NAME)
    lines = {stem: IndexLine.from_bytes(line) for stem, line in proposal.lines.items()}
    index = IndexFile(NAME, (*(one for one in world.index().lines if one.id.stem not in lines), *lines.values()))
    roles = {role: draft.raw for role, draft in proposal.drafts.items()}
    change = Change(index_files={path: index.to_bytes()}, roles=roles, targets=dict(proposal.targets), about=NAME)
    with world.store.change():
        publish(world.store, world.online, change, now=world.now)


# --- what maintainers hand in ---


def line_of(tarball: bytes, **changes: object) -> IndexLine:
    line = line_from_crate(read_crate(tarball), pubtime="2026-11-23T12:00:00Z")
    return IndexLine.from_object({**line.raw, **changes})  # type: ignore[dict-item]


def released(tarball: bytes, line: IndexLine | None = None) -> Callable[[World], Proposal]:
    return lambda world: release_with_line(world, tarball, line or line_of(tarball))


def other_line(world: World) -> Proposal:
    """Signed was another line than is handed in."""
    proposal = released(BARE)(world)
    return replace(proposal, lines={stem: with_dependency(line_of(BARE)).to_bytes() for stem in proposal.lines})


def other_tarball(world: World) -> Proposal:
    proposal = released(BARE)(world)
    other = honest_crate(str(NAME), "1.0.0", source="pub fn evil() {}\n")
    return replace(proposal, targets=dict.fromkeys(proposal.targets, other))


def one_signature(world: World) -> Proposal:
    return sign(world.release_proposal(), [person("rita")])


def proven(world: World) -> Proposal:
    return sign(world.release_proposal(tarball=PROVEN.tarball, bundle=PROVEN.bundle()), map(person, BOTH))


def unproven(world: World) -> Proposal:
    return release_with_line(world, PROVEN.tarball, line_of(PROVEN.tarball))


OWN_TESTS = '[dev-dependencies]\nlog = "*"\n'
# what is handed in, whether the mirror takes it, whether a client would let it in
SUBMITTED: dict[str, tuple[Callable[[World], Proposal], bool, bool]] = {
    "honest": (released(BARE), True, True),
    "one that crates.io shows remarks of": (released(honest_crate(str(NAME), "1.0.0", extra=OWN_TESTS)), True, True),
    "a dependency more": (released(BARE, with_dependency(line_of(BARE))), False, False),
    "another line than the signed one": (other_line, False, False),
    "another tarball than the signed one": (other_tarball, False, False),
    "below the threshold": (one_signature, False, False),
    # by design: nobody is to publish such a thing from now on
    "publish = false": (released(honest_crate(str(NAME), "1.0.0", extra="publish = false\n")), False, True),
    "two files that some systems take for one": (released(LOOSE), False, True),
    "a line that says more": (released(BARE, line_of(BARE, rust_version="1.0")), False, True),
}
DEMANDED: dict[str, tuple[Callable[[World], Proposal], bool, bool]] = {
    "carried out": (proven, True, True),
    "not carried out": (unproven, False, False),
}


def judge(mirror: Mirror, handed_in: Callable[[World], Proposal]) -> tuple[bool, CarnetError | None]:
    """Whether the mirror takes it; and what a client says of it, published either way."""
    crate = CrateId.of(str(NAME), "1.0.0")
    world = mirror.copy()
    proposal = handed_in(world)
    try:
        world.submit(proposal)
    except CarnetError:
        assert world.published().crate is not None
        assert world.index().lines == mirror.world.index().lines, "what is refused changes nothing"
    else:
        assert client(world, CrateId.of(str(NAME), "0.9.0")) is None
        return True, client(world, crate)
    past = mirror.copy()
    try:
        forced(past, proposal)
    except CarnetError as error:  # nobody can publish it: the metadata itself does not hold
        return False, error
    return False, client(past, crate)


@pytest.mark.parametrize("case", SUBMITTED)
def test_what_is_handed_in(mirror: Mirror, case: str) -> None:
    handed_in, takes, admits = SUBMITTED[case]
    taken, refused = judge(mirror, handed_in)
    assert (taken, refused is None) == (takes, admits), refused
    assert not taken or refused is None, "the law: what it takes, clients admit"


@pytest.mark.parametrize("case", DEMANDED)
def test_what_owners_ask_for(demanding: Mirror, case: str) -> None:
    handed_in, takes, admits = DEMANDED[case]
    taken, refused = judge(demanding, handed_in)
    assert (taken, refused is None) == (takes, admits), refused


# --- what an upstream gives ---

PLAIN = honest_crate("plain", "1.0.0")
DIFFERS = with_dependency(line_of(PLAIN))
FRIEND = honest_crate("plain", "1.0.0", source="pub fn other() {}\n")


UPSTREAM = {
    "an honest line": (line_of(PLAIN), None),
    "a line that differs": (DIFFERS, None),
    "one that was let in until yesterday": (DIFFERS, -1),
    "one that is let in": (DIFFERS, 30),
    "the line of another tarball, let in": (line_of(PLAIN, cksum=read_crate(FRIEND).sha256), 30),
}


@pytest.mark.parametrize("case", UPSTREAM)
def test_what_an_upstream_gives(mirror: Mirror, case: str) -> None:
    """The same question of the same bytes: a sync takes it when, and only when, a client that has them would.

    By design a sync signs no word of its operator about a version that needs none.
    """
    line, days = UPSTREAM[case]
    crate, name = CrateId.of("plain", "1.0.0"), CrateName("plain")
    here, past = mirror.copy(), mirror.copy()
    said = {} if days is None else {crate: _let_in(here, days)}
    upstream = Tarballs([PLAIN], [line.to_bytes()])
    report = sync(here.store, here.online, upstream, upstream.packages, now=here.now, progress=quiet, let_in=said)
    past.add(PLAIN)
    custom = write_let_in({str(crate.version): let_in for crate, let_in in said.items()})
    path = paths.index_path(name)
    with past.store.change():
        change = Change(index_files={path: IndexFile(name, (line,)).to_bytes()}, custom={path: custom})
        publish(past.store, past.online, change, now=past.now)
    assert (report.added == (crate,)) == (client(past, crate) is None), (report.refused, client(past, crate))
    assert not report.added or client(here, crate) is None


def _let_in(world: World, days: int) -> LetIn:
    return LetIn(read_crate(PLAIN).sha256, "an old cargo wrote it", world.now + timedelta(days=days))
