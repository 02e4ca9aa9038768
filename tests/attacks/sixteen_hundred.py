"""Every kind of odd request from sixteen hundred connections: `make hostile` runs it, the default suite one of them."""

from __future__ import annotations

import pytest
from tests.attacks.test_odd_requests import KINDS, beside, live, memory_of
from tests.support.registries.live import LiveRegistry

__all__ = ["live"]


@pytest.mark.parametrize("sent", KINDS.values(), ids=KINDS)
def test_beside_sixteen_hundred(live: LiveRegistry, sent: bytes) -> None:
    before = memory_of(live.mirror.process.pid)
    waited = beside(live, sent, 1600)
    grown = memory_of(live.mirror.process.pid) - before
    print(f"answered after {waited:.2f} s, and {max(0.0, grown):.0f} MB")
    assert waited < 30, "before the silent ones are cut"
    assert grown < 50 * max(1.0, 1600 * len(sent) / 1e6)
