"""One `carnet.toml`: what a file says, as values. Which of several files decides is `carnet_cli.config.settings`'.

A key that carnet does not know is an error, because a rule with a typing mistake would silently not be one. Which rules
there are, and what may be asked with each, the rules say themselves (`carnet_verifier.policy.rules`).
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

MAX_BYTES = 1_000_000
RUN = {"seconds": 3600, "megabytes": 16_384, "pull-seconds": 300}
"""What `[run]` may say, and what holds where nobody does."""
_MOST_OF_A_RUN = 10_000_000
LONGEST_EXCEPTION = timedelta(days=366)

_T = TypeVar("_T")


@value
class PolicyFile:
    """What a file says.

    Attributes:
        path: The file.
        policy: What it asks of crates.
        repository: Which trusted repository, by URL or fingerprint, or None.
        may_choose: The repositories that projects may choose among; None when it does not say.
        run: What a run may cost, by `RUN`'s names, as far as it says so.
        remarks: What its reader should know, such as an exception whose time is over.
    """

    path: Path
    policy: Policy = field(default_factory=Policy)
    repository: str | None = None
    may_choose: frozenset[str] | None = None
    run: Mapping[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def read(path: Path, *, now: datetime, check: Callable[[os.stat_result], None] | None = None) -> PolicyFile | None:
    """Read one `carnet.toml`.

    Args:
        path: The file.
        now: Exceptions must end within a year from here.
        check: Looks at the opened file's owner and permissions, and raises to refuse it.

    Returns:
        What it says; None when there is no such file.

    Raises:
        ConfigError: It is not TOML, says something that carnet does not know, or `check` refused it.
        StorageError: It cannot be read, or is no file.
    """
    try:
        data = read_file(path, "the configuration", max_bytes=MAX_BYTES, check=check)
    except (FileNotFoundError, NotADirectoryError):
        return None
    from carnet import stricttoml  # its parser takes as long to import as the rest of a look at a lock

    try:
        document = stricttoml.parse(data, str(path), max_bytes=MAX_BYTES)
    except FormatError as error:
        raise ConfigError(str(error), hint="docs/build-systems.md shows every key of it") from None
    return _policy_file(document, path, now)


def said_by(texts: Mapping[Setting[Any], str], source: Callable[[Setting[Any]], str]) -> Policy:
    """What flags or the environment say, as a policy of those settings alone.

    Args:
        texts: What was said, by setting.
        source: The name of the flag or variable.

    Raises:
        ConfigError: It is no value of that setting.
    """
    settings = {}
    for setting, text in texts.items():
        digits = text.removeprefix("-")
        number = setting.form is int and digits.isascii() and digits.isdecimal() and len(digits) <= 9
        where = f"from {setting.flag} or {setting.variable}"
        settings[setting] = _setting(setting, int(text) if number else text, where)
    return Policy(settings, sources={setting: source(setting) for setting in settings})


def _policy_file(document: Mapping[str, Any], path: Path, now: datetime) -> PolicyFile:
    where = str(path)
    _only(document, {"repository", "policy", "rules", "require", "ban", "exception", "project", "run"}, where)
    repository = document.get("repository")
    if repository is not None and not isinstance(repository, str):
        raise ConfigError(f"{where}: repository is not a string", hint='write repository = "https://mirror.example/"')
    general = _table(document.get("policy", {}), "[policy]", where)
    project = _table(document.get("project", {}), "[project]", where)
    _only(project, {"may-except", "may-choose"}, f"{where}: [project]")
    excuses = tuple(_excuse(item, where, now) for item in _tables(document, "exception", where))
    settings = _asked(general, f"{where}: [policy]")
    actions = _rules(_table(document.get("rules", {}), "[rules]", where), where)
    policy = Policy(
        settings,
        tuple(_demand(item, where) for item in _tables(document, "require", where)),
        actions,
        tuple(_ban(item, where) for item in _tables(document, "ban", where)),
        excuses,
        _may_except(project, f"{where}: [project]"),
        dict.fromkeys((*settings, *actions), where),
    )
    remarks = tuple(
        f"{where}: the exception for {excuse.pattern} [{excuse.rule.name}] ended on {excuse.expires.date()}"
        for excuse in excuses
        if excuse.expires <= now
    )
    chosen = None if "may-choose" not in project else frozenset(_texts(project, "may-choose", f"{where}: [project]"))
    run = _table(document.get("run", {}), "[run]", where)
    _only(run, set(RUN), f"{where}: [run]")
    costs = {name: most_of_a_run(said, name, f"{where}: [run]") for name, said in run.items()}
    return PolicyFile(path, policy, repository, chosen, costs, remarks)


def most_of_a_run(said: Any, name: str, where: str) -> int:
    """What a run may cost, as a file or a variable says it.

    Raises:
        ConfigError: It is no such number.
    """
    if type(said) is not int or not 1 <= said <= _MOST_OF_A_RUN:
        raise ConfigError(
            f"{where}: {name} is no whole number from 1 to {_MOST_OF_A_RUN}",
            hint=f"write the number alone, such as {RUN[name]}",
        )
    return said


def _may_except(project: Mapping[str, Any], where: str) -> frozenset[Rule] | None:
    if "may-except" not in project:
        return None
    return frozenset(_rule(name, where) for name in _texts(project, "may-except", where))


def _texts(table: Mapping[str, Any], key: str, where: str) -> list[str]:
    texts = table[key]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ConfigError(f"{where}: {key} is not a list of strings", hint=f'write {key} = ["...", "..."]')
    return texts


def _rules(table: Mapping[str, Any], where: str) -> dict[Rule, Action]:
    actions = {}
    for name, text in table.items():
        rule = _rule(name, f"{where}: [rules]")
        found = [action for action in Action if str(action) == text]
        if not found:
            said = repr(text[:40]) if isinstance(text, str) else "not a string"  # a number may have too many digits
            raise ConfigError(f"{where}: [rules] {name} is {said}", hint="a rule is deny, warn or allow")
        actions[rule] = found[0]
    return actions


def _demand(item: Mapping[str, Any], where: str) -> Demand:
    source, where = where, f"{where}: [[require]]"
    pattern = _pattern(item, where)
    asked = _asked({key: said for key, said in item.items() if key != "crates"}, where)
    if not asked:
        names = " or ".join(f"`{setting.name}`" for setting in rules.settings())
        raise ConfigError(f"{where} needs {names}", hint="say what is asked of these crates")
    return Demand(pattern, asked, source)


def _ban(item: Mapping[str, Any], where: str) -> Ban:
    source, where = where, f"{where}: [[ban]]"
    _only(item, {"crates", "reason"}, where)
    return Ban(_pattern(item, where), _reason(item, where), source)


def _excuse(item: Mapping[str, Any], where: str, now: datetime) -> Excuse:
    source, where = where, f"{where}: [[exception]]"
    _only(item, {"crates", "rule", "reason", "expires"}, where)
    pattern, rule = _pattern(item, where), _rule(_needed(item, "rule", where), where)
    expires = expiry(_needed(item, "expires", where), where, now)
    return Excuse(pattern, rule, _reason(item, where), expires, source)


def expiry(value: Any, where: str, now: datetime) -> datetime:
    """When something that is for a while ends, as a file writes it; it may be over.

    Args:
        value: A date or a time of TOML.
        where: The file and the table, for messages.
        now: The time.

    Raises:
        ConfigError: It is no date, or more than a year from now.
    """
    if not isinstance(value, date):  # a datetime is one too
        raise ConfigError(f"{where}: expires is not a date", hint="write it without quotes: expires = 2027-01-31")
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)  # noqa: DTZ001  -- the next lines give it its zone
    try:
        expires: datetime = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise ConfigError(f"{where}: expires at one of the ends of time", hint="write a day: 2027-01-31") from None
    if expires - now > LONGEST_EXCEPTION:  # their difference is always a time, their sum with it need not be
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
        raise ConfigError(
            f"{where}: {what} is not a {'string' if form is str else 'whole number'}",
            hint='write it in quotes: "..."' if form is str else "write the number alone, without quotes",
        )
    try:
        return read_as(value)
    except FormatError as error:
        raise ConfigError(f"{where}: {what}: {error}", hint=error.hint) from None
    except (ArithmeticError, ValueError):  # of a rule's own reading: too many digits, a time past the end of time
        raise ConfigError(f"{where}: {what} is past what can be reckoned with", hint="write a smaller one") from None


def _needed(item: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in item:
        raise ConfigError(f"{where} needs `{key}`", hint="docs/build-systems.md shows every key of it")
    return item[key]


def _only(table: Mapping[str, Any], known: set[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key[:60]!a}", hint=f"known are {', '.join(sorted(known))}")


def _table(value: Any, name: str, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: {name} is not a table", hint=f"write what is below it under [{name}]")
    return value


def _tables(document: Mapping[str, Any], name: str, where: str) -> list[Mapping[str, Any]]:
    value = document.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ConfigError(
            f"{where}: write [[{name}]], with two brackets",
            hint="each of them begins with such a line; docs/build-systems.md shows every key of it",
        )
    return value
