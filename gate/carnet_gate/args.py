"""The arguments of a cargo command, as far as the gate has to understand them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from carnet.errors import ConfigError, PolicyRefused
from carnet.value import value
from carnet_gate.commands import table
from carnet_gate.commands.table import Command, CommandKind

Alias = Callable[[str, Sequence[str]], Sequence[str] | None]
"""The words that an alias stands for, or None: of its name, and the `--config` that stood before it."""

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
        *("--index", "--version", "--vers", "--root", "--limit", "--token", "-s", "--sync", "--explain"),
        *("--config-file", "--user-config-file", "--tool-config-file", "-P"),  # before a subcommand of nextest's
    )
)
_SHORT_WITH_VALUE = ("-p", "-F", "-j", "-Z", "-C", "-e", "-f", "-s", "-P")
_VALUELESS = {"install": frozenset(("-f",))}  # `--force`; for others `--format`
_STRICT = frozenset(("--locked", "--offline", "--frozen"))
_ENDS_AT_A_WORD = frozenset(("run", "miri run", "llvm-cov run"))
_PLAIN_FLAGS = frozenset(("-q", "--quiet", "-v", "--verbose", "--no-pager", *_STRICT))
_PLAIN_VALUES = frozenset(("--color", "--config", "--config-file", "--manifest-path", "--user-config-file"))
"""What each program understands alike that has commands of its own: flags, and options with a value."""
_FORMAT = "--message-format"
_FORMATS = ("human", "json")
_OF_CARGO_ITSELF = {"--version": "version", "-V": "version", "--list": "help", "--explain": "help"}


@value
class Invocation:
    """A cargo command line.

    Attributes:
        toolchain: What stood after `+`, or None.
        command: The row of the command; aliases were followed.
        args: Everything after the command; options that stood before it come first.
        manifest_path: The value of `--manifest-path`, or None.
        target_dir: The value of `--target-dir`, or None.
        configs: The values of `--config`.
        locked: Whether the user demands an unchanged lock.
        offline: Whether the user forbids the network.
        quiet: Whether cargo is asked to be quiet.
        asks_help: Whether only a help text is wanted.
    """

    toolchain: str | None
    command: Command
    args: tuple[str, ...]
    manifest_path: str | None
    target_dir: str | None
    configs: tuple[str, ...]
    locked: bool
    offline: bool
    quiet: bool
    asks_help: bool

    @property
    def subcommand(self) -> str:
        """The command's name."""
        return self.command.name

    @property
    def kind(self) -> CommandKind:
        """What is done with the command."""
        return self.command.kind

    @property
    def compiles(self) -> bool:
        """Whether code of the crates may run: build scripts, macros, tests."""
        return self.command.compiles

    @property
    def needs_no_gate(self) -> bool:
        """Whether it takes no crate and compiles none, so that a shim lets it pass."""
        return self.kind is CommandKind.HARMLESS or any(self.has(flag) for flag in self.command.idle_with)

    def has(self, flag: str) -> bool:
        """Whether a flag is given to cargo itself."""
        return any(name == flag for _, name, _ in _options(self.subcommand, self.args))

    @property
    def words(self) -> tuple[str, ...]:
        """What is given to cargo itself and is no option."""
        return tuple(value or "" for _, name, value in _parts(self.subcommand, self.args) if not name)

    def values(self, *flags: str) -> tuple[str, ...]:
        """The values that are given to some flags."""
        return tuple(said for _, name, said in _options(self.subcommand, self.args) if name in flags and said)

    def value(self, *flags: str) -> str | None:
        """The last value that is given to some flags, or None."""
        return _last(iter(self.values(*flags)))

    @property
    def for_machines(self) -> bool:
        """Whether stdout is a stream of JSON objects; nextest writes a document of its own there."""
        return "nextest" not in self.command.words and (self.value(_FORMAT) or "").startswith("json")

    @property
    def choosing(self) -> tuple[str, ...]:
        """The arguments of a command that chooses versions, without the format, which such a one of cargo's has not."""
        return self.without_values(_FORMAT).args if self.value(_FORMAT) in _FORMATS else self.args

    def with_word(self, word: str) -> Invocation:
        """The same with one of its words alone."""
        from dataclasses import replace  # which brings `inspect`, for hardly any command

        others = {position for position, name, said in _parts(self.subcommand, self.args) if not name and said != word}
        return replace(self, args=tuple(one for position, one in enumerate(self.args) if position not in others))

    def at_commit(self, commit: str) -> Invocation:
        """The same with a commit in the place of what names one."""
        return self.without_values("--branch", "--tag", "--rev").with_args("--rev", commit)

    def with_args(self, *args: str) -> Invocation:
        """The same with more arguments before its own."""
        from dataclasses import replace

        return replace(self, args=(*args, *self.args))

    def without_values(self, *flags: str) -> Invocation:
        """The same without some flags that take a value."""
        if not self.values(*flags):
            return self
        from dataclasses import replace

        taken: set[int] = set()
        for position, name, said in _options(self.subcommand, self.args):
            if name in flags and said is not None:
                taken |= {position} if "=" in self.args[position] else {position, position + 1}
        return replace(self, args=tuple(one for position, one in enumerate(self.args) if position not in taken))

    @property
    def strict(self) -> tuple[str, ...]:
        """The arguments with which cargo neither changes the lock nor asks the network.

        The gate's flags stand first. Taken away are those of the user's, since no program takes them twice; one that
        was the value of an option, which the gate does not know, ends in an error.
        """
        added = [flag for flag in self.command.adds if not self.has(flag)]
        return (*self.command.strict, *added, *self.without(*_STRICT))

    def without(self, *flags: str) -> tuple[str, ...]:
        """The arguments without some flags that take no value, which may stand in one word with others."""
        theirs = {position for position, name, _ in _options(self.subcommand, self.args) if name in flags}
        left: list[str] = []
        for position, argument in enumerate(self.args):
            if position not in theirs:
                left.append(argument)
            elif not argument.startswith("--"):
                others = "".join(letter for letter in argument[1:] if f"-{letter}" not in flags)
                left += [f"-{others}"] if others else []
        return tuple(left)


def no_alias(name: str, configs: Sequence[str]) -> None:
    """Where nobody has any alias."""


def parse(args: Sequence[str], alias: Alias = no_alias) -> Invocation:
    """Understand what stands after `cargo carnet`.

    Args:
        args: The arguments.
        alias: Looks an alias up.

    Raises:
        ConfigError: There is no command, an option that would lead cargo elsewhere, or a command that is spelled nearly
            as one that is known.
        PolicyRefused: A command that is refused, or that was not tried.
    """
    found = understand(args, alias)
    command = found.command
    if command.kind is CommandKind.REFUSE and (meant := table.meant(command.name)):
        raise ConfigError(
            f"`cargo {command.name}` is refused: it was never tried behind the gate",
            hint=f"did you mean `cargo carnet {meant}`?",
        )
    if command.kind is CommandKind.REFUSE:
        raise PolicyRefused(f"`cargo {command.name}` is refused: {command.why}", hint=command.hint)
    return found


def names_command(args: Sequence[str]) -> bool:
    """Whether there is a command at all: without one cargo only tells something about itself."""
    rest = deque(args[1:] if args and args[0].startswith("+") else args)
    _leading(rest)
    return bool(rest)


def understand(args: Sequence[str], alias: Alias = no_alias) -> Invocation:
    """Understand a whole command line of cargo's, whatever the gate does with it.

    Args:
        args: What stands after `cargo`, or after `cargo carnet`.
        alias: Looks an alias up.

    Raises:
        ConfigError: There is no command, an alias that leads nowhere, or an option that would lead cargo elsewhere.
        PolicyRefused: An option that the command is refused with.
    """
    rest = deque(args)  # a list would move all others at each pop
    toolchain = rest.popleft()[1:] if rest and rest[0].startswith("+") else None
    leading = _leading(rest)
    if not rest and (asked := next((name for name in map(_OF_CARGO_ITSELF.get, leading) if name), None)):
        return _invocation(toolchain, table.find(asked), tuple(leading))
    if not rest:
        raise ConfigError("no cargo command given", hint="for example: cargo carnet build --locked")
    _follow(rest, leading, alias)
    name = rest.popleft()
    own = [*leading, *rest]
    while name in table.GROUPS and (inner := _inner(name, own)) != name:
        name = inner
    return _invocation(toolchain, table.find(name), tuple(own))


def _invocation(toolchain: str | None, command: Command, own: tuple[str, ...]) -> Invocation:
    options = [(name, value) for _, name, value in _options(command.name, own)]
    names = {name for name, _ in options}
    command = command.given(names)
    if "-C" in names:  # also where nothing is compiled: in that folder an alias may mean something else
        raise ConfigError("`-C` is not supported behind the gate", hint="change into the folder instead")
    if command.kind not in (CommandKind.HARMLESS, CommandKind.REFUSE):
        _require_understood(command, options)
    frozen = "--frozen" in names
    return Invocation(
        toolchain,
        command,
        own,
        _last(value for name, value in options if name == "--manifest-path"),
        _last(value for name, value in options if name == "--target-dir"),
        tuple(value for name, value in options if name == "--config" and value is not None),
        "--locked" in names or frozen,
        "--offline" in names or frozen,
        bool(names & {"-q", "--quiet"}),
        bool(names & {"-h", "--help"}),
    )


def _require_understood(command: Command, options: Sequence[tuple[str, str | None]]) -> None:
    """Refuse what would lead cargo elsewhere."""
    names = {name for name, _ in options}
    if "--lockfile-path" in names and not command.takes_lock:
        raise ConfigError(
            f"`--lockfile-path` is not supported with `cargo {command.name}`: the lock that is checked is Cargo.lock",
            hint="leave it out",
        )
    if any(name == "-Z" and (value or "").startswith("build-std") for name, value in options):
        raise ConfigError(
            "`-Z build-std` is not supported behind the gate: it compiles the crates of another lock",
            hint="leave it out, or use a toolchain that brings the standard library built",
        )
    if "-" in names:
        raise ConfigError("an option cannot be understood", hint="write each option as an argument of its own")
    for flag, why in command.without.items():
        if flag in names:
            raise PolicyRefused(
                f"`cargo {command.name}` is refused with {flag}: {why}", hint="leave it out, or run it without carnet"
            )


def _leading(rest: deque[str]) -> list[str]:
    """Take the options that stand before the command."""
    leading: list[str] = []
    while rest and rest[0].startswith("-"):
        option = rest.popleft()
        leading.append(option)
        if option in _TAKES_VALUE and rest:
            leading.append(rest.popleft())
    return leading


def _follow(rest: deque[str], leading: list[str], alias: Alias) -> None:
    """Put in the place of an alias what it stands for, as often as that is one again.

    As in cargo no alias hides a command of cargo's own; nor, which cargo allows, one of its short names.

    Args:
        rest: From the command on.
        leading: The options before it.
        alias: Looks an alias up.
    """
    followed: list[str] = []
    while not table.is_cargos_own(rest[0]):
        configs = [value for _, name, value in _options("", leading) if name == "--config" and value is not None]
        words = alias(rest[0], configs)
        if words is None:
            return
        followed.append(rest.popleft())
        inside = deque(words)
        leading += _leading(inside)
        if not inside:
            raise ConfigError(f"the alias {followed[-1]!a} names no command", hint="write one into it")
        if inside[0].startswith("+"):
            raise ConfigError(
                f"the alias {followed[-1]!a} names a toolchain, which cargo allows in none",
                hint=f"leave {inside[0]!a} out, and call `cargo {inside[0]} carnet`",
            )
        if inside[0] in followed:
            circle = " -> ".join(f"{name!a}" for name in (*followed, inside[0]))
            raise ConfigError(f"an alias leads to itself: {circle}", hint="write a command of cargo's into one of them")
        rest.extendleft(reversed(inside))


def _inner(name: str, own: list[str]) -> str:
    """Take the subcommand of an external one from its arguments; returns both names, or the one where there is none."""
    position = next((position for position, option, _ in _parts("", own) if not option), None)
    if position is None:
        return name
    word = own[position]
    both = f"{name} {word}"
    if both in table.GROUPS or (both in table.COMMANDS and table.COMMANDS[both].kind is CommandKind.HARMLESS):
        _require_plain(own[:position], name, word)
    if both in table.COMMANDS or both in table.SHORT or both in table.GROUPS:
        del own[position]
        return both
    return name if name in table.SHORT else both


def _require_plain(before: Sequence[str], name: str, word: str) -> None:
    """Refuse to take a word for a command that passes the gate, where a program may read it as an option's value.

    Its options are its own: what is no flag of each program's, or takes a value in one and none in another, may swallow
    the word, and then another command is done.
    """
    for position, option, given in _options("", before):
        if option not in (_PLAIN_FLAGS if given is None else _PLAIN_VALUES):
            raise ConfigError(
                f"{word!a} may be a command of `cargo {name}`, or belong to {before[position]}",
                hint=f"write `cargo carnet {name} {word}` and its options behind it, or the option with =, such as "
                f"{option}={word}, behind the command that is meant",
            )


def without_configs(args: Sequence[str], left: int) -> list[str]:
    """Arguments without the first `left` times that `--config` stands there, with its value."""
    rest, kept = deque(args), list[str]()
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
    for one in values:
        last = one
    return last


def _options(subcommand: str, args: Sequence[str]) -> Iterator[tuple[int, str, str | None]]:
    """The options that cargo itself reads: where they stand, their names and values."""
    return (part for part in _parts(subcommand, args) if part[1])


def _parts(subcommand: str, args: Sequence[str]) -> Iterator[tuple[int, str, str | None]]:
    """What cargo itself reads: where it stands, an option's name and value, or no name and a word.

    What belongs to the program or test harness is left.
    """
    position, valueless = 0, _VALUELESS.get(subcommand, frozenset())
    while position < len(args):
        start, argument = position, args[position]
        position += 1
        if argument == "--":
            return
        if not argument.startswith("-") or argument == "-":
            if subcommand in _ENDS_AT_A_WORD:  # from here on everything belongs to the program
                return
            yield start, "", argument
            continue
        if argument.startswith("--"):
            name, equals, value = argument.partition("=")
            if equals:
                yield start, name, value
                continue
        elif argument[:2] in _SHORT_WITH_VALUE and argument[:2] not in valueless and len(argument) > 2:
            yield start, argument[:2], argument[2:].removeprefix("=")
            continue
        elif len(argument) > 2:  # -vvq
            yield from ((start, name, None) for name in _cluster(argument, valueless))
            continue
        else:
            name = argument
        if name in _TAKES_VALUE and name not in valueless and position < len(args):
            yield start, name, args[position]
            position += 1
        else:
            yield start, name, None


def _cluster(argument: str, valueless: frozenset[str]) -> Iterator[str]:
    for char in dict.fromkeys(argument[1:]):
        if f"-{char}" in _SHORT_WITH_VALUE and f"-{char}" not in valueless:
            yield "-"  # such as -qp serde: nobody writes that, and guessing wrong would matter
            return
        yield f"-{char}"
