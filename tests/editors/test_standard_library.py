"""What an editor asks of the standard library is answered from the toolchain, without any crate of its lock."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.machines.gatebox import gate_box
from tests.support.machines.shim import ShimBox

from carnet.errors import ConfigError
from carnet_cli.commands.editors import standard_library
from carnet_gate.args import understand

pytestmark = pytest.mark.cargo

PACKAGES = {
    "core": "",
    "alloc": 'core = { path = "../core" }\n',
    "std": """core = { path = "../core" }
alloc-of = { path = "../alloc", package = "alloc" }
hashbrown = "0.16"
[dev-dependencies]
rand = "0.9"
[target."cfg(windows)".dependencies]
core-w = { path = "../core", package = "core" }
""",
}


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShimBox]:
    """A shim before a toolchain that has the standard library's sources, and whose rustc says so."""
    path = tmp_path_factory.mktemp("library")
    with gate_box(path) as box:
        library = path / "toolchain/lib/rustlib/src/rust/library"
        for name, depends in PACKAGES.items():
            (library / name / "src").mkdir(parents=True)
            (library / name / "src/lib.rs").touch()
            text = f'[package]\nname = "{name}"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\n{depends}'
            (library / name / "Cargo.toml").write_text(text)
        (library / "Cargo.toml").write_text('[workspace]\nresolver = "2"\nmembers = ["std"]\n')
        real = box.machine.run("sh", "-c", "command -v cargo").stdout.strip()
        programs = path / "toolchain/bin"
        programs.mkdir()
        for name, does in (("cargo", f'exec {real} "$@"'), ("rustc", f"echo {path}/toolchain")):
            (programs / name).write_text(f"#!/bin/sh\n{does}\n")
            (programs / name).chmod(0o755)
        one = ShimBox(box, path / "shim")
        made = box.machine.carnet("shim", str(one.folder), env={"PATH": f"{programs}:{box.machine.env()['PATH']}"})
        assert made.returncode == 0, made.stderr
        yield one


def asks(library: Path) -> tuple[str, ...]:
    return ("metadata", "--format-version", "1", "--manifest-path", str(library / "Cargo.toml"))


def test_its_own_packages_are_described_and_no_crate_of_its_lock(shim: ShimBox) -> None:
    library = shim.box.machine.path / "toolchain/lib/rustlib/src/rust/library"
    link = shim.box.machine.path / "linked"
    link.symlink_to(library)
    asked = len(shim.box.registry.requests)
    done = shim.call(*asks(link), cwd=library, env={"CARGO_RESOLVER_LOCKFILE_PATH": "/tmp/x/Cargo.lock"})
    assert done.returncode == 0, done.stderr
    assert "Admitted" not in done.stderr
    assert len(shim.box.registry.requests) == asked
    assert not (library / "Cargo.lock").exists()
    said = json.loads(done.stdout)
    names = {package["id"]: package["name"] for package in said["packages"]}
    assert sorted(names.values()) == ["alloc", "core", "std"]
    found = {names[node["id"]]: node for node in said["resolve"]["nodes"]}
    std = {(dep["name"], names[dep["pkg"]]) for dep in found["std"]["deps"]}
    assert std == {("core", "core"), ("alloc_of", "alloc"), ("core_w", "core")}
    assert [names[to] for to in found["alloc"]["dependencies"]] == ["core"]
    assert found["core"]["deps"] == []


@pytest.mark.parametrize("args", [("check",), ("tree",), ("metadata",)])
def test_whatever_else_is_asked_of_it_goes_through_the_gate(shim: ShimBox, args: tuple[str, ...]) -> None:
    """What compiles or lists it, and where no manifest is named, which an editor always does."""
    library = shim.box.machine.path / "toolchain/lib/rustlib/src/rust/library"
    cargo = str(shim.box.machine.path / "toolchain/bin/cargo")
    named = () if args == ("metadata",) else ("--manifest-path", str(library / "Cargo.toml"))
    found = understand([*args, *named])
    assert standard_library.own_manifest(found, cargo, library, shim.box.machine.env()) is None
    found = understand(asks(library))  # the positive control
    assert standard_library.own_manifest(found, cargo, library, shim.box.machine.env()) == library / "Cargo.toml"


@pytest.mark.parametrize("said", ["", "[]", "{}", '{"packages": [{}]}', "[" * 100_000, "no"])
def test_a_cargo_that_does_not_describe_it_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    def says(*_: Any) -> str:
        return said

    monkeypatch.setattr(standard_library, "_said", says)
    with pytest.raises(ConfigError, match="cargo does not describe"):
        standard_library.describe(tmp_path / "Cargo.toml", "/bin/cargo", [], {})
