"""`mirror.toml` in a mirror's directory: what it brings when asked or by the clock, and what its disk keeps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

from carnet import stricttoml
from carnet.cargo.asked import AskedFor
from carnet.durable import read_file
from carnet.errors import ConfigError, FormatError
from carnet_cli.terminal import output
from carnet_mirror.pull.quotas import PullQuotas
from carnet_mirror.pull.rules import PullRules
from carnet_mirror.pull.settings import MirrorSettings, PullSettings, SyncSettings, UpstreamSettings
from carnet_mirror.state.disk import KEEP, LEAST_KEEP, RESERVE, DiskRules
from carnet_mirror.state.store import Store, check_there
from carnet_verifier.policy.policy import Pattern

FILE_NAME = "mirror.toml"
MAX_FILE = 256 * 1024
"""Bytes in such a file."""
_KEYS = ("upstream", "allow", "deny", "approve", "least-age-days", "quotas")
_SYNC_KEYS = ("every", "upstream", "crates", "lockfiles", "yanks", "least-age-days")
_UPSTREAM_KEYS = ("from", "root", "registry", "crates")
_REGISTRY = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_LABEL = re.compile(r"[a-z][a-z0-9-]{0,39}")
_EVERY = re.compile(r"([1-9][0-9]{0,4})(m|h|d)")
_SIZE = re.compile(r"([1-9][0-9]{0,5})(MB|GB|TB)")
_SIZES = {"MB": 10**6, "GB": 10**9, "TB": 10**12}
_LEAST_RESERVE = 64 * 10**6
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_QUOTAS = {one.name.replace("_", "-"): one.name for one in fields(PullQuotas)}
_MOST = 1_000_000_000
_MOST_DAYS = 3650
_HINT = "docs/mirror.md shows every key of it"


def read_mirror_file(directory: Path) -> MirrorSettings:
    """Read the file.

    Args:
        directory: The mirror's.

    Returns:
        What it says; nothing is brought where there is no file, or it has no such table.

    Raises:
        ConfigError: It is not of this form.
        StorageError: It cannot be read.
    """
    path = directory / FILE_NAME
    try:
        document = stricttoml.parse(read_file(path, "the file", max_bytes=MAX_FILE), str(path), max_bytes=MAX_FILE)
    except FileNotFoundError:
        return MirrorSettings()
    except FormatError as error:
        raise ConfigError(str(error), hint=_HINT) from None
    _only(document, ("pull", "sync", "upstreams", "metadata", "disk"), str(path))
    pull, sync, several = f"{path}: [pull]", f"{path}: [sync]", f"{path}: [upstreams]"
    metadata, disk = f"{path}: [metadata]", f"{path}: [disk]"
    named = _table(document.get("upstreams", {}), several)
    upstreams = tuple(
        _named(label, table, f"{path}: [upstreams.{label[:40]}]", directory) for label, table in named.items()
    )
    labels = frozenset(named)
    return MirrorSettings(
        _pull(_table(document["pull"], pull), pull, labels) if "pull" in document else None,
        _sync(_table(document["sync"], sync), sync, directory, labels) if "sync" in document else None,
        DiskRules(
            _reserve(_table(document.get("disk", {}), disk), disk),
            _keep(_table(document.get("metadata", {}), metadata), metadata),
        ),
        upstreams,
    )


def open_mirror(directory: Path, *, write: bool = False) -> Store:
    """Open a mirror for somebody who takes something in, or tells how much room there is.

    Raises:
        ConfigError: There is none, or its file is not of this form.
        StorageError: As `Store.open`.
    """
    check_there(directory)
    return Store.open(directory, write=write, rules=read_mirror_file(directory).disk)


def open_for_upkeep(directory: Path) -> Store:
    """Open a mirror for writing, for somebody who keeps it alive or takes something down.

    A mistake in the file, which may be about something else, keeps nobody from it: it is told, and nothing that was
    superseded is taken away meanwhile.

    Raises:
        ConfigError: There is none.
        StorageError: As `Store.open`.
    """
    check_there(directory)
    try:
        rules = read_mirror_file(directory).disk
    except ConfigError as error:
        output.warn(f"{error}; what was superseded stays meanwhile", error.hint)
        rules = DiskRules(keep=timedelta(days=_MOST_DAYS))
    return Store.open(directory, write=True, rules=rules)


def _reserve(table: Mapping[str, Any], where: str) -> int:
    _only(table, ("reserve",), where)
    said = table.get("reserve")
    if said is None:
        return RESERVE
    found = _SIZE.fullmatch(said) if isinstance(said, str) else None
    size = 0 if found is None else int(found[1]) * _SIZES[found[2]]
    if size < _LEAST_RESERVE:
        raise ConfigError(
            f"{where}: reserve is no size of {_LEAST_RESERVE // 10**6} MB or more",
            hint='write reserve = "1GB", or another number of MB, GB or TB',
        )
    return size


def _keep(table: Mapping[str, Any], where: str) -> timedelta:
    _only(table, ("keep",), where)
    said = table.get("keep")
    if said is None:
        return KEEP
    found = _EVERY.fullmatch(said) if isinstance(said, str) else None
    keep = timedelta(0) if found is None else int(found[1]) * _UNITS[found[2]]
    if not LEAST_KEEP <= keep <= timedelta(days=_MOST_DAYS):
        raise ConfigError(
            f"{where}: keep is no time of {LEAST_KEEP.days} days or more",
            hint='write keep = "7d": clients may still ask for what was superseded less than that ago',
        )
    return keep


def _named(label: str, said: Any, where: str, directory: Path) -> UpstreamSettings:
    table = _table(said, where)
    _only(table, _UPSTREAM_KEYS, where)
    if not _LABEL.fullmatch(label) or label == "cargo":
        raise ConfigError(
            f"{where}: that is no label", hint="a label is of small letters, digits and -, and not `cargo`"
        )
    place, root = table.get("from"), table.get("root")
    if not isinstance(place, str) or not place:
        raise ConfigError(
            f"{where} does not say where it is",
            hint='write from = "sparse+https://host/index/", "cargo", a folder, or with root = "FILE" another mirror',
        )
    if root is not None and (not isinstance(root, str) or not root):
        raise ConfigError(f"{where}: root is no file", hint='write root = "root.json", beside this file')
    registry = table.get("registry")
    if registry is not None and (place != "cargo" or not _REGISTRY.fullmatch(str(registry))):
        raise ConfigError(
            f"{where}: registry is none of your cargo's",
            hint='with from = "cargo", write registry = "NAME" for a [registries.NAME] of your cargo\'s configuration',
        )
    if place != "cargo" and "://" not in place:
        place = str(directory / place)
    crates = _patterns(table, "crates", where)
    if any("@" in pattern.text for pattern in crates):
        raise ConfigError(
            f"{where}: crates has a version", hint="a crate comes from one registry, with all its versions"
        )
    return UpstreamSettings(place, None if root is None else directory / root, label, crates, registry)


def _sync(table: Mapping[str, Any], where: str, directory: Path, labels: frozenset[str]) -> SyncSettings:
    _only(table, _SYNC_KEYS, where)
    every = _EVERY.fullmatch(table["every"]) if isinstance(table.get("every"), str) else None
    if every is None:
        raise ConfigError(f"{where} does not say how often", hint='write every = "1h", or minutes (m) or days (d)')
    yanks = table.get("yanks", False)
    if not isinstance(yanks, bool):
        raise ConfigError(f"{where}: yanks is neither true nor false", hint="write yanks = true")
    try:
        crates = tuple(AskedFor.parse(text) for text in _strings(table, "crates", where, '["serde@1", "tokio"]'))
    except FormatError as error:
        raise ConfigError(f"{where}: crates: {error}", hint=error.hint) from None
    locks = tuple(directory / text for text in _strings(table, "lockfiles", where, '["/srv/app/Cargo.lock"]'))
    if not crates and not locks and not yanks:
        raise ConfigError(
            f"{where} names nothing", hint="write crates = [...], lockfiles = [...], yanks = true, or leave it away"
        )
    days = _number(table, "least-age-days", where, 3, least=0, most=_MOST_DAYS)
    rules = PullRules((Pattern("*"),), least_age=timedelta(days=days))
    return SyncSettings(_upstream(table, where, labels), int(every[1]) * _UNITS[every[2]], crates, locks, yanks, rules)


def _pull(table: Mapping[str, Any], where: str, labels: frozenset[str]) -> PullSettings:
    _only(table, _KEYS, where)
    upstream = _upstream(table, where, labels)
    if "allow" not in table and "approve" not in table:
        raise ConfigError(f"{where} lets nothing be brought", hint='write allow = ["*"], or name crates')
    days = _number(table, "least-age-days", where, 3, least=0, most=_MOST_DAYS)
    rules = PullRules(
        _patterns(table, "allow", where),
        _patterns(table, "deny", where),
        _patterns(table, "approve", where),
        timedelta(days=days),
    )
    return PullSettings(upstream, rules, _quotas(_table(table.get("quotas", {}), f"{where}.quotas"), f"{where}.quotas"))


def _upstream(table: Mapping[str, Any], where: str, labels: frozenset[str]) -> str:
    upstream = table.get("upstream")
    if not isinstance(upstream, str) or not (
        upstream == "cargo" or upstream in labels or upstream.startswith("sparse+")
    ):
        raise ConfigError(
            f"{where}: upstream is neither `cargo`, nor the URL of a sparse index, nor one of [upstreams]",
            hint='write upstream = "cargo" for your own cargo, "sparse+https://host/index/", or "NAME" with a table '
            "[upstreams.NAME]",
        )
    return upstream


def _quotas(table: Mapping[str, Any], where: str) -> PullQuotas:
    _only(table, tuple(_QUOTAS), where)
    return PullQuotas(**{_QUOTAS[key]: _number(table, key, where, 1, least=1, most=_MOST) for key in table})


def _number(table: Mapping[str, Any], key: str, where: str, otherwise: int, *, least: int, most: int) -> int:
    said = table.get(key, otherwise)
    if type(said) is not int or not least <= said <= most:
        raise ConfigError(
            f"{where}: {key} is no whole number from {least} to {most}", hint="write the number alone, without quotes"
        )
    return said


def _patterns(table: Mapping[str, Any], key: str, where: str) -> tuple[Pattern, ...]:
    try:
        return tuple(Pattern(text) for text in _strings(table, key, where, '["serde", "acme-*"]'))
    except FormatError as error:
        raise ConfigError(f"{where}: {key}: {error}", hint=error.hint) from None


def _strings(table: Mapping[str, Any], key: str, where: str, example: str) -> list[str]:
    said = table.get(key, [])
    if not isinstance(said, list) or not all(isinstance(text, str) for text in said):
        raise ConfigError(f"{where}: {key} is not a list of strings", hint=f"write {key} = {example}")
    return said


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} is not a table", hint=_HINT)
    return value


def _only(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key[:60]!a}", hint=f"known are {', '.join(sorted(known))}")
