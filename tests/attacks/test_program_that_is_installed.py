"""A program that `cargo install` takes: its own lock, its build script, and the folder that it is installed into.

Each has a control in which the same program, or the same crate, is let in.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.gatebox import NEWER_LEAF, GateBox, gate_box
from tests.support.machines.program import lock_of_tool, tool

from carnet.errors import PolicyRefused
from carnet_gate.args import parse
from carnet_gate.confinement.protection import WRITABLE, Means, Protection, confinement
from carnet_gate.without_lock import installing

pytestmark = pytest.mark.cargo

WORM = b"""fn main() {
    let own = std::path::PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap());
    let leaf = own.parent().unwrap().join("leaf-1.0.0");
    std::process::Command::new("chmod").arg("-R").arg("u+w").arg(&leaf).status().unwrap();
    std::fs::write(leaf.join("src/lib.rs"), "pub fn n() -> u32 { 666 }\\n").unwrap();
}
"""
CHANGES = tool("2.0.0", files={"build.rs": WORM})
WORSE = honest_crate("worse", "1.0.0")
TESTS = tool("4.0.0", lock=lock_of_tool("4.0.0", tested_with=WORSE), extra='[dev-dependencies]\nworse = "1"\n')
LIES = tool("3.0.0", lock=lock_of_tool("3.0.0", leaf="0" * 64))


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GateBox]:
    with gate_box(tmp_path_factory.mktemp("program"), NEWER_LEAF, CHANGES, LIES, TESTS, WORSE) as one:
        yield one


@pytest.fixture(autouse=True)
def _no_policy(box: GateBox) -> Iterator[None]:
    yield
    box.machine.configure("")


def installed(box: GateBox) -> list[str]:
    folder = box.machine.cargo_home / "bin"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_lock_that_names_a_banned_crate(box: GateBox) -> None:
    """Be it one that only the program's tests need: it is in the lock that somebody vouches for by installing it."""
    box.works("install", "tool@4.0.0", "--locked", "--debug")  # the control
    assert box.machine.run(str(box.machine.cargo_home / "bin/tool")).stdout == "tool 42\n"
    for name in ("worse", "leaf"):
        box.machine.configure(f'[[ban]]\ncrates = "{name}@1.0.0"\nreason = "stolen"\n')
        stderr = box.refused("install", "tool@4.0.0", "--locked", "--force")
        assert f"{name}@1.0.0 is banned by the policy: stolen" in stderr
        assert "Replac" not in stderr


def test_a_lock_that_names_other_bytes(box: GateBox) -> None:
    before = installed(box)
    assert "leaf@1.0.0 has checksum 0000" in box.refused("install", "tool@3.0.0", "--locked", "--force")
    assert installed(box) == before


def test_a_build_script_that_changes_a_source_is_told_and_nothing_stays_installed(box: GateBox, tmp_path: Path) -> None:
    """Without a protection; with one it fails by itself."""
    flags = ("install", "tool@2.0.0", "--debug", "--locked", "--root", str(tmp_path))
    done = box.cargo(*flags, env={WRITABLE: "1"})
    assert "Installed package `tool v2.0.0`" in done.stderr  # the control: for a moment it was
    assert done.returncode == 1
    assert "was changed while cargo ran" in done.stderr
    assert not (tmp_path / "bin/tool").exists()
    assert not list((box.machine.carnet_home / "cargo").glob("*-install-*"))


def test_a_folder_in_carnets_home_is_not_installed_into(box: GateBox) -> None:
    home = box.machine.carnet_home
    (box.project / ".cargo").mkdir()
    (box.project / ".cargo/config.toml").write_text(f'[install]\nroot = "{home}/marks"\n')
    assert "are not apart" in box.refused("install", "--path", ".", status=2)
    (box.project / ".cargo/config.toml").unlink()
    (box.project / "link").symlink_to(home)
    assert "are not apart" in box.refused("install", "tool", "--root", "link/bin", status=2)


def test_the_folder_that_it_is_typed_in_redirects_nothing(box: GateBox, tmp_path: Path) -> None:
    """Of a program that is no project's, cargo reads none of that; what is named by `--path` it does."""
    variables, home = box.machine.env(), box.machine.cargo_home
    (tmp_path / ".cargo").mkdir()
    (tmp_path / ".cargo/config.toml").write_text('[source.crates-io]\nreplace-with = "x"\n')

    def opened(*args: str, folder: Path) -> None:
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        confine = partial(confinement, Protection(Means.NONE, "nothing"), box.machine.carnet_home)
        (invocation,) = installing.programs(parse(["install", *args]))
        installing.open_program(invocation, folder, home, variables, confine, scratch=scratch)

    for args, folder in ((["tool"], tmp_path), (["--path", str(tmp_path)], box.machine.path)):
        with pytest.raises(PolicyRefused, match="sets `source`"):
            opened(*args, folder=folder)
