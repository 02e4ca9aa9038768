"""Skips, by name and with the reason, the tests whose tools this machine lacks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Two slow cores run several workers at once: a deadline would test the machine. Examples are the same every time, so
# that a red run is red again; HYPOTHESIS_PROFILE=search looks for new ones.
settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("search", parent=settings.get_profile("steady"), derandomize=False, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


# What a shell starts in the background (`make test &`, some CI) ignores SIGINT, and so would every server that a test
# starts and ends that way: the test would wait for ever.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


@cache
def _no_cargo() -> str:
    """Why cargo cannot be used; empty when it can."""
    if shutil.which("cargo") is None:
        return "cargo is not installed"
    asked = subprocess.run(["cargo", "--version"], capture_output=True, text=True, check=False, timeout=60)
    return "" if asked.returncode == 0 else f"cargo does not run: {asked.stderr.strip()[:100]}"


@cache
def _no_registry() -> str:
    """Why the public registry cannot be used; empty when it can."""
    if _no_cargo():
        return _no_cargo()
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        (project / "src").mkdir()
        (project / "src/lib.rs").touch()
        (project / "Cargo.toml").write_text(
            '[package]\nname = "probe"\nversion = "0.0.0"\n[dependencies]\ncfg-if = "1"\n'
        )
        try:
            asked = subprocess.run(
                ["cargo", "generate-lockfile"],
                cwd=project,
                env=os.environ | {"CARGO_NET_RETRY": "0", "CARGO_HTTP_TIMEOUT": "10"},
                capture_output=True,
                check=False,
                timeout=40,
            )
        except subprocess.TimeoutExpired:
            return "the public registry does not answer"
        return "" if asked.returncode == 0 else "the public registry cannot be reached"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what cannot run here."""
    for mark, reason in (("cargo", _no_cargo), ("network", _no_registry)):
        if item.get_closest_marker(mark) is not None and reason():
            pytest.skip(reason())


@pytest.fixture(params=("bwrap", "unshare"))
def sandbox_kind(request: pytest.FixtureRequest) -> str:
    """Each sandbox that `record test` knows; skips where it does not work, in its own words."""
    from carnet_signer.steps import sandbox

    if sandbox.why_not(request.param):
        pytest.skip(sandbox.why_not(request.param))
    return str(request.param)
