"""`carnet root`: the offline ceremony."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from carnet.errors import ConfigError, SigningError
from carnet_cli.commands.network import network_for
from carnet_cli.commands.own_view import (
    BaseSource,
    base_options,
    memory_of,
    own_view,
    sign_again_option,
    signed_before,
)
from carnet_cli.config import home
from carnet_cli.config.settings import run_bounds
from carnet_cli.report.registry.ceremony import CeremonyReport, ceremony_as_json, ceremony_as_text, say_next
from carnet_cli.report.signing import SCREEN
from carnet_cli.terminal import output
from carnet_cli.terminal.passphrase import PassphraseSource, passphrase_options
from carnet_cli.terminal.signing_key import key_option, open_key

if TYPE_CHECKING:
    from carnet.claims.waiting import Waiting
    from carnet.tuf.keys import PublicKey
    from carnet.tuf.roles import RoleFile, Root, Signed
    from carnet_signer.ceremony.ceremony import Ceremony, Holder
    from carnet_signer.ceremony.lint import CeremonyFinding
    from carnet_signer.ceremony.state_before import ComparedCeremony
    from carnet_signer.signed_before import SignedBefore

_folder = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
_insecure = click.option("--insecure-example-keys", is_flag=True, help="Also accept the keys in keys-example/.")
_holders = click.option(
    "--holder", "holders", multiple=True, type=click.Path(path_type=Path), help="A holder's public key, NAME.pub."
)
_online = click.option(
    "--online", multiple=True, type=click.Path(path_type=Path), help="The public key of the mirror's online signer."
)

_claim_waits = click.option(
    "--claim-waits",
    metavar="DAYS",
    type=click.IntRange(0, 90),
    help="How many days a first claim is public before it counts; 0 for not at all.  [default: 7, or as it is]",
)
_takeover_waits = click.option(
    "--takeover-waits",
    metavar="DAYS",
    type=click.IntRange(0, 90),
    help="The same for a change of owners that those before do not sign.  [default: 30, or as it is]",
)


@click.group()
def command() -> None:
    """The offline ceremony: who may decide about a repository, and by how many signatures.

    One person makes the folder, each holder signs a copy on a machine of their own, and the folder is final when the
    threshold has signed. Nobody needs all the keys in one place.

    \b
    carnet root init ceremony --holder alice.pub --holder bob.pub --holder carol.pub \\
        --threshold 2 --online online.pub
    carnet root sign ceremony --key alice        (Alice, then she hands the folder to Bob)
    carnet root sign ceremony --key bob
    carnet root status ceremony
    """


@command.command()
@_folder
@_holders
@click.option("--threshold", type=click.IntRange(min=1), required=True, help="How many holders must sign.")
@_online
@click.option(
    "--bins",
    type=click.IntRange(2, 65536),
    default=256,
    show_default=True,
    help="Hash bins of the index, a power of two. With 256 a bin of a mirror of 10,000 crates lists 40; all of a "
    "large public registry wants 16384. It cannot be changed later.",
)
@_claim_waits
@_takeover_waits
@_insecure
def init(  # noqa: PLR0913  -- one parameter for each flag
    *,
    folder: Path,
    holders: tuple[Path, ...],
    threshold: int,
    online: tuple[Path, ...],
    bins: int,
    claim_waits: int | None,
    takeover_waits: int | None,
    insecure_example_keys: bool,
) -> None:
    """Make the folder DIR with every offline role, unsigned.

    \b
    carnet root init ceremony --holder alice.pub --holder bob.pub --holder carol.pub \\
        --threshold 2 --online online.pub
    """
    from carnet_signer.ceremony import ceremony
    from carnet_signer.ceremony import folder as ceremony_folder

    if bins & (bins - 1):
        raise ConfigError(f"{bins} is not a power of two", hint="such as 16, 256 or 16384")
    plan = ceremony.Plan(
        _read_holders(holders, insecure_example_keys),
        threshold,
        _read_holders(online, insecure_example_keys),
        bins.bit_length() - 1,
        _waiting(None, claim_waits, takeover_waits),
    )
    ceremony_folder.create(folder, ceremony.start(plan, _now()))
    made = ceremony_folder.read(folder)
    _show(made, ceremony.OFFLINE_ROLES)
    _warn(made, insecure_example_keys)
    output.note(f"made {folder}, with nothing signed yet")
    say_next(folder, made)


@command.command()
@_folder
@key_option("Your private key.")
@base_options
@click.option(
    "--root",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --view: the root that it is checked from, where no repository is trusted.",
)
@click.option("--yes", is_flag=True, help="Do not ask: you have read what is to be signed in another way.")
@sign_again_option
@_insecure
@passphrase_options
def sign(  # noqa: PLR0913  -- one parameter for each flag
    *,
    folder: Path,
    key: str,
    repository: str | None,
    view: Path | None,
    root: Path | None,
    insecure_base_from_folder: bool,
    yes: bool,
    sign_again: bool,
    insecure_example_keys: bool,
    passphrase: PassphraseSource,
) -> None:
    """Sign in DIR whatever waits for your key, after showing it to you in words.

    A next version is compared with what is published, as you verify it now: `carnet trust add` comes first. The first
    version of a repository has nothing before it, and wants keys that sign for no other one.

    \b
    carnet root sign ceremony --key alice
    """
    from carnet import durable
    from carnet_signer.ceremony import ceremony, state_before
    from carnet_signer.ceremony import folder as ceremony_folder
    from carnet_signer.ceremony import lint as ceremony_lint

    source = BaseSource(repository, view, root, insecure_base_from_folder)
    found = ceremony_folder.read(folder)
    compared = _compared(found, source)
    found = compared.ceremony
    findings = _warn(found, insecure_example_keys)
    ceremony_lint.refuse(findings)
    signer = open_key(key, passphrase, insecure_example_keys=insecure_example_keys)
    if not ceremony.takes_part(found, signer.public_key):
        raise SigningError(
            f"key {signer.public_key.keyid} is not one of the holders' keys",
            hint=f"they are {', '.join(_holder_names(found))}; is this the right key, and the right folder?",
        )
    wanted = ceremony.to_sign(found, signer.public_key)
    if not wanted:
        output.note(f"nothing in {folder} waits for your signature")
        say_next(folder, found)
        return
    output.echo(output.plain(f"{'!!! ' if compared.alarm else ''}{compared.said}"))
    shown = _show(found, wanted)
    marked = [line.strip() for line in shown if "!!!" in line] + [finding.text for finding in findings]
    if len(shown) > SCREEN and (marked or compared.alarm):
        first = compared.said if compared.alarm else marked[0]
        output.note(f"!!! LOOK AGAIN ABOVE, at {len(marked) + compared.alarm} lines: {first}")
    output.note(f"you are about to sign these {len(wanted)} files as {found.name(signer.public_key)}")
    if not sign_again:
        state_before.check_new_keys(compared, signer.public_key, _trusted_roots())
    memory, files = _memory(compared, source, signer.public_key), {role: found.latest(role) for role in wanted}
    memory.check(files, again=sign_again)
    if not yes:
        _require_consent()
    memory.remember(files, again=sign_again)  # durable before a signature is made
    durable.write_files(folder, ceremony.sign(found, wanted, signer))
    output.note(f"signed {len(wanted)} files")
    say_next(folder, ceremony_folder.read(folder))


@command.command()
@_folder
@click.argument("others", nargs=-1, required=True, type=click.Path(path_type=Path))
@_insecure
def merge(folder: Path, others: tuple[Path, ...], insecure_example_keys: bool) -> None:
    """Take over into DIR what was signed in copies of it, or what a repository has published since.

    \b
    carnet root merge ceremony from-bob from-carol
    carnet root merge ceremony /srv/mirror/metadata
    """
    from carnet import durable
    from carnet_signer.ceremony import ceremony
    from carnet_signer.ceremony import folder as ceremony_folder
    from carnet_signer.ceremony import lint as ceremony_lint

    for other in others:
        ours = ceremony_folder.read(folder)
        made = ceremony.merge(ours, ceremony_folder.read(other))
        merged = ceremony_folder.overlay(ours, made)
        ceremony_lint.refuse(_warn(merged, insecure_example_keys))
        durable.write_files(folder, made)
        output.note(f"took {len(made)} files over from {other}")
    say_next(folder, ceremony_folder.read(folder))


@command.command()
@_folder
@click.argument("url")
@_insecure
def update(folder: Path, url: str, insecure_example_keys: bool) -> None:
    """Bring DIR up to what the repository at URL has published, verified from the newest root in DIR on.

    Claims change the shards between two ceremonies, and the shards say of every claimed crate which versions of its
    owners' and release keys' files there are: do this before `carnet root rotate`, and not more than 7 days before.

    \b
    carnet root update ceremony https://mirror.example
    """
    from carnet import durable
    from carnet_signer.ceremony import ceremony
    from carnet_signer.ceremony import folder as ceremony_folder
    from carnet_signer.ceremony.claim_files import ClaimFiles
    from carnet_signer.ceremony.published import take_published
    from carnet_verifier.tuf.view import open_view_from

    found = ceremony_folder.read(folder)
    with open_view_from(
        ceremony.newest_final_root(found), url, now=_now(), bounds=run_bounds(_now()), network=network_for()
    ) as view:
        repository = view.repository
        with output.progress("fetching", len(ceremony.OFFLINE_ROLES)) as progress:
            published = {}
            for role in ceremony.OFFLINE_ROLES[1:]:
                published[role] = repository.role(role)
                progress.update(1)
        owners = repository.claimed_files(role for role in published if role.startswith("claims-"))
        trusted = repository.trusted
        claims = ClaimFiles(owners, trusted.timestamp, trusted.snapshot) if owners else ClaimFiles()
    made = take_published(found, repository.trusted.root, published, claims)
    _warn(ceremony_folder.overlay(found, made), insecure_example_keys)
    durable.write_files(folder, made)
    ceremony_folder.remove_superseded(folder)
    output.note(f"took {len(made)} files over from {url}")
    say_next(folder, ceremony_folder.read(folder))


@command.command()
@_folder
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
def add(folder: Path, files: tuple[Path, ...]) -> None:
    """Take into DIR the newest owner and crate roles of a crate, FILES, from its owners themselves.

    `carnet root update` brings what the repository shows. Owners who fear that it shows their files of long ago hand
    the newest to the holders, with every version since the one in DIR: the next shards then demand them. They are
    checked against the shard in DIR.

    \b
    carnet root add ceremony 7.owner.serde.json 41.crate.serde.json
    """
    from carnet import durable
    from carnet.tuf import paths
    from carnet.tuf.read import parse_role
    from carnet.tuf.roles import Targets
    from carnet_signer.ceremony import claim_files
    from carnet_signer.ceremony import folder as ceremony_folder
    from carnet_signer.ceremony.ceremony import MAX_FILE, as_targets

    found = ceremony_folder.read(folder)
    shards = {role: as_targets(found.latest(role)) for role in map(paths.claims_shard_role, paths.SHARDS)}
    handed = []
    for file in files:
        with durable.users_file(file, "role file"):
            handed.append(durable.read_file(file, "role file", max_bytes=MAX_FILE))
            parse_role(handed[-1], Targets, what=str(file))
    made = found.claims.missing_from(claim_files.handed_in(found.claims, handed, shards))
    durable.write_files(folder, made)
    ceremony_folder.remove_superseded(folder)
    output.note(f"took {len(made)} files over; the next `carnet root rotate` demands no older ones")


@command.command()
@_folder
@output.message_format
@_insecure
def status(folder: Path, message_format: output.MessageFormat, insecure_example_keys: bool) -> None:
    """Show which file of DIR has how many of its signatures, who is missing, and what to do next."""
    from carnet_signer.ceremony import folder as ceremony_folder

    found = ceremony_folder.read(folder)
    findings = _warn(found, insecure_example_keys)
    report = CeremonyReport(folder, found, tuple(findings))
    output.show(report, message_format, ceremony_as_text, ceremony_as_json)


@command.command()
@_folder
@_holders
@click.option("--threshold", type=click.IntRange(min=1), help="How many holders must sign from now on.")
@_online
@click.option("--new-root", is_flag=True, help="Make a next root even if nothing in it changes and it is not due.")
@click.option(
    "--keep-shards",
    is_flag=True,
    help="Leave the shards of claims as they are, when their owners' files cannot be had: as after the loss of the "
    "online key. They live no longer than before.",
)
@_claim_waits
@_takeover_waits
@_insecure
def rotate(  # noqa: PLR0913  -- one parameter for each flag
    *,
    folder: Path,
    holders: tuple[Path, ...],
    threshold: int | None,
    online: tuple[Path, ...],
    new_root: bool,
    keep_shards: bool,
    claim_waits: int | None,
    takeover_waits: int | None,
    insecure_example_keys: bool,
) -> None:
    """Make the next version of the offline roles in DIR, unsigned: with new expiries, and with new keys if you say so.

    Give all holders that are to be there afterwards; without `--holder`, `--threshold` or `--online` those stay. A
    change of holders is signed by the old ones and the new ones. While an online key is replaced, the online signer
    holds both.

    The shards of claims say anew below which version nobody believes a crate's roles. The files that this is read from
    come with `carnet root update`, and may be 7 days old.

    \b
    carnet root rotate ceremony                                  renews what expires
    carnet root rotate ceremony --holder alice.pub --holder bob.pub --holder dave.pub --threshold 2
    carnet root rotate ceremony --online online-2027.pub
    """
    from carnet import durable
    from carnet_signer.ceremony import ceremony
    from carnet_signer.ceremony import folder as ceremony_folder
    from carnet_signer.ceremony.renewal import renew

    found = ceremony_folder.read(folder)
    old = ceremony.plan_of(found)
    plan = ceremony.Plan(
        _read_holders(holders, insecure_example_keys) if holders else old.holders,
        threshold if threshold is not None else old.threshold,
        _read_holders(online, insecure_example_keys) if online else old.online,
        old.bit_length,
        _waiting(old.waiting, claim_waits, takeover_waits),
    )
    made = renew(found, plan, _now(), new_root=new_root, keep_shards=keep_shards)
    after = ceremony_folder.overlay(found, made)
    _show(after, [role for role in ceremony.OFFLINE_ROLES if not after.final(role)])
    _warn(after, insecure_example_keys)
    durable.write_files(folder, made)
    output.note(f"made the next version of {len(made)} files in {folder}, with nothing signed yet")
    say_next(folder, after)


def _waiting(before: Waiting | None, claim: int | None, takeover: int | None) -> Waiting:
    from carnet.claims.waiting import Waiting

    old = before or Waiting()
    return Waiting(old.claim if claim is None else claim, old.takeover if takeover is None else takeover)


def _now() -> datetime:
    return home.now().replace(microsecond=0)


def _compared(found: Ceremony, source: BaseSource) -> ComparedCeremony:
    """Put what the user verified in the place of what the folder says is published.

    Raises:
        CarnetError: The folder was made from something else, or nothing of the user's own can be had.
    """
    from carnet_signer.ceremony import state_before

    chosen = source
    if state_before.is_first_version(found) and source.view is None and not source.believe_folder:
        known = _trusted_as(found.latest("root"))
        if known is None and source.repository is None:
            return state_before.first_version(found)
        chosen = replace(source, repository=source.repository or known)
    with own_view(chosen) as view:
        return state_before.believe_folder(found) if view is None else state_before.compare(found, view)


def _trusted_roots() -> dict[str, RoleFile[Root]]:
    """The newest root of each trusted repository, by its id."""
    from carnet.tuf.read import parse_role
    from carnet.tuf.roles import Root

    return {one: parse_role(home.open_trusted(one).directory.root, Root) for one in home.trusted_ids()}


def _trusted_as(root: RoleFile[Signed]) -> str | None:
    """The trusted repository that began with this root: then its first versions are published already."""
    return next((one for one, trusted in _trusted_roots().items() if trusted.message == root.message), None)


def _memory(compared: ComparedCeremony, source: BaseSource, key: PublicKey) -> SignedBefore:
    """What this user signed of the repository; one that only begins goes by its first root."""
    from carnet.digests import sha256_hex
    from carnet_signer.ceremony import state_before

    if compared.said == state_before.FIRST:
        return memory_of(f"new-{sha256_hex(compared.ceremony.latest('root').message)[:16]}", key)
    return signed_before(source, compared.view, key)


def _read_holders(files: tuple[Path, ...], insecure_example_keys: bool) -> tuple[Holder, ...]:
    from carnet.tuf.example_keys import refuse_example_keys
    from carnet_signer.ceremony.ceremony import Holder
    from carnet_signer.keys.public import read_public_key

    found = tuple(Holder(path.name.removesuffix(".pub"), read_public_key(path)) for path in files)
    refuse_example_keys((holder.key for holder in found), allow=insecure_example_keys)
    return found


def _require_consent() -> None:
    try:
        agreed = click.confirm("sign them?", err=True)
    except click.Abort:
        output.note("")  # the question has no end of a line
        agreed = False
    if not agreed:
        raise SigningError("nothing was signed", hint="answer y, or give --yes")


def _show(found: Ceremony, wanted: list[str] | tuple[str, ...]) -> list[str]:
    from carnet_signer.ceremony import words as ceremony_words

    lines = ceremony_words.describe(found, wanted, _now())
    for line in lines:
        output.echo(output.plain(line))
    return lines


def _warn(found: Ceremony, insecure_example_keys: bool) -> list[CeremonyFinding]:
    from carnet_signer.ceremony import lint as ceremony_lint

    findings = ceremony_lint.lint(found, _now(), insecure_example_keys=insecure_example_keys)
    for finding in findings:
        output.warn(finding.text)
    return findings


def _holder_names(found: Ceremony) -> list[str]:
    return [found.name(key) for key in found.root.roles["root"].keys]
