"""Listing a whole index: every crate's lines are published, and a tarball comes when somebody asks for it.

1. the files of the index that are not as they were (`carnet_mirror.upstream.index_folder`), in the order of the bins
   that list them, so that each bin is signed about once;
2. some thousand lines at a time: each is read strictly, and held against what the mirror has, as in a sync;
3. they are published, and then remembered as read: what ends in the middle goes on there.

Until its tarball is here, a version stands on the index's word alone; the tarball is judged when it comes, by the
mirror and by every client. A line that cannot be read is no statement. Of a claimed crate nothing is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from carnet.cargo.index_line import IndexLine
from carnet.cargo.names import CrateName
from carnet.errors import FormatError, StorageError, UnfitFile
from carnet.progress import Progress
from carnet.tuf.paths import INDEX, index_path
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.store import Store
from carnet_mirror.sync.merge import Examined, Merge
from carnet_mirror.sync.sync import publish_merged, pubtime
from carnet_mirror.upstream.index_folder import IndexFolder, IndexFound
from carnet_mirror.writing import writing
from carnet_signer.metadata.publish import OnlineSigner, PublishResult

AT_ONCE = 40_000
"""Lines that are held in memory and published together."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What came of it.

    Attributes:
        files: Files of the index.
        read: How many of them were not as they were.
        added: Versions that are listed now and were not.
        updated: Versions of which something else is said now.
        refused: Lines that contradict what the mirror has, or are of another spelling.
        unread: Lines that cannot be read, and files that are too large.
        late: Versions that are not listed yet, by the operator's rules.
        published: The last publish; None when nothing had changed.
    """

    files: int = 0
    read: int = 0
    added: int = 0
    updated: int = 0
    refused: int = 0
    unread: int = 0
    late: int = 0
    published: PublishResult | None = None


@dataclass
class _Batch:
    """What is published together; of the files those are done of which nothing is held back."""

    files: int = 0
    done: list[IndexFound] = field(default_factory=list)
    examined: list[Examined] = field(default_factory=list)
    unread: int = 0
    late: int = 0


def list_whole_index(
    store: Store,
    online: OnlineSigner,
    index: IndexFolder,
    *,
    now: datetime,
    progress: Progress,
    why_not: Callable[[IndexLine], str] = lambda _: "",
    at_once: int = AT_ONCE,
) -> Listed:
    """Bring a mirror up to an index.

    Args:
        store: The mirror, opened for writing.
        online: Signs what is published.
        index: The index.
        now: The time.
        progress: Makes the progress bar.
        why_not: Why a version is not listed, in words; empty where it is.
        at_once: Lines that are published together.

    Raises:
        StorageError: Another process is writing to the mirror, or a disk failed; what was published stays.
        SigningError: The online signer refused; as above.
    """
    changed, files = index.changed()
    total = {"added": 0, "updated": 0, "refused": 0, "unread": 0, "late": 0}
    published: PublishResult | None = None
    with progress("listing", len(changed)) as count:
        for batch in _batches(index, _by_bin(store, changed), why_not, at_once):
            with writing(store, online, now=now):
                merge = Merge(store, index.origin, pubtime(now))
                merge.take(batch.examined)
                names = {item.line.id.name for item in batch.examined}
                before = UnverifiedView(store).let_in(names) if merge.added or merge.updated else {}
                published = publish_merged(store, online, merge, before, {}, now=now, progress=_quiet) or published
            index.remember(batch.done)
            total["added"] += len(merge.added)
            total["updated"] += len(merge.updated)
            total["refused"] += len(merge.refused)
            total["unread"] += batch.unread
            total["late"] += batch.late
            count(batch.files)
    return Listed(files, len(changed), **total, published=published)


def _by_bin(store: Store, found: Sequence[IndexFound]) -> list[IndexFound]:
    """In the order of the bins that list them; what is claimed here comes from nowhere else."""
    view = UnverifiedView(store)
    role = view.targets(INDEX)
    succinct = None if role is None or role.delegations is None else role.delegations.succinct
    if succinct is None:
        raise StorageError("this mirror has no index", hint="`carnet mirror fsck` lists what is damaged")
    claimed = view.claimed([one.name for one in found])
    ours = [one for one in found if one.name.canonical not in claimed]
    return sorted(ours, key=lambda one: (succinct.bin_of(index_path(one.name)), one.name.text))


def _batches(
    index: IndexFolder, found: Sequence[IndexFound], why_not: Callable[[IndexLine], str], at_once: int
) -> Iterator[_Batch]:
    batch = _Batch()
    for one in found:
        try:
            lines, unread = _lines(index.read(one), one.name)
        except UnfitFile:
            lines, unread = [], 1
        taken = [line for line in lines if not why_not(line)]
        batch.files += 1
        batch.done += [one] if len(taken) == len(lines) else []
        batch.examined += [Examined(line, None, 0) for line in taken]
        batch.unread += unread
        batch.late += len(lines) - len(taken)
        if len(batch.examined) >= at_once:
            yield batch
            batch = _Batch()
    if batch.files:
        yield batch


def _lines(chunks: Sequence[bytes], name: CrateName) -> tuple[list[IndexLine], int]:
    """The lines of a crate under the spelling of the first of them; and how many there are beside those."""
    lines: dict[str, IndexLine] = {}
    for chunk in chunks:
        try:
            line = IndexLine.from_bytes(chunk)
        except FormatError:
            continue
        spelled = next(iter(lines.values())).id.name if lines else line.id.name
        if line.id.name == spelled and index_path(spelled) == index_path(name):
            lines.setdefault(str(line.id.version), line)
    return list(lines.values()), len(chunks) - len(lines)


@contextmanager
def _quiet(_label: str, _length: int) -> Iterator[Callable[[int], None]]:
    """The bar of the whole is the one that is drawn."""
    yield lambda _: None
