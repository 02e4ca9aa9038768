"""`carnet doctor` says what is in force on the way to the mirrors, measures it, and names what is wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.networks.surroundings import PrivateAuthority, tls_front
from tests.support.machines.cargo import Machine
from tests.support.registries.signed import SignedRegistry
from tests.support.servers.forward_proxy import ForwardProxy, forward_proxy

from carnet_cli.commands.build import doctor
from carnet_cli.config import home
from carnet_cli.doctor import seen

CHECKS = [
    *("read-only-home", "own-home", "network", "proxy", "mirror", "clock", "expiry", "cargo", "disk", "path", "shim"),
]
SECRET = "s3cret"


@dataclass
class Patient:
    """A machine behind a proxy.

    Attributes:
        machine: The machine.
        proxy: The way out.
        url: The mirror that it trusts.
    """

    machine: Machine
    proxy: ForwardProxy
    url: str

    def found(self) -> tuple[int, dict[str, dict[str, Any]]]:
        """The exit status, and what each check says."""
        done = CliRunner().invoke(doctor.command, ["--json"], standalone_mode=False)
        assert done.exception is None
        checks = [json.loads(line) for line in done.stdout.splitlines()]
        assert [one["check"] for one in checks] == CHECKS
        assert all(one["reason"] == "check" and one["summary"] and one["health"] in HEALTHS for one in checks)
        assert SECRET not in done.output
        return done.return_value, {one["check"]: one for one in checks}


HEALTHS = ("good", "warning", "failure")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    path = tmp_path_factory.mktemp("patient")
    authority, registry, machine = PrivateAuthority(path / "ca"), SignedRegistry(), Machine(path)
    with registry.serving(), tls_front(registry.url, authority) as front, forward_proxy(f"alice:{SECRET}") as proxy:
        proxy.known[front.target] = ("127.0.0.1", front.port)
        machine.environment = {"HTTPS_PROXY": proxy.url, "CARGO_HTTP_CAINFO": str(authority.file)}
        machine.trust(registry.root, front.url)
        (path / "app").mkdir()
        yield Patient(machine, proxy, front.url)


@pytest.fixture
def patient(made: Patient, monkeypatch: pytest.MonkeyPatch) -> Patient:
    environment = made.machine.env()
    for name in os.environ:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(made.machine.path / "app")
    return made


@pytest.mark.cargo
def test_where_all_is_well_it_says_what_is_in_force_and_who_named_it(patient: Patient) -> None:
    remembered = patient.machine.carnet_home / "trust"
    before = {path: path.read_bytes() for path in remembered.rglob("*") if path.is_file()}
    status, found = patient.found()
    assert [name for name, one in found.items() if one["health"] == "failure"] == []
    assert status == 0
    network = found["network"]
    proxy = {"url": f"http://{patient.proxy.place}", "source": "HTTPS_PROXY", "login": True}
    assert (network["https_proxy"], network["http_proxy"], network["no_proxy"]) == (proxy, None, [])
    assert network["authorities_source"] == "CARGO_HTTP_CAINFO"
    (mirror,) = found["mirror"]["mirrors"]
    assert (mirror["url"], mirror["error"], mirror["milliseconds"] > 0) == (f"{patient.url}/", None, True)
    (proxy,) = found["proxy"]["proxies"]
    assert (proxy["url"], proxy["error"]) == (f"http://{patient.proxy.place}", None)
    assert abs(found["clock"]["clocks"][0]["ahead_seconds"]) < 300
    assert {one["role"] for one in found["expiry"]["expiry"]} == {"root", "timestamp", "snapshot", "targets"}
    assert found["cargo"]["version"].startswith("cargo 1.")
    assert all(place["writable"] for place in found["disk"]["places"])
    assert {path: path.read_bytes() for path in remembered.rglob("*") if path.is_file()} == before


def test_a_proxy_that_does_not_answer_and_one_that_asks_who_one_is(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://alice:{SECRET}@127.0.0.1:1")
    status, found = patient.found()
    assert (status, found["proxy"]["health"], found["mirror"]["health"]) == (1, "failure", "failure")
    assert "refused" in found["proxy"]["proxies"][0]["error"]
    assert "HTTPS_PROXY" in found["proxy"]["advice"]
    monkeypatch.setenv("HTTPS_PROXY", f"http://{patient.proxy.place}")
    status, found = patient.found()
    assert (status, found["proxy"]["health"], found["mirror"]["health"]) == (1, "good", "failure")
    assert "407" in found["mirror"]["details"][0]
    assert "write http://USER:PASSWORD@" in found["mirror"]["advice"]


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("HTTPS_PROXY", f"socks5://alice:{SECRET}@proxy.example", "socks5"),
        ("CARGO_HTTP_CAINFO", "/nowhere.pem", "are not there"),
        ("SSL_CERT_FILE", "/nowhere.pem", "are not there"),
    ],
)
def test_a_setting_that_is_wrong_is_named_and_the_rest_is_looked_at(
    variable: str, value: str, said: str, patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable == "SSL_CERT_FILE":
        monkeypatch.delenv("CARGO_HTTP_CAINFO")
    monkeypatch.setenv(variable, value)
    status, found = patient.found()
    assert (status, found["network"]["health"]) == (1, "failure")
    assert said in found["network"]["summary"]
    assert variable in found["network"]["summary"]
    assert found["disk"]["health"] != "failure"


@pytest.mark.parametrize(("hours", "health", "word"), [(2, "failure", "ahead of"), (-2, "failure", "behind")])
def test_a_clock_that_is_not_the_mirrors(
    hours: int, health: str, word: str, patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, "now", lambda: datetime.now(UTC) + timedelta(hours=hours))
    _, found = patient.found()
    assert (found["clock"]["health"], word in found["clock"]["summary"]) == (health, True)
    assert "`date -u`" in found["clock"]["advice"]


def test_what_ends_soon_is_told_before_it_does(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is moved for the checks alone: the mirror signed for today."""
    look_at = seen.look_at
    monkeypatch.setattr(doctor, "look_at", lambda *args, now: look_at(*args, now=datetime.now(UTC)))
    for days, health, said in ((0.5, "good", "nothing ends before"), (70, "failure", "timestamp ended on")):
        monkeypatch.setattr(home, "now", lambda days=days: datetime.now(UTC) + timedelta(days=days))
        _, found = patient.found()
        expiry = found["expiry"]
        assert (expiry["health"], said in f"{expiry['summary']} {expiry['details']}") == (health, True)
    assert "targets ends on" in str(expiry["details"])


def test_programs_that_are_not_found(patient: Patient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    status, found = patient.found()
    assert (status, found["cargo"]["health"], found["path"]["health"]) == (0, "warning", "warning")
    assert "export PATH=" in found["path"]["advice"]
    for name in ("carnet", "cargo-carnet"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    _, found = patient.found()
    assert "another carnet than this one comes first" in found["path"]["summary"]
