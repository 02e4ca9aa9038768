"""The key that a command signs with: `--key`, and opening what it names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from carnet_cli.terminal import output
from carnet_cli.terminal.passphrase import PassphraseSource

if TYPE_CHECKING:
    from carnet_signer.keys.signer import Signer

_Command = TypeVar("_Command", bound=Callable[..., Any])


def key_option(whose: str, *more: Any, **settings: Any) -> Callable[[_Command], _Command]:
    """Decorate a command with `--key`: a path, or a URI of another place where keys are kept.

    Args:
        whose: Which key it is, as the beginning of the help text.
        more: As for `click.option`, such as another parameter name.
        settings: As for `click.option`, such as `multiple`.
    """
    text = f"{whose} A path, or a URI; `carnet key --help` says which."
    return click.option("--key", *more, required=True, metavar="KEY", help=text, **settings)


def open_key(key: str, passphrase: PassphraseSource, *, insecure_example_keys: bool) -> Signer:
    """Open the key that a command was given, asking for its passphrase or PIN where it needs one.

    Raises:
        ConfigError: The URI is wrong, or what its kind of key needs is not installed.
        SigningError: The key is missing, locked, or one that may not be used.
    """
    from carnet_signer.keys.uri import load_signer

    return load_signer(key, passphrase.ask, insecure_example_keys=insecure_example_keys, say=output.note)
