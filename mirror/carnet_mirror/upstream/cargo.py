"""Crates through the user's own cargo, so that their registries, proxies and credentials apply.

cargo runs in a home of its own that holds copies of the user's configuration and credentials. It is started in the
root directory: cargo takes configuration from every directory above the one it runs in, and rustup takes toolchains, so
a project, or somebody with a `/tmp/.cargo`, would have a say otherwise.

`cargo fetch` wants a package whose dependencies are the lock's. One is generated: it depends on every locked version by
`=version`, without default features, and its lock names exactly the packages of the user's lock, so yanked versions and
those of other platforms are fetched as well. The lock's checksums are left out: cargo would stop at the first
difference, and the mirror wants to report each. They are compared afterwards.

Of a registry that the user's configuration names beside crates-io, each version is asked for by itself (`cargo info
NAME@VERSION --registry REGISTRY`): nothing is resolved then, so no other registry is asked for anything.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from carnet.cargo.index_line import IndexLine
from carnet.cargo.lockfile import CRATES_IO, LockedPackage
from carnet.cargo.names import CrateId, CrateName
from carnet.errors import ConfigError, StorageError, TransportError
from carnet.tuf.paths import index_prefix
from carnet_mirror.upstream.packages import Listing, UpstreamCrate, UpstreamIndex
from carnet_mirror.upstream.stopping import Stopped, ending, never

_CONFIGURATION = ("config.toml", "config", "credentials.toml", "credentials")
_DEADLINE = 1800.0
_DEADLINE_ONE = 180.0
_STATUS = re.compile(r", got ([0-9]{3})\b")
_HAS_NONE = frozenset(("403", "404", "410", "451"))
_NOT_FOUND = "could not be found in registry index"
_NONE_OF_IT = re.compile(r"failed to verify the checksum|could not find `[^`]+` in registry `")
_FEATURE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_+.-]*\Z")
_SAYS_MORE = "`cargo fetch` in your project may say more"
_LOOK_EVERY = 0.3
_NOTHING_AFTER = 3
_GIVE_UP_AFTER = 20
_MOST_PARTS = 16
"""Projects for packages that link the same library: no honest lock has two such."""
_TOO_MANY = f"more than {_MOST_PARTS} of what is asked for link the same library: ask for fewer of them at once"
_NO_ROOM = "there was no room for it any more"
_INDEX_CACHE_VERSIONS = (3,)
"""The form of cargo's index cache: a byte, four more, a string, then version and line in turn, each ended by NUL."""
_MAX_INDEX = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CargoUpstream:
    """The user's cargo.

    Attributes:
        cargo: The program.
        home: The user's cargo home, whose configuration is copied.
        environment: The variables to run cargo with.
        deadline: Seconds for everything that is fetched at once.
        stopped: Whether nobody waits for it any more.
        room: Bytes of tarballs that cargo may fetch: it is ended when it has more. None for any number.
        registry: The registry of the user's configuration; None for crates-io, or what replaces it there.
    """

    cargo: str
    home: Path
    environment: Mapping[str, str]
    deadline: float = _DEADLINE
    stopped: Stopped = never
    room: int | None = None
    registry: str | None = None

    @property
    def name(self) -> str:
        """How the mirror remembers it."""
        return "cargo" if self.registry is None else f"cargo:{self.registry}"

    def fetch(
        self, packages: Sequence[LockedPackage], scratch: Path, progress: Callable[[int], None]
    ) -> list[UpstreamCrate]:
        """See `Upstream.fetch`."""
        home = self._scratch_home(scratch)
        if self.registry is not None:
            reasons = self._ask_for_each(packages, home, progress)
            found = _tarballs(home)
            return [self._fetched(package, home, found, reasons.get(package, "")) for package in packages]
        with _watching(home, packages, progress):
            error = self._fetch_parts(without_rivals(packages), (), scratch / "all", home)
            # cargo says only now which of them link the same library, of which it takes one at a time
            left = [one for one in packages if one.id.stem not in _tarballs(home)]
            links = {one.id: library for one in left if (library := _links(home, one)) is not None}
            parts = without_rivals(left, links) if error and len(set(links.values())) < len(links) else []
            error = self._fetch_parts(parts[:_MOST_PARTS], packages, scratch / "apart", home) or error
        late = {one: _TOO_MANY for part in parts[_MOST_PARTS:] for one in part}
        reasons = late | self._fetch_each(packages, scratch, home, error, progress, without=late)
        found = _tarballs(home)
        return [self._fetched(package, home, found, reasons.get(package, "")) for package in packages]

    def index(self, names: Sequence[CrateName], scratch: Path) -> dict[CrateName, UpstreamIndex]:
        """See `IndexedUpstream.index`: cargo looks up what it would add, and nothing that this depends on."""
        home, folder = scratch / "cargo-home", scratch / "asks"
        if not home.exists():
            self._scratch_home(scratch)
            write_project(folder, ())
        left, reasons = list(names), dict[CrateName, str]()
        while left:  # it ends at the first that it does not find
            wanted = [f"{name}@*" for name in left]
            where = [] if self.registry is None else ["--registry", self.registry]
            arguments = ["add", "--dry-run", "--quiet", "--manifest-path", str(folder / "Cargo.toml"), *where]
            error = self._run([*arguments, "--", *wanted], home, self.deadline)
            rest = [name for name in left if not _kept_index(home, "*", name)[0]]
            if not error or not rest or self.stopped():
                break
            reasons[rest[0]] = error
            left = rest[1:]
            if len(reasons) >= _NOTHING_AFTER and not any(home.glob("registry/index/*/.cache/*")):
                raise TransportError(f"cargo could not read any index: {error}", hint=_SAYS_MORE)
        return {name: _indexed(home, name, reasons.get(name)) for name in names}

    def _fetch_parts(
        self,
        parts: Sequence[Sequence[LockedPackage]],
        everything: Sequence[LockedPackage],
        folder: Path,
        home: Path,
    ) -> str:
        """Fetch each part in a project of its own, with stubs for the rest; returns cargo's last complaint."""
        error = ""
        for number, part in enumerate(parts):
            ids = {one.id for one in part}
            others = {stub.id: stub for one in part for stub in stubs(home, one, everything) if stub.id not in ids}
            error = self._cargo_fetch(folder / str(number), home, part, self.deadline, list(others.values())) or error
        return error

    def _fetch_each(
        self,
        everything: Sequence[LockedPackage],
        scratch: Path,
        home: Path,
        error: str,
        progress: Callable[[int], None],
        without: Collection[LockedPackage] = (),
    ) -> dict[LockedPackage, str]:
        """One that the upstream refuses stops cargo for all. Alone, each fails for itself only.

        Returns:
            Why, for each that was missing; empty for those that came.

        Raises:
            TransportError: The first few fail, and nothing at all was fetched: it is not for the packages.
        """
        found = _tarballs(home)
        packages = [one for one in everything if one.id.stem not in found and one not in without]
        reasons: dict[LockedPackage, str] = {}
        in_a_row = 0
        for number, package in enumerate(packages):
            if in_a_row == _GIVE_UP_AFTER:
                reasons[package] = f"not tried: cargo failed {in_a_row} times in a row, as in: {error}"
                continue
            reasons[package] = self._fetch_one(scratch / str(number), home, package, stubs(home, package, everything))
            in_a_row = in_a_row + 1 if reasons[package] else 0
            error = reasons[package] or error
            progress(1)
            if in_a_row == _NOTHING_AFTER and not _tarballs(home):
                raise TransportError(f"cargo could not fetch anything: {error}", hint=_SAYS_MORE)
        return reasons

    def _ask_for_each(
        self, packages: Sequence[LockedPackage], home: Path, progress: Callable[[int], None]
    ) -> dict[LockedPackage, str]:
        """Of a registry that is named: why each that did not come did not.

        Raises:
            TransportError: The first few fail, and nothing came: it is not for the packages.
        """
        reasons: dict[LockedPackage, str] = {}
        for package in packages:
            asked = f"{package.id.name}@{package.id.version}"
            error = self._run(["info", "--quiet", "--registry", self.registry or "", asked], home, _DEADLINE_ONE)
            if error:
                reasons[package] = error
            progress(1)
            said = [reason for reason in reasons.values() if not _says_no(reason)]
            if len(said) == _NOTHING_AFTER and not _tarballs(home):
                raise TransportError(f"cargo could not fetch anything from {self.registry}: {said[-1]}")
        return reasons

    def _fetched(self, package: LockedPackage, home: Path, found: Mapping[str, Path], reason: str) -> UpstreamCrate:
        tarball = found.get(package.id.stem)
        registry = "*" if tarball is None else tarball.parent.name
        index, silence = _cached_index(home, registry, package)
        if tarball is None:
            reason = reason or "cargo did not keep its tarball (is the registry a local directory?)"
        return UpstreamCrate(package, tarball, reason, _says_no(reason), index, silence)

    def _fetch_one(self, folder: Path, home: Path, package: LockedPackage, without: Sequence[Stub]) -> str:
        error = self._cargo_fetch(folder, home, [package], _DEADLINE_ONE, without)
        return "" if package.id.stem in _tarballs(home) else error

    def _scratch_home(self, scratch: Path) -> Path:
        home = scratch / "cargo-home"
        try:
            home.mkdir(mode=0o700)
            for file in _CONFIGURATION:
                if (self.home / file).is_file():
                    shutil.copy(self.home / file, home / file)
        except OSError as error:
            raise StorageError(f"cannot copy your cargo configuration: {error.strerror}") from None
        return home

    def _cargo_fetch(
        self,
        folder: Path,
        home: Path,
        packages: Sequence[LockedPackage],
        deadline: float,
        without: Sequence[Stub] = (),
    ) -> str:
        write_project(folder, packages, without)
        return self._run(["fetch", "--quiet", "--manifest-path", str(folder / "Cargo.toml")], home, deadline)

    def _run(self, arguments: list[str], home: Path, deadline: float) -> str:
        """Run cargo; returns what it complained about, or an empty text when it succeeded."""
        environment = {**self.environment, "CARGO_HOME": str(home), "CARGO_TERM_COLOR": "never"}
        try:
            if self.stopped():
                return "nothing is asked for any more"
            if self._is_full(home):
                return _NO_ROOM
            with (
                subprocess.Popen(
                    [self.cargo, *arguments],
                    cwd="/",
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                ) as process,
                self._ending(home, process.kill),
            ):
                try:
                    _, said = process.communicate(timeout=deadline)
                except BaseException:
                    process.kill()
                    raise
        except FileNotFoundError:
            raise ConfigError(
                f"there is no {self.cargo} here", hint="install Rust, or read an index directly with --upstream"
            ) from None
        except subprocess.TimeoutExpired:
            return f"cargo did not end within {deadline:.0f} s"
        except OSError as error:
            raise ConfigError(
                f"cannot run {self.cargo}: {error.strerror}", hint="install cargo, or name it with `--cargo`"
            ) from None
        if process.returncode != 0 and self._is_full(home):
            return _NO_ROOM
        return "" if process.returncode == 0 else _complaint(said.decode("utf-8", "replace"))

    def _ending(self, home: Path, kill: Callable[[], None]) -> AbstractContextManager[None]:
        """End cargo when nobody waits for it, or when it has fetched more than there is room for."""
        if self.room is None:
            return ending(self.stopped, kill)
        return ending(lambda: self.stopped() or self._is_full(home), kill)

    def _is_full(self, home: Path) -> bool:
        return self.room is not None and _size(_tarballs(home).values()) > self.room


@contextmanager
def _watching(home: Path, packages: Sequence[LockedPackage], progress: Callable[[int], None]) -> Iterator[None]:
    """Count the tarballs that cargo has fetched, while it fetches and once more when it has ended."""
    stems = {package.id.stem for package in packages}
    ended = threading.Event()

    def watch() -> None:
        counted = 0
        while True:
            last_look = ended.wait(_LOOK_EVERY)
            now = len(stems & _tarballs(home).keys())
            progress(now - counted)
            counted = now
            if last_look:
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


@dataclass(frozen=True, slots=True)
class Stub:
    """An empty package that stands in for a dependency, so that cargo does not fetch that.

    Attributes:
        id: What it stands for.
        features: Every feature that somebody might ask of it.
    """

    id: CrateId
    features: tuple[str, ...]

    def write(self, folder: Path) -> None:
        """Write the package."""
        (folder / "src").mkdir(parents=True)
        (folder / "src" / "lib.rs").write_bytes(b"")
        features = "".join(f'"{name}" = []\n' for name in self.features)
        (folder / "Cargo.toml").write_text(
            f'[package]\nname = "{self.id.name}"\nversion = "{self.id.version}"\nedition = "2021"\n'
            f"[features]\n{features}",
            encoding="utf-8",
        )


def stubs(home: Path, package: LockedPackage, everything: Iterable[LockedPackage]) -> list[Stub]:
    """What stands in for the dependencies of one package, as far as cargo's index cache knows them."""
    line = _line(home, package)
    if line is None:
        return []
    names = {dependency.package or dependency.name for dependency in line.deps if dependency.kind != "dev"}
    found = []
    for other in everything:
        if other.id.name.text in names and other.id != package.id:
            theirs = _line(home, other)
            features = () if theirs is None else (*theirs.features, *(one.name for one in theirs.deps if one.optional))
            found.append(Stub(other.id, tuple(sorted({name for name in features if _FEATURE.match(name)}))))
    return found


def _line(home: Path, package: LockedPackage) -> IndexLine | None:
    version = str(package.id.version)
    index, silence = _cached_index(home, "*", package)
    return Listing(index, package.id.name, {version}, silence).lines.get(version)


def without_rivals(
    packages: Sequence[LockedPackage], links: Mapping[CrateId, str] = MappingProxyType({})
) -> list[list[LockedPackage]]:
    """Parts that cargo takes into one project: two compatible versions of a crate, as of two locks, it does not.

    Args:
        packages: What is to be fetched.
        links: The native library that some of them link, where that is known: nor does it take two that link one.
    """
    parts: list[list[LockedPackage]] = []
    so_far: Counter[tuple[str, ...]] = Counter()
    for package in packages:
        major, minor, patch = str(package.id.version).partition("-")[0].partition("+")[0].split(".")
        compatible = (major,) if major != "0" else (major, minor) if minor != "0" else (major, minor, patch)
        rivals = [(str(package.id.name), *compatible)]
        rivals += [("links", links[package.id])] if package.id in links else []
        place = max(so_far[one] for one in rivals)
        if place == len(parts):
            parts.append([])
        parts[place].append(package)
        for one in rivals:
            so_far[one] = place + 1
    return parts


def _links(home: Path, package: LockedPackage) -> str | None:
    """The native library that a package links, as far as cargo's index cache knows it."""
    line = _line(home, package)
    return None if line is None else line.links


def _size(paths: Iterable[Path]) -> int:
    """Bytes of some files; one that has just gone has none."""
    size = 0
    for path in paths:
        with suppress(OSError):
            size += path.stat().st_size
    return size


def write_project(folder: Path, packages: Iterable[LockedPackage], without: Sequence[Stub] = ()) -> None:
    """Write a package that depends on every one of these, and a lock that pins them.

    Args:
        folder: Where.
        packages: What it depends on.
        without: Stand-ins for what those depend on.

    Raises:
        StorageError: The disk failed.
    """
    manifest = ['[package]\nname = "carnet-sync"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n[dependencies]\n']
    lock = ["version = 4\n"]
    for number, package in enumerate(packages):
        name, version = package.id.name, package.id.version
        requirement = str(version).partition("+")[0]  # build metadata takes no part in a requirement
        manifest.append(f'p{number} = {{ package = "{name}", version = "={requirement}", default-features = false }}\n')
        lock.append(f'[[package]]\nname = "{name}"\nversion = "{version}"\nsource = "{CRATES_IO}"\n')
    if without:
        manifest.append("[patch.crates-io]\n")
    try:
        (folder / "src").mkdir(parents=True)
        for number, stub in enumerate(without):
            manifest.append(f's{number} = {{ package = "{stub.id.name}", path = "stubs/{number}" }}\n')
            stub.write(folder / "stubs" / str(number))
        (folder / "src" / "lib.rs").write_bytes(b"")
        (folder / "Cargo.toml").write_text("".join(manifest), encoding="utf-8")
        (folder / "Cargo.lock").write_text("".join(lock), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write below {folder}: {error.strerror}") from None


def parse_index_cache(data: bytes) -> tuple[bytes, ...]:
    """The index lines in a file of cargo's index cache; empty when the form is not one that is known."""
    if len(data) < 6 or data[0] not in _INDEX_CACHE_VERSIONS:
        return ()
    _, *rest = data[5:].split(b"\0")
    return tuple(line for line in rest[1::2] if line.startswith(b"{"))


def _indexed(home: Path, name: CrateName, reason: str | None) -> UpstreamIndex:
    lines, silence = _kept_index(home, "*", name)
    return UpstreamIndex(lines, reason or silence, absent=reason is not None and _NOT_FOUND in reason)


def _cached_index(home: Path, registry: str, package: LockedPackage) -> tuple[tuple[bytes, ...], str]:
    return _kept_index(home, registry, package.id.name)


def _kept_index(home: Path, registry: str, name: CrateName) -> tuple[tuple[bytes, ...], str]:
    """What cargo keeps of a crate's index in one of its registries, `*` for any; and in words, why nothing."""
    silence = "cargo keeps no index of it"
    for folder in sorted((home / "registry" / "index").glob(registry)):
        path = folder / ".cache" / index_prefix(name) / name.text.lower()
        try:
            if path.stat().st_size > _MAX_INDEX:
                silence = f"cargo's index of it is larger than {_MAX_INDEX} bytes"
                continue
            data = path.read_bytes()
        except OSError:
            continue
        if lines := parse_index_cache(data):
            return lines, ""
        silence = (
            f"cargo keeps its index in a form that this carnet does not read ({data[:1].hex() or 'an empty file'}): "
            "`--upstream` reads an index without cargo"
        )
    return (), silence


def _tarballs(home: Path) -> dict[str, Path]:
    return {path.name.removesuffix(".crate"): path for path in home.glob("registry/cache/*/*.crate")}


def _says_no(complaint: str) -> bool:
    """Whether cargo says that the registry has no such tarball, or another one; else nothing was decided."""
    status = _STATUS.search(complaint)
    return (status is not None and status[1] in _HAS_NONE) or _NONE_OF_IT.search(complaint) is not None


def _complaint(stderr: str) -> str:
    """The reason in cargo's words: its error and causes, on one line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and not line.lstrip().startswith("warning:")]
    start = next((index for index, line in enumerate(lines) if line.startswith("error")), 0)
    causes = [re.sub(r"^error: ", "", line) for line in lines[start:] if line != "Caused by:"]
    return "; ".join(causes)[:400] or "cargo failed without a word"
