"""A registry of two crates that answers on loopback, and the machine of somebody who trusts it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.crates.locks import BRANCH, LEAF
from tests.support.machines.cargo import Machine
from tests.support.registries.signed import SignedRegistry


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
