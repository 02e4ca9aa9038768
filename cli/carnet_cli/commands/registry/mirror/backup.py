"""`carnet mirror backup`, `restore` and `relocate`: a mirror as one file, out of one, and in another place."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from carnet_cli.commands.network import network_for
from carnet_cli.commands.registry.mirror.checks import DIRECTORY, online_options
from carnet_cli.config import home
from carnet_cli.report.registry.backup import (
    BackupReport,
    RelocatedReport,
    RestoredReport,
    backed_up_as_json,
    backed_up_as_text,
    relocated_as_json,
    relocated_as_text,
    restored_as_json,
    restored_as_text,
)
from carnet_cli.terminal import output
from carnet_cli.terminal.passphrase import PassphraseSource, passphrase_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carnet_mirror.backup.restore import OnlineMeans
    from carnet_mirror.state.store import Store

_FILE = click.argument("file", metavar="FILE", type=click.Path(path_type=Path))


@click.command()
@DIRECTORY
@_FILE
@output.message_format
def backup(directory: Path, file: Path, message_format: output.MessageFormat) -> None:
    """Write a mirror into one new file, while it serves and syncs run.

    It holds one published state whole: the database, every file, and what the online signer remembers where that can be
    read. It never holds a private key: keep a copy of the online key apart. FILE is a tar archive, and readable for you
    alone.

    \b
    Example:
      carnet mirror backup /srv/carnet /backup/carnet-2026-11-27.tar
    """
    from carnet_cli.commands.registry.online_signer import OnlineSettings
    from carnet_mirror.backup.backup import backup as back_up
    from carnet_mirror.state.store import Store
    from carnet_signer.online.memory import copy_memory

    with Store.open(directory) as store:
        memory = OnlineSettings.of(store).memory
        readable = memory if memory is not None and os.access(memory, os.R_OK | os.X_OK) else None
        done = back_up(
            store,
            file,
            None if readable is None else lambda: copy_memory(readable),
            now=home.now(),
            progress=output.counting,
        )
    output.show(BackupReport(done, directory, file), message_format, backed_up_as_text, backed_up_as_json)


@click.command()
@_FILE
@DIRECTORY
@online_options
@click.option(
    "--seen",
    multiple=True,
    metavar="ROLE=VERSION",
    help="The highest version of timestamp, snapshot or root that any client has seen; not needed where the online "
    "signer's own memory is newer than the back-up. Repeatable.",
)
@click.option(
    "--ceremony",
    "ceremonies",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The signed files of a ceremony that took place after the back-up. Repeatable, in order.",
)
@click.option(
    "--from",
    "later",
    metavar="FOLDER_OR_URL",
    help="A copy of what was published after the back-up, a folder of `carnet mirror export` or the address of a "
    "mirror: what is signed in it comes too.",
)
@passphrase_options
@output.message_format
def restore(  # noqa: PLR0913  -- one parameter for each flag
    *,
    file: Path,
    directory: Path,
    online_key: str | None,
    online_socket: Path | None,
    memory: Path | None,
    insecure_example_keys: bool,
    seen: tuple[str, ...],
    ceremonies: tuple[Path, ...],
    later: str | None,
    passphrase: PassphraseSource,
    message_format: output.MessageFormat,
) -> None:
    """Make a mirror from a back-up, in a new or empty folder, and sign it past all that clients have seen since.

    Every file is compared with its sha256, and everything is checked as `fsck` does. Then all that the online key signs
    is signed once, with versions above those that the back-up, the signer's memory and `--seen` know of: a client takes
    an older state for an attack, and is right. Claims, releases, crates and ceremonies that came after the back-up are
    not in it: `--from` brings them from whoever shows them still, verified as a client verifies them; others have to be
    handed in again.

    Stop the old mirror's `serve` first, if it still runs.

    \b
    Example:
      carnet mirror restore carnet-2026-11-20.tar /srv/carnet
      carnet mirror restore carnet-2026-11-20.tar /srv/carnet --seen timestamp=812 --seen snapshot=97
      carnet mirror restore carnet-2026-11-20.tar /srv/carnet --from /srv/www
    """
    from carnet.errors import ConfigError
    from carnet_cli.commands.registry.mirror.rebuild import seen_versions
    from carnet_cli.commands.registry.online_signer import OnlineSettings, online
    from carnet_mirror.backup.later import open_copy
    from carnet_mirror.backup.restore import OnlineMeans, Seen
    from carnet_mirror.backup.restore import restore as make_again
    from carnet_signer.ceremony import folder as ceremony_folder
    from carnet_signer.keys.uri import exists, key_file
    from carnet_signer.online.memory import copy_memory, versions_in

    def means(store: Store) -> OnlineMeans:
        if online_key is not None or online_socket is not None:
            settings = OnlineSettings.told(online_key, memory, online_socket, example_keys=insecure_example_keys)
        else:
            settings = replace(OnlineSettings.of(store), new_memory=True)
            settings = settings if memory is None else replace(settings, memory=memory.absolute())
        if settings.key is not None and key_file(settings.key) is not None and not exists(settings.key):
            raise ConfigError(
                f"the online key {settings.key}, which the back-up names, is not there",
                hint="--online-key KEY says where it is now, and --memory DIR where its signer remembers",
            )
        versions: Mapping[str, int] | None = None
        if settings.memory is not None:
            versions = versions_in(copy_memory(settings.memory)) if settings.memory.is_dir() else {}
        return OnlineMeans(lambda: online(directory, settings, passphrase), settings.remember, versions)

    copy = None if later is None else lambda: open_copy(later, network_for())
    known = Seen(seen_versions(seen), tuple(map(ceremony_folder.finished, ceremonies)), copy)
    restored = make_again(file, directory, means, versions_in, known, now=home.now(), progress=output.counting)
    output.show(RestoredReport(restored, directory), message_format, restored_as_text, restored_as_json)


@click.command()
@DIRECTORY
@online_options
@passphrase_options
@output.message_format
def relocate(
    *,
    directory: Path,
    online_key: str | None,
    online_socket: Path | None,
    memory: Path | None,
    insecure_example_keys: bool,
    passphrase: PassphraseSource,
    message_format: output.MessageFormat,
) -> None:
    """Let a mirror remember where its online key and the signer's memory lie, after they were moved.

    Nothing is remembered unless the key is the mirror's, and the memory no older copy. What is not said stays; a memory
    that lies beside the key is found there. DIR is the mirror's folder, wherever it lies now: nothing in it says that.
    Stop the mirror's `serve` first. The address is `serve --url`, and clients follow it with `carnet trust move URL`.

    \b
    Example:
      carnet mirror relocate /srv/carnet --online-key /etc/carnet/online
      carnet mirror relocate /srv/carnet --memory /var/lib/carnet-online
      carnet mirror relocate /srv/carnet --online-socket /run/carnet/online.sock
    """
    from carnet_cli.commands.registry.online_signer import OnlineSettings, online
    from carnet_mirror.backup.relocate import NewPlace
    from carnet_mirror.backup.relocate import relocate as run
    from carnet_signer.online.memory import copy_memory, versions_in

    said: list[OnlineSettings] = []

    def place(store: Store) -> NewPlace:
        before = OnlineSettings.of(store)
        after = before.moved(online_key, memory, online_socket)
        after = replace(after, example_keys=after.example_keys or insecure_example_keys)
        said[:] = before, after
        left = before.memory if before.memory != after.memory else None
        readable = left is not None and os.access(left, os.R_OK | os.X_OK)
        versions = versions_in(copy_memory(left)) if left is not None and readable else {}
        return NewPlace(lambda: online(directory, after, passphrase), after.remember, versions)

    run(directory, place, now=home.now())
    before, after = said
    report = RelocatedReport(directory, before.places, after.places)
    output.show(report, message_format, relocated_as_text, relocated_as_json)
