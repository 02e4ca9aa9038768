"""The attacks on a claimed crate by those who hold the registry, and by a repository that would run something.

The registry's online keys sign its index; its offline holders say who owns a crate. Neither speaks for the owners.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import IndexFile, IndexLine, line_from_crate
from carnet.cargo.names import CrateId
from carnet.strictjson import JsonObject
from carnet_cli.commands.registry.online_signer import OnlineSettings
from carnet_mirror.state.store import Store
from carnet_signer.steps.packaging import find_toolchain
from examples import releases
from examples.releases import CRATE, UNLOCK
from examples.stage import DemoError, Stage
from examples.thief import Online, instead
from examples.wire import Wire

RELEASED = CrateId.of(CRATE, "0.1.0")
INVENTED = CrateId.of(CRATE, "0.2.0")


def play(stage: Stage, network: Wire) -> None:
    """Try them all."""
    holder = Holder(stage, network)
    holder.add_a_dependency()
    holder.publish_a_version()
    holder.yank()
    holder.take_over()
    trap(stage)


@dataclass(frozen=True)
class Holder:
    """Somebody with keys of the registry, and with the network.

    Attributes:
        stage: Where the commands run.
        network: Between a client and the mirror.
    """

    stage: Stage
    network: Wire

    def add_a_dependency(self) -> None:
        """Re-sign the index with one more dependency of the library: cargo never compares it with the manifest."""
        name = "stolen online keys add a dependency to a line of the library"
        self.stage.attack(
            name, "the thief signs an index file, bin, snapshot and timestamp in which it needs a crate `evil`"
        )

        def edit(index: IndexFile) -> Iterable[IndexLine]:
            evil: JsonObject = {"name": "evil", "req": "^1", "features": [], "optional": False}
            evil |= {"default_features": True, "target": None, "kind": "normal"}
            return [IndexLine.from_object({**line.raw, "deps": [evil]}) for line in index.lines]

        with self.network.tampering(instead(self._online().index_file(RELEASED.name, edit))):
            reason = r"not the one that its maintainers signed"
            self.stage.refuses(name, f"carnet verify {RELEASED}", reason, more=self.stage.victim())

    def publish_a_version(self) -> None:
        """Sign an index with a version that the maintainers have not released."""
        name = "stolen online keys publish a new version of the library"
        self.stage.attack(name, f"the thief lists {INVENTED}, which the maintainers have built and not released")
        folder = self.stage.folder / releases.links_folder(str(INVENTED.version))
        line = line_from_crate(read_crate((folder / f"{INVENTED.stem}.crate").read_bytes()), pubtime=None)
        files = self._online().index_file(RELEASED.name, lambda index: [*index.lines, line])
        with self.network.tampering(instead(files)):
            reason = r"the registry alone lists it"
            self.stage.refuses(name, f"carnet verify {INVENTED}", reason, more=self.stage.victim())

    def yank(self) -> None:
        """Sign an index in which the good version is yanked, to push people to another one."""
        name = "stolen online keys yank the good version of the library"
        self.stage.attack(name, f"the thief marks {RELEASED} as yanked: cargo would choose it for no new lock")
        newcomer = self.stage.folder / "newcomers-program"
        (newcomer / "src").mkdir(parents=True)
        (newcomer / "src" / "main.rs").write_text("fn main() {}\n")
        (newcomer / "Cargo.toml").write_text('[package]\nname = "newcomer"\nversion = "0.1.0"\nedition = "2021"\n')
        files = self._online().index_file(RELEASED.name, lambda index: [one.with_(yanked=True) for one in index.lines])
        victim = self.stage.victim()
        with self.network.tampering(instead(files)):
            self.stage.withstands(
                name, f"carnet verify {RELEASED}", r"yanked by the registry, and not by its maintainers", more=victim
            )
            added = self.stage.run(f"cargo carnet add {CRATE}", cwd=newcomer, more=victim)
        if f"Adding {CRATE} v{RELEASED.version}" not in added:
            raise DemoError(f"{name}: cargo did not get the maintainers' word")

    def take_over(self) -> None:
        """Replace the owners with the keys of the registry's holders, on a copy of the mirror."""
        name = "an owner replaced without the owners"
        self.stage.attack(
            name, "Alice and Bob, who hold the registry, make Mallory the only owner; the owners do not sign"
        )
        self.stage.run(f"carnet key generate mallory {UNLOCK}")
        self.stage.run(
            f"carnet claim handover {CRATE} -o takeover --takeover --owner mallory=mallory.pub --owners-threshold 1 "
            "--evidence 'the owners do not answer'",
            more=self.stage.victim(),
        )
        for key in ("mallory", "alice", "bob"):
            self.stage.run(f"carnet claim sign takeover --key {key} --yes {UNLOCK}", most=8)
        self.stage.say(
            "they publish it on a copy of the mirror; no mirror can stop those who hold its keys, so clients must"
        )
        self._seize()
        honest = self.network.mirror
        with self.stage.serving(f"carnet mirror serve seized --port 0 {UNLOCK}") as seized:
            self.stage.run(f"carnet claim submit takeover --mirror {seized}")
            self.network.mirror = seized
            try:
                reason = r"replaced the owners of \S+ without their signatures"
                self.stage.refuses(name, f"carnet verify {RELEASED}", reason, more=self.stage.victim())
            finally:
                self.network.mirror = honest

    def _online(self) -> Online:
        return Online(self.stage.folder, self.network)

    def _seize(self) -> None:
        """Copy the mirror, its key, and the memory of its signer, which one process at a time owns."""
        seized = self.stage.folder / "seized"
        shutil.copytree(self.stage.folder / "mirror", seized, ignore=shutil.ignore_patterns("*.sock"))
        shutil.copy(self.stage.folder / "online", seized / "online")
        shutil.copytree(self.stage.folder / "online.memory", seized / "online.memory")
        with Store.open(seized, write=True) as store, store.change():
            OnlineSettings(str(seized / "online"), seized / "online.memory").remember(store)


# --- a repository that means harm ---

_CONFIG = """[build]
rustc-wrapper = "tools/wrapper.sh"
[registry]
global-credential-providers = ["tools/wrapper.sh"]
"""
_SCRIPT = """#!/bin/sh
touch "{mark}"
exec {then} "$@"
"""


def trap(stage: Stage) -> None:
    """Package a repository that names programs of its own for cargo to run."""
    name = "a repository that tries to run something while it is packaged"
    stage.attack(name, "a contribution brings .cargo/config.toml, rust-toolchain.toml and the programs that they name")
    marks = [stage.folder / "config-ran", stage.folder / "toolchain-ran"]
    tools = find_toolchain().cargo.parent
    releases.git(stage, "checkout --quiet -b contribution")
    library = stage.folder / "library"
    _write(library / ".cargo" / "config.toml", _CONFIG)
    _write(library / "tools" / "wrapper.sh", _SCRIPT.format(mark=marks[0], then=""), mode=0o755)
    _write(library / "rust-toolchain.toml", f'[toolchain]\npath = "{library}/tools/toolchain"\n')
    for program in ("cargo", "rustc"):
        script = _SCRIPT.format(mark=marks[1], then=tools / program)
        _write(library / "tools" / "toolchain" / "bin" / program, script, mode=0o755)
    releases.commit(stage, "0.3.0")
    releases.git(stage, "clone --quiet . ../bitten")
    stage.say("the trap works: plain cargo, in a clone, runs what the repository says")
    stage.run("cargo check --quiet --offline", cwd=stage.folder / "bitten")
    ran = [mark.name for mark in marks if mark.exists()]
    if marks[0].name not in ran:
        raise DemoError(f"{name}: the trap does nothing, so the attack would prove nothing")
    stage.say(f"it made {' and '.join(ran)}; they are taken away, and a maintainer and a packager fall for it:")
    for mark in marks:
        mark.unlink(missing_ok=True)
    common = f"--source library -o links-trap {UNLOCK}"
    stage.run(f"carnet record tag --revision v0.3.0 --key rita {common}")
    stage.withstands(name, f"carnet record package --key packager {common}", r"signed step package")
    if any(mark.exists() for mark in marks):
        raise DemoError(f"{name}: it ran")
    stage.say("nothing of it ran: neither file is there again; in the tarball its programs are plain files")


def _write(place: Path, text: str, mode: int = 0o644) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    place.chmod(mode)
