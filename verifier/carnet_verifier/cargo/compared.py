"""Copies of crates on a machine, compared with what signed metadata vouches for: every changed file of them.

cargo compares a tarball once, when it has fetched it, and never looks again at what it unpacked; of a vendored crate it
believes a list that lies beside the files. So whoever can write there changes what is compiled, and nothing tells.

What is compared is bytes. What a policy asks of a crate is not asked here: that is asked of a lock.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice

from carnet.cargo.crate import CrateLimits, read_crate
from carnet.cargo.names import CrateId
from carnet.digests import sha256_hex
from carnet.durable import read_file
from carnet.errors import CarnetError, FormatError, MetadataMismatch, NotFound, StorageError, TransportError
from carnet.value import value
from carnet_verifier.admit import AT_ONCE, Metadata, fetch_each
from carnet_verifier.cargo import vendored
from carnet_verifier.cargo.checkouts import Checkout
from carnet_verifier.cargo.copies import MANIFEST, Copy, is_crates_io
from carnet_verifier.cargo.differences import MOST, Difference, TreeLayout, file_digest, tree_differences
from carnet_verifier.cargo.local_index import index_differences
from carnet_verifier.cargo.localregistry import MARKER, Kept, Poisoned
from carnet_verifier.outcomes import Attributed, KeptTarballs, ListCache, Wanted
from carnet_verifier.tuf.repository import TrustedRepository

_BATCH = 128
"""Crates whose index files are looked up at once; all of a large cache would not fit into memory."""
_LEAST_PREFIX = 7
"""Letters of a commit's id in the name of a checkout."""
_FINISHED = (b'{"v":1}', b"ok")
"""What cargo writes into its mark, and wrote until 1.71."""


@value
class ComparedCopy:
    """What became of one copy.

    Attributes:
        copy: Which.
        state: `good`; `changed`; `unfinished`, when cargo broke off and would fetch or unpack it again; `undecided`,
            when nobody vouches for what it should be.
        differences: What was changed, at most `MOST` of them.
        error: Why nothing was decided, or why nothing may be good.
    """

    copy: Copy
    state: str
    differences: tuple[Difference, ...] = ()
    error: CarnetError | None = None


@value
class Asked:
    """What copies are compared by.

    Attributes:
        repository: The verified view.
        mirror: Its URL.
        now: The time of the check.
        checksums: What a lock pins; empty without one.
        index_files: Index files of earlier runs.
        kept: Tarballs of earlier runs.
    """

    repository: TrustedRepository
    mirror: str
    now: datetime
    checksums: Mapping[CrateId, str | None]
    index_files: ListCache | None = None
    kept: KeptTarballs | None = None


def compare_copies(copies: Iterable[Copy], asked: Asked) -> Iterator[ComparedCopy]:
    """Compare copies of crates with the tarballs that metadata vouches for.

    Args:
        copies: Those that are no checkouts, which have no tarball.
        asked: By what.

    Returns:
        What became of each, crate by crate, as soon as it is known.

    Raises:
        TransportError: Nothing could be decided: the mirror cannot be reached.
        MetadataError: The view itself failed a check.
    """
    by_crate: dict[CrateId, list[Copy]] = {}
    for copy in copies:
        if copy.crate is None:
            yield ComparedCopy(copy, "changed", (Difference(MANIFEST, "changed", copy.problem),))
        elif copy.kind == "vendored" and copy.crate not in asked.checksums and vendored.says_git(copy.path):
            problem = NotFound(
                f"{copy.crate} in {copy.path} says of itself that it is from git: nobody vouches for it",
                hint="look at it, or let carnet write the folder: `carnet vendor DIR`",
            )
            yield ComparedCopy(copy, "undecided", error=problem)
        else:
            by_crate.setdefault(copy.crate, []).append(copy)
    crates = iter(sorted(by_crate))
    while some := list(islice(crates, _BATCH)):
        yield from _compare_some({crate: by_crate[crate] for crate in some}, asked)


def _compare_some(by_crate: Mapping[CrateId, list[Copy]], asked: Asked) -> Iterator[ComparedCopy]:
    wanted = [Wanted(crate, asked.checksums.get(crate)) for crate in by_crate]
    metadata = Metadata(asked.repository, wanted, now=asked.now, cache=asked.index_files)
    waiting: list[tuple[Attributed, list[Copy]]] = []
    for item in wanted:
        copies = by_crate[item.id]
        try:
            vouched = metadata.vouch(item)
        except NotFound as error:
            yield from (ComparedCopy(copy, "undecided", error=error) for copy in copies)
            continue
        except TransportError:
            raise
        except CarnetError as error:
            yield from (ComparedCopy(copy, "changed", error=error) for copy in copies)
            continue
        try:
            attributed = metadata.attribute(vouched)
        except TransportError:
            raise
        except CarnetError as error:  # the registry has it, and its maintainers signed something else, or nothing
            yield from (ComparedCopy(copy, "changed", error=error) for copy in copies)
            continue
        tarballs = [compare_tarball(copy, attributed) for copy in copies if copy.kind == "tarball"]
        yield from (_of_place(_with_index(compared, attributed), asked) for compared in tarballs)
        trees = [copy for copy in copies if copy.kind != "tarball"]
        if not trees:
            continue
        kept = _kept_here(tarballs, attributed, asked)
        if kept is None:
            waiting.append((attributed, trees))
        else:
            yield from (_of_place(compare_tree_copy(copy, attributed.sha256, kept), asked) for copy in trees)
    for start in range(0, len(waiting), AT_ONCE):
        yield from _compare_fetched(waiting[start : start + AT_ONCE], asked)


def compare_tarball(copy: Copy, attributed: Attributed) -> ComparedCopy:
    """Compare a `.crate` in cargo's cache with the digest that is vouched for.

    Args:
        copy: Where it is.
        attributed: Whose word it is.
    """
    crate, path = attributed.crate, copy.path
    try:
        status = os.lstat(path)
    except OSError as error:
        return ComparedCopy(copy, "undecided", error=_unreadable(copy, error))
    if not stat.S_ISREG(status.st_mode):
        return _changed(copy, "", "link", f"{crate}: the tarball is no plain file: {path}")
    if status.st_size == 0:
        return ComparedCopy(copy, "unfinished")  # cargo fetches again
    found = file_digest(str(path), CrateLimits().compressed)
    if isinstance(found, str):
        return _changed(copy, "", "changed", f"{crate}: the tarball {found}: {path}")
    if found.hex() != attributed.sha256:
        return _changed(
            copy,
            "",
            "changed",
            f"{crate}: the tarball is another: sha256 {found.hex()}, signed {attributed.sha256}: {path}",
        )
    if status.st_nlink != 1:
        return _changed(
            copy, "", "link", f"{crate}: the tarball can be written to by another name, a hard link: {path}"
        )
    if status.st_mode & stat.S_IWOTH:
        return _changed(copy, "", "permissions", f"{crate}: the tarball can be written to by everybody: {path}")
    return ComparedCopy(copy, "good")


def _with_index(compared: ComparedCopy, attributed: Attributed) -> ComparedCopy:
    """The same with what the index of a local registry says of that version; cargo's cache has none beside it."""
    copy = compared.copy
    differences = () if copy.place else tuple(index_differences(copy.path.parent, attributed.line))
    if not differences:
        return compared
    return ComparedCopy(copy, "changed", (*compared.differences, *differences), compared.error)


def compare_tree_copy(copy: Copy, sha256: str, kept: Kept) -> ComparedCopy:
    """Compare unpacked or vendored sources with the files of their tarball.

    Args:
        copy: Where they are.
        sha256: Of the tarball that is vouched for.
        kept: What it unpacks to.
    """
    try:
        is_folder = stat.S_ISDIR(os.lstat(copy.path).st_mode)
    except OSError as error:
        return ComparedCopy(copy, "undecided", error=_unreadable(copy, error))
    if not is_folder:
        return _changed(copy, "", "link", f"{kept.id}: the folder of the crate is no folder, but a link: {copy.path}")
    if copy.kind == "vendored":
        layout, more = vendored.LAYOUT, vendored.checksum_differences(copy.path, kept.id, sha256, kept.files)
    else:
        layout, more = _layout_of_sources(copy, kept.id)
    found = tuple(islice(_each_once(tree_differences(copy.path, kept.id, kept.files, layout), more), MOST))
    state = "changed" if found else "unfinished" if layout.unfinished else "good"
    return ComparedCopy(copy, state, found)


def compare_checkout(copy: Copy, commits: Iterable[str] | None) -> ComparedCopy | None:
    """Compare a checkout of a package from git with the objects of the commit that a lock names.

    Args:
        copy: Where it is; cargo calls it by the beginning of the commit's id.
        commits: The ids that a lock names, and a policy allows; None without a lock.

    Returns:
        What became of it; None where the lock has no package from it.

    Raises:
        ConfigError: git is missing.
    """
    if commits is None:
        error = NotFound(
            f"{copy.path} is a checkout from git, and only a lock says of which commit",
            hint="name the lock: `carnet verify --cargo-home DIR Cargo.lock`",
        )
        return ComparedCopy(copy, "undecided", error=error)
    commit = next(
        (one for one in commits if len(copy.path.name) >= _LEAST_PREFIX and one.startswith(copy.path.name)), None
    )
    if commit is None:
        return None
    if copy.path.is_symlink() or not copy.path.is_dir():
        return _changed(copy, "", "link", f"the checkout of {commit[:12]} is no folder: {copy.path}")
    if not os.path.lexists(copy.path / MARKER):
        return ComparedCopy(copy, "unfinished")
    checkout = Checkout(copy.path, commit)
    try:
        checkout.read(commit, "")
        found = islice(checkout.differences({}), MOST)
        differences = tuple(Difference(path, "changed", str(error)) for path, error in found)
    except (Poisoned, FormatError) as error:
        return ComparedCopy(copy, "changed", (Difference("", "changed", str(error)),))
    except StorageError as error:
        return ComparedCopy(copy, "undecided", error=error)
    except OSError as error:
        return ComparedCopy(copy, "undecided", error=_unreadable(copy, error))
    return ComparedCopy(copy, "changed" if differences else "good", differences)


def _layout_of_sources(copy: Copy, crate: CrateId) -> tuple[TreeLayout, Iterator[Difference]]:
    """By cargo's own mark, which it leaves when it has unpacked everything."""
    place = copy.path / MARKER
    try:
        mark = read_file(place, "cargo's mark", max_bytes=1000) if stat.S_ISREG(place.lstat().st_mode) else None
    except FileNotFoundError:
        return TreeLayout(unfinished=True), iter(())
    except (CarnetError, OSError):
        mark = None
    own = frozenset((MARKER,))
    if not mark and mark is not None:
        return TreeLayout(own, unfinished=True), iter(())
    wrong = Difference(MARKER, "changed", f"{crate}: {MARKER!a} is not what cargo writes there: {copy.path}")
    return TreeLayout(own), iter(() if mark in _FINISHED else (wrong,))


def _each_once(*found: Iterable[Difference]) -> Iterator[Difference]:
    seen: set[tuple[str, str]] = set()
    for differences in found:
        for difference in differences:
            if (difference.path, difference.change) not in seen:
                seen.add((difference.path, difference.change))
                yield difference


def _kept_here(tarballs: Iterable[ComparedCopy], attributed: Attributed, asked: Asked) -> Kept | None:
    """What the crate unpacks to, from a tarball that lies here and is the signed one; None when none does."""
    for compared in tarballs:
        if compared.state == "good":
            try:
                data = read_file(compared.copy.path, "the tarball", max_bytes=CrateLimits().compressed)
                return _kept_of(data, attributed)
            except (CarnetError, FileNotFoundError):
                continue  # it was changed since, or cannot be read any more: the mirror has it
    try:
        data_kept = None if asked.kept is None else asked.kept.read(attributed.crate, attributed.sha256)
        return None if data_kept is None else _kept_of(data_kept, attributed)
    except CarnetError:
        return None


def _kept_of(data: bytes, attributed: Attributed) -> Kept:
    if sha256_hex(data) != attributed.sha256:
        raise MetadataMismatch(f"the tarball of {attributed.crate} is not the one that is vouched for")
    return Kept.of(read_crate(data, attributed.crate))


def _compare_fetched(waiting: Sequence[tuple[Attributed, list[Copy]]], asked: Asked) -> Iterator[ComparedCopy]:
    fetched = fetch_each(asked.repository, [attributed for attributed, _ in waiting], None)
    for attributed, trees in waiting:
        one = fetched[attributed.crate]
        try:
            if isinstance(one, CarnetError):
                raise one
            kept = _kept_of(one.data, attributed)
        except TransportError as error:
            if not error.absent:
                raise
            yield from (ComparedCopy(copy, "undecided", error=error) for copy in trees)
        except CarnetError as error:
            yield from (ComparedCopy(copy, "undecided", error=error) for copy in trees)
        else:
            yield from (_of_place(compare_tree_copy(copy, attributed.sha256, kept), asked) for copy in trees)


def _of_place(compared: ComparedCopy, asked: Asked) -> ComparedCopy:
    """What differs in the folder of another registry may be that registry's own crate of the name."""
    copy = compared.copy
    if compared.state != "changed" or copy.kind == "vendored" or is_crates_io(copy.place, asked.mirror):
        return compared
    return ComparedCopy(
        copy,
        "undecided",
        error=NotFound(
            f"{copy.crate} in {copy.place} is not the one of crates-io, and nobody vouches for another registry's",
            hint="compare it with what that registry publishes, or take crates through the mirror",
        ),
    )


def _changed(copy: Copy, path: str, change: str, said: str) -> ComparedCopy:
    return ComparedCopy(copy, "changed", (Difference(path, change, said),))


def _unreadable(copy: Copy, error: OSError) -> CarnetError:
    return NotFound(
        f"{copy.path} cannot be looked at: {(error.strerror or 'failed').lower()}",
        hint="run it as the user whose files these are",
    )
