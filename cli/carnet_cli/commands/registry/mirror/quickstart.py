"""`carnet mirror quickstart`: keys, a ceremony of one, a mirror that brings what is asked for, served."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from carnet.durable import as_storage_error, make_folder, private_folder, write_file
from carnet.errors import ConfigError
from carnet_cli.config import home
from carnet_cli.config.mirror_file import FILE_NAME
from carnet_cli.terminal import output
from carnet_cli.terminal.passphrase import PassphraseSource, passphrase_options

if TYPE_CHECKING:
    from carnet.tuf.keys import PublicKey

_BITS = 10
"""1,024 bins of the index: what a mirror of tens of thousands of crates wants. It cannot be changed later."""
_SETTINGS = """# What this mirror brings because a client asks for it; docs/mirror.md, "Pull-through", has every key.
[pull]
upstream = "{upstream}"
allow = ["*"]
least-age-days = {days}
"""
_KEYS = "holder", "online"


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--upstream",
    default="cargo",
    show_default=True,
    help="Where crates come from: your own cargo, or a sparse index such as sparse+https://host/index/.",
)
@click.option(
    "--least-age-days",
    "days",
    type=click.IntRange(0, 3650),
    default=3,
    show_default=True,
    help="How long a version must have been public before the mirror brings it.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=8790, show_default=True, help="The port to listen on.")
@passphrase_options
@output.message_format
@click.pass_context
def quickstart(
    context: click.Context,
    *,
    folder: Path,
    upstream: str,
    days: int,
    port: int,
    passphrase: PassphraseSource,
    message_format: output.MessageFormat,
) -> None:
    """Make a mirror in DIR that brings what its clients ask for, and serve it until it is interrupted.

    It makes two keys, encrypted with one passphrase, in DIR/keys; a ceremony in DIR/ceremony, whose one holder you are;
    and the mirror, in DIR/mirror. The same command again serves what is there, and goes on where it was interrupted.

    \b
    Example:
      carnet mirror quickstart ~/mirror
    """
    from carnet_cli.commands.registry.mirror.serve import serve

    mirror = folder / "mirror"
    secret = passphrase.ask(f"passphrase of {folder}") if mirror.exists() else _make(folder, mirror, passphrase)
    if not (mirror / FILE_NAME).exists():
        write_file(mirror / FILE_NAME, _SETTINGS.format(upstream=upstream, days=days).encode())
    _say(folder, f"http://127.0.0.1:{port}/", message_format)
    with _handed(secret) as descriptor:
        context.invoke(
            serve,
            directory=mirror,
            port=port,
            passphrase_file=None,
            passphrase_fd=descriptor,
            message_format=message_format,
        )


def _make(folder: Path, mirror: Path, passphrase: PassphraseSource) -> bytes:
    """Make whatever is missing, in the order in which each needs the one before it; the passphrase of the keys."""
    from carnet_cli.commands.registry.online_signer import OnlineSettings, online
    from carnet_mirror.upkeep import make_mirror
    from carnet_signer.ceremony import folder as ceremony_folder
    from carnet_signer.keys import file
    from carnet_signer.keys.public import read_public_key

    keys, ceremony = folder / "keys", folder / "ceremony"
    make_folder(folder)
    private_folder(keys)
    begun = any((keys / name).exists() for name in _KEYS)
    secret = passphrase.ask(f"passphrase of {keys}") if begun else passphrase.choose(f"the keys in {keys}")
    if secret is None:
        raise ConfigError(f"nobody says the passphrase of {keys}", hint="add `--passphrase-file FILE`")
    for name in _KEYS:
        if not (keys / name).exists():
            file.generate_key(keys / name, "ed25519", secret)
    holder, signer = (read_public_key(keys / f"{name}.pub") for name in _KEYS)
    if not ceremony.exists():
        _begin(ceremony, holder, signer)
    _sign(ceremony, keys / _KEYS[0], secret)
    files = ceremony_folder.finished(ceremony)
    write_file(folder / "root.json", files["root"])
    beside = mirror.with_name(f".{mirror.name}")
    if beside.exists():  # it was interrupted, and nobody has seen it
        shutil.rmtree(beside)
    settings = OnlineSettings.told(str(keys / _KEYS[1]), None, None)
    with _handed(secret) as descriptor:
        handed = PassphraseSource(descriptor=descriptor)
        published = make_mirror(
            beside, files, lambda: online(beside, settings, handed), settings.remember, now=home.now()
        )
    with as_storage_error(mirror):
        beside.rename(mirror)
    output.note(f"made and published {mirror}: {len(published.roles)} signed files")
    return secret


def _begin(ceremony: Path, holder: PublicKey, signer: PublicKey) -> None:
    from carnet_signer.ceremony import folder as ceremony_folder
    from carnet_signer.ceremony.ceremony import Holder, Plan, start

    plan = Plan((Holder(_KEYS[0], holder),), 1, (Holder(_KEYS[1], signer),), _BITS)
    ceremony_folder.create(ceremony, start(plan, home.now().replace(microsecond=0)))


def _sign(folder: Path, key: Path, secret: bytes) -> None:
    """Sign the first version of everything, after showing it: as `carnet root sign` does where nothing is before it."""
    from carnet.digests import sha256_hex
    from carnet.durable import write_files
    from carnet_cli.commands.own_view import memory_of
    from carnet_signer.ceremony import ceremony, words
    from carnet_signer.ceremony import folder as ceremony_folder
    from carnet_signer.keys.uri import load_signer

    signer = load_signer(str(key), lambda what: secret, insecure_example_keys=False, say=output.note)
    found = ceremony_folder.read(folder)
    wanted = ceremony.to_sign(found, signer.public_key)
    if not wanted:
        return
    for line in words.describe(found, wanted, home.now()):
        output.note(output.plain(line))
    memory = memory_of(f"new-{sha256_hex(found.latest('root').message)[:16]}", signer.public_key)
    files = {role: found.latest(role) for role in wanted}
    memory.check(files, again=False)
    memory.remember(files, again=False)  # durable before a signature is made
    write_files(folder, ceremony.sign(found, wanted, signer))


@contextmanager
def _handed(secret: bytes | None) -> Iterator[int | None]:
    """The passphrase on a descriptor that one child reads; None where nobody could be asked."""
    if secret is None:
        yield None
        return
    theirs, ours = os.pipe()  # a pipe holds more than any passphrase
    os.write(ours, secret + b"\n")
    os.close(ours)
    try:
        yield theirs
    finally:
        os.close(theirs)


def _say(folder: Path, url: str, message_format: output.MessageFormat) -> None:
    root = (folder / "root.json").absolute()
    if message_format == "json":
        output.emit_json({"event": "ready", "url": url, "root": str(root)})
        return
    output.echo("in each project, with carnet and this root file:")
    output.echo(f"    carnet trust add {url} --root {shlex.quote(str(root))}")
    output.echo("    cargo carnet build")
    output.note(
        f"one person's key decides about all of this: whoever has {folder / 'keys'} and its passphrase can change what "
        "clients trust, and who loses them has to begin anew. Keep keys/holder elsewhere, and let more people decide "
        "when there are some: `carnet root rotate --help`"
    )
