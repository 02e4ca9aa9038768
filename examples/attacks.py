"""The attacks of the demo. Each one changes a single thing, and the command that meets it must refuse it."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from carnet import strictjson
from carnet.cargo.lockfile import LockedPackage, read_lockfile
from carnet.cargo.names import CrateId
from carnet.tuf import paths
from carnet.tuf.keys import PublicKey
from carnet.tuf.roles import RoleKeys
from carnet_mirror.state.store import Store
from carnet_signer.metadata import role_files
from examples.stage import DemoError, Stage
from examples.thief import Online, instead, open_key
from examples.wire import Wire


def play(stage: Stage, app: Path, network: Wire, first: dict[str, bytes]) -> None:
    """Try them all.

    Args:
        stage: Where the commands run.
        app: The program that is built.
        network: Between the build and the mirror.
        first: The mirror's first timestamp and snapshot, by URL path.
    """
    crate, other, *_ = read_lockfile((app / "Cargo.lock").read_bytes()).registry_packages
    attacker = Attacker(stage, app, network, crate.id, other, first)
    attacker.flip_a_byte()
    attacker.poison_the_cache()
    attacker.swap_a_checksum()
    attacker.replay()
    attacker.let_it_expire()
    attacker.forge_a_root()
    attacker.count_one_key_twice()
    attacker.invent_a_role()


@dataclass(frozen=True)
class Attacker:
    """Owns the network, and what else an attack names.

    Attributes:
        stage: Where the commands run.
        app: The program that is built.
        network: Between the build and the mirror.
        crate: The one that is attacked.
        other: Another one of the same lock.
        first: The mirror's first timestamp and snapshot, by URL path.
    """

    stage: Stage
    app: Path
    network: Wire
    crate: CrateId
    other: LockedPackage
    first: dict[str, bytes]

    def flip_a_byte(self) -> None:
        """Serve a tarball with one bit changed, to a machine that has nothing cached."""
        name = "a flipped byte in a served crate"
        self.stage.attack(name, f"the network changes one bit of {self.crate}, for a machine with an empty cache")
        newcomer = {"CARNET_HOME": str(self.stage.folder / "newcomer")}
        self.stage.run(f"carnet trust add {self.network.url} --root ceremony/1.root.json", more=newcomer)

        def tamper(path: str, status: int, body: bytes) -> tuple[int, bytes]:
            if paths.download_path(self.crate) not in path or not body:
                return status, body
            middle = len(body) // 2
            return status, body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]

        with self.network.tampering(tamper):
            self.stage.refuses(name, "cargo carnet build", r"has sha256", cwd=self.app, more=newcomer)

    def poison_the_cache(self) -> None:
        """Edit the unpacked source of an admitted crate: cargo itself never looks again."""
        name = "a crate poisoned in cargo's cache after it was admitted"
        sources = (self.stage.folder / "client").glob(f"cargo/*/home*/registry/src/*/{self.crate.stem}/src/lib.rs")
        victim = next(sources, None)
        if victim is None:
            raise DemoError(f"found no unpacked source of {self.crate}")
        self.stage.attack(name, f"somebody appends a line to {victim.relative_to(self.stage.folder)}")
        before, mode, folder = victim.read_bytes(), victim.stat().st_mode, victim.parent.stat().st_mode
        victim.parent.chmod(0o700)
        victim.chmod(0o600)
        victim.write_bytes(before + b"\npub fn innocent() {}\n")
        self.stage.refuses(name, "cargo carnet build", r"was changed after the crate was admitted", cwd=self.app)
        victim.write_bytes(before)
        victim.chmod(mode)
        victim.parent.chmod(folder)

    def swap_a_checksum(self) -> None:
        """Give a crate's index line the checksum of another crate."""
        name = "an index line with another one's checksum"
        self.stage.attack(name, f"the index file of {self.crate} says that its checksum is the one of {self.other.id}")
        target = f"/{paths.TARGETS_PREFIX}{paths.index_path(self.crate.name).rpartition('/')[0]}/"
        file = f".{self.crate.name.text.lower()}"

        checksum = (self.other.checksum or "").encode()

        def tamper(path: str, status: int, body: bytes) -> tuple[int, bytes]:
            if status == 200 and path.startswith(target) and path.endswith(file):
                return status, re.sub(rb'("cksum": ?")[0-9a-f]{64}', b"\\g<1>" + checksum, body)
            return status, body

        # Not the client: it has the index file already, and asks for none that it has.
        newcomer = {"CARNET_HOME": str(self.stage.folder / "second-newcomer")}
        self.stage.run(f"carnet trust add {self.network.url} --root ceremony/1.root.json", more=newcomer, most=6)
        with self.network.tampering(tamper):
            command = "carnet verify app/Cargo.lock"
            self.stage.refuses(name, command, r"sha256", more=newcomer)

    def replay(self) -> None:
        """Serve the first timestamp and snapshot, which the client has moved past; both are still valid."""
        name = "a replayed old timestamp and snapshot"
        self.stage.attack(name, "the network serves the mirror's first timestamp and snapshot; neither has expired yet")
        with self.network.tampering(instead(self.first)):
            self.stage.refuses(name, f"carnet verify {self.crate}", r"timestamp has version 1; version \d was seen")

    def let_it_expire(self) -> None:
        """Serve the newest timestamp, a day after it ended."""
        name = "an expired timestamp"
        self.stage.attack(name, "nobody signs for two days: the timestamp, properly signed, ended yesterday")
        online = Online(self.stage.folder, self.network)
        forged = online.timestamp(online.snapshot_file(), datetime.now(UTC) - timedelta(days=1))
        with self.network.tampering(instead({"/metadata/timestamp.json": forged})):
            self.stage.refuses(name, f"carnet verify {self.crate}", r"timestamp version \d+ expired")

    def forge_a_root(self) -> None:
        """Serve a next root that only one of the three holders signed."""
        name = "a root signed by one holder of two"
        self.stage.attack(name, "Carol alone makes a next root in which her own key is enough")
        folder = self.stage.folder / "coup"
        shutil.copytree(self.stage.folder / "ceremony", folder)
        self.stage.run("carnet root rotate coup --holder carol.pub --threshold 1 --new-root")
        believing = "--insecure-base-from-folder --sign-again"  # she made the folder herself, and signed another before
        self.stage.run(f"carnet root sign coup --key carol --yes --passphrase-file passphrase {believing}")
        forged = (folder / "2.root.json").read_bytes()
        with self.network.tampering(instead({"/metadata/2.root.json": forged})):
            self.stage.refuses(name, f"carnet verify {self.crate}", r"signed by 1 of its 3 keys")

    def count_one_key_twice(self) -> None:
        """Hand out a root that lists one key under two ids, for a threshold of two."""
        name = "one key listed twice for a threshold"
        self.stage.attack(name, "Carol lists her one key under two ids and signs twice: two signatures, one person")
        carol = open_key(self.stage.folder, "carol")
        twin = PublicKey.from_object(carol.public_key.to_object() | {"x-comment": "the same key, another id"})
        twice = RoleKeys((carol.public_key, twin), 2)
        signed = role_files.root(1, datetime.now(UTC) + role_files.ROOT_LIFE, dict.fromkeys(_TOP_LEVEL, twice))
        message = strictjson.canonical(signed)
        signature = carol.sign(message)
        both = [signature, type(signature)(twin.keyid, signature.sig)]
        (self.stage.folder / "forged-root.json").write_bytes(role_files.file_bytes(message, both))
        newcomer = {"CARNET_HOME": str(self.stage.folder / "another")}
        command = f"carnet trust add {self.network.url} --root forged-root.json"
        self.stage.refuses(name, command, r"one key under two ids", more=newcomer)

    def invent_a_role(self) -> None:
        """With the stolen online key, let an index bin delegate to a role that nobody appointed."""
        name = "a target role that the delegation does not name"
        self.stage.attack(name, "with the stolen online key, an index bin hands its crates to a role called `helper`")
        online = Online(self.stage.folder, self.network)
        files = online.bin_that_delegates(paths.index_path(self.crate.name), "helper")
        with self.network.tampering(instead(files)):
            command = f"carnet verify {self.crate}"
            self.stage.refuses(name, command, r"delegates, and must not", more=self.stage.victim())


_TOP_LEVEL = (paths.ROOT, paths.TIMESTAMP, paths.SNAPSHOT, paths.TARGETS)


def first_view(mirror: Path) -> dict[str, bytes]:
    """The timestamp and snapshot that a new mirror has published, by URL path: kept by somebody for later."""
    with Store.open(mirror) as store:
        names = ("metadata/timestamp.json", "metadata/1.snapshot.json")
        return {f"/{name}": store.read(name) or b"" for name in names}
