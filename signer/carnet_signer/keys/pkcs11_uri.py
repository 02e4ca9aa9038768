"""PKCS#11 URIs (RFC 7512): which key, in which token, reached through which module."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

from carnet.errors import ConfigError

_OF_TOKEN = ("token", "serial", "model", "manufacturer")
_OF_KEY = ("object", "id", "type")
_ESCAPED = re.compile(r"(?:[A-Za-z0-9._~:\[\]@!$'()*+,=&/?\- ]|%[0-9A-Fa-f]{2})*\Z")
"""Characters of a value; `&` ends one after the `?`, and a space, which RFC 7512 wants escaped, harms nobody."""


@dataclass(frozen=True)
class Pkcs11Uri:
    """What a `pkcs11:` URI names.

    Attributes:
        token: What the token says of itself, all of it to be met: `token` (its label), `serial`, `model`,
            `manufacturer`.
        label: The key's label, `object` in the URI.
        id: The key's id (CKA_ID).
        module: The PKCS#11 module, a shared library; None leaves it to the environment.
    """

    token: Mapping[str, str]
    label: str | None
    id: bytes | None
    module: Path | None

    @classmethod
    def parse(cls, rest: str) -> Pkcs11Uri:
        """Read what follows `pkcs11:`.

        Raises:
            ConfigError: Written wrong, an attribute that carnet does not know, a PIN in the URI, or no token or no key
                named: a key is not taken from whichever token happens to be there.
        """
        path, _, query = rest.partition("?")
        named = dict(_attributes(path, ";", (*_OF_TOKEN, *_OF_KEY)))
        asked = dict(_attributes(query, "&", ("module-path",)))
        if named.pop("type", b"private") not in (b"private", b"public"):
            raise ConfigError("a pkcs11 URI names a key: its type is private", hint="leave type= away")
        key_id = named.pop("id", None)
        texts = {name: _text(name, value) for name, value in named.items()}
        label = texts.pop("object", None)
        if not texts.keys() & {"token", "serial"} or (label is None and key_id is None):
            raise ConfigError(
                "a pkcs11 URI names a token (token= or serial=) and a key in it (object= or id=)",
                hint="such as 'pkcs11:token=desk;object=alice'",
            )
        module = _text("module-path", asked["module-path"]) if asked else None
        return cls(texts, label, key_id, None if module is None else Path(module))

    @property
    def place(self) -> str:
        """The token, for people."""
        return f"token {ascii(self.token.get('token', self.token.get('serial')))[1:-1]}"

    @property
    def name(self) -> str:
        """The key and its token, for people."""
        key = ascii(self.label)[1:-1] if self.label is not None else f"id {(self.id or b'').hex()}"
        return f"key {key} in {self.place}"


def _attributes(part: str, separator: str, known: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    seen = set()
    for item in part.split(separator) if part else ():
        name, equals, value = item.partition("=")
        if name in ("pin-value", "pin-source"):
            raise ConfigError(
                f"{name} is not taken from a URI, which others can read in the list of processes and in histories",
                hint="the PIN is asked for; or give --passphrase-file or --passphrase-fd",
            )
        if not equals or name not in known:
            raise ConfigError(
                f"a pkcs11 URI has no {name!a} here", hint=f"before ? there may be {', '.join(_OF_TOKEN + _OF_KEY)}; "
                "after it module-path"
            )  # fmt: skip
        if name in seen or not value or _ESCAPED.match(value) is None:
            raise ConfigError(
                f"{name}= in a pkcs11 URI is given twice, empty, or not percent-encoded",
                hint="write it once; what is not a letter or a digit as %XX",
            )
        seen.add(name)
        yield name, unquote_to_bytes(value)


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ConfigError(
            f"{name}= in a pkcs11 URI is not UTF-8", hint="write it in UTF-8, what is not a letter or a digit as %XX"
        ) from None
