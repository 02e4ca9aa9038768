"""Where this user's files are, as the environment says."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from carnet.durable import as_storage_error, private_folder
from carnet.errors import ConfigError, StorageError
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


def test_what_is_no_folder_is_not_taken_for_an_empty_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever is told that nothing is trusted yet trusts it once more, and finds the same again."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for named, said in (
        ("file", f"CARNET_HOME leads to {tmp_path}/file, which is no folder"),
        ("file/deep/er", f"CARNET_HOME leads to {tmp_path}/file, which is no folder"),
        ("link", f"CARNET_HOME leads to {tmp_path}/link, a link to what is not there"),
    ):
        monkeypatch.setenv("CARNET_HOME", str(tmp_path / named))
        for call in (home.home, home.trusted_ids, lambda: home.choose(None)):
            with pytest.raises(ConfigError) as caught:
                call()
            assert (str(caught.value), caught.value.exit_code) == (said, 2)
            assert "`export CARNET_HOME=DIR`" in caught.value.hint
    monkeypatch.delenv("CARNET_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="XDG_DATA_HOME leads to"):
        home.home()
    monkeypatch.setenv("CARNET_HOME", str(tmp_path / "own"))
    (tmp_path / "own").mkdir()
    (tmp_path / "own/trust").touch()
    with pytest.raises(ConfigError, match="own/trust is no folder"):
        home.trusted_ids()


def test_a_home_that_cannot_be_made_can_be_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(path: Path) -> Path:
        with as_storage_error(path):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("CARNET_HOME", str(tmp_path / "not/there"))
    monkeypatch.setattr(home, "private_folder", full)
    with pytest.raises(StorageError) as caught:
        home.make()
    assert f"`df -h {tmp_path}`" in caught.value.hint
    assert "`export CARNET_HOME=DIR`" in caught.value.hint


def test_where_nothing_is_trusted_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CARNET_HOME", str(tmp_path / "not/there"))
    with pytest.raises(ConfigError, match=f"no repository is trusted yet in {tmp_path}/not/there"):
        home.choose(None)


@pytest.mark.parametrize("named", ["carnet", "./carnet", "../carnet", "~/carnet"])
def test_a_home_that_each_project_could_bring_along_is_none(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARNET_HOME", named)
    with pytest.raises(ConfigError, match="a path from wherever a command runs"):
        home.home()
