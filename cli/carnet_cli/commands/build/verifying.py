"""What `carnet verify` does: check a lock file, a tarball or one crate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from carnet.errors import CarnetError, ConfigError, TransportError
from carnet_cli.commands.build.locked_project import LockedProject
from carnet_cli.commands.network import network_for
from carnet_cli.config import home
from carnet_cli.config.repository import check_memory, judging_repository, write_memory
from carnet_cli.terminal import output

if TYPE_CHECKING:
    from datetime import datetime

    from carnet.cargo.lockfile import Lockfile
    from carnet_cli.config.home import Trusted
    from carnet_cli.config.settings import Settings
    from carnet_cli.report.admission import LockReport
    from carnet_cli.terminal.output import MessageFormat
    from carnet_verifier.admit import Admission, Outcome
    from carnet_verifier.tuf.view import View


def verify(
    target: str | None = None,
    *,
    asked: Mapping[str, str] | None = None,
    repository: str | None = None,
    config_file: Path | None = None,
    message_format: MessageFormat = "human",
    update_memory: bool = False,
    no_less_than: Path | None = None,
) -> int:
    """Check what is named, and say what came of it.

    Args:
        target: A lock file, a folder of a project, a `.crate` file, or `NAME@VERSION`; None is the folder where this
            runs. Of a project the lock is meant that cargo uses.
        asked: The flags that the settings of rules have.
        repository: The flag of that name.
        config_file: The file to read instead of the `carnet.toml` beside the lock.
        message_format: How results are written.
        update_memory: Whether `carnet.lock` is brought up to date once all of a lock is allowed.
        no_less_than: An earlier `carnet.lock`: the one beside the lock has to say no less.

    Returns:
        The exit status: 0 when all of it is allowed, 1 when something is refused.

    Raises:
        CarnetError: Nothing could be decided, or the one thing that was asked about is refused.
    """
    path = Path(target or "")
    is_crate_id = target is not None and "@" in target and not path.exists()
    is_file = path.suffix == ".crate" and not path.is_dir()
    is_lock = not (is_crate_id or is_file or path.is_dir())
    project = LockedProject.of_lock(path) if is_lock else LockedProject.around(path if path.is_dir() else Path())
    settings = project.settings(asked, config_file=config_file, repository=repository)
    if (update_memory or no_less_than) and not is_lock and not (path.is_dir() and not is_crate_id):
        flag = "--update-memory" if update_memory else "--no-less-than"
        raise ConfigError(f"{flag} is about a lock, and {target} is none", hint="name a Cargo.lock, or its folder")
    if target is not None and is_crate_id:
        return _verify_crate(target, project, settings, message_format)
    if is_file:
        return _verify_file(path, project, settings, message_format)
    return _verify_lock(project, settings, message_format, update_memory=update_memory, no_less_than=no_less_than)


# --- a lock ---


def _verify_lock(
    project: LockedProject,
    settings: Settings,
    message_format: MessageFormat,
    *,
    update_memory: bool,
    no_less_than: Path | None,
) -> int:
    from carnet_cli.report.admission import lock_as_json, lock_as_text
    from carnet_verifier.tuf.view import open_view
    from carnet_verifier.whole_lock import remarks_on

    lock = project.read_lock()
    remarks = remarks_on(lock, settings.policy, str(project.lock))
    if project.folder != project.about:
        output.note(f"{project.about} is checked by the lock of its workspace, {project.lock}")
    output.warn_all(remarks)
    trusted = judging_repository(settings, project.folder, joining=update_memory)
    if no_less_than is not None:
        check_memory(trusted, no_less_than)
    now = home.now()
    with open_view(
        trusted.directory, now=now, bounds=settings.run, network=network_for(*project.folders), remark=output.warn
    ) as view:
        report = judge_lock(project, lock, settings, (trusted, view, now), remarks)
        if update_memory and not report.refused:
            output.note(write_memory(project.folder, lock, trusted, view.repository))
    output.show(report, message_format, lock_as_text, lock_as_json)
    return int(report.refused > 0)


def judge_lock(
    project: LockedProject,
    lock: Lockfile,
    settings: Settings,
    by: tuple[Trusted, View, datetime],
    remarks: tuple[str, ...] = (),
) -> LockReport:
    """Judge every package of a lock.

    Args:
        project: Whose lock it is.
        lock: What it says.
        settings: What is asked.
        by: The repository that is trusted, its verified view, and the time.
        remarks: What was said of the lock as a whole.

    Raises:
        CarnetError: Nothing could be decided.
    """
    from carnet.cargo.lockfile import SourceKind
    from carnet_cli.report.admission import LockReport
    from carnet_verifier.admit import Outcome, admit_all
    from carnet_verifier.policy.foreign import foreign_verdicts
    from carnet_verifier.whole_lock import wanted_in

    trusted, view, now = by
    repository, wanted = view.repository, wanted_in(lock)
    outcomes: list[Outcome] = []
    with output.progress("checking", len(wanted)) as bar:
        for outcome in admit_all(
            repository, wanted, settings.policy, trusted.directory, now=now, cache=trusted.directory.index_files
        ):
            outcomes.append(Outcome(outcome.wanted, outcome.result))  # without the tarball: they are large
            bar.update(1)
    return LockReport(
        tuple(outcomes),
        foreign_verdicts(lock, settings.policy, now=now),
        tuple(package.id for package in lock.of_kind(SourceKind.PATH)),
        view.url,
        repository.trusted.snapshot.signed.version,
        repository.expires,
        project.lock.absolute(),
        remarks,
    )


# --- one tarball, one crate ---


def _verify_file(path: Path, project: LockedProject, settings: Settings, message_format: MessageFormat) -> int:
    from carnet.cargo.crate import CrateLimits, read_crate
    from carnet.durable import read_named_file
    from carnet_verifier.admit import Wanted, admit_tarball
    from carnet_verifier.tuf.view import open_view

    data = read_named_file(path, "tarball", max_bytes=CrateLimits().compressed)
    crate = read_crate(data)
    trusted, now = judging_repository(settings, project.folder), home.now()
    with open_view(
        trusted.directory, now=now, bounds=settings.run, network=network_for(*project.folders), remark=output.warn
    ) as view:
        wanted = Wanted(crate.id, crate.sha256)
        admission, _ = admit_tarball(
            view.repository, wanted, settings.policy, trusted.directory, now=now, read=(data, crate)
        )
    return _allowed(admission, message_format)


def _verify_crate(target: str, project: LockedProject, settings: Settings, message_format: MessageFormat) -> int:
    """One crate, as the project's lock asks for it; where that takes it from elsewhere as well, all of them."""
    from carnet.cargo.names import CrateId
    from carnet_cli.report.admission import foreign_as_json, foreign_as_text, own_as_json, own_as_text
    from carnet_cli.terminal.typed import typed
    from carnet_verifier.admit import Wanted, admit_one
    from carnet_verifier.policy.foreign import FOREIGN, foreign_verdict
    from carnet_verifier.tuf.view import open_view
    from carnet_verifier.whole_lock import wanted_as

    crate, now = typed(CrateId.parse, target), home.now()
    packages = project.packages(crate)
    foreign = [foreign_verdict(package, settings.policy, now=now) for package in packages if package.kind in FOREIGN]
    wanted = [wanted_as(package) for package in packages if package.kind not in FOREIGN and package.source is not None]
    if not packages:
        wanted = [Wanted(crate)]
    trusted = judging_repository(settings, project.folder)
    with open_view(
        trusted.directory, now=now, bounds=settings.run, network=network_for(*project.folders), remark=output.warn
    ) as view:
        try:
            admissions = [
                admit_one(view.repository, one, settings.policy, trusted.directory, now=now) for one in wanted
            ]
            for verdict in foreign:
                verdict.require()
        except TransportError:
            raise
        except CarnetError as error:
            raise _with_hint(error, f"`carnet explain {crate}` shows the whole chain") from None
    for admission in admissions:
        _allowed(admission, message_format)
    for verdict in foreign:
        output.show(verdict, message_format, foreign_as_text, foreign_as_json)
    if not admissions and not foreign:
        output.show(crate, message_format, own_as_text, own_as_json)
    return 0


def _with_hint(error: CarnetError, hint: str) -> CarnetError:
    error.hint = f"{error.hint}; {hint}" if error.hint else hint
    return error


def _allowed(admission: Admission, message_format: MessageFormat) -> int:
    from carnet_cli.report.admission import crate_as_json, crate_as_text

    output.show(admission, message_format, crate_as_text, crate_as_json)
    return 0
