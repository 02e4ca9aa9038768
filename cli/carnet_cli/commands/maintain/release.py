"""`carnet release`: a tarball and the evidence of its steps, signed by one release holder after another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from carnet.cargo.names import CrateId
from carnet.errors import ConfigError
from carnet_cli.commands.maintain import proposal_folders
from carnet_cli.commands.own_view import BaseSource, base_options, sign_again_option
from carnet_cli.config import home
from carnet_cli.terminal import output
from carnet_cli.terminal.passphrase import PassphraseSource, passphrase_options
from carnet_cli.terminal.signing_key import key_option
from carnet_cli.terminal.typed import typed

if TYPE_CHECKING:
    from carnet_verifier.provenance.provenance import Provenance


@click.group()
def command() -> None:
    """Release a version of a claimed crate, or take one back.

    \b
    The plan:
      1. assemble   the tarball, the evidence of its steps, its index line: the next version of the crate's role
      2. sign       one release holder after another, on copies that are merged, or on one folder
      3. status     who has signed, who has not, and the next command
      4. submit     the mirror checks it as every client will, and publishes it

    \b
    Example:
      carnet release assemble target/package/serde-1.0.220.crate -o release --bundle-from links
      carnet release sign release --key carol
      carnet release submit release
    """


@command.command()
@click.argument("tarball", metavar="CRATE.crate", type=click.Path(path_type=Path, dir_okay=False))
@proposal_folders.output_option
@click.option(
    "--bundle-from",
    "links",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder with the links of the steps, as `carnet record` wrote them.",
)
@click.option(
    "--layout",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The owners' layout.  [default: the one in force, fetched from the mirror]",
)
@proposal_folders.repository_option
def assemble(tarball: Path, folder: Path, links: Path | None, layout: Path | None, repository: str | None) -> None:
    """Make a release ready to be signed: a folder that passes between the release holders.

    Where the owners' layout asks for steps, they are checked here as the mirror and every client will check them.

    \b
    Example:
      carnet release assemble target/package/serde-1.0.220.crate -o release --bundle-from links
    """
    from carnet.cargo.crate import read_crate
    from carnet.durable import users_file
    from carnet_signer.proposals import release
    from carnet_signer.proposals.ownership import read_published
    from carnet_signer.steps.links import read_links
    from carnet_verifier.releases.new_release import check_steps, layout_in_force

    with users_file(tarball, "tarball"):
        crate = read_crate(proposal_folders.read(tarball, "tarball"), strict=True)
    name = crate.id.name
    now = home.now()
    with proposal_folders.looking(repository) as view:
        published = read_published(view.repository, name)
        owner = None if published.owner is None else published.owner.signed
        if layout is not None:
            file: bytes | None = proposal_folders.read(layout, "layout")
        else:
            file = None if owner is None else layout_in_force(view.repository, name, owner)
        bundle = release.gather(published, name, file, [] if links is None else read_links(links))
        assembled = release.assemble_release(published, name, crate, bundle)
        # What the mirror and every client will check is checked here, before anybody signs.
        if owner is not None and bundle is not None:
            _tell(check_steps(assembled.crate, owner, bundle, accepted_at=view.repository.now))
        proposal = release.propose(published, assembled, now=now)
    proposal_folders.made(proposal, folder, "release")


@command.command()
@click.argument("crates", metavar="NAME@VERSION...", nargs=-1, required=True)
@proposal_folders.output_option
@proposal_folders.repository_option
def yank(crates: tuple[str, ...], folder: Path, repository: str | None) -> None:
    """Take versions back: cargo chooses them for no new lock.

    \b
    Example:
      carnet release yank serde@1.0.220 -o yank
    """
    _yank(crates, folder, repository, yanked=True)


@command.command()
@click.argument("crates", metavar="NAME@VERSION...", nargs=-1, required=True)
@proposal_folders.output_option
@proposal_folders.repository_option
def unyank(crates: tuple[str, ...], folder: Path, repository: str | None) -> None:
    """Give versions again that were taken back.

    \b
    Example:
      carnet release unyank serde@1.0.220 -o unyank
    """
    _yank(crates, folder, repository, yanked=False)


@command.command()
@proposal_folders.folder_argument
@base_options
@proposal_folders.root_option
@output.message_format
def review(
    *,
    folder: Path,
    root: Path | None,
    repository: str | None,
    view: Path | None,
    insecure_base_from_folder: bool,
    message_format: output.MessageFormat,
) -> None:
    """Say in words what the signers of DIR would sign.

    Everything is read from the very bytes that would be signed, and compared with what is published, as you verify it
    now. What the folder says was there before is not believed.

    \b
    Example:
      carnet release review release
    """
    source = BaseSource(repository, view, root, insecure_base_from_folder)
    proposal_folders.show_review(folder, source, message_format)


@command.command()
@proposal_folders.folder_argument
@key_option("Your private release key.")
@base_options
@proposal_folders.root_option
@click.option("--yes", is_flag=True, help="Do not ask: you have read `carnet release review`.")
@sign_again_option
@proposal_folders.insecure_option
@passphrase_options
def sign(  # noqa: PLR0913  -- one parameter for each flag
    *,
    folder: Path,
    key: str,
    root: Path | None,
    repository: str | None,
    view: Path | None,
    insecure_base_from_folder: bool,
    yes: bool,
    sign_again: bool,
    insecure_example_keys: bool,
    passphrase: PassphraseSource,
) -> None:
    """Sign the release in DIR, after showing it to you in words.

    \b
    Example:
      carnet release sign release --key carol
    """
    source = BaseSource(repository, view, root, insecure_base_from_folder)
    consent = proposal_folders.Consent(yes, sign_again, insecure_example_keys)
    proposal_folders.sign_folder(folder, "release", key, passphrase, source, consent)


@command.command()
@proposal_folders.folder_argument
@click.argument("others", nargs=-1, required=True, type=click.Path(path_type=Path, file_okay=False))
def merge(folder: Path, others: tuple[Path, ...]) -> None:
    """Take the signatures of other copies into DIR.

    \b
    Example:
      carnet release merge release release-from-dan
    """
    proposal_folders.merge_folders(folder, others, "release")


@command.command()
@proposal_folders.folder_argument
@output.message_format
def status(folder: Path, message_format: output.MessageFormat) -> int:
    """Show who has signed DIR, who has not, and the next command; exit status 1 until everything is signed.

    \b
    Example:
      carnet release status release
    """
    return proposal_folders.show_status(folder, "release", message_format)


@command.command()
@proposal_folders.folder_argument
@click.option("--mirror", help="The mirror's base URL.  [default: that of the trusted repository]")
@proposal_folders.repository_option
@output.message_format
def submit(folder: Path, mirror: str | None, repository: str | None, message_format: output.MessageFormat) -> None:
    """Hand the signed release DIR to the mirror, which checks it as every client will.

    No password: the signatures are the credential. Submitting twice is harmless.

    \b
    Example:
      carnet release submit release
    """
    proposal_folders.submit_folder(folder, mirror, repository, message_format)


def _yank(crates: tuple[str, ...], folder: Path, repository: str | None, *, yanked: bool) -> None:
    from carnet_signer.proposals import release
    from carnet_signer.proposals.ownership import read_published

    ids = [typed(CrateId.parse, text) for text in crates]
    if len({crate.name.canonical for crate in ids}) > 1:
        raise ConfigError("these are versions of several crates", hint="make one folder for each crate")
    name = ids[0].name
    with proposal_folders.looking(repository) as view:
        proposal = release.yank(
            read_published(view.repository, name), name, [crate.version for crate in ids], yanked=yanked, now=home.now()
        )
    proposal_folders.made(proposal, folder, "release")


def _tell(provenance: Provenance | None) -> None:
    """What the check of the steps established; nothing when the owners ask for none."""
    if provenance is None:
        return
    output.note(f"the steps were carried out: level {provenance.level}")
    for finding in provenance.findings:
        output.warn(f"{finding.where}: {finding.text}")
