"""What several have a mirror bring: in turn, within bounds of bytes, and of memory while they wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import make_mirror, quiet
from tests.support.registries.sparse import sparse_registry

from carnet.cargo.asked import AskedFor
from carnet.cargo.lockfile import LockedPackage
from carnet.cargo.names import CrateId
from carnet.cargo.pull import PullAsk
from carnet.progress import Progress
from carnet_mirror.pull import puller
from carnet_mirror.pull.bounded import BoundedUpstream
from carnet_mirror.pull.bring import Share, bring, in_turn
from carnet_mirror.pull.puller import NoPlace, Puller
from carnet_mirror.pull.quotas import PullQuotas, Usage
from carnet_mirror.pull.rules import PullRules
from carnet_mirror.pull.settings import PullSettings
from carnet_mirror.upstream.sparse import SparseUpstream
from carnet_verifier.policy.policy import Pattern


def share(network: str, *asked: str) -> Share:
    return Share(PullAsk(tuple(map(AskedFor.parse, asked))), 1000, 1000, network)


def test_what_several_ask_for_is_fetched_in_turn_so_that_a_bound_ends_nobody_alone(tmp_path: Path) -> None:
    mirror, names = make_mirror(tmp_path / "mirror"), [f"a-first-{number}" for number in range(6)]
    greedy, modest = share("192.0.2.0/24", *names), share("198.51.100.0/24", "leaf")
    with sparse_registry() as registry, mirror.open(write=True) as store:
        for name in (*names, "leaf"):
            registry.add(honest_crate(name))
        upstream = BoundedUpstream(SparseUpstream(registry.index_url), 3 * len(honest_crate(names[0])), 60.0, 2)
        settings = PullSettings("sparse", PullRules((Pattern("*"),)))
        bring(store, mirror.signer, upstream, (greedy, modest), settings, now=mirror.now, progress=quiet)
    assert modest.end.published == ("leaf@0.1.0",)
    assert 0 < len(greedy.end.published) < 6
    one, two, three = (LockedPackage(CrateId.of(name, "1.0.0"), "", None) for name in ("x", "y", "z"))
    assert in_turn([("a", [one, two]), ("a", []), ("b", [three])]) == [one, three, two]


def test_what_waits_holds_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each ask has up to 4,096 entries, and 256 may wait."""
    monkeypatch.setattr(puller, "_ENTRIES", 50)
    monkeypatch.setattr(puller, "_ENTRIES_OF_ONE", 20)
    go, begun = threading.Event(), threading.Event()

    def work(shares: Sequence[Share], _: Progress, __: Callable[[], bool]) -> None:
        begun.set()
        assert go.wait(20)

    asks = PullAsk(tuple(AskedFor.parse(f"name-{number}") for number in range(10)))
    queue = Puller(work, Usage(PullQuotas()))
    try:
        queue.join(asks, "first")
        assert begun.wait(20)
        for network in ("a", "a"):
            queue.join(asks, network)
        with pytest.raises(NoPlace):
            queue.join(asks, "a")
        for network in ("b", "b", "c"):
            queue.join(asks, network)
        with pytest.raises(NoPlace):
            queue.join(asks, "d")
    finally:
        go.set()
        queue.stop()
