"""What a mirror does that changes its files, each on a copy of a mirror that was made for it, and what has to hold.

Whatever goes wrong: the error is carnet's own and one line; `fsck` finds nothing; a client that looked before looks
again and is not refused; what was acknowledged is there; and the same work, done again, ends as if nothing had been.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import now_in_seconds, quiet
from tests.support.worlds.ceremony import Ceremony, make_ceremony
from tests.support.worlds.claims import RELEASERS, World, body, person, sign
from tests.support.worlds.online import OracleSigner
from tests.unit.mirror.test_backup import Site, remember

from carnet.cargo.names import CrateId, CrateName
from carnet_mirror import upkeep, writing
from carnet_mirror.backup.archive import reading
from carnet_mirror.fsck.rebuild import Anchors, rebuild
from carnet_mirror.intake import take_submission
from carnet_mirror.pruning import prune
from carnet_mirror.state.store import DATABASE, Store
from carnet_mirror.sync.takedown import take_down
from carnet_mirror.upkeep import sign_again
from carnet_signer.online.server import Oracle

DEMO = CrateName("demo-lib")
ARCHIVE = "week.tar"


class Faulty(Site):
    """A machine whose mirror is worked on; each work is a method, and `Work` says what it has to leave."""

    def __init__(self, folder: Path, ceremony: Ceremony) -> None:
        super().__init__(folder, ceremony)

    @contextlib.contextmanager
    def signer(self) -> Iterator[OracleSigner]:
        """The real online signer, whose clock is this machine's."""
        with super().signer() as signer:
            signer._oracle = Oracle([self.ceremony.online], signer._memory, lambda: self.now)
            yield signer

    # --- made for it ---

    def published(self) -> None:
        """One crate, and a client that has looked."""
        self.make()
        self.add("one")
        self.look("client")
        (self.folder / "before").write_text(str(self.versions()[0]))

    def claimed(self) -> None:
        """A crate whose owners have signed its next release, which is in a file."""
        self.make()
        with Store.open(self.mirror, write=True) as store, self.signer() as online:
            # The world's signer keeps nothing on the disk; this one is the real one.
            world = World(self.folder, self.ceremony, online, store, self.now)  # type: ignore[arg-type]
            world.add(honest_crate(str(DEMO), "0.9.0"))
            world.claim()
            proposal = sign(world.release_proposal("1.0.0"), [person(name) for name in RELEASERS[:2]])
            (self.folder / "body").write_bytes(body(proposal))
        self.look("client")

    def backed_up(self) -> None:
        """A back-up of last week; the mirror is gone."""
        self.published()
        self.backup(self.folder / ARCHIVE)
        self.add("two")
        self.look("client")
        shutil.rmtree(self.mirror)

    def grown(self) -> None:
        """Twelve days of signing again from which nothing was taken away."""
        now = self.now
        self.now = now - timedelta(days=12)
        with pytest.MonkeyPatch.context() as off:
            off.setattr(upkeep, "prune_in_upkeep", lambda store: None)
            off.setattr(writing, "prune_after_publish", lambda store: None)
            self.make()
            for day in range(12):
                self.now = now - timedelta(days=12 - day)
                self.add(f"crate-{day}")
                self.again()
            self.now = now
            self.again()
        self.look("client")
        (self.folder / "before").write_text(str(self.snapshots()))

    def without_database(self) -> None:
        """The files are there, the database is lost."""
        self.published()
        self.add("two")
        self.look("client")
        (self.mirror / DATABASE).unlink()

    # --- what is done ---

    def again(self) -> None:
        with Store.open(self.mirror, write=True) as store, self.signer() as signer:
            sign_again(store, signer, now=self.now)

    def two(self) -> None:
        self.add("two")

    def submit(self) -> None:
        with Store.open(self.mirror, write=True) as store, self.signer() as signer:
            take_submission(store, signer, (self.folder / "body").read_bytes(), now=self.now)

    def down(self) -> None:
        with Store.open(self.mirror, write=True) as store, self.signer() as signer:
            take_down(store, signer, CrateId.of("one", "0.1.0"), "it steals keys", now=self.now)

    def archive(self) -> None:
        self.backup(self.folder / ARCHIVE)

    def bring_back(self) -> None:
        self.restore(self.folder / ARCHIVE)

    def cut(self) -> None:
        with Store.open(self.mirror, write=True) as store, store.change():
            prune(store)

    def anew(self) -> None:
        anchors = Anchors(self.ceremony.root, self.signer, remember, {})
        rebuild(self.mirror, lambda _: anchors, now=self.now, progress=quiet)

    # --- what is there ---

    def before(self) -> int:
        return int((self.folder / "before").read_text())

    def snapshots(self) -> int:
        return len(list(self.mirror.glob("metadata/*.snapshot.json")))

    def versions_of(self, name: str) -> set[str]:
        with Store.open(self.mirror) as store:
            return {str(version.id.version) for version in store.crates.versions(CrateName(name))}

    def taken_down(self) -> bool:
        from carnet_mirror.state.published import UnverifiedView

        with Store.open(self.mirror) as store:
            return bool(UnverifiedView(store).all_taken_down())

    def has_archive(self) -> bool:
        file = self.folder / ARCHIVE
        if not file.exists():
            return False
        with reading(file) as archive:
            for one in archive.header.inside:
                archive.read(one)
            for _ in range(archive.header.files):
                assert archive._following() is not None
            archive.finish()
        return True


@dataclass(frozen=True)
class Work:
    """One thing that a mirror does.

    Attributes:
        prepare: Makes what it is done to.
        do: Does it.
        is_done: Whether it is; asked of a mirror that is there.
        keeps_mirror: Whether there is a mirror before it is done.
        once: Whether what is done cannot be done again: a file that is there is not written over.
    """

    prepare: Callable[[Faulty], None]
    do: Callable[[Faulty], None]
    is_done: Callable[[Faulty], bool]
    keeps_mirror: bool = True
    once: bool = False


WORKS: Mapping[str, Work] = {
    "publish": Work(Faulty.published, Faulty.again, lambda site: site.versions()[0] > site.before()),
    "sync": Work(Faulty.published, Faulty.two, lambda site: bool(site.versions_of("two"))),
    "submit": Work(Faulty.claimed, Faulty.submit, lambda site: "1.0.0" in site.versions_of(str(DEMO))),
    "takedown": Work(Faulty.published, Faulty.down, Faulty.taken_down),
    "backup": Work(Faulty.published, Faulty.archive, Faulty.has_archive, once=True),
    "restore": Work(Faulty.backed_up, Faulty.bring_back, lambda site: bool(site.versions_of("one")), False),
    "prune": Work(Faulty.grown, Faulty.cut, lambda site: site.snapshots() < site.before() - 1),
    "rebuild": Work(Faulty.without_database, Faulty.anew, lambda site: bool(site.versions_of("two")), False),
}


def template(work: Work, folder: Path) -> Faulty:
    """Make what a work is done to."""
    site = Faulty(folder, make_ceremony(bit_length=1, now=now_in_seconds() - timedelta(days=13)))
    folder.mkdir(parents=True)
    work.prepare(site)
    return site
