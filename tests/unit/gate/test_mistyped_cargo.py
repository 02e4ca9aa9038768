"""What people type wrong after `cargo carnet`: what was meant is guessed at, and whose mistake it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from carnet.errors import ConfigError, PolicyRefused
from carnet_gate import project
from carnet_gate.args import parse
from carnet_gate.confinement.protection import Confinement


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("biuld", "build"),
        ("tets", "test"),
        ("udpate", "update"),
        ("chekc", "check"),
        ("clipy", "clippy"),
        ("nextest rnu", "nextest run"),
        ("isntall", "install"),
        ("claen", "clean"),
    ],
)
def test_a_command_that_is_nearly_one_is_guessed_at(typed: str, meant: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(typed.split())
    assert str(caught.value) == f"`cargo {typed}` is refused: it was never tried behind the gate"
    assert caught.value.hint == f"did you mean `cargo carnet {meant}`?"


@pytest.mark.parametrize("typed", ["audit", "xtask", "watch", "frobnicate", "make", "outdated"])
def test_what_is_decided_about_or_like_nothing_is_not_guessed_at(typed: str) -> None:
    with pytest.raises(PolicyRefused) as caught:
        parse([typed])
    assert "did you mean" not in caught.value.hint


def test_a_cargo_that_is_not_rustups_takes_no_toolchain() -> None:
    said = "error: no such command: `+nightly`\n\n\tCargo does not handle `+toolchain` directives.\n\tDid you mean ..."
    done = SimpleNamespace(returncode=101, stdout="", stderr=said)
    cargo: Any = SimpleNamespace(ask=lambda *_, **__: done, command=("/usr/bin/cargo", "+nightly"))
    with pytest.raises(ConfigError) as caught:
        project._ask(cargo, parse(["+nightly", "build"]), Confinement())
    assert str(caught.value) == "/usr/bin/cargo takes no `+nightly`: it is not the cargo of rustup"
    assert "install rustup" in caught.value.hint
