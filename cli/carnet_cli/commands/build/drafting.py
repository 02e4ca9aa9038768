"""What `carnet policy init` does: judge a lock as it is today, and write down what it fulfils."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from carnet.cargo.lockfile import SourceKind
from carnet.durable import create_file, make_folder
from carnet.errors import ConfigError
from carnet_cli.commands.build.locked_project import LockedProject
from carnet_cli.commands.build.verifying import judge_lock
from carnet_cli.commands.network import network_for
from carnet_cli.config import home, places
from carnet_cli.config import settings as config
from carnet_cli.config.policy_draft import Today, draft_policy
from carnet_cli.config.repository import judging_repository
from carnet_cli.terminal import output
from carnet_verifier.policy.foreign import FOREIGN
from carnet_verifier.policy.rules import git, other_registry
from carnet_verifier.tuf.view import open_view

if TYPE_CHECKING:
    from carnet.cargo.lockfile import Lockfile
    from carnet_cli.config.settings import Settings

_RULES = {SourceKind.GIT: git.RULE, SourceKind.REGISTRY: other_registry.RULE}


def init_policy(target: str | None, target_file: str | None, repository: str | None) -> None:
    """Write a `carnet.toml` that a lock passes, if what is asked of it already lets it.

    Args:
        target: A lock, or a folder of a project; None is the project where this runs.
        target_file: Where to; `-` is stdout, None is beside the lock.
        repository: The flag of that name.

    Raises:
        ConfigError: A file is there already, or there is no lock.
        CarnetError: Nothing could be decided.
    """
    path = Path(target or "")
    project = LockedProject.around(path) if path.is_dir() else LockedProject.of_lock(path)
    file = None if target_file == "-" else Path(target_file or project.folder / places.FILE_NAME)
    if file is not None and os.path.lexists(file):
        raise _there_already(file)
    settings = project.settings(repository=repository)
    lock = project.read_lock()
    trusted, now = judging_repository(settings, project.folder), home.now()
    with open_view(
        trusted.directory, now=now, bounds=settings.run, network=network_for(*project.folders), remark=output.warn
    ) as view:
        report = judge_lock(project, lock, settings, (trusted, view, now))
        today = Today(
            project.lock.name,
            report.outcomes,
            tuple((package, _RULES[package.kind].name) for package in lock.packages if package.kind in FOREIGN),
            now,
            f"snapshot {report.snapshot} of {report.url}",
            file is None or not _is_projects(file, project) or _may_except(lock, settings),
        )
        text = draft_policy(today)
        if file is None:
            output.echo(text, end="")
            return
        make_folder(file.absolute().parent, mode=0o700)
        try:
            create_file(file, text.encode(), mode=0o600 if file.absolute() == _users_file() else 0o644)
        except FileExistsError:
            raise _there_already(file) from None
        beside = file.absolute() in (project.folder / places.FILE_NAME, _users_file())
        settings = config.load(
            project.folder, now=now, file=None if beside else file, repository=repository, about=project.about
        )
        report = judge_lock(project, lock, settings, (trusted, view, now))
    output.note(f"wrote {file}")
    if report.refused:
        output.warn(
            f"{report.refused} of {report.total} packages are refused, with it as without",
            f"`carnet verify {project.lock}` says why; the file has a comment at each",
        )
    else:
        output.note(f"{project.lock} passes by it: {report.total} packages")


def _there_already(file: Path) -> ConfigError:
    return ConfigError(
        f"{file} is there already, and is not overwritten",
        hint="name another one with --output, or print it with `--output -` and take from it what you want",
    )


def _users_file() -> Path | None:
    folder = places.users_folder()
    return None if folder is None else folder / places.FILE_NAME


def _is_projects(file: Path, project: LockedProject) -> bool:
    """Whether what stands in a file would be the word of the code under judgement."""
    around = places.project_around(project.folder) or project.folder
    return places.lies_in(file.absolute(), around) or file.absolute() == project.folder / places.FILE_NAME


def _may_except(lock: Lockfile, settings: Settings) -> bool:
    """Whether a project may except all of what its lock has from elsewhere."""
    let = settings.policy.may_except or frozenset()
    return all(_RULES[package.kind] in let for package in lock.packages if package.kind in FOREIGN)
