"""netrc: a name and a password for a host, as curl, git and others read them.

A line of netrc names a host, and no scheme and no port. So it counts for `https://HOST` at its usual port alone, or for
this machine itself; for another port, `machine HOST:PORT` says which. An entry `default`, which is for any host at all,
does not count.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from carnet.durable import read_file
from carnet.errors import ConfigError
from carnet_verifier.net.address import basic
from carnet_verifier.net.route import LOOPBACK, Identity, Origin

_MAX_BYTES = 1_000_000


def identity_from_netrc(origin: Origin, file: Path) -> Identity | None:
    """Who one is at an origin, as a netrc says; None when it says nothing of it.

    Args:
        origin: The server.
        file: The user's netrc.

    Raises:
        ConfigError: It says something, and others than the user can read it.
        StorageError: It cannot be read.
    """
    found: list[os.stat_result] = []
    try:
        data = read_file(file, "netrc", max_bytes=_MAX_BYTES, check=found.append)
    except (FileNotFoundError, NotADirectoryError):
        return None
    host = origin.target.rpartition(":")[0]
    usual = origin.port == 443 or origin.host in LOOPBACK
    wanted = (origin.target, host, origin.host) if usual else (origin.target,)
    entries = dict(reversed(list(_entries(data.decode("utf-8", "surrogateescape")))))  # the first one counts
    name = next((one for one in wanted if one in entries), None)
    if name is None:
        return None
    if found[0].st_uid != os.geteuid() or found[0].st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"{file} has a password for {name}, and others than you can read or change it",
            hint=f"`chmod 600 {file}`, and `chown` it when it is another user's; then change the password",
        )
    user, password = entries[name]
    header = basic(user.encode("utf-8", "surrogateescape"), password.encode("utf-8", "surrogateescape"))
    return Identity(f"{file} (machine {name})", header)


def _entries(text: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Each machine, with its login and its password; empty where it has none."""
    machine, user, password = "", "", ""
    words = iter(list(_words(text)))
    for word in words:
        if word in ("machine", "default"):
            if machine:
                yield machine, (user, password)
            machine, user, password = next(words, "") if word == "machine" else "", "", ""
            machine = machine.lower()
        elif word == "login":
            user = next(words, "")
        elif word == "password":
            password = next(words, "")
        elif word == "account":
            next(words, "")
    if machine:
        yield machine, (user, password)


def _words(text: str) -> Iterator[str]:
    """The words of a netrc: without comments and macros, with `"..."` as one word, in which a backslash quotes."""
    lines = iter(text.splitlines())
    for line in lines:
        rest = line.lstrip()
        while rest and not rest.startswith("#"):
            if rest.startswith('"'):
                word, rest = _quoted(rest[1:])
            else:
                word, *after = rest.split(None, 1)
                rest = after[0] if after else ""
            if word == "macdef":  # up to an empty line
                while next(lines, "").strip():
                    pass
                break
            yield word
            rest = rest.lstrip()


def _quoted(rest: str) -> tuple[str, str]:
    word, letters = "", iter(enumerate(rest))
    for place, letter in letters:
        if letter == "\\":
            word += next(letters, (0, ""))[1]
        elif letter == '"':
            return word, rest[place + 1 :]
        else:
            word += letter
    return word, ""
