"""The main commands, from a key to a verified lock, on machines that are not like the developers'.

Each condition is one that a fault hid behind, or could: the commands run in processes of their own under it.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.container import container
from tests.support.machines.processes import running
from tests.support.registries.sparse import SparseRegistry, sparse_registry
from tests.support.worlds.ceremony import PASSPHRASE
from tests.support.worlds.release import make_repository

from carnet_signer.keys.file import generate_key

pytestmark = pytest.mark.root

_CARNET = [sys.executable, "-c", "from carnet_cli.start import main; main()"]
_GATE = [sys.executable, "-c", "from carnet_cli.start import cargo_main; cargo_main()"]
_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
UNLOCK = ("--passphrase-file", "passphrase")


@dataclass
class Elsewhere:
    """A machine on which `carnet` is typed.

    Attributes:
        folder: All that it has.
        environment: All variables.
        wrap: Puts a command into the condition.
    """

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    wrap: Callable[[list[str]], list[str]] = list

    def __post_init__(self) -> None:
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / "home"),
            "CARNET_HOME": str(self.folder / "client"),
            "PYTHONUNBUFFERED": "1",
        }
        (self.folder / "home").mkdir(exist_ok=True)
        (self.folder / "passphrase").touch(mode=0o600)
        (self.folder / "passphrase").write_bytes(PASSPHRASE + b"\n")

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.wrap(command),
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stdout + done.stderr, done
        return done

    def carnet(self, *arguments: str) -> str:
        """What a command prints that must succeed."""
        done = self.run([*_CARNET, *arguments])
        assert done.returncode == 0, f"carnet {arguments}:\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def refuses(self, status: int, reason: str, command: list[str]) -> None:
        """Run a command that must end in one line that says why, and a hint about what to do."""
        done = self.run(command)
        assert done.returncode == status, done
        (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert reason in error
        assert "hint: " in done.stderr

    @contextmanager
    def serving(self) -> Iterator[str]:
        """`carnet mirror serve` with its online signer, while the block runs; the mirror's URL."""
        with running(
            self.wrap([*_CARNET, "mirror", "serve", "mirror", "--port", "0", *UNLOCK]),
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            # A terminal shows what goes to stderr too.
            yield next(line for line in process.stdout if "listening on http:" in line).split()[-1]


@pytest.fixture(scope="module")
def upstream() -> Iterator[SparseRegistry]:
    with sparse_registry() as running:
        running.add(honest_crate("leaf", "1.0.0"))
        yield running


# --- conditions ---


def umask(mask: str, machine: Elsewhere) -> None:
    machine.wrap = lambda command: ["sh", "-c", f'umask {mask}; exec "$@"', "sh", *command]


def home_that_cannot_be_made(machine: Elsewhere) -> None:
    machine.environment["HOME"] = str(machine.folder / "passphrase/home")


def no_programs(machine: Elsewhere) -> None:
    """Neither git nor cargo, nor anything else."""
    machine.environment["PATH"] = str(machine.folder / "bin")


def path_that_cannot_be_read(machine: Elsewhere) -> None:
    """As after `su`: the PATH of somebody else."""
    (machine.folder / "locked").mkdir(mode=0)
    machine.environment["PATH"] = f"{machine.folder}/locked:{machine.environment['PATH']}"


def read_only(machine: Elsewhere, *more: str) -> None:
    """Nothing can be written to but the folder: no home, and no place for temporary files."""
    if shutil.which("bwrap") is None:
        pytest.skip("bwrap is not installed: nothing can be made read-only")
    bwrap = [
        "bwrap",
        "--die-with-parent",
        "--ro-bind",
        "/",
        "/",
        "--dev",
        "/dev",
        "--bind",
        str(machine.folder),
        str(machine.folder),
        *more,
    ]
    if subprocess.run([*bwrap, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("bwrap does not work: nothing can be made read-only")
    machine.environment["HOME"] = "/"
    machine.wrap = lambda command: [*bwrap, "--", *command]


def careful(machine: Elsewhere) -> None:
    umask("077", machine)
    home_that_cannot_be_made(machine)
    path_that_cannot_be_read(machine)


def careless(machine: Elsewhere) -> None:
    umask("000", machine)


def bare(machine: Elsewhere) -> None:
    """No home, no programs, and a locale that knows ASCII only."""
    del machine.environment["HOME"]
    no_programs(machine)
    machine.environment |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def root_of_a_container(machine: Elsewhere) -> None:
    machine.wrap = container


def user_whom_nobody_knows(machine: Elsewhere) -> None:
    """Containers are started so: a number without an entry in /etc/passwd, and without HOME."""
    machine.environment.pop("HOME", None)
    machine.wrap = lambda command: container(command, user=1234)


def terminal(machine: Elsewhere) -> None:
    machine.environment["TERM"] = "xterm"
    machine.wrap = lambda command: [sys.executable, "-c", _TERMINAL, *command]


@pytest.mark.parametrize(
    "condition", [careful, careless, bare, read_only, root_of_a_container, user_whom_nobody_knows, terminal]
)
def test_from_a_key_to_a_verified_lock(
    tmp_path: Path, upstream: SparseRegistry, condition: Callable[[Elsewhere], None]
) -> None:
    machine = Elsewhere(tmp_path)
    condition(machine)
    (tmp_path / "Cargo.lock").write_bytes(upstream.lock("leaf-1.0.0"))
    assert machine.carnet("--version").startswith("carnet ")
    assert "Usage: carnet " in machine.carnet("--help")
    make_mirror(machine)
    assert "1 added" in machine.carnet("mirror", "sync", "mirror", "--upstream", upstream.index_url, *UNLOCK)
    machine.carnet("mirror", "fsck", "mirror")
    with machine.serving() as url:
        machine.carnet("trust", "add", url, "--root", "ceremony/1.root.json")
        assert "1 allowed, 0 refused" in machine.carnet("verify")
    for private in ("alice", "bob", "online"):
        assert stat.S_IMODE((tmp_path / private).stat().st_mode) & 0o077 == 0


def make_mirror(machine: Elsewhere) -> None:
    """A ceremony, and an empty mirror; bcrypt would take a second for each key that has a passphrase."""
    machine.carnet("key", "generate", "alice", "--insecure-no-passphrase")
    for name in ("bob", "online"):
        generate_key(machine.folder / name, "ed25519", PASSPHRASE, kdf_rounds=1)
    holders = ("--holder", "alice.pub", "--holder", "bob.pub", "--threshold", "2")
    machine.carnet("root", "init", "ceremony", *holders, "--online", "online.pub")
    for name in ("alice", "bob"):
        machine.carnet("root", "sign", "ceremony", "--key", name, "--yes", *UNLOCK)
    machine.carnet("mirror", "init", "mirror", "--ceremony", "ceremony", "--online-key", "online", *UNLOCK)


# --- what is missing is told in one line ---

DEMO = b'[package]\nname = "demo-lib"\nversion = "0.1.0"\ndescription = "a demo"\nlicense = "MIT"\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, upstream: SparseRegistry) -> Path:
    """With a mirror, a package in a git repository, and its lock: made on a machine that has everything."""
    path = tmp_path_factory.mktemp("elsewhere")
    (path / "Cargo.lock").write_bytes(upstream.lock("leaf-1.0.0"))
    (path / "Cargo.toml").write_text('[package]\nname = "app"\nversion = "0.0.0"\n')
    make_repository(path / "demo-lib", {"Cargo.toml": DEMO})
    make_mirror(Elsewhere(path))
    return path


def tag(folder: Path) -> list[str]:
    return [*_CARNET, "record", "tag", "--source", f"{folder}/demo-lib", "--key", f"{folder}/alice", "--offline"]


def sync(folder: Path) -> list[str]:
    unlock = ["--passphrase-file", f"{folder}/passphrase"]
    return [*_CARNET, "mirror", "sync", f"{folder}/mirror", "--lockfile", f"{folder}/Cargo.lock", *unlock]


def test_who_has_no_home_is_told_to_name_one(folder: Path) -> None:
    machine = Elsewhere(folder)
    del machine.environment["CARNET_HOME"]
    trust = [*_CARNET, "trust", "add", "http://127.0.0.1:9/", "--root", "ceremony/1.root.json", "--offline"]
    home_that_cannot_be_made(machine)
    machine.refuses(2, "passphrase, which is no folder", trust)
    user_whom_nobody_knows(machine)
    machine.refuses(2, "neither CARNET_HOME nor HOME is set", trust)
    machine.refuses(2, "neither CARNET_HOME nor HOME is set", [*_CARNET, "verify"])


@pytest.mark.cargo
def test_without_git_nothing_is_tagged(folder: Path) -> None:
    machine = Elsewhere(folder)
    git = shutil.which("git")
    assert git is not None
    read_only(machine, "--ro-bind", "/dev/null", git)
    machine.environment["RUSTUP_HOME"] = os.environ.get("RUSTUP_HOME", str(Path.home() / ".rustup"))
    machine.refuses(2, "git is not installed", tag(folder))


def test_without_cargo_nothing_is_tagged_copied_or_built(folder: Path) -> None:
    machine = Elsewhere(folder)
    no_programs(machine)
    machine.refuses(2, "cargo is not installed", tag(folder))
    machine.refuses(2, "there is no cargo here", sync(folder))
    machine.refuses(2, "cargo is not installed", [*_GATE, "build"])
    user_whom_nobody_knows(machine)
    machine.refuses(2, "neither CARGO_HOME nor HOME is set", sync(folder))
    machine.environment["PATH"] = os.environ["PATH"]
    machine.refuses(2, "neither CARGO_HOME nor HOME is set", [*_GATE, "build"])


@pytest.mark.cargo
def test_without_a_place_for_temporary_files_nothing_is_tagged_or_copied(folder: Path) -> None:
    machine = Elsewhere(folder)
    read_only(machine, "--chdir", "/")
    for command in (tag(folder), sync(folder)):
        machine.refuses(3, "no temporary folder can be made: no usable temporary directory found in", command)
