"""`carnet key`: make, import and look at signing keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from carnet.errors import CarnetError, ConfigError
from carnet_cli.terminal import output
from carnet_cli.terminal.passphrase import PassphraseSource, passphrase_options

if TYPE_CHECKING:
    from carnet.tuf.keys import PublicKey

_unencrypted = click.option(
    "--insecure-no-passphrase", is_flag=True, help="Leave the private key unencrypted: whoever reads the file has it."
)


@click.group()
def command() -> None:
    """Make, import and look at signing keys.

    A key is two files: NAME, the private half, encrypted and yours alone, and NAME.pub, which you hand out.
    """


@command.command()
@click.argument("name", type=click.Path(path_type=Path))
@click.option(
    "--scheme",
    type=click.Choice(["ed25519", "ecdsa"]),
    default="ed25519",
    show_default=True,
    help="Kind of key; ecdsa is P-256.",
)
@_unencrypted
@passphrase_options
def generate(
    name: Path, scheme: Literal["ed25519", "ecdsa"], insecure_no_passphrase: bool, passphrase: PassphraseSource
) -> None:
    """Make the key NAME, and NAME.pub beside it.

    \b
    carnet key generate alice
    """
    from carnet_signer.keys import keyring

    secret = _new_passphrase(name, insecure_no_passphrase, passphrase)
    key = keyring.generate_key(name, scheme, secret)
    _made(name, key)


@command.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("name", type=click.Path(path_type=Path))
@_unencrypted
@click.option(
    "--source-passphrase-file",
    type=click.Path(path_type=Path),
    help="Passphrase of SOURCE, when it differs from the new one.",
)
@passphrase_options
def import_(
    source: Path,
    name: Path,
    insecure_no_passphrase: bool,
    source_passphrase_file: Path | None,
    passphrase: PassphraseSource,
) -> None:
    """Copy an OpenSSH private key (Ed25519 or P-256) to NAME.

    The copy is encrypted anew, so that guessing its passphrase is slow; SOURCE stays as it is.

    \b
    carnet key import ~/.ssh/id_ed25519 alice
    """
    from carnet_signer.keys import keyring

    unlock = PassphraseSource(source_passphrase_file) if source_passphrase_file is not None else passphrase
    secret = _new_passphrase(name, insecure_no_passphrase, passphrase)
    key = keyring.import_key(source, name, unlock.ask, secret)
    _made(name, key)


@command.command("list")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
@output.message_format
def list_(folder: Path, message_format: output.MessageFormat) -> None:
    """List the public keys in FOLDER, and whether the private half is there too."""
    from carnet_signer.keys import keyring

    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}")
    for path in sorted(folder.glob("*.pub")):
        try:
            key = keyring.read_public_key(path)
        except CarnetError as error:
            output.warn(f"{path.name}: {error}")
            continue
        private = path.with_suffix("").is_file()
        if message_format == "json":
            output.emit_json({"name": path.stem, "private": private} | _facts(key))
        else:
            output.echo(
                output.plain(f"{path.stem:20} {key.scheme:20} {key.keyid} {'private' if private else 'public'}")
            )


@command.command()
@click.argument("name", type=click.Path(path_type=Path))
@output.message_format
def show(name: Path, message_format: output.MessageFormat) -> None:
    """Show the public half of NAME (or NAME.pub): key id, kind and fingerprint.

    Read the key id to the others over a channel that you trust before they put your key into a ceremony.
    """
    from carnet_signer.keys import keyring

    beside = keyring.public_path(name)
    key = keyring.read_public_key(beside if name.suffix != ".pub" and beside.exists() else name)
    facts = _facts(key)
    if message_format == "json":
        output.emit_json(facts)
    else:
        output.echo(
            f"key id       {facts['keyid']}\nkind         {facts['scheme']}\nfingerprint  {facts['fingerprint']}"
        )


def _facts(key: PublicKey) -> dict[str, str]:
    from carnet_signer.keys import keyring

    return {"keyid": key.keyid, "scheme": key.scheme, "fingerprint": keyring.openssh_fingerprint(key)}


def _new_passphrase(name: Path, insecure: bool, passphrase: PassphraseSource) -> bytes | None:
    if insecure:
        output.warn(f"{name} is not encrypted: whoever can read the file can sign with it")
        return None
    return passphrase.choose(name.name)


def _made(name: Path, key: PublicKey) -> None:
    output.echo(key.keyid)
    output.note(f"wrote {name} (keep it) and {name}.pub (hand it out)")
