"""`cargo install`: a program whose crates are admitted first, by the lock that it brings or by one that is made anew.

::

    1. choose      a scratch project depends on the program, with the features that are asked for: cargo resolves it
                   through the verifying registry. With `--locked` the versions are those of the lock in the program's
                   tarball, every package of which is admitted
    2. the gate    admits that lock, and unpacks and compares its crates, in folders that nobody used before
    3. install     cargo resolves and compiles from there: it sees the crates that were admitted, and no others
    4. take back   what was installed, if anything that it was compiled from was changed meanwhile

A program in a folder (`--path`) is a project like others: its own lock is what counts.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from carnet.cargo.lockfile import LockedPackage, SourceKind, read_lockfile
from carnet.cargo.names import CrateName
from carnet.durable import as_storage_error, make_folder, private_folder, write_file
from carnet.errors import ConfigError, StorageError
from carnet.lock import take_folder
from carnet.value import value
from carnet_gate import config
from carnet_gate.admission import Grounds, admit_lock
from carnet_gate.args import Invocation
from carnet_gate.choosing.resolving import bring_up_to_date, unresolved
from carnet_gate.commands.table import CommandKind
from carnet_gate.confinement.protection import Confine
from carnet_gate.mirror_asks import MirrorAsks
from carnet_gate.outputs import without_links
from carnet_gate.project import LockOnDisk, Project, open_project
from carnet_gate.reporter import Reporter
from carnet_gate.without_lock import dependent
from carnet_verifier.admit import admit_tarball
from carnet_verifier.cargo.localregistry import LocalRegistry, Poisoned, remove_tree
from carnet_verifier.outcomes import Wanted

_TRACKED = ".crates2.json"
_PATIENCE = 60.0
"""Seconds for another run to remove what killed ones left."""


@value
class Program:
    """What is to be installed, and where.

    Attributes:
        project: The project behind whose gate it is compiled: its own, or a scratch one that depends on it.
        name: The crate; None for a program in a folder.
        root: The folder into which it is installed.
    """

    project: Project
    name: CrateName | None
    root: Path


def programs(invocation: Invocation) -> list[Invocation]:
    """One command for each program: they are resolved apart, as cargo does.

    Raises:
        ConfigError: Nothing is named.
    """
    if invocation.value("--path") is None and not invocation.words:
        raise ConfigError(
            "`cargo carnet install` has to be told what",
            hint="name a crate, also of a git repository, or the folder of a program",
        )
    if invocation.value("--git") is not None and invocation.locked:
        raise ConfigError(
            "the lock of a git repository cannot be read before it is fetched",
            hint="leave `--locked` out, or clone it, and install it from that folder",
        )
    return [invocation.with_word(word) for word in invocation.words] or [invocation]


def open_program(
    invocation: Invocation,
    folder: Path,
    own_home: Path,
    environment: Mapping[str, str],
    confine: Confine,
    *,
    scratch: Path,
) -> Program:
    """Make or find the project of a program.

    Args:
        invocation: One of `programs`.
        folder: Where the command runs.
        own_home: The user's CARGO_HOME.
        environment: The user's variables.
        confine: Keeps cargo, and what it starts, from writing to carnet's own folder.
        scratch: An empty folder, for a project that depends on the program.

    Raises:
        PolicyRefused: Configuration would lead cargo around the gate.
        ConfigError: It cannot be read, the program is not named as cargo wants it, or there is no such folder.
    """
    named = invocation.value("--path")
    name = None
    if named is not None:
        around = folder / named
        config.check_project(around, own_home)
    else:
        around = scratch
        name = dependent.write(scratch, invocation)
    root = root_of(invocation, around if named is not None else own_home, folder, own_home, environment)
    strict = ("--locked", "--offline") if name is None or invocation.locked else ("--offline",)
    command = invocation.command._replace(kind=CommandKind.USE, strict=strict)
    args = invocation.args if invocation.has("--root") else ("--root", str(root), *invocation.args)
    invocation = replace(invocation, command=command, args=args, manifest_path=str(around / "Cargo.toml"))
    return Program(open_project(invocation, folder, own_home, environment, confine), name, root)


@contextmanager
def place(program: Program, home: Path, folder: Path, own_home: Path) -> Iterator[Path]:
    """Where the admitted crates of a program are: a folder that is gone afterwards, with those and no others.

    Args:
        program: What is to be installed.
        home: Carnet's own folder.
        folder: Where in it the crates of projects are.
        own_home: The user's CARGO_HOME.

    Raises:
        PolicyRefused: Configuration above carnet's home would lead cargo around the gate.
        ConfigError: It would be installed into carnet's home.
        StorageError: The system refused.
    """
    held, root = without_links(home), without_links(program.root)
    if held == root or held in root.parents or root in held.parents:
        raise ConfigError(
            f"carnet's home {held} and the folder {root} that programs are installed into are not apart",
            hint="name another folder: `--root DIR`, or set CARNET_HOME",
        )
    if not root.exists():  # in a confinement, cargo may not be able to
        make_folder(root, mode=0o777)
    if program.name is None:
        yield folder
        return
    above = private_folder(folder.parent)
    config.check_project(above, own_home)  # cargo reads no configuration of the folder that it installs in, but this
    prefix = f"{folder.name}-install-"
    busy = StorageError(f"{above} is held by another run for long", hint="end it, or try again")
    with as_storage_error(above), ExitStack() as stack:
        stack.callback(os.close, take_folder(above, alone=True, timeout=_PATIENCE, busy=busy))
        remove_unheld(above, prefix)
        made = Path(tempfile.mkdtemp(prefix=prefix, dir=above))
        holding = take_folder(made, alone=True, timeout=0, busy=busy)
    try:
        yield made
    finally:
        with suppress(OSError):
            remove_tree(made)
        os.close(holding)


def remove_unheld(above: Path, prefix: str) -> None:
    """Remove the folders of runs that were killed: whoever still works in one holds it.

    Args:
        above: The folder that they are in, of which the caller keeps others out.
        prefix: How their names begin.
    """
    for left in above.glob(f"{prefix}*"):
        with suppress(StorageError, OSError):
            held = take_folder(left, alone=True, timeout=0, busy=StorageError("another run is at work there"))
            try:
                remove_tree(left)
            finally:
                os.close(held)


def choose(program: Program, grounds: Grounds, folder: Path, confine: Confine, reporter: Reporter) -> Program:
    """Lay down the lock that a program is to be compiled by, where the gate would not make the same one.

    Args:
        program: What is to be installed.
        grounds: What is decided by.
        folder: From `place`.
        confine: Keeps cargo, and what it starts, from writing to carnet's own folder.
        reporter: Is told what is found.

    Returns:
        The program, of a git repository with the commit that was chosen.

    Raises:
        CarnetError: It cannot be resolved, or a package of the lock that it brings is not admitted.
    """
    asks = grounds.asks(program.project.invocation, reporter)
    return asks.trying(lambda: _choose(program, grounds, folder, confine, reporter, asks))


def _choose(
    program: Program, grounds: Grounds, folder: Path, confine: Confine, reporter: Reporter, asks: MirrorAsks
) -> Program:
    project, invocation = program.project, program.project.invocation
    name, is_git = program.name, invocation.value("--git") is not None
    everything = invocation.has("--all-features")
    if name is None or not (invocation.locked or everything or is_git):
        return program
    with grounds.open_view() as view:
        resolved = bring_up_to_date(project, view, None, grounds, confine, reporter, asks)
        if resolved.status != 0:
            raise unresolved(str(name), resolved)
        chosen = _chosen(project, name, is_git)
        if is_git:
            commit = (chosen.source or "").rpartition("#")[2]
            pinned = invocation.at_commit(commit)
            return replace(program, project=replace(project, invocation=pinned))
        wanted = Wanted(chosen.id, chosen.checksum)
        _, verified = admit_tarball(view.repository, wanted, grounds.policy, grounds.trust, now=grounds.clock())
        crate = verified.file
        if everything:
            dependent.write(project.workspace, invocation, crate)
        brought = crate.file("Cargo.lock") if invocation.locked else None
        if brought is not None:
            what = f"the lock in {crate.id.stem}.crate"
            registry = LocalRegistry(private_folder(folder) / "registry")
            admitted = admit_lock(read_lockfile(brought, what), view.repository, grounds, registry, reporter, asks=asks)
            registry.write_index(admitted.admissions)  # cargo looks at what only the program's tests need, too
            write_file(project.workspace / "Cargo.lock", dependent.lock(brought, what, crate))
        lock = LockOnDisk(project.workspace).read()
        resolved = bring_up_to_date(project, view, lock, grounds, confine, reporter, asks)
        if resolved.status != 0:
            raise unresolved(str(name), resolved)
    return program


@contextmanager
def taken_back(program: Program, confine: Confine) -> Iterator[None]:
    """Uninstall what was installed in the block, where that ends with the news that sources were changed.

    Args:
        program: What is installed.
        confine: Keeps cargo from writing to carnet's own folder.

    Raises:
        CarnetError: What the block raised.
    """
    before = _stamp(program.root)
    try:
        yield
    except Poisoned:
        if _stamp(program.root) != before:
            project = program.project
            names = [str(program.name)] if program.name is not None else []
            with confine((), project.cargo.environment) as within:
                project.cargo.ask(
                    "uninstall", "--root", str(program.root), *names, *_within(project, names), within=within
                )
        raise


def root_of(invocation: Invocation, around: Path, folder: Path, own_home: Path, environment: Mapping[str, str]) -> Path:
    """Where cargo would install: by flag, `--config`, variable, the nearest file, or into the user's CARGO_HOME.

    Args:
        invocation: The command.
        around: The folder from which cargo reads configuration: that of `--path`, else CARGO_HOME.
        folder: Where the command runs.
        own_home: The user's CARGO_HOME.
        environment: The user's variables.

    Raises:
        ConfigError: A configuration file cannot be read.
    """
    said = invocation.value("--root")
    for argument in () if said else reversed(invocation.configs):
        document, _, _ = config.read_argument(argument, folder)
        said = said or _install_root(document)
    said = said or environment.get("CARGO_INSTALL_ROOT")
    if said:
        return folder / said
    for place in (*(above / ".cargo" for above in (around, *around.parents)), own_home):
        file, document = config.file_in(place)
        for one, _, _ in config.documents_in(document, str(file), place):
            if (named := _install_root(one)) is not None:
                return place.parent / named  # as cargo reads paths of configuration files
    return own_home


# --- the parts ---


def _within(project: Project, names: list[str]) -> list[str]:
    """The package of a program in a folder; without a name cargo looks where it runs."""
    if names:
        return []
    folder = project.cargo.folder / (project.invocation.value("--path") or ".")
    manifest = config.read_config(folder / "Cargo.toml") or {}
    package = manifest.get("package")
    return [str(package["name"])] if isinstance(package, dict) and "name" in package else []


def _chosen(project: Project, name: CrateName, is_git: bool) -> LockedPackage:
    """The version, or commit, that cargo has chosen among those that may be."""
    kind = SourceKind.GIT if is_git else SourceKind.CRATES_IO
    found = [package for package in LockOnDisk(project.workspace).read().of_kind(kind) if package.id.name == name]
    return max(found, key=lambda package: package.id.version)


def _install_root(document: Mapping[str, object]) -> str | None:
    table = document.get("install")
    named = table.get("root") if isinstance(table, dict) else None
    return named if isinstance(named, str) else None


def _stamp(root: Path) -> tuple[int, ...] | None:
    """What tells one state of cargo's list of installed programs from another."""
    try:
        status = (root / _TRACKED).stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
