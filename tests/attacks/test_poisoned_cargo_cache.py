"""Whoever can write to cargo's cache: what was changed there after it was admitted is found and never compiled."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.cargo import Machine
from tests.support.machines.gatebox import EVIL, GateBox, gate_box

from carnet_gate.confinement.protection import WRITABLE

pytestmark = pytest.mark.cargo


@pytest.fixture
def box(tmp_path: Path) -> Iterator[GateBox]:
    with gate_box(tmp_path) as one:
        one.works("build")
        yield one


def source_of(box: GateBox, stem: str) -> Path:
    (tree,) = box.machine.sources(stem)
    return tree


def unprotect(tree: Path) -> None:
    for path in [tree, *tree.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def opened_source_of(box: GateBox, stem: str) -> Path:
    """The gate left it read-only; whoever runs as the user who owns it takes that away first, as root need not."""
    tree = source_of(box, stem)
    unprotect(tree)
    return tree


def change_a_source(box: GateBox) -> None:
    (opened_source_of(box, "leaf-1.0.0") / "src/lib.rs").write_text(EVIL)


def add_a_build_script(box: GateBox) -> None:
    (opened_source_of(box, "leaf-1.0.0") / "build.rs").write_text('fn main() { std::fs::write("/tmp/x", "x").ok(); }\n')


def change_a_manifest(box: GateBox) -> None:
    with (opened_source_of(box, "branch-0.2.0") / "Cargo.toml").open("a") as file:
        file.write('[lib]\npath = "/tmp/evil.rs"\n')


def link_a_source(box: GateBox) -> None:
    tree = opened_source_of(box, "leaf-1.0.0")
    evil = box.machine.path / "evil.rs"
    evil.write_text(EVIL)
    (tree / "src/lib.rs").unlink()
    (tree / "src/lib.rs").symlink_to(evil)


def change_the_tarball(box: GateBox) -> None:
    tarball = box.machine.registry / "leaf-1.0.0.crate"
    tarball.chmod(0o600)
    tarball.write_bytes(honest_crate("leaf", "1.0.0", source=EVIL))


def change_the_index_line(box: GateBox) -> None:
    change_the_tarball(box)
    evil = hashlib.sha256((box.machine.registry / "leaf-1.0.0.crate").read_bytes()).hexdigest()
    good = box.registry.index["index/le/af/leaf"].lines[0].cksum
    line = box.machine.registry / "index/le/af/leaf"
    line.write_text(line.read_text().replace(good, evil))


@pytest.mark.parametrize(
    ("poison", "said"),
    [
        (change_a_source, "leaf@1.0.0: 'src/lib.rs' was changed after the crate was admitted"),
        (add_a_build_script, "leaf@1.0.0: 'build.rs' was added to the unpacked crate"),
        (change_a_manifest, "branch@0.2.0: 'Cargo.toml' was changed"),
        (link_a_source, "is a link or device"),
        (change_the_tarball, "the tarball of leaf@1.0.0 in cargo's cache was changed after it was admitted"),
        (change_the_index_line, "the tarball of leaf@1.0.0 in cargo's cache was changed"),
    ],
)
def test_a_poisoned_cache_is_found_and_can_be_cleaned(
    box: GateBox, poison: Callable[[GateBox], None], said: str
) -> None:
    for stem in ("leaf-1.0.0", "branch-0.2.0"):
        unprotect(source_of(box, stem))
    (box.project / "src/main.rs").touch()
    box.works("build")  # the positive control: nothing was changed but permissions
    poison(box)
    stderr = box.refused("build")
    assert said in stderr
    assert "hint: somebody wrote to it: find out who; `carnet trust clean` then fetches it again" in stderr
    assert box.cargo("run").returncode == 1  # and it stays refused
    cleaned = box.machine.carnet("trust", "clean")
    assert cleaned.returncode == 0, cleaned.stderr
    done = box.cargo("run")
    assert "answer 42" in done.stdout, done.stderr


def test_a_tree_that_looks_unfinished_brings_nothing_in(box: GateBox) -> None:
    """cargo unpacks over a tree without its marker, and what lay there before would stay."""
    tree = source_of(box, "leaf-1.0.0")
    unprotect(tree)
    (tree / ".cargo-ok").unlink()
    (tree / "build.rs").write_text('compile_error!("EVIL");')
    box.works("build")
    assert not (source_of(box, "leaf-1.0.0") / "build.rs").exists()


def test_stock_cargos_poisoned_cache_is_not_looked_at(box: GateBox) -> None:
    """What the user's own CARGO_HOME holds, and what was built from it, reaches no build behind the gate."""
    other = Machine(box.machine.path / "other")
    evil_lib = honest_crate("leaf", "1.0.0", source=EVIL)
    local = other.path / "registry"
    (local / "index/le/af").mkdir(parents=True)
    (local / "index/br/an").mkdir(parents=True)
    line = box.registry.index["index/le/af/leaf"].lines[0]
    text = line.to_bytes().decode().replace(line.cksum, hashlib.sha256(evil_lib).hexdigest())
    (local / "index/le/af/leaf").write_text(text + "\n")
    (local / "leaf-1.0.0.crate").write_bytes(evil_lib)
    branch = box.machine.registry
    (local / "index/br/an/branch").write_bytes((branch / "index/br/an/branch").read_bytes())
    (local / "branch-0.2.0.crate").write_bytes((branch / "branch-0.2.0.crate").read_bytes())
    lock = box.project / "Cargo.lock"
    good = lock.read_text()
    lock.unlink()
    flags = ["--config", 'source.crates-io.replace-with="e"', "--config", f'source.e.local-registry="{local}"']
    evil = box.machine.run("cargo", "run", *flags, cwd=box.project)
    assert "EVIL" in evil.stdout  # the poison works, where nobody looks
    lock.write_text(good)
    done = box.cargo("run")
    assert done.returncode == 0, done.stderr
    assert "answer 42" in done.stdout
    assert "EVIL" not in done.stdout


def test_a_crate_that_writes_into_another_ones_sources_is_found(tmp_path: Path) -> None:
    """Build scripts run as the user: what one of them does to the sources is told, and nothing is called good."""
    script = (
        "fn main() {\n"
        '    let own = std::path::PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap());\n'
        '    let victim = own.parent().unwrap().join("leaf-1.0.0");\n'
        "    let mut open = std::fs::metadata(&victim).unwrap().permissions();\n"
        "    open.set_readonly(false);\n"
        "    std::fs::set_permissions(&victim, open).unwrap();\n"
        '    std::fs::write(victim.join("added.rs"), "").unwrap();\n'
        "}\n"
    )
    worm = honest_crate("worm", "1.0.0", files={"build.rs": script.encode()})
    with gate_box(tmp_path, worm) as box:
        manifest = box.project / "Cargo.toml"
        manifest.write_text(manifest.read_text() + 'worm = "1"\n')
        done = box.cargo("build", env={WRITABLE: "1"})  # what keeps it from that has tests of its own
        assert done.returncode == 1, done.stderr
        assert "leaf@1.0.0: 'added.rs' was added" in done.stderr
        assert "it was changed while cargo ran" in done.stderr


def test_a_crate_that_makes_anothers_sources_look_unfinished_is_found(tmp_path: Path) -> None:
    """Without its marker cargo would not use a tree again; what was compiled from it counts all the same."""
    script = (
        "fn main() {\n"
        '    let own = std::path::PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap());\n'
        '    let victim = own.parent().unwrap().join("leaf-1.0.0");\n'
        '    for path in [victim.clone(), victim.join(".cargo-ok"), victim.join("src/lib.rs")] {\n'
        "        let mut open = std::fs::metadata(&path).unwrap().permissions();\n"
        "        open.set_readonly(false);\n"
        "        std::fs::set_permissions(&path, open).unwrap();\n"
        "    }\n"
        '    std::fs::remove_file(victim.join(".cargo-ok")).unwrap();\n'
        '    std::fs::write(victim.join("src/lib.rs"), "pub fn n() -> u32 { 0 }").unwrap();\n'
        "}\n"
    )
    worm = honest_crate("worm", "1.0.0", files={"build.rs": script.encode()})
    with gate_box(tmp_path, worm) as box:
        manifest = box.project / "Cargo.toml"
        manifest.write_text(manifest.read_text() + 'worm = "1"\n')
        done = box.cargo("build", env={WRITABLE: "1"})  # what keeps it from that has tests of its own
        assert done.returncode == 1, done.stderr
        assert "leaf@1.0.0: cargo's copy of the crate is not there, or not complete" in done.stderr
        assert "it was changed while cargo ran" in done.stderr


def test_a_crate_is_refused_although_it_is_cached(box: GateBox) -> None:
    """Admitted yesterday, compiled, unpacked, and refused today."""
    box.works("build")
    (box.project / "carnet.toml").write_text('[[ban]]\ncrates = "leaf@1.0.0"\nreason = "stolen token"\n')
    assert "leaf@1.0.0 is banned by the policy: stolen token" in box.refused("build")
    (box.project / "carnet.toml").unlink()
    box.works("build")


def test_a_cache_that_others_may_write_to_is_refused(box: GateBox) -> None:
    home = box.machine.registry.parent
    home.chmod(0o777)
    assert "can be written by somebody else" in box.refused("build", status=2)
    home.chmod(0o700)
    box.works("build")
