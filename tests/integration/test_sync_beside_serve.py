"""`carnet mirror sync` and `serve` in either order: one signer has the memory of the key, the other gets along."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_other_machines import _CARNET, UNLOCK, Elsewhere, make_mirror
from tests.support.crates.archives import honest_crate
from tests.support.machines.processes import running
from tests.support.registries.sparse import SparseRegistry, sparse_registry


class Slow(SparseRegistry):
    """An upstream that answers once it may."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.may_answer = threading.Event()

    def answer(self, path: str) -> tuple[int, bytes]:
        self.asked.set()
        assert self.may_answer.wait(60)
        return super().answer(path)


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    monkeypatch.setattr("tests.support.registries.sparse.SparseRegistry", Slow)
    with sparse_registry() as registry:
        assert isinstance(registry, Slow)
        registry.add(honest_crate("leaf", "1.0.0"))
        yield registry
        registry.may_answer.set()


@pytest.fixture
def machine(tmp_path: Path, upstream: Slow) -> Elsewhere:
    one = Elsewhere(tmp_path)
    make_mirror(one)
    (tmp_path / "Cargo.lock").write_bytes(upstream.lock("leaf-1.0.0"))
    return one


def sync(upstream: Slow) -> list[str]:
    return [*_CARNET, "mirror", "sync", "mirror", "--upstream", upstream.index_url, *UNLOCK]


@contextmanager
def process(machine: Elsewhere, command: list[str]) -> Iterator[Any]:
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with running(command, cwd=machine.folder, env=machine.environment, text=True, **options) as started:
        yield started


SERVE = [*_CARNET, "mirror", "serve", "mirror", "--port", "0", *UNLOCK]


def test_serve_waits_for_the_signer_of_a_sync(machine: Elsewhere, upstream: Slow) -> None:
    with process(machine, sync(upstream)) as syncing:
        assert upstream.asked.wait(60)
        with process(machine, SERVE) as serving:
            first = serving.stdout.readline()
            assert "waiting for it to end, for at most 3600 seconds" in first
            assert syncing.poll() is None
            upstream.may_answer.set()
            assert "1 added" in syncing.communicate(timeout=60)[0]
            assert syncing.returncode == 0
            assert "listening on http:" in next(line for line in serving.stdout if "listening on http" in line)
            again = machine.carnet(*sync(upstream)[len(_CARNET) :])
            assert "0 added" in again or "nothing" in again


def test_a_sync_asks_the_signer_of_serve(machine: Elsewhere, upstream: Slow) -> None:
    upstream.may_answer.set()
    with process(machine, SERVE) as serving:
        assert next(line for line in serving.stdout if "listening on http" in line)
        said = machine.carnet(*sync(upstream)[len(_CARNET) :])
    assert "1 added" in said
    assert "waiting" not in said


def test_a_second_sync_waits_for_the_first(machine: Elsewhere, upstream: Slow) -> None:
    with process(machine, sync(upstream)) as first:
        assert upstream.asked.wait(60)
        with process(machine, sync(upstream)) as second:
            assert "waiting for it to end" in second.stdout.readline()
            upstream.may_answer.set()
            assert "1 added" in first.communicate(timeout=60)[0]
            second.communicate(timeout=60)
            assert (first.returncode, second.returncode) == (0, 0)


def test_who_replaces_the_key_does_not_wait(machine: Elsewhere, upstream: Slow) -> None:
    machine.carnet("key", "generate", "next", "--insecure-no-passphrase")
    with process(machine, sync(upstream)):
        assert upstream.asked.wait(60)
        refresh = [*_CARNET, "mirror", "refresh", "mirror", "--next-online-key", "next", *UNLOCK]
        machine.refuses(3, "another online signer uses the memory", refresh)
        upstream.may_answer.set()
