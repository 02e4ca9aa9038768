"""A served mirror that takes submissions, and people with keys who use the command line: real processes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.registries.mirror_process import CARNET, RunningMirror, make_mirror, serving
from tests.support.worlds.ceremony import AT_ONCE, PASSPHRASE, make_key

from carnet.claims.waiting import Waiting
from carnet_cli.commands.registry.online_signer import OnlineSettings
from carnet_signer.keys import file


@dataclass
class LiveRegistry:
    """A registry, and a folder in which people work.

    Attributes:
        folder: Holds `root.json`, everybody's keys, and what the commands make.
        mirror: The running server.
    """

    folder: Path
    mirror: RunningMirror

    @property
    def url(self) -> str:
        return self.mirror.url

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "NO_COLOR": "1", "CARNET_HOME": str(self.folder / "home")}

    def add_people(self, names: Sequence[str], p256: Collection[str] = ()) -> None:
        """Key pairs, as `carnet key generate` makes them, that open without the wait; P-256 for some, else Ed25519."""
        for name in names:
            if name in p256:
                file.generate_key(self.folder / f"person {name}", "ecdsa", PASSPHRASE, kdf_rounds=1)
            else:
                make_key(f"person {name}").store(self.folder)

    def run(self, *arguments: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run `carnet` in the folder; key passphrases and confirmations are added.

        Args:
            arguments: The command.
            status: The exit status that it must have, or None for any.
        """
        full = [*CARNET, *arguments]
        if arguments[1:2] == ("sign",):
            full += ["--passphrase-file", str(self.folder / "passphrase"), "--yes"]
        done = subprocess.run(
            full, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert status is None or done.returncode == status, (
            f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done

    def json(self, *arguments: str, status: int | None = 0) -> Any:
        return json.loads(self.run(*arguments, "--message-format", "json", status=status).stdout)


@contextmanager
def live_registry(
    folder: Path, tarballs: Sequence[bytes] = (), *, trusted: bool = True, waits: Waiting = AT_ONCE, pulls: str = ""
) -> Iterator[LiveRegistry]:
    """Serve a new registry with these crates, and trust it unless told otherwise; `pulls` is its mirror.toml."""
    directory = make_mirror(folder / "mirror", tarballs, waits=waits)
    if pulls:
        (directory.path / "mirror.toml").write_text(pulls)
    desk = folder / "desk"
    desk.mkdir()
    passphrase = desk / "passphrase"
    passphrase.write_bytes(PASSPHRASE + b"\n")
    passphrase.chmod(0o600)
    (desk / "root.json").write_bytes(directory.root)
    for holder in directory.ceremony.holders:
        holder.store(desk)
    online = directory.ceremony.online.store(folder)
    with directory.open(write=True) as store, store.change():
        OnlineSettings(str(online), folder / "online.memory").remember(store)
    # What was published so far was signed in this process, so the signer's own memory begins above it.
    begin = [*CARNET, "mirror", "refresh", str(directory.path), "--memory-lost", "--passphrase-file", str(passphrase)]
    begun = subprocess.run(begin, capture_output=True, text=True, check=False, timeout=120)
    assert begun.returncode == 0, begun.stderr
    with serving(directory, "--passphrase-file", str(passphrase)) as mirror:
        registry = LiveRegistry(desk, mirror)
        if trusted:
            registry.run("trust", "add", mirror.url, "--root", "root.json")
        yield registry
