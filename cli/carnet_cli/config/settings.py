"""`carnet.toml`, the environment and flags: what a build asks, and which repository it trusts.

The file stands beside `Cargo.lock`; `docs/build-systems.md` shows every key. Precedence: flag, environment, file,
default. A key that carnet does not know is an error, because a rule with a typing mistake would silently not be one.
Which rules there are, and what may be asked with each, the rules say themselves (`carnet_verifier.policy.rules`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from carnet.durable import read_file
from carnet.errors import ConfigError, FormatError
from carnet.value import field, value
from carnet_verifier.policy import rules
from carnet_verifier.policy.policy import Ban, Demand, Excuse, Pattern, Policy
from carnet_verifier.policy.rule import Action, Rule, Setting

FILE_NAME = "carnet.toml"
MAX_BYTES = 1_000_000
LONGEST_EXCEPTION = timedelta(days=366)

_T = TypeVar("_T")


@value
class Settings:
    """What a command works with.

    Attributes:
        repository: Which trusted repository, by URL or fingerprint; None means the only one there is.
        policy: What a crate must fulfil.
        file: Where it was read from, or None when there is no file.
        remarks: What the user should know about the file, such as an exception whose time is over.
    """

    repository: str | None = None
    policy: Policy = field(default_factory=Policy)
    file: Path | None = None
    remarks: tuple[str, ...] = ()


def load(
    folder: Path,
    *,
    now: datetime,
    file: Path | None = None,
    repository: str | None = None,
    asked: Mapping[str, str] | None = None,
) -> Settings:
    """Put together what holds for a command.

    Args:
        folder: Where `Cargo.lock` is, and so `carnet.toml`.
        now: The time of the command.
        file: The flag that names another file.
        repository: The flag of that name.
        asked: The flags that the settings of rules have, by the setting's name.

    Raises:
        ConfigError: The file, the environment or a flag is wrong.
    """
    named = file or _path_from_environment()
    settings = read(named or folder / FILE_NAME, now=now, required=named is not None)
    repository = repository or os.environ.get("CARNET_REPOSITORY") or settings.repository
    said = _said_outside_files(asked or {})
    if not said and repository == settings.repository:
        return settings
    from dataclasses import replace

    policy = replace(settings.policy, settings={**settings.policy.settings, **said}) if said else settings.policy
    return replace(settings, repository=repository, policy=policy)


def variable(setting: Setting[Any]) -> str:
    """The environment variable of a setting: `CARNET_LEAST_LEVEL` of `least-level`."""
    return f"CARNET_{setting.name.upper().replace('-', '_')}"


def _said_outside_files(asked: Mapping[str, str]) -> dict[Setting[Any], Any]:
    """What flags say, and where they say nothing, the environment."""
    found: dict[Setting[Any], Any] = {}
    for setting in rules.settings():
        text = asked.get(setting.name) or os.environ.get(variable(setting))
        if text:
            where = f"from --{setting.name} or {variable(setting)}"
            number = setting.form is int and text.isascii() and text.isdecimal() and len(text) <= 9
            written = int(text) if number else text
            found[setting] = _setting(setting, written, where)
    return found


def read(path: Path, *, now: datetime, required: bool = False) -> Settings:
    """Read one `carnet.toml`.

    Args:
        path: The file.
        now: Exceptions must end within a year from here.
        required: Whether it is an error when the file does not exist.

    Raises:
        ConfigError: It is missing though required, not TOML, or says something that carnet does not know.
    """
    try:
        data = read_file(path, "the configuration", max_bytes=MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise ConfigError(f"{path} does not exist") from None
        return Settings()
    from carnet import stricttoml  # its parser takes as long to import as the rest of a look at a lock

    try:
        document = stricttoml.parse(data, str(path), max_bytes=MAX_BYTES)
    except FormatError as error:
        raise ConfigError(str(error), hint="docs/build-systems.md shows every key of it") from None
    return _settings(document, path, now)


def _settings(document: Mapping[str, Any], path: Path, now: datetime) -> Settings:
    where = str(path)
    _only(document, {"repository", "policy", "rules", "require", "ban", "exception"}, where)
    repository = document.get("repository")
    if repository is not None and not isinstance(repository, str):
        raise ConfigError(f"{where}: repository is not a string")
    general = _table(document.get("policy", {}), "[policy]", where)
    excuses = tuple(_excuse(item, where, now) for item in _tables(document, "exception", where))
    policy = Policy(
        settings=_asked(general, f"{where}: [policy]"),
        demands=tuple(_demand(item, where) for item in _tables(document, "require", where)),
        rules=_rules(_table(document.get("rules", {}), "[rules]", where), where),
        bans=tuple(_ban(item, where) for item in _tables(document, "ban", where)),
        excuses=excuses,
    )
    remarks = tuple(
        f"{where}: the exception for {excuse.pattern} [{excuse.rule.name}] ended on {excuse.expires.date()}"
        for excuse in excuses
        if excuse.expires <= now
    )
    return Settings(repository, policy, path, remarks)


def _rules(table: Mapping[str, Any], where: str) -> dict[Rule, Action]:
    actions = {}
    for name, text in table.items():
        rule = _rule(name, f"{where}: [rules]")
        found = [action for action in Action if str(action) == text]
        if not found:
            raise ConfigError(f"{where}: [rules] {name} is {text!r}", hint="a rule is deny, warn or allow")
        actions[rule] = found[0]
    return actions


def _demand(item: Mapping[str, Any], where: str) -> Demand:
    where = f"{where}: [[require]]"
    pattern = _pattern(item, where)
    asked = _asked({key: said for key, said in item.items() if key != "crates"}, where)
    if not asked:
        names = " or ".join(f"`{setting.name}`" for setting in rules.settings())
        raise ConfigError(f"{where} needs {names}", hint="say what is asked of these crates")
    return Demand(pattern, asked)


def _ban(item: Mapping[str, Any], where: str) -> Ban:
    where = f"{where}: [[ban]]"
    _only(item, {"crates", "reason"}, where)
    return Ban(_pattern(item, where), _reason(item, where))


def _excuse(item: Mapping[str, Any], where: str, now: datetime) -> Excuse:
    where = f"{where}: [[exception]]"
    _only(item, {"crates", "rule", "reason", "expires"}, where)
    pattern, rule = _pattern(item, where), _rule(_needed(item, "rule", where), where)
    return Excuse(pattern, rule, _reason(item, where), _expiry(_needed(item, "expires", where), where, now))


def _expiry(value: Any, where: str, now: datetime) -> datetime:
    if not isinstance(value, date):  # a datetime is one too
        raise ConfigError(f"{where}: expires is not a date", hint="write it without quotes: expires = 2027-01-31")
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)  # noqa: DTZ001  -- the next line gives it its zone
    expires: datetime = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    if expires > now + LONGEST_EXCEPTION:
        raise ConfigError(
            f"{where}: expires on {expires.date()}, more than a year from now",
            hint="an exception is for a while; look at it again within a year",
        )
    return expires


def _pattern(item: Mapping[str, Any], where: str) -> Pattern:
    return _value(Pattern, _needed(item, "crates", where), "crates", where)


def _reason(item: Mapping[str, Any], where: str) -> str:
    reason = _needed(item, "reason", where)
    if not isinstance(reason, str) or not reason.strip():
        raise ConfigError(f"{where}: reason is empty", hint="say why, for whoever reads it in a year")
    return " ".join(reason.split())


def _rule(name: Any, where: str) -> Rule:
    return _value(rules.named, name, "rule", where)


def _asked(table: Mapping[str, Any], where: str) -> dict[Setting[Any], Any]:
    """What a table asks with the settings of rules; it has nothing but those."""
    settings = {setting.name: setting for setting in rules.settings()}
    _only(table, set(settings), where)
    return {settings[name]: _setting(settings[name], said, where) for name, said in table.items()}


def _setting(setting: Setting[Any], said: Any, where: str) -> Any:
    return _value(setting.read, said, setting.name, where, setting.form)


def _value(read_as: Callable[[Any], _T], value: Any, what: str, where: str, form: type = str) -> _T:
    if type(value) is not form:
        raise ConfigError(f"{where}: {what} is not a {'string' if form is str else 'whole number'}")
    try:
        return read_as(value)
    except FormatError as error:
        raise ConfigError(f"{where}: {what}: {error}", hint=error.hint) from None


def _needed(item: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in item:
        raise ConfigError(f"{where} needs `{key}`")
    return item[key]


def _only(table: Mapping[str, Any], known: set[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key[:60]!a}", hint=f"known are {', '.join(sorted(known))}")


def _table(value: Any, name: str, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: {name} is not a table")
    return value


def _tables(document: Mapping[str, Any], name: str, where: str) -> list[Mapping[str, Any]]:
    value = document.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ConfigError(f"{where}: write [[{name}]], with two brackets")
    return value


def _path_from_environment() -> Path | None:
    value = os.environ.get("CARNET_CONFIG")
    return Path(value) if value else None
