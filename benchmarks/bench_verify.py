"""CPU time of carnet's verification of a lock, against stock python-tuf looking up the same index targets.

One repository (the trust model's whole tree, signed with real keys), one server on loopback, one run: each client is a
process of its own, and what counts is the processor time it used, user and system, start-up included. carnet also reads
the signed claims of every crate, which python-tuf is not asked for.

    python benchmarks/bench_verify.py [--lock Cargo.lock] [--rounds 7]
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

from tests.support.simulator import Simulator  # noqa: E402

from carnet import paths  # noqa: E402
from carnet.names import CrateName  # noqa: E402
from carnet_verifier.lockfile import read_lockfile  # noqa: E402
from carnet_verifier.trust import TrustDirectory  # noqa: E402

TARGET = 0.5

SERVER = """
import functools, http.server, sys
class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def log_message(self, *args): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=sys.argv[1]))
print(server.server_address[1], flush=True)
server.serve_forever()
"""

PYTHON_TUF = """
import sys
from tuf.ngclient import Updater
url, folder, names = sys.argv[1], sys.argv[2], sys.argv[3].split()
root = open(folder + "/pinned.json", "rb").read()
updater = Updater(folder, url + "metadata/", bootstrap=root)
updater.refresh()
assert all(updater.get_targetinfo(name) is not None for name in names)
"""

CARNET = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from carnet.names import CrateName
from carnet.paths import index_path
from carnet_verifier.fetch import HttpFetcher
from carnet_verifier.refresh import refresh
from carnet_verifier.trust import TrustDirectory
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


def cpu(command: Sequence[str]) -> float:
    """Run a command; the milliseconds of processor time that it used, user and system."""
    # An installed program has its bytecode; one that may not write it would be compiled anew at every run.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(command, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"error: {' '.join(command)[:200]} failed")
    return (usage.ru_utime + usage.ru_stime) * 1000


def repository(folder: Path, names: Sequence[str], others: int, bit_length: int) -> bytes:
    """Sign a repository with these crates and some others; returns its root."""
    made = Simulator(bit_length=bit_length, now=datetime.now(UTC).replace(microsecond=0))
    for name in [*names, *(f"other-{number}" for number in range(others))]:
        made.add_index(name, f'{{"name":"{name}","vers":"1.0.0"}}\n'.encode())
    for number in range(0, others, 20):
        made.claim(f"other-{number}")
    made.publish()
    made.dump(folder)
    return made.root_file()


def main() -> None:
    """Measure, print a table, and fail when a ratio is above the target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lock", type=Path, default=ROOT / "examples" / "app" / "Cargo.lock")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--others", type=int, default=2000, help="crates in the repository beside the lock's")
    parser.add_argument("--bit-length", type=int, default=8, help="the index has 2 to the power of this many bins")
    options = parser.parse_args()
    locked = read_lockfile(options.lock.read_bytes())
    names = sorted({str(package.id.name) for package in locked.packages if package.source is not None})
    print(f"{len(names)} crates of {options.lock.name}, {options.others} others, 2^{options.bit_length} bins")
    bins = {paths.index_path(CrateName(name)) for name in names}
    times: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        root = repository(folder / "repository", names, options.others, options.bit_length)
        with serve(folder / "repository") as url:
            for number in range(options.rounds + 1):
                stock, ours = folder / "python-tuf", folder / "carnet"
                shutil.rmtree(stock, ignore_errors=True)
                shutil.rmtree(ours, ignore_errors=True)
                stock.mkdir()
                (stock / "pinned.json").write_bytes(root)
                TrustDirectory.create(ours, root, url)
                for state in ("cold", "warm"):
                    for client, script, wanted in (
                        ("python-tuf", PYTHON_TUF, sorted(bins)),
                        ("carnet", CARNET, names),
                    ):
                        command = [sys.executable, "-c", script, url, str(stock if client == "python-tuf" else ours)]
                        used = cpu([*command, " ".join(wanted)])
                        if number:  # the first round warms the disk's cache and writes bytecode
                            times.setdefault((client, state), []).append(used)
    failed = False
    print(f"{'':6}{'python-tuf':>14}{'carnet':>14}{'ratio':>8}   (median CPU of {options.rounds} runs)")
    for state in ("cold", "warm"):
        stock_time, our_time = median(times["python-tuf", state]), median(times["carnet", state])
        ratio = our_time / stock_time
        failed |= ratio > TARGET
        print(f"{state:6}{stock_time:11.0f} ms{our_time:11.0f} ms{ratio:7.2f}x")
    if failed:
        sys.exit(f"error: above {TARGET}x")


if __name__ == "__main__":
    main()
