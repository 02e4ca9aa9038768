"""Flags, the environment and three files: who decides what a build asks, and which repository it trusts.

In this order: a flag, the environment, the machine's file, the user's (`carnet_cli.config.places`). Together they are
the floor. The project's `carnet.toml`, beside `Cargo.lock`, comes with the code under judgement: it can only ask for
more (`carnet_verifier.policy.floor`). `docs/build-systems.md` shows every key.

A file that a flag or the environment names is read instead of the project's, and has the rank of who named it; unless
it lies in the project, whose word it then is. So is that of a user's file that lies in the project.

On the path of `carnet verify`: what reads files and weighs them is imported when somebody says something.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from carnet.errors import ConfigError
from carnet.value import field, value
from carnet_cli.config import places
from carnet_verifier.net.budget import DEFAULT_BOUNDS, RunBounds
from carnet_verifier.policy import rules
from carnet_verifier.policy.policy import Policy

if TYPE_CHECKING:
    from carnet_cli.config.policy_file import PolicyFile

_RUN_VARIABLES = {
    "seconds": "CARNET_RUN_SECONDS",
    "megabytes": "CARNET_RUN_MEGABYTES",
    "pull-seconds": "CARNET_PULL_SECONDS",
}


@value
class Settings:
    """What a command works with.

    Attributes:
        repository: Which trusted repository, by URL or fingerprint; None means the only one there is.
        policy: What a crate must fulfil.
        file: The project's file, or the one named instead of it; None when there is no file.
        remarks: What the user should know of the files: what does not count, and exceptions whose time is over.
        run: What the whole run may fetch, and how long it may take.
        may_choose: Whether whoever said `repository` may choose among several: what a project says has only to fit.
    """

    repository: str | None = None
    policy: Policy = field(default_factory=Policy)
    file: Path | None = None
    remarks: tuple[str, ...] = ()
    may_choose: bool = True
    run: RunBounds = DEFAULT_BOUNDS


@value
class _Word:
    """What one of those says who may say something, or several together."""

    policy: Policy = field(default_factory=Policy)
    repository: str | None = None
    may_choose: frozenset[str] | None = None
    run: Mapping[str, int] = field(default_factory=dict)

    def over(self, lower: _Word) -> _Word:
        """This word above another one, which counts where this one says nothing."""
        from carnet_verifier.policy.floor import over

        may_choose = lower.may_choose if self.may_choose is None else self.may_choose
        run = {**lower.run, **self.run}
        return _Word(over(self.policy, lower.policy), self.repository or lower.repository, may_choose, run)

    def with_user(self, user: _Word) -> _Word:
        """The machine's word and the user's."""
        from carnet_verifier.policy.floor import with_user

        both = [said for said in (self.may_choose, user.may_choose) if said is not None]
        may_choose = frozenset.intersection(*both) if both else None
        run = {**user.run, **self.run}
        run |= {name: min(most, user.run[name]) for name, most in self.run.items() if name in user.run}
        return _Word(with_user(self.policy, user.policy), self.repository or user.repository, may_choose, run)


def load(
    folder: Path,
    *,
    now: datetime,
    file: Path | None = None,
    repository: str | None = None,
    asked: Mapping[str, str] | None = None,
    about: Path | None = None,
) -> Settings:
    """Put together what holds for a command.

    Args:
        folder: Where `Cargo.lock` is, and so the project's `carnet.toml`.
        now: The time of the command.
        file: The flag that names another file.
        repository: The flag of that name.
        asked: The flags that the settings of rules have, by the setting's name.
        about: The folder that the command is about, such as a member's, where that led to `folder`. A member may name a
            root anywhere, and what comes with the member is the project's all the same.

    Raises:
        ConfigError: A file, the environment or a flag is wrong, or others can write a file of the floor or take it
            away.
    """
    places.guard_users_folder()
    if file is None and not asked and not _is_anything_said(folder):
        return Settings(repository or os.environ.get("CARNET_REPOSITORY") or None)
    return _decide((folder, *([] if about is None else [about])), now, file, repository, asked or {})


def run_bounds(now: datetime) -> RunBounds:
    """What a whole run may cost where no project is meant: as the environment, the machine's file and the user's say.

    Raises:
        ConfigError: One of them is wrong, or others can write a file.
    """
    here = Path.cwd()
    if not any(map(places.is_there, places.candidates(here))) and not any(map(os.environ.get, _RUN_VARIABLES.values())):
        return DEFAULT_BOUNDS
    machine, user = (
        _Word() if one is None or _is_projects(one, (here,)) else _Word(run=one.run)
        for one in (places.machines_file(now), places.users_file(now))
    )
    return _bounds({**machine.with_user(user).run, **_run_from_environment()})


def _run_from_environment() -> Mapping[str, int]:
    from carnet_cli.config.policy_file import most_of_a_run

    texts = {name: text for name, variable in _RUN_VARIABLES.items() if (text := os.environ.get(variable))}
    return {
        name: most_of_a_run(
            int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else text, name, _RUN_VARIABLES[name]
        )
        for name, text in texts.items()
    }


def _bounds(run: Mapping[str, int]) -> RunBounds:
    from carnet_cli.config.policy_file import RUN

    said = {**RUN, **run}
    return RunBounds(float(said["seconds"]), said["megabytes"] * 1024**2, float(said["pull-seconds"]))


def _is_anything_said(folder: Path) -> bool:
    """Whether a variable or a file may ask for something."""
    variables = ("CARNET_CONFIG", *_RUN_VARIABLES.values(), *(setting.variable for setting in rules.settings()))
    return any(map(os.environ.get, variables)) or any(map(places.is_there, places.candidates(folder)))


def _decide(
    folders: Sequence[Path], now: datetime, file: Path | None, repository: str | None, asked: Mapping[str, str]
) -> Settings:
    from carnet_cli.config import policy_file

    folder = folders[0]
    machine, user = places.machines_file(now), places.users_file(now)
    by_flag = _named(file, now)
    by_variable = _named(_path_from_environment(), now) if by_flag is None else None
    beside = by_flag or by_variable or policy_file.read(folder / places.FILE_NAME, now=now)
    files = [one for one in (machine, user, beside) if one is not None]
    projects = [one for one in (beside, user) if one is not None and _is_projects(one, folders)]

    def word(one: PolicyFile | None) -> _Word:
        return _Word() if one is None or one in projects else _Word(one.policy, one.repository, one.may_choose, one.run)

    flags = {setting: text for setting in rules.settings() if (text := asked.get(setting.name))}
    variables = {setting: text for setting in rules.settings() if (text := os.environ.get(setting.variable))}
    floor = reduce(
        lambda lower, upper: upper.over(lower),
        (
            word(machine).with_user(word(user)),
            word(by_variable),
            _Word(
                policy_file.said_by(variables, lambda setting: setting.variable),
                os.environ.get("CARNET_REPOSITORY"),
                run=_run_from_environment(),
            ),
            word(by_flag),
            _Word(policy_file.said_by(flags, lambda setting: setting.flag), repository),
        ),
    )
    remarks = tuple(remark for one in files for remark in one.remarks)
    path, run = None if beside is None else beside.path, _bounds(floor.run)
    settings = Settings(floor.repository, floor.policy, path, remarks, run=run)
    return _tightened(settings, floor, projects, folder) if projects else settings


def _tightened(settings: Settings, floor: _Word, projects: Sequence[PolicyFile], folder: Path) -> Settings:
    """The floor, and more than that where the project's files ask for it."""
    from carnet_verifier.policy.floor import tighten

    project = reduce(_Word.with_user, (_Word(one.policy, one.repository) for one in projects))
    tightened = tighten(floor.policy, project.policy)
    remarks = [*settings.remarks, *tightened.less]
    remarks += [remark for one in projects for remark in _not_a_projects(one, folder)]
    chosen, wished = floor.repository, project.repository
    if chosen is not None and wished is not None and not _is_same(wished, chosen):
        remarks.append(f"{projects[0].path}: repository = {wished!a} does not count: {chosen} is asked for")
    may_choose = chosen is not None or wished is None or any(_is_same(wished, one) for one in floor.may_choose or ())
    return Settings(chosen or wished, tightened.policy, settings.file, tuple(remarks), may_choose, settings.run)


def _named(path: Path | None, now: datetime) -> PolicyFile | None:
    """The file that a flag or a variable names: it has to be there."""
    from carnet_cli.config import policy_file

    found = None if path is None else policy_file.read(path, now=now)
    if path is not None and found is None:
        raise ConfigError(
            f"{path} does not exist", hint="check the spelling of --config or CARNET_CONFIG, or leave it out"
        )
    return found


def _path_from_environment() -> Path | None:
    text = os.environ.get("CARNET_CONFIG")
    return Path(text) if text else None


def _is_projects(file: PolicyFile, folders: Sequence[Path]) -> bool:
    """Whether a file comes with the code under judgement: beside the lock, or anywhere in the same repository."""
    if file.path == folders[0] / places.FILE_NAME:  # `project_around` says nothing of one that was taken away since
        return True
    around = (places.project_around(folder) for folder in folders)
    return any(project is not None and places.lies_in(file.path, project) for project in around)


def _not_a_projects(file: PolicyFile, folder: Path) -> Iterator[str]:
    """What a project's file says and no project can say."""
    if file.path != folder / places.FILE_NAME:
        yield f"{file.path} lies in the project: it can only ask for more"
    if file.policy.may_except is not None or file.may_choose is not None:
        yield f"{file.path}: [project] does not count: what projects may is not a project's to say"
    if file.run:
        yield f"{file.path}: [run] does not count: what a run may cost is not a project's to say"


def _is_same(one: str, other: str) -> bool:
    """Whether two texts name one repository for sure; one may be a URL, and the other its fingerprint."""
    return one.rstrip("/") == other.rstrip("/")
