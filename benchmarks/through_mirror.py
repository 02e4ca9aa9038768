"""Real projects through a mirror that is empty at first, by several machines at once; then its upstream is cut off.

1. `carnet mirror quickstart` serves an empty mirror that may bring what is asked for, by the user's own cargo;
2. several machines, each with a home of its own, go through all projects at once, each in another order:
   `cargo carnet fetch`, and `cargo carnet check` of those that are to be compiled;
3. the mirror is started again with a cargo that reaches nothing, and new machines do the same.

    python benchmarks/through_mirror.py [--clients 4] [--check NAME...] [--cargo-home DIR] PROJECT...

It says what every machine took, and what went wrong; the exit status says whether all is well. Ports, quotas and rules
are those of the command as it stands.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.machines.processes import running  # noqa: E402

_CARNET = (sys.executable, "-c", "from carnet_cli.start import main; main()")
_GATE = (sys.executable, "-c", "from carnet_cli.start import cargo_main; cargo_main()")


class Client:
    """A machine of somebody who builds.

    Args:
        folder: Holds its homes and its checkouts.
        cargo_home: Of a cargo of its own: nothing is in it.
    """

    def __init__(self, folder: Path, url: str, root: Path) -> None:
        self.folder = folder
        folder.mkdir()
        homes = {"HOME": folder, "CARGO_HOME": folder / "cargo", "CARNET_HOME": folder / "carnet"}
        rustup = os.environ.get("RUSTUP_HOME", str(Path.home() / ".rustup"))
        self.environment = {**os.environ, **{name: str(place) for name, place in homes.items()}, "RUSTUP_HOME": rustup}
        self._run([*_CARNET, "trust", "add", url, "--root", str(root)], folder)

    def work(self, projects: Sequence[Path], checked: Sequence[str]) -> list[str]:
        """Fetch all, compile some; says what went wrong."""
        wrong = []
        for project in projects:
            copy = self.folder / project.name
            if not copy.exists():
                shutil.copytree(project, copy, ignore=shutil.ignore_patterns("target", ".git"), symlinks=True)
            commands = ["fetch", "check"] if project.name in checked else ["fetch"]
            for command in commands:
                done = self._run([*_GATE, command, "--locked"], copy)
                if done.returncode != 0:
                    wrong.append(f"{project.name}: {command}: {done.returncode}: {done.stderr[-1500:]}")
                    break
        return wrong

    def _run(self, command: Sequence[str], where: Path) -> subprocess.CompletedProcess[str]:
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.run(command, cwd=where, env=self.environment, text=True, check=False, **quiet)


@contextmanager
def mirror(folder: Path, port: int, environment: dict[str, str]) -> Iterator[str]:
    """Serve what `quickstart` made in a folder, and makes there at first."""
    passphrase = folder.with_name("passphrase")
    if not passphrase.exists():
        passphrase.touch(mode=0o600)
        passphrase.write_text("a mirror that is thrown away\n")
    command = [*_CARNET, "mirror", "quickstart", str(folder), "--port", str(port)]
    command += ["--passphrase-file", str(passphrase)]
    with (
        folder.with_name("mirror.log").open("a") as log,
        running(command, env=environment, stdout=log, stderr=log) as serving,
    ):
        deadline = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if serving.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(folder.with_name("mirror.log").read_text()) from None
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/"


def all_at_once(name: str, count: int, url: str, root: Path, scratch: Path, options: argparse.Namespace) -> list[str]:
    """So many new machines, at once; says what went wrong."""
    clients = [Client(scratch / f"{name}-{number}", url, root) for number in range(count)]
    begun = time.monotonic()

    def go(number: int) -> list[str]:
        turn = number * len(options.projects) // count
        wrong = clients[number].work([*options.projects[turn:], *options.projects[:turn]], options.check)
        print(f"{name}, machine {number}: {time.monotonic() - begun:.0f} s, {len(wrong)} wrong", flush=True)
        return wrong

    with ThreadPoolExecutor(count) as pool:
        found = [line for wrong in pool.map(go, range(count)) for line in wrong]
    for line in found:
        print(f"  {line}", flush=True)
    return found


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("projects", nargs="+", type=Path, metavar="PROJECT")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--check", nargs="*", default=[], metavar="NAME", help="projects that are compiled, too")
    parser.add_argument("--cargo-home", type=Path, default=Path.home() / ".cargo", help="of the mirror's cargo")
    options = parser.parse_args()
    options.projects = [project.resolve() for project in options.projects]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        home, wrong = scratch / "quick", []
        with mirror(home, port, {**os.environ, "CARGO_HOME": str(options.cargo_home)}) as url:
            root = next(home.rglob("1.root.json"))
            wrong += all_at_once("empty mirror", options.clients, url, root, scratch, options)
        nothing = {**os.environ, "CARGO_HOME": str(scratch / "no-cargo"), "CARGO_NET_OFFLINE": "true"}
        with mirror(home, port, nothing) as url:
            wrong += all_at_once("upstream cut off", options.clients, url, root, scratch, options)
        said = (scratch / "mirror.log").read_text().splitlines()
        print(*(f"  mirror: {line}" for line in said if '"carnet"' not in line), sep="\n")
        print(f"{len(options.projects)} projects, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
