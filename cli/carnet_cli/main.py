"""The `carnet` command: which commands exist, and how their arguments are parsed."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import click

from carnet.errors import CarnetError, ConfigError
from carnet_cli.terminal import output
from carnet_cli.terminal.exits import status_of, until_ended

# Each command's module is imported when the command is used: start-up time counts.
_COMMANDS: dict[str, tuple[str, str]] = {
    "key": ("carnet_cli.commands.maintain.key", "Make, import and look at signing keys."),
    "root": (
        "carnet_cli.commands.registry.root",
        "The offline ceremony: create, sign and rotate a repository's root of trust.",
    ),
    "claim": ("carnet_cli.commands.maintain.claim", "Say who owns a crate, and which keys may release it."),
    "watch": ("carnet_cli.commands.maintain.watch", "Show the claims and takeovers that wait at a mirror."),
    "layout": (
        "carnet_cli.commands.maintain.layout",
        "Say which steps a release goes through, and who may carry them out.",
    ),
    "record": ("carnet_cli.commands.maintain.record", "Carry out one step of a release, and sign what was done."),
    "release": ("carnet_cli.commands.maintain.release", "Release a version of a claimed crate, or take one back."),
    "online": ("carnet_cli.commands.registry.online", "Hold a mirror's online keys in a process of their own."),
    "mirror": ("carnet_cli.commands.registry.mirror.group", "Publish crates with signed metadata."),
    "trust": ("carnet_cli.commands.build.trust", "Say which mirror you trust, and from which root on."),
    "verify": ("carnet_cli.commands.build.verify", "Check a lock file, a tarball or one crate."),
    "vendor": ("carnet_cli.commands.build.vendor", "Write the crates of a lock into a folder, for builds offline."),
    "explain": (
        "carnet_cli.commands.build.explain",
        "Show the whole chain behind one crate, and why it is let in or not.",
    ),
    "policy": ("carnet_cli.commands.build.policy", "Say what is asked of crates, and who decided it."),
    "doctor": ("carnet_cli.commands.build.doctor", "Say what protects builds on this machine, and what does not."),
    "shim": ("carnet_cli.commands.editors.shim", "Write a cargo home for editors, whose cargo goes through the gate."),
    "proxy": ("carnet_cli.commands.build.proxy", "A cargo registry on loopback that serves only what was verified."),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(_COMMANDS[cmd_name][0]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Say of a word that is no command where it is one, or which was meant."""
        if args[0] not in _COMMANDS and not args[0].startswith("-"):
            raise ConfigError(f"no such command {args[0][:80]!a}", hint=_meant(args[0]))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):  # without importing any of them
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


def _meant(word: str) -> str:
    """What to type in the place of a word that is no command of `carnet`."""
    from difflib import get_close_matches  # it takes a mistake to need these two, and a build to pay for them

    from carnet_gate.commands.table import SHORT, SUBCOMMANDS

    if word == "cargo":
        return "cargo runs behind the gate as `cargo carnet COMMAND`, such as `cargo carnet build`"
    if SHORT.get(word, word) in SUBCOMMANDS:
        return f"that is a command of cargo's: `cargo carnet {word}` runs it behind the gate"
    close = get_close_matches(word, _COMMANDS, 1)
    return f"did you mean `carnet {close[0]}`?" if close else "`carnet --help` lists the commands"


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(None, "-V", "--version", package_name="carnet", message="%(prog)s %(version)s")
def cli() -> None:
    """Let a crate into a build only after everything behind it was checked.

    What cargo does with crates is typed as `cargo carnet build`, `cargo carnet add`, and so on.
    """


def run(command: click.Command, args: Sequence[str], name: str) -> int:
    """Parse a command's arguments and run it; returns its exit status (`carnet_cli.terminal.exits`)."""

    def work() -> object:
        try:
            return command.main(args=list(args), prog_name=name, standalone_mode=False)
        except click.exceptions.Exit as stop:
            return stop.exit_code
        except click.UsageError as error:
            output.report(_mistake(error, command, args, name))
            return 2
        except click.ClickException as error:
            output.report(CarnetError(error.format_message()))
            return 2
        except click.Abort:
            raise KeyboardInterrupt from None

    return status_of(lambda: until_ended(work))


def _mistake(error: click.UsageError, command: click.Command, args: Sequence[str], name: str) -> ConfigError:
    """A mistake on the command line in one line, and which `--help` explains it."""
    path = _path(command, args, name) if error.ctx is None else error.ctx.command_path
    if isinstance(error, click.exceptions.NoArgsIsHelpError):  # whose text is the whole help
        return ConfigError(f"`{path}` alone is no command", hint=f"`{path} --help` lists those that there are")
    said = error.format_message()
    return ConfigError(said[:1].lower() + said[1:].removesuffix("."), hint=f"`{path} --help` explains the command")


def _path(command: click.Command, args: Sequence[str], name: str) -> str:
    """The commands among the arguments, for what the parser says without telling of which command."""
    ctx = click.Context(command, info_name=name)
    for word in args:
        found = command.get_command(ctx, word) if isinstance(command, click.Group) else None
        if found is None:
            break
        ctx, command = click.Context(found, ctx, info_name=word), found
    return ctx.command_path
