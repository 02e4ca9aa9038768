"""A project's `carnet.lock`, changed by whoever sends a change: less is seen, and more can refuse and nothing else.

Each attack is a change to an honest file by which the same command line has just let the same lock in.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.crates.locks import locked
from tests.support.machines.command import Ran, carnet
from tests.support.registries.claimed import CLAIMED, claimed_mirror

pytestmark = pytest.mark.xdist_group("project-memory")  # one worker makes the mirror once

SECRET = "a line of a file that only this user may read"


class Project:
    """A project that depends on a claimed crate, checked out on a machine that trusts the mirror.

    Attributes:
        folder: The checkout.
        file: Its `carnet.lock`.
        honest: What that says on the main branch.
        main: The main branch's file, outside the checkout.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.folder.mkdir()
        (self.folder / "Cargo.lock").write_text(locked(CLAIMED))
        self.file, self.main = self.folder / "carnet.lock", folder / "main.lock"
        assert self.verify("--update-memory").status == 0
        self.honest = self.file.read_bytes()
        self.main.write_bytes(self.honest)

    def verify(self, *more: object) -> Ran:
        return carnet("verify", self.folder, *more)

    def change(self, line: int, **said: Any) -> None:
        """Say something else in a line of the file."""
        lines = self.honest.splitlines()
        lines[line] = json.dumps({**json.loads(lines[line]), **said}).encode()
        self.file.write_bytes(b"".join(one + b"\n" for one in lines))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("memory")
    (folder / "home").mkdir()
    with claimed_mirror(folder) as mirror, pytest.MonkeyPatch.context() as to:
        (folder / "root.json").write_bytes(mirror.root)
        to.setenv("HOME", str(folder / "home"))
        to.setenv("CARNET_HOME", str(folder / "carnet"))
        to.delenv("XDG_CONFIG_HOME", raising=False)
        assert carnet("trust", "add", mirror.url, "--root", folder / "root.json").status == 0
        yield Project(folder)


@pytest.fixture
def project(made: Project) -> Iterator[Project]:
    """With the honest file, by which the lock is let in."""
    for said in ((), ("--no-less-than", made.main)):
        assert made.verify(*said).status == 0, "without an attack"
    yield made
    if made.file.is_dir() and not made.file.is_symlink():
        made.file.rmdir()
    made.file.unlink(missing_ok=True)
    made.file.write_bytes(made.honest)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (5, {"level": "registry"}),
        (5, {"owner": 0}),
        (2, {"timestamp": {"version": 1, "signers": ["0" * 64]}}),
        (3, {"snapshot": {"version": 1, "signers": ["0" * 64]}}),
        (4, {"refreshed": "2020-01-01T00:00:00Z"}),
        (5, {"threshold": 1}),
    ],
)
def test_numbers_that_were_lowered(project: Project, line: int, said: dict[str, Any]) -> None:
    project.change(line, **said)
    done = project.verify("--no-less-than", project.main)
    assert done.status in (1, 2)
    assert len([one for one in done.err.splitlines() if one.startswith("error: ")]) == 1
    assert "carnet.lock" in done.err
    assert done.out == ""


@pytest.mark.parametrize(("line", "role"), [(2, "timestamp"), (3, "snapshot")])
def test_a_higher_number_by_keys_that_count_for_nothing(project: Project, line: int, role: str) -> None:
    """It says no less than the main branch's file, and would leave nothing of that line to hold a mirror against."""
    project.change(line, **{role: {"version": 2**53 - 1, "signers": ["0" * 64]}})
    done = project.verify("--no-less-than", project.main)
    assert (done.status, done.out) == (1, "")
    assert f"of {role} under this root, signed by keys that it does not name" in done.err
    assert "git log carnet.lock" in done.err


@pytest.mark.parametrize("kept", [0, 5])
def test_lines_that_were_taken_out(project: Project, kept: int) -> None:
    project.file.write_bytes(b"".join(project.honest.splitlines(keepends=True)[:kept]))
    done = project.verify("--no-less-than", project.main)
    assert done.status in (1, 2)
    assert project.verify().status == (0 if kept == 5 else 2), (
        "a file without its crates is one; nothing at all is none"
    )
    project.file.unlink()
    done = project.verify("--no-less-than", project.main)
    assert (done.status, "there is no carnet.lock" in done.err) == (1, True)


def test_the_memory_is_not_the_projects_own(project: Project) -> None:
    """The user's own memory does not go by what a project's file says less: it holds what was seen on this machine."""
    project.file.write_bytes(b"".join(project.honest.splitlines(keepends=True)[:5]))
    assert project.verify().status == 0
    assert project.verify("--update-memory").status == 0
    crates = [data.splitlines()[5:] for data in (project.file.read_bytes(), project.honest)]
    assert crates[0] == crates[1], "what is written again is all that was seen"


def test_another_repository(project: Project) -> None:
    """Told where it is allowed, refused where the user wants a memory; a project's own word loosens nothing."""
    lines = project.honest.splitlines()
    lines[0] = json.dumps({"carnet-lock": {"repository": "0" * 64, "version": 1}}).encode()
    lines[1] = json.dumps({"root": {"sha256": "1" * 64, "version": 1}}).encode()
    project.file.write_bytes(b"".join(one + b"\n" for one in lines))
    told = project.verify()
    assert (told.status, "is about another repository" in told.err) == (0, True)
    assert project.verify("--no-less-than", project.main).status == 2
    config = Path(os.environ["HOME"], ".config/carnet/carnet.toml")
    config.parent.mkdir(parents=True, mode=0o700)
    config.write_text('[rules]\nno-memory = "deny"\n')
    config.chmod(0o600)
    (project.folder / "carnet.toml").write_text('[rules]\nno-memory = "allow"\n')
    try:
        for _ in range(2):
            denied = project.verify()
            assert (denied.status, "[no-memory]" in denied.err) == (1, True)
            project.file.unlink(missing_ok=True)
    finally:
        config.unlink()
        (project.folder / "carnet.toml").unlink()


@pytest.mark.parametrize("version", [0, 1])
def test_other_owners(project: Project, version: int) -> None:
    """Whoever adds themselves to the owners, in this version or a later one, is let in nowhere."""
    known = json.loads(project.honest.splitlines()[5])
    owners = {**known["owners"], "e" * 64: "mallory"}
    project.change(5, owners=owners, owner=known["owner"] + version)
    for more in ((), ("--no-less-than", project.main), ("--update-memory",)):
        done = project.verify(*more)
        assert done.status in (1, 2)
        assert "carnet.lock" in done.err
    assert b"mallory" in project.file.read_bytes(), "nothing was written over what is refused"


def to_secret(file: Path) -> None:
    target = file.parent.parent / "secret"
    target.write_text(SECRET)
    file.symlink_to(target)


def to_honest(file: Path) -> None:
    """What it names can be changed where git does not look."""
    file.symlink_to(file.parent.parent / "main.lock")


def dangling(file: Path) -> None:
    file.symlink_to(file.parent / "nowhere")


def pipe(file: Path) -> None:
    os.mkfifo(file)


def folder(file: Path) -> None:
    file.mkdir()


@pytest.mark.parametrize("swap", [to_secret, to_honest, dangling, pipe, folder])
def test_something_else_in_its_place(project: Project, swap: Callable[[Path], None]) -> None:
    project.file.unlink()
    swap(project.file)
    before = project.main.read_bytes()
    for more in ((), ("--update-memory",)):
        done = project.verify(*more)
        assert done.status == 2, done
        assert "carnet.lock" in done.err
        assert SECRET not in done.err
    assert project.main.read_bytes() == before
