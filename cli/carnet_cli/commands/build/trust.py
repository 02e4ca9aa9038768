"""`carnet trust`: say which mirror you trust, and from which root on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import click

from carnet.errors import CarnetError
from carnet_cli.commands.build.login import login, logout
from carnet_cli.commands.network import network_for
from carnet_cli.config import home
from carnet_cli.config.settings import run_bounds
from carnet_cli.report.trust import (
    TrustAdded,
    TrustMoved,
    TrustRemoved,
    TrustStatus,
    added_as_json,
    added_as_text,
    moved_as_json,
    moved_as_text,
    removed_as_json,
    removed_as_text,
    status_as_json,
    status_as_text,
)
from carnet_cli.terminal import output
from carnet_cli.terminal.output import MessageFormat
from carnet_cli.terminal.typed import typed


@click.group()
def command() -> None:
    """Say which mirror you trust, and from which root on.

    The root file is what everything else is checked against. Get it by a way that you trust (from a colleague, from a
    signed image, from the mirror's operator in person) and compare its fingerprint; never from the mirror alone.
    """


_offline = click.option(
    "--offline", is_flag=True, help="Do not ask the mirror whether the repository is there: nothing is fetched."
)


@command.command()
@click.argument("url")
@click.option(
    "--root",
    "root_file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The root file that you got by a way you trust.",
)
@click.option("--fingerprint", help="Its sha256, when you know it: anything else is refused.")
@_offline
@click.option("--insecure-example-keys", is_flag=True, help="Also accept the keys in keys-example/.")
@output.message_format
def add(
    url: str,
    root_file: Path,
    fingerprint: str | None,
    offline: bool,
    insecure_example_keys: bool,
    message_format: MessageFormat,
) -> None:
    """Trust the repository at URL, from a root file on.

    The mirror is asked whether it is the repository of that root. Again with the same root and URL, it changes
    nothing. For example:

    \b
        carnet trust add https://mirror.example/ --root root.json
    """
    from carnet_cli.config import trusting

    pinned = trusting.read_root(root_file, fingerprint=fingerprint, insecure_example_keys=insecure_example_keys)
    network = None if offline else network_for()
    trusted, is_new = trusting.add(pinned, url, network=network, now=home.now())
    report = TrustAdded(trusted.id, trusted.directory.url, pinned.fingerprint, pinned.root, is_new)
    output.show(report, message_format, added_as_text, added_as_json)


@command.command()
@click.argument("url")
@click.option("--repository", help="URL or fingerprint of the one that moves, when several are trusted.")
@_offline
@output.message_format
def move(url: str, repository: str | None, offline: bool, message_format: MessageFormat) -> None:
    """Go on with a trusted repository at another URL.

    What was seen of it is kept, and holds there too: nothing older is taken. For example:

    \b
        carnet trust move https://new-mirror.example/
    """
    from carnet_cli.config import trusting

    trusted = home.choose(repository)
    trusted.require_lasting()
    before = trusting.move(trusted, url, network=None if offline else network_for(), now=home.now())
    report = TrustMoved(trusted.id, before, trusted.directory.url)
    output.show(report, message_format, moved_as_text, moved_as_json)


@command.command()
@click.argument("repository")
@click.option("--yes", is_flag=True, help="Do it; without this, what would be forgotten is only said.")
@output.message_format
def remove(repository: str, yes: bool, message_format: MessageFormat) -> int:
    """Forget a repository, named by URL or fingerprint: its root, and all that was seen of it.

    What was seen is what protects against going back: an older state, other owners or a lower level of a crate pass
    for new afterwards. For a new address, use `carnet trust move`. For example:

    \b
        carnet trust remove https://mirror.example/ --yes
    """
    from carnet_cli.config import trusting

    trusted = home.choose(repository)
    trusted.require_lasting()
    forgotten = trusting.what_goes_with(trusted)
    if yes:
        trusting.remove(trusted)
    output.show(TrustRemoved(forgotten, yes), message_format, removed_as_text, removed_as_json)
    return 0 if yes else 2


command.add_command(login)
command.add_command(logout)


@command.command()
@output.message_format
def status(message_format: MessageFormat) -> int:
    """Refresh every trusted repository, and show how it stands.

    For example:

    \b
        carnet trust status
    """
    from carnet_verifier.tuf.view import open_view

    ids = home.trusted_ids()
    if not ids:
        raise home.none_trusted()
    now, network = home.now(), network_for()
    worst = 0
    for trust_id in ids:
        trusted = home.open_trusted(trust_id)
        roles: dict[str, tuple[int, datetime]] = {}
        failure: CarnetError | None = None
        try:
            with open_view(trusted.directory, now=now, bounds=run_bounds(now), network=network) as view:
                top = view.repository.trusted
                for name, role in (
                    ("root", top.root.signed),
                    ("timestamp", top.timestamp.signed),
                    ("snapshot", top.snapshot.signed),
                    ("targets", view.repository.targets),
                ):
                    roles[name] = (role.version, role.expires)
        except CarnetError as error:
            failure, worst = error, max(worst, error.exit_code)
        report = TrustStatus(trust_id, trusted.directory.url, now, roles, failure)
        output.show(report, message_format, status_as_text, status_as_json)
    return worst


@command.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "-o", "--output", "file", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The file to write."
)
@click.option("--repository", help="URL or fingerprint, when several repositories are trusted.")
def export(names: tuple[str, ...], file: Path, repository: str | None) -> None:
    """Write what is published into a file, for whoever signs on a machine without a network.

    It holds everything that is signed offline, or what concerns the crates that you name: then also what the index
    lists of them, which whoever signs a first claim compares with. There `--view FILE` of
    `carnet claim`, `carnet release` and `carnet root` checks it from the root that is trusted there:

    \b
        carnet trust export -o view.json serde
    """
    from carnet import durable
    from carnet.cargo.names import CrateName
    from carnet_cli.commands.own_view import expired_words
    from carnet_verifier.tuf.saved_view import expired_roles, roles_to_save, save_view
    from carnet_verifier.tuf.view import open_view

    crates = [typed(CrateName, name) for name in names]
    with open_view(
        home.choose(repository).directory, now=home.now(), bounds=run_bounds(home.now()), network=network_for()
    ) as view:
        roles = roles_to_save(view.repository, crates)
        with output.progress("fetching", len(roles)) as bar:
            data = save_view(view, _counted(roles, bar), crates)
        ends = view.repository.trusted.timestamp.signed.expires
        over = expired_roles(view.repository, roles, home.now())
    durable.write_file(file, data)
    output.note(f"wrote {len(roles)} roles to {file}; it is taken until 14 days after {ends:%Y-%m-%dT%H:%M:%SZ}")
    if over:
        output.warn(f"the view was written{expired_words(over)}", hint="their owners and release keys sign new ones")


def _counted(roles: Sequence[str], bar: output.Progress) -> Iterator[str]:
    for role in roles:
        yield role
        bar.update(1)


@command.command()
@click.argument("crates", nargs=-1, metavar="[NAME@VERSION]...")
@click.option("--repository", help="URL or fingerprint, when several repositories are trusted.")
def clean(crates: tuple[str, ...], repository: str | None) -> None:
    """Forget the tarballs and sources that are kept for cargo.

    They are fetched and checked again by the next `cargo carnet`. Name crates to forget only these:

    \b
        carnet trust clean serde@1.0.219
    """
    from carnet.cargo.names import CrateId
    from carnet.durable import private_folder
    from carnet_gate.comparison.surroundings import tidy
    from carnet_verifier.cargo.localregistry import LocalRegistry, remove_tree

    trusted = home.choose(repository)
    trusted.require_lasting()
    registry = LocalRegistry(private_folder(trusted.cargo) / "registry")
    wanted = [typed(CrateId.parse, text) for text in crates] or None
    with registry.locked():
        homes = [path for path in trusted.cargo.glob("home*") if path.is_dir()]
        count = registry.clean(wanted, homes)
        for path in [path for folder in homes for path in tidy(folder)] if wanted is None else ():
            remove_tree(path)
    output.note(f"removed {count} tarballs and unpacked crates")
