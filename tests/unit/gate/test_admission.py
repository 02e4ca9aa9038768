"""The gate admits a lock: a tarball that had to be inspected is fetched once and kept, for this run and the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.worlds.claims import NAME, World
from tests.support.worlds.release import synthetic

from carnet.cargo.crate import CrateFile, read_crate
from carnet.cargo.lockfile import CRATES_IO, Lockfile, read_lockfile
from carnet.cargo.names import CrateId
from carnet.durable import write_file
from carnet.tuf import paths
from carnet_gate.admission import Admitted, Grounds, admit_lock
from carnet_gate.sources import keep
from carnet_signer.proposals import ownership
from carnet_verifier.cargo.localregistry import Kept, LocalRegistry, Poisoned
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.policy.policy import Policy
from carnet_verifier.tuf.refresh import refresh
from carnet_verifier.tuf.view import View

PROVEN = synthetic(crate=CrateId.of(str(NAME), "1.0.0"))
PLAIN = honest_crate("plain", "1.0.0")
PLAIN_PATH = paths.download_path(CrateId.of("plain", "1.0.0"))


class Quiet:
    def warn(self, text: str) -> None: ...
    def remarks(self, verdict: object) -> None: ...
    def refused(self, error: object) -> None: ...
    def admitted(self, admissions: object, url: str) -> None: ...
    def skipped(self, versions: object) -> None: ...
    def missing(self, lacking: object) -> None: ...

    def asking(self, asked: object) -> None: ...

    def mirror_says(self, said: object) -> None: ...
    def cargo_said(self, text: str, hint: str = "") -> None: ...

    @contextmanager
    def counting(self, label: str, length: int) -> Iterator[Callable[[int], None]]:
        yield lambda _: None


class Machine:
    """A machine that trusts a registry, and what it reads from there."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.read = world, list[str]()
        self.trust = TrustDirectory.create(folder / "trust", world.ceremony.root, "http://localhost/")
        (folder / "cargo").mkdir()
        self.registry = LocalRegistry(folder / "cargo/registry")

    def admit_and_keep(self) -> tuple[Admitted, dict[CrateId, Kept]]:
        def read(path: str) -> bytes | None:
            self.read.append(path)
            return PLAIN if path == PLAIN_PATH else self.world.store.read(path)

        fetcher = ReadFetcher(read)
        view = View(refresh(self.trust, fetcher, now=self.world.now), fetcher, self.trust.url)
        grounds = Grounds(Policy(), self.trust, lambda: self.world.now)
        admitted = admit_lock(lock(PROVEN.crate, read_crate(PLAIN)), view.repository, grounds, self.registry, Quiet())
        with self.registry.locked():
            return admitted, keep(self.registry, view, admitted, Quiet())

    @property
    def tarballs(self) -> int:
        return sum(path.endswith((".crate", "/download")) for path in self.read)


def lock(*crates: CrateFile) -> Lockfile:
    packages = [
        f'[[package]]\nname = "{crate.id.name}"\nversion = "{crate.id.version}"\n'
        f'source = "{CRATES_IO}"\nchecksum = "{crate.sha256}"\n'
        for crate in crates
    ]
    return read_lockfile("\n".join(["version = 4", *packages]).encode())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    world = World.make(tmp_path)
    world.add(PLAIN)
    world.claim(layout=ownership.NewLayout(PROVEN.layout_file, PROVEN.terms))
    world.release(tarball=PROVEN.tarball, bundle=PROVEN.bundle())
    return Machine(world, tmp_path)


def test_what_was_inspected_is_kept_and_not_fetched_again(machine: Machine) -> None:
    admitted, kept = machine.admit_and_keep()
    assert admitted.inspected.keys() == {PROVEN.crate.id}
    assert kept.keys() == {PROVEN.crate.id, CrateId.of("plain", "1.0.0")}
    assert kept[PROVEN.crate.id] == Kept.of(PROVEN.crate)
    assert machine.tarballs == 2, "each once"
    again, same = machine.admit_and_keep()
    assert again.inspected.keys() == {PROVEN.crate.id}, "what is kept is inspected"
    assert (same, machine.tarballs) == (kept, 2)


def test_a_kept_tarball_that_was_changed_is_refused_and_not_mended(machine: Machine) -> None:
    machine.admit_and_keep()
    path = machine.registry.tarball(PROVEN.crate.id)
    write_file(path, PLAIN)
    with pytest.raises(Poisoned, match="was changed after it was admitted"):
        machine.admit_and_keep()
    assert path.read_bytes() == PLAIN


def test_a_lock_is_admitted_while_this_gate_holds_its_own_lock(machine: Machine) -> None:
    """When cargo finds the lock incomplete, the gate admits again, in the midst of preparing."""
    with machine.registry.locked():
        grounds = Grounds(Policy(), machine.trust, lambda: machine.world.now)
        admitted = admit_lock(lock(PROVEN.crate), machine.world.client(), grounds, machine.registry, Quiet())
    assert len(admitted.admissions) == 1
