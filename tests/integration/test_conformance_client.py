"""The command that the conformance suite runs, through each of its three verbs; the suite itself is run by hand."""

from __future__ import annotations

import functools
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.worlds.simulator import Simulator

CLIENT = Path(__file__).resolve().parents[1] / "conformance" / "client"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def sim() -> Simulator:
    made = Simulator(now=datetime.now(UTC).replace(microsecond=0))
    made.add_index("serde", b"hello\n")
    made.publish()
    return made


@pytest.fixture
def url(sim: Simulator, tmp_path: Path) -> Iterator[str]:
    sim.dump(tmp_path / "repository")
    handler = functools.partial(_Quiet, directory=str(tmp_path / "repository"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def client(tmp_path: Path, *arguments: str) -> int:
    command = [sys.executable, str(CLIENT), "--metadata-dir", str(tmp_path / "metadata"), *arguments]
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode


def test_init_refresh_and_download(sim: Simulator, url: str, tmp_path: Path) -> None:
    (tmp_path / "root.json").write_bytes(sim.root_file())
    (tmp_path / "targets").mkdir()
    metadata = ("--metadata-url", f"{url}metadata/")
    assert client(tmp_path, "init", str(tmp_path / "root.json")) == 0
    assert client(tmp_path, *metadata, "refresh") == 0
    assert (tmp_path / "metadata" / "root.json").read_bytes() == sim.root_file()
    assert (tmp_path / "metadata" / "snapshot.json").read_bytes() == sim.files[sim.path("snapshot")]
    to = ("--target-dir", str(tmp_path / "targets"), "--target-base-url", f"{url}targets/")
    assert client(tmp_path, *metadata, "--target-name", "index/se/rd/serde", *to, "download") == 0
    assert [path.read_bytes() for path in (tmp_path / "targets").iterdir()] == [b"hello\n"]
    assert client(tmp_path, *metadata, "--target-name", "index/ra/nd/rand", *to, "download") == 1
    (tmp_path / "repository" / "metadata" / "timestamp.json").write_bytes(b"{}")
    assert client(tmp_path, *metadata, "refresh") == 1
