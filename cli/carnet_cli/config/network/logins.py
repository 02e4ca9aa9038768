"""Who one is at mirrors that ask: `logins.toml` beside the user's `carnet.toml`, for the user alone to read.

::

    ["https://mirror.example"]            # an origin: scheme, host and port, exactly
    token = "..."                         # or user and password; or keyring = true, and the system's keyring has it
    client-certificate = "/path/to.pem"   # and client-key, where that is another file

It does not lie in carnet's home, which CI caches. What is said of one origin goes to no other, wherever that leads.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from carnet import durable
from carnet.errors import ConfigError, FormatError
from carnet.value import value
from carnet_cli.config import places
from carnet_cli.config.ancestors import require_held
from carnet_verifier.net.address import basic, parse_url
from carnet_verifier.net.route import Identity, Origin, may_be_told

_MAX_BYTES = 1_000_000
_TOKEN = re.compile(r"[!-~]{1,4096}\Z")
_KEYS = ("token", "user", "password", "keyring", "client-certificate", "client-key")
_SERVICE = "carnet"
_WHY = "that holds who you are at mirrors"


@value
class Login:
    """What is remembered for one origin.

    Attributes:
        secret: A token, or the password that belongs to `user`; None when there is none, or the keyring has it.
        user: The name that a password belongs to; None for a token.
        keyring: Whether the system's keyring has the secret.
        certificate: PEM file of a client certificate, absolute, or None.
        private_key: PEM file of its key, absolute; None when the certificate's file holds it.
    """

    secret: str | None = None
    user: str | None = None
    keyring: bool = False
    certificate: str | None = None
    private_key: str | None = None

    def __repr__(self) -> str:
        return f"Login(user={self.user!r}, keyring={self.keyring}, certificate={self.certificate!r})"


def origin_of(url: str) -> Origin:
    """The origin of a mirror's URL, which can be told who one is.

    Raises:
        ConfigError: It is no URL, or what is told there could be read on the way.
    """
    origin = parse_url(url.removeprefix("sparse+"), "mirror").origin
    if not may_be_told(origin):
        raise ConfigError(
            f"{origin.url} is spoken to in the clear: everybody on the way would read who you are",
            hint="name its https:// URL",
        )
    return origin


def identity_at(origin: Origin, file: Path) -> Identity | None:
    """Who one is at an origin; None when one did not log in there.

    Args:
        origin: The server.
        file: The file of logins.

    Raises:
        ConfigError: Others can read or write the file, or it is wrong, or the keyring does not say.
        StorageError: It cannot be read.
    """
    login = read_logins(file).get(origin.url)
    return None if login is None else _identity(login, origin, file)


def identity_of(login: Login, origin: Origin) -> Identity:
    """Who one would be at an origin with a login that is not kept yet.

    Raises:
        ConfigError: What is secret in it cannot be sent.
    """
    return _identity(login, origin, None)


def _identity(login: Login, origin: Origin, file: Path | None) -> Identity:
    secret = _from_keyring(origin) if login.keyring and login.secret is None else login.secret
    source = "what you gave" if file is None else f"the system's keyring, by {file}," if login.keyring else str(file)
    header = ""
    if secret is not None and login.user is not None:
        header = basic(login.user.encode(), secret.encode())
    elif secret is not None:
        if _TOKEN.match(secret) is None:
            raise ConfigError(
                f"the token for {origin.url} has characters that a token does not have",
                hint="look for a blank, or a letter that is not ASCII; a password comes with `--user NAME`",
            )
        header = f"Bearer {secret}"
    return Identity(source, header, login.certificate, login.private_key)


def read_logins(file: Path) -> dict[str, Login]:
    """Every login, by origin; none when there is no file.

    Raises:
        ConfigError: Others can read or write the file, or it is wrong.
        StorageError: It cannot be read.
    """
    from carnet import stricttoml

    try:
        data = durable.read_file(file, "the logins", max_bytes=_MAX_BYTES, check=lambda found: _refuse(file, found))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    require_held(file, "you", (os.geteuid(),), _WHY)
    try:
        document = stricttoml.parse(data, str(file), max_bytes=_MAX_BYTES)
    except FormatError:  # whose text could repeat a line of it
        raise ConfigError(
            f"{file} is not TOML", hint="`carnet trust login URL` writes it anew, once it is removed"
        ) from None
    return {url: _login(table, url, file) for url, table in document.items()}


def _refuse(file: Path, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"{file} holds who you are at mirrors, and others than you can read or change it",
            hint=f"`chmod 600 {file}`, and `chown` it when it is another user's; then ask for new tokens",
        )


def _login(table: object, url: str, file: Path) -> Login:
    where = f"{file}: [{url[:200]!a}]"
    if not isinstance(table, dict):
        raise ConfigError(f"{where} is not a table", hint="`carnet trust login URL` writes it")
    for key in table:
        if key not in _KEYS:
            raise ConfigError(f"{where}: unknown key {key[:60]!a}", hint=f"known are {', '.join(_KEYS)}")
    keyring = table.get("keyring", False)
    texts = {key: table.get(key) for key in _KEYS if key != "keyring"}
    if not isinstance(keyring, bool) or not all(isinstance(text, str | None) for text in texts.values()):
        raise ConfigError(f"{where}: a value is of another kind", hint="all are strings; keyring is true or false")
    secret = texts["token"] if texts["user"] is None else texts["password"]
    return Login(secret, texts["user"], keyring, texts["client-certificate"], texts["client-key"])


# --- changing them ---


def keep(origin: Origin, login: Login) -> Path:
    """Remember who one is at an origin, in the place of what was remembered.

    Returns:
        The file.

    Raises:
        ConfigError: There is no folder for it, others could write there, or there is no keyring.
        StorageError: The disk failed.
    """
    file = _file()
    logins = read_logins(file)
    if login.keyring:
        with _as_config_error():
            _keyring().set_password(_SERVICE, origin.url, login.secret or "")
        login = Login(None, login.user, True, login.certificate, login.private_key)
    logins[origin.url] = login
    _write(file, logins)
    return file


def forget(origin: Origin) -> Path:
    """Forget who one is at an origin.

    Raises:
        ConfigError: Nobody is logged in there.
        StorageError: The disk failed.
    """
    file = _file()
    logins = read_logins(file)
    login = logins.pop(origin.url, None)
    if login is None:
        known = ", ".join(sorted(logins)) or "nowhere"
        raise ConfigError(f"you are not logged in at {origin.url}", hint=f"logged in: {known}")
    if login.keyring:
        with _as_config_error():
            _keyring().delete_password(_SERVICE, origin.url)
    _write(file, logins)
    return file


def _file() -> Path:
    """Where logins are kept, in a folder that is there and that nobody else can write to."""
    file = places.logins_file()
    if file is None:
        raise ConfigError("neither XDG_CONFIG_HOME nor HOME is set", hint="set HOME to a folder of your own")
    durable.make_folder(file.parent, mode=0o700)
    require_held(file, "you", (os.geteuid(),), _WHY)
    return file


def _write(file: Path, logins: Mapping[str, Login]) -> None:
    from carnet_gate.home import quoted  # brings much that a look at a login does not need

    lines = ["# Written by `carnet trust login`; see docs/networks.md."]
    for url, login in sorted(logins.items()):
        lines += ["", f"[{quoted(url)}]"]
        said = {
            "user": login.user,
            "token" if login.user is None else "password": login.secret,
            "client-certificate": login.certificate,
            "client-key": login.private_key,
        }
        lines += [f"{key} = {quoted(text)}" for key, text in said.items() if text is not None]
        lines += ["keyring = true"] if login.keyring else []
    durable.write_file(file, "\n".join([*lines, ""]).encode(), mode=0o600)


# --- the system's keyring ---


def _from_keyring(origin: Origin) -> str:
    with _as_config_error():
        secret = _keyring().get_password(_SERVICE, origin.url)
    if not isinstance(secret, str):
        raise ConfigError(
            f"the system's keyring has nothing for {origin.url}", hint=f"`carnet trust login {origin.url} --keyring`"
        )
    return secret


def _keyring() -> Any:
    try:
        import keyring  # an extra, which few have and fewer use
    except ImportError:
        raise ConfigError(
            "there is no `keyring` here, which speaks to the system's",
            hint="install carnet's extra `keyring` (`pip install '.[keyring]'` in a checkout), or log in without it",
        ) from None
    return keyring


@contextlib.contextmanager
def _as_config_error() -> Iterator[None]:
    """What a backend says may be anything, and could repeat what it was given: its kind is said, and nothing else."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001  -- any backend's
        raise ConfigError(
            f"the system's keyring did not do it ({type(error).__name__})",
            hint="unlock it, or log in without `--keyring`",
        ) from None
