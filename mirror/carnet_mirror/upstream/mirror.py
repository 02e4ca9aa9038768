"""Another mirror of carnet's as an upstream, verified with its own root: a chain of mirrors.

It answers at an address, or lies in a folder as `carnet mirror export` writes one, carried here on a disk. Everything
that is taken was verified as a client verifies it: from the root that the operator names to one consistent view, with a
memory of what was seen, so that nothing older is believed the next time.

What is taken here is at this mirror's word afterwards. So **a crate that is claimed there is not taken**: its
maintainers' signatures count in the tree of roles of the mirror that has them, and without them this mirror's online
key could change alone what that of the upstream cannot. Nor is one that its owners gave up: nobody here would be told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from carnet.cargo.crate import CrateLimits
from carnet.cargo.lockfile import LockedPackage
from carnet.cargo.names import CrateName
from carnet.cargo.takedown import Takedown, read_takedowns
from carnet.digests import sha256_hex
from carnet.durable import private_folder
from carnet.errors import ConfigError, FormatError, StorageError, TransportError, UnfitFile, VerificationError
from carnet.tuf.paths import download_path, index_path
from carnet_mirror.upstream.folder import read_within
from carnet_mirror.upstream.packages import UpstreamCrate, UpstreamIndex, without
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.net.budget import RunBounds
from carnet_verifier.net.fetch import Fetcher
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.net.route import DIRECT, Network
from carnet_verifier.tuf.repository import MAX_TARGET, TrustedRepository, TrustedTarget
from carnet_verifier.tuf.saved_view import read_carried_tree
from carnet_verifier.tuf.told import of_mirror
from carnet_verifier.tuf.view import open_view

MEMORIES = "upstreams"
"""The folder in a mirror's directory that holds what was seen of other mirrors."""
_AT_ONCE = 64
"""Tarballs that are asked for together."""
_BOUNDS = RunBounds(seconds=24 * 3600.0, size=1 << 40)
"""Of one look at it. Whoever pulls has bounds of their own, and a whole index is large."""
_ABSENT = "the mirror that is the upstream signed that it has no such crate"
_CLAIMED = (
    "the crate is claimed at the mirror that is the upstream: its maintainers' signatures count there and not here, "
    "where this mirror's key alone could change it then; it comes from its maintainers, who claim it here too"
)
_RELEASED = "its owners gave the name up at the mirror that is the upstream, and nobody stands behind it there"


@dataclass(frozen=True)
class MirrorUpstream:
    """A mirror of carnet's; `remembered_upstream` makes it.

    Attributes:
        trust: What was seen of it, from the pinned root on.
        clock: The time, aware, UTC.
        network: How it is reached.
        folder: Where it lies, if it was carried here.
    """

    trust: TrustDirectory = field(repr=False)
    clock: Callable[[], datetime] = field(repr=False)
    network: Network = field(default=DIRECT, repr=False)
    folder: Path | None = None

    @property
    def name(self) -> str:
        """How the mirror remembers it."""
        return f"carnet+{self.trust.url}"

    def index(self, names: Sequence[CrateName], scratch: Path) -> dict[CrateName, UpstreamIndex]:
        """See `IndexedUpstream.index`; what was taken down is not listed.

        Raises:
            MetadataError: A check failed: it is not the mirror of that root, or not as it was signed.
            TransportError: It could not be reached.
        """
        with self._view() as (repository, _):
            listed = _listed(repository, names)
        return {name: replace(said, chunks=without(said.chunks, said.taken_down)) for name, said in listed.items()}

    def fetch(
        self, packages: Sequence[LockedPackage], scratch: Path, progress: Callable[[int], None]
    ) -> list[UpstreamCrate]:
        """See `Upstream.fetch`.

        Raises:
            MetadataError: As `index`.
        """
        fetched: list[UpstreamCrate] = []
        with self._view() as (repository, fetcher):
            listed = _listed(repository, list(dict.fromkeys(package.id.name for package in packages)))
            for start in range(0, len(packages), _AT_ONCE):
                part = packages[start : start + _AT_ONCE]
                wanted = [one for one in part if not _why_not(listed[one.id.name], one)]
                most = CrateLimits().compressed
                answers = fetcher.get_many([(download_path(one.id), most) for one in wanted], large=True)
                given = dict(zip((one.id for one in wanted), answers, strict=True))
                for number, package in enumerate(part, start):
                    path = scratch / f"{number}.crate"
                    fetched.append(_fetched(package, listed[package.id.name], given.get(package.id), path))
                    progress(1)
        return fetched

    @contextmanager
    def _view(self) -> Iterator[tuple[TrustedRepository, Fetcher]]:
        """One consistent, verified view, and what fetches from there."""
        if self.folder is None:
            with open_view(self.trust, now=self.clock(), bounds=_BOUNDS, network=self.network) as view:
                yield view.repository, view.fetcher
            return
        fetcher = ReadFetcher(partial(_read, self.folder))
        with of_mirror(self.trust.url):
            repository = read_carried_tree(fetcher, self.trust, now=self.clock())
        yield repository, fetcher


def remembered_upstream(
    directory: Path, place: str | Path, root: bytes, clock: Callable[[], datetime], network: Network = DIRECT
) -> MirrorUpstream:
    """A mirror as an upstream, with what was seen of it before.

    What was seen belongs to the root and not to the place: a disk comes back under another path, a mirror moves.

    Args:
        directory: Of the mirror that asks; the memory lies in it.
        place: The address of the other one, or the folder that it was exported into.
        root: Its root file, as the operator got it by a way that they trust.
        clock: The time.
        network: How it is reached.

    Raises:
        ConfigError: The root is none, or others than its owner can write to the memory.
        StorageError: The disk failed.
    """
    folder = place if isinstance(place, Path) else None
    url = place.resolve().as_uri() + "/" if isinstance(place, Path) else place
    if folder is not None and not (folder / "metadata").is_dir():
        raise ConfigError(
            f"{folder} holds no exported mirror: it has no folder metadata",
            hint="`carnet mirror export DIR FOLDER` writes one; a local registry of cargo's takes no root",
        )
    memory = private_folder(directory / MEMORIES) / sha256_hex(root)
    if not (memory / "trust.json").exists():
        return MirrorUpstream(TrustDirectory.create(memory, root, url), clock, network, folder)
    trust = TrustDirectory.open(memory)
    if trust.url != url:
        trust.move(url)
    return MirrorUpstream(trust, clock, network, folder)


def _read(folder: Path, path: str) -> bytes | None:
    try:
        return read_within(folder, path, "a file of the export", MAX_TARGET)
    except FileNotFoundError:
        return None
    except UnfitFile as error:
        raise TransportError(str(error), hint=error.hint) from None


# --- what a view says ---


def _listed(repository: TrustedRepository, names: Sequence[CrateName]) -> dict[CrateName, UpstreamIndex]:
    """What is signed of these crates. Of one whose index file is not what was signed, nothing is said."""
    targets, claims = repository.look_up([index_path(name) for name in names], names)
    found: dict[CrateName, UpstreamIndex] = {}
    listed: dict[CrateName, TrustedTarget] = {}
    for name in names:
        target = targets[index_path(name)]
        if claims[name] is not None:
            found[name] = UpstreamIndex((), _CLAIMED, absent=True)
        elif repository.released(name):
            found[name] = UpstreamIndex((), _RELEASED, absent=True)
        elif target is None:
            found[name] = UpstreamIndex((), _ABSENT, absent=True)
        else:
            listed[name] = target
    for (name, target), read in zip(listed.items(), _downloads(repository, list(listed.values())), strict=True):
        try:
            down = read_takedowns(target.custom, target.path) if target.custom else {}
            chunks = tuple(line for line in read().split(b"\n") if line.strip())
            found[name] = UpstreamIndex(chunks, "its index file lists no version", taken_down=down)
        except (TransportError, FormatError, VerificationError) as error:
            found[name] = UpstreamIndex((), str(error))
    return found


def _downloads(repository: TrustedRepository, targets: Sequence[TrustedTarget]) -> list[Callable[[], bytes]]:
    """What reads each target: fetched together, and one by one where that fails for one of them."""
    try:
        return [partial(bytes, data) for data in repository.download_many(targets)]
    except (TransportError, VerificationError):
        return [partial(repository.download, target) for target in targets]


def _why_not(said: UpstreamIndex, package: LockedPackage) -> str:
    """Why a tarball is not asked for, in words; empty where it is."""
    if not said.chunks:
        return said.silence
    down = said.taken_down.get(str(package.id.version))
    return "" if down is None else told(down)


def told(down: Takedown) -> str:
    """What is said of a version that was taken down at an upstream."""
    return f"at the mirror that is the upstream: {down}"


def _fetched(
    package: LockedPackage, said: UpstreamIndex, answer: bytes | TransportError | None, path: Path
) -> UpstreamCrate:
    reason, has_none, tarball = "", False, None
    if answer is None:
        reason, has_none = _why_not(said, package), said.absent or bool(said.chunks)
    elif isinstance(answer, TransportError):
        reason = str(answer)
    else:
        try:
            path.write_bytes(answer)
        except OSError as error:
            raise StorageError(
                f"cannot write {path}: {error.strerror}", hint="make room where temporary files go, or set TMPDIR"
            ) from None
        tarball = path
    return UpstreamCrate(package, tarball, reason, has_none, said.chunks, said.silence, said.taken_down)
