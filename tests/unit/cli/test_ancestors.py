"""Whoever can write to a folder above another can take it away: one rule for configuration and for carnet's home."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from carnet.errors import ConfigError
from carnet_cli.config import ancestors, home
from carnet_cli.config.ancestors import require_held


@pytest.fixture
def above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder above carnet's home."""
    folder = tmp_path / "above"
    folder.mkdir(mode=0o755)
    monkeypatch.setenv("CARNET_HOME", str(folder / "data/carnet"))
    return folder


@pytest.mark.parametrize("more", [0o020, 0o002])
@pytest.mark.parametrize("there", [True, False])
def test_a_home_that_others_can_take_away_is_not_used(
    above: Path, more: int, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ancestors, "_is_own_group", lambda _status: False)
    if there:
        home.make()
    above.chmod(0o755 | more)
    with pytest.raises(ConfigError, match=r"who could take away .*which repositories are trusted") as caught:
        home.make()
    assert f"chmod go-w {above}" in caught.value.hint
    assert (above / "data").exists() == there
    with pytest.raises(ConfigError, match="who could take away"):
        home.open_trusted("0123")
    above.chmod(0o1755 | more)  # as /tmp is
    home.make()


def test_a_home_behind_a_link_is_looked_at_where_it_is(above: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere/data").mkdir(mode=0o755, parents=True)
    (above / "data").symlink_to(tmp_path / "elsewhere/data")
    home.make()
    (tmp_path / "elsewhere").chmod(0o777)
    with pytest.raises(ConfigError, match=f"{tmp_path / 'elsewhere'} can be written by others than you"):
        home.make()


LOOK = "import os, sys; from pathlib import Path; from carnet_cli.config.ancestors import require_held; "
LOOK += "require_held(Path(sys.argv[1]), 'you', (os.geteuid(),), 'that decides')"


def in_namespace(folder: Path) -> subprocess.CompletedProcess[str]:
    """The look at what is above `folder`, by a process that a user namespace knows by one number, and nobody else."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("unshare is not installed: no user namespace to look from")
    enter = unshare, "--user", "--map-user=1234", "--map-group=1234"
    tried = subprocess.run([*enter, "true"], capture_output=True, text=True, check=False, timeout=30)
    if tried.returncode != 0:
        pytest.skip(f"no user namespace to look from: {tried.stderr.strip()[:100]}")
    return subprocess.run(
        [*enter, sys.executable, "-c", LOOK, str(folder)], capture_output=True, text=True, check=False, timeout=60
    )


def test_root_outside_of_a_user_namespace_is_nobody_else(tmp_path: Path) -> None:
    """A container of an ordinary user's shows what is root's as nobody's: it can be nobody in there who writes."""
    folder = tmp_path / "above"
    folder.mkdir(mode=0o755)
    if os.geteuid() == 0:
        os.chown(folder, 4321, -1)  # else `/` is somebody else's already: root's
        with pytest.raises(ConfigError, match=f"{folder} can be written by others"):
            require_held(folder / "carnet", "you", (0,), "that decides")
    else:
        assert Path("/").stat().st_uid != os.geteuid()
    done = in_namespace(folder / "carnet")
    assert done.returncode == 0, done.stderr
    folder.chmod(0o777)
    done = in_namespace(folder / "carnet")
    assert f"{folder} can be written by others than you" in done.stderr


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders to others")
def test_nobody_is_somebody_else_where_every_number_is_known(tmp_path: Path) -> None:
    nobody = int(Path("/proc/sys/kernel/overflowuid").read_text())
    folder = tmp_path / "above"
    folder.mkdir()
    os.chown(folder, nobody, -1)
    if Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]:
        pytest.skip("this root is one of a user namespace's, which knows not every number")
    with pytest.raises(ConfigError, match=f"{folder} can be written by others"):
        require_held(folder / "carnet", "you", (0,), "that decides")
