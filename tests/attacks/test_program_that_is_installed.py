"""A program that `cargo install` takes: its own lock, its build script, and the folder that it is installed into.

Each has a control in which the same program, or the same crate, is let in.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.machines.gatebox import NEWER_LEAF, GateBox, gate_box
from tests.support.machines.program import lock_of_tool, tool

from carnet_gate.confinement.protection import WRITABLE

pytestmark = pytest.mark.cargo

WORM = b"""fn main() {
    let own = std::path::PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap());
    let leaf = own.parent().unwrap().join("leaf-1.0.0");
    std::process::Command::new("chmod").arg("-R").arg("u+w").arg(&leaf).status().unwrap();
    std::fs::write(leaf.join("src/lib.rs"), "pub fn n() -> u32 { 666 }\\n").unwrap();
}
"""
CHANGES = tool("2.0.0", files={"build.rs": WORM})
LIES = tool("3.0.0", lock=lock_of_tool("3.0.0", leaf="0" * 64))


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GateBox]:
    with gate_box(tmp_path_factory.mktemp("program"), NEWER_LEAF, tool(), CHANGES, LIES) as one:
        yield one


@pytest.fixture(autouse=True)
def _no_policy(box: GateBox) -> Iterator[None]:
    yield
    box.machine.configure("")


def installed(box: GateBox) -> list[str]:
    folder = box.machine.cargo_home / "bin"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_lock_that_names_a_banned_crate(box: GateBox) -> None:
    box.machine.configure('[[ban]]\ncrates = "leaf@1.0.0"\nreason = "stolen"\n')
    stderr = box.refused("install", "tool@1.0.0", "--locked")
    assert "leaf@1.0.0 is banned by the policy: stolen" in stderr
    assert installed(box) == []
    box.works("install", "tool@1.0.0", "--debug")  # the control: resolved anew, it needs another one
    assert box.machine.run(str(box.machine.cargo_home / "bin/tool")).stdout == "tool 43\n"


def test_a_lock_that_names_other_bytes(box: GateBox) -> None:
    before = installed(box)
    assert "leaf@1.0.0 has checksum 0000" in box.refused("install", "tool@3.0.0", "--locked", "--force")
    assert installed(box) == before


def test_what_another_project_was_once_let_have_is_not_seen(box: GateBox) -> None:
    """The kept tarball of a crate decides nothing: cargo sees those that were admitted for this program."""
    box.works("update")
    box.works("fetch")
    assert (box.machine.registry / "leaf-1.1.0.crate").exists()
    box.machine.configure('[[ban]]\ncrates = "leaf@1.1.0"\nreason = "stolen"\n')
    box.works("install", "tool@1.0.0", "--debug", "--force")
    assert box.machine.run(str(box.machine.cargo_home / "bin/tool")).stdout == "tool 42\n"


def test_a_build_script_that_changes_a_source_is_told_and_nothing_stays_installed(box: GateBox, tmp_path: Path) -> None:
    """Without a protection; with one it fails by itself."""
    flags = ("install", "tool@2.0.0", "--debug", "--locked", "--root", str(tmp_path))
    done = box.cargo(*flags, env={WRITABLE: "1"})
    assert "Installed package `tool v2.0.0`" in done.stderr  # the control: for a moment it was
    assert done.returncode == 1
    assert "was changed while cargo ran" in done.stderr
    assert not (tmp_path / "bin/tool").exists()
    assert not list((box.machine.carnet_home / "cargo").glob("*-install-*"))
    box.works("fetch")  # and no other project has to do with what it changed


def test_a_folder_in_carnets_home_is_not_installed_into(box: GateBox) -> None:
    home = box.machine.carnet_home
    (box.project / ".cargo").mkdir()
    (box.project / ".cargo/config.toml").write_text(f'[install]\nroot = "{home}/marks"\n')
    assert "are not apart" in box.refused("install", "--path", ".", status=2)
    assert "are not apart" in box.refused("install", "tool", "--root", str(home), status=2)
    assert "are not apart" in box.refused("install", "tool", status=2, env={"CARGO_INSTALL_ROOT": str(home / "x")})
    (box.project / "link").symlink_to(home)
    assert "are not apart" in box.refused("install", "tool", "--root", "link/bin", status=2)
    (box.project / ".cargo/config.toml").unlink()


def test_another_registry_and_untracked_programs_are_refused(box: GateBox) -> None:
    for flag in ("--index=https://example.com", "--registry=corp", "--no-track"):
        assert f"is refused with {flag.partition('=')[0]}" in box.refused("install", "tool", flag)


def test_the_folder_that_it_is_typed_in_redirects_nothing(box: GateBox, tmp_path: Path) -> None:
    (tmp_path / ".cargo").mkdir()
    (tmp_path / ".cargo/config.toml").write_text('[source.crates-io]\nreplace-with = "x"\n')
    assert "sets `source`" in box.refused("install", "tool", cwd=tmp_path)
    assert "sets `source`" in box.refused("info", "leaf", cwd=tmp_path)
    assert "sets `source`" in box.refused("search", "leaf", cwd=tmp_path)
    assert "sets `source`" in box.refused("install", "--path", str(tmp_path), cwd=box.machine.path)
