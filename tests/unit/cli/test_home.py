"""Where this user's files are, as the environment says."""

from __future__ import annotations

from pathlib import Path

import pytest

from carnet.durable import private_folder
from carnet.errors import ConfigError
from carnet_cli.config import home


def test_cargos_home_is_where_cargo_looks_for_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    for named, found in (("", tmp_path / "user/.cargo"), ("/srv/cargo", Path("/srv/cargo")), ("own", tmp_path / "own")):
        monkeypatch.setenv("CARGO_HOME", named)
        assert home.cargo_home() == found


def test_without_any_home_it_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("CARGO_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(ConfigError, match="neither CARGO_HOME nor HOME is set"):
        home.cargo_home()


def test_a_private_folder_is_nobody_elses(tmp_path: Path) -> None:
    made = private_folder(tmp_path / "own")
    assert made.stat().st_mode & 0o777 == 0o700
    assert private_folder(made) == made
    (tmp_path / "link").symlink_to(made)
    with pytest.raises(ConfigError, match="written by somebody else"):
        private_folder(tmp_path / "link")
    made.chmod(0o720)
    with pytest.raises(ConfigError, match="written by somebody else"):
        private_folder(made)


@pytest.mark.parametrize("mode", [0o755, 0o500, 0o300])
def test_a_private_folder_of_ones_own_gets_its_permissions_back(tmp_path: Path, mode: int) -> None:
    made = private_folder(tmp_path / "own")
    made.chmod(mode)
    private_folder(made)
    assert made.stat().st_mode & 0o777 == 0o700
