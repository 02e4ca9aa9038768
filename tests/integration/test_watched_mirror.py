"""A mirror that serves is watched: on its own port by this machine, or on a port for that alone."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

from tests.support.registries.mirror_process import make_mirror, serving

PATHS = ("/health", "/ready", "/metrics")


def _get(url: str, **headers: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_port_of_its_own_leaves_the_public_one_without_it(tmp_path: Path) -> None:
    arguments = ("--read-only", "--metrics-port", "0", "--log-format", "json", "--url", "https://crates.example.org")
    with serving(make_mirror(tmp_path / "mirror"), *arguments) as mirror:
        assert mirror.watched_at is not None
        assert mirror.url == "https://crates.example.org"
        assert _get(f"{mirror.watched_at}/ready") == (200, "ready\n")
        assert json.loads(_get(f"{mirror.watched_at}/health")[1])["status"] == "good"
        assert "carnet_ready 1.0\n" in _get(f"{mirror.watched_at}/metrics")[1]
        assert _get(f"{mirror.watched_at}/metadata/timestamp.json")[0] == 404
        assert _get(f"{mirror.watched_at}/health", host="evil.example")[0] == 421
        assert mirror.stop() == 0


def test_without_one_this_machine_is_answered_and_lines_are_counted(tmp_path: Path) -> None:
    with serving(make_mirror(tmp_path / "mirror"), "--read-only", "--log-format", "json") as mirror:
        assert mirror.watched_at is None
        assert _get(f"{mirror.url}/metadata/timestamp.json")[0] == 200
        assert [_get(mirror.url + path)[0] for path in PATHS] == [200, 200, 200]
        assert [_get(mirror.url + path, via="1.1 proxy")[0] for path in PATHS] == [404, 404, 404]
        assert 'carnet_request_seconds_count{route="timestamp",status="2xx"} 1.0' in _get(f"{mirror.url}/metrics")[1]
        logged = [json.loads(line) for line in mirror.access_log.read_text().splitlines()]
        assert [one["path"] for one in logged if one["event"] == "request"][:2] == [
            "/metadata/timestamp.json",
            "/health",
        ]
        assert mirror.stop() == 0
