"""What every step of `carnet record` needs to know: where, whose key, and which registry stands for crates.io."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from carnet.errors import ConfigError
from carnet_cli.commands.maintain import proposal_folders
from carnet_cli.config import home
from carnet_cli.terminal import output
from carnet_cli.terminal.passphrase import PassphraseSource, passphrase_options
from carnet_cli.terminal.signing_key import key_option

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Options:
    """What every step needs to know."""

    source: Path
    links: Path
    key: str
    insecure_example_keys: bool
    passphrase: PassphraseSource
    message_format: output.MessageFormat


def common(command: _Command) -> _Command:
    """Decorate a step with the flags that make its `Options`."""

    @functools.wraps(command)
    def wrapped(
        *args: Any,
        source: Path,
        links: Path,
        key: str,
        insecure_example_keys: bool,
        passphrase: PassphraseSource,
        message_format: output.MessageFormat,
        **kwargs: Any,
    ) -> Any:
        options = Options(source, links, key, insecure_example_keys, passphrase, message_format)
        return command(*args, options=options, **kwargs)

    for option in (
        click.option(
            "--source",
            type=click.Path(path_type=Path, file_okay=False),
            default=".",
            help="The git repository; only its commits are looked at.  [default: this folder]",
        ),
        click.option(
            "-o",
            "--links",
            metavar="DIR",
            type=click.Path(path_type=Path, file_okay=False),
            default="links",
            show_default=True,
            help="The folder where the links of this release gather.",
        ),
        key_option("Your private key."),
        proposal_folders.insecure_option,
        output.message_format,
    ):
        wrapped = option(wrapped)
    return passphrase_options(wrapped)  # type: ignore[return-value]


tag_option = click.option(
    "--tag",
    "tag_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The tag's link.  [default: the one in the folder of links]",
)
cargo_option = click.option(
    "--cargo", type=click.Path(path_type=Path, dir_okay=False), help="The cargo program itself, not rustup's stand-in."
)


def registry_options(command: _Command) -> _Command:
    """Decorate a step that runs cargo with the flags that `crates_io` reads."""
    index = click.option(
        "--index",
        metavar="URL",
        help="A verifying registry that stands for crates.io, such as sparse+http://127.0.0.1:8791/index/ of "
        "`carnet proxy`.  [default: one is opened for the mirror that you trust]",
    )
    offline = click.option("--offline", is_flag=True, help="Ask no registry; enough for a crate without dependencies.")
    return index(offline(proposal_folders.repository_option(command)))


@contextmanager
def crates_io(index: str | None, offline: bool, repository: str | None) -> Iterator[str | None]:
    """A verifying registry that stands for crates.io, for as long as the block lasts; None works offline."""
    if index is not None and offline:
        raise ConfigError("give either --index or --offline, not both", hint="leave one of them out")
    if index is not None or offline:
        yield index
        return
    if repository is None and not home.trusted_ids():
        output.note("no mirror is trusted (`carnet trust add`), so cargo works offline")
        yield None
        return
    from carnet_gate.loopback import serve
    from carnet_verifier.cargo.proxy import Gatekeeper
    from carnet_verifier.policy.policy import Policy

    with proposal_folders.looking(repository) as view:
        keeper = Gatekeeper(lambda: view.repository, Policy(), None, home.now)
        with serve(keeper) as url:
            yield f"sparse+{url}/index/"
