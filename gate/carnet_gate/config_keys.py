"""cargo's configuration keys, one by one: which of them would lead cargo around the gate, and why the others do not.

The table has every key that cargo documents, stable or not, for 1.95 and what is announced after it. A key that is
not in it is allowed, as cargo ignores what it does not know, except below `registries.crates-io`, which decides where
crates come from: there, what is not known is refused.
"""

# Without annotations that wait, as in `carnet_gate.commands.table`.

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_ELSEWHERE = "it changes where crates come from"
_OWN_CODE = "it decides how crates are compiled, with programs that the project could start from a build script too"
_LOOKS = "it decides what is shown"
_NETWORK = "it decides how a server is reached, and not what is taken from it"
_OTHER = "it is about registries beside crates.io, and the policy judges what a lock takes from those"
_TOKENS = "it is about who publishes; a program of its own choice is refused, which cargo would start where it unpacks"
_PUBLISHED = "the lock that comes of it is judged"


class Key(NamedTuple):
    """A configuration key.

    Attributes:
        name: Its name with dots, as cargo documents it; `<name>` stands for any part.
        refused: Whether it would lead cargo around the gate.
        why: The reason for either, as a main clause.
        users: Whether the user's own CARGO_HOME may set it all the same, since the gate's setting wins over that file.
        variable: Whether cargo would read it from the environment as well.
    """

    name: str
    refused: bool
    why: str
    users: bool = False
    variable: bool = True


def _allowed(why: str, *names: str) -> Iterator[Key]:
    return (Key(name, False, why) for name in names)


KEYS: tuple[Key, ...] = (
    Key("source", True, "it replaces where crates come from", users=True, variable=False),
    Key("paths", True, "it replaces crates behind the lock's back", variable=False),
    Key(
        "patch", True, "it replaces crates; write `[patch]` in Cargo.toml, where reviewers look for it", variable=False
    ),
    Key("registries.crates-io.index", True, _ELSEWHERE),
    Key("registry.index", True, _ELSEWHERE),
    Key("unstable.build-std", True, "cargo would compile the crates of another lock, the standard library's"),
    Key("resolver.lockfile-path", True, "cargo would use another lock than the one that was checked"),
    Key("alias.carnet", True, "`cargo carnet` would run the alias and not the gate"),
    Key("alias.clippy", True, "`cargo carnet clippy` would run the alias", users=True),
    *_allowed("the files that it names are looked at in the same way", "include"),
    *_allowed("the gate runs cargo's own commands, which an alias cannot hide", "alias.<name>"),
    *_allowed(
        "it chooses how cargo would reach its own default, and the gate's source stands in the place of either",
        "registries.crates-io.protocol",
    ),
    *_allowed(
        _OWN_CODE,
        *("build.rustc", "build.rustc-wrapper", "build.rustc-workspace-wrapper", "build.rustdoc", "build.target"),
        *("build.rustflags", "build.rustdocflags", "build.incremental", "build.dep-info-basedir", "build.pipelining"),
        *("build.jobs", "build.warnings", "build.fingerprint", "env.<name>", "doc.extern-map", "host.<name>"),
        *("profile.<name>.build-override", "profile.<name>.package.<name>", "profile.<name>.codegen-units"),
        *("profile.<name>.debug", "profile.<name>.split-debuginfo", "profile.<name>.debug-assertions"),
        *("profile.<name>.incremental", "profile.<name>.lto", "profile.<name>.overflow-checks"),
        *("profile.<name>.opt-level", "profile.<name>.panic", "profile.<name>.rpath", "profile.<name>.strip"),
        *("profile.<name>.rustflags", "profile.<name>.trim-paths", "profile.<name>.codegen-backend"),
        *("profile.<name>.hint-mostly-unused", "target-applies-to-host"),
        *("target.<triple>.ar", "target.<triple>.linker", "target.<cfg>.linker", "target.<triple>.runner"),
        *("target.<cfg>.runner", "target.<triple>.rustflags", "target.<cfg>.rustflags"),
        *("target.<triple>.rustdocflags", "target.<cfg>.rustdocflags", "target.<triple>.<links>"),
    ),
    *_allowed("the gate looks at the folder before anything is written there", "build.target-dir", "build.build-dir"),
    *_allowed("the gate's own setting wins", "cache.auto-clean-frequency", "net.offline"),
    *_allowed(
        _NETWORK,
        *("http.debug", "http.proxy", "http.timeout", "http.cainfo", "http.proxy-cainfo", "http.check-revoke"),
        *("http.ssl-version", "http.low-speed-limit", "http.multiplexing", "http.user-agent"),
        *("net.retry", "net.git-fetch-with-cli", "net.ssh", "net.ssh.known-hosts"),
    ),
    *_allowed(_OTHER, "registries.<name>.index", "registry.default"),
    *_allowed(
        _TOKENS,
        *("registries.<name>.token", "registries.<name>.credential-provider", "registry.token"),
        *("registries.<name>.secret-key", "registries.<name>.secret-key-subject", "registry.secret-key"),
        *("registry.secret-key-subject", "registry.credential-provider", "registry.global-credential-providers"),
        *("credential-alias.<name>", "publish.timeout"),
    ),
    *_allowed(
        _PUBLISHED,
        *("resolver.incompatible-rust-versions", "resolver.incompatible-publish-age", "resolver.feature-unification"),
        *("registries.<name>.min-publish-age", "registry.global-min-publish-age"),
    ),
    *_allowed(
        _LOOKS,
        *("doc.browser", "future-incompat-report.frequency", "term.quiet", "term.verbose", "term.color"),
        *("term.hyperlinks", "term.unicode", "term.progress.when", "term.progress.width"),
        *("term.progress.term-integration",),
    ),
    *_allowed(
        "commands that need no gate read it", "cargo-new.name", "cargo-new.email", "cargo-new.vcs", "install.root"
    ),
    *_allowed("it names folders of path dependencies, and those are the project's own code", "path-bases.<name>"),
    *_allowed("what it may open is refused where it is used", "unstable.<name>"),
)
"""Every key that cargo documents."""

_CRATES_IO = ("protocol", "token", "credential-provider", "secret-key", "secret-key-subject", "min-publish-age")
_UNKNOWN = "nobody has tried what it does to where crates come from"

_OF_CARGOS_OWN_TESTS = (
    "__CARGO_TEST_CRATES_IO_URL_DO_NOT_USE_THIS",
    "__CARGO_TEST_DEPENDENCY_CONFUSION_VULNERABILITY_DO_NOT_USE_THIS",
    "__CARGO_TEST_ROOT",
    "__CARGO_TESTS_ONLY_SRC_ROOT",
    "__CARGO_TEST_MAX_UNPACK_RATIO",
    "__CARGO_TEST_MAX_UNPACK_SIZE",
)


def refused_in(document: Mapping[str, Any], *, users: bool = False) -> Iterator[tuple[str, str]]:
    """What a configuration file sets that would lead cargo around the gate: keys, and why.

    Args:
        document: The file.
        users: Whether it is the configuration of the user's own CARGO_HOME.
    """
    for key in KEYS:
        if key.refused and not (users and key.users) and has(document, key.name):
            yield key.name, key.why
    registries = document.get("registries")
    crates_io = registries.get("crates-io") if isinstance(registries, dict) else None
    for name in crates_io if isinstance(crates_io, dict) else ():
        if name not in _CRATES_IO:
            yield f"registries.crates-io.{name}", _UNKNOWN


def has_program_for_credentials(document: Mapping[str, Any]) -> bool:
    """Whether a file names a credential provider that is a program of its own choice.

    Such a program is started when cargo fetches, and there it can write to where cargo unpacks: what it leaves running
    could also later, when everything has been compared. A bare name is the user's own: cargo's, a program of `PATH`, an
    alias.
    """
    registry, registries, aliases = (document.get(key) for key in ("registry", "registries", "credential-alias"))
    named = [table.get("credential-provider") for table in (registry, *_values(registries)) if isinstance(table, dict)]
    everywhere = registry.get("global-credential-providers") if isinstance(registry, dict) else None
    named += [*(everywhere if isinstance(everywhere, list) else [everywhere]), *_values(aliases)]
    return any(
        len(words) > 1 or any("/" in str(word) for word in words)
        for words in (
            provider.split() if isinstance(provider, str) else provider
            for provider in named
            if isinstance(provider, str | list)
        )
    )


def _values(table: object) -> list[object]:
    return list(table.values()) if isinstance(table, dict) else []


def why_not_set(variable: str) -> str | None:
    """Why an environment variable would lead cargo around the gate, or None.

    cargo reads the variable `CARGO_A_B_C` for a key `a.b-c`. It reads none for `source`, `paths` and `patch`; those
    that would name crates.io's own source are refused all the same, lest another cargo does.
    """
    if variable in _OF_CARGOS_OWN_TESTS:
        return "only cargo's own tests need it"
    before = "CARGO_REGISTRIES_CRATES_IO_"
    if variable.startswith(before) and variable.removeprefix(before) not in map(_shouted, _CRATES_IO):
        return _ELSEWHERE if variable == before + "INDEX" else _UNKNOWN
    if variable.startswith("CARGO_SOURCE_CRATES_IO_"):
        return "it replaces where crates come from"
    for key in KEYS:
        if key.refused and key.variable and variable == "CARGO_" + _shouted(key.name):
            return key.why
    return None


def _shouted(key: str) -> str:
    return key.upper().replace(".", "_").replace("-", "_")


def has(document: Mapping[str, Any], key: str) -> bool:
    """Whether a document has a value under a key with dots."""
    value: Any = document
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return True
