"""Two `carnet mirror serve` of one mirror, killed again and again while both publish: what `make serves` does.

    python tests/faults/serves.py [--publishes 2000] [--seed N]

Both bring crates that are asked for, from an upstream in this process, and each ask is one publish. One of the two is
killed (SIGKILL) every so often, at a moment that chance chooses, and started again. Clients with a memory look at both
by turns. At the end the history has to be one line: every snapshot there is names no role in a lower version than the
one before it, no version was published twice, each crate whose publish was acknowledged is there, `fsck` finds nothing,
and no client was refused.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.crates.archives import honest_crate
from tests.support.registries.live import LiveRegistry, live_registry
from tests.support.registries.mirror_process import RunningMirror, now_in_seconds, quiet, serving
from tests.support.registries.sparse import sparse_registry

from carnet.cargo.names import CrateName
from carnet.errors import CarnetError, TransportError
from carnet.tuf.read import parse_role
from carnet.tuf.roles import Snapshot
from carnet_mirror.fsck.fsck import fsck
from carnet_mirror.state.store import Store
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.net.fetch import HttpFetcher
from carnet_verifier.tuf.refresh import refresh

_PULLS = """[pull]
upstream = "{}"
allow = ["*"]
least-age-days = 0
[pull.quotas]
asks-per-hour = 1000000
"""
_LONGEST = 8.0
"""Seconds between two kills, at most."""


class Servers:
    """Two servers of one mirror, of which one may be dead at the moment."""

    def __init__(self, registry: LiveRegistry) -> None:
        self._mirror = registry.mirror.directory
        self._passphrase = registry.folder / "passphrase"
        self._held = [ExitStack(), ExitStack()]
        self._lock = threading.Lock()
        self.running: list[RunningMirror] = [self._start(0), self._start(1)]
        self.kills = 0

    def _start(self, number: int) -> RunningMirror:
        return self._held[number].enter_context(serving(self._mirror, "--passphrase-file", str(self._passphrase)))

    def kill(self, number: int) -> None:
        """Kill one, and start it again."""
        self.running[number].process.kill()
        self.running[number].process.wait()
        with contextlib.suppress(AssertionError):
            self._held[number].close()
        self._held[number] = ExitStack()
        self.running[number] = self._start(number)
        self.kills += 1

    def close(self) -> None:
        for one in self._held:
            one.close()


def ask(url: str, name: str) -> bool:
    """Ask a server for a crate; whether it said that it has published it, or has it."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
    body = json.dumps({"asked": [{"name": name, "requirement": "*"}], "locked": False})
    try:
        connection.request("POST", "/api/v1/carnet/pull", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        lines = answer.read().splitlines()
        last = json.loads(lines[-1]) if answer.status == 200 and lines else {}
        return bool(last.get("done")) and f"{name}@0.1.0" in last.get("published", [])
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()


class Clients:
    """Two clients with a memory; each looks at both servers by turns."""

    def __init__(self, registry: LiveRegistry, folder: Path) -> None:
        root = registry.mirror.root
        self._memories = [TrustDirectory.create(folder / f"client-{n}", root, "http://127.0.0.1/") for n in range(2)]
        self.looks = 0
        self.refused: list[str] = []

    def look(self, url: str) -> None:
        for memory in self._memories:
            try:
                refresh(memory, HttpFetcher(url), now=now_in_seconds())
                self.looks += 1
            except TransportError:
                continue  # it was killed
            except CarnetError as error:
                self.refused.append(f"{type(error).__name__}: {error}")


def history(mirror: Path) -> Iterator[str]:
    """What is wrong with the snapshots that are there, in words."""
    files = {int(file.name.partition(".")[0]): file for file in mirror.glob("metadata/*.snapshot.json")}
    before: Snapshot | None = None
    for version in sorted(files):
        snapshot = parse_role(files[version].read_bytes(), Snapshot).signed
        if before is not None:
            if version != before.version + 1:
                yield f"after snapshot {before.version} comes {version}"
            for role, meta in before.meta.items():
                if role not in snapshot.meta or snapshot.meta[role].version < meta.version:
                    yield f"snapshot {version} names an older {role} than the one before it"
        before = snapshot


def run(publishes: int, chance: random.Random, folder: Path) -> int:
    """Publish so often; the exit status says whether all is well."""
    with sparse_registry() as upstream:
        for number in range(publishes):
            upstream.add(honest_crate(f"crate-{number}"))
        with live_registry(folder, trusted=False, pulls=_PULLS.format(upstream.index_url)) as registry:
            registry.mirror.stop()
            servers, clients = Servers(registry), Clients(registry, folder)
            over = threading.Event()

            def kills() -> None:
                while not over.wait(chance.random() * _LONGEST):
                    servers.kill(chance.randrange(2))

            killer = threading.Thread(target=kills)
            killer.start()
            try:
                acknowledged, tries, begun = _publish(publishes, chance, servers, clients)
            finally:
                over.set()
                killer.join()
                servers.close()
            return _judge(registry, clients, acknowledged, f"{tries:,} asks, {servers.kills} kills", begun)


def _publish(publishes: int, chance: random.Random, servers: Servers, clients: Clients) -> tuple[list[str], int, float]:
    acknowledged, tries, begun = [], 0, time.monotonic()
    for number in range(publishes):
        name = f"crate-{number}"
        for _ in range(5):
            tries += 1
            if ask(servers.running[chance.randrange(2)].url, name):
                acknowledged.append(name)
                break
            time.sleep(0.2)
        if number % 10 == 0:
            clients.look(servers.running[chance.randrange(2)].url)
        if number % 100 == 0:
            print(f"{number:,}: {len(acknowledged):,} acknowledged, {servers.kills} kills", flush=True)
    return acknowledged, tries, begun


def _judge(registry: LiveRegistry, clients: Clients, acknowledged: list[str], told: str, begun: float) -> int:
    mirror = registry.mirror.directory.path
    registry.run("mirror", "refresh", str(mirror), "--passphrase-file", str(registry.folder / "passphrase"))
    wrong = [f"a client was refused: {one}" for one in clients.refused]
    with Store.open(mirror) as store:
        wrong += map(str, fsck(store, now=now_in_seconds(), progress=quiet).problems)
        lost = [name for name in acknowledged if not store.crates.versions(CrateName(name))]
    wrong += [f"{name} was acknowledged, and is lost" for name in lost]
    wrong += history(mirror)
    for line in wrong[:20]:
        print(f"  {line}")
    snapshots = len(list(mirror.glob("metadata/*.snapshot.json")))
    took = time.monotonic() - begun
    print(
        f"{len(acknowledged):,} acknowledged in {told}; {snapshots:,} snapshots, {clients.looks:,} looks of clients, "
        f"{len(wrong)} wrong; {took:.0f} s"
    )
    return 1 if wrong or not acknowledged else 0


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--publishes", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return run(options.publishes, random.Random(options.seed), Path(folder))


if __name__ == "__main__":
    sys.exit(main())
