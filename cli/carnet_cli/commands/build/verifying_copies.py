"""What `carnet verify --cargo-home` and `--vendor` do: compare the copies of crates that lie on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from carnet.cargo.lockfile import Lockfile, SourceKind
from carnet.cargo.names import CrateId
from carnet.errors import ConfigError
from carnet_cli.commands.build.locked_project import LOCK, LockedProject
from carnet_cli.commands.build.verifying import judge_lock
from carnet_cli.commands.network import network_for
from carnet_cli.config import home
from carnet_cli.config.repository import judging_repository
from carnet_cli.report.admission import lock_as_json, lock_as_text
from carnet_cli.report.on_disk.copies import CopiesReport, copies_as_json, copies_as_text
from carnet_cli.terminal import output
from carnet_verifier.cargo.compared import Asked, ComparedCopy, compare_checkout, compare_copies
from carnet_verifier.cargo.copies import Copy, in_cargo_home, in_vendor_folder
from carnet_verifier.cargo.differences import Difference
from carnet_verifier.cargo.localregistry import LocalRegistry
from carnet_verifier.policy.foreign import foreign_verdict
from carnet_verifier.tuf.view import open_view
from carnet_verifier.whole_lock import remarks_on, wanted_in

if TYPE_CHECKING:
    from datetime import datetime

    from carnet_cli.config.settings import Settings
    from carnet_cli.terminal.output import MessageFormat


def verify_copies(
    target: str | None,
    *,
    cargo_home: str | None,
    vendor: Path | None,
    asked: Mapping[str, str],
    repository: str | None,
    config_file: Path | None,
    message_format: MessageFormat,
) -> int:
    """Compare what lies in a CARGO_HOME, a vendor folder, or both; of a lock that is named, judge the packages first.

    Args:
        target: A lock, or a folder of a project; None for every crate that the repository knows.
        cargo_home: The folder; empty for the user's own, None for none.
        vendor: The folder, or None.
        asked: As for `carnet_cli.commands.build.verifying.verify`; what a policy asks, it asks of the lock.
        repository: As there.
        config_file: As there.
        message_format: As there.

    Returns:
        The exit status: 1 when something was changed or the lock is refused, 3 when nobody vouches for a copy.

    Raises:
        CarnetError: Nothing could be decided.
    """
    project = _project(target, cargo_home)
    settings = project.settings(asked, config_file=config_file, repository=repository)
    lock = None if target is None else project.read_lock()
    remarks = () if lock is None else remarks_on(lock, settings.policy, str(project.lock))
    output.warn_all(remarks)
    copies, strays, vendored = _on_disk(cargo_home, vendor)
    trusted, now, refused = judging_repository(settings, project.folder), home.now(), 0
    with open_view(
        trusted.directory, now=now, bounds=settings.run, network=network_for(*project.folders), remark=output.warn
    ) as view:
        if lock is not None:
            report = judge_lock(project, lock, settings, (trusted, view, now), remarks)
            output.show(report, message_format, lock_as_text, lock_as_json)
            refused = report.refused
        pinned = {} if lock is None else {item.id: item.checksum for item in wanted_in(lock)}
        looked_at = [
            copy for copy in copies if lock is None or copy.kind in ("vendored", "checkout") or copy.crate in pinned
        ]
        tarballs = trusted.cargo / "registry"
        asked_of = Asked(
            view.repository,
            view.url,
            now,
            pinned,
            trusted.directory.index_files,
            LocalRegistry(tarballs) if tarballs.is_dir() else None,
        )
        commits = None if lock is None else _allowed_commits(lock, settings, now)
        compared: list[ComparedCopy] = []
        with output.progress("comparing", len(looked_at)) as bar:
            others = [copy for copy in looked_at if copy.kind != "checkout"]
            for one in chain(_checkouts(looked_at, commits), compare_copies(others, asked_of)):
                compared.append(one)
                bar.update(1)
        if vendor is not None and lock is not None:
            compared += _not_vendored(vendor, lock, vendored)
        compared.sort(key=lambda one: str(one.copy.path))
        found = CopiesReport(
            tuple(compared),
            tuple(str(path) for path in strays),
            None if lock is None else len(copies) - sum(one.copy in copies for one in compared),
            view.url,
            view.repository.trusted.snapshot.signed.version,
            tuple(str(one) for one in (_home(cargo_home), vendor) if one is not None),
        )
    output.show(found, message_format, copies_as_text, copies_as_json)
    return 1 if refused else found.exit_code


def _project(target: str | None, cargo_home: str | None) -> LockedProject:
    if target is None:
        if cargo_home and os.path.isfile(cargo_home):  # noqa: PTH113  -- `--cargo-home Cargo.lock` takes the lock for DIR
            raise ConfigError(
                f"--cargo-home {cargo_home}: that is a file",
                hint=f"write `carnet verify --cargo-home={home.cargo_home()} {cargo_home}`, or the lock first",
            )
        return LockedProject.around(Path())
    path = Path(target)
    if path.suffix == ".crate" or ("@" in target and not path.exists()):
        raise ConfigError(
            f"{target} is no lock",
            hint=f"name a {LOCK} beside --cargo-home and --vendor, or nothing for all that is there",
        )
    return LockedProject.around(path) if path.is_dir() else LockedProject.of_lock(path)


def _home(cargo_home: str | None) -> Path | None:
    """The CARGO_HOME that is looked into: the user's where none is named; None where none is asked for."""
    return None if cargo_home is None else Path(cargo_home) if cargo_home else home.cargo_home()


def _on_disk(cargo_home: str | None, vendor: Path | None) -> tuple[list[Copy], list[Path], set[CrateId]]:
    """The copies, what lies among them, and which crates are vendored."""
    place = _home(cargo_home)
    at_home = None if place is None else in_cargo_home(place)
    beside = None if vendor is None else in_vendor_folder(vendor)
    found = [one for one in (at_home, beside) if one is not None]
    vendored = {copy.crate for copy in (() if beside is None else beside.copies) if copy.crate is not None}
    return [copy for one in found for copy in one.copies], [path for one in found for path in one.strays], vendored


def _allowed_commits(lock: Lockfile, settings: Settings, now: datetime) -> list[str]:
    """The commits that a lock names, of packages that the policy allows; what it does not, the lock's report says."""
    return [
        (package.source or "").rpartition("#")[2]
        for package in lock.of_kind(SourceKind.GIT)
        if not foreign_verdict(package, settings.policy, now=now).denials
    ]


def _checkouts(copies: list[Copy], commits: list[str] | None) -> Iterator[ComparedCopy]:
    for copy in copies:
        if copy.kind == "checkout":
            compared = compare_checkout(copy, commits)
            if compared is not None:
                yield compared


def _not_vendored(vendor: Path, lock: Lockfile, vendored: set[CrateId]) -> Iterator[ComparedCopy]:
    for package in lock.registry_packages:
        if package.id not in vendored:
            copy = Copy("vendored", vendor / str(package.id.name), "", package.id)
            said = f"{package.id} is in the lock, and not in {vendor}"
            yield ComparedCopy(copy, "changed", (Difference("", "missing", said),))
