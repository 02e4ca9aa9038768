"""What an operator types when a part of a mirror is lost: each message leads to the next command."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.support.registries.mirror_process import CARNET, now_in_seconds
from tests.support.worlds.ceremony import PASSPHRASE, make_ceremony

from carnet.errors import ConfigError
from carnet.tuf import paths
from carnet_cli.commands.registry.mirror.rebuild import RebuildFlags

REBUILD = ("fsck", "mirror", "--rebuild")


@dataclass
class Site:
    """A machine with a mirror."""

    folder: Path

    @property
    def mirror(self) -> Path:
        return self.folder / "mirror"

    def carnet(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*CARNET, "mirror", *arguments], cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=120, check=False, env={**os.environ, "NO_COLOR": "1", "CARNET_HOME": str(self.folder / "home")},
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == code, done.stderr + done.stdout
        return done

    def signing(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        return self.carnet(*arguments, "--passphrase-file", "passphrase", code=code)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """One for all tests: each mends what it has broken, and so shows that it can be."""
    site = Site(tmp_path_factory.mktemp("lost"))
    ceremony = make_ceremony(bit_length=1, now=now_in_seconds())
    (site.folder / "ceremony").mkdir()
    for role, data in ceremony.files.items():
        (site.folder / "ceremony" / paths.metadata_name(role, 1)).write_bytes(data)
    ceremony.online.store(site.folder).rename(site.folder / "online")
    (site.folder / "passphrase").write_bytes(PASSPHRASE + b"\n")
    (site.folder / "passphrase").chmod(0o600)
    (site.folder / "1.root.json").write_bytes(ceremony.root)
    site.signing("init", "mirror", "--ceremony", "ceremony", "--online-key", "online")
    return site


def test_from_the_first_message_to_a_mirror_that_goes_on(site: Site) -> None:
    (site.mirror / "mirror.db").unlink()
    said = site.signing("refresh", "mirror", code=3).stderr
    assert "its database mirror.db is gone" in said
    assert "`carnet mirror fsck DIR --rebuild`" in said
    said = site.signing(*REBUILD, code=2).stderr
    assert "--rebuild --root 1.root.json --online-key KEY" in said
    done = site.signing(*REBUILD, "--root", "1.root.json", "--online-key", "online")
    assert done.stdout.startswith("the database in mirror was made anew from ")
    assert "lost: claims and takeovers that waited" in done.stderr
    again = json.loads(site.carnet(*REBUILD, "--message-format", "json").stdout)
    assert again["reason"] == "nothing-to-rebuild"


def test_a_memory_that_is_gone(site: Site) -> None:
    (site.folder / "online.memory").rename(site.folder / "kept.memory")
    said = site.signing("refresh", "mirror", code=3).stderr
    assert "online.memory, is gone" in said
    assert "carnet mirror refresh DIR --memory-lost" in said
    assert site.signing("refresh", "mirror", "--memory-lost").stdout.startswith("signed again: ")


def test_versions_that_were_seen() -> None:
    """They are needed where the signer's memory is lost as well."""
    flags = RebuildFlags(None, None, None, None, False, ("timestamp=7", "snapshot=3", "timestamp=9"))
    assert flags.versions() == {"timestamp": 9, "snapshot": 3}
    for wrong in ("targets=1", "timestamp", "timestamp=-1", "timestamp=", "snapshot=1e3", "=1"):
        with pytest.raises(ConfigError, match="is not ROLE=VERSION"):
            replace(flags, seen=(wrong,)).versions()


def test_flags_of_a_rebuild_without_it(site: Site) -> None:
    assert "only for `--rebuild`" in site.carnet("fsck", "mirror", "--root", "1.root.json", code=2).stderr


def test_a_back_up_and_what_it_asks_for_when_it_is_restored(site: Site) -> None:
    done = site.carnet("backup", "mirror", "week.tar")
    assert done.stdout.startswith("week.tar: snapshot ")
    assert "its key is not in it" in done.stderr
    assert (site.folder / "week.tar").stat().st_mode & 0o777 == 0o600
    said = site.signing("restore", "week.tar", "again", "--memory", "new.memory", code=2).stderr
    assert "--seen timestamp=N --seen snapshot=N" in said
    assert not (site.folder / "again").exists()
    seen = ("--seen", "timestamp=90", "--seen", "snapshot=90")
    done = site.signing("restore", "week.tar", "again", "--memory", "new.memory", *seen)
    assert done.stdout.endswith("signed again as snapshot 91, timestamp 91\n")
    assert "what came after" in done.stderr
    site.carnet("fsck", "again")
    site.signing("refresh", "again")
