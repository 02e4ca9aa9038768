"""The gate in front of cargo: nothing reaches the compiler that was not admitted.

::

    1. look at the configuration    nothing that cargo will read leads it around the gate
    2. resolve                      when Cargo.lock is missing or incomplete, through a verifying registry on loopback
    3. admit                        every package of the lock, or stop with the reason
    4. keep and compare             admitted tarballs at one path; every tarball and every unpacked file is compared
    5. run                          the user's own cargo, from there, with --locked and offline
    6. compare again                nothing was changed while cargo ran

A crate that was refused is refused each time: what lies in a cache decides nothing.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carnet.cargo.lockfile import Lockfile, read_lockfile
from carnet.cargo.names import CrateId
from carnet.durable import read_file, write_file
from carnet.errors import CarnetError, ConfigError, MetadataMismatch, PolicyRefused
from carnet_cli.config import home
from carnet_cli.config import settings as config
from carnet_cli.report.verdicts import foreign_verdicts, refuse_all, warn_of
from carnet_cli.terminal import output
from carnet_gate import config as cargo_config
from carnet_gate.args import Invocation
from carnet_verifier import admit as line
from carnet_verifier.admit import Admission, Wanted
from carnet_verifier.cargo import localregistry
from carnet_verifier.cargo.localregistry import Kept, LocalRegistry
from carnet_verifier.cargo.tarballs import fetch_crates
from carnet_verifier.net.fetch import Fetcher
from carnet_verifier.policy.policy import Verdict
from carnet_verifier.tuf.repository import TrustedRepository
from carnet_verifier.tuf.view import open_view

MAX_LOCK = 64 * 1024 * 1024
_AT_ONCE = 16  # tarballs in memory


@dataclass(frozen=True)
class Admitted:
    """A lock of which every package was let in.

    Attributes:
        admissions: The crates of crates-io.
        foreign: What the policy allows from elsewhere: git, other registries.
    """

    admissions: tuple[Admission, ...]
    foreign: tuple[Verdict, ...]


class Gate:
    """One run of a cargo command behind the gate.

    Args:
        invocation: The command.
        folder: Where it runs.
    """

    def __init__(self, invocation: Invocation, folder: Path) -> None:
        self._invocation = invocation
        self._folder = folder
        self._own_home = cargo_config.user_cargo_home()
        self._cargo = _cargo_command(invocation.toolchain)
        self._check_configuration()  # 1
        self._lock_path = self._find_workspace() / "Cargo.lock"
        self._lock_data = b""
        self._settings = config.load(self._lock_path.parent, now=home.now())
        self._trusted = home.choose(self._settings.repository)
        for remark in self._settings.remarks:
            output.warn(remark)

    # --- the plan ---

    def use(self) -> int:
        """Run a command that works with the locked crates."""
        with open_view(self._trusted.directory, now=home.now()) as view:
            repository, fetcher = view.repository, view.fetcher
            admitted = self._admit_or_resolve(repository, fetcher)  # 2, 3
            registry = LocalRegistry(home.private_folder(self._trusted.cargo) / "registry")
            with registry.locked():
                kept = self._keep(registry, repository, fetcher, admitted)  # 4
                gate_home = self._gate_home(registry)
                problem = self._unpack(gate_home, registry, kept, admitted)
                if problem is not None and not self._invocation.locked:
                    problem = None if self._resolve(repository, fetcher) else problem
                    if problem is None:
                        admitted = self._admit(repository, self._read_lock())
                        kept = self._keep(registry, repository, fetcher, admitted)
                        problem = self._unpack(gate_home, registry, kept, admitted)
                if problem is not None:
                    sys.stderr.write(problem.stderr)
                    return problem.returncode
        self._say(admitted)
        status = self._run(gate_home, registry)  # 5
        if self._invocation.compiles:
            self._compare_again(gate_home, kept)  # 6
        return status

    def resolve(self) -> int:
        """Run a command that chooses versions; then say what became of the lock."""
        with open_view(self._trusted.directory, now=home.now()) as view:
            repository, fetcher = view.repository, view.fetcher
            pinned = self._read_lock_if_any()
            with self._resolving(repository, fetcher, pinned) as (environment, flags):
                command = [*self._cargo, self._invocation.subcommand, *flags, *self._invocation.args]
                status = _run_attached(command, environment, self._folder)
            if status == 0 and self._lock_path.exists():
                self._say(self._admit(repository, self._read_lock()))
        return status

    # --- 1. configuration, and where we are ---

    def _check_configuration(self) -> None:
        cargo_config.check_project(self._folder, self._own_home)
        cargo_config.check_home(self._own_home)
        for argument in self._invocation.configs:
            cargo_config.check_argument(argument, self._folder)
        for name in os.environ:
            if name.startswith(cargo_config.REFUSED_VARIABLES):
                raise ConfigError(f"{name} is set in the environment", hint="unset it: crates come through the gate")

    def _find_workspace(self) -> Path:
        flags = ["--manifest-path", self._invocation.manifest_path] if self._invocation.manifest_path else []
        if flags and Path(flags[1]).name != "Cargo.toml":
            raise ConfigError("--manifest-path must lead to a Cargo.toml")
        command = [*self._cargo, "locate-project", "--workspace", "--message-format", "plain", *flags]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self._folder, check=False)
        if done.returncode != 0:
            reason = done.stderr.strip().removeprefix("error: ").splitlines() or ["cargo found no project"]
            raise ConfigError(reason[0])
        return Path(done.stdout.strip()).parent

    # --- 2. resolve ---

    def _admit_or_resolve(self, repository: TrustedRepository, fetcher: Fetcher) -> Admitted:
        lock = self._read_lock_if_any()
        if lock is None:
            if self._invocation.locked:
                raise ConfigError(f"{self._lock_path} does not exist, and --locked was given")
            if not self._resolve(repository, fetcher):
                raise ConfigError("cargo could not resolve the dependencies; its messages are above")
            lock = self._read_lock()
        return self._admit(repository, lock)

    def _resolve(self, repository: TrustedRepository, fetcher: Fetcher) -> bool:
        """Bring the lock up to date as `cargo build` would: what is locked stays."""
        if self._invocation.offline:
            return False
        pinned = self._read_lock_if_any()
        manifest = ["--manifest-path", str(self._lock_path.parent / "Cargo.toml")]
        configs = [part for argument in self._invocation.configs for part in ("--config", argument)]
        command = ["generate-lockfile"] if pinned is None else ["update", "--workspace"]
        with self._resolving(repository, fetcher, pinned) as (environment, flags):
            quiet = ["--quiet"] if self._invocation.quiet else []
            full = [*self._cargo, *command, *quiet, *flags, *configs, *manifest]
            return _run_attached(full, environment, self._folder) == 0

    @contextmanager
    def _resolving(
        self, repository: TrustedRepository, fetcher: Fetcher, pinned: Lockfile | None
    ) -> Iterator[tuple[dict[str, str], list[str]]]:
        """A verifying registry on loopback and a throw-away CARGO_HOME that uses it."""
        from carnet_gate.loopback import serve
        from carnet_verifier.cargo.proxy import Gatekeeper

        keep = frozenset(package.id for package in pinned.registry_packages) if pinned else frozenset()
        keeper = Gatekeeper(
            lambda: repository, fetcher, self._settings.policy, self._trusted.directory, home.now, pinned=keep
        )
        with serve(keeper) as url, tempfile.TemporaryDirectory(prefix="carnet-") as folder:
            source = {"registry": f"sparse+{url}/index/"}
            name = f"carnet-{secrets.token_hex(8)}"
            self._write_home(Path(folder), name, source, offline=False)
            yield self._environment(Path(folder)), _replacement(name, source)

    # --- 3. admit ---

    def _read_lock_if_any(self) -> Lockfile | None:
        return self._read_lock() if self._lock_path.exists() else None

    def _read_lock(self) -> Lockfile:
        try:
            data = read_file(self._lock_path, "the lock", max_bytes=MAX_LOCK)
        except FileNotFoundError:
            raise ConfigError(f"{self._lock_path} does not exist") from None
        self._lock_data = data
        return read_lockfile(data, str(self._lock_path))

    def _check_lock(self) -> None:
        """See that cargo will read the lock that was admitted."""
        admitted = self._lock_data
        self._read_lock()
        if self._lock_data != admitted:
            raise ConfigError(f"{self._lock_path} was changed while it was being checked", hint="run the command again")

    def _admit(self, repository: TrustedRepository, lock: Lockfile) -> Admitted:
        wanted = [Wanted(package.id, package.checksum) for package in lock.registry_packages]
        now = home.now()
        admissions: list[Admission] = []
        errors: list[CarnetError] = []
        with output.progress("admitting", len(wanted)) as bar:
            memory = self._trusted.directory
            for outcome in line.admit_all(
                repository, wanted, self._settings.policy, memory, now=now, cache=memory.index_files
            ):
                bar.update(1)
                if isinstance(outcome.result, Admission):
                    admissions.append(outcome.result)
                else:
                    errors.append(outcome.result)
        foreign = foreign_verdicts(lock, self._settings.policy, now)
        for verdict in foreign:
            try:
                verdict.require()
            except PolicyRefused as error:
                errors.append(error)
        for verdict in [*(admission.verdict for admission in admissions), *foreign]:
            warn_of(verdict)
        refuse_all(errors, len(wanted) + len(foreign), "nothing was compiled")
        return Admitted(tuple(admissions), foreign)

    def _say(self, admitted: Admitted) -> None:
        if self._invocation.quiet:
            return
        levels: dict[str, int] = {}
        for admission in admitted.admissions:
            levels[str(admission.level)] = levels.get(str(admission.level), 0) + 1
        counted = ", ".join(f"{count} {level}" for level, count in levels.items()) or "none needed"
        total = len(admitted.admissions)
        output.note(
            f"    Admitted {total} crate{'' if total == 1 else 's'} ({counted}) from {self._trusted.directory.url}"
        )

    # --- 4. keep and compare ---

    def _keep(
        self, registry: LocalRegistry, repository: TrustedRepository, fetcher: Fetcher, admitted: Admitted
    ) -> dict[CrateId, Kept]:
        kept: dict[CrateId, Kept] = {}
        missing: list[Admission] = []
        for admission in admitted.admissions:
            found = registry.open(admission)
            if found is None:
                missing.append(admission)
            else:
                kept[admission.crate] = found
        with output.progress("fetching", len(missing)) as bar:
            for start in range(0, len(missing), _AT_ONCE):
                batch = missing[start : start + _AT_ONCE]
                tarballs: list[tuple[Admission, bytes]] = []
                for admission, (data, crate) in zip(batch, fetch_crates(repository, fetcher, batch), strict=True):
                    tarballs.append((admission, data))
                    kept[crate.id] = Kept.of(crate)
                registry.keep(tarballs)
                bar.update(len(batch))
        registry.write_index(admitted.admissions)
        return kept

    def _unpack(
        self, gate_home: Path, registry: LocalRegistry, kept: Mapping[CrateId, Kept], admitted: Admitted
    ) -> subprocess.CompletedProcess[str] | None:
        """Let cargo unpack what is missing, compare everything, and find out whether the lock is complete.

        Returns:
            None, or what cargo said when it could not work with the lock as it is.
        """
        localregistry.remove_unfinished(gate_home, kept)
        net = ["--config", "net.offline=false"] if admitted.foreign else ["--offline"]
        manifest = ["--manifest-path", str(self._lock_path.parent / "Cargo.toml")]
        configs = [part for argument in self._invocation.configs for part in ("--config", argument)]
        command = [*self._cargo, "fetch", "--locked", *net, *self._flags(gate_home, registry), *configs, *manifest]
        environment = self._environment(gate_home)
        if admitted.foreign:
            environment["CARGO_NET_OFFLINE"] = "false"
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=self._folder, check=False, errors="replace"
        )
        if done.returncode != 0:
            return done
        if not localregistry.compare_sources(gate_home, kept):
            raise MetadataMismatch(
                "cargo did not unpack the crates where the gate looks for them",
                hint="this cargo keeps its sources elsewhere than cargo 1.95; please report it",
            )
        localregistry.protect(gate_home, kept)
        return None

    def _compare_again(self, gate_home: Path, kept: Mapping[CrateId, Kept]) -> None:
        try:
            localregistry.compare_sources(gate_home, kept)
        except localregistry.Poisoned as error:
            raise localregistry.Poisoned(
                f"{error} -- it was changed while cargo ran, so what was compiled is not sure to be what was admitted",
                hint="a build script or macro may have written there; run `carnet trust clean` and `cargo clean`",
            ) from None

    # --- 5. cargo, and what it is given ---

    def _run(self, gate_home: Path, registry: LocalRegistry) -> int:
        invocation = self._invocation
        self._check_lock()
        flags = self._flags(gate_home, registry)
        flags += [] if invocation.has("--locked") else ["--locked"]
        flags += [] if invocation.has("--offline") else ["--offline"]
        command = [*self._cargo, invocation.subcommand, *flags, *invocation.args]
        return _run_attached(command, self._environment(gate_home), self._folder)

    def _gate_home(self, registry: LocalRegistry) -> Path:
        # A project below the folder of the user's own `.cargo` reads that configuration anyway; a copy would be merged
        # with it, and lists would hold everything twice. So there are two homes, one with the copy and one without.
        beneath = cargo_config.is_read_anyway(self._folder, self._own_home)
        gate_home = home.private_folder(self._trusted.cargo / ("home-beneath" if beneath else "home"))
        self._write_home(gate_home, _source_name(gate_home), {"local-registry": str(registry.path)}, offline=True)
        return gate_home

    def _flags(self, gate_home: Path, registry: LocalRegistry) -> list[str]:
        return _replacement(_source_name(gate_home), {"local-registry": str(registry.path)})

    def _write_home(self, folder: Path, name: str, source: Mapping[str, str], *, offline: bool) -> None:
        document: dict[str, Any] = {}
        if not cargo_config.is_read_anyway(self._folder, self._own_home):
            document, left_out = cargo_config.copy_of_config(self._own_home)
            for text in left_out:
                output.warn(text)
        document["source"] = {"crates-io": {"replace-with": name}, name: dict(source)}
        document["net"] = {**document.get("net", {}), "offline": offline}
        document["cache"] = {"auto-clean-frequency": "never"}  # the gate looks after these files, not cargo
        _write_if_new(folder / "config.toml", cargo_config.to_toml(document).encode())
        for credentials in ("credentials.toml", "credentials"):
            try:
                data = read_file(self._own_home / credentials, "the credentials", max_bytes=cargo_config.MAX_BYTES)
            except FileNotFoundError:
                (folder / credentials).unlink(missing_ok=True)
                continue
            _write_if_new(folder / credentials, data)

    def _environment(self, gate_home: Path) -> dict[str, str]:
        loopback = "127.0.0.1,localhost"
        environment = {name: value for name, value in os.environ.items() if name != "CARGO"}
        environment["CARGO_HOME"] = str(gate_home)
        for name in ("NO_PROXY", "no_proxy"):
            environment[name] = ",".join(filter(None, (environment.get(name), loopback)))
        if not self._invocation.offline:
            environment.pop("CARGO_NET_OFFLINE", None)
        return environment


def show_help(invocation: Invocation) -> int:
    """Let cargo explain one of its commands."""
    command = [*_cargo_command(invocation.toolchain), invocation.subcommand, "--help"]
    return _run_attached(command, os.environ, Path.cwd())


def _cargo_command(toolchain: str | None) -> list[str]:
    # cargo tells its external subcommands which cargo they were called by; another toolchain goes through rustup again.
    called_by = os.environ.get("CARGO")
    if toolchain is None and called_by:
        return [called_by]
    cargo = shutil.which("cargo")
    if cargo is None:
        raise ConfigError("cargo is not installed, or not in PATH", hint="see https://rustup.rs")
    return [cargo, f"+{toolchain}"] if toolchain is not None else [cargo]


def _source_name(gate_home: Path) -> str:
    """The name of the replacing source: unguessable, so that no project can say anything about it in advance."""
    path = gate_home / "source-name"
    try:
        text = read_file(path, "the source's name", max_bytes=100).decode("ascii", "replace")
    except FileNotFoundError:
        text = f"carnet-{secrets.token_hex(16)}"
        write_file(path, text.encode(), mode=0o600)
    if not text.startswith("carnet-") or not text.replace("-", "").isalnum():
        raise ConfigError(f"{path} is damaged", hint="remove it")
    return text


def _replacement(name: str, source: Mapping[str, str]) -> list[str]:
    settings = [f'source.crates-io.replace-with="{name}"']
    settings += [f"source.{name}.{key}={cargo_config.quoted(value)}" for key, value in source.items()]
    return [part for setting in settings for part in ("--config", setting)]


def _write_if_new(path: Path, data: bytes) -> None:
    try:
        if read_file(path, "the configuration", max_bytes=cargo_config.MAX_BYTES) == data:
            return
    except FileNotFoundError:
        pass
    write_file(path, data, mode=0o600)


def _run_attached(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> int:
    """Run a command on our own terminal; interrupts are its to handle.

    Returns:
        Its exit status; 128 and the signal's number when a signal ended it.
    """
    with subprocess.Popen(list(command), env=dict(environment), cwd=folder) as process:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        terminate = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            status = process.wait()
        finally:
            signal.signal(signal.SIGINT, before)
            signal.signal(signal.SIGTERM, terminate)
    return status if status >= 0 else 128 - status
