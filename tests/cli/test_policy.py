"""`carnet policy explain` as people run it: each rule and setting, who decided it, and what it found of a crate."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.machines.command import carnet, done
from tests.support.machines.gatebox import LEAF
from tests.support.registries.signed import SignedRegistry

from carnet_cli.config import places
from carnet_verifier.policy import rules


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's own `carnet.toml`, which asks for a level; beside a project whose file asks for a week."""
    monkeypatch.setenv("CARNET_HOME", str(tmp_path / "carnet"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(places, "MACHINE", tmp_path / "absent")
    file = tmp_path / "config/carnet/carnet.toml"
    file.parent.mkdir(mode=0o700, parents=True)
    file.write_text('[policy]\nleast-level = "maintainer"\n')
    file.chmod(0o600)
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    Path("carnet.toml").write_text(
        '[policy]\nleast-age-days = 7\n[rules]\nlevel = "allow"\nyanked = "deny"\n'
        '[[require]]\ncrates = "leaf"\nleast-level = "provenance"\n'
    )
    registry = SignedRegistry()
    registry.add(LEAF)
    with registry.serving():
        root = tmp_path / "root.json"
        root.write_bytes(registry.root)
        done("trust", "add", registry.url, "--root", root)
        yield file


def test_it_says_which_rule_of_which_file_decided(user: Path) -> None:
    ran = carnet("policy", "explain", "leaf@1.0.0")
    project = Path.cwd() / "carnet.toml"
    assert ran.status == 1
    assert ran.out.startswith(f"leaf@1.0.0: refused, says {project}\n")
    lines = [line.split(maxsplit=2) for line in ran.out.splitlines()]
    assert ["yanked", "deny", str(project)] in lines
    assert ["level", "deny", "carnet's default"] in lines
    assert ["least-level", "provenance", str(project)] in lines
    assert ["least-age-days", "7", str(project)] in lines
    assert f"{project}: [rules] level = allow does not count: by default carnet asks for deny" in ran.err
    Path("carnet.toml").unlink()
    assert carnet("policy", "explain", "leaf@1.0.0").out.startswith(f"leaf@1.0.0: refused, says {user}\n")
    allowed = done("policy", "explain", "leaf@1.0.0", "--least-level", "registry")
    assert allowed.out.startswith("leaf@1.0.0: allowed\n")
    assert ["least-level", "registry", "--least-level"] in [line.split() for line in allowed.out.splitlines()]


def test_it_says_so_to_machines(user: Path) -> None:
    ran = carnet("policy", "explain", "leaf@1.0.0", "--message-format", "json")
    project = str(Path.cwd() / "carnet.toml")
    said = ran.json
    assert (ran.status, said["reason"], said["allowed"]) == (1, "policy", False)
    assert [one["rule"] for one in said["rules"]] == [rule.name for rule in rules.ALL]
    (level,) = [one for one in said["rules"] if one["rule"] == "level"]
    assert (level["decided_by"], level["findings"][0]["decided_by"]) == (None, project)
    assert {one["setting"]: (one["asked"], one["decided_by"]) for one in said["settings"]} == {
        "least-level": ("provenance", project),
        "least-age-days": (7, project),
    }
    assert (said["error"]["kind"], said["error"]["decided_by"]) == ("policy-refused", project)


def test_a_name_alone_is_asked_of_nobody(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARNET_HOME", str(user.parent / "nobody"))
    ran = done("policy", "explain", "other")
    assert ran.out.startswith("other: what is asked of it\n")
    assert ["least-level", "maintainer", str(user)] in [line.split() for line in ran.out.splitlines()]
    said = done("policy", "explain", "other", "--message-format", "json").json
    assert (said["version"], said["allowed"], said["error"]) == (None, None, None)


def test_exceptions_are_shown_with_whose_they_are(user: Path) -> None:
    exception = '[[exception]]\ncrates = "leaf"\nrule = "{}"\nreason = "{}"\nexpires = {}\n'
    day = (datetime.now(UTC) + timedelta(days=30)).date()
    user.write_text(user.read_text() + exception.format("level", "mine", day))
    Path("carnet.toml").write_text(exception.format("yanked", "theirs", day))
    ran = done("policy", "explain", "leaf@1.0.0")
    assert f"exception for leaf from level until {day}  {user}: mine" in ran.out
    assert (
        f"exception for leaf from yanked until {day}  {Path.cwd() / 'carnet.toml'}, only where nobody else" in ran.out
    )


def test_what_is_refused_before_the_policy_is_asked(user: Path) -> None:
    ran = carnet("policy", "explain", "absent@1.0.0")
    assert ran.status == 1
    assert ran.out.startswith("absent@1.0.0: refused, and not by the policy\n")
    assert "error: absent is not in the signed index" in ran.err
