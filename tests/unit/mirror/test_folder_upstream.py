"""A folder in the form of cargo's local registries as an upstream: believed no more than a server."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import CARNET, MirrorDirectory, make_mirror, quiet

from carnet.cargo.asked import AskedFor
from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import line_from_crate
from carnet.cargo.lockfile import CRATES_IO, LockedPackage
from carnet.cargo.names import CrateId
from carnet.errors import ConfigError
from carnet.tuf.paths import index_prefix
from carnet_mirror.sync.closure import close
from carnet_mirror.sync.sync import SyncReport, sync
from carnet_mirror.upstream.folder import FolderUpstream


def _put(folder: Path, tarball: bytes, **changes: object) -> LockedPackage:
    """Add a crate to a local registry, with some fields of its index line changed."""
    crate = read_crate(tarball)
    file = folder / "index" / index_prefix(crate.id.name) / str(crate.id.name)
    file.parent.mkdir(parents=True, exist_ok=True)
    line = json.loads(line_from_crate(crate, pubtime=None).to_bytes()) | changes
    file.write_bytes((file.read_bytes() if file.exists() else b"") + json.dumps(line).encode() + b"\n")
    (folder / f"{crate.id.stem}.crate").write_bytes(tarball)
    return LockedPackage(crate.id, CRATES_IO, crate.sha256)


@pytest.fixture
def mirror(tmp_path: Path) -> MirrorDirectory:
    return make_mirror(tmp_path / "mirror")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "crates" / "index").mkdir(parents=True)
    return tmp_path / "crates"


def _sync(mirror: MirrorDirectory, folder: Path, *packages: LockedPackage) -> SyncReport:
    with mirror.open(write=True) as store:
        return sync(store, mirror.signer, FolderUpstream(folder), packages, now=mirror.now, progress=quiet)


def test_a_folder_is_closed_over_and_taken_from(mirror: MirrorDirectory, folder: Path) -> None:
    leaf = _put(folder, honest_crate("leaf"))
    branch = _put(folder, honest_crate("branch", extra='[dependencies]\nleaf = "0.1"\n'))
    with mirror.open() as store:
        closed = close(store, FolderUpstream(folder), [AskedFor.parse("branch"), AskedFor.parse("nowhere")])
    assert {package.id for package in closed.packages} == {leaf.id, branch.id}
    assert [(str(one.asked), one.decided) for one in closed.missing] == [("nowhere@*", True)]
    assert _sync(mirror, folder, *closed.packages).added == (branch.id, leaf.id)


def test_what_lies_in_it_is_believed_no_more_than_a_servers_word(mirror: MirrorDirectory, folder: Path) -> None:
    other_tarball = _put(folder, honest_crate("one"))
    (folder / "one-0.1.0.crate").write_bytes(honest_crate("one", source="pub fn other() {}\n"))
    other_line = _put(folder, honest_crate("two"), cksum="0" * 64)
    other_needs = _put(folder, honest_crate("three"), features={"evil": []})
    gone = _put(folder, honest_crate("four"))
    (folder / "four-0.1.0.crate").unlink()
    unlisted = _put(folder, honest_crate("five"))
    (folder / "index" / index_prefix(unlisted.id.name) / "five").unlink()
    good = _put(folder, honest_crate("good"))
    report = _sync(mirror, folder, other_tarball, other_line, other_needs, gone, unlisted, good)
    reasons = {str(one.crate.name): one.reason for one in report.refused}
    assert "the lock demands" in reasons["one"]
    assert "the upstream's index says sha256 000" in reasons["two"]
    assert "--let-in" in reasons["three"]
    assert reasons["four"] == "the folder has no four-0.1.0.crate"
    assert [(str(one.crate.name), one.reason) for one in report.waiting] == [
        ("five", "the folder has no index file of the crate")
    ]
    assert report.added == (good.id,)


def test_no_link_out_of_the_folder_is_followed_and_nothing_but_a_file_is_read(
    mirror: MirrorDirectory, folder: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    (outside / "index").mkdir(parents=True)
    linked = _put(outside, honest_crate("linked"))
    index = _put(folder, honest_crate("index-too"))
    pipe = CrateId.of("pipe", "0.1.0")
    (folder / "linked-0.1.0.crate").symlink_to(outside / "linked-0.1.0.crate")
    os.mkfifo(folder / "pipe-0.1.0.crate")
    file = folder / "index" / index_prefix(index.id.name) / "index-too"
    file.unlink()
    file.symlink_to("/etc/passwd")
    report = _sync(mirror, folder, linked, index, LockedPackage(pipe, CRATES_IO, None))
    assert (report.added, report.refused) == ((), ())
    reasons = {str(one.crate.name): one.reason for one in report.waiting}
    assert reasons.keys() == {"linked", "index-too", "pipe"}
    assert all("a link that leads out of the folder" in reasons[name] for name in ("linked", "index-too"))


def test_the_command_takes_a_path(mirror: MirrorDirectory, folder: Path, tmp_path: Path) -> None:
    _put(folder, honest_crate("leaf"))
    command = [*CARNET, "mirror", "sync", str(mirror.path), "leaf", "--dry-run", "--upstream", "crates"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("would add leaf@0.1.0\n")


def test_a_folder_that_is_no_registry_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no local registry: it has no folder index") as refused:
        FolderUpstream(tmp_path / "nothing")
    assert "sparse+https://host/index/" in refused.value.hint
