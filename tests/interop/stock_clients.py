"""What the clients of others make of carnet's format, over HTTP: python-tuf, go-tuf and tuf-js, of fixed versions.

Each of them pins the first root and follows the registry from one time of its life to the next; it finds what carnet
finds, and refuses what an attacker changes. An attack counts only when the same client, with the same memory, takes
the same answers without it. `make interop` runs this; what a machine lacks is skipped by name.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.interop.registry import HOLDERS, History, Moment, history
from tests.support.registries.mirror_process import now_in_seconds
from tests.support.worlds.ceremony import make_key, sign_role
from tests.support.worlds.changes import signed_of

from carnet import strictjson
from carnet.cargo.names import CrateId, CrateName
from carnet.errors import RollbackDetected
from carnet.tuf import paths
from carnet_signer.metadata.role_files import at
from carnet_verifier.net.fetch import HttpFetcher
from carnet_verifier.tuf.refresh import read_repository
from examples.wire import Wire, wire

pytestmark = pytest.mark.timeout(1800)  # sixty commands make the registry, and two clients are built
HERE = Path(__file__).parent
METADATA = f"/{paths.METADATA_PREFIX}"
CRATE_ROLE = paths.crate_role(CrateName("ember"))
SHARD_ROLE = paths.claims_shard_role(CrateName("ember").shard)
EMBER = paths.crate_path(CrateId.of("ember", "1.1.0"))
INSTALL = 480
"""Seconds that a package manager has: it compiles, and the machine may be busy."""

Changes = Mapping[str, bytes | None]
"""URL path to what is answered instead, or None for 404."""


@dataclass(frozen=True)
class Answer:
    """What came of a client's run.

    Attributes:
        targets: What it found, as `Moment.targets`; None when it refused.
        reason: What it then said.
    """

    targets: Mapping[str, str | None] | None
    reason: str


@dataclass(frozen=True)
class Program:
    """A stock client as a command.

    Attributes:
        name: The library.
        command: What takes `URL FOLDER TARGET...`.
    """

    name: str
    command: tuple[str, ...]

    def look_up(self, url: str, folder: Path, *targets: str) -> Answer:
        """Refresh and look up; what is neither an answer nor a refusal fails the test."""
        environment = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        done = subprocess.run(
            [*self.command, url, str(folder), *targets],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode in {0, 1}, done
        assert "Traceback" not in done.stderr, done
        return Answer(json.loads(done.stdout) if done.returncode == 0 else None, done.stderr)


def _needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"`{program}` is not on this machine's PATH")


def _install(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=INSTALL)
    if done.returncode:
        pytest.skip(f"`{' '.join(command)}` could not get the pinned modules: {done.stderr.strip()[-300:]}")


def _python_tuf(folder: Path) -> tuple[str, ...]:
    return sys.executable, str(HERE / "client.py")


def _go_tuf(folder: Path) -> tuple[str, ...]:
    _needs("go")
    _install(["go", "mod", "download"], HERE / "go")
    subprocess.run(
        ["go", "build", "-mod=readonly", "-buildvcs=false", "-o", str(folder / "client"), "."],
        cwd=HERE / "go",
        check=True,
        timeout=INSTALL,
    )
    return (str(folder / "client"),)


def _tuf_js(folder: Path) -> tuple[str, ...]:
    _needs("node", "npm")
    for name in ("package.json", "package-lock.json", "client.mjs"):
        shutil.copy(HERE / "node" / name, folder)
    _install(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
    return "node", str(folder / "client.mjs")


PROGRAMS: Mapping[str, Callable[[Path], tuple[str, ...]]] = {
    "python-tuf": _python_tuf,
    "go-tuf": _go_tuf,
    "tuf-js": _tuf_js,
}


@pytest.fixture(scope="module", params=PROGRAMS)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Program:
    return Program(request.param, PROGRAMS[request.param](tmp_path_factory.mktemp(request.param)))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    with history(tmp_path_factory.mktemp("registry")) as made:
        yield made


@pytest.fixture(scope="module")
def network(registry: History) -> Iterator[Wire]:
    """Every client's way to the mirror, which an attacker may own."""
    with wire(registry.url) as relay:
        yield relay


def pinned(registry: History, folder: Path) -> Path:
    """The memory of a client that knows the first root and nothing else."""
    folder.mkdir()
    (folder / "targets").mkdir()
    (folder / "root.json").write_bytes(registry.directory.root)
    return folder


def at_moment(moment: Moment) -> Changes:
    """What differs from today for a client that asks at an earlier time."""
    newer = f"{METADATA}{paths.metadata_name(paths.ROOT, moment.root + 1)}"
    return {f"{METADATA}timestamp.json": moment.timestamp, newer: None}


def answering(changes: Changes) -> Callable[[str, int, bytes], tuple[int, bytes]]:
    def tamper(path: str, status: int, body: bytes) -> tuple[int, bytes]:
        if path not in changes:
            return status, body
        instead = changes[path]
        return (404, b"") if instead is None else (200, instead)

    return tamper


def test_it_follows_the_registry_and_finds_what_carnet_finds(
    program: Program, registry: History, network: Wire, tmp_path: Path
) -> None:
    folder = pinned(registry, tmp_path / "memory")
    for moment, changes in ((registry.before, at_moment(registry.before)), (registry.after, {})):
        network.tamper = answering(changes)
        found = program.look_up(network.url, folder, *moment.targets)
        network.tamper = None
        assert found.targets == moment.targets, found.reason
    assert signed_of((folder / "root.json").read_bytes())["version"] == 2
    fresh = program.look_up(network.url, pinned(registry, tmp_path / "fresh"), *registry.after.targets)
    assert fresh.targets == registry.after.targets, fresh.reason


def test_the_registry_has_everything_that_the_format_has(registry: History) -> None:
    """What the other tests say of clients, they say of this."""
    before, after = registry.before.targets, registry.after.targets
    changed = {path for path in after if before[path] != after[path]}
    assert {path.rpartition("/")[2] for path in changed} == {"birch", "ember", "ember-1.1.0.crate"}
    absent = {path.rpartition("/")[2] for path, sha256 in after.items() if sha256 is None}
    assert absent == {"nobody", "birch-1.0.0.crate", "birch-1.1.0.crate", "thorn-0.1.0.crate"}
    snapshot = latest(registry, paths.SNAPSHOT)
    shards = {name: signed_of(current(registry, paths.claims_shard_role(CrateName(name).shard))) for name in
              ("ember", "thorn", "birch")}  # fmt: skip
    assert {*shards["ember"]["carnet"]["least"]} == {"ember", "sumac"}
    assert shards["thorn"]["carnet"]["least"]["thorn"] == {"owner": 1, "crate": 1}
    assert not shards["thorn"].get("delegations", {}).get("roles")
    assert len(shards["birch"]["carnet"]["shards"]) == 254
    assert snapshot["meta"][f"{CRATE_ROLE}.json"]["version"] == 3
    owner = signed_of(current(registry, paths.owner_role(CrateName("ember"))))
    assert "Ólga" in owner["carnet"]["owners"]["people"].values()
    assert {key["keytype"] for key in owner["carnet"]["owners"]["keys"].values()} == {"ecdsa", "ed25519"}


# --- attacks ---


def latest(registry: History, role: str) -> dict[str, Any]:
    """What is signed of the newest timestamp or snapshot."""
    timestamp = signed_of(registry.read("metadata/timestamp.json"))
    if role == paths.TIMESTAMP:
        return timestamp
    version = timestamp["meta"]["snapshot.json"]["version"]
    return signed_of(registry.read(f"metadata/{version}.snapshot.json"))


def path_of(registry: History, role: str) -> str:
    version = latest(registry, paths.SNAPSHOT)["meta"][f"{role}.json"]["version"]
    return f"{paths.METADATA_PREFIX}{paths.metadata_name(role, version)}"


def current(registry: History, role: str) -> bytes:
    return registry.read(path_of(registry, role))


def edited(registry: History, role: str, change: Callable[[dict[str, Any]], object]) -> Changes:
    """The role's file with a changed field, under the signatures of the true one."""
    file = json.loads(current(registry, role))
    change(file["signed"])
    return {f"/{path_of(registry, role)}": strictjson.encode(file)}


def new_snapshot(registry: History, change: Callable[[dict[str, Any]], object], **lives: timedelta) -> Changes:
    """What a thief of the online key signs: a next snapshot, changed, and a timestamp that names it."""
    timestamp, snapshot = latest(registry, paths.TIMESTAMP), latest(registry, paths.SNAPSHOT)
    snapshot["version"] += 1
    change(snapshot)
    file = sign_role(snapshot, [registry.online])
    timestamp["version"] += 1
    timestamp["meta"]["snapshot.json"] = {
        "version": snapshot["version"],
        "length": len(file),
        "hashes": {"sha256": hashlib.sha256(file).hexdigest()},
    }
    if "timestamp" in lives:
        timestamp["expires"] = at(registry.directory.now + lives["timestamp"])
    return {
        f"{METADATA}timestamp.json": sign_role(timestamp, [registry.online]),
        f"{METADATA}{snapshot['version']}.snapshot.json": file,
    }


def older_versions(*roles: str) -> Callable[[dict[str, Any]], object]:
    def change(snapshot: dict[str, Any]) -> None:
        for role in roles:  # without a length and digests, which are those of the newer file
            snapshot["meta"][f"{role}.json"] = {"version": snapshot["meta"][f"{role}.json"]["version"] - 1}

    return change


def another_byte(registry: History) -> Changes:
    """The tarball, with a changed byte."""
    sha256 = registry.after.targets[EMBER]
    assert sha256 is not None
    path = f"{paths.TARGETS_PREFIX}{paths.hashed_path(EMBER, sha256)}"
    data = bytearray(registry.read(path))
    data[-1] ^= 1
    return {f"/{path}": bytes(data)}


def by_a_stranger(registry: History) -> Changes:
    """The crate role, signed by a stranger's key under the ids of the true ones."""
    signed, stranger = signed_of(current(registry, CRATE_ROLE)), make_key("stranger")
    file = json.loads(sign_role(signed, [stranger]))
    ids = [signature["keyid"] for signature in json.loads(current(registry, CRATE_ROLE))["signatures"]]
    assert len(ids) == 2
    file["signatures"] = [{**file["signatures"][0], "keyid": keyid} for keyid in ids]
    return {f"/{path_of(registry, CRATE_ROLE)}": strictjson.encode(file)}


def with_one_signature(role: str, registry: History, *, twice: bool) -> Changes:
    """The role with the first of its two signatures, or with that one twice."""
    file = json.loads(current(registry, role))
    file["signatures"] = file["signatures"][:1] * (2 if twice else 1)
    return {f"/{path_of(registry, role)}": strictjson.encode(file)}


def root_of_thieves(registry: History) -> Changes:
    """A third root that one holder of two signed."""
    signed = signed_of(registry.read("metadata/2.root.json")) | {"version": 3}
    return {f"{METADATA}3.root.json": sign_role(signed, [make_key(HOLDERS[0])])}


def without_least(signed: dict[str, Any]) -> None:
    del signed["carnet"]["least"]


def another_role(signed: dict[str, Any]) -> None:
    signed["carnet"]["role"] = "crate.sumac"


def keeps_the_old_key(registry: History) -> Changes:
    """A timestamp by the online key that the root names no more."""
    timestamp = latest(registry, paths.TIMESTAMP)
    timestamp["version"] += 1
    old = registry.directory.ceremony.online
    return {f"{METADATA}timestamp.json": sign_role(timestamp, [old])}


# Attacks on a client that knows the first root only; of what it would download, something is changed.
ON_A_FRESH_CLIENT: Mapping[str, Callable[[History], Changes]] = {
    "a changed tarball": another_byte,
    "a changed field of the crate role": lambda made: edited(
        made, CRATE_ROLE, lambda signed: signed["targets"][EMBER].update(length=1)
    ),
    "the name that a role gives itself": lambda made: edited(made, CRATE_ROLE, another_role),
    "least versions that were taken out": lambda made: edited(made, SHARD_ROLE, without_least),
    "a role of a stranger's key": by_a_stranger,
    "one of two signatures": functools.partial(with_one_signature, CRATE_ROLE, twice=False),
    "one of two signatures, twice": functools.partial(with_one_signature, CRATE_ROLE, twice=True),
    "one of two holders": functools.partial(with_one_signature, SHARD_ROLE, twice=False),
    "a root of one holder": root_of_thieves,
    "the online key that was replaced": keeps_the_old_key,
    "an expired timestamp": lambda made: new_snapshot(made, lambda _: None, timestamp=timedelta(days=-1)),
}
# Attacks on one that has seen the registry as it is now.
ON_A_CLIENT_WITH_A_MEMORY: Mapping[str, Callable[[History], Changes]] = {
    "an older timestamp": lambda made: {f"{METADATA}timestamp.json": made.before.timestamp},
    "a new snapshot with an older crate role": lambda made: new_snapshot(made, older_versions(CRATE_ROLE)),
    "a new snapshot without the crate role": lambda made: new_snapshot(
        made, lambda snapshot: snapshot["meta"].pop(f"{CRATE_ROLE}.json")
    ),
    "a new snapshot with an older shard": lambda made: new_snapshot(made, older_versions(SHARD_ROLE)),
}


@pytest.mark.parametrize("attack", ON_A_FRESH_CLIENT)
def test_it_refuses_what_nobody_signed(
    program: Program, registry: History, network: Wire, tmp_path: Path, attack: str
) -> None:
    with network.tampering(answering(ON_A_FRESH_CLIENT[attack](registry))):
        deceived = program.look_up(network.url, pinned(registry, tmp_path / "attacked"), EMBER)
    assert deceived.targets is None
    assert deceived.reason.strip()
    honest = program.look_up(network.url, pinned(registry, tmp_path / "honest"), EMBER)
    assert honest.targets == {EMBER: registry.after.targets[EMBER]}, honest.reason


@pytest.mark.parametrize("attack", ON_A_CLIENT_WITH_A_MEMORY)
def test_it_refuses_what_is_older_than_it_has_seen(
    program: Program, registry: History, network: Wire, tmp_path: Path, attack: str
) -> None:
    folder = pinned(registry, tmp_path / "memory")
    honest = program.look_up(network.url, folder, EMBER)
    assert honest.targets == {EMBER: registry.after.targets[EMBER]}, honest.reason
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    with network.tampering(answering(ON_A_CLIENT_WITH_A_MEMORY[attack](registry))):
        deceived = program.look_up(network.url, folder, EMBER)
    assert deceived.targets is None
    assert deceived.reason.strip()
    again = program.look_up(network.url, copy, EMBER)
    assert again.targets == honest.targets, again.reason


def test_it_cannot_know_what_only_the_shards_of_carnet_say(
    program: Program, registry: History, network: Wire, tmp_path: Path
) -> None:
    """Without a memory, a stock client believes the online keys which version is the newest: carnet asks the shard."""
    changes = new_snapshot(registry, older_versions(CRATE_ROLE))
    fresh = pinned(registry, tmp_path / "fresh")
    with network.tampering(answering(changes)):
        deceived = program.look_up(network.url, fresh, EMBER)
        with HttpFetcher(network.url) as fetcher, pytest.raises(RollbackDetected, match=CRATE_ROLE):
            read_repository(registry.directory.root, fetcher, now=now_in_seconds()).find_targets([EMBER])
    assert deceived.targets == {EMBER: None}, deceived.reason
