"""`--let-in FILE`: versions that an operator lets in although their index lines are not their manifests'."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from carnet import stricttoml
from carnet.cargo.let_in import LetIn
from carnet.cargo.names import CrateId
from carnet.durable import read_file
from carnet.errors import ConfigError, FormatError
from carnet_cli.config.policy_file import expiry

MAX_FILE = 256 * 1024
"""Bytes in such a file."""
_FIELDS = {"crate", "sha256", "reason", "expires"}
_HINT = "docs/mirror.md shows such a file"


def read_let_in_file(path: Path, now: datetime) -> dict[CrateId, LetIn]:
    """Read the file.

    Args:
        path: Where it is.
        now: The time: each entry has to end, within a year.

    Raises:
        ConfigError: It is not there, or is not of this form.
    """
    try:
        document = stricttoml.parse(read_file(path, "the file", max_bytes=MAX_FILE), str(path), max_bytes=MAX_FILE)
    except FileNotFoundError:
        raise ConfigError(f"there is no {path}", hint=_HINT) from None
    except FormatError as error:
        raise ConfigError(str(error), hint=_HINT) from None
    entries = document.get("let-in")
    if document.keys() != {"let-in"} or not isinstance(entries, list):
        raise ConfigError(f"{path} is not a list of [[let-in]]", hint=_HINT)
    found: dict[CrateId, LetIn] = {}
    for entry in entries:
        crate, said = _entry(entry, f"{path}: [[let-in]]", now)
        if crate in found:
            raise ConfigError(f"{path} lets {crate} in twice", hint="leave one of the two")
        found[crate] = said
    return found


def _entry(entry: Any, where: str, now: datetime) -> tuple[CrateId, LetIn]:
    if not isinstance(entry, dict) or entry.keys() != _FIELDS:
        raise ConfigError(f"{where} has not exactly crate, sha256, reason and expires", hint=_HINT)
    crate, sha256, reason = entry["crate"], entry["sha256"], entry["reason"]
    if not isinstance(crate, str) or not isinstance(sha256, str) or not isinstance(reason, str):
        raise ConfigError(f"{where}: crate, sha256 and reason are strings", hint=_HINT)
    expires = expiry(entry["expires"], where, now)
    if expires <= now:
        raise ConfigError(
            f"{where}: {crate[:80]!a} ended on {expires.date()}", hint="look at it again, or leave it out"
        )
    try:
        return CrateId.parse(crate), LetIn(sha256, " ".join(reason.split()), expires)
    except FormatError as error:
        raise ConfigError(f"{where}: {error}", hint=error.hint or _HINT) from None
