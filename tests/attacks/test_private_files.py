"""Another user of the same machine: reads nothing that is private and changes nothing, whatever the umask was.

Everything that commands leave on the disk is looked at. What may be read by others is listed here; whatever is not, is
its owner's alone. Control: the commands succeed, and what others need can be read where the umask lets it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import ClassVar, cast

import pytest
from tests.support.machines.command import done
from tests.support.worlds.ceremony import PASSPHRASE, make_ceremony, make_key
from tests.support.worlds.claims import World

from carnet.cargo.names import CrateId
from carnet.errors import ConfigError, StorageError
from carnet.strictjson import JsonObject
from carnet_mirror.web.files import open_log
from carnet_signer.ceremony import folder as ceremony_folder
from carnet_signer.online.memory import SigningMemory
from carnet_signer.online.server import Oracle, serve_socket
from carnet_signer.proposals.proposal import save
from carnet_verifier import api
from carnet_verifier.cargo.localregistry import LocalRegistry
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.policy.policy import Policy
from carnet_verifier.testing import InMemoryRepository

# What is handed out, or served to everybody: readable as the umask says, never writable for others.
PUBLIC = (
    *("*.pub", "ceremony", "ceremony/*", "layout.toml", "proposal", "proposal/*"),
    *("mirror", "mirror/metadata", "mirror/metadata/*", "mirror/targets", "mirror/targets/*", "mirror/blobs"),
    *("mirror/blobs/*", "mirror/crates", "mirror/crates/*", "mirror/index", "mirror/index/*"),
)
MUST_BE_THERE = (
    *("key", "key.pub", "ceremony/1.root.json", "mirror/mirror.db", "home/trust/*/trust.json", "proposal/request.json"),
    *("online-memory/*", "online.sock", "access.log", "api/metadata/*", "api/lock", "api/seen.json"),
)


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def _use_everything(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CARNET_HOME", str(folder / "home"))
    secret = folder / "secret"
    secret.touch(mode=0o600)
    secret.write_bytes(PASSPHRASE)
    done("key", "generate", "key", "--insecure-no-passphrase")
    done("layout", "new", "--template", "minimal", "--may", "tag", "alice=key.pub", "--may", "package", "bob=key.pub")
    ceremony = make_ceremony(bit_length=1)
    ceremony_folder.create(folder / "ceremony", {f"1.{role}.json": data for role, data in ceremony.files.items()})
    make_key("online").store(folder)
    online = ("--online-key", "online", "--passphrase-file", "secret")
    done("mirror", "init", "mirror", "--ceremony", "ceremony", *online)
    done("trust", "add", "http://127.0.0.1:9/", "--root", "ceremony/1.root.json", "--offline")
    now = datetime.now(UTC)
    repository = InMemoryRepository(now=now)
    repository.add("serde@1.0.219")
    repository.publish()
    api.trust(folder / "api", repository.root, repository.url)
    with api.open_repository(folder / "api", now=now, fetcher=repository) as opened:
        api.verify_lock(opened, repository.lock(), Policy())
        api.explain(opened, CrateId.parse("serde@1.0.219"), Policy())
    LocalRegistry(folder / "home" / "cargo" / "registry")
    world = World.make(folder / "world")
    save(world.claim_proposal(), folder / "proposal")
    log = open_log(folder / "access.log")
    log.write("127.0.0.1\n")
    log.close()
    SigningMemory(folder / "online-memory").close()
    _serve_once(Path("online.sock"))  # relative: the path of a socket is short


class _Failing:
    """An online signer whose first answer is its last one."""

    greeting: ClassVar[JsonObject] = {"ready": []}

    def answer(self, line: bytes) -> JsonObject:
        raise StorageError("the disk is full")


def _serve_once(place: Path) -> None:
    def serve() -> None:
        with contextlib.suppress(StorageError):
            serve_socket(place, cast(Oracle, _Failing()))

    thread = threading.Thread(target=serve)
    thread.start()
    with socket.socket(socket.AF_UNIX) as connection:
        for _ in range(1_000):
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                connection.connect(str(place))
                break
            time.sleep(0.01)
        connection.sendall(b"{}\n")
        thread.join(30)
    assert not thread.is_alive()


def test_what_commands_leave_is_private_or_listed_as_public(
    umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _use_everything(tmp_path, monkeypatch)
    found, wrong = [], []
    for path in sorted(tmp_path.rglob("*")):
        name = path.relative_to(tmp_path).as_posix()
        if name.startswith(("world", "layout.toml.")):
            continue  # the test's own
        found.append(name)
        status = path.lstat()
        mode = stat.S_IMODE(status.st_mode)
        if any(fnmatchcase(name, pattern) for pattern in PUBLIC):
            expected = (0o777 if path.is_dir() else 0o666) & ~umask & ~0o022
            allowed = {expected, expected & ~0o222}
        else:
            allowed = {0o700} if path.is_dir() else {0o600, 0o400}
        if mode not in allowed:
            wrong.append(f"{name}: {mode:04o}, not {', '.join(f'{each:04o}' for each in sorted(allowed))}")
    assert wrong == []
    for pattern in MUST_BE_THERE:
        assert any(fnmatchcase(name, pattern) for name in found), (pattern, found)


@pytest.mark.parametrize("opened", [".", "metadata", "pinned-root.json", "metadata/root.json", "trust.json"])
def test_a_memory_that_others_could_have_written_is_not_trusted(opened: str, tmp_path: Path) -> None:
    """As after a build script that changed permissions for somebody else's sake."""
    repository = InMemoryRepository(now=datetime.now(UTC))
    repository.publish()
    api.trust(tmp_path / "api", repository.root, repository.url)
    place = tmp_path / "api" / opened
    before = place.stat().st_mode
    for more in (0o020, 0o002):
        place.chmod(before | more)
        with pytest.raises(ConfigError, match="can be written by somebody else"):
            TrustDirectory.open(tmp_path / "api")
    place.chmod(before | 0o044)  # the control: reading it changes nothing
    TrustDirectory.open(tmp_path / "api")
