"""Every cargo command, and what the gate does with it: one table, for the command line, the documents and the tests.

The table has what `cargo --list` names, what cargo's book documents, and the external subcommands that were tried or
are asked for often. A command that is not in it is refused. A row whose name has two words is about a subcommand of an
external one, as `nextest run`.
"""

# Without annotations that wait: a named tuple compiles each of those at every start.

from collections.abc import Collection, Iterator, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple


class CommandKind(Enum):
    """What is done with a cargo command."""

    USE = "use"
    """Works with the locked crates, each of which was admitted: compiles, lists, unpacks or copies them."""
    RESOLVE = "resolve"
    """Chooses versions through a verifying registry on loopback: writes Cargo.toml or Cargo.lock, compiles nothing."""
    ASK = "ask"
    """Asks the registry, through the verifying one on loopback, and compiles nothing."""
    INSTALL = "install"
    """Admits what a program is made of, and then compiles and installs it."""
    REHEARSE = "rehearse"
    """Packs and compiles behind the gate, and then asks the registry what an upload would be told."""
    HARMLESS = "harmless"
    """Takes no crate from anywhere and compiles none: needs no gate."""
    REFUSE = "refuse"
    """Takes or compiles what nobody admitted, or nobody has tried it."""


class Command(NamedTuple):
    """A cargo command.

    Attributes:
        name: As it is typed; two words or more for a subcommand of an external one.
        kind: What is done with it.
        why: The reason, as a main clause whose subject is the command.
        hint: What to type instead, where it is refused.
        compiles: Whether code of the crates may run: build scripts, macros, tests.
        external: Whether it is a program of its own, `cargo-NAME`, and no command of cargo's.
        strict: Flags of the gate's own, with which it neither changes the lock nor asks the network.
        adds: Flags that it needs behind the gate.
        environment: Variables that it gets behind the gate.
        without: Flags that it is refused with, and why, as main clauses whose subject is the flag.
        only_with: Flags of which one has to be given.
        passes_with: Flags with which it takes and compiles no crate, and so needs no gate.
        idle_with: Flags of which the same is true, and with which the gate takes it nevertheless, as it always did.
        takes_lock: Whether another lock may be named for it, which is then the one that is admitted.
    """

    name: str
    kind: CommandKind
    why: str
    hint: str = ""
    compiles: bool = False
    external: bool = False
    strict: tuple[str, ...] = ("--locked", "--offline")
    adds: tuple[str, ...] = ()
    environment: Mapping[str, str] = MappingProxyType({})
    without: Mapping[str, str] = MappingProxyType({})
    only_with: tuple[str, ...] = ()
    passes_with: tuple[str, ...] = ()
    idle_with: tuple[str, ...] = ()
    takes_lock: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """What is typed for it."""
        return tuple(self.name.split())

    def given(self, flags: Collection[str]) -> "Command":
        """The same with flags: with one it may need no gate, and without one it may be refused."""
        if self.only_with and not any(flag in flags for flag in self.only_with):
            return self._replace(kind=CommandKind.REFUSE, compiles=False)
        harmless = next((flag for flag in self.passes_with if flag in flags), None)
        if harmless is None:
            return self
        return Command(f"{self.name} {harmless}", CommandKind.HARMLESS, "it compiles no crate", external=self.external)


_COMPILES = "it compiles the locked crates"
_LISTS = "it works with the locked crates, and runs none of their code"
_CHOOSES = "it chooses among verified versions, and compiles nothing"
_ASKS = "it asks the verifying registry, and compiles nothing"
_LOCAL = "it compiles no crate, and takes none from anywhere"
_ACCOUNTS = "it is about accounts and releases at a registry, and takes no crate"
_ANOTHER_LOCK = "the lock that is checked is the project's own"
_ANOTHER_REGISTRY = dict.fromkeys(("--index", "--registry"), "another registry has not signed what it serves")
_BUILT_ELSEWHERE = dict.fromkeys(
    ("--archive-file", "--binaries-metadata", "--cargo-metadata"), "what it names was built by another run"
)
_INSTALLS_NOTHING = {"CARGO_LLVM_COV_SETUP": "no"}  # else it has rustup change the toolchain


def _of(kind: CommandKind, why: str, *names: str, **more: Any) -> Iterator[Command]:
    return (Command(name, kind, why, **more) for name in names)


def _external(why: str, *names: str, **more: Any) -> Iterator[Command]:
    """Programs of their own, which compile."""
    for name in names:
        yield Command(name, CommandKind.USE, why, compiles=True, external=True, passes_with=("--version", "-V"), **more)


def _refused(name: str, why: str, hint: str) -> Command:
    return Command(name, CommandKind.REFUSE, why, hint, external=True)


ROWS: tuple[Command, ...] = (
    *_of(CommandKind.USE, _COMPILES, "bench", "build", "check", "doc", "run", compiles=True, takes_lock=True),
    Command("rustc", CommandKind.USE, _COMPILES, compiles=True, passes_with=("--print",), takes_lock=True),
    *_of(CommandKind.USE, _COMPILES, "rustdoc", "test", compiles=True, takes_lock=True),
    *_external(_COMPILES, "clippy", "miri nextest", "miri run", "miri test", "nextest archive", "nextest bench"),
    *_external(_COMPILES, "nextest list", "nextest run", without=_BUILT_ELSEWHERE),
    *_external(_COMPILES, "llvm-cov nextest", "llvm-cov run", "llvm-cov test", environment=_INSTALLS_NOTHING),
    Command(
        "fix", CommandKind.USE, "it compiles the locked crates, and changes the project's own sources", compiles=True
    ),
    Command(
        "package",
        CommandKind.USE,
        "it compiles what it has packed, with the locked crates",
        compiles=True,
        without=_ANOTHER_REGISTRY,
    ),
    *_of(CommandKind.USE, _LISTS, "fetch", "tree", takes_lock=True),
    Command("metadata", CommandKind.USE, _LISTS, idle_with=("--no-deps",), takes_lock=True),
    Command(
        "vendor",
        CommandKind.USE,
        "it copies the locked crates, and runs none of their code",
        adds=("--respect-source-config",),
        without=dict.fromkeys(("-s", "--sync"), _ANOTHER_LOCK),
    ),
    *_of(CommandKind.RESOLVE, _CHOOSES, "add", "generate-lockfile", "remove", "update"),
    Command(
        "install",
        CommandKind.INSTALL,
        "it compiles a program from the crates of its own lock, or of a new one, each of which is admitted first",
        compiles=True,
        without={**_ANOTHER_REGISTRY, "--no-track": "what is not written down could not be taken back"},
        passes_with=("--list",),
    ),
    *(Command(name, CommandKind.ASK, _ASKS, without=_ANOTHER_REGISTRY) for name in ("info", "search")),
    Command(
        "publish",
        CommandKind.REHEARSE,
        "it is done with `--dry-run` alone: it packs and compiles as `package` does, then asks the verifying registry",
        "run `cargo carnet publish --dry-run`, then `cargo publish --no-verify` itself, which compiles nothing",
        compiles=True,
        without=_ANOTHER_REGISTRY,
        only_with=("-n", "--dry-run"),
    ),
    *_of(CommandKind.HARMLESS, _LOCAL, "clean", "config", "git-checkout", "help", "init", "locate-project", "new"),
    *_of(CommandKind.HARMLESS, _LOCAL, "pkgid", "read-manifest", "report", "uninstall", "verify-project", "version"),
    *_of(CommandKind.HARMLESS, _LOCAL, "fmt", "llvm-cov clean", "llvm-cov report", "llvm-cov show-env", external=True),
    *_of(CommandKind.HARMLESS, _LOCAL, "miri", "miri clean", external=True),
    *_of(CommandKind.HARMLESS, _LOCAL, "nextest", "nextest self", "nextest show-config version", external=True),
    *_of(CommandKind.HARMLESS, _ACCOUNTS, "login", "logout", "owner", "yank"),
    _refused(
        "audit",
        "nobody has tried it behind the gate",
        "run `cargo audit --file Cargo.lock` itself: it reads the lock, and compiles nothing",
    ),
    _refused(
        "binstall",
        "it installs programs that somebody else has built",
        "leave it: what it fetches is in no signed index",
    ),
    _refused("criterion", "it starts a cargo of its own", "run `cargo carnet bench`"),
    _refused("deny", "it fetches crates to look at them", "write bans into carnet.toml, and run `carnet verify`"),
    _refused(
        "edit",
        "it has become a part of cargo",
        "run `cargo carnet add`, `cargo carnet remove` or `cargo carnet update`",
    ),
    _refused("expand", "it starts a cargo of its own", "run `cargo +nightly carnet rustc -- -Zunpretty=expanded`"),
    _refused(
        "flamegraph", "it starts a cargo of its own", "run `cargo carnet build --release`, and measure that program"
    ),
    _refused(
        "hack", "it starts a cargo of its own", "run `cargo carnet check --features ...` for each set of features"
    ),
    _refused("insta", "it starts a cargo of its own", "run `cargo carnet test`, then `cargo insta review` itself"),
    _refused(
        "make", "it runs what its tasks say", "write `cargo carnet build` into the task, and run `cargo make` itself"
    ),
    _refused("outdated", "it resolves past the gate", "run `cargo carnet update --dry-run`"),
    _refused("tarpaulin", "it starts a cargo of its own", "run `cargo carnet llvm-cov`"),
    _refused(
        "upgrade",
        "it chooses versions past the gate",
        "run `cargo carnet update`, or `cargo carnet add NAME@VERSION`",
    ),
    _refused("watch", "it starts what it is told", "run `cargo watch --shell 'cargo carnet check'` itself"),
    _refused(
        "zigbuild",
        "it starts a cargo of its own",
        "run `cargo carnet build --target TRIPLE`, with `linker` in cargo's configuration",
    ),
    _refused(
        "nextest show-config test-groups",
        "it compiles the tests to say which groups they are in",
        "run `cargo carnet nextest list`, and look at `test-groups` in .config/nextest.toml",
    ),
    _refused(
        "miri setup",
        "it compiles the standard library, whose lock is another one",
        "run `cargo miri setup` itself, before `cargo carnet miri test`",
    ),
)
"""Every command that is decided about."""

COMMANDS: Mapping[str, Command] = MappingProxyType({row.name: row for row in ROWS})
"""The same by name."""

SHORT: Mapping[str, str] = MappingProxyType(
    {
        **{"b": "build", "c": "check", "d": "doc", "r": "run", "t": "test", "rm": "remove"},
        **{"llvm-cov": "llvm-cov test", "nextest b": "nextest bench", "nextest r": "nextest run"},
    }
)
"""Shorter names that cargo and its external subcommands have themselves."""

GROUPS: frozenset[str] = frozenset(" ".join(row.words[:count]) for row in ROWS for count in range(1, len(row.words)))
"""External subcommands whose own subcommand decides, and such of those that have some in turn."""

SUBCOMMANDS: tuple[str, ...] = tuple(
    sorted({row.words[0] for row in ROWS if row.kind not in (CommandKind.HARMLESS, CommandKind.REFUSE)})
)
"""What can be typed after `cargo carnet`."""


def is_cargos_own(name: str) -> bool:
    """Whether cargo itself has a command, so that no alias of that name is ever looked at."""
    command = COMMANDS.get(SHORT.get(name, name))
    return command is not None and not command.external


def find(name: str) -> Command:
    """The row of a command; of one that is in no row, that it is refused."""
    name = SHORT.get(name, name)
    return COMMANDS.get(name) or Command(
        name,
        CommandKind.REFUSE,
        "it was never tried behind the gate, and may fetch or compile what was not verified",
        f"tried are {', '.join(SUBCOMMANDS)}",
        external=True,
    )


def meant(name: str) -> str:
    """The command that was probably meant by a name that is in no row; empty where none is like it."""
    if name in COMMANDS or name in SHORT:
        return ""
    from difflib import get_close_matches  # it takes a mistake to need it, and a build to pay for it

    return next(
        iter(get_close_matches(name, [row.name for row in ROWS if row.kind is not CommandKind.REFUSE], 1, 0.75)), ""
    )
