"""`carnet online`: the process that holds the online keys."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from carnet.errors import CarnetError, ConfigError
from carnet_cli.commands.registry.service_manager import tell_ready
from carnet_cli.terminal import output
from carnet_cli.terminal.passphrase import PassphraseSource, passphrase_options
from carnet_cli.terminal.signing_key import key_option, open_key

if TYPE_CHECKING:
    from carnet_signer.online.server import Oracle

WAITING = "another online signer uses {}: waiting for it to end, for at most {} seconds"


def signer_command(
    keys: Sequence[str], memory: Path, passphrase: PassphraseSource, *, insecure_example_keys: bool = False
) -> list[str]:
    """The command line that `carnet_signer.online.client.start_signer` starts as a child.

    Args:
        keys: Key URIs or paths.
        memory: The signer's memory folder.
        passphrase: Where the child gets the passphrase from; the mirror itself never sees it. A descriptor must be
            inheritable.
        insecure_example_keys: Also accept the example keys.
    """
    # -P: a `carnet_cli` in the working directory is not ours.
    command = [sys.executable, "-P", "-m", "carnet_cli.commands.registry.online", "--memory", str(memory)]
    for key in keys:
        command += ["--key", key]
    command += passphrase.arguments()
    return [*command, "--insecure-example-keys"] if insecure_example_keys else command


@click.command()
@key_option("An online private key; two only while a root replaces one.", "keys", multiple=True)
@click.option(
    "--memory",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder in which the signer remembers what it signed; keep it as long as the keys.",
)
@click.option("--socket", "path", type=click.Path(path_type=Path), help="Listen on this unix socket.")
@click.option("--group", help="Give the socket to this group and let its members ask for signatures.")
@click.option(
    "--wait",
    type=click.IntRange(0),
    default=0,
    metavar="SECONDS",
    help="How long to wait for another signer that uses the memory.  [default: not at all]",
)
@click.option("--inherited-fd", type=int, hidden=True)
@click.option("--memory-lock", type=int, hidden=True)  # taken by whoever started this
@click.option("--while-open", type=int, hidden=True)  # a pipe whose other end is held by whoever started this
@click.option("--insecure-example-keys", is_flag=True, help="Also accept the keys in keys-example/.")
@passphrase_options
def command(  # noqa: PLR0913  -- one parameter for each flag
    *,
    keys: tuple[str, ...],
    memory: Path,
    path: Path | None,
    group: str | None,
    wait: int,
    inherited_fd: int | None,
    memory_lock: int | None,
    while_open: int | None,
    insecure_example_keys: bool,
    passphrase: PassphraseSource,
) -> None:
    """Hold the online keys, in a process of their own, and sign only what may be signed.

    A mirror's commands start one themselves. Under a user of its own it protects the keys from a mirror that was
    broken into:

    \b
    carnet online --key online --memory /var/lib/carnet-online --socket /run/carnet/online.sock --group mirror

    It signs timestamps, snapshots and index bins: never an older version, never two contents under one version, never
    longer than a day, a week and 90 days.
    """
    if (path is None) == (inherited_fd is None):
        raise ConfigError(
            "say where to listen: `--socket PATH`",
            hint="a path in a folder that only the signer and the mirror may enter",
        )
    if while_open is not None:
        threading.Thread(target=_end_with, args=(while_open,), daemon=True).start()
    inherited = socket.socket(fileno=inherited_fd) if inherited_fd is not None else None
    try:
        oracle = _open(keys, memory, insecure_example_keys, passphrase, wait, memory_lock)
    except CarnetError as error:
        if inherited is None:
            raise
        from carnet_signer.online.server import refusal, send_line

        send_line(inherited, refusal(error))  # the mirror's command prints it
        sys.exit(error.exit_code)
    from carnet_signer.online.server import serve_connection, serve_socket

    if inherited is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the mirror, which gets the same Ctrl-C, says when to end
        serve_connection(inherited, oracle)
    elif path is not None:
        output.note(f"listening on {path}")
        serve_socket(path, oracle, mode=0o600 if group is None else 0o660, group=_group(group), ready=tell_ready)


def _end_with(descriptor: int) -> None:
    """End when the other end of a pipe is closed: keys stay open no longer than the mirror that wanted them."""
    while os.read(descriptor, 1):
        pass
    os._exit(0)


def _open(
    keys: Sequence[str],
    memory: Path,
    insecure_example_keys: bool,
    passphrase: PassphraseSource,
    wait: int,
    held: int | None,
) -> Oracle:
    from carnet_signer.online.memory import SigningMemory
    from carnet_signer.online.server import Oracle, harden

    harden()
    signers = [open_key(key, passphrase, insecure_example_keys=insecure_example_keys) for key in keys]
    opened = SigningMemory(memory, wait=wait, waiting=lambda: output.note(WAITING.format(memory, wait)), held=held)
    return Oracle(signers, opened, lambda: datetime.now(UTC))


def _group(name: str | None) -> int | None:
    import grp

    try:
        return None if name is None else grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError(f"there is no group {name}", hint="`getent group` lists those that there are") from None


if __name__ == "__main__":
    from carnet_cli.main import run

    sys.exit(run(command, sys.argv[1:], "carnet online"))
