"""The arguments of a cargo command, as far as the gate has to understand them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from enum import Enum

from carnet.errors import ConfigError, PolicyRefused
from carnet.value import value


class CommandKind(Enum):
    """What a cargo command needs."""

    USE = "use"
    """Works with the locked crates: compiles, lists or unpacks them."""
    RESOLVE = "resolve"
    """Chooses versions: writes Cargo.toml or Cargo.lock, compiles nothing."""


SUBCOMMANDS: dict[str, CommandKind] = {
    "bench": CommandKind.USE,
    "build": CommandKind.USE,
    "check": CommandKind.USE,
    "clippy": CommandKind.USE,
    "doc": CommandKind.USE,
    "fetch": CommandKind.USE,
    "metadata": CommandKind.USE,
    "run": CommandKind.USE,
    "rustc": CommandKind.USE,
    "rustdoc": CommandKind.USE,
    "test": CommandKind.USE,
    "tree": CommandKind.USE,
    "add": CommandKind.RESOLVE,
    "generate-lockfile": CommandKind.RESOLVE,
    "remove": CommandKind.RESOLVE,
    "update": CommandKind.RESOLVE,
}
"""The commands that were tried behind the gate."""

_SHORT = {"b": "build", "c": "check", "d": "doc", "r": "run", "t": "test", "rm": "remove"}
_LOCAL = frozenset(("clean", "fmt", "help", "init", "locate-project", "new", "pkgid", "version"))

# Options whose value is the next argument. One that is missing here and stands before an argument of the program that
# `run` starts would make the gate repeat `--locked`, which cargo refuses: never the other way round.
_TAKES_VALUE = frozenset(
    (
        *(
            "-p",
            "--package",
            "--exclude",
            "--bin",
            "--example",
            "--test",
            "--bench",
            "-F",
            "--features",
            "-j",
            "--jobs",
        ),
        *("--profile", "--target", "--target-dir", "--manifest-path", "--lockfile-path", "--message-format", "--color"),
        *("--config", "-Z", "-C", "--format-version", "--filter-platform", "-e", "--edges", "--prune", "--depth"),
        *("--prefix", "--charset", "-f", "--format", "--precise", "--path", "--git", "--branch", "--tag", "--rev"),
        *("--registry", "--rename", "--base", "--crate-type", "--print", "--artifact-dir", "--build-dir"),
    )
)
_SHORT_WITH_VALUE = ("-p", "-F", "-j", "-Z", "-C", "-e", "-f")


@value
class Invocation:
    """A cargo command line.

    Attributes:
        toolchain: What stood after `+`, or None.
        subcommand: One of `SUBCOMMANDS`.
        args: Everything after the subcommand; options that stood before it come first.
        manifest_path: The value of `--manifest-path`, or None.
        target_dir: The value of `--target-dir`, or None.
        configs: The values of `--config`.
        locked: Whether the user demands an unchanged lock.
        offline: Whether the user forbids the network.
        quiet: Whether cargo is asked to be quiet.
        asks_help: Whether only a help text is wanted.
    """

    toolchain: str | None
    subcommand: str
    args: tuple[str, ...]
    manifest_path: str | None
    target_dir: str | None
    configs: tuple[str, ...]
    locked: bool
    offline: bool
    quiet: bool
    asks_help: bool

    @property
    def kind(self) -> CommandKind:
        """What the subcommand needs."""
        return SUBCOMMANDS[self.subcommand]

    @property
    def compiles(self) -> bool:
        """Whether code of the crates may run: build scripts, macros, tests."""
        return self.kind is CommandKind.USE and self.subcommand not in ("fetch", "metadata", "tree")

    def has(self, flag: str) -> bool:
        """Whether a flag is given to cargo itself."""
        return any(name == flag for name, _ in _options(self.subcommand, self.args))


def parse(args: Sequence[str]) -> Invocation:
    """Understand what stands after `cargo carnet`.

    Raises:
        ConfigError: There is no subcommand, or an option that would lead cargo elsewhere.
        PolicyRefused: A subcommand that was not tried behind the gate.
    """
    rest = deque(args)  # a list would move all others at each pop
    toolchain = rest.popleft()[1:] if rest and rest[0].startswith("+") else None
    leading: list[str] = []
    while rest and rest[0].startswith("-"):
        option = rest.popleft()
        leading.append(option)
        if option in _TAKES_VALUE and rest:
            leading.append(rest.popleft())
    if not rest:
        raise ConfigError("no cargo command given", hint="for example: cargo carnet build --locked")
    subcommand = _SHORT.get(rest[0], rest[0])
    _check_subcommand(subcommand)
    rest.popleft()
    own = (*leading, *rest)
    options = list(_options(subcommand, own))
    names = {name for name, _ in options}
    if "-C" in names:
        raise ConfigError("`-C` is not supported behind the gate", hint="change into the folder instead")
    if "--lockfile-path" in names:
        raise ConfigError(
            "`--lockfile-path` is not supported behind the gate: the lock that is checked is Cargo.lock",
            hint="leave it out",
        )
    if any(name == "-Z" and (value or "").startswith("build-std") for name, value in options):
        raise ConfigError(
            "`-Z build-std` is not supported behind the gate: it compiles the crates of another lock",
            hint="leave it out, or use a toolchain that brings the standard library built",
        )
    if "-" in names:
        raise ConfigError("an option cannot be understood", hint="write each option as an argument of its own")
    frozen = "--frozen" in names
    return Invocation(
        toolchain,
        subcommand,
        own,
        _last(value for name, value in options if name == "--manifest-path"),
        _last(value for name, value in options if name == "--target-dir"),
        tuple(value for name, value in options if name == "--config" and value is not None),
        "--locked" in names or frozen,
        "--offline" in names or frozen,
        bool(names & {"-q", "--quiet"}),
        bool(names & {"-h", "--help"}),
    )


def without_configs(invocation: Invocation) -> list[str]:
    """The arguments after the subcommand, without `--config` and its values: `Invocation.configs` has those."""
    left, rest, kept = len(invocation.configs), deque(invocation.args), list[str]()
    while rest:
        argument = rest.popleft()
        name, equals, _ = argument.partition("=")
        if not left or name != "--config":  # those of the program that is run stand after all of cargo's
            kept.append(argument)
            continue
        left -= 1
        if not equals:
            rest.popleft()
    return kept


def _last(values: Iterator[str | None]) -> str | None:
    last = None
    for found in values:
        last = found
    return last


def _check_subcommand(name: str) -> None:
    if name in SUBCOMMANDS:
        return
    if name in _LOCAL:
        raise PolicyRefused(
            f"`cargo carnet {name}` is not needed: it compiles no crate", hint=f"run `cargo {name}` itself"
        )
    raise PolicyRefused(
        f"`cargo {name}` was never tried behind the gate: it may fetch or compile what was not verified",
        hint=f"tried are {', '.join(sorted(SUBCOMMANDS))}; for an alias of yours, write out what it stands for",
    )


def _options(subcommand: str, args: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """The options that cargo itself reads, with their values; what belongs to the program or test harness is left."""
    position = 0
    while position < len(args):
        argument = args[position]
        position += 1
        if argument == "--":
            return
        if not argument.startswith("-") or argument == "-":
            if subcommand == "run":  # from here on everything belongs to the program
                return
            continue
        if argument.startswith("--"):
            name, equals, value = argument.partition("=")
            if equals:
                yield name, value
                continue
        elif argument[:2] in _SHORT_WITH_VALUE and len(argument) > 2:
            yield argument[:2], argument[2:].removeprefix("=")
            continue
        elif len(argument) > 2:  # -vvq
            yield from _cluster(argument)
            continue
        else:
            name = argument
        if name in _TAKES_VALUE and position < len(args):
            yield name, args[position]
            position += 1
        else:
            yield name, None


def _cluster(argument: str) -> Iterator[tuple[str, None]]:
    for char in dict.fromkeys(argument[1:]):
        if f"-{char}" in _SHORT_WITH_VALUE:
            yield "-", None  # such as -qp serde: nobody writes that, and guessing wrong would matter
            return
        yield f"-{char}", None
