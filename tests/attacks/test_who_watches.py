"""Whoever watches a mirror, or would like to: the public reads nothing of it, and nothing of it is a secret."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import MirrorDirectory, make_mirror

from carnet.errors import ThresholdNotMet
from carnet_mirror import schedule
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.store import Store
from carnet_mirror.web import watch as watching
from carnet_mirror.web.tally import Tally
from carnet_mirror.web.watch import Watch
from carnet_mirror.web.watching import Watching
from carnet_signer.metadata.publish import refresh_due

SENDER = "203.0.113.77"


async def _behind(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": b"behind"})


class Server:
    """The three paths of one mirror, asked without a socket."""

    def __init__(self, mirror: MirrorDirectory) -> None:
        self.mirror = mirror
        self.now = mirror.now
        self.store = Store.open(mirror.path)
        self.tally = Tally()
        self.watch = Watch(mirror.path, self.store, lambda: self.now)

    def ask(
        self, path: str, *, method: str = "GET", near: bool = False, client: str = "127.0.0.1", **headers: str
    ) -> Any:
        app = Watching(self.watch, self.tally, _behind, near=near)
        named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "path": path, "method": method, "client": (client, 1), "headers": named}
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def never() -> Any:
            raise AssertionError("no body is read")

        asyncio.run(app(scope, never, send))
        self.headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], b"".join(part.get("body", b"") for part in sent[1:]).decode()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    found = Server(make_mirror(tmp_path / "mirror", [honest_crate("demo", "1.0.0")]))
    yield found
    found.store.close()


PATHS = ("/health", "/ready", "/metrics")


@pytest.mark.parametrize("path", PATHS)
def test_they_are_answered_to_this_machine_alone_and_not_through_a_proxy(server: Server, path: str) -> None:
    assert server.ask(path, near=True)[0] == 200
    assert server.ask(path, near=True, client="::ffff:127.0.0.1")[0] == 200
    for client in (SENDER, "10.0.0.1", "::2", "unix", ""):
        assert server.ask(path, near=True, client=client) == (299, "behind")
    for header in ("x_forwarded_for", "forwarded", "via", "x_real_ip"):
        assert server.ask(path, near=True, **{header: "127.0.0.1"}) == (299, "behind")
    assert server.ask(path, client=SENDER)[0] == 200  # who reaches a port of their own is answered
    assert server.ask(path + "/", client=SENDER) == (299, "behind")


@pytest.mark.parametrize("path", PATHS)
def test_nothing_of_it_is_kept_by_a_cache_or_takes_a_body(server: Server, path: str) -> None:
    assert server.ask(path)[0] == 200
    assert server.headers["cache-control"] == "no-store"
    assert "etag" not in server.headers
    assert server.ask(path, method="POST")[0] == 405
    assert server.ask(path, content_length="5")[0] == 413


@pytest.mark.parametrize("path", PATHS)
def test_neither_paths_nor_senders_are_told_even_of_a_mirror_that_is_damaged(
    server: Server, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server.tally.answered(f"/metadata/{SENDER}", 200, 0.1)
    server.tally.answered("/../../etc/passwd", 404, 0.1)
    server.tally.refused("submission", ThresholdNotMet("x").kind)
    whole = server.ask(path)[1]
    for snapshot in (server.mirror.path / "metadata").glob("*.snapshot.json"):
        snapshot.unlink()
    fresh = Server(server.mirror)
    status, damaged = fresh.ask(path)
    fresh.store.close()
    assert status == {"/health": 200, "/ready": 503, "/metrics": 200}[path]
    for said in (whole, damaged):
        assert str(server.mirror.path) not in said
        assert SENDER not in said
        assert "passwd" not in said
    assert "snapshot" in capsys.readouterr().err


def test_ready_says_why_not(server: Server) -> None:
    assert server.ask("/ready") == (200, "ready\n")
    server.now += timedelta(hours=25)
    status, reason = server.ask("/ready")
    assert status == 503
    assert reason.startswith("timestamp has ended at ")
    server.now -= timedelta(hours=25)
    version = UnverifiedView(server.store).snapshot.version
    (server.mirror.path / f"metadata/{version}.snapshot.json").write_bytes(b"{}")
    assert server.ask("/ready") == (503, "what is published cannot be read; the log says more\n")


def test_health_says_what_ends_and_what_the_clock_is_worth(server: Server) -> None:
    well = json.loads(server.ask("/health")[1])
    assert (well["status"], well["ends"], well["problems"], well["clock"]) == ("good", [], [], None)
    assert well["disk"]["free_bytes"] > 0
    targets = next(one for one in schedule.expiries(server.store) if one.role == "targets")
    for left, within in ((30, 30), (20, 30), (14, 14), (6, 7), (-1, 0)):
        server.now = targets.expires - timedelta(days=left)
        with server.mirror.open(write=True) as store, store.change():
            refresh_due(store, server.mirror.signer, now=server.now)
        said = json.loads(server.ask("/health")[1])
        ends = {one["role"]: one["within_days"] for one in said["ends"]}
        assert ends["targets"] == within
        assert said["status"] == ("ending" if left > 0 else "failing")
    server.now -= timedelta(days=400)
    server.watch._seen = None
    said = json.loads(server.ask("/health")[1])
    assert said["status"] == "failing"
    assert "clock" in said["clock"]


def test_metrics_tell_publishes_ends_refusals_and_latencies(server: Server) -> None:
    server.tally.answered("/metadata/timestamp.json", 200, 0.003)
    server.tally.answered("/whatever", 404, 100)
    server.tally.refused("submission", ThresholdNotMet("x").kind)
    server.tally.waiting["submission"] = lambda: 3
    lines = server.ask("/metrics")[1].splitlines()
    timestamp = UnverifiedView(server.store).timestamp
    for line in (
        f"carnet_publishes_total {float(timestamp.version)}",
        f"carnet_snapshot_version {float(timestamp.snapshot.version)}",
        'carnet_refusals_total{what="submission",why="threshold-not-met"} 1.0',
        'carnet_waiting{what="submission"} 3.0',
        'carnet_request_seconds_bucket{le="0.005",route="timestamp",status="2xx"} 1.0',
        'carnet_request_seconds_bucket{le="0.0025",route="timestamp",status="2xx"} 0.0',
        'carnet_request_seconds_bucket{le="60.0",route="other",status="4xx"} 0.0',
        'carnet_request_seconds_count{route="other",status="4xx"} 1.0',
        'carnet_role_age_seconds{role="timestamp"} 0.0',
        "carnet_ready 1.0",
        "carnet_pending_claims 0.0",
        "carnet_crate_versions 1.0",
    ):
        assert line in lines, line
    ends = {line.split('"')[1] for line in lines if line.startswith("carnet_role_expires_timestamp_seconds{")}
    assert {"root", "timestamp", "snapshot", "targets", "index-*", "claims-*"} <= ends
    assert any(line.startswith('carnet_stored_bytes{folder="metadata"} ') for line in lines)


def test_a_scrape_reads_no_file_twice(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    whole = UnverifiedView.expires

    def expires(view: UnverifiedView, role: str) -> datetime | None:
        read.append(role)
        return whole(view, role)

    monkeypatch.setattr(UnverifiedView, "expires", expires)
    monkeypatch.setattr(watching, "SLOWLY", 1e9)
    server.ask("/metrics")
    assert len(read) > 8
    read.clear()
    server.ask("/metrics")
    assert read == []
    server.mirror.add(honest_crate("another", "1.0.0"))
    server.ask("/health")
    assert len(read) == 1  # the bin that has it
