"""`carnet verify`: check a lock file, a tarball or one crate."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from carnet.errors import ConfigError
from carnet_cli.commands.build.verifying import verify
from carnet_cli.report.rules import rules_in_words
from carnet_cli.terminal import output
from carnet_cli.terminal.output import MessageFormat
from carnet_verifier.policy import rules

_FORMS = {str: "TEXT", int: "INTEGER"}


def policy_options(command: Any) -> Any:
    """Decorate a command with the flags that come before environment and `carnet.toml`.

    Each setting of a rule has one; they come to the command together, as `asked`: the setting's name to what was said.
    """
    settings = {setting.name.replace("-", "_"): setting for setting in rules.settings()}

    @functools.wraps(command)
    def wrapped(**options: Any) -> Any:
        said = {setting.name: options.pop(name) for name, setting in settings.items()}
        return command(asked={name: text for name, text in said.items() if text is not None}, **options)

    wrapped.__doc__ = f"{inspect.cleandoc(command.__doc__ or '')}\n\n{rules_in_words()}\n"
    described = wrapped
    for option in (
        *(
            click.option(f"--{setting.name}", metavar=_FORMS[setting.form], help=setting.about)
            for setting in reversed(settings.values())
        ),
        click.option("--repository", help="URL or fingerprint, when several repositories are trusted."),
        click.option(
            "--config",
            "config_file",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Read this file instead of the carnet.toml beside the lock.",
        ),
    ):
        described = option(described)
    return described


@click.command()
@click.argument("target", required=False, metavar="[Cargo.lock | FILE.crate | NAME@VERSION]")
@click.option(
    "--cargo-home",
    metavar="[DIR]",
    is_flag=False,
    flag_value="",
    help="Compare what lies in a CARGO_HOME, the user's without DIR: tarballs, unpacked crates, checkouts.",
)
@click.option(
    "--vendor",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Compare what lies in a vendor folder.",
)
@click.option(
    "--update-memory",
    is_flag=True,
    help="Write carnet.lock beside the lock, once all of it is allowed: for machines that have seen nothing yet.",
)
@click.option(
    "--no-less-than",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Refuse a carnet.lock that says less than this one, as of the branch that it is to be merged into.",
)
@policy_options
@output.message_format
def command(
    target: str | None,
    cargo_home: str | None,
    vendor: Path | None,
    asked: Mapping[str, str],
    repository: str | None,
    config_file: Path | None,
    message_format: MessageFormat,
    **memory: Any,
) -> int:
    """Check a lock file, a tarball or one crate.

    Without a name it is the lock that cargo uses here: of a workspace's member, that of the workspace. Exit status 0
    means that all of it is allowed; 1, that something is refused; 3, that nothing could be decided. For example:

    \b
        carnet verify
        carnet verify --least-level maintainer path/to/Cargo.lock
        carnet verify serde-1.0.219.crate
        carnet verify serde@1.0.219

    With --update-memory, what was seen of a lock of which all is allowed is written into carnet.lock beside it. Commit
    it: whoever verifies there, on a fresh machine as well, then notices when an older state is shown. --no-less-than
    compares it with an earlier one, so that a change cannot make it forget. For example:

    \b
        carnet verify --update-memory
        git show origin/main:carnet.lock > /tmp/main.lock && carnet verify --no-less-than /tmp/main.lock

    With --cargo-home or --vendor, what lies there is compared file by file with what is signed: of the crates of the
    lock that is named, or of every crate that the mirror knows. Status 1 means that a file was changed; 3, that nobody
    vouches for one of the copies. For example:

    \b
        carnet verify --cargo-home
        carnet verify --vendor vendor Cargo.lock
    """
    if cargo_home is not None or vendor is not None:
        for name in (name for name, said in memory.items() if said):
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{flag} is about a lock alone", hint=f"run `carnet verify {flag}` without the others")
        from carnet_cli.commands.build.verifying_copies import verify_copies  # the lock alone is what most look at

        return verify_copies(
            target,
            cargo_home=cargo_home,
            vendor=vendor,
            asked=asked,
            repository=repository,
            config_file=config_file,
            message_format=message_format,
        )
    return verify(
        target,
        asked=asked,
        repository=repository,
        config_file=config_file,
        message_format=message_format,
        **memory,
    )
