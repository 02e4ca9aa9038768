"""Processor time of `carnet verify` on a lock, against stock python-tuf looking up the same index targets.

One repository (the trust model's whole tree, signed with real keys), one server on loopback, one run. Each client is a
process of its own; what counts is the processor time that it used, user and system, start-up included. A machine drifts
by a third within a minute: each client is compared with the python-tuf that ran in the same round, and the median of
these ratios counts.

* `look up`: python-tuf refreshes and looks each crate's index target up (`get_targetinfo`).
* `and fetch`: it also downloads and checks each index file (`download_target`), as a verifier of a lock has to.
* `library`: carnet's client does the same look-ups and also reads the signed claims of every crate.
* `carnet verify`: the whole command: the lock, the look-ups, the claims, the index files, the checksums, the policy.

    python benchmarks/bench_verify.py [--lock Cargo.lock] [--rounds 15]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.worlds.simulator import Simulator  # noqa: E402

from carnet import strictjson  # noqa: E402
from carnet.cargo.index_line import IndexLine  # noqa: E402
from carnet.cargo.lockfile import Lockfile, read_lockfile  # noqa: E402
from carnet.cargo.names import CrateName  # noqa: E402
from carnet.tuf import paths  # noqa: E402
from carnet_verifier.memory.trust import TrustDirectory  # noqa: E402

TARGET = 0.5
CLIENTS = ("look up", "carnet verify", "and fetch", "library")
"""In the order in which they run in each round."""

SERVER = """
import functools, http.server, sys
class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65_536  # head and body of an answer in one packet, as servers in use send them
    def log_message(self, *args): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=sys.argv[1]))
print(server.server_address[1], flush=True)
server.serve_forever()
"""

PYTHON_TUF = """
import sys
from tuf.ngclient import Updater
url, folder, names, fetch = sys.argv[1], sys.argv[2], sys.argv[3].split(), len(sys.argv) > 4
root = open(folder + "/pinned.json", "rb").read()
updater = Updater(folder, url + "metadata/", folder + "/targets", url + "targets/", bootstrap=root)
updater.refresh()
for name in names:
    found = updater.get_targetinfo(name)
    assert found is not None
    if fetch and updater.find_cached_target(found) is None:
        updater.download_target(found)
"""

LIBRARY = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from carnet.cargo.names import CrateName
from carnet.tuf.paths import index_path
from carnet_verifier.net.fetch import HttpFetcher
from carnet_verifier.tuf.refresh import refresh
from carnet_verifier.memory.trust import TrustDirectory
url, folder, names = sys.argv[1], sys.argv[2], [CrateName(name) for name in sys.argv[3].split()]
trust = TrustDirectory.open(Path(folder))
repository = refresh(trust, HttpFetcher(url), now=datetime.now(UTC))
found = repository.find_targets([index_path(name) for name in names])
assert all(target is not None for target in found.values())
assert set(repository.claims(names).values()) == {None}
"""


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP from a process of its own."""
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}/"
    finally:
        server.terminate()
        server.wait()


def cpu(command: Sequence[str], home: Path) -> float:
    """Run a command with this folder as carnet's home; the milliseconds of processor time, user and system."""
    # An installed program has its bytecode; one that may not write it would be compiled anew at every run.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["CARNET_HOME"] = str(home)
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"error: {' '.join(command)[:200]} failed")
    return (usage.ru_utime + usage.ru_stime) * 1000


def repository(folder: Path, lock: Lockfile, others: int, bit_length: int) -> bytes:
    """Sign a repository with a lock's crates and some others; returns its root."""
    made = Simulator(bit_length=bit_length, now=datetime.now(UTC).replace(microsecond=0))
    lines: dict[str, bytes] = {}
    for package in lock.registry_packages:
        line = IndexLine.from_bytes(
            strictjson.canonical(
                {
                    "name": str(package.id.name),
                    "vers": str(package.id.version),
                    "deps": [],
                    "cksum": package.checksum or "",
                    "features": {},
                    "yanked": False,
                    "pubtime": "2026-01-01T00:00:00Z",
                }
            )
        )
        lines[str(package.id.name)] = lines.get(str(package.id.name), b"") + line.to_bytes() + b"\n"
    for name, data in lines.items():
        made.add_index(name, data)
    for number in range(others):
        made.add_index(f"other-{number}", b"")
        if number % 20 == 0:
            made.claim(f"other-{number}")
    made.publish()
    made.dump(folder)
    return made.root_file()


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lock", type=Path, default=ROOT / "examples" / "app" / "Cargo.lock")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--others", type=int, default=2000, help="crates in the repository beside the lock's")
    parser.add_argument("--bit-length", type=int, default=8, help="the index has 2 to the power of this many bins")
    options = parser.parse_args()
    lock = read_lockfile(options.lock.read_bytes())
    names = sorted({str(package.id.name) for package in lock.registry_packages})
    targets = sorted(paths.index_path(CrateName(name)) for name in names)
    print(f"{len(names)} crates of {options.lock.name}, {options.others} others, 2^{options.bit_length} bins")
    times: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        root = repository(folder / "repository", lock, options.others, options.bit_length)
        (folder / "project").mkdir()
        shutil.copy(options.lock, folder / "project" / "Cargo.lock")
        (folder / "root.json").write_bytes(root)
        python, carnet = sys.executable, str(Path(sys.executable).parent / "carnet")
        with serve(folder / "repository") as url:
            for number in range(options.rounds + 1):
                for name in CLIENTS:
                    state = folder / name
                    shutil.rmtree(state, ignore_errors=True)
                    (state / "targets").mkdir(parents=True)
                    (state / "pinned.json").write_bytes(root)
                TrustDirectory.create(folder / "library" / "trust", root, url)
                cpu([carnet, "trust", "add", url, "--root", str(folder / "root.json")], folder / "carnet verify")
                commands = {
                    "look up": [python, "-c", PYTHON_TUF, url, str(folder / "look up"), " ".join(targets)],
                    "carnet verify": [carnet, "verify", str(folder / "project" / "Cargo.lock")],
                    "and fetch": [python, "-c", PYTHON_TUF, url, str(folder / "and fetch"), " ".join(targets), "fetch"],
                    "library": [python, "-c", LIBRARY, url, str(folder / "library" / "trust"), " ".join(names)],
                }
                for state_name in ("cold", "warm"):
                    for name, command in commands.items():
                        used = cpu(command, folder / name)
                        if number:  # the first round warms the disk's cache and writes bytecode
                            times.setdefault((name, state_name), []).append(used)
    report(times, options.rounds)


def report(times: dict[tuple[str, str], list[float]], rounds: int) -> None:
    """Print the median of each client, and of its ratios to python-tuf in the same round."""
    columns = ("look up", "and fetch", "library", "carnet verify")
    print(f"{f'median of {rounds} rounds, processor time':36}{'python-tuf':>18}{'carnet':>26}")
    print(_row("", *columns))
    missed = []
    for state in ("cold", "warm"):
        print(_row(state, *(f"{median(times[name, state]):.0f} ms" for name in columns)))
        for stock in ("look up", "and fetch"):
            ratios = {
                name: median(
                    mine / theirs for mine, theirs in zip(times[name, state], times[stock, state], strict=True)
                )
                for name in ("library", "carnet verify")
            }
            print(_row(f"  of python-tuf, {stock}", "", "", *(f"{ratio:.2f}x" for ratio in ratios.values())))
            if stock == "look up" and ratios["carnet verify"] > TARGET:
                missed.append(f"{state} {ratios['carnet verify']:.2f}x")
    verdict = f"missed: {', '.join(missed)}" if missed else "met"
    print(f"target, `carnet verify` at most {TARGET}x of python-tuf's look-ups: {verdict}")


def _row(label: str, *cells: str) -> str:
    return f"{label:30}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, (12, 12, 12, 16), strict=True))


if __name__ == "__main__":
    main()
