"""A signer's own machine: a home that trusts a registry, a key, and the commands that people type there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.machines.command import Ran, carnet
from tests.support.worlds.ceremony import PASSPHRASE, TestKey

from carnet.durable import private_folder
from carnet_cli.config import home
from carnet_signer.proposals.proposal import Proposal, save
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.tuf import view

URL = "http://registry.test/"


@dataclass
class Desk:
    """Where one person signs. `Desk.make` puts one up; the commands see the registry without a network.

    Attributes:
        folder: Where folders and keys lie.
        root: The root that the registry began with.
    """

    folder: Path
    root: bytes
    _old: dict[str, bytes | None]

    @classmethod
    def make(
        cls,
        folder: Path,
        patch: pytest.MonkeyPatch,
        root: bytes,
        read: Callable[[str], bytes | None],
        now: Callable[[], object],
        *,
        trusts: bool = True,
    ) -> Desk:
        """Put one up.

        Args:
            folder: An empty folder.
            patch: Undoes all of it.
            root: What is pinned.
            read: The registry's files.
            now: The clock.
            trusts: Whether the registry is trusted already.
        """

        old: dict[str, bytes | None] = {}

        class Local(ReadFetcher):
            def __init__(self, _url: str, **_: object) -> None:
                super().__init__(lambda path: old[path] if path in old else read(path))

            def __enter__(self) -> Local:
                return self

            def __exit__(self, *_: object) -> None:
                pass

        folder.mkdir(exist_ok=True)
        patch.setenv("CARNET_HOME", str(folder / "home"))
        patch.setattr(view, "HttpFetcher", Local)
        patch.setattr(home, "now", now)
        (folder / "passphrase").touch(mode=0o600)
        (folder / "passphrase").write_bytes(PASSPHRASE)
        (folder / "root.json").write_bytes(root)
        desk = cls(folder, root, old)
        if trusts:
            desk.trust()
        return desk

    @property
    def trust_id(self) -> str:
        return home.fingerprint(self.root)[:16]

    def trust(self) -> None:
        private_folder(home.home())
        private_folder(home.home() / "trust")
        TrustDirectory.create(home.trust_path(self.trust_id), self.root, URL)

    def set_back(self, files: dict[str, bytes | None]) -> None:
        """Let the network show these files of the past, to somebody who has forgotten what came after them."""
        self._old.update(files)
        shutil.rmtree(home.trust_path(self.trust_id))
        self.trust()

    def hand_over(self, proposal: Proposal, name: str) -> Path:
        """Put a folder on the desk, as it came from whoever made it."""
        save(proposal, self.folder / name)
        return self.folder / name

    def review(self, folder: Path, *more: object) -> Ran:
        return carnet("claim", "review", folder, *more)

    def sign(self, folder: Path, key: TestKey, *more: object, group: str = "claim") -> Ran:
        path = self.folder / key.name
        if not path.exists():
            key.store(self.folder)
        return carnet(
            group, "sign", folder, "--key", path, "--yes", "--passphrase-file", self.folder / "passphrase", *more
        )
