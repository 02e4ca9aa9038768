"""Every rule, setting and form of exception in a project's file, against every floor: made from the rules there are."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from carnet.cargo.names import CrateId
from carnet.errors import FormatError
from carnet.level import Level
from carnet_cli.config import places
from carnet_cli.config import settings as config
from carnet_verifier.policy import rules
from carnet_verifier.policy.evaluate import evaluate
from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import Action, Breach, Facts, Rule, Setting, whatever

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LEAF = CrateId.of("leaf", "1.0.0")
WRITTEN: tuple[str | int, ...] = (*map(str, Level), 0, 1, 2, 7, 30, 365)
"""What settings of today may be set to; a rule with another kind of setting adds to it."""
PATTERNS = ("*", "leaf", "LEAF", "l?af", "leaf@1.0.0", "leaf@1.*", "leaf@*")
SOURCES = ("flag", "environment", "machine", "user", "named by a flag", "named by a variable")


class Voices:
    """Everybody who may say something, in places of a test's own."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._patch, self._asked = patch, dict[str, str]()
        self._named: Path | None = None
        self.project, self.own = folder / "project", folder / "own.toml"
        self._files = {"machine": folder / "etc/carnet.toml", "user": folder / "config/carnet/carnet.toml"}
        for file in (*self._files.values(), self.project / "carnet.toml"):
            file.parent.mkdir(mode=0o700, parents=True)
        for name in [name for name in os.environ if name.startswith("CARNET_")]:
            patch.delenv(name)
        patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        patch.setattr(places, "MACHINE", folder / "etc")
        patch.setattr(places, "MACHINE_OWNER", os.geteuid())

    def asks(self, source: str, setting: Setting[Any], said: str | int) -> str:
        """Let somebody of the floor ask for something; returns what results call them."""
        if source == "flag":
            self._asked = {setting.name: str(said)}
            return setting.flag
        if source == "environment":
            self._patch.setenv(setting.variable, str(said))
            return setting.variable
        return self.writes(source, f"[policy]\n{setting.name} = {said!r}\n")

    def writes(self, source: str, text: str) -> str:
        """Let somebody of the floor write a file."""
        if source == "named by a variable":
            self._patch.setenv("CARNET_CONFIG", str(self.own))
        self._named = self.own if source == "named by a flag" else None
        file = self._files.get(source, self.own)
        file.write_text(text)
        file.chmod(0o600)
        return str(file)

    def load(self, project: str) -> config.Settings:
        (self.project / "carnet.toml").write_text(project)
        return config.load(self.project, now=NOW, file=self._named, asked=self._asked)

    def decide(self, project: str) -> Policy:
        return self.load(project).policy


@pytest.fixture
def voices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Voices:
    return Voices(tmp_path, monkeypatch)


def values(setting: Setting[Any]) -> list[tuple[str | int, Any]]:
    """What may be written of a setting, with its value, the one that lets most in first."""
    found = []
    for said in WRITTEN:
        if type(said) is setting.form:
            try:
                found.append((said, setting.read(said)))
            except FormatError:
                continue
    for (_, one), (_, other) in itertools.product(found, repeat=2):
        assert setting.stricter(one, other) == setting.stricter(other, one) in (one, other)
    ordered: list[tuple[str | int, Any]] = []
    for said, one in found:
        place = sum(setting.stricter(one, other) == one for _, other in ordered)
        ordered.insert(place, (said, one))
    assert len(ordered) >= 3, f"WRITTEN has too little for {setting.name}"
    return ordered


def broken(rule: Rule, patch: pytest.MonkeyPatch) -> Callable[[Policy], bool]:
    """Let a rule find fault with every crate, so that any rule can be tried; returns whether it denies `leaf`."""
    patch.setitem(vars(rule), "judge", lambda facts, *_: [Breach(f"{facts.crate} breaks {rule.name}")])
    patch.setitem(vars(rule), "needs", ())
    patch.setitem(vars(rule), "in_force", whatever)
    origin = min(rule.origins, key=str)
    return lambda policy: any(
        finding.rule is rule
        for finding in evaluate(Facts(LEAF, Level.REGISTRY, origin=origin), policy, now=NOW).denials
    )


def exception(rule: Rule, crates: str) -> str:
    return f'[[exception]]\ncrates = "{crates}"\nrule = "{rule.name}"\nreason = "r"\nexpires = 2026-07-01\n'


settings = pytest.mark.parametrize("setting", rules.settings(), ids=lambda one: one.name)
# What no crate can break is about the machine that builds, and is asked of the policy by the gate.
CRATE_RULES = [rule for rule in rules.ALL if rule.origins]
every_rule = pytest.mark.parametrize("rule", CRATE_RULES, ids=lambda one: one.name)
every_source = pytest.mark.parametrize("source", SOURCES)
every_file = pytest.mark.parametrize("source", SOURCES[2:])


@settings
@every_source
def test_a_project_lowers_no_setting(voices: Voices, setting: Setting[Any], source: str) -> None:
    (loose, _), *_, (strict, value) = values(setting)
    asker = voices.asks(source, setting, strict)
    for where in ("[policy]", *(f'[[require]]\ncrates = "{crates}"' for crates in PATTERNS)):
        settled = voices.load(f"{where}\n{setting.name} = {loose!r}\n")
        assert settled.policy.asks(setting, LEAF) == value
        assert settled.policy.who_asks(setting, LEAF) == asker
        if where == "[policy]" and not source.startswith("named"):
            (remark,) = settled.remarks
            assert remark.startswith(
                f"{voices.project}/carnet.toml: {setting.name} = {loose} does not count: {asker} asks"
            )


@settings
@every_source
def test_a_project_raises_every_setting(voices: Voices, setting: Setting[Any], source: str) -> None:
    (loose, value), *_, (strict, more) = values(setting)
    voices.asks(source, setting, loose)
    for where in ("[policy]", *(f'[[require]]\ncrates = "{crates}"' for crates in PATTERNS)):
        policy = voices.decide(f"{where}\n{setting.name} = {strict!r}\n")
        named = source.startswith("named")  # a file that stands in the place of the project's
        assert policy.asks(setting, LEAF) == (value if named else more)
        assert (policy.who_asks(setting, LEAF) == f"{voices.project}/carnet.toml") is not named


@every_rule
@every_file
def test_a_project_weakens_no_rule(voices: Voices, monkeypatch: pytest.MonkeyPatch, rule: Rule, source: str) -> None:
    denies = broken(rule, monkeypatch)
    asker = voices.writes(source, f'[rules]\n{rule.name} = "deny"\n')
    forms = [f'[rules]\n{rule.name} = "{action}"\n' for action in Action]
    forms += [exception(rule, crates) for crates in PATTERNS]
    forms += [f'[project]\nmay-except = ["{rule.name}"]\n{exception(rule, crates)}' for crates in PATTERNS]
    for form in forms:
        policy = voices.decide(form)
        assert denies(policy), form
        assert policy.who_says(rule) == asker


@every_rule
def test_a_project_weakens_no_default(voices: Voices, monkeypatch: pytest.MonkeyPatch, rule: Rule) -> None:
    denies = broken(rule, monkeypatch)
    for form in ('[rules]\n{0} = "allow"\n', '[rules]\n{0} = "warn"\n'):
        policy = voices.decide(form.format(rule.name))
        assert policy.action(rule) >= rule.default
        assert denies(policy) == (rule.default is Action.DENY)
    for crates in PATTERNS:
        assert denies(voices.decide(exception(rule, crates))) == (rule.default is Action.DENY)


@every_rule
@every_file
def test_a_project_strengthens_every_rule_and_excepts_from_what_it_alone_asks(
    voices: Voices, monkeypatch: pytest.MonkeyPatch, rule: Rule, source: str
) -> None:
    denies = broken(rule, monkeypatch)
    voices.writes(source, f'[rules]\n{rule.name} = "warn"\n')
    assert not denies(voices.decide(""))
    deny = f'[rules]\n{rule.name} = "deny"\n'
    if not source.startswith("named"):
        assert denies(voices.decide(deny))
        assert denies(voices.decide(deny + exception(rule, "other")))
    for crates in PATTERNS:
        assert not denies(voices.decide(deny + exception(rule, crates)))


@every_rule
@every_file
def test_what_the_floor_lets_projects_except_they_except(
    voices: Voices, monkeypatch: pytest.MonkeyPatch, rule: Rule, source: str
) -> None:
    """And the floor's own exceptions hold, whatever the project says."""
    denies = broken(rule, monkeypatch)
    deny, let = f'[rules]\n{rule.name} = "deny"\n', f'[project]\nmay-except = ["{rule.name}"]\n'
    if not source.startswith("named"):
        voices.writes(source, deny + let)
        assert denies(voices.decide(""))
        assert denies(voices.decide(exception(rule, "other")))
        for crates in PATTERNS:
            assert not denies(voices.decide(exception(rule, crates)))
        for other in rules.ALL:
            voices.writes(source, f'{deny}[project]\nmay-except = ["{other.name}"]\n')
            assert denies(voices.decide(exception(rule, "*"))) is (other is not rule)
    voices.writes(source, deny + exception(rule, "leaf"))
    assert not denies(voices.decide(deny))


def test_bans_of_the_floor_stay_and_those_of_projects_add_up(voices: Voices) -> None:
    ban = '[[ban]]\ncrates = "{0}"\nreason = "says {0}"\n'
    voices.writes("machine", ban.format("mine"))
    voices.writes("user", ban.format("yours"))
    policy = voices.decide(ban.format("ours"))
    assert {str(one.pattern): Path(one.source).parent.name for one in policy.bans} == {
        "mine": "etc",
        "yours": "carnet",
        "ours": "project",
    }


def test_each_voice_decides_over_the_next(voices: Voices) -> None:
    """A flag, a variable, the machine and the user, in this order; the user may ask for more than the machine."""
    setting = next(one for one in rules.settings() if one.name == "least-level")
    voices.asks("user", setting, "registry")
    voices.asks("machine", setting, "maintainer")
    assert voices.decide("").asks(setting, LEAF) is Level.MAINTAINER
    voices.asks("user", setting, "provenance")
    assert voices.decide("").asks(setting, LEAF) is Level.PROVENANCE
    voices.asks("environment", setting, "maintainer")
    assert voices.decide("").asks(setting, LEAF) is Level.MAINTAINER
    voices.asks("flag", setting, "registry")
    assert voices.decide("").asks(setting, LEAF) is Level.REGISTRY


def test_the_user_weakens_no_rule_of_the_machine(voices: Voices) -> None:
    voices.writes("machine", '[rules]\nyanked = "deny"\n')
    voices.writes("user", '[rules]\nyanked = "allow"\ntakeover = "warn"\nmass-yank = "deny"\n')
    policy = voices.decide("")
    said = {name: str(policy.action(rules.named(name))) for name in ("yanked", "takeover", "mass-yank")}
    assert said == {"yanked": "deny", "takeover": "warn", "mass-yank": "deny"}
