"""`carnet vendor`: write the crates of a lock into a folder, for builds without a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from carnet.errors import CarnetError, ConfigError, LockRefused
from carnet_cli.commands.build.locked_project import LockedProject
from carnet_cli.commands.build.verify import policy_options
from carnet_cli.commands.network import network_for
from carnet_cli.config import home
from carnet_cli.config.repository import judging_repository
from carnet_cli.report.admission import warn_of
from carnet_cli.report.on_disk.vendored import TOOLS, VendorReport, vendor_as_json, vendor_as_text
from carnet_cli.terminal import output
from carnet_cli.terminal.output import MessageFormat

if TYPE_CHECKING:
    from datetime import datetime

    from carnet.cargo.lockfile import Lockfile
    from carnet_cli.config.home import Trusted
    from carnet_cli.config.settings import Settings
    from carnet_verifier.admit import Admission
    from carnet_verifier.cargo.localregistry import LocalRegistry
    from carnet_verifier.tuf.view import View

_BEHIND_THE_GATE = (
    "`cargo carnet vendor DIR` has cargo write that folder, of admitted crates and of what your policy allows from "
    "git, once it was compared with the commit that the lock names"
)
"""What to do about packages whose manifests cargo rewrites when it vendors them."""


@click.command()
@click.argument("folder", default="vendor", metavar="[DIR]", type=click.Path(path_type=Path))
@click.option(
    "--lockfile",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The lock; else the one that cargo uses here.",
)
@click.option("--local-registry", is_flag=True, help="Write a local registry, of tarballs and an index.")
@click.option("--versioned-dirs", is_flag=True, help="Put the version into the name of every folder.")
@click.option(
    "--for",
    "tool",
    type=click.Choice(list(TOOLS)),
    default="cargo",
    show_default=True,
    help="For which program the lines are that are printed.",
)
@policy_options
@output.message_format
def command(
    folder: Path,
    lockfile: Path | None,
    tool: str,
    asked: Mapping[str, str],
    repository: str | None,
    config_file: Path | None,
    message_format: MessageFormat,
    **form: bool,
) -> int:
    """Write the crates of a lock into a folder, each of them admitted, for builds without a network.

    The folder is what `cargo vendor` writes from the same lock, byte for byte, and a file of carnet's that cargo does
    not look at. It is replaced in one step, and only what changed is written; again, nothing is. A folder that carnet
    did not write is refused. The lines that make cargo, Bazel or Nix use it go to stdout. For example:

    \b
        carnet vendor >> .cargo/config.toml
        carnet vendor --local-registry third_party/crates
        carnet vendor --for nix
    """
    from carnet.durable import private_folder
    from carnet_verifier.cargo import vendoring
    from carnet_verifier.cargo.localregistry import LocalRegistry
    from carnet_verifier.tuf.view import open_view

    local_registry, versioned = form["local_registry"], form["versioned_dirs"]
    if local_registry and versioned:
        raise ConfigError("--versioned-dirs is about folders", hint="leave it out with --local-registry")
    if not str(folder).isprintable():  # it goes into a configuration, which is UTF-8
        raise ConfigError(f"{str(folder)!a} cannot stand in a configuration", hint="name a folder that can be written")
    project = LockedProject.around(Path()) if lockfile is None else LockedProject.of_lock(lockfile)
    settings = project.settings(asked, config_file=config_file, repository=repository)
    lock = project.read_lock()
    trusted, now = judging_repository(settings, project.folder), home.now()
    registry = LocalRegistry(private_folder(trusted.cargo) / "registry")
    with (
        open_view(
            trusted.directory, now=now, bounds=settings.run, network=network_for(*project.folders), remark=output.warn
        ) as view,
        registry.locked(),
    ):
        admissions = _admit(lock, settings, trusted, registry, (view, now))
        with output.counting("fetching", len(admissions)) as count:
            vendoring.keep_tarballs(registry, view.repository, admissions, count)
        if local_registry:
            kind, parts = "local-registry", vendoring.local_registry_parts(registry, admissions)
        else:
            kind, parts = "directory", vendoring.vendored_parts(registry, admissions, versioned=versioned)
        written = vendoring.write_vendor_folder(folder, kind, parts)
        report = VendorReport(folder, kind, tool, written, len(admissions), view.url)
    output.show(report, message_format, vendor_as_text, vendor_as_json)
    return 0


def _admit(
    lock: Lockfile, settings: Settings, trusted: Trusted, registry: LocalRegistry, by: tuple[View, datetime]
) -> list[Admission]:
    """Every crate of the lock, or none.

    Raises:
        LockRefused: One or more were refused; each is told.
        ConfigError: It has packages that are not vendored.
    """
    from carnet_verifier.admit import admit_all
    from carnet_verifier.policy.foreign import foreign_verdicts
    from carnet_verifier.whole_lock import remarks_on, wanted_in

    view, now = by
    output.warn_all(remarks_on(lock, settings.policy, "the lock"))
    wanted = wanted_in(lock)
    admissions: list[Admission] = []
    refusals: list[tuple[object, CarnetError]] = []
    with output.counting("admitting", len(wanted)) as count:
        for outcome in admit_all(
            view.repository,
            wanted,
            settings.policy,
            trusted.directory,
            now=now,
            cache=trusted.directory.index_files,
            kept=registry,
        ):
            count(1)
            if outcome.admission is not None:
                admissions.append(outcome.admission)
                warn_of(outcome.admission.verdict)
            elif outcome.error is not None:
                refusals.append((outcome.wanted.id, outcome.error))
    foreign = foreign_verdicts(lock, settings.policy, now=now)
    for verdict in foreign:
        try:
            verdict.require()
        except CarnetError as error:
            refusals.append((verdict.crate, error))
    if refusals:
        for _, refusal in refusals[1:]:
            output.report(refusal)
        raise LockRefused(refusals, of=len(wanted) + len(foreign))
    if foreign:
        raise ConfigError(
            f"{foreign[0].crate} is not from crates-io, and carnet does not vendor it",
            hint=_BEHIND_THE_GATE,
        )
    return admissions
