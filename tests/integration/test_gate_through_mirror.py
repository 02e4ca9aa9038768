"""`cargo carnet` through a real mirror process: the crates that are compiled came from there."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.cargo import Machine
from tests.support.machines.gatebox import BRANCH, LEAF, MAIN
from tests.support.registries.mirror_process import MirrorDirectory, quiet, running_mirror
from tests.support.registries.sparse import SparseRegistry, sparse_registry

from carnet.cargo.asked import AskedFor
from carnet_mirror.sync.closure import close
from carnet_mirror.sync.sync import sync
from carnet_mirror.upstream.sparse import SparseUpstream

pytestmark = pytest.mark.cargo

PLUS = honest_crate("plus", "0.1.0+build.7", source="pub fn n() {}\n")


def test_the_mirrors_log_shows_the_crates_that_were_compiled(tmp_path: Path) -> None:
    with running_mirror(tmp_path / "mirror", [LEAF, BRANCH, PLUS]) as mirror:
        machine = Machine(tmp_path / "user")
        machine.path.mkdir()
        machine.trust(mirror.root, mirror.url)
        project = machine.project(dependencies={"branch": '"0.2"', "plus": '"0.1"'}, main=MAIN)
        done = machine.cargo_carnet("run", cwd=project)
        assert done.returncode == 0, done.stderr
        assert "answer 42" in done.stdout
        fetched = [line.split()[1] for line in mirror.requests() if "/download" in line]
        assert sorted(path.rsplit("/", 3)[1] for path in fetched) == ["branch", "leaf", "plus"]
        mirror.directory.add(honest_crate("leaf", "1.2.0", source="pub fn n() -> u32 { 50 }\n"))
        updated = machine.cargo_carnet("update", cwd=project)
        assert "v1.0.0 -> v1.2.0" in updated.stderr
        assert "answer 52" in machine.cargo_carnet("run", cwd=project).stdout
        verified = machine.carnet("verify", str(project / "Cargo.lock"))
        assert verified.returncode == 0, verified.stderr


def operator_types(sentence: str, mirror: MirrorDirectory, upstream: SparseRegistry) -> list[str]:
    """What the mirror takes from upstream, when its operator types what a user was told to send."""
    *command, folder, first = (words := shlex.split(sentence))[:5]
    assert (command, folder) == (["carnet", "mirror", "sync"], "DIR"), first
    source = SparseUpstream(upstream.index_url)
    with mirror.open(write=True) as store:
        found = close(store, source, [AskedFor.parse(word) for word in words[4:]])
        assert not found.missing
        report = sync(store, mirror.signer, source, found.packages, now=mirror.now, progress=quiet)
    return [str(crate) for crate in report.added]


def test_what_an_empty_mirror_lacks_comes_by_the_sentence_that_its_operator_is_sent(tmp_path: Path) -> None:
    """One sentence is enough: it brings what the crate depends on as well, in one publish."""
    with running_mirror(tmp_path / "mirror") as mirror, sparse_registry() as upstream:
        for tarball in (LEAF, BRANCH, honest_crate("unasked")):
            upstream.add(tarball)
        machine = Machine(tmp_path / "user")
        machine.path.mkdir()
        machine.trust(mirror.root, mirror.url)
        project = machine.project(main=MAIN)
        refused = machine.cargo_carnet("add", "branch@0.2", cwd=project)
        assert refused.returncode == 101
        assert "     Missing branch@^0.2: the mirror has none\n" in refused.stderr
        (hint,) = [line for line in refused.stderr.splitlines() if line.startswith("hint: ")]
        added = operator_types(hint.split("`")[1], mirror.directory, upstream)
        assert added == ["branch@0.2.0", "leaf@1.0.0"]
        again = machine.cargo_carnet("add", "branch@0.2", cwd=project)
        assert again.returncode == 0, again.stderr
        assert "Missing" not in again.stderr
        done = machine.cargo_carnet("run", cwd=project)
        assert "answer 42" in done.stdout, done.stderr
