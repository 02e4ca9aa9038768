"""The online signer as a process: started by a publish, on a socket, and with keys that do not open."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.machines.processes import running
from tests.support.worlds.ceremony import PASSPHRASE, Ceremony, make_ceremony
from tests.support.worlds.publication import MemoryPublication

from carnet.errors import SigningError
from carnet_cli.commands.registry.online import signer_command
from carnet_cli.terminal.passphrase import PassphraseSource
from carnet_signer.metadata.publish import Change, publish
from carnet_signer.online.client import OnlineClient, connect_signer, start_signer

NOW = datetime.now(UTC).replace(microsecond=0)  # the signer's process reads the clock
FILES = {"index/se/rd/serde": b"line\n"}


@pytest.fixture(scope="module")
def ceremony() -> Ceremony:
    return make_ceremony(now=NOW)


def secret(folder: Path, text: bytes = PASSPHRASE) -> PassphraseSource:
    path = folder / "passphrase"
    path.write_bytes(text + b"\n")
    path.chmod(0o600)
    return PassphraseSource(path)


def start(ceremony: Ceremony, folder: Path, passphrase: PassphraseSource | None = None) -> OnlineClient:
    key = ceremony.online.name
    if not (folder / key).exists():
        ceremony.online.store(folder)
    return start_signer(signer_command([str(folder / key)], folder / "memory", passphrase or secret(folder)))


def test_a_publish_through_the_process_and_a_second_after_a_restart(ceremony: Ceremony, tmp_path: Path) -> None:
    publication = MemoryPublication()
    with start(ceremony, tmp_path) as online:
        assert online.keyids == (ceremony.online.public_key.keyid,)
        publish(publication, online, replace(ceremony.change, index_files=FILES), now=NOW)
        assert online.last_version("timestamp") == 1
    with start(ceremony, tmp_path) as online:
        assert publish(publication, online, Change(), now=NOW).timestamp == 2


def test_the_reason_of_a_refusal_arrives(ceremony: Ceremony, tmp_path: Path) -> None:
    with start(ceremony, tmp_path) as online:
        with pytest.raises(SigningError, match="do not sign 'targets'"):
            online.sign({"targets": b"{}"})
        assert online.last_version("targets") == 0  # and it is still there


def test_a_key_that_does_not_open_is_one_error(ceremony: Ceremony, tmp_path: Path) -> None:
    with pytest.raises(SigningError, match="does not open with this passphrase"):
        start(ceremony, tmp_path, secret(tmp_path, b"wrong"))
    with pytest.raises(SigningError, match="there is no private key file"):
        start_signer(signer_command([str(tmp_path / "none")], tmp_path / "memory", secret(tmp_path)))


def test_the_passphrase_may_come_from_a_descriptor_that_only_the_child_reads(
    ceremony: Ceremony, tmp_path: Path
) -> None:
    ceremony.online.store(tmp_path)
    reader, writer = os.pipe()
    os.write(writer, PASSPHRASE)
    os.close(writer)
    source = PassphraseSource(descriptor=reader)
    with start_signer(
        signer_command([str(tmp_path / ceremony.online.name)], tmp_path / "memory", source), inherit=[reader]
    ) as online:
        os.close(reader)
        assert online.last_version("timestamp") == 0


def test_it_ends_with_its_parent_and_not_at_ctrl_c(ceremony: Ceremony, tmp_path: Path) -> None:
    online = start(ceremony, tmp_path)
    process = online._process
    assert process is not None
    process.send_signal(signal.SIGINT)
    assert online.last_version("timestamp") == 0
    online._connection.shutdown(socket.SHUT_RDWR)  # as when the mirror is killed
    assert process.wait(timeout=10) == 0
    with pytest.raises(SigningError, match="online signer"):
        online.last_version("timestamp")
    online.close()


def test_its_memory_is_closed_to_other_processes(ceremony: Ceremony, tmp_path: Path) -> None:
    with start(ceremony, tmp_path) as online:
        assert online._process is not None
        limits = Path(f"/proc/{online._process.pid}/limits").read_text()
        line = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
        assert line.split()[4:6] == ["0", "0"]


@contextmanager
def standalone(ceremony: Ceremony, folder: Path) -> Iterator[Path]:
    ceremony.online.store(folder)
    path = folder / "socket"
    command = signer_command([str(folder / ceremony.online.name)], folder / "memory", secret(folder))
    with running([*command, "--socket", str(path)], stderr=subprocess.PIPE, text=True) as process:
        assert "listening" in process.stderr.readline()
        for _ in range(100):
            if path.is_socket() and path.stat().st_mode & 0o777 == 0o600:
                break
            time.sleep(0.05)
        yield path


def test_a_standalone_signer_serves_several_clients(ceremony: Ceremony, tmp_path: Path) -> None:
    publication = MemoryPublication()
    with standalone(ceremony, tmp_path) as path:
        assert path.stat().st_mode & 0o777 == 0o600
        with connect_signer(path) as first, connect_signer(path) as second:
            publish(publication, first, ceremony.change, now=NOW)
            assert second.last_version("timestamp") == 1
            with pytest.raises(SigningError, match="another online signer uses the memory"):
                start(ceremony, tmp_path)
    with pytest.raises(SigningError, match="no online signer answers"):
        connect_signer(path)
