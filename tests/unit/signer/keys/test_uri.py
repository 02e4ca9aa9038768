"""A key's URI leads to its backend, and another backend comes in by one file."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.machines.command import done
from tests.support.worlds.ceremony import make_key

import carnet_signer.keys
from carnet.errors import ConfigError
from carnet_signer.keys import uri

ANOTHER = """
from tests.support.worlds.ceremony import make_key

from carnet_signer.keys.signer import Backend


def refuse(rest, access):
    raise AssertionError(rest)


BACKEND = Backend(
    schemes=("drawer", "cupboard"),
    form="drawer:NAME",
    meaning="a key in a drawer",
    open=lambda rest, access: make_key(f"{rest} {access.passphrase('which?').decode()}"),
    read_public=lambda rest, access: make_key(rest).public_key,
    exists=lambda rest: rest == "alice",
)
"""


def never(prompt: str) -> bytes | None:
    raise AssertionError(f"asked for {prompt}")


def test_another_backend_comes_in_by_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "drawer.py").write_text(ANOTHER)
    monkeypatch.setattr(carnet_signer.keys, "__path__", [*carnet_signer.keys.__path__, str(tmp_path)])
    monkeypatch.syspath_prepend(tmp_path)
    expected = make_key("alice upper")
    for name in ("drawer:alice", "DRAWER:alice", "cupboard:alice"):
        assert uri.load_signer(name, lambda _: b"upper").sign(b"m") == expected.sign(b"m")
    assert uri.read_public_half("drawer:alice", never) == make_key("alice").public_key
    assert uri.exists("drawer:alice")
    assert not uri.exists("drawer:bob")
    assert uri.key_file("drawer:alice") is None
    assert uri.anchored("drawer:alice") == "drawer:alice"
    with pytest.raises(ConfigError, match="no key is made at"):
        uri.generate("drawer:alice", "ed25519", never)
    shown = done("key", "show", "drawer:alice")
    assert make_key("alice").public_key.keyid in shown.out
    assert "a key in a drawer" in done("key", "--help").out


def test_the_help_teaches_every_form() -> None:
    help_text = " ".join(done("key", "--help").out.split())
    for backend in uri.backends():
        assert backend.form in help_text
        assert backend.meaning in help_text


@pytest.mark.parametrize("command", [("root", "sign"), ("claim", "sign"), ("layout", "sign"), ("release", "sign"),
                                     ("record", "tag"), ("online",)])  # fmt: skip
def test_every_command_that_takes_a_key_says_where_the_forms_are(command: tuple[str, ...]) -> None:
    assert "`carnet key --help` says which" in " ".join(done(*command, "--help").out.split())


@pytest.mark.parametrize("unknown", ["awskms:alias/carnet", "C:key", "http://key", ":alice"])
def test_another_scheme_is_refused_and_the_known_ones_are_named(unknown: str) -> None:
    with pytest.raises(ConfigError, match="of no known kind") as refused:
        uri.load_signer(unknown, never)
    for backend in uri.backends():
        assert backend.form in refused.value.hint


@pytest.mark.parametrize("name", ["alice", "./a:b", "/keys/a:b", "file:alice", "FILE:alice"])
def test_a_path_is_a_file(name: str) -> None:
    file = uri.key_file(name)
    assert file is not None
    assert uri.anchored(name) == str(Path.cwd() / file)
