"""The hook of examples/ci, by `git commit`: what is staged is judged, in projects that mean harm as well."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.crates.locks import LEAF, locked
from tests.support.machines.cargo import Machine
from tests.support.machines.image import PROJECT
from tests.support.registries.claimed import CLAIMED, claimed_mirror
from tests.support.worlds.release import git

pytestmark = pytest.mark.xdist_group("pre-commit")  # one worker makes the mirror once

HOOK = PROJECT / "examples/ci/pre-commit"
NOBODYS = honest_crate("nobodys", "1.0.0")


class Checkout:
    """A repository with the hook, on the machine of somebody who trusts the mirror and has no terminal."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine, self.folder = machine, folder

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def update_memory(self) -> None:
        done = self.machine.carnet("verify", "--update-memory", cwd=self.folder)
        assert done.returncode == 0, done.stderr

    def commit(self, *files: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """`git add`, `git commit`, in a session of its own: nobody can be asked."""
        for file in files:
            git(self.folder, "add", "--all", "--", file)
        who = {f"GIT_{role}_{part}": "a@b.test" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
        return self.machine.run(
            *("setsid", "--wait", "git", "commit", "-q", "-m", "a change"), cwd=self.folder, env={**who, **variables}
        )

    def refuses(self, said: str, *files: str, **variables: str) -> None:
        head = git(self.folder, "rev-parse", "HEAD")
        done = self.commit(*files, **variables)
        assert done.returncode != 0, done
        assert said in done.stderr, done.stderr
        assert git(self.folder, "rev-parse", "HEAD") == head
        git(self.folder, "reset", "-q", "--hard")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """Its lock names a crate that nobody claims, and `carnet.lock` was written by that."""
    if shutil.which("setsid") is None:
        pytest.skip("setsid is not installed: a commit would have this terminal")
    folder = tmp_path_factory.mktemp("hook")
    with claimed_mirror(folder, LEAF) as mirror:
        machine = Machine(folder)
        machine.trust(mirror.root, mirror.url)
        one = Checkout(machine, folder / "template")
        one.write("Cargo.lock", locked(LEAF))
        one.update_memory()
        git(one.folder, "init", "-q", "-b", "main")
        shutil.copy(HOOK, one.folder / ".git/hooks/pre-commit")
        done = one.commit(".")
        assert done.returncode == 0, done.stderr
        yield one


@pytest.fixture
def checkout(template: Checkout, tmp_path: Path) -> Checkout:
    shutil.copytree(template.folder, tmp_path / "a project", symlinks=True)
    return Checkout(template.machine, tmp_path / "a project")


def test_a_lock_that_changed_and_a_memory_that_did_not(checkout: Checkout) -> None:
    checkout.write("Cargo.lock", locked(LEAF, CLAIMED))
    checkout.refuses(
        "carnet.lock does not know of all that Cargo.lock names: run `carnet verify --update-mem", "Cargo.lock"
    )
    checkout.write("Cargo.lock", locked(LEAF, CLAIMED))
    checkout.update_memory()
    done = checkout.commit("Cargo.lock", "carnet.lock")
    assert done.returncode == 0, done.stderr


def test_what_is_staged_counts_and_not_what_lies_there(checkout: Checkout) -> None:
    lock = checkout.write("Cargo.lock", locked(LEAF, NOBODYS))
    git(checkout.folder, "add", "Cargo.lock")
    lock.write_text(locked(LEAF))
    checkout.refuses("nobodys")
    lock.write_text(locked(LEAF, NOBODYS))
    checkout.write("main.rs", "fn main() {}\n")
    # What has nothing to do with a lock is committed, without a carnet even; what has, is not.
    nowhere = {"PATH": "/usr/bin:/bin"}
    assert checkout.commit("main.rs", **nowhere).returncode == 0
    checkout.refuses("there is no carnet on PATH", "Cargo.lock", **nowhere)


def test_a_memory_that_is_made_to_forget(checkout: Checkout) -> None:
    lines = [json.loads(line) for line in (checkout.folder / "carnet.lock").read_text().splitlines()]
    lines[2]["timestamp"]["version"] -= 1
    checkout.write("carnet.lock", "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    checkout.refuses("carnet.lock says less in its line 'timestamp'", "carnet.lock")
    (checkout.folder / "carnet.lock").unlink()
    checkout.refuses("there is no carnet.lock", "carnet.lock")


@pytest.mark.parametrize("name", ["Cargo.lock", "carnet.lock"])
def test_a_link_in_place_of_a_file(checkout: Checkout, name: str) -> None:
    kept = checkout.folder.parent / "kept"
    shutil.move(checkout.folder / name, kept)
    (checkout.folder / name).symlink_to(kept)
    checkout.refuses("is staged as a link", name)


def test_a_project_that_wants_something_run(checkout: Checkout) -> None:
    """A filter, programs of the names that the hook calls, cargo's configuration, and a name that is more than one."""
    ran = checkout.folder.parent / "ran"
    checkout.write(".gitattributes", "*.lock filter=evil diff=evil\n")
    for name in ("carnet", "git", "mktemp"):
        checkout.write(name, f"#!/bin/sh\ntouch '{ran}'\n").chmod(0o755)
    checkout.write(".cargo/config.toml", '[http]\nproxy = "http://127.0.0.1:9"\n')
    checkout.write("carnet.toml", '[rules]\nbanned = "allow"\n')
    checkout.write(" a member; touch ran/Cargo.lock", locked(LEAF))
    checkout.write("$(touch ran)/Cargo.lock", locked(LEAF))
    done = checkout.commit(".")
    assert done.returncode == 0, done.stderr
    checkout.write("two\nlines/Cargo.lock", locked(NOBODYS))
    checkout.refuses("a hook cannot read that name", ".")
    checkout.write(" a member; touch ran/Cargo.lock", locked(NOBODYS))
    checkout.refuses("nobodys", ".")
    assert not ran.exists()
    assert not list(checkout.folder.rglob("ran"))
