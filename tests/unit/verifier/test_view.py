"""A view is refreshed when it is opened, closed with its block, and renewed by a server that runs for long."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.support.worlds.simulator import NOW, Simulator

from carnet.errors import ExpiredMetadata
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.tuf import view as view_module
from carnet_verifier.tuf.view import open_renewed_view, open_view, open_view_from

URL = "https://mirror.example/"


class Network:
    """Stands where `HttpFetcher` would open connections, and says which of them are open."""

    def __init__(self, sim: Simulator) -> None:
        self.sim = sim
        self.opened: list[str] = []
        self.open = 0

    def __call__(self, url: str, **_: object) -> Network:
        self.opened.append(url)
        return self

    def __enter__(self) -> Simulator:
        self.open += 1
        return self.sim

    def __exit__(self, *_: object) -> None:
        self.open -= 1


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    sim = Simulator()
    sim.add_index("serde", b"{}\n")
    sim.publish()
    made = Network(sim)
    monkeypatch.setattr(view_module, "HttpFetcher", made)
    return made


@pytest.fixture
def trust(network: Network, tmp_path: Path) -> TrustDirectory:
    return TrustDirectory.create(tmp_path / "trust", network.sim.root_file(), URL)


def test_a_view_is_open_for_its_block_and_remembered(network: Network, trust: TrustDirectory) -> None:
    with open_view(trust, now=NOW) as view:
        assert network.open == 1
        assert view.repository.now == NOW
        assert view.fetcher is network.sim
        assert view.url == URL
    assert network.open == 0
    assert network.opened == [URL]
    assert trust.last_refresh() == NOW


def test_what_cannot_be_verified_leaves_nothing_open(network: Network, trust: TrustDirectory) -> None:
    with pytest.raises(ExpiredMetadata), open_view(trust, now=NOW + timedelta(days=4000)):
        raise AssertionError
    assert network.open == 0


def test_a_view_from_a_root_remembers_nothing(network: Network, tmp_path: Path) -> None:
    with open_view_from(network.sim.root_file(), URL, now=NOW) as view:
        assert view.repository.targets.version == 1
    assert network.open == 0
    assert list(tmp_path.iterdir()) == []


def test_a_renewed_view_is_never_old_and_never_one_that_could_not_be_had(
    network: Network, trust: TrustDirectory
) -> None:
    times = [NOW]

    def clock() -> datetime:
        return times[-1]

    with open_renewed_view(trust, clock) as view:
        first = view()
        assert view() is first
        times.append(NOW + timedelta(seconds=11))
        second = view()
        assert second is not first
        assert second.now == times[-1]
        times.append(NOW + timedelta(days=4000))
        for _ in range(2):  # the old one does not come back
            with pytest.raises(ExpiredMetadata):
                view()
        times.append(NOW + timedelta(seconds=12))  # whatever the clock does
        assert view() is not second
    assert network.open == 0
