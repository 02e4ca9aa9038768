"""`carnet.toml`, the environment and flags: what each says, which one counts, and what is refused."""

from __future__ import annotations

import grp
import os
import pwd
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from carnet.cargo.names import CrateId
from carnet.errors import ConfigError, StorageError
from carnet.level import Level
from carnet_cli.config import ancestors, places
from carnet_cli.config import settings as config
from carnet_verifier.policy.rule import Action
from carnet_verifier.policy.rules import downgrade, yanked
from carnet_verifier.policy.rules.level import LEAST_LEVEL
from carnet_verifier.policy.rules.young import LEAST_AGE

NOW = datetime(2026, 6, 1, tzinfo=UTC)
FULL = """
repository = "https://mirror.example/"

[policy]
least-level = "maintainer"
least-age-days = 7

[rules]
yanked = "deny"

[[require]]
crates = "acme-*"
least-level = "provenance"

[[ban]]
crates = "left-pad@1.*"
reason = "abandoned"

[[exception]]
crates = "foo@1.2.3"
rule = "downgrade"
reason = "signed by hand,
          agreed on"
expires = 2026-12-31
""".replace('hand,\n          agreed on"', 'hand, agreed on"')


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in ("CARNET_CONFIG", "CARNET_REPOSITORY", "CARNET_LEAST_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("nobody")))
    monkeypatch.setattr(places, "MACHINE", tmp_path_factory.mktemp("nothing") / "absent")


def write(folder: Path, text: str) -> Path:
    path = folder / "carnet.toml"
    path.write_text(text)
    return path


def test_every_key_is_read(tmp_path: Path) -> None:
    write(tmp_path, FULL)
    settings = config.load(tmp_path, now=NOW)
    policy = settings.policy
    assert settings.repository == "https://mirror.example/"
    assert policy.settings[LEAST_LEVEL] is Level.MAINTAINER
    assert policy.settings[LEAST_AGE].days == 7
    assert policy.action(yanked.RULE) is Action.DENY
    assert policy.asks(LEAST_LEVEL, CrateId.of("acme-core", "1.0.0")) is Level.PROVENANCE
    assert policy.bans[0].reason == "abandoned"
    assert policy.excuse_for(downgrade.RULE, CrateId.of("foo", "1.2.3"), NOW) is None, "nobody lets projects except it"
    (excuse,) = policy.projects_excuses
    assert excuse.holds(downgrade.RULE, CrateId.of("foo", "1.2.3"), NOW)
    assert excuse.expires == datetime(2026, 12, 31, tzinfo=UTC)


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    settings = config.load(tmp_path, now=NOW)
    assert settings.policy.asks(LEAST_LEVEL, CrateId.of("any", "1.0.0")) is Level.REGISTRY
    assert settings.policy.action(downgrade.RULE) is Action.DENY
    assert settings.file is None


def test_flag_before_environment_before_file_before_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 'repository = "file"\n[policy]\nleast-level = "maintainer"')
    assert config.load(tmp_path, now=NOW).repository == "file"
    monkeypatch.setenv("CARNET_REPOSITORY", "environment")
    monkeypatch.setenv("CARNET_LEAST_LEVEL", "provenance")
    by_environment = config.load(tmp_path, now=NOW)
    assert (by_environment.repository, by_environment.policy.settings[LEAST_LEVEL]) == ("environment", Level.PROVENANCE)
    by_flag = config.load(tmp_path, now=NOW, repository="flag", asked={"least-level": "registry"})
    assert (by_flag.repository, by_flag.policy.settings[LEAST_LEVEL]) == ("flag", Level.MAINTAINER), (
        "which asks for more"
    )
    (tmp_path / "carnet.toml").unlink()
    assert (
        config.load(tmp_path, now=NOW, asked={"least-level": "registry"}).policy.settings[LEAST_LEVEL] is Level.REGISTRY
    )


def test_another_file_by_flag_or_environment_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.toml"
    with pytest.raises(ConfigError, match="does not exist"):
        config.load(tmp_path, now=NOW, file=other)
    other.write_text('repository = "other"')
    assert config.load(tmp_path, now=NOW, file=other).repository == "other"
    monkeypatch.setenv("CARNET_CONFIG", str(other))
    assert config.load(tmp_path, now=NOW).repository == "other"


def test_an_exception_whose_time_is_over_is_told(tmp_path: Path) -> None:
    write(tmp_path, FULL)
    late = config.load(tmp_path, now=datetime(2027, 1, 1, tzinfo=UTC))
    assert "the exception for foo@1.2.3 [downgrade] ended on 2026-12-31" in late.remarks[0]


def test_every_setting_of_a_rule_has_a_flag_and_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "[policy]\nleast-age-days = 1")
    monkeypatch.setenv("CARNET_LEAST_AGE_DAYS", "2")
    assert config.load(tmp_path, now=NOW).policy.settings[LEAST_AGE].days == 2
    assert config.load(tmp_path, now=NOW, asked={"least-age-days": "3"}).policy.settings[LEAST_AGE].days == 3
    for wrong in ("a week", "-1", "3.5", "3651", "\u0663"):
        with pytest.raises(ConfigError, match="from --least-age-days or CARNET_LEAST_AGE_DAYS: least-age-days"):
            config.load(tmp_path, now=NOW, asked={"least-age-days": wrong})


@pytest.mark.parametrize("number", ["-1", "3651"])
def test_what_is_no_number_of_days_is_told_with_what_is_one(tmp_path: Path, number: str) -> None:
    write(tmp_path, f"[policy]\nleast-age-days = {number}")
    for asked in ({}, {"least-age-days": number}):
        with pytest.raises(ConfigError, match="not a number of days from 0 to 3650") as caught:
            config.load(tmp_path, now=NOW, asked=asked)
        assert caught.value.hint == "write how many, such as 7; 0 asks for no age"
        write(tmp_path, "")


def test_more_may_be_asked_of_some_crates_with_any_setting(tmp_path: Path) -> None:
    write(tmp_path, "[policy]\nleast-age-days = 3\n[[require]]\ncrates = 'acme-*'\nleast-age-days = 7")
    policy = config.load(tmp_path, now=NOW).policy
    assert policy.asks(LEAST_AGE, CrateId.of("acme-core", "1.0.0")).days == 7
    assert policy.asks(LEAST_AGE, CrateId.of("other", "1.0.0")).days == 3
    write(tmp_path, "[policy]\nleast-age-days = 30\n[[require]]\ncrates = 'acme-*'\nleast-age-days = 7")
    loose = config.load(tmp_path, now=NOW).policy
    assert loose.asks(LEAST_AGE, CrateId.of("acme-core", "1.0.0")).days == 30, "more, and never less"


EXCEPTION = '[[exception]]\ncrates = "a"\nrule = "git"\nreason = "r"\nexpires = 2026-07-01\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("repositroy = 'x'", "unknown key 'repositroy'"),
        ("[policy]\nleast_level = 'registry'", "unknown key 'least_level'"),
        ("[policy]\nleast-level = 'best'", "'best' is not a level"),
        ("[policy]\nleast-level = 3", "least-level is not a string"),
        ("[policy]\nleast-age-days = -1", "least-age-days"),
        ("[policy]\nleast-age-days = true", "least-age-days"),
        ("policy = 3", "is not a table"),
        ("repository = 3", "repository is not a string"),
        ("[rules]\nfoo = 'deny'", "'foo' is not a rule"),
        ("[rules]\nyanked = 'never'", "yanked is 'never'"),
        ("[rules]\nyanked = ['deny']", "yanked is"),
        ("[exception]\ncrates = 'a'", "two brackets"),
        (EXCEPTION.replace('reason = "r"\n', ""), "needs `reason`"),
        (EXCEPTION.replace('reason = "r"', 'reason = " "'), "reason is empty"),
        (EXCEPTION.replace("expires = 2026-07-01\n", ""), "needs `expires`"),
        (EXCEPTION.replace("2026-07-01", '"2026-07-01"'), "expires is not a date"),
        (EXCEPTION.replace("2026-07-01", "2036-07-01"), "more than a year from now"),
        (EXCEPTION + "extra = 1", "unknown key 'extra'"),
        (EXCEPTION.replace('crates = "a"', 'crates = "a b"'), "is not a crate pattern"),
        ("[[ban]]\ncrates = 'a'", "needs `reason`"),
        ("[[require]]\ncrates = 'a'", "needs `least-level`"),
        (EXCEPTION.replace("2026-07-01", "9999-12-31"), "more than a year from now"),
        (EXCEPTION.replace("2026-07-01", "9999-12-31T23:59:59-14:00"), "ends of time"),
        (EXCEPTION.replace("2026-07-01", "0001-01-01T00:00:00+14:00"), "ends of time"),
        (EXCEPTION.replace("2026-07-01", "07:32:00"), "expires is not a date"),
        (f"[policy]\nleast-age-days = {'9' * 5000}", "is not TOML"),
        (f"[policy]\nleast-age-days = 0x{'f' * 5000}", "an integer past 64 bits"),
        ("[policy]\nleast-age-days = 99999999999", "least-age-days: it is not a number of days"),
        (f"[rules]\nyanked = 0x{'f' * 5000}", "an integer past 64 bits"),
        (f"repository = 0x{'f' * 5000}", "an integer past 64 bits"),
        ("[policy]\nleast-age-days = 1e400", "least-age-days is not a whole number"),
        ("project = 3", "is not a table"),
        ("[project]\nmay-except = 'git'", "may-except is not a list of strings"),
        ("[project]\nmay-except = ['got']", "'got' is not a rule"),
        ("[project]\nmay-choose = [3]", "may-choose is not a list of strings"),
        ("[project]\nmay = []", "unknown key 'may'"),
        ("not toml", "is not TOML"),
        ("a = " + "[" * 5000, "is not TOML"),
        ("\x00", "is not TOML"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, said: str) -> None:
    write(tmp_path, EXCEPTION)
    config.load(tmp_path, now=NOW)  # the positive control
    write(tmp_path, text)
    with pytest.raises(ConfigError, match=said) as caught:
        config.load(tmp_path, now=NOW)
    assert "\n" not in str(caught.value)


def test_a_settings_own_reading_that_overflows_is_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(vars(LEAST_AGE), "read", lambda days: timedelta(days=days))
    for days in (10**10, 2**62):
        write(tmp_path, f"[policy]\nleast-age-days = {hex(days)}")
        with pytest.raises(ConfigError, match="least-age-days is past what can be reckoned with"):
            config.load(tmp_path, now=NOW)


def test_an_exception_with_a_zone_of_its_own_ends_in_utc(tmp_path: Path) -> None:
    write(tmp_path, EXCEPTION.replace("2026-07-01", "2026-07-01T01:00:00+14:00"))
    (excuse,) = config.load(tmp_path, now=NOW).policy.projects_excuses
    assert (excuse.expires, excuse.expires.utcoffset()) == (datetime(2026, 6, 30, 11, tzinfo=UTC), timedelta(0))


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path: Path) -> None:
    write(tmp_path, "\ufeff[policy]\nleast-age-days = 3\n")
    assert config.load(tmp_path, now=NOW).policy.settings[LEAST_AGE].days == 3


# --- the machine's file and the user's ---


@pytest.fixture
def floor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where both may stand, below one folder of ours: `etc` and `user`."""
    for name in ("etc", "user/carnet"):
        (tmp_path / name).mkdir(mode=0o700, parents=True)
        file = tmp_path / name / "carnet.toml"
        file.write_text("[policy]\nleast-age-days = 3\n")
        file.chmod(0o600)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.setattr(places, "MACHINE", tmp_path / "etc")
    monkeypatch.setattr(places, "MACHINE_OWNER", os.geteuid())
    (tmp_path / "project").mkdir()
    return tmp_path


@pytest.mark.parametrize("place", ["etc", "etc/carnet.toml", "user/carnet", "user/carnet/carnet.toml"])
@pytest.mark.parametrize("more", [0o020, 0o002])
def test_a_file_that_others_can_write_is_refused_and_not_passed_over(floor: Path, place: str, more: int) -> None:
    config.load(floor / "project", now=NOW)
    mode = (floor / place).stat().st_mode
    (floor / place).chmod(mode | more)
    with pytest.raises(ConfigError, match="can be written by others than") as caught:
        config.load(floor / "project", now=NOW)
    assert str(floor / place) in str(caught.value)
    assert f"chmod go-w {floor / place}" in caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("place", ["user", "."])
@pytest.mark.parametrize("more", [0o020, 0o002])
@pytest.mark.parametrize("there", [True, False])
def test_a_file_that_others_can_take_away_is_refused_even_when_it_is_gone(
    floor: Path, place: str, more: int, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.load(floor / "project", now=NOW)
    monkeypatch.setattr(ancestors, "_is_own_group", lambda _status: False)
    (floor / place).chmod(0o700 | more)
    if not there:
        (floor / "user/carnet").rename(floor / "user/away")
        (floor / "etc").rename(floor / "etc-away")
    with pytest.raises(ConfigError, match="who could take away") as caught:
        config.load(floor / "project", now=NOW)
    assert f"chmod go-w {floor / place}" in caught.value.hint
    (floor / place).chmod(0o1700 | more)
    config.load(floor / "project", now=NOW)


def test_a_group_of_ones_own_is_nobody_else(floor: Path) -> None:
    """As where every user has a group of their own, and umask 002."""
    user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(os.getegid())
    (floor / "user").chmod(0o770)
    if user.pw_name == group.gr_name and set(group.gr_mem) <= {user.pw_name}:
        config.load(floor / "project", now=NOW)
    else:
        with pytest.raises(ConfigError, match="who could take away"):
            config.load(floor / "project", now=NOW)


def test_folders_above_are_those_that_links_lead_to_too(floor: Path) -> None:
    (floor / "shared").mkdir()
    (floor / "user").rename(floor / "shared/user")
    (floor / "user").symlink_to("shared/user")
    config.load(floor / "project", now=NOW)
    (floor / "shared").chmod(0o777)
    with pytest.raises(ConfigError, match=f"{floor / 'shared'} can be written by others than you"):
        config.load(floor / "project", now=NOW)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
def test_a_folder_above_of_another_user_is_refused(floor: Path) -> None:
    os.chown(floor / "user", 1234, -1)
    with pytest.raises(ConfigError, match="can be written by others than you, who could"):
        config.load(floor / "project", now=NOW)


def test_the_machines_file_is_roots(floor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As somebody else's it is nobody's word; the user's may be root's, and else the user's own."""
    monkeypatch.setattr(places, "MACHINE_OWNER", os.geteuid() + 1)
    with pytest.raises(ConfigError, match=f"{floor / 'etc'} can be written by others than root"):
        config.load(floor / "project", now=NOW)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
def test_a_users_file_of_another_user_is_refused(floor: Path) -> None:
    os.chown(floor / "user/carnet/carnet.toml", 1234, -1)
    with pytest.raises(ConfigError, match="can be written by others than you"):
        config.load(floor / "project", now=NOW)


@pytest.mark.parametrize("place", ["etc", "user/carnet"])
def test_a_file_of_the_floor_that_is_malformed_is_an_error_and_not_passed_over(floor: Path, place: str) -> None:
    (floor / place / "carnet.toml").write_text("[policy]\nleast-levle = 'registry'\n")
    with pytest.raises(ConfigError, match=rf"{re.escape(str(floor / place))}.*unknown key 'least-levle'"):
        config.load(floor / "project", now=NOW)
    (floor / place / "carnet.toml").unlink()
    (floor / place / "carnet.toml").mkdir()
    with pytest.raises(StorageError, match="is a directory"):
        config.load(floor / "project", now=NOW)


def test_the_users_folder_is_where_the_xdg_specification_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for xdg, home, found in (
        ("/x", "/home/u", Path("/x/carnet")),
        ("", "/home/u", Path("/home/u/.config/carnet")),
        ("relative", "/home/u", Path("/home/u/.config/carnet")),
        ("relative", "relative", None),
        ("", "", None),
    ):
        monkeypatch.setenv("XDG_CONFIG_HOME", xdg)
        monkeypatch.setenv("HOME", home)
        assert places.users_folder() == found
