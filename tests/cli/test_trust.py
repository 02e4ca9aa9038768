"""`carnet trust`: which root is trusted, what it is compared with, and how it is forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.machines.cargo import Machine
from tests.support.worlds.ceremony import make_ceremony

from carnet.tuf import example_keys

URL = "http://127.0.0.1:9/"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    file = tmp_path / "root.json"
    file.write_bytes(make_ceremony().files["root"])
    return file


def test_a_root_is_trusted_by_its_file_alone(tmp_path: Path, root: Path) -> None:
    machine = Machine(tmp_path / "machine")
    done = machine.carnet("trust", "add", URL, "--root", str(root), "--offline")
    assert (done.returncode, "2 of these 3 keys" in done.stdout) == (0, True)


def test_a_root_with_keys_that_everybody_has_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from carnet_cli.commands.build import trust
    from carnet_cli.main import run

    ceremony = make_ceremony()
    (tmp_path / "root.json").write_bytes(ceremony.files["root"])
    monkeypatch.setenv("CARNET_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(example_keys, "EXAMPLE_MATERIAL", frozenset([ceremony.online.public_key.material]))
    add = ["add", URL, "--offline", "--root", str(tmp_path / "root.json")]
    assert run(trust.command, add, "carnet trust") == 3
    assert not list((tmp_path / "home").glob("trust/*"))
    assert CliRunner().invoke(trust.command, [*add, "--insecure-example-keys"]).exit_code == 0


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"signed":{},"signatures":[]}', b"[" * 99_999])
def test_what_is_no_root_is_refused_in_one_line_and_changes_nothing(tmp_path: Path, data: bytes) -> None:
    machine = Machine(tmp_path / "machine")
    (tmp_path / "root.json").write_bytes(data)
    done = machine.carnet("trust", "add", URL, "--root", str(tmp_path / "root.json"))
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "root.json: this root cannot be trusted: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(machine.carnet_home.glob("trust/*"))
