"""`carnet claim`: who owns a crate, and which keys may release it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from carnet.cargo.names import CrateName
from carnet.digests import sha256_hex
from carnet.errors import ConfigError
from carnet_cli.commands.maintain import proposal_folders
from carnet_cli.config import home
from carnet_cli.terminal import output
from carnet_cli.terminal.passphrase import PassphraseSource, passphrase_options
from carnet_cli.terminal.signing_key import key_option

if TYPE_CHECKING:
    from carnet.claims.holders import Holders
    from carnet.claims.releases import Releases
    from carnet_cli.commands.maintain.proposal_folders import Looking
    from carnet_signer.proposals.ownership import NewLayout

_owners = click.option(
    "--owner",
    "owners",
    metavar="PERSON=KEY.pub",
    multiple=True,
    help="An owner and their public key; once for each. Owners choose the layout and the release keys.",
)
_owners_threshold = click.option("--owners-threshold", type=click.IntRange(min=1), help="How many owners must sign.")
_releasers = click.option(
    "--release-key",
    "releasers",
    metavar="PERSON=KEY.pub",
    multiple=True,
    help="Someone who releases and their public key; once for each.",
)
_release_threshold = click.option(
    "--release-threshold", type=click.IntRange(min=1), help="How many of them must sign each release."
)
_layout = click.option(
    "--layout",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The layout of releases, as `carnet layout sign` wrote it; its terms lie beside it.",
)
_evidence = click.option(
    "--evidence",
    multiple=True,
    help="Why the registry should agree, in a line; once for each. It is shown to those who sign.",
)


@click.group()
def command() -> None:
    """Say who owns a crate, and which keys may release it.

    A claim is made once: the owners, those who release and the registry's holders sign it, each on their own machine.
    The folder passes between them; several may sign copies at the same time.

    \b
    Example:
      carnet claim new serde -o claim --owner alice=alice.pub --owner bob=bob.pub --owners-threshold 2 \\
          --release-key carol=carol.pub --release-key dan=dan.pub --release-threshold 2 --evidence "https://..."
      carnet claim review claim
      carnet claim sign claim --key alice
      carnet claim status claim
      carnet claim submit claim
    """


@command.command()
@click.argument("name")
@proposal_folders.output_option
@_owners
@_owners_threshold
@_releasers
@_release_threshold
@_layout
@_evidence
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

    Versions that are published already are adopted as they are, by digest.

    \b
    Example:
      carnet claim new serde -o claim --owner alice=alice.pub --owner bob=bob.pub --owners-threshold 2 \\
          --release-key carol=carol.pub --release-threshold 1 --evidence "alice is the crate's author on crates.io"
    """
    from carnet.claims.holders import ClaimFacts
    from carnet_signer.metadata.role_files import at
    from carnet_signer.proposals import ownership
    from carnet_signer.proposals.proposal import Request

    crate = CrateName(name)
    facts = ClaimFacts(
        _team(owners, owners_threshold, "--owner", "--owners-threshold"),
        _team(releasers, release_threshold, "--release-key", "--release-threshold"),
        registry,
    )
    now = home.now()
    with proposal_folders.looking(repository) as look:
        adopted = _adopt(look, crate, registry)
        proposal = ownership.new_claim(
            look.published(crate),
            Request("claim", crate, at(now), evidence),
            facts,
            adopted=adopted,
            layout=_read_layout(layout),
            now=now,
        )
    proposal_folders.made(proposal, folder, "claim", insecure_example_keys=insecure_example_keys)


@command.command()
@click.argument("name")
@proposal_folders.output_option
@_owners
@_owners_threshold
@_releasers
@_release_threshold
@_layout
@_evidence
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
    only.

    \b
    Example:
      carnet claim handover serde -o handover --release-key erin=erin.pub --release-threshold 1
      carnet claim handover serde -o handover --layout layout.json
    """
    from carnet_signer.metadata.role_files import at
    from carnet_signer.proposals import ownership
    from carnet_signer.proposals.proposal import Request

    crate = CrateName(name)
    changes = ownership.OwnerChanges(
        _team(owners, owners_threshold, "--owner", "--owners-threshold") if owners else None,
        _team(releasers, release_threshold, "--release-key", "--release-threshold") if releasers else None,
        _read_layout(layout),
    )
    now = home.now()
    with proposal_folders.looking(repository) as look:
        request = Request("owners", crate, at(now), evidence, takeover)
        proposal = ownership.next_owner(look.published(crate), request, changes, now=now)
    proposal_folders.made(proposal, folder, "claim", insecure_example_keys=insecure_example_keys)


@command.command("give-up")
@click.argument("name")
@proposal_folders.output_option
@_evidence
@proposal_folders.repository_option
def give_up(name: str, folder: Path, evidence: tuple[str, ...], repository: str | None) -> None:
    """Give the crate NAME up, for ever.

    The registry's holders sign. Nobody vouches for the crate from then on, and nobody can claim it again.

    \b
    Example:
      carnet claim give-up serde -o given-up --evidence "the owners asked for it on 2026-11-23"
    """
    from carnet_signer.metadata.role_files import at
    from carnet_signer.proposals import ownership
    from carnet_signer.proposals.proposal import Request

    crate, now = CrateName(name), home.now()
    with proposal_folders.looking(repository) as look:
        proposal = ownership.give_up(look.published(crate), Request("give-up", crate, at(now), evidence), now=now)
    proposal_folders.made(proposal, folder, "claim")


@command.command()
@proposal_folders.folder_argument
@click.option(
    "--root",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The root that you have: check that what the folder calls published was signed.",
)
@output.message_format
def review(folder: Path, root: Path | None, message_format: output.MessageFormat) -> None:
    """Say in words what the signers of DIR would sign.

    Everything is read from the very bytes that would be signed, and compared with what is published.

    \b
    Example:
      carnet claim review claim --root root.json
    """
    proposal_folders.show_review(folder, "claim", root, message_format)


@command.command()
@proposal_folders.folder_argument
@key_option("Your private key: an owner's, a release key, or a holder's.")
@click.option("--root", type=click.Path(path_type=Path, dir_okay=False), help="As for `review`.")
@click.option("--yes", is_flag=True, help="Do not ask: you have read `carnet claim review`.")
@proposal_folders.insecure_option
@passphrase_options
def sign(
    folder: Path, key: str, root: Path | None, yes: bool, insecure_example_keys: bool, passphrase: PassphraseSource
) -> None:
    """Sign in DIR whichever roles your key belongs to, after showing them to you in words.

    \b
    Example:
      carnet claim sign claim --key alice
    """
    proposal_folders.sign_folder(
        folder, "claim", key, passphrase, root=root, yes=yes, insecure_example_keys=insecure_example_keys
    )


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


def _team(members: Sequence[str], threshold: int | None, flag: str, threshold_flag: str) -> Holders:
    from carnet_signer.keys.public import read_public_key
    from carnet_signer.proposals import ownership

    if not members or threshold is None:
        raise ConfigError(f"name at least one {flag} PERSON=KEY.pub, and {threshold_flag}")
    found = []
    for member in members:
        person, equals, path = member.partition("=")
        if not person or not equals or not path:
            raise ConfigError(f"{flag} {member!a} is not PERSON=KEY.pub")
        found.append((person, read_public_key(Path(path))))
    return ownership.team(found, threshold)


def _read_layout(path: Path | None) -> NewLayout | None:
    """A signed layout, and the terms that `carnet layout sign` wrote beside it."""
    if path is None:
        return None
    from carnet import strictjson
    from carnet.intoto.duties import Terms
    from carnet_signer.proposals.ownership import NewLayout

    data = proposal_folders.read(path, "layout")
    beside = terms_path(path)
    custom = strictjson.parse_object(proposal_folders.read(beside, "terms file"), str(beside), max_bytes=1024 * 1024)
    return NewLayout(data, Terms.from_custom(custom))


def terms_path(layout: Path) -> Path:
    """Where the terms of a layout are: `layout.json` has them in `layout.terms.json`."""
    return layout.with_name(f"{layout.name.removesuffix('.json')}.terms.json")


def _adopt(look: Looking, name: CrateName, registry: str) -> Releases | None:
    """The published versions: the signed index has their digests, the tarballs themselves their lengths."""
    from carnet.cargo.crate import CrateLimits
    from carnet.cargo.index_line import IndexFile
    from carnet.errors import MetadataMismatch
    from carnet.tuf import paths
    from carnet_signer.proposals import ownership

    path = paths.index_path(name)
    target = look.repository.find_targets([path])[path]
    if target is None:
        return None
    index = IndexFile.from_bytes(look.repository.download(target), name)
    lengths: dict[str, int] = {}
    with output.progress("adopting", len(index.lines)) as bar:
        for line in index.lines:
            data = look.fetcher.get(paths.download_path(line.id), max_bytes=CrateLimits().compressed)
            if sha256_hex(data) != line.cksum:
                raise MetadataMismatch(f"the mirror's tarball of {line.id} is not the one in its signed index")
            lengths[line.cksum] = len(data)
            bar.update(1)
    return ownership.adopt(index, lengths, registry)
