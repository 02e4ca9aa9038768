"""examples/mirror: what is to be copied is read by those who will read it, and carnet takes every command in it."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from tests.support.machines.image import PROJECT
from tests.support.machines.processes import running
from tests.support.registries.mirror_process import CARNET, make_mirror

from carnet_cli import main
from carnet_cli.commands.registry.online_signer import OnlineSettings
from carnet_cli.commands.registry.service_manager import tell_ready
from carnet_signer.keys import file

EXAMPLES = PROJECT / "examples/mirror"
UNITS = sorted((EXAMPLES / "systemd").glob("*.service"))
COMPOSE: Any = yaml.safe_load((EXAMPLES / "compose.yml").read_text())
_PASSPHRASE = b"four odd words here"
ANALYZE = shutil.which("systemd-analyze")


def unit(path: Path) -> configparser.SectionProxy:
    """The service's part of a unit; a key that stands twice has its last value."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(path)
    return parser["Service"]


def arguments(text: str) -> list[str]:
    """What carnet is given by a line of a unit or of a page."""
    words = shlex.split(text, comments=True)
    if "-c" in words:  # of sh
        words = shlex.split(words[words.index("-c") + 1])
    start = next(number for number, word in enumerate(words) if Path(word).name == "carnet")
    return [word for word in words[start + 1 :] if not re.match(r"\d?<", word)]


def commands() -> Iterator[tuple[str, list[str]]]:
    for path in UNITS:
        yield path.name, arguments(unit(path)["ExecStart"])
    for name, service in COMPOSE["services"].items():
        yield f"compose: {name}", service["command"][1:]
    for line in re.findall(r"^[#$] .*\b(carnet mirror .*)", (EXAMPLES / "README.md").read_text(), re.MULTILINE):
        yield line[:30], arguments(line)


@pytest.mark.parametrize(("where", "words"), [pytest.param(*one, id=one[0]) for one in commands()])
def test_carnet_takes_each_command(where: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(list(commands())) == 6
    command: click.Command = main.cli
    context = click.Context(command)
    rest = list(words)
    while isinstance(command, click.Group):
        found = command.get_command(context, rest[0])
        assert found is not None, (where, rest[0])
        command, rest = found, rest[1:]
    monkeypatch.setattr(os.path, "isdir", lambda _: True)
    command.make_context(words[0], rest)


def test_the_units_hold_nothing_back_that_they_ask_of_the_system() -> None:
    mirror, online = (unit(EXAMPLES / f"systemd/carnet-{name}.service") for name in ("mirror", "online"))
    assert mirror["User"] != online["User"], "the key is nobody's who answers requests"
    assert "--key" not in mirror["ExecStart"]
    assert "passphrase" not in mirror["ExecStart"]
    assert online["PrivateNetwork"] == "yes"
    for one in (mirror, online):
        assert (one["Type"], one["Restart"], one["NoNewPrivileges"]) == ("notify", "on-failure", "yes")
        state = f"/var/lib/{one['StateDirectory']}/"
        for word in arguments(one["ExecStart"]):
            own = (
                state,
                *(
                    f"/{at}/{one[key]}/"
                    for at, key in (("run", "RuntimeDirectory"), ("var/log", "LogsDirectory"))
                    if key in one
                ),
            )
            assert not word.startswith("/") or word.startswith(own), f"{word} cannot be written there"


@pytest.mark.skipif(ANALYZE is None, reason="needs systemd-analyze (the package systemd): it reads the units")
def test_systemd_reads_the_units(tmp_path: Path) -> None:
    """Paths that are to be there are this machine's; what is said of units that are not installed here is no fault."""
    for path in UNITS:
        (tmp_path / path.name).write_text(path.read_text().replace("/opt/carnet/bin/carnet", sys.executable))
    for path in UNITS:
        told = subprocess.run(
            [ANALYZE or "", "verify", "--man=no", str(tmp_path / path.name)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert not [line for line in told.stderr.splitlines() if "carnet-" in line], told.stderr
        judged = subprocess.run(
            [ANALYZE or "", "security", "--offline=true", "--threshold=25", "--no-pager", str(tmp_path / path.name)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert judged.returncode == 0, judged.stdout[-2000:] + judged.stderr


def test_the_containers_hold_what_their_commands_name() -> None:
    for name, service in COMPOSE["services"].items():
        inside = tuple(volume.split(":")[1] for volume in service["volumes"])
        for word in service["command"]:
            assert not word.startswith("/") or word.startswith(inside), (name, word)
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert COMPOSE["services"]["online"]["network_mode"] == "none"


# --- readiness, as `Type=notify` waits for it ---


@contextmanager
def notified(folder: Path) -> Iterator[tuple[str, socket.socket]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        place = str(folder / "notify")
        manager.bind(place)
        manager.settimeout(60)
        yield place, manager


def test_both_say_that_they_are_ready(tmp_path: Path) -> None:
    """With the arguments of the services, and other paths."""
    directory = make_mirror(tmp_path / "mirror")
    file.generate_key(tmp_path / "online", "ed25519", _PASSPHRASE, kdf_rounds=1)
    (tmp_path / "passphrase").write_bytes(_PASSPHRASE + b"\n")
    with directory.open(write=True) as store, store.change():
        OnlineSettings.told(None, None, tmp_path / "online.sock").remember(store)
    passphrase = os.open(tmp_path / "passphrase", os.O_RDONLY)
    options: Any = {"pass_fds": (passphrase,), "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with notified(tmp_path) as (place, manager), ExitStack() as stack:
        for name in ("online", "mirror"):
            words = arguments(unit(EXAMPLES / f"systemd/carnet-{name}.service")["ExecStart"])
            line = " ".join(re.sub(r"^/(var/lib|var/log|run)/[a-z-]+/", f"{tmp_path}/", word) for word in words)
            line = line.replace("--passphrase-fd 3", f"--passphrase-fd {passphrase}")
            line = line.replace(" --group carnet-mirror", "").replace(
                "--metrics-port 9464", "--metrics-port 0 --port 0"
            )
            command = [*CARNET, *line.split(" ")]
            stack.enter_context(running(command, env={**os.environ, "NOTIFY_SOCKET": place}, **options))
            assert manager.recv(64) == b"READY=1"
        assert (tmp_path / "requests.log").exists()
    os.close(passphrase)


def test_where_nobody_waits_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("", "vsock:2:1", str(tmp_path / "nobody")):
        monkeypatch.setenv("NOTIFY_SOCKET", place)
        tell_ready()
        assert "NOTIFY_SOCKET" not in os.environ
