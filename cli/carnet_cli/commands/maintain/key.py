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

_key = click.argument("key", metavar="KEY")
_unencrypted = click.option(
    "--insecure-no-passphrase", is_flag=True, help="Leave the private key unencrypted: whoever reads the file has it."
)


class _Keys(click.Group):
    """The group, whose help ends with what a key may be: as many forms as there are backends."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from carnet_signer.keys.uri import backends

        with formatter.section("Wherever a command takes a KEY"):
            formatter.write_dl([(backend.form, backend.meaning) for backend in backends()])


@click.group(cls=_Keys)
def command() -> None:
    """Make, import and look at signing keys.

    A key is two files: NAME, the private half, encrypted and yours alone, and NAME.pub, which you hand out. Or it is
    in a token, which it never leaves; then you name it by a URI.
    """


@command.command()
@_key
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
    key: str, scheme: Literal["ed25519", "ecdsa"], insecure_no_passphrase: bool, passphrase: PassphraseSource
) -> None:
    """Make the key file KEY, and KEY.pub beside it; or the key at the URI KEY, which stays where it is made.

    \b
    carnet key generate alice
    carnet key generate --scheme ecdsa 'pkcs11:token=desk;object=alice'
    """
    from carnet_signer.keys import file, uri

    name = uri.key_file(key)
    if name is not None:
        secret = _new_passphrase(name, insecure_no_passphrase, passphrase)
        _made(name, file.generate_key(name, scheme, secret))
        return
    if insecure_no_passphrase:
        raise ConfigError("--insecure-no-passphrase is for key files", hint="a token is opened by its PIN")
    output.echo(uri.generate(key, scheme, passphrase.ask, say=output.note).keyid)
    output.note("write its public half to a file that you hand out: `carnet key export KEY NAME.pub`")


@command.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("name")
@_unencrypted
@click.option(
    "--source-passphrase-file",
    type=click.Path(path_type=Path),
    help="Passphrase of SOURCE, when it differs from the new one.",
)
@passphrase_options
def import_(
    source: Path,
    name: str,
    insecure_no_passphrase: bool,
    source_passphrase_file: Path | None,
    passphrase: PassphraseSource,
) -> None:
    """Copy a private key (Ed25519 or P-256) to the file NAME: OpenSSH's, or PKCS#8 as OpenSSL writes it (PEM).

    The copy is encrypted anew, so that guessing its passphrase is slow; SOURCE stays as it is.

    \b
    carnet key import ~/.ssh/id_ed25519 alice
    """
    from carnet_signer.keys import file, uri

    place = uri.key_file(name)
    if place is None:
        raise ConfigError(
            f"no key is imported to {name!a}: it would have been in a file before",
            hint="make the key where it is to stay: `carnet key generate`",
        )
    unlock = PassphraseSource(source_passphrase_file) if source_passphrase_file is not None else passphrase
    secret = _new_passphrase(place, insecure_no_passphrase, passphrase)
    _made(place, file.import_key(source, place, unlock.ask, secret))


@command.command("list")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
@output.message_format
def list_(folder: Path, message_format: output.MessageFormat) -> None:
    """List the public keys in FOLDER, and whether the private half is there too."""
    from carnet_signer.keys.public import read_public_key

    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}", hint="name the folder that your .pub files are in")
    for path in sorted(folder.glob("*.pub")):
        try:
            key = read_public_key(path)
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
@_key
@passphrase_options
@output.message_format
def show(key: str, passphrase: PassphraseSource, message_format: output.MessageFormat) -> None:
    """Show the public half of KEY (or of the file KEY.pub): key id, kind and fingerprint.

    Read the key id to the others over a channel that you trust before they put your key into a ceremony.

    \b
    carnet key show alice
    carnet key show 'pkcs11:token=desk;object=alice'
    """
    facts = _facts(_public_half(key, passphrase))
    if message_format == "json":
        output.emit_json(facts)
    else:
        output.echo(
            f"key id       {facts['keyid']}\nkind         {facts['scheme']}\nfingerprint  {facts['fingerprint']}"
        )


@command.command()
@_key
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@passphrase_options
def export(key: str, file: Path, passphrase: PassphraseSource) -> None:
    """Write the public half of KEY to FILE, as others need it to name you. The private half stays where it is.

    \b
    carnet key export 'pkcs11:token=desk;object=alice' alice.pub
    """
    from carnet_signer.keys.public import write_public_key

    public = _public_half(key, passphrase)
    write_public_key(file, public)
    output.echo(public.keyid)
    output.note(f"wrote {file} (hand it out)")


def _public_half(key: str, passphrase: PassphraseSource) -> PublicKey:
    from carnet_signer.keys.uri import read_public_half

    return read_public_half(key, passphrase.ask, say=output.note)


def _facts(key: PublicKey) -> dict[str, str]:
    from carnet_signer.keys.public import openssh_fingerprint

    return {"keyid": key.keyid, "scheme": key.scheme, "fingerprint": openssh_fingerprint(key)}


def _new_passphrase(name: Path, insecure: bool, passphrase: PassphraseSource) -> bytes | None:
    if insecure:
        output.warn(f"{name} is not encrypted: whoever can read the file can sign with it")
        return None
    return passphrase.choose(name.name)


def _made(name: Path, key: PublicKey) -> None:
    output.echo(key.keyid)
    output.note(f"wrote {name} (keep it) and {name}.pub (hand it out)")
