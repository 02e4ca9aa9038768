"""A small registry with a claimed crate: a real store on the disk, keys that open at once, and the verifier above it.

Honest people use `claim`, `release` and `yank`; attack tests take the keys that their attacker has and go their own way
with `proposal`s and with `publish_index`, which is what stolen online keys can do.
"""

from __future__ import annotations

import atexit
import copy
import functools
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from tests.support.crates.archives import honest_crate
from tests.support.worlds.ceremony import AT_ONCE, NOW, Ceremony, DirectOnlineSigner, TestKey, make_ceremony, make_key

from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import IndexFile, IndexLine, line_from_crate
from carnet.cargo.names import CrateId, CrateName, Version
from carnet.claims.holders import ClaimFacts, Holders
from carnet.claims.releases import Releases
from carnet.claims.waiting import Waiting
from carnet.errors import CarnetError
from carnet.intoto.bundle import Bundle
from carnet.strictjson import Json, JsonObject
from carnet.tuf import paths
from carnet_mirror.intake import Receipt, take_submission
from carnet_mirror.state.files import blob_path
from carnet_mirror.state.records import StoredVersion
from carnet_mirror.state.store import Store
from carnet_mirror.waiting import Public, take_proposal
from carnet_signer.metadata.publish import Change, publish
from carnet_signer.metadata.role_files import at
from carnet_signer.proposals import ownership, release, waiting
from carnet_signer.proposals.proposal import Proposal, Request
from carnet_verifier.admit import Admission, Wanted, admit_one
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.policy.policy import Policy
from carnet_verifier.releases.published_versions import read_history
from carnet_verifier.tuf.refresh import read_repository, refresh
from carnet_verifier.tuf.repository import TrustedRepository

NAME = CrateName("demo-lib")
OWNERS = ("alice", "bob", "carol")
RELEASERS = ("rita", "sven", "tara")


def person(name: str) -> TestKey:
    return make_key(f"person {name}")


def people(names: Iterable[str], threshold: int) -> Holders:
    return ownership.team([(name, person(name).public_key) for name in names], threshold)


def facts(owners: Sequence[str] = OWNERS, releasers: Sequence[str] = RELEASERS, threshold: int = 2) -> ClaimFacts:
    return ClaimFacts(people(owners, threshold), people(releasers, threshold), "crates-io")


def sign(proposal: Proposal, keys: Iterable[TestKey]) -> Proposal:
    for key in keys:
        proposal, _ = proposal.sign(key)
    return proposal


def body(proposal: Proposal) -> bytes:
    """What a mirror gets, whether or not enough people have signed."""
    from carnet.claims.submission import Submission

    files = {role: draft.raw for role, draft in proposal.drafts.items()}
    return Submission(proposal.crate, files, proposal.targets, proposal.lines).to_bytes()


@functools.cache
def _first_publish(waits: Waiting) -> tuple[Path, Ceremony, DirectOnlineSigner]:
    """A published ceremony, made once for each process and copied: signing 256 shards takes a while."""
    folder = Path(tempfile.mkdtemp(prefix="carnet-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    ceremony = make_ceremony(bit_length=1, waiting=waits)
    online = ceremony.signer()
    with Store.create(folder / "mirror") as store, store.change():
        publish(store, online, ceremony.change, now=NOW)
    return folder / "mirror", ceremony, online


@dataclass
class World:
    """A registry."""

    folder: Path
    ceremony: Ceremony
    online: DirectOnlineSigner
    store: Store
    now: datetime = NOW
    clients: dict[str, TrustDirectory] = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path, *, waits: Waiting = AT_ONCE) -> World:
        """Make one; nothing waits in it unless a test is about that."""
        template, ceremony, online = _first_publish(waits)
        shutil.copytree(template, folder / "mirror")
        made = cls(folder, ceremony, copy.deepcopy(online), Store.open(folder / "mirror", write=True))
        weakref.finalize(made, made.store.close)
        return made

    # --- looking ---

    def fresh(self) -> TrustedRepository:
        """The view of a client that never saw this registry before."""
        return read_repository(self.ceremony.root, ReadFetcher(self.store.read), now=self.now)

    def client(self, name: str = "client") -> TrustedRepository:
        """The view of a client with a memory, refreshed."""
        if name not in self.clients:
            self.clients[name] = TrustDirectory.create(self.folder / name, self.ceremony.root, "http://localhost/")
        return refresh(self.clients[name], ReadFetcher(self.store.read), now=self.now)

    def admit(
        self, version: str = "1.0.0", *, policy: Policy | None = None, client: str | None = None, name: CrateName = NAME
    ) -> Admission:
        """What a build gets, or the refusal."""
        repository = self.fresh() if client is None else self.client(client)
        memory = None if client is None else self.clients[client]
        return admit_one(repository, Wanted(CrateId(name, Version(version))), policy or Policy(), memory, now=self.now)

    def published(self, name: CrateName = NAME) -> ownership.PublishedClaim:
        return ownership.read_published(self.fresh(), name, neighbours=True)

    def index(self, name: CrateName = NAME) -> IndexFile:
        view = self.fresh()
        return IndexFile.from_bytes(view.download(view.find_target(paths.index_path(name))), name)

    # --- the registry, with its online keys ---

    def add(self, *tarballs: bytes, through: Callable[..., object] = publish) -> None:
        """Publish unclaimed crates, as a sync does; which goes through `carnet_mirror.writing.publish`."""
        stamp = at(self.now)
        found: dict[CrateName, list[StoredVersion]] = {}
        for data in tarballs:
            crate = read_crate(data)
            line = line_from_crate(crate, pubtime=stamp)
            found.setdefault(crate.id.name, self.store.crates.versions(crate.id.name)).append(
                StoredVersion(line, crate.length, blob_path(crate.sha256), "test", False, stamp)
            )
        with self.store.change():
            self.store.stage_tarballs(tarballs)
            files = {
                paths.index_path(name): self.store.crates.stage(name, versions) for name, versions in found.items()
            }
            through(self.store, self.online, Change(index_files=files), now=self.now)

    def publish_index(self, edit: Callable[[IndexFile], Iterable[IndexLine]], name: CrateName = NAME) -> None:
        """Publish any index file: what somebody with the online keys and the disk can do."""
        lines = tuple(edit(self.index(name)))
        with self.store.change():
            data = IndexFile(name, lines).to_bytes()
            publish(self.store, self.online, Change(index_files={paths.index_path(name): data}), now=self.now)

    def publish_roles(self, roles: dict[str, bytes], targets: dict[str, bytes] | None = None) -> None:
        """Publish role files past the intake: a mirror that checks no more than its own signer does."""
        with self.store.change():
            publish(self.store, self.online, Change(roles=roles, targets=targets or {}, about=NAME), now=self.now)

    # --- people ---

    def submit(self, proposal: Proposal) -> Receipt:
        return take_submission(self.store, self.online, body(proposal), now=self.now)

    def propose(self, proposal: Proposal, source: str = "192.0.2.0/24") -> Public:
        """Hand the drafts in, for everybody to see."""
        return take_proposal(self.store, self.online, waiting.body(proposal), source=source, now=self.now)

    def later(self, **delta: float) -> None:
        self.now += timedelta(**delta)

    def claim_request(self, kind: str = "release") -> Request:
        return Request(kind, NAME, at(self.now))

    def adopted(self, name: CrateName = NAME) -> Releases | None:
        """What a first claim adopts."""
        view = self.fresh()
        target = view.find_targets([paths.index_path(name)])[paths.index_path(name)]
        index = None if target is None else IndexFile.from_bytes(view.download(target), name)
        lengths = {one.line.cksum: one.length for one in self.store.crates.versions(name) if one.is_here}
        return ownership.adopt(index, lengths, "crates-io", read_history(view, name))

    def claim_proposal(
        self,
        *,
        layout: ownership.NewLayout | None = None,
        who: ClaimFacts | None = None,
        name: CrateName = NAME,
        takeover: bool = False,
    ) -> Proposal:
        return ownership.new_claim(
            self.published(name),
            Request("claim", name, at(self.now), ("alice is the author",), takeover),
            who or facts(),
            adopted=self.adopted(name),
            layout=layout,
            now=self.now,
        )

    def claim(self, **options: object) -> Receipt:
        """Claim the crate with everybody's signatures."""
        proposal = self.claim_proposal(**options)  # type: ignore[arg-type]
        keys = [person(name) for name in ("alice", "bob", "rita", "sven")]
        return self.submit(sign(proposal, [*keys, *self.ceremony.holders[:2]]))

    def release_proposal(
        self, version: str = "1.0.0", *, tarball: bytes | None = None, bundle: Bundle | None = None
    ) -> Proposal:
        data = honest_crate(str(NAME), version) if tarball is None else tarball
        published = self.published()
        return release.propose(
            published, release.assemble_release(published, NAME, read_crate(data, strict=True), bundle), now=self.now
        )

    def release(self, version: str = "1.0.0", *, by: Sequence[str] = ("rita", "sven"), **options: object) -> Receipt:
        proposal = self.release_proposal(version, **options)  # type: ignore[arg-type]
        return self.submit(sign(proposal, map(person, by)))

    def yank(self, *versions: str, yanked: bool = True, by: Sequence[str] = ("rita", "sven")) -> Receipt:
        proposal = release.yank(self.published(), NAME, map(Version, versions), yanked=yanked, now=self.now)
        return self.submit(sign(proposal, map(person, by)))

    def owner_proposal(self, changes: ownership.OwnerChanges, *, takeover: bool = False) -> Proposal:
        request = Request("owners", NAME, at(self.now), takeover=takeover)
        return ownership.next_owner(self.published(), request, changes, now=self.now)


def refusal(call: Callable[[], object]) -> CarnetError:
    """The error that a call ends with."""
    try:
        call()
    except CarnetError as error:
        return error
    raise AssertionError("nothing was refused")


def with_dependency(line: IndexLine, name: str = "evil") -> IndexLine:
    """The line with one more dependency."""
    dependency: JsonObject = {
        "name": name,
        "req": "^1",
        "features": [],
        "optional": False,
        "default_features": True,
        "target": None,
        "kind": "normal",
    }
    deps = line.raw["deps"]
    assert isinstance(deps, list)
    return IndexLine.from_object({**line.raw, "deps": list[Json]([*deps, dependency])})
