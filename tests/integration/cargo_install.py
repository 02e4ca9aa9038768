"""`cargo carnet install` with real cargo: what is resolved anew, what the program's own lock pins, where it goes.

`make commands` runs it; what an attacker tries is in `tests/attacks/test_program_that_is_installed.py`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.machines.cargo import Machine
from tests.support.machines.gatebox import NEWER_LEAF, GateBox, gate_box
from tests.support.machines.program import SOURCE, tool

pytestmark = pytest.mark.cargo


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GateBox]:
    with gate_box(tmp_path_factory.mktemp("install"), NEWER_LEAF, tool(), tool("1.1.0")) as one:
        yield one


def says(box: GateBox, root: Path | None = None) -> str:
    return box.machine.run(str((root or box.machine.cargo_home) / "bin/tool")).stdout


def test_a_program_is_resolved_anew_or_by_its_own_lock_and_goes_where_cargo_puts_it(box: GateBox) -> None:
    """In the user's CARGO_HOME, that is, and not in the gate's; and from a folder that is no project."""
    said = box.works("install", "tool", cwd=box.machine.path)
    assert said.index("Admitted 3 crates") < said.index("Compiling leaf v1.1.0") < said.index("Installed package")
    assert says(box) == "tool 43\n"
    again = box.works("install", "tool", cwd=box.machine.path)
    assert "`tool v1.1.0` is already installed" in again
    assert "Compiling" not in again
    locked = box.works("install", "--locked", "-fq", "--features", "leaf", "tool@1.0.0", cwd=box.machine.path)
    assert locked == ""
    assert says(box) == "tool 42\n"
    listed = box.machine.run("cargo", "install", "--list").stdout
    assert listed == "tool v1.0.0:\n    tool\n"  # as from crates.io, and of no other source
    assert box.machine.run("cargo", "uninstall", "tool").returncode == 0
    assert not (box.machine.cargo_home / "bin/tool").exists()
    assert not list((box.machine.carnet_home / "cargo").glob("*-install-*"))


def test_a_program_in_a_folder_is_compiled_by_the_lock_there(box: GateBox) -> None:
    root = box.machine.path / "root"
    (box.machine.cargo_home / "config.toml").write_text('[install]\nroot = "from-configuration"\n')
    said = box.works("install", "--path", str(box.project), "--root", str(root), "--debug", cwd=box.machine.path)
    assert "Admitted 2 crates" in said
    assert box.machine.run(str(root / "bin/app")).stdout == "answer 42\n"
    box.works("install", "--path", ".", "--debug")
    assert (box.machine.home / "from-configuration/bin/app").exists()
    (box.machine.cargo_home / "config.toml").unlink()
    box.works("install", "--path", ".", "--debug", env={"CARGO_INSTALL_ROOT": "by-variable"})
    assert (box.project / "by-variable/bin/app").exists()


def test_a_program_of_a_git_repository_is_judged_as_git_packages_are(box: GateBox, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    (repository / "src").mkdir(parents=True)
    (repository / "src/main.rs").write_bytes(SOURCE)
    (repository / "Cargo.toml").write_text(
        '[package]\nname = "tool"\nversion = "3.0.0"\nedition = "2021"\n[dependencies]\nbranch = "0.2"\n'
    )
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=trunk")
    for command in (("init", "-q"), ("add", "."), ("commit", "-qm", "first")):
        subprocess.run([*git, *command], cwd=repository, check=True)
    url = repository.as_uri()
    flags = ("--git", url, "--branch", "trunk", "--root", str(tmp_path / "root"), "--debug")
    assert "comes from git" in box.refused("install", *flags, "tool")
    assert not (tmp_path / "root/bin").exists()
    assert "cannot be read before it is fetched" in box.refused("install", *flags, "tool", "--locked", status=2)
    assert "has to be told what" in box.refused("install", *flags, status=2)
    box.machine.configure('[rules]\ngit = "warn"\n')
    try:
        box.works("install", *flags, "tool")
    finally:
        box.machine.configure("")
    assert says(box, tmp_path / "root") == "tool 43\n"
    listed = box.machine.run("cargo", "install", "--list", "--root", str(tmp_path / "root")).stdout
    assert listed.startswith(f"tool v3.0.0 ({url}?rev=")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "has to be told what"),
        (["tool@1.0"], "'1.0' is neither a whole version nor a requirement"),
        (["./tool"], "is not a crate name"),
        (["absent"], "cargo could not resolve"),
        (["tool", "--version", "9.9.9"], "cargo could not resolve"),
        (["--path", "absent"], "absent"),
        (["-qp", "x"], "an option cannot be understood"),
    ],
)
def test_what_cannot_be_installed(box: GateBox, args: list[str], said: str) -> None:
    assert said in box.refused("install", *args, status=2)


def test_what_another_project_was_once_let_have_is_not_seen(box: GateBox) -> None:
    """The kept tarball of a crate decides nothing: cargo sees those that were admitted for this program."""
    box.works("update")
    box.works("fetch")
    assert (box.machine.registry / "leaf-1.1.0.crate").exists()
    box.machine.configure('[[ban]]\ncrates = "leaf@1.1.0"\nreason = "stolen"\n')
    try:
        box.works("install", "tool@1.0.0", "--debug", "--force")
    finally:
        box.machine.configure("")
    assert says(box) == "tool 42\n"


def test_flags_that_a_program_cannot_be_installed_with(box: GateBox) -> None:
    for flag in ("--index=https://example.com", "--registry=corp", "--no-track"):
        assert f"is refused with {flag.partition('=')[0]}" in box.refused("install", "tool", flag)


@pytest.mark.network
@pytest.mark.parametrize("name", ["shellharden", "tac"])
def test_a_real_program_anew_and_by_its_own_lock(box: GateBox, tmp_path: Path, name: str) -> None:
    """Small ones of the public registry: the first needs no crate, the second brings a lock of 2019."""
    plain = Machine(tmp_path / "plain")
    wanted = plain.project("wanted", {name: '"*"'}, extra="[workspace]\n")
    assert plain.run("cargo", "fetch", cwd=wanted).returncode == 0
    (unpacked,) = plain.cargo_home.glob(f"registry/src/*/{name}-[0-9]*")
    manifest = ("--manifest-path", str(unpacked / "Cargo.toml"))
    assert plain.run("cargo", "fetch", "--locked", *manifest).returncode == 0
    box.registry.add(*(file.read_bytes() for file in plain.cargo_home.glob("registry/cache/*/*.crate")))
    box.works("install", name, "--debug")
    box.works("install", name, "--debug", "--locked", "--force")
    assert (box.machine.cargo_home / "bin" / name).exists()
