"""`carnet policy init`: what it writes from a lock, the lock passes; every letter of others stays in a comment."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.cargo import Machine
from tests.support.machines.command import carnet, done, refused
from tests.support.machines.on_disk import set_environment
from tests.support.registries.signed import SignedRegistry

from carnet.cargo.crate import read_crate
from carnet.cargo.lockfile import LockedPackage
from carnet.cargo.names import CrateId, PackageName, Version
from carnet.level import Level
from carnet_cli.config import policy_file
from carnet_cli.config.policy_draft import Today, draft_policy
from carnet_verifier.policy import rules
from carnet_verifier.policy.rules import git

LEAF = honest_crate("leaf", "1.0.0")
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
GIT = f"git+https://example.com/x?rev=1#{'ab' * 20}"
CORP = "sparse+https://crates.corp.example/"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    registry = SignedRegistry()
    registry.add(LEAF)
    machine = Machine(tmp_path)
    set_environment(monkeypatch, machine)
    with registry.serving():
        (tmp_path / "root.json").write_bytes(registry.root)
        done("trust", "add", registry.url, "--root", tmp_path / "root.json")
        path = machine.project()
        monkeypatch.chdir(path)
        yield path


def write_lock(folder: Path, *more: str) -> None:
    packages = [
        '[[package]]\nname = "app"\nversion = "0.0.0"\n',
        f'[[package]]\nname = "leaf"\nversion = "1.0.0"\n'
        'source = "registry+https://github.com/rust-lang/crates.io-index"\n'
        f'checksum = "{read_crate(LEAF).sha256}"\n',
        *(
            f'[[package]]\nname = "forked{n}"\nversion = "1.0.0"\nsource = "{source}"\n'
            for n, source in enumerate(more)
        ),
    ]
    (folder / "Cargo.lock").write_text("version = 4\n\n" + "\n".join(packages))


def test_what_it_writes_the_lock_passes(project: Path) -> None:
    write_lock(project)
    ran = done("policy", "init")
    assert "Cargo.lock passes by it: 1 packages" in ran.err
    written = (project / "carnet.toml").read_text()
    assert tomllib.loads(written) == {"policy": {"least-level": "registry"}, "rules": {}}
    assert "# Today: 1 at registry." in written
    assert all(f"# {rule.name} " in written for rule in rules.ALL)
    done("verify")
    uncommented = written.replace("# least-age-days = 7", "least-age-days = 7")
    for rule in rules.ALL:
        uncommented = uncommented.replace(f"# {rule.name} ", f"{rule.name} ")
    (project / "carnet.toml").write_text(uncommented)
    done("verify")  # what stands in comments is right as well


def test_a_file_that_is_there_is_never_overwritten(project: Path, tmp_path: Path) -> None:
    write_lock(project)
    (project / "carnet.toml").write_text("mine")
    refused(2, "is there already, and is not overwritten", "policy", "init")
    (project / "link.toml").symlink_to("nowhere")
    refused(2, "is there already, and is not overwritten", "policy", "init", "--output", "link.toml")
    assert (project / "carnet.toml").read_text() == "mine"
    (project / "carnet.toml").unlink()
    printed = done("policy", "init", "--output", "-")
    assert 'least-level = "registry"' in printed.out
    assert printed.err == ""
    assert not (project / "carnet.toml").exists()
    refused(2, "does not exist", "policy", "init", tmp_path / "Cargo.lock")


def test_exceptions_count_in_a_file_of_the_users_own(project: Path, tmp_path: Path) -> None:
    write_lock(project, GIT, CORP)
    mine = tmp_path / "home/.config/carnet/carnet.toml"
    ran = done("policy", "init", "--output", mine)
    assert "Cargo.lock passes by it: 3 packages" in ran.err
    assert mine.stat().st_mode & 0o777 == 0o600
    assert mine.parent.stat().st_mode & 0o777 == 0o700
    exceptions = tomllib.loads(mine.read_text())["exception"]
    assert [(one["crates"], one["rule"]) for one in exceptions] == [
        ("forked0@1.0.0", "git"),
        ("forked1@1.0.0", "other-registry"),
    ]
    assert f"# from {GIT}" in mine.read_text()
    done("verify")


def test_a_projects_file_excepts_nothing_that_nobody_lets_it(project: Path, tmp_path: Path) -> None:
    write_lock(project, GIT)
    ran = done("policy", "init")
    assert "1 of 2 packages are refused, with it as without" in ran.err
    written = (project / "carnet.toml").read_text()
    assert "exception" not in tomllib.loads(written)
    assert '# crates = "forked0@1.0.0"' in written
    assert carnet("verify").status == 1
    mine = tmp_path / "home/.config/carnet/carnet.toml"
    mine.parent.mkdir(parents=True, mode=0o700)
    mine.write_text('[project]\nmay-except = ["git"]\n')
    mine.chmod(0o600)
    (project / "carnet.toml").unlink()
    assert "passes by it" in done("policy", "init").err
    done("verify")


def outcome(name: str, version: str, level: Level | None, error: str = "") -> Any:
    crate = CrateId.of(name, version)
    admission = None if level is None else SimpleNamespace(crate=crate, level=level)
    return SimpleNamespace(admission=admission, error=error or None, wanted=SimpleNamespace(id=crate))


def drafted(tmp_path: Path, *outcomes: Any, foreign: tuple[tuple[LockedPackage, str], ...] = ()) -> tuple[str, Any]:
    text = draft_policy(Today("Cargo.lock", outcomes, foreign, NOW, "snapshot 3 of https://m.example/", True))
    (tmp_path / "carnet.toml").write_text(text)
    read = policy_file.read(tmp_path / "carnet.toml", now=NOW)  # carnet itself reads what it wrote
    assert read is not None
    return text, read.policy


def test_more_is_asked_of_crates_that_have_more(tmp_path: Path) -> None:
    text, policy = drafted(
        tmp_path,
        outcome("plain", "1.0.0", Level.REGISTRY),
        outcome("itoa", "1.0.0", Level.PROVENANCE),
        outcome("itoa", "2.0.0", Level.MAINTAINER),
    )
    assert [(str(one.pattern), list(one.settings.values())) for one in policy.demands] == [("itoa", [Level.MAINTAINER])]
    assert "# Today: 1 at registry, 1 at maintainer, 1 at provenance." in text
    assert "1.0.0 at provenance, 2.0.0 at maintainer" in text
    _, policy = drafted(tmp_path, outcome("itoa", "1.0.0", Level.MAINTAINER))
    assert list(policy.settings.values()) == [Level.MAINTAINER]
    assert policy.demands == ()


def test_what_others_wrote_stays_in_its_comment(tmp_path: Path) -> None:
    """A reason of a mirror's, a name that no pattern takes: nothing of it becomes a line of the file."""
    evil = 'no\n[rules]\ngit = "allow"\n\x1b[2J\u202e' + "x" * 5000
    odd = LockedPackage(CrateId(cast("Any", PackageName("größe")), Version("1.0.0")), GIT, None)
    text, policy = drafted(tmp_path, outcome("leaf", "1.0.0", None, evil), foreign=((odd, git.RULE.name),))
    assert policy.rules == {}
    assert policy.excuses == ()
    assert "# Refused today, and by this file too:" in text
    assert "has a name that no exception can spell" in text.replace("\n# ", " ")
    assert all(char.isprintable() for char in text.replace("\n", ""))
    assert len(text) < 6000
