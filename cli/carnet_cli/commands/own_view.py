"""What a signer compares with: the options that say where their own view is from, and opening it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from carnet.durable import read_named_file, users_file
from carnet.errors import ConfigError, TransportError
from carnet_cli.commands.network import network_for
from carnet_cli.config import home
from carnet_cli.config.settings import run_bounds

if TYPE_CHECKING:
    from carnet.tuf.keys import PublicKey
    from carnet_signer.own_view import OwnView
    from carnet_signer.signed_before import SignedBefore
    from carnet_verifier.tuf.saved_view import SavedView

_MAX_ROOT = 512_000
_SOME = 10
"""How many expired roles are named one by one."""


sign_again_option = click.option(
    "--sign-again",
    is_flag=True,
    help="Sign what contradicts what you signed before: another content of a version that was given up and that nobody "
    "will submit; or, with a key of another repository, what is not above the versions there.",
)


@dataclass(frozen=True)
class BaseSource:
    """Where a signer's own view is from.

    Attributes:
        repository: Which trusted repository, by URL or fingerprint; None when there is only one.
        view: A saved view, for a machine without a network.
        root: A root file that the saved view is checked from; None for the one of the trusted repository.
        believe_folder: Whether the folder is believed instead.
    """

    repository: str | None
    view: Path | None
    root: Path | None
    believe_folder: bool


def base_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with what says where the signer's own view is from: see `BaseSource`."""
    for option in (
        click.option(
            "--insecure-base-from-folder", is_flag=True, help="Believe what the folder says was there before."
        ),
        click.option(
            "--view",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Without a network: a file of `carnet trust export`, checked from the root that you trust.",
        ),
        click.option(
            "--repository", envvar="CARNET_REPOSITORY", help="Which trusted repository, by URL or fingerprint."
        ),
    ):
        command = option(command)
    return command


@contextmanager
def own_view(source: BaseSource) -> Iterator[OwnView | None]:
    """Open the signer's own view; None when the folder is to be believed.

    Raises:
        ConfigError: No repository is trusted, or not one alone; or the options contradict one another.
        CarnetError: The view failed a check, or could not be fetched.
    """
    if source.believe_folder:
        if source.view is not None:
            raise ConfigError("--view and --insecure-base-from-folder contradict one another", hint="leave one out")
        yield None
        return
    try:
        if source.view is not None:
            yield _saved(source.view, source)
        else:
            with _fetched(source.repository) as view:
                yield view
    except TransportError as error:
        more = (
            "write the saved view anew where there is a network: `carnet trust export -o FILE`"
            if source.view is not None
            else "without a network, `carnet trust export -o FILE` on a machine that has one, and --view FILE here"
        )
        hint = f"{error.hint}; {more}" if error.hint else more
        raise TransportError(f"what is published cannot be seen: {error}", hint=hint, status=error.status) from error


def signed_before(source: BaseSource, view: OwnView | None, key: PublicKey) -> SignedBefore:
    """What this user signed of the repository that a folder is about, and with this key anywhere.

    Raises:
        ConfigError: Somebody else can write to carnet's home, or take it away.
    """
    if view is not None:
        return memory_of(view.repository, key)
    try:
        return memory_of(home.choose(source.repository).id, key)
    except ConfigError:
        return memory_of(None, key)


def memory_of(repository: str | None, key: PublicKey) -> SignedBefore:
    """What this user signed of one repository, and with this key anywhere.

    Args:
        repository: Its id; None for those who trust none: what they signed is remembered all the same.
        key: The key that is to sign.

    Raises:
        ConfigError: Somebody else can write to carnet's home, or take it away.
    """
    from carnet_signer.signed_before import SignedBefore

    home.make()
    return SignedBefore(home.signed_folder(), repository, key)


@contextmanager
def _fetched(repository: str | None) -> Iterator[OwnView]:
    from carnet_signer.own_view import OwnView
    from carnet_verifier.tuf.view import open_view

    trusted = _trusted(repository)
    with open_view(trusted.directory, now=home.now(), bounds=run_bounds(home.now()), network=network_for()) as view:
        top = view.repository.trusted
        said = (
            f"compared with what {view.url} has published, as you verified it: snapshot {top.snapshot.signed.version}"
        )
        yield OwnView(top.root, said, trusted.id, view.repository)


def _saved(path: Path, source: BaseSource) -> OwnView:
    from carnet_signer.own_view import OwnView
    from carnet_verifier.tuf.saved_view import MAX_SAVED_VIEW

    data = read_named_file(path, "saved view", max_bytes=MAX_SAVED_VIEW)
    with users_file(path, "saved view"):
        repository, saved = _read_saved(data, source)
    top = saved.repository.trusted
    said = f"{_age(saved)}compared with the view in {path}, as you verified it: snapshot {top.snapshot.signed.version}"
    aged = saved.ended > timedelta(0) or bool(saved.expired)
    return OwnView(top.root, said + expired_words(saved.expired), repository, saved.repository, aged=aged)


def expired_words(expired: Sequence[tuple[str, datetime]]) -> str:
    """Which owner and crate roles of a view are over; nothing when none is."""
    if not expired:
        return ""
    some = ", ".join(f"{role} on {when:%Y-%m-%d}" for role, when in expired[:_SOME])
    more = f" and {len(expired) - _SOME} more" if len(expired) > _SOME else ""
    return f"; EXPIRED IN IT, so no client takes these crates: {some}{more}"


def _read_saved(data: bytes, source: BaseSource) -> tuple[str, SavedView]:
    """Which repository a saved view is of, and what it shows, verified from a root that the user has."""
    from carnet_verifier.tuf.saved_view import read_saved_view, read_saved_view_from

    if source.root is not None:
        root = read_named_file(source.root, "root file", max_bytes=_MAX_ROOT)
        return home.fingerprint(root)[:16], read_saved_view_from(data, root, now=home.now())
    trusted = _trusted(source.repository)
    return trusted.id, read_saved_view(data, trusted.directory, now=home.now())


def _age(saved: SavedView) -> str:
    if not saved.ended:
        return ""
    days, rest = divmod(int(saved.ended.total_seconds()), 86400)
    return f"THIS VIEW ENDED {days} DAYS AND {rest // 3600} HOURS AGO, what was published since is not in it: "


def _trusted(repository: str | None) -> home.Trusted:
    try:
        return home.choose(repository)
    except ConfigError as error:
        raise ConfigError(f"there is nothing of your own to compare this with: {error}", hint=error.hint) from None
