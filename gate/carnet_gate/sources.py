"""The sources that cargo compiles: admitted tarballs and what cargo unpacks of them, compared before it runs."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from carnet.cargo.names import CrateId
from carnet.digests import sha256_hex
from carnet.durable import private_folder, read_file, write_file
from carnet.errors import CarnetError, MetadataMismatch
from carnet_gate.admission import Admitted
from carnet_gate.comparison.settled import Settled
from carnet_gate.confinement.descendants import none_left
from carnet_gate.confinement.protection import Confine
from carnet_gate.home import CargoHome
from carnet_gate.project import Project
from carnet_gate.reporter import Reporter
from carnet_verifier.cargo import localregistry
from carnet_verifier.cargo.localregistry import Kept, LocalRegistry, Unfinished, Unpacked
from carnet_verifier.cargo.stamps import TICK
from carnet_verifier.outcomes import Admission
from carnet_verifier.tuf.view import View

_AT_ONCE = 16  # tarballs that are fetched, and wait on the disk
_IN_MEMORY = 64 * 1024 * 1024  # bytes of tarballs that were compared and read, until they are kept
_MANIFEST = 10_000_000
_STATE = 100
_UNPACKS_INTO = ("registry", "git")  # cargo's own folders in its CARGO_HOME


def keep(registry: LocalRegistry, view: View, admitted: Admitted, reporter: Reporter) -> dict[CrateId, Kept]:
    """Keep the tarballs of admitted crates at one path; those that are kept already are compared.

    Args:
        registry: Where; locked by the caller.
        view: Where they come from.
        admitted: Which. Of those that were inspected, only the digest is compared: what they unpack to is known.
        reporter: Is told how far it is.

    Returns:
        What each unpacks to.

    Raises:
        Poisoned: What is kept was changed.
        MetadataMismatch: The repository serves other bytes than were admitted.
        TransportError: Nothing was decided.
    """
    kept: dict[CrateId, Kept] = {}
    missing: list[Admission] = []
    if admitted.admissions:  # it reads archives: start-up time counts, and where nothing changed there are none
        from carnet_verifier.tarballs import fetch_crates
    for admission in admitted.admissions:
        found = admitted.inspected.get(admission.crate)
        if found is None or registry.read(admission.crate, admission.sha256) is None:
            found = registry.open(admission)
        if found is None:
            missing.append(admission)
        else:
            kept[admission.crate] = found
    with reporter.counting("fetching", len(missing)) as count:
        for start in range(0, len(missing), _AT_ONCE):
            batch = missing[start : start + _AT_ONCE]
            tarballs: list[tuple[Admission, bytes]] = []
            fetched = fetch_crates(view.repository, [admission.attributed for admission in batch])
            for admission, crate in zip(batch, fetched, strict=True):
                tarballs.append((admission, crate.data))
                kept[crate.id] = Kept.of(crate.file)
                if sum(len(data) for _, data in tarballs) > _IN_MEMORY:
                    registry.keep(tarballs)
                    tarballs.clear()
            registry.keep(tarballs)
            count(len(batch))
    registry.write_index(admitted.admissions)
    return kept


class Complete:
    """The state of a workspace in which cargo, when it was asked last, found the lock complete: it is not asked twice.

    It only spares the start of a cargo. Who changes what stands here lets in nothing: the cargo that compiles is told
    `--locked`, and refuses a lock that is not complete.

    Args:
        folder: Where states are remembered.
        project: The workspace.
    """

    def __init__(self, folder: Path, project: Project) -> None:
        self._project = project
        self._file = folder / "complete" / sha256_hex(os.fsencode(project.workspace))

    def state(self, lock: bytes) -> bytes:
        """What cargo decides by, as far as it is known: another cargo and manifests elsewhere are not told apart."""
        manifest = self._project.workspace / "Cargo.toml"  # its `[patch]` and `[replace]` are in no description
        try:
            written = read_file(manifest, "the manifest", max_bytes=_MANIFEST)
        except FileNotFoundError:
            written = b""
        parts = (repr(self._project.cargo.command), repr(self._project.arguments), self._project.described)
        return sha256_hex(repr((parts, lock, written)).encode(errors="surrogateescape")).encode()

    def has(self, state: bytes) -> bool:
        """Whether cargo found the lock complete in this state."""
        try:
            return read_file(self._file, "what is remembered of the lock", max_bytes=_STATE) == state
        except (FileNotFoundError, CarnetError):
            return False

    def remember(self, state: bytes) -> None:
        """Remember that it did; where nothing can be written, it is asked again."""
        if not self.has(state):
            with suppress(CarnetError):
                write_file(private_folder(self._file.parent) / self._file.name, state, mode=0o600)


def unpacked_already(
    home: CargoHome, kept: Mapping[CrateId, Kept], settled: Mapping[CrateId, Settled]
) -> Unpacked | None:
    """Compare what is unpacked, where all of it is, complete and protected; None where cargo has something left to do.

    Args:
        home: Where cargo unpacks.
        kept: What tarballs of the lock unpack to.
        settled: The other crates of the lock, which need not be compared.

    Raises:
        Poisoned: What is unpacked is not what was admitted.
    """
    try:
        unpacked = localregistry.compare_sources(home.path, kept, synced=True)
    except Unfinished:
        return None
    if localregistry.protect(home.path, kept):
        return None
    # cargo compiles from one folder, which has all of them.
    sets = [set(one.roots) for one in settled.values()] + ([set(unpacked.roots)] if kept else [])
    return unpacked if not sets or set.intersection(*sets) else None


def refuses(project: Project, home: CargoHome, confine: Confine) -> bool:
    """Whether cargo finds something left to do before it can compile: in the lock, or for lack of what it unpacks.

    Args:
        project: Whose lock.
        home: Where cargo would unpack, and cannot.
        confine: Keeps cargo, and what it starts, from writing to carnet's own folder.
    """
    environment = home.environment(project)
    arguments = "fetch", "--locked", "--offline", *home.flags, *project.arguments, *project.lock_flags
    with confine((), environment) as within:
        return project.cargo.ask(*arguments, environment=environment, within=within).returncode != 0


def unpack(
    project: Project,
    home: CargoHome,
    kept: Mapping[CrateId, Kept],
    confine: Confine,
    *,
    foreign: bool,
    synced: bool = False,
) -> Unpacked | subprocess.CompletedProcess[str]:
    """Let cargo unpack what is missing, compare everything, and find out whether the lock is complete.

    Args:
        project: Whose lock.
        home: Where cargo unpacks.
        kept: What the tarballs of the lock unpack to.
        confine: Keeps cargo, and what it starts, from writing to more of carnet's own folder than where it unpacks.
        foreign: Whether the lock has packages that cargo has to fetch from elsewhere.
        synced: Whether stamps of what is unpacked are to tell every later write.

    Returns:
        What is unpacked, or what cargo said when it could not work with the lock as it is.

    Raises:
        Poisoned: What is unpacked is not what was admitted.
        MetadataMismatch: This cargo unpacks elsewhere.
    """
    localregistry.remove_unfinished(home.path, kept)
    net = ["--config", "net.offline=false"] if foreign else ["--offline"]
    environment = home.environment(project)
    if foreign:
        environment["CARGO_NET_OFFLINE"] = "false"
    arguments = "fetch", "--locked", *net, *home.flags, *project.arguments, *project.lock_flags
    folders = [home.path / name for name in _UNPACKS_INTO]
    for folder in folders:
        if not folder.exists():
            private_folder(folder)
    # What cargo starts here may write to the sources for as long as it lives: git, ssh, the user's credential provider.
    with confine((), environment, writable=folders) as within, none_left():
        done = project.cargo.ask(*arguments, environment=environment, within=within)
    if done.returncode != 0:
        return done
    try:
        if localregistry.protect(home.path, kept):
            time.sleep(TICK / 1e9 if synced else 0)  # so that stamps are old when files are read
        unpacked = localregistry.compare_sources(home.path, kept, synced=synced)
    except Unfinished:
        raise MetadataMismatch(
            "cargo did not unpack the crates where the gate looks for them",
            hint="this cargo keeps its sources elsewhere than cargo 1.95; please report it",
        ) from None
    return unpacked
