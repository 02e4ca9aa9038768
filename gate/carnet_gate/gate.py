"""The gate in front of cargo: nothing reaches the compiler that was not admitted.

::

    1. look at the configuration    nothing that cargo will read leads it around the gate, or it to write into carnet's
                                    home                                                           -> Project
    2. resolve                      when Cargo.lock is missing or incomplete, through a verifying registry on loopback
    3. admit                        every package of the lock, or stop with the reason             -> Admitted
    4. keep and compare             admitted tarballs at one path; every tarball and every unpacked file is compared
                                    (cargo is not started for it where all is unpacked, and nothing of the workspace
                                    changed since it found the lock complete). Crates of which nothing changed since an
                                    earlier run, neither what lets them in nor a file, are neither judged nor read again
    5. run                          the user's own cargo, from there, with --locked and offline; what only cargo looks
                                    at lies in a folder of the gate's own, apart from what others built
    6. compare again                nothing was changed while cargo ran, nor opened to others; if it was, no later run
                                    uses what was built. Where Landlock kept all that ran from writing to the home, only
                                    permissions are looked at

Where the system can do it, neither cargo nor anything that it starts can write to carnet's home, in any of these steps;
in step 4 it can write to where it unpacks. A compiler or wrapper that configuration names is started in step 5 alone.

Where 2 or 3 finds that the mirror lacks something, it is asked to bring that (`carnet_gate.mirror_asks`), and all
begins anew.

A crate that was refused is refused each time: what lies in a cache decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from typing import TYPE_CHECKING

from carnet.cargo.lockfile import Lockfile
from carnet.cargo.names import CrateId
from carnet.durable import private_folder
from carnet.errors import ConfigError
from carnet.value import value
from carnet_gate.admission import Admitted, Grounds, admit_lock
from carnet_gate.args import Invocation, without_configs
from carnet_gate.choosing.resolving import Resolved, bring_up_to_date, resolving, tell, unresolved
from carnet_gate.commands.table import CommandKind
from carnet_gate.comparison import permissions
from carnet_gate.comparison.intermediates import Intermediates
from carnet_gate.comparison.marks import Marks
from carnet_gate.comparison.settled import Settled, SettledCrates, forget
from carnet_gate.comparison.surroundings import announce, look
from carnet_gate.confinement.protection import Confine, Confinement, Means, Protection, confinement, require
from carnet_gate.home import CargoHome, lasting_home, lasting_path
from carnet_gate.outputs import make_outputs, require_apart
from carnet_gate.project import LockOnDisk, Project
from carnet_gate.reporter import Reporter
from carnet_gate.sources import Complete, keep, refuses, unpack, unpacked_already
from carnet_verifier.cargo.localregistry import LocalRegistry, Unpacked
from carnet_verifier.judgements import keys_of
from carnet_verifier.tuf.view import View
from carnet_verifier.whole_lock import wanted_in

if TYPE_CHECKING:
    from carnet_gate.comparison.state import StateBefore
    from carnet_verifier.cargo.checkouts import Checkout

_CARGO_FAILED = 101


@value
class Prepared:
    """Everything that cargo compiles from, complete and compared.

    Attributes:
        project: The project, whose lock is what was admitted.
        home: The private CARGO_HOME.
        before: What was found; None where nothing that runs can change it.
        assumed: Whether the lock is held to be complete because cargo said so before, and was not asked.
    """

    project: Project
    home: CargoHome
    before: StateBefore | None
    assumed: bool


class Gate:
    """One run of a cargo command behind the gate.

    Args:
        project: From step 1, `carnet_gate.project.open_project`.
        grounds: What is decided by.
        home: All of carnet's own folder for this user.
        folder: Where in it the admitted tarballs and the private CARGO_HOMEs of the trusted repository are.
        reporter: Is told what is found.
        protection: What keeps builds from writing to the home.
        deciding: More folders that builds are not to write to, because what stands there decides over them.
    """

    def __init__(
        self,
        project: Project,
        grounds: Grounds,
        home: Path,
        folder: Path,
        reporter: Reporter,
        *,
        protection: Protection,
        deciding: Sequence[Path] = (),
    ) -> None:
        self._project = project
        self._grounds = grounds
        self._home = home
        self._folder = folder
        self._reporter = reporter
        self._deciding = deciding
        self._lock = LockOnDisk(project.workspace, project.lock)
        self._complete = Complete(folder, project)
        self._protection = protection
        self._asks = grounds.asks(project.invocation, reporter)
        self._confine: Confine = partial(confinement, self._protection, home, deciding=deciding)

    def run(self) -> int:
        """Run the command.

        Returns:
            cargo's own exit status.

        Raises:
            CarnetError: Why it was not run, or why what it made is not to be trusted.
        """
        require_apart(self._home, self._project.places, self._lock.path)  # 1
        uses = self._project.invocation.kind is CommandKind.USE
        return self._asks.trying(self._use if uses else self._choose)

    def _use(self, *, asking: bool = False) -> int:
        """Run a command that works with the locked crates.

        Args:
            asking: Whether cargo is asked for the lock's sake, and everything judged and compared, whatever is
                remembered.
        """
        invocation = self._project.invocation
        apart = self._apart()
        marks = Marks(self._home / "marks", apart.outputs)
        if invocation.compiles:
            require(self._protection, self._grounds.policy, self._reporter)
            marks.require_none()
        with self._grounds.open_view() as view:
            lock = self._lock_or_resolve(view)  # 2
            registry = self._registry()
            with registry.locked():
                memory = self._remembered(registry, view, lock)
            admitted = self._admit(view, lock, {} if asking else memory.settled)  # 3
            with registry.locked():
                prepared = self._prepare(registry, view, lock, admitted, memory, asking)  # 4
                resolved = None
                if isinstance(prepared, CompletedProcess) and not invocation.locked and not invocation.offline:
                    resolved = self._resolve(view)
                if resolved is not None and resolved.status == 0:
                    lock = self._lock.read()
                    admitted = self._admit(view, lock, {})
                    prepared = self._prepare(registry, view, lock, admitted, memory, asking)
                if isinstance(prepared, CompletedProcess):
                    if resolved is not None and resolved.status != 0:  # which cargo said itself, as it was online
                        self._reporter.cargo_said("", unresolved("the dependencies", resolved).hint)
                    else:
                        self._reporter.cargo_said(prepared.stderr)
                    return prepared.returncode
                if prepared is not None and invocation.compiles:
                    apart.make(self._reporter.warn)
                    marks = Marks(self._home / "marks", apart.outputs)
        if prepared is None:
            return self._use(asking=True)
        self._tell(admitted)
        self._lock.require_unchanged()
        status = self._compile(prepared, marks, apart) if invocation.compiles else self._look(prepared, apart)
        if status == _CARGO_FAILED and prepared.assumed and refuses(prepared.project, prepared.home, self._confine):
            return self._use(asking=True)
        return status

    def _look(self, prepared: Prepared, apart: Intermediates) -> int:
        """Run a command that compiles nothing."""
        makes_in = self._project.workspace if self._project.copies_into is not None else None
        with self._confine((), prepared.home.environment(prepared.project), makes_in=makes_in) as within:
            return self._run(prepared, apart, within)  # 5

    def _compile(self, prepared: Prepared, marks: Marks, apart: Intermediates) -> int:
        """Run a command that compiles, and compare what it compiled from."""
        home = prepared.home
        make_outputs(apart.outputs)
        if self._protection.means is Means.NONE:
            forget(self._folder)
        closed = permissions.look(self._home, self._deciding)
        with self._confine(apart.outputs, home.environment(prepared.project)) as within, marks.held():
            status = self._run(prepared, apart, within)  # 5
            if prepared.before is not None:
                prepared.before.compare_again(held=self._protection.means is not Means.NONE)  # 6
            permissions.compare(closed, permissions.look(self._home, self._deciding))
        marks.require_none()  # of a gate that ran beside this one
        return status

    def _choose(self) -> int:
        """Run a command that chooses versions; then say what became of the lock."""
        project = self._project
        pinned = self._lock.read_if_any()
        if project.invocation.subcommand == "update" and not project.invocation.locked:
            from carnet_gate.choosing.choices import updates_of  # a build with a complete lock does not need it

            self._asks.ask_ahead(updates_of(project, pinned))
        with self._grounds.open_view() as view:
            choosing = resolving(project, view, pinned, self._grounds, self._confine, self._reporter)
            with choosing as (home, within, choices):
                status = project.cargo.run(
                    project.invocation.subcommand,
                    *home.flags,
                    *project.invocation.choosing,
                    environment=home.environment(project),
                    within=within,
                )
                kept = _kept(project.invocation, pinned)
                resolved = tell(project, view, choices, status, kept, self._reporter, self._asks)
                if status != 0 and resolved.hint:
                    self._reporter.cargo_said("", resolved.hint)
            if status == 0 and self._lock.path.exists():
                self._tell(self._admit(view, self._lock.read(), {}))
        return status

    # --- the parts ---

    def _lock_or_resolve(self, view: View) -> Lockfile:
        """2. The lock; when there is none, cargo makes one."""
        lock = self._lock.read_if_any()
        if lock is not None:
            return lock
        if self._project.invocation.locked:
            raise ConfigError(
                f"{self._lock.path} does not exist, and --locked was given",
                hint="restore it from version control, or have `cargo carnet generate-lockfile` make it",
            )
        resolved = self._resolve(view)
        if resolved.status != 0:
            raise unresolved("the dependencies", resolved)
        return self._lock.read()

    def _resolve(self, view: View) -> Resolved:
        """2. Bring the lock up to date, unless the user forbids the network."""
        if self._project.invocation.offline:
            return Resolved(1)
        return bring_up_to_date(
            self._project, view, self._lock.read_if_any(), self._grounds, self._confine, self._reporter, self._asks
        )

    def _remembered(self, registry: LocalRegistry, view: View, lock: Lockfile) -> SettledCrates:
        """3. The crates of which nothing changed since an earlier run; none where builds could have written there."""
        grounds = self._grounds
        keys: Mapping[CrateId, str] = {}
        if self._protection.means is Means.LANDLOCK:
            keys = keys_of(view.repository, wanted_in(lock), grounds.policy, grounds.trust)
        home = lasting_path(self._folder, self._project)
        now = grounds.clock().timestamp()
        return SettledCrates(self._folder, self._project.workspace, registry, home, keys, now=now)

    def _admit(self, view: View, lock: Lockfile, settled: Mapping[CrateId, Settled]) -> Admitted:
        """3. Every package of the lock."""
        return admit_lock(lock, view.repository, self._grounds, self._registry(), self._reporter, settled, self._asks)

    def _prepare(
        self,
        registry: LocalRegistry,
        view: View,
        lock: Lockfile,
        admitted: Admitted,
        memory: SettledCrates,
        asking: bool,
    ) -> Prepared | CompletedProcess[str] | None:
        """4. Everything that cargo compiles from, complete and compared; or what cargo said against the lock.

        None where crates were taken for what they were in an earlier run, and something was done to them since.
        """
        project = self._project.reading(self._lock.data, self._folder / "locks")
        crates = [admission.crate for admission in admitted.admissions]
        path = lasting_path(self._folder, self._project)
        found = look(registry, path, crates)
        kept = keep(registry, view, admitted, self._reporter)
        home = lasting_home(self._folder, registry.path, self._project, self._reporter)
        state = self._complete.state(self._lock.data)
        # Unconfined, a cargo that unpacks elsewhere than the last one would do that while it compiles.
        held, by_landlock = self._protection.means is not Means.NONE, self._protection.means is Means.LANDLOCK
        unpacked: Unpacked | CompletedProcess[str] | None = None
        assumed = held and not asking and not admitted.foreign and self._complete.has(state)
        if assumed or (admitted.settled and not refuses(project, home, self._confine)):
            unpacked = unpacked_already(home, kept, admitted.settled)
        if unpacked is None:
            assumed, foreign = False, bool(admitted.foreign)
            unpacked = unpack(project, home, kept, self._confine, foreign=foreign, synced=by_landlock)
            # cargo, and what it started, could write there: what was not compared is looked at again.
            if isinstance(unpacked, Unpacked) and not memory.still_settled():
                return None
        left = announce(registry, found, look(registry, path, crates))
        if isinstance(unpacked, CompletedProcess):
            return unpacked
        if not assumed:
            self._complete.remember(state)
        memory.remember(admitted.admissions, unpacked)
        checkouts: tuple[Checkout, ...] = ()
        if admitted.foreign:  # it reads git's objects: start-up time counts, and hardly any lock has a git package
            from carnet_verifier.cargo.checkouts import read_checkouts

            checkouts = read_checkouts(path, lock.packages)
        if by_landlock:
            return Prepared(project, home, None, assumed)
        from carnet_gate.comparison.state import StateBefore  # as above

        return Prepared(project, home, StateBefore(registry, path, kept, unpacked, checkouts, left), assumed)

    def _registry(self) -> LocalRegistry:
        return LocalRegistry(private_folder(self._folder) / "registry")

    def _apart(self) -> Intermediates:
        """The folder for what only cargo looks at."""
        project = self._project
        apart = Intermediates(self._folder / "intermediates", project.outputs, separates=project.separates)
        if project.invocation.compiles and not project.separates:
            if project.invocation.target_dir is not None:
                raise ConfigError(
                    "this cargo cannot keep what the gate builds apart from other builds in a folder of your choice",
                    hint="update cargo to 1.91 or newer, or leave `--target-dir` out",
                )
            if apart.is_new:
                self._reporter.warn(f"this cargo is older than 1.91: what the gate builds lies in {apart.path}")
        return apart

    def _run(self, prepared: Prepared, apart: Intermediates, within: Confinement) -> int:
        """5. cargo itself, on the lock that was admitted."""
        invocation, home = self._project.invocation, prepared.home
        configs = [part for argument in invocation.configs for part in ("--config", argument)]
        return self._project.cargo.run(
            *invocation.command.words,
            *home.flags,
            *configs,
            *apart.flags,  # the last word counts
            *prepared.project.lock_flags,
            *without_configs(invocation.strict, len(configs) // 2),
            environment={
                **home.environment(prepared.project),
                **invocation.command.environment,
                **apart.environment,
            },
            within=within,
            compiles=invocation.compiles,
        )

    def _tell(self, admitted: Admitted) -> None:
        if not self._project.invocation.quiet:
            self._reporter.admitted(admitted.levels, self._grounds.trust.url)


def _kept(invocation: Invocation, pinned: Lockfile | None) -> frozenset[CrateId]:
    """What a command that chooses versions leaves as it is: `update` without a name leaves nothing."""
    locked = frozenset(package.id for package in pinned.registry_packages) if pinned is not None else frozenset()
    if invocation.subcommand != "update" or invocation.has("--workspace") or invocation.has("-w"):
        return locked
    from carnet_gate.choosing.choices import named_by  # as above

    named = named_by(invocation)
    return frozenset(crate for crate in locked if named and str(crate.name) not in named)
