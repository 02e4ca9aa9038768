"""`carnet mirror`: publish crates with signed metadata."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from carnet.errors import ConfigError
from carnet_cli.commands.registry.mirror.approve import approve
from carnet_cli.commands.registry.mirror.backup import backup, relocate, restore
from carnet_cli.commands.registry.mirror.checks import (
    DIRECTORY,
    fsck,
    listed,
    locked_in,
    online_options,
    status,
    warn_without_second_opinion,
)
from carnet_cli.commands.registry.mirror.export import export
from carnet_cli.commands.registry.mirror.pending import pending
from carnet_cli.commands.registry.mirror.quickstart import quickstart
from carnet_cli.commands.registry.mirror.revoke import revoke
from carnet_cli.commands.registry.mirror.serve import serve
from carnet_cli.commands.registry.mirror.takedown import takedown
from carnet_cli.config import home
from carnet_cli.report.registry.mirror import (
    PublishReport,
    published_as_json,
    published_as_text,
)
from carnet_cli.report.registry.status import tell_what_ends
from carnet_cli.report.registry.synced import SyncedReport, synced_as_json, synced_as_text
from carnet_cli.terminal import output
from carnet_cli.terminal.passphrase import PassphraseSource, passphrase_options

if TYPE_CHECKING:
    from carnet_mirror.state.store import Store
    from carnet_signer.metadata.publish import PublishResult


_SECOND_OPINION = "--second-opinion/--insecure-no-second-opinion"
_SECOND_OPINION_HELP = (
    "Whether python-tuf and in-toto must agree with carnet before anything new is signed; the mirror remembers it."
)


@click.group()
def command() -> None:
    """Publish crates with signed metadata.

    A mirror is one directory: a database and files. It starts from the files that the holders of the offline keys have
    signed; from then on it signs timestamp, snapshot and index with one online key.

    \b
    Example:
      carnet mirror init /srv/carnet --ceremony ceremony/ --online-key online.key
      carnet mirror sync /srv/carnet --lockfile Cargo.lock
      carnet mirror serve /srv/carnet
    """


# --- init ---


@command.command()
@DIRECTORY
@click.option(
    "--ceremony",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder of signed files that `carnet root status` calls complete.",
)
@online_options
@click.option(_SECOND_OPINION, default=True, show_default=True, help=_SECOND_OPINION_HELP)
@passphrase_options
@output.message_format
def init(  # noqa: PLR0913  -- one parameter for each flag
    *,
    directory: Path,
    ceremony: Path,
    online_key: str | None,
    online_socket: Path | None,
    memory: Path | None,
    insecure_example_keys: bool,
    second_opinion: bool,
    passphrase: PassphraseSource,
    message_format: output.MessageFormat,
) -> None:
    """Make a mirror from a finished ceremony, and publish it.

    DIR must not exist or be empty. The online key stays where it is; the mirror remembers where. Its passphrase or PIN
    is asked for, or read from a file or a descriptor.

    \b
    Example:
      carnet mirror init /srv/carnet --ceremony ceremony/ --online-key keys/online
    """
    from carnet_cli.commands.registry.online_signer import OnlineSettings, online
    from carnet_mirror.upkeep import make_mirror
    from carnet_mirror.writing import set_second_opinion
    from carnet_signer.ceremony import folder as ceremony_folder

    settings = OnlineSettings.told(online_key, memory, online_socket, example_keys=insecure_example_keys)
    files = ceremony_folder.finished(ceremony)
    warn_without_second_opinion(second_opinion)

    def remember(store: Store) -> None:
        settings.remember(store)
        set_second_opinion(store, wanted=second_opinion)

    published = make_mirror(directory, files, lambda: online(directory, settings, passphrase), remember, now=home.now())
    _show_published(published, directory, f"the mirror in {directory} is ready", message_format)


def _show_published(
    published: PublishResult, directory: Path, headline: str, message_format: output.MessageFormat
) -> None:
    report = PublishReport(published, directory, headline)
    output.show(report, message_format, published_as_text, published_as_json)


# --- sync ---


@command.command()
@DIRECTORY
@click.argument("wanted", nargs=-1, metavar="[NAME[@REQUIREMENT]]...")
@click.option(
    "--lockfile",
    type=click.Path(path_type=Path, dir_okay=False),
    show_default="Cargo.lock, where no name is given",
    help="Copy every crate that it locks from crates-io.",
)
@click.option(
    "--workspace",
    metavar="MANIFEST",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Copy what a package or workspace without a lock asks for: the Cargo.toml of its root.",
)
@click.option(
    "--upstream",
    metavar="INDEX",
    help="Without cargo: a sparse index, `sparse+https://...`; a folder in the form of cargo's local registries; with "
    "--upstream-root another mirror's address or export; or a label of mirror.toml.",
)
@click.option(
    "--upstream-root",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The root file of the mirror of carnet's that --upstream names: it is verified from there, as by a client.",
)
@click.option("--cargo", envvar="CARGO", default="cargo", show_default=True, help="The cargo that fetches.")
@click.option(
    "--let-in",
    "let_in_file",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Take the versions in this file although their index lines are not their manifests': clients are told.",
)
@click.option(
    "--history",
    "whole",
    is_flag=True,
    help="Also every version that each REQUIREMENT admits, yanked ones too; of a claimed crate what was adopted, and "
    "whether more appeared upstream.",
)
@click.option(
    "--whole-index",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Only list every crate of the index in this folder, a git index or a dump: tarballs come when clients ask.",
)
@click.option("--dry-run", is_flag=True, help="Ask the upstream's index only, say what would come, and change nothing.")
@passphrase_options
@output.message_format
def sync(  # noqa: PLR0913  -- one parameter for each flag
    *,
    directory: Path,
    wanted: tuple[str, ...],
    lockfile: Path | None,
    workspace: Path | None,
    upstream: str | None,
    upstream_root: Path | None,
    cargo: str,
    let_in_file: Path | None,
    whole: bool,
    whole_index: Path | None,
    dry_run: bool,
    passphrase: PassphraseSource,
    message_format: output.MessageFormat,
) -> int:
    """Copy the crates of a lock file, or some crates and all that they depend on, into a mirror, and publish them.

    Of each NAME, the newest version comes that REQUIREMENT admits (`1.2` means `^1.2`, as in a manifest), with what it
    depends on: all of its features, every platform. What is claimed here is not looked for upstream. `--workspace`
    reads names and requirements from manifests instead, and executes nothing of them.

    Your own cargo fetches them, with your registries, proxies and credentials, into a scratch directory. Each tarball
    is compared with the lock, read strictly, and its index line compared with the manifest inside. What is refused
    stops nothing else, and gives exit status 1. Syncing again changes only what has changed upstream.

    What the upstream does not say is no statement: when it errs, lists less or cannot be read, what the mirror has
    stays as it is, and what it does not have waits. Exit status 3 when something was not decided.

    With `--dry-run` the exit status is what it would be by the index: what only a tarball shows is not known then.

    \b
    Example:
      carnet mirror sync /srv/carnet --lockfile app/Cargo.lock
      carnet mirror sync /srv/carnet serde@1 'tokio@>=1.40, <2'
    """
    from carnet.cargo.asked import AskedFor
    from carnet_cli.commands.registry.mirror.upstreams import CARGO, SECONDS, Sources
    from carnet_cli.commands.registry.online_signer import OnlineSettings, online
    from carnet_cli.config.let_in_file import read_let_in_file
    from carnet_cli.config.mirror_file import open_mirror, read_mirror_file
    from carnet_mirror.state.store import check_there
    from carnet_mirror.sync.closure import Missing, close, history
    from carnet_mirror.sync.manifests import read_workspace
    from carnet_mirror.sync.plan import plan
    from carnet_mirror.sync.sync import sync as run
    from carnet_mirror.upstream.stopping import never

    if dry_run and let_in_file is not None:
        raise ConfigError(
            "--let-in is about what a tarball says, and --dry-run looks at none", hint="leave one of the two away"
        )
    if whole_index is not None:
        from carnet_cli.commands.registry.mirror.whole_index import list_index

        beside = (lockfile, workspace, upstream, upstream_root, let_in_file)
        if dry_run or whole or wanted or any(said is not None for said in beside):
            raise ConfigError(
                "--whole-index lists all of an index, and nothing else is said beside it",
                hint="run it alone, then `carnet mirror sync` for tarballs that are to be here",
            )
        return list_index(directory, whole_index, passphrase, message_format)
    if upstream is None and upstream_root is not None:
        raise ConfigError(
            "--upstream-root is the root of the mirror that --upstream names", hint="add --upstream https://host/"
        )
    check_there(directory)  # before anything is remembered in it
    sources = Sources(directory, read_mirror_file(directory).upstreams, cargo, SECONDS, remembering=False)
    source = sources.make(CARGO if upstream is None else upstream, upstream_root)(never)
    asked = [AskedFor.parse(text) for text in wanted]
    if whole and not asked:
        raise ConfigError("--history is of crates that are named", hint="write --history NAME")
    histories = tuple(asked) if whole else ()
    if workspace is not None:
        asks = read_workspace(workspace)
        for note in asks.notes:
            output.warn(note)
        asked += [one for one in asks.asked if one not in asked]
    named = bool(asked) or workspace is not None
    if lockfile is None and not named and not Path("Cargo.lock").exists():
        raise ConfigError(
            "nothing says what to copy: no crate is named, and there is no Cargo.lock here",
            hint=f"name a lock, `carnet mirror sync {directory} --lockfile FILE`, or crates, "
            f"`carnet mirror sync {directory} NAME@REQUIREMENT`",
        )
    packages = locked_in(lockfile or Path("Cargo.lock")) if lockfile is not None or not named else ()
    now = home.now()
    let_in = None if let_in_file is None else read_let_in_file(let_in_file, now)
    missing: tuple[Missing, ...] = ()
    with open_mirror(directory, write=not dry_run) as store, ExitStack() as stack:
        if not dry_run:
            store.disk.require()  # before a passphrase is asked for
        signer = None if dry_run else stack.enter_context(online(directory, OnlineSettings.of(store), passphrase))
        if asked:
            closed = close(store, source, asked)
            locked = {package.id for package in packages}
            packages += tuple(package for package in closed.packages if package.id not in locked)
            missing = closed.missing
        if histories:
            known = {package.id for package in packages}
            every = history(store, source, histories).packages
            packages += tuple(package for package in every if package.id not in known)
        if signer is None:
            report = plan(store, source, packages, now=now)
        else:
            report = run(
                store,
                signer,
                source,
                packages,
                now=now,
                progress=output.counting,
                let_in=let_in,
                index=source,
                histories=[one.name for one in histories],
            )
        crates, versions = store.crates.count()
    synced = SyncedReport(report, crates, versions, missing, dry_run)
    output.show(synced, message_format, synced_as_text, synced_as_json)
    return 1 if synced.refused else 3 if synced.undecided else 0


# --- refresh ---


@command.command()
@DIRECTORY
@click.option(
    "--ceremony",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also publish the newer files that the holders have signed in this folder.",
)
@click.option(
    "--next-online-key",
    metavar="KEY",
    help="The online key that the ceremony's new root names: this time both sign, from then on it alone. Its "
    "passphrase is that of the key before.",
)
@click.option(
    "--online-key-lost",
    is_flag=True,
    help="With --next-online-key: today's key is in a token that is gone for good, and the next one signs alone; "
    "clients are refused for a moment.",
)
@click.option(
    "--memory-lost",
    is_flag=True,
    help="What the online signer remembered is lost for good: let it begin anew, above what is published.",
)
@click.option(
    "--clock-is-right",
    is_flag=True,
    help="The mirror signed while this machine's clock was wrong: sign again by what it says now.",
)
@click.option(_SECOND_OPINION, default=None, help=f"{_SECOND_OPINION_HELP}  [default: as it remembers]")
@passphrase_options
@output.message_format
def refresh(  # noqa: PLR0913  -- one parameter for each flag
    *,
    directory: Path,
    ceremony: Path | None,
    next_online_key: str | None,
    online_key_lost: bool,
    memory_lost: bool,
    clock_is_right: bool,
    second_opinion: bool | None,
    passphrase: PassphraseSource,
    message_format: output.MessageFormat,
) -> int:
    """Sign again what would expire: the timestamp, and snapshot and index when they are due.

    `serve` does this by itself; without it, call this at least once a day. What people have to sign is told when it has
    ended or ends soon; exit status 1 when clients refuse the mirror because of it.

    \b
    Example:
      carnet mirror refresh /srv/carnet
      carnet mirror refresh /srv/carnet --ceremony ceremony/    # after `carnet root rotate` and its signatures
      carnet mirror refresh /srv/carnet --ceremony ceremony/ --next-online-key keys/online-2027
    """
    from carnet_cli.commands.registry.online_signer import OnlineSettings, online
    from carnet_cli.config.mirror_file import open_for_upkeep
    from carnet_mirror.schedule import claims_that_end, expiries
    from carnet_mirror.upkeep import sign_again
    from carnet_mirror.writing import set_second_opinion, wants_second_opinion
    from carnet_signer.ceremony import folder as ceremony_folder
    from carnet_signer.keys.uri import anchored

    files = ceremony_folder.finished(ceremony) if ceremony is not None else {}
    with open_for_upkeep(directory) as store:
        if second_opinion is not None:
            with store.change():
                set_second_opinion(store, wanted=second_opinion)
        warn_without_second_opinion(wants_second_opinion(store))
        next_key = next_online_key and anchored(next_online_key)
        told = OnlineSettings.of(store)
        settings = replace(told, next_key=next_key, lost=online_key_lost, new_memory=memory_lost)
        with online(directory, settings, passphrase) as signer:
            published = sign_again(
                store,
                signer,
                now=home.now(),
                roles=files,
                clock_is_right=clock_is_right,
                memory_lost=memory_lost,
                progress=lambda left: output.note(f"{left:,} bins of the index are still to be signed again"),
            )
        if settings.next_key is not None:
            with store.change():
                replace(settings, key=settings.next_key).remember(store)
        roles, claims = expiries(store), claims_that_end(store, now=home.now())
    _show_published(published, directory, "signed again", message_format)
    tell_what_ends(roles, claims, home.now())
    return 1 if any(one.expires <= home.now() for one in roles) else 0


command.add_command(serve)
command.add_command(status)
command.add_command(listed)
command.add_command(fsck)
command.add_command(pending)
command.add_command(export)
command.add_command(quickstart)
command.add_command(revoke)
command.add_command(approve)
command.add_command(takedown)
command.add_command(backup)
command.add_command(restore)
command.add_command(relocate)
