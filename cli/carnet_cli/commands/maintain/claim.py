"""`carnet claim`: who owns a crate, and which keys may release it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from carnet.cargo.names import CrateName
from carnet_cli.commands.maintain import proposal_folders
from carnet_cli.commands.maintain.adopting import adopt
from carnet_cli.commands.maintain.claim_options import (
    evidence_option,
    layout_option,
    origins,
    owners_option,
    owners_threshold_option,
    read_layout,
    release_threshold_option,
    releasers_option,
    team,
)
from carnet_cli.commands.maintain.waiting import look_at_period, propose_folder, renew_folder
from carnet_cli.commands.own_view import BaseSource, base_options, sign_again_option
from carnet_cli.config import home
from carnet_cli.terminal import output
from carnet_cli.terminal.passphrase import PassphraseSource, passphrase_options
from carnet_cli.terminal.signing_key import key_option
from carnet_cli.terminal.typed import typed


@click.group()
def command() -> None:
    """Say who owns a crate, and which keys may release it.

    A claim is made once: the owners, those who release and the registry's holders sign it, each on their own machine.
    The folder passes between them; several may sign copies at the same time.

    \b
    Example:
      carnet claim new serde -o claim --owner alice=alice.pub --owner bob=bob.pub --owners-threshold 2 \\
          --release-key carol=carol.pub --release-key dan=dan.pub --release-threshold 2 --evidence "https://..."
      carnet claim propose claim
      carnet claim review claim
      carnet claim sign claim --key alice
      carnet claim status claim
      carnet claim submit claim
    """


@command.command()
@click.argument("name")
@proposal_folders.output_option
@owners_option
@owners_threshold_option
@releasers_option
@release_threshold_option
@layout_option
@evidence_option
@click.option("--registry", default="crates-io", show_default=True, help="The registry that the crate belongs to.")
@proposal_folders.repository_option
@proposal_folders.insecure_option
def new(  # noqa: PLR0913  -- one parameter for each flag
    *,
    name: str,
    folder: Path,
    owners: tuple[str, ...],
    owners_threshold: int | None,
    releasers: tuple[str, ...],
    release_threshold: int | None,
    layout: Path | None,
    evidence: tuple[str, ...],
    registry: str,
    repository: str | None,
    insecure_example_keys: bool,
) -> None:
    """Claim the crate NAME: make the folder that everybody signs.

    Versions that are published already are adopted as they are, by digest, and so are those that the mirror has not:
    every version that its upstream listed when the mirror looked last, by its checksum.

    \b
    Example:
      carnet claim new serde -o claim --owner alice=alice.pub --owner bob=bob.pub --owners-threshold 2 \\
          --release-key carol=carol.pub --release-threshold 1 --evidence "alice is the crate's author on crates.io"
    """
    from carnet.claims.holders import ClaimFacts
    from carnet.publishable.checks import check_name
    from carnet_signer.metadata.role_files import at
    from carnet_signer.proposals import ownership
    from carnet_signer.proposals.proposal import Request
    from carnet_verifier.releases.published_versions import read_published_versions
    from carnet_verifier.releases.versions import check_spelling

    crate = typed(CrateName, name)
    for remark in check_name(crate, registry):
        output.warn(remark)
    facts = ClaimFacts(
        team(owners, owners_threshold, "--owner", "--owners-threshold"),
        team(releasers, release_threshold, "--release-key", "--release-threshold"),
        registry,
    )
    binding = read_layout(layout)
    now = home.now()
    with proposal_folders.looking(repository) as view:
        check_spelling(view.repository, crate)
        found = read_published_versions(view, crate, output.counting)
        adopted = None if found is None else ownership.adopt(found.index, found.lengths, registry, found.history)
        proposal = ownership.new_claim(
            ownership.read_published(view.repository, crate, neighbours=True),
            Request("claim", crate, at(now), evidence, origins=origins((*owners, *releasers), binding)),
            facts,
            adopted=adopted,
            layout=binding,
            now=now,
        )
    proposal_folders.made(proposal, folder, "claim", insecure_example_keys=insecure_example_keys)


@command.command()
@click.argument("name")
@proposal_folders.output_option
@owners_option
@owners_threshold_option
@releasers_option
@release_threshold_option
@layout_option
@evidence_option
@click.option(
    "--takeover",
    is_flag=True,
    help="The previous owners will not sign. Clients that saw them are told, and refuse the crate.",
)
@proposal_folders.repository_option
@proposal_folders.insecure_option
def handover(  # noqa: PLR0913  -- one parameter for each flag
    *,
    name: str,
    folder: Path,
    owners: tuple[str, ...],
    owners_threshold: int | None,
    releasers: tuple[str, ...],
    release_threshold: int | None,
    layout: Path | None,
    evidence: tuple[str, ...],
    takeover: bool,
    repository: str | None,
    insecure_example_keys: bool,
) -> None:
    """Change the owners, the release keys or the layout of the crate NAME.

    Name all owners, old and new, when the owners change, and all release keys when those do. New owners need the
    signatures of the owners before them and of the registry's holders; new release keys and layouts need the owners'
    only. Name nothing to renew what ends within a year, or has ended.

    \b
    Example:
      carnet claim handover serde -o handover --release-key erin=erin.pub --release-threshold 1
      carnet claim handover serde -o handover --layout layout.json
      carnet claim handover serde -o renewed
    """
    from carnet_signer.metadata.role_files import at
    from carnet_signer.proposals import ownership
    from carnet_signer.proposals.proposal import Request

    crate = typed(CrateName, name)
    changes = ownership.OwnerChanges(
        team(owners, owners_threshold, "--owner", "--owners-threshold") if owners else None,
        team(releasers, release_threshold, "--release-key", "--release-threshold") if releasers else None,
        read_layout(layout),
    )
    now = home.now()
    with proposal_folders.looking(repository) as view:
        request = Request("owners", crate, at(now), evidence, takeover, origins((*owners, *releasers), changes.layout))
        published = ownership.read_published(view.repository, crate, neighbours=True)
        proposal = ownership.next_owner(published, request, changes, now=now)
    proposal_folders.made(proposal, folder, "claim", insecure_example_keys=insecure_example_keys)


@command.command("give-up")
@click.argument("name")
@proposal_folders.output_option
@evidence_option
@proposal_folders.repository_option
def give_up(name: str, folder: Path, evidence: tuple[str, ...], repository: str | None) -> None:
    """Give the crate NAME up, for ever.

    The registry's holders sign. Nobody vouches for the crate from then on, and nobody can claim it again.

    \b
    Example:
      carnet claim give-up serde -o given-up --evidence "the owners asked for it on 2026-11-23"
    """
    from carnet_signer.metadata.role_files import at
    from carnet_signer.own_view import holder_names
    from carnet_signer.proposals import ownership
    from carnet_signer.proposals.proposal import Request

    crate, now = typed(CrateName, name), home.now()
    with proposal_folders.looking(repository) as view:
        published = ownership.read_published(view.repository, crate, neighbours=True)
        proposal = ownership.give_up(published, Request("give-up", crate, at(now), evidence), now=now)
        proposal = replace(proposal, holders=holder_names(view.repository.trusted.root.signed))
    proposal_folders.made(proposal, folder, "claim")
    output.note("the registry's holders sign this, and nobody else: the owners' signatures are not asked for")


@command.command("adopt")
@click.argument("wanted", nargs=-1, required=True, metavar="NAME[@VERSION]...")
@click.option(
    "-o",
    "--output",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder to make; it then passes from signer to signer. Without it, show what appeared.",
)
@proposal_folders.repository_option
@output.message_format
def adopt_versions(
    wanted: tuple[str, ...], folder: Path | None, repository: str | None, message_format: output.MessageFormat
) -> int:
    """Show which versions of the claimed crate NAME its upstream lists and nobody signed, or sign them in.

    They were published elsewhere, by you or by somebody else. They are adopted by checksum: nobody here has looked at
    their tarballs, which the mirror brings when somebody asks for them. Your release keys sign, and the owners too
    where a layout is in force, since such a version has no evidence. Without DIR the exit status is 1 when there are
    some: made for cron.

    \b
    Example:
      carnet claim adopt serde
      carnet claim adopt serde@1.0.220 -o adopted
    """
    return adopt(wanted, folder, repository, message_format)


@command.command()
@proposal_folders.folder_argument
@click.option("--mirror", help="The mirror's base URL.  [default: that of the trusted repository]")
@proposal_folders.repository_option
@output.message_format
def propose(folder: Path, mirror: str | None, repository: str | None, message_format: output.MessageFormat) -> None:
    """Hand the drafts in DIR to the mirror, unsigned, so that everybody can see them.

    First claims and takeovers wait: the mirror lists them, its receipt in DIR says since when, and it takes the signed
    folder only when the registry's period is over. What is changed afterwards waits anew; proposing twice is harmless.

    \b
    Example:
      carnet claim propose claim
    """
    propose_folder(folder, mirror, repository, message_format)


@command.command()
@proposal_folders.folder_argument
@proposal_folders.repository_option
def renew(folder: Path, repository: str | None) -> None:
    """Draft DIR anew on what is published now, when something was published while it waited.

    What is decided stays as it is (owners, release keys, thresholds, a new layout) and does not wait again. Drafts that
    still follow from what is published keep their signatures; whose draft changed signs again.

    \b
    Example:
      carnet claim renew claim
    """
    renew_folder(folder, repository)


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
      carnet claim review claim
    """
    source = BaseSource(repository, view, root, insecure_base_from_folder)
    period = partial(look_at_period, folder=folder, source=source)
    proposal_folders.show_review(folder, source, message_format, period=period)


@command.command()
@proposal_folders.folder_argument
@key_option("Your private key: an owner's, a release key, or a holder's.")
@base_options
@proposal_folders.root_option
@click.option("--yes", is_flag=True, help="Do not ask: you have read `carnet claim review`.")
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
    """Sign in DIR whichever roles your key belongs to, after showing them to you in words.

    The registry's holders sign a first claim or a takeover only after its waiting period, which the mirror's receipt in
    DIR proves: see `carnet claim propose`. Who signs without asking the trusted repository names its newest root.

    \b
    Example:
      carnet claim sign claim --key alice
    """
    source = BaseSource(repository, view, root, insecure_base_from_folder)
    consent = proposal_folders.Consent(yes, sign_again, insecure_example_keys)
    period = partial(look_at_period, folder=folder, source=source)
    proposal_folders.sign_folder(folder, "claim", key, passphrase, source, consent, period=period)


@command.command()
@proposal_folders.folder_argument
@click.argument("others", nargs=-1, required=True, type=click.Path(path_type=Path, file_okay=False))
def merge(folder: Path, others: tuple[Path, ...]) -> None:
    """Take the signatures of other copies into DIR.

    \b
    Example:
      carnet claim merge claim claim-from-bob claim-from-carol
    """
    proposal_folders.merge_folders(folder, others, "claim")


@command.command()
@proposal_folders.folder_argument
@output.message_format
def status(folder: Path, message_format: output.MessageFormat) -> int:
    """Show who has signed DIR, who has not, and the next command; exit status 1 until everything is signed.

    \b
    Example:
      carnet claim status claim
    """
    return proposal_folders.show_status(folder, "claim", message_format)


@command.command()
@proposal_folders.folder_argument
@click.option("--mirror", help="The mirror's base URL.  [default: that of the trusted repository]")
@proposal_folders.repository_option
@output.message_format
def submit(
    folder: Path,
    mirror: str | None,
    repository: str | None,
    message_format: output.MessageFormat,
) -> None:
    """Hand the finished folder DIR to the mirror, which checks it as every client will.

    Submitting twice is harmless.

    \b
    Example:
      carnet claim submit claim
    """
    proposal_folders.submit_folder(folder, mirror, repository, message_format)
