"""What every step of `carnet record` needs to know: where, whose key, and which registry stands for crates.io."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from carnet.cargo.names import CrateName
from carnet.errors import ConfigError
from carnet_cli.commands.maintain import proposal_folders
from carnet_cli.config import home
from carnet_cli.terminal import output
from carnet_cli.terminal.passphrase import PassphraseSource, passphrase_options
from carnet_cli.terminal.signing_key import key_option

if TYPE_CHECKING:
    from carnet.publishable.checks import Destination

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


@dataclass(frozen=True)
class RegistryChoice:
    """Which registry a step works with.

    Attributes:
        index: A verifying registry that stands for crates.io, as the user named it.
        offline: Whether none is asked.
        repository: Which trusted repository, or None for the only one.
        name: The registry that the crate is for, as the user named it; None for what its claim says.
    """

    index: str | None
    offline: bool
    repository: str | None
    name: str | None


def registry_options(command: _Command) -> _Command:
    """Decorate a step that runs cargo with the flags that make its `RegistryChoice`."""

    @functools.wraps(command)
    def wrapped(
        *args: Any, index: str | None, offline: bool, repository: str | None, registry: str | None, **kwargs: Any
    ) -> Any:
        return command(*args, registry=RegistryChoice(index, offline, repository, registry), **kwargs)

    index_flag = click.option(
        "--index",
        metavar="URL",
        help="A verifying registry that stands for crates.io, such as sparse+http://127.0.0.1:8791/index/ of "
        "`carnet proxy`.  [default: one is opened for the mirror that you trust]",
    )
    offline_flag = click.option(
        "--offline", is_flag=True, help="Ask no registry; enough for a crate without dependencies."
    )
    name_flag = click.option(
        "--registry",
        metavar="NAME",
        help="The registry that the crate is for, as its claim and `publish` in its manifest name it.  [default: the "
        "claim's, otherwise crates-io]",
    )
    for option in (proposal_folders.repository_option, name_flag, offline_flag, index_flag):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]


@contextmanager
def crates_io(registry: RegistryChoice) -> Iterator[str | None]:
    """A verifying registry that stands for crates.io, for as long as the block lasts; None works offline."""
    if registry.index is not None and registry.offline:
        raise ConfigError("give either --index or --offline, not both", hint="leave one of them out")
    if registry.index is not None or registry.offline:
        yield registry.index
        return
    if not _trusts(registry):
        output.note("no mirror is trusted (`carnet trust add`), so cargo works offline")
        yield None
        return
    from carnet_gate.loopback import serve
    from carnet_verifier.cargo.proxy import Gatekeeper
    from carnet_verifier.policy.policy import Policy

    with proposal_folders.looking(registry.repository) as view:
        keeper = Gatekeeper(lambda: view.repository, Policy(), None, home.now)
        with serve(keeper) as url:
            yield f"sparse+{url}/index/"


def destination(registry: RegistryChoice, name: CrateName) -> Destination:
    """Where a crate is to be published, and what is there: as far as a trusted mirror can be asked.

    Raises:
        ConfigError: `--registry` is not the one that the crate is claimed for.
        TransportError: The mirror cannot be asked; `--offline` does without.
    """
    from carnet.publishable.checks import Destination
    from carnet.publishable.manifest import CRATES_IO

    if registry.offline or not _trusts(registry):
        return Destination(registry.name or CRATES_IO)
    from carnet_verifier.releases.versions import versions_of

    with proposal_folders.looking(registry.repository) as view:
        claim = view.repository.claim(name)
        claimed = None if claim is None else claim.facts.registry
        if claimed is not None and registry.name not in (None, claimed):
            raise ConfigError(
                f"{name} is claimed for the registry {claimed}, not {registry.name}", hint=f"say --registry {claimed}"
            )
        return Destination(registry.name or claimed or CRATES_IO, versions_of(view.repository, name))


def _trusts(registry: RegistryChoice) -> bool:
    return registry.repository is not None or bool(home.trusted_ids())
