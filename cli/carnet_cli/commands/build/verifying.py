"""What `carnet verify` does: check a lock file, a tarball or one crate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from carnet.errors import CarnetError, ConfigError, TransportError
from carnet_cli.commands.build.repository import judging_repository
from carnet_cli.config import home, places
from carnet_cli.config import settings as config
from carnet_cli.terminal import output

if TYPE_CHECKING:
    from carnet_cli.config.settings import Settings
    from carnet_cli.terminal.output import MessageFormat
    from carnet_verifier.admit import Admission, Outcome

LOCK = "Cargo.lock"


def verify(
    target: str = LOCK,
    *,
    asked: Mapping[str, str] | None = None,
    repository: str | None = None,
    config_file: Path | None = None,
    message_format: MessageFormat = "human",
) -> int:
    """Check what is named, and say what came of it.

    Args:
        target: A lock file or the folder of one, a `.crate` file, or `NAME@VERSION`.
        asked: The flags that the settings of rules have.
        repository: The flag of that name.
        config_file: The file to read instead of the `carnet.toml` beside the lock.
        message_format: How results are written.

    Returns:
        The exit status: 0 when all of it is allowed, 1 when something is refused.

    Raises:
        CarnetError: Nothing could be decided, or the one thing that was asked about is refused.
    """
    path = Path(target)
    if path.is_dir():
        path /= "Cargo.lock"
    is_crate_id = "@" in target and not path.exists()
    is_alone = is_crate_id or path.suffix == ".crate"
    folder = places.project_folder(Path.cwd()) if is_alone else path.absolute().parent
    settings = config.load(folder, now=home.now(), file=config_file, repository=repository, asked=asked)
    output.warn_all(settings.remarks)
    if is_crate_id:
        return _verify_crate(target, settings, message_format)
    if path.suffix == ".crate":
        return _verify_file(path, settings, message_format)
    return _verify_lock(path, settings, message_format)


# --- a lock ---


def _verify_lock(path: Path, settings: Settings, message_format: MessageFormat) -> int:
    from carnet.cargo.lockfile import MAX_LOCK, SourceKind, read_lockfile
    from carnet.durable import read_file
    from carnet_cli.report.admission import LockReport, lock_as_json, lock_as_text
    from carnet_verifier.admit import Outcome, Wanted, admit_all
    from carnet_verifier.policy.foreign import foreign_verdicts
    from carnet_verifier.tuf.view import open_view

    try:
        lock = read_lockfile(read_file(path, "the lock", max_bytes=MAX_LOCK), str(path))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist", hint="name a Cargo.lock, a .crate file or NAME@VERSION") from None
    trusted = judging_repository(settings)
    now = home.now()
    wanted = [Wanted(package.id, package.checksum) for package in lock.registry_packages]
    with open_view(trusted.directory, now=now) as view:
        repository = view.repository
        outcomes: list[Outcome] = []
        with output.progress("checking", len(wanted)) as bar:
            for outcome in admit_all(
                repository, wanted, settings.policy, trusted.directory, now=now, cache=trusted.directory.index_files
            ):
                outcomes.append(Outcome(outcome.wanted, outcome.result))  # without the tarball: they are large
                bar.update(1)
    report = LockReport(
        tuple(outcomes),
        foreign_verdicts(lock, settings.policy, now=now),
        tuple(package.id for package in lock.of_kind(SourceKind.PATH)),
        view.url,
        repository.trusted.snapshot.signed.version,
        repository.expires,
    )
    output.show(report, message_format, lock_as_text, lock_as_json)
    return int(report.refused > 0)


# --- one tarball, one crate ---


def _verify_file(path: Path, settings: Settings, message_format: MessageFormat) -> int:
    from carnet.cargo.crate import CrateLimits, read_crate
    from carnet.durable import read_file
    from carnet_verifier.admit import Wanted, admit_tarball
    from carnet_verifier.tuf.view import open_view

    try:
        data = read_file(path, "the tarball", max_bytes=CrateLimits().compressed)
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist", hint="name a Cargo.lock, a .crate file or NAME@VERSION") from None
    crate = read_crate(data)
    trusted, now = judging_repository(settings), home.now()
    with open_view(trusted.directory, now=now) as view:
        wanted = Wanted(crate.id, crate.sha256)
        admission, _ = admit_tarball(
            view.repository, wanted, settings.policy, trusted.directory, now=now, read=(data, crate)
        )
    return _allowed(admission, message_format)


def _verify_crate(target: str, settings: Settings, message_format: MessageFormat) -> int:
    from carnet.cargo.names import CrateId
    from carnet_verifier.admit import Wanted, admit_one
    from carnet_verifier.tuf.view import open_view

    wanted = Wanted(CrateId.parse(target))
    trusted, now = judging_repository(settings), home.now()
    with open_view(trusted.directory, now=now) as view:
        try:
            admission = admit_one(view.repository, wanted, settings.policy, trusted.directory, now=now)
        except TransportError:
            raise
        except CarnetError as error:
            raise _with_hint(error, f"`carnet explain {wanted.id}` shows the whole chain") from None
    return _allowed(admission, message_format)


def _with_hint(error: CarnetError, hint: str) -> CarnetError:
    error.hint = f"{error.hint}; {hint}" if error.hint else hint
    return error


def _allowed(admission: Admission, message_format: MessageFormat) -> int:
    from carnet_cli.report.admission import crate_as_json, crate_as_text

    output.show(admission, message_format, crate_as_text, crate_as_json)
    return 0
