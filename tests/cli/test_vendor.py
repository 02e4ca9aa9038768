"""`carnet vendor`: a folder as cargo itself would write it, replaced as a whole; plain cargo builds from it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.crates.archives import TarballBuilder, honest_crate
from tests.support.machines.cargo import Machine
from tests.support.machines.command import Ran, carnet, done, refused
from tests.support.machines.on_disk import set_environment
from tests.support.registries.signed import SignedRegistry

from carnet.cargo.crate import read_crate
from carnet_verifier.cargo import vendoring, whole_folder

CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"
MARK = ".carnet-vendor.json"


def odd(name: str, version: str) -> bytes:
    """A library with everything that cargo treats in a way of its own when it vendors."""
    builder = TarballBuilder(name, version).manifest().file("src/lib.rs", "pub fn n() -> u32 { 40 }\n")
    builder.file("run.sh", "#!/bin/sh\n", executable=True)
    for path in (".gitignore", "sub/.gitignore", ".gitattributes", "Cargo.toml.orig", "a.orig", "sub/b.rej", "é.txt"):
        builder.file(path, "[package]\n" if path == "Cargo.toml.orig" else "x\n")
    return builder.build()


LEAF, OLD_LEAF, NEW_LEAF = odd("leaf", "1.0.0"), odd("leaf", "0.9.0"), odd("leaf", "1.0.1")
BRANCH = honest_crate(
    "branch",
    "0.2.0",
    source="pub fn n() -> u32 { leaf::n() + 2 }\n",
    extra='[dependencies]\nleaf = "1"\nold = { package = "leaf", version = "0.9" }\n',
)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    registry = SignedRegistry()
    registry.add(LEAF, OLD_LEAF, NEW_LEAF, BRANCH)
    with registry.serving():
        one = Machine(tmp_path_factory.mktemp("machine"))
        with pytest.MonkeyPatch.context() as patch:
            set_environment(patch, one)
            (one.path / "root.json").write_bytes(registry.root)
            done("trust", "add", registry.url, "--root", one.path / "root.json")
        yield one


def lock_of(*tarballs: bytes, more: str = "") -> str:
    text = 'version = 4\n\n[[package]]\nname = "app"\nversion = "0.0.0"\ndependencies = ["branch"]\n'
    for crate in map(read_crate, tarballs):
        text += f'\n[[package]]\nname = "{crate.id.name}"\nversion = "{crate.id.version}"\n'
        text += f'source = "{CRATES_IO}"\nchecksum = "{crate.sha256}"\n'
        if crate.id.name.text == "branch":
            text += 'dependencies = ["leaf 0.9.0", "leaf 1.0.0"]\n'
    return text + more


@pytest.fixture
def project(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    set_environment(monkeypatch, machine)
    old = os.umask(0o022)
    path = Machine(tmp_path).project(
        dependencies={"branch": '"0.2"'}, main='fn main() { println!("{}", branch::n()) }\n'
    )
    (path / "Cargo.lock").write_text(lock_of(BRANCH, OLD_LEAF, LEAF))
    monkeypatch.chdir(path)
    yield path
    os.umask(old)


def tree(folder: Path) -> dict[str, tuple[int, bytes | None]]:
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else None)
        for path in folder.rglob("*")
        if path.name != MARK
    }


def inodes(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def cargo(machine: Machine, project: Path, *arguments: str, config: str) -> subprocess.CompletedProcess[str]:
    """Plain cargo, with the lines that were printed."""
    file = project / ".cargo/config.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(config)
    return machine.run("cargo", *arguments, cwd=project, env={"CARGO_HOME": str(project / "cargo-home")})


@pytest.mark.cargo
def test_it_is_what_cargo_writes_and_plain_cargo_builds_from_it(machine: Machine, project: Path) -> None:
    local = done("vendor", "--local-registry", "registry")
    assert 'local-registry = "registry"' in local.out
    theirs = cargo(machine, project, "vendor", "--locked", "--respect-source-config", "theirs", config=local.out)
    assert theirs.returncode == 0, theirs.stderr
    built = cargo(machine, project, "run", "--locked", "--offline", config=local.out)
    assert built.stdout == "42\n", built.stderr
    ours = done("vendor", "vendor")
    assert ours.out == theirs.stdout.replace("theirs", "vendor")
    assert tree(project / "vendor") == tree(project / "theirs")
    assert {path.name for path in (project / "vendor").iterdir()} == {MARK, "branch", "leaf", "leaf-0.9.0"}
    assert (project / "vendor/leaf/run.sh").stat().st_mode & 0o111
    shutil.rmtree(project / "target")
    built = cargo(machine, project, "run", "--locked", "--offline", config=ours.out)
    assert built.stdout == "42\n", built.stderr
    for folder in ("vendor", "registry", "theirs"):
        ran = carnet("verify", "--vendor", folder, "Cargo.lock")
        assert ran.status == 0, ran
        assert (
            f"3 {'tarballs in a local registry' if folder == 'registry' else 'vendored crates'}: 3 as signed" in ran.out
        )


def test_again_nothing_is_written_and_then_only_what_changed(project: Path) -> None:
    first = done("vendor")
    assert "3 crates in vendor" in first.err
    assert "3 new" in first.err
    assert first.err.splitlines()[-1].startswith("To use it, add the lines on stdout to .cargo/config.toml")
    before = inodes(project / "vendor")
    again = done("vendor")
    assert "3 crates in vendor are as they should be: nothing was written" in again.err
    assert again.out == first.out
    assert inodes(project / "vendor") == before
    (project / "Cargo.lock").write_text(lock_of(BRANCH, NEW_LEAF))
    third = done("vendor", "--message-format", "json").json
    assert (third["new"], third["removed"], third["kept"], third["mended"]) == (["leaf"], ["leaf-0.9.0"], 1, [])
    after = inodes(project / "vendor")
    assert {path for path in after if "branch" in path} == {path for path in after if after[path] == before.get(path)}
    assert all(path.stat().st_nlink == 1 for path in (project / "vendor").rglob("*") if path.is_file())
    assert sorted(path.name for path in project.iterdir()) == ["Cargo.lock", "Cargo.toml", "src", "vendor"]


def test_versions_in_every_name(project: Path) -> None:
    done("vendor", "--versioned-dirs")
    names = {path.name for path in (project / "vendor").iterdir()}
    assert names == {MARK, "branch-0.2.0", "leaf-1.0.0", "leaf-0.9.0"}
    refused(2, "--versioned-dirs is about folders", "vendor", "x", "--versioned-dirs", "--local-registry")


def test_a_changed_line_in_the_index_of_a_local_registry_is_found(project: Path) -> None:
    done("vendor", "--local-registry", "registry")
    good = carnet("verify", "--vendor", "registry")
    assert (good.status, "is no crate" in good.out) == (0, False), good
    file = project / "registry/index/le/af/leaf"
    file.write_bytes(file.read_bytes().replace(b'"features":{}', b'"features":{"default":["evil"]}', 1))
    changed = refused(
        1, "leaf@0.9.0: its line in the index is not the one that is signed", "verify", "--vendor", "registry"
    )
    assert "signed: registry/index/le/af/leaf\n" in changed.err
    assert "`carnet vendor --local-registry registry` writes anew" in changed.err
    told = map(json.loads, carnet("verify", "--vendor", "registry", "--message-format", "json").out.splitlines())
    [found] = [one for one in told if one.get("state") == "changed"]
    assert (found["version"], found["differences"][0]["path"]) == ("0.9.0", "index/le/af/leaf")


@pytest.mark.parametrize("kind", [(), ("--local-registry",)])
def test_what_somebody_changed_is_told_and_written_anew(project: Path, kind: tuple[str, ...]) -> None:
    assert ": 3 new\n" in done("vendor", *kind).err
    good = tree(project / "vendor")
    for path in [path for path in (project / "vendor").rglob("*") if path.is_file() and path.name != MARK][:3]:
        path.write_text("evil")
    (project / "vendor" / ("index" if kind else "leaf") / "added.rs").write_text("evil")
    ran = done("vendor", *kind)
    assert ran.err.count("warning: somebody had changed it") == 4
    counted = re.search(r"3 crates in vendor, .*: (\d) written anew(?:, (\d) as before)?\n", ran.err)
    assert counted is not None
    assert sum(map(int, counted.groups("0"))) == 3
    assert tree(project / "vendor") == good


def test_a_folder_that_carnet_did_not_write_is_left_alone(project: Path) -> None:
    folder = project / "vendor"
    folder.mkdir()
    done("vendor")  # an empty one is nobody's
    (folder / "notes.txt").write_text("mine")
    before = tree(folder)
    (project / "Cargo.lock").write_text(lock_of(BRANCH, NEW_LEAF))
    refused(2, "holds 'notes.txt', which carnet did not write", "vendor")
    (folder / MARK).unlink()
    refused(2, "was not written by carnet, which would replace it", "vendor")
    (folder / MARK).write_text('{"parts": 1}')
    refused(2, "is not what carnet writes", "vendor")
    assert tree(folder) == before
    folder.rename(project / "away")
    folder.symlink_to("away")
    refused(2, "is no folder", "vendor")
    refused(2, "is no folder", "vendor", "Cargo.toml")
    refused(2, "was not written by carnet", "vendor", ".")
    refused(2, "cannot be replaced", "vendor", "/")
    refused(2, "cannot stand in a configuration", "vendor", "a\x1bb")
    assert tree(project / "away") == before


def test_what_is_broken_off_leaves_the_folder_of_before(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done("vendor")
    before = tree(project / "vendor")
    (project / "Cargo.lock").write_text(lock_of(BRANCH, NEW_LEAF))
    with monkeypatch.context() as patch:
        patch.setattr(vendoring, "_link", full_disk)
        refused(3, "no space left on device", "vendor")
    assert tree(project / "vendor") == before
    with monkeypatch.context() as patch:  # killed: nothing is tidied up
        patch.setattr(whole_folder, "recover", lambda target: None)
        patch.setattr(whole_folder, "_put_in_place", full_disk)
        refused(3, "no space left on device", "vendor")
    assert tree(project / "vendor") == before
    assert (project / ".vendor.carnet-new/leaf").is_dir()
    descriptor = os.open(project / ".vendor.carnet-new", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    refused(3, "another process is writing vendor", "vendor")
    os.close(descriptor)
    done("vendor")
    assert not (project / "vendor/leaf-0.9.0").exists()
    assert sorted(path.name for path in project.iterdir()) == ["Cargo.lock", "Cargo.toml", "src", "vendor"]


def full_disk(*_: object) -> None:
    raise OSError(28, os.strerror(28))


def test_where_two_folders_cannot_change_places_at_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise OSError(22, os.strerror(22))

    done("vendor")
    monkeypatch.setattr(whole_folder, "_exchange", unknown)
    (project / "Cargo.lock").write_text(lock_of(BRANCH, NEW_LEAF))
    done("vendor")
    after = tree(project / "vendor")
    assert sorted(path.name for path in project.iterdir()) == ["Cargo.lock", "Cargo.toml", "src", "vendor"]
    (project / "vendor").rename(project / ".vendor.carnet-old")  # killed between the two steps
    assert "nothing was written" in done("vendor").err
    assert tree(project / "vendor") == after


def test_nothing_is_written_of_a_lock_that_is_refused(project: Path) -> None:
    lock = project / "Cargo.lock"
    lock.write_text(lock.read_text().replace(read_crate(LEAF).sha256, "ab" * 32))
    ran = carnet("vendor")
    assert ran.status == 1
    assert "1 of 3 packages refused: leaf@1.0.0" in ran.err
    git = f'\n[[package]]\nname = "forked"\nversion = "1.0.0"\nsource = "git+https://example.com/x#{"ab" * 20}"\n'
    lock.write_text(lock_of(BRANCH, OLD_LEAF, LEAF, more=git))
    assert "forked" in refused(1, "no signed metadata vouches for", "vendor").err
    mine = project.parent / "mine.toml"
    mine.write_text('[rules]\ngit = "warn"\n')
    ran = refused(2, "is not from crates-io, and carnet does not vendor it", "vendor", "--config", mine)
    assert "hint: `cargo carnet vendor DIR` has cargo write that folder" in ran.err
    assert not (project / "vendor").exists()


def lines_for(tool: str, *more: str) -> Ran:
    return done("vendor", "--for", tool, *more)


def test_lines_for_other_build_systems(project: Path) -> None:
    assert lines_for("nix").out.endswith('cargoVendorDir = "vendor";\n')
    bazel = lines_for("bazel").out
    assert 'cargo_config = "//:.cargo/config.toml"' in bazel
    assert '#     directory = "vendor"\n' in bazel
    assert "cargoLock.lockFile = ./Cargo.lock;" in lines_for("nix", "registry", "--local-registry").out
    assert (project / "vendor").is_dir()
