"""`cargo carnet` with real cargo, a real signed repository and real compilers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.cargo import Machine
from tests.support.crates import honest_crate
from tests.support.signedregistry import SignedRegistry

pytestmark = pytest.mark.cargo

LEAF = honest_crate("leaf", "1.0.0", source="pub fn n() -> u32 { 40 }\n")
LEAF2 = honest_crate("leaf", "1.1.0", source="pub fn n() -> u32 { 41 }\n")
BRANCH = honest_crate(
    "branch", "0.2.0", source="pub fn n() -> u32 { leaf::n() + 2 }\n", extra='[dependencies]\nleaf = "1"\n'
)
MAIN = 'fn main() { println!("answer {}", branch::n()); }\n'


@pytest.fixture
def registry() -> Iterator[SignedRegistry]:
    one = SignedRegistry()
    one.add(LEAF, BRANCH)
    with one.serving():
        yield one


@pytest.fixture
def machine(tmp_path: Path, registry: SignedRegistry) -> Machine:
    one = Machine(tmp_path)
    one.trust(registry.root, registry.url)
    return one


@pytest.fixture
def project(machine: Machine) -> Path:
    return machine.project(dependencies={"branch": '"0.2"'}, main=MAIN)


def test_without_a_lock_it_resolves_admits_compiles_and_runs(
    machine: Machine, project: Path, registry: SignedRegistry
) -> None:
    done = machine.cargo_carnet("run", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "answer 42" in done.stdout
    assert "Admitted 2 crates (2 registry)" in done.stderr
    lock = (project / "Cargo.lock").read_text()
    assert lock.count('source = "registry+https://github.com/rust-lang/crates.io-index"') == 2
    assert "127.0.0.1" not in lock
    assert [path for path in registry.requests if path.endswith("/download")] == [
        "api/v1/crates/branch/0.2.0/download",
        "api/v1/crates/leaf/1.0.0/download",
    ]


def test_a_second_run_compiles_nothing_and_fetches_no_crate(
    machine: Machine, project: Path, registry: SignedRegistry
) -> None:
    first = machine.cargo_carnet("build", cwd=project)
    assert "Compiling leaf v1.0.0" in first.stderr
    registry.requests.clear()
    second = machine.cargo_carnet("build", cwd=project)
    assert second.returncode == 0, second.stderr
    assert "Compiling" not in second.stderr
    assert "Finished" in second.stderr
    assert not [path for path in registry.requests if path.endswith("/download")]
