"""Unmodified cargo in front of an empty mirror that brings what it asks for: it waits, and gets its build."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.cargo import Machine
from tests.support.machines.gatebox import BRANCH, LEAF, MAIN
from tests.support.registries.live import LiveRegistry, live_registry
from tests.support.registries.sparse import SparseRegistry, sparse_registry

pytestmark = pytest.mark.cargo


@pytest.fixture(scope="module")
def upstream() -> Iterator[SparseRegistry]:
    with sparse_registry() as registry:
        twig = honest_crate("Twig", "0.3.0", extra='[dependencies]\nbud = "1"\n')
        for tarball in (LEAF, BRANCH, twig, honest_crate("bud", "1.1.0"), honest_crate("leaf", "0.9.0")):
            registry.add(tarball)
        registry.add(honest_crate("acme-parser"))
        yield registry


@pytest.fixture(scope="module")
def registry(upstream: SparseRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRegistry]:
    pulls = f'[pull]\nupstream = "{upstream.index_url}"\nallow = ["*"]\napprove = ["acme-*"]\n'
    with live_registry(tmp_path_factory.mktemp("plain") / "registry", trusted=False, pulls=pulls) as live:
        yield live


def machine(registry: LiveRegistry, path: Path) -> Machine:
    """Of a user who has never heard of carnet."""
    made = Machine(path)
    made.path.mkdir()
    made.cargo_home.mkdir(parents=True)
    (made.cargo_home / "config.toml").write_text(
        '[source.crates-io]\nreplace-with = "here"\n[source.here]\n'
        f'registry = "sparse+{registry.url}/index/"\n[net]\nretry = 3\n'
    )
    return made


def timestamp_of(registry: LiveRegistry) -> bytes:
    with urllib.request.urlopen(f"{registry.url}/metadata/timestamp.json", timeout=10) as answer:
        body: bytes = answer.read()
    return body


def test_it_gets_its_build_with_all_that_it_depends_on_in_any_spelling_and_range(
    registry: LiveRegistry, upstream: SparseRegistry, tmp_path: Path
) -> None:
    user = machine(registry, tmp_path / "user")
    wanted = {"branch": '"0.2"', "old-leaf": '{ package = "leaf", version = "0.9" }', "Twig": '"0.3"'}
    project = user.project(dependencies=wanted, main=MAIN)
    done = user.run("cargo", "run", "--quiet", cwd=project)
    assert "answer 42" in done.stdout, done.stderr
    lock = (project / "Cargo.lock").read_text()
    for name, version in (("leaf", "0.9.0"), ("leaf", "1.0.0"), ("Twig", "0.3.0"), ("bud", "1.1.0")):
        assert f'name = "{name}"\nversion = "{version}"' in lock
    downloads = sorted(path for path in upstream.requests if path.startswith("/dl/"))
    assert len(downloads) == len(set(downloads)) == 5, "each once"
    before, timestamp = len(upstream.requests), timestamp_of(registry)
    again = user.project(dependencies=wanted, main=MAIN, folder="again")
    assert user.run("cargo", "tree", cwd=again).returncode == 0
    missing = user.run("cargo", "tree", cwd=user.project("typo", dependencies={"never-heard-of": '"1"'}))
    assert "no matching package" in missing.stderr
    assert timestamp_of(registry) == timestamp, "nothing is published for a name that there is not"
    assert {path for path in upstream.requests[before:] if "never" in path} != set()
    waits = user.run("cargo", "tree", cwd=user.project("waits", dependencies={"acme-parser": '"0.1"'}))
    assert "it waits for a person: the mirror's operator approves of it" in waits.stderr
    assert "acme-parser@*" in registry.run("mirror", "approve", str(registry.mirror.directory.path)).stdout
