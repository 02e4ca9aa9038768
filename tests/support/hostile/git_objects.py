"""Repositories whose objects cost as much as they can: folders in very many places, chains of deltas, zeros, tags."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

from tests.support.hostile.measure import Hostile

from carnet.errors import CarnetError
from carnet.git.limits import GitLimits
from carnet.intoto.values import MAX_ARTIFACTS
from carnet_signer.steps.gitsource import read_commit

_KINDS = {b"commit": 1, b"tree": 2, b"blob": 3, b"tag": 4}
_WHO = b"A <a@example> 0 +0000"


class Pack:
    """A pack, object by object, whatever git thinks of them."""

    def __init__(self) -> None:
        self._objects: list[bytes] = []
        self.size = 0
        self._places: dict[str, int] = {}

    def add(self, kind: bytes, data: bytes) -> str:
        """An object as it is; returns its id."""
        return self._put(kind, data, _head(_KINDS[kind], len(data)) + zlib.compress(data, 9))

    def add_delta(self, kind: bytes, base: str, old: bytes, data: bytes) -> str:
        """An object that is another one but for its last twenty bytes."""
        same = len(old) - 20
        delta = _number(len(old)) + _number(len(data))
        for start in range(0, same, 0xFFFFFF):
            delta += b"\xff" + start.to_bytes(4, "little") + min(0xFFFFFF, same - start).to_bytes(3, "little")
        return self._put_delta(kind, base, data, delta + _inserted(data[same:]))

    def add_other(self, kind: bytes, old: bytes, data: bytes) -> str:
        """An object that has nothing of the one that it is a difference to."""
        base = self.add(kind, old)
        return self._put_delta(kind, base, data, _number(len(old)) + _number(len(data)) + _inserted(data))

    def _put_delta(self, kind: bytes, base: str, data: bytes, delta: bytes) -> str:
        away = 12 + self.size - self._places[base]
        back = [away & 0x7F]
        while away := away >> 7:
            away -= 1
            back.append(0x80 | (away & 0x7F))
        return self._put(kind, data, _head(6, len(delta)) + bytes(reversed(back)) + zlib.compress(delta, 1))

    def add_tree(self, entries: Iterable[tuple[str, bytes, str]]) -> str:
        """A folder of modes, names and ids."""
        return self.add(b"tree", _tree(entries))

    def add_commit(self, tree: str, more: bytes = b"") -> str:
        """A commit, with more in its header."""
        return self.add(b"commit", b"tree %b\n%bauthor %b\ncommitter %b\n\nx\n" % (tree.encode(), more, _WHO, _WHO))

    def _put(self, kind: bytes, data: bytes, packed: bytes) -> str:
        oid = hashlib.sha1(b"%b %d\0%b" % (kind, len(data), data), usedforsecurity=False).hexdigest()
        if oid not in self._places:
            self._places[oid] = 12 + self.size
            self._objects.append(packed)
            self.size += len(packed)
        return oid

    def write(self, repository: Path, revision: str) -> Path:
        """A bare repository that has these objects, and whose HEAD is one of them."""
        packs = repository / "objects" / "pack"
        packs.mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "HEAD").write_text(revision + "\n")
        data = b"PACK" + (2).to_bytes(4, "big") + len(self._objects).to_bytes(4, "big") + b"".join(self._objects)
        (packs / "pack-x.pack").write_bytes(data + hashlib.sha1(data, usedforsecurity=False).digest())
        subprocess.run(["git", "index-pack", packs / "pack-x.pack"], cwd="/", check=True, capture_output=True)
        return repository


def _tree(entries: Iterable[tuple[str, bytes, str]]) -> bytes:
    return b"".join(mode.encode() + b" " + name + b"\0" + bytes.fromhex(oid) for mode, name, oid in entries)


def _entries(size: int) -> int:
    """Entries that a repository of this size may have, some left for the folders that they are in."""
    entries = GitLimits.of(size).entries
    return entries - entries // 100 - 50


def _head(kind: int, size: int) -> bytes:
    first, rest = kind << 4 | size & 15, size >> 4
    return bytes([first | 0x80]) + _number(rest) if rest else bytes([first])


def _inserted(data: bytes) -> bytes:
    return b"".join(bytes([len(data[i : i + 127])]) + data[i : i + 127] for i in range(0, len(data), 127))


def _number(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(0x80 | number & 0x7F)
        number >>= 7
    return bytes([*found, number])


# --- what is refused: the tests of attacks have these ---


def repeated(pack: Pack, size: int) -> str:
    """Two entries a level, ninety levels: more folders than anyone can walk."""
    return _doubled(pack, size, 90)


def wide(pack: Pack, size: int) -> str:
    """One folder with as many files as fit: each is the same one."""
    file = pack.add(b"blob", b"x")
    return pack.add_commit(pack.add_tree(("100644", b"%07d" % number, file) for number in range(size // 3)))


def same_in_every_place(pack: Pack, size: int) -> str:
    """A large folder in a thousand places of a thousand: it is read again in each."""
    large = pack.add_tree(
        [("100644", b"%03d" % n, pack.add(b"blob", b"x")) for n in range(1)] + [("160000", b"m" * 900, "0" * 40)]
    )
    tree = pack.add_tree(("40000", b"%04d" % number, large) for number in range(1000))
    return _with_noise(pack, pack.add_tree(("40000", b"%04d" % number, tree) for number in range(1000)), size)


def zeros(pack: Pack, size: int) -> str:
    """A file of nothing but zeros."""
    return pack.add_commit(pack.add_tree([("100644", b"f", pack.add(b"blob", bytes(min(size * 200, 1_100_000_000))))]))


def endless_commit(pack: Pack, size: int) -> str:
    """A commit whose header has no end."""
    tree = pack.add_tree([("100644", b"f", pack.add(b"blob", b"x"))])
    return pack.add_commit(tree, b"x " + b"y" * min(size * 100, 900_000_000) + b"\n")


def tags(pack: Pack, size: int) -> str:
    """Tags of tags of a commit."""
    oid, kind = pack.add_commit(pack.add_tree([("100644", b"f", pack.add(b"blob", b"x"))])), b"commit"
    while pack.size < size:
        text = b"object %b\ntype %b\ntag x\ntagger %b\n\nx\n" % (oid.encode(), kind, _WHO)
        oid, kind = pack.add(b"tag", text), b"tag"
    return oid


def upon_very_much(pack: Pack, _: int) -> str:
    """A file of a few bytes that is a difference to thirty megabytes of zeros."""
    return pack.add_commit(pack.add_tree([_file(0, pack.add_other(b"blob", bytes(30_000_000), bytes(20)))]))


def upon_one_another(pack: Pack, size: int, length: int, kind: bytes = b"blob") -> str:
    """A file, or a folder of submodules, that is the last of so many versions, each a difference to the one before."""
    data = bytes(size) if kind == b"blob" else _tree([("160000", b"z" * (size - 28), "0" * 40)])
    last = _chain(pack, kind, data, length)
    return pack.add_commit(pack.add_tree([("100644" if kind == b"blob" else "40000", b"f", last)]))


def links(target: Callable[[int], bytes], most: Callable[[int], int]) -> Callable[[Pack, int], str]:
    """So many symbolic links, beside a folder with a file."""

    def build(pack: Pack, size: int) -> str:
        folder = pack.add_tree([("100644", b"f", pack.add(b"blob", b"x"))])
        found = [("120000", b"%07d" % number, pack.add(b"blob", target(number))) for number in range(most(size))]
        return _with_noise(pack, pack.add_tree([("40000", b"d", folder), *_folders(pack, size, found)]), size)

    return build


links_far_around = links(lambda _: b"../d/" * 800 + b"../d", _entries)
links_to_links = links(
    lambda number: b"../d" if number % 40 == 0 else b"%07d" % (number - 1), lambda size: _entries(size) // 2
)


# --- what is taken, or read to its end: as much of one kind as the limits let in ---


def doubled(pack: Pack, size: int) -> str:
    """Two entries a level, as many levels as are walked."""
    return _doubled(pack, size, (_entries(size) // 3).bit_length() - 1)


def wide_folders(pack: Pack, size: int) -> str:
    """Folders as wide as they may be, of one file in each place."""
    file = pack.add(b"blob", b"x")
    return _of_entries(pack, size, (_file(number, file) for number in range(_entries(size))))


def long_names(pack: Pack, size: int) -> str:
    """Files below folders whose names are as long as they may be."""
    file = pack.add(b"blob", b"x")
    names = [("100644", b"%0240d" % number, file) for number in range(_entries(size) // 6 - 10)]
    tree = pack.add_tree(_folders(pack, size, names))
    for letter in b"abc":
        tree = pack.add_tree([("40000", bytes([letter]) * 240, tree)])
    return _with_noise(pack, tree, size)


def submodules(pack: Pack, size: int) -> str:
    """As many submodules as there may be entries."""
    return _of_entries(pack, size, (("160000", b"%07d" % number, f"{number:040x}") for number in range(_entries(size))))


def deltas_of_folders(pack: Pack, size: int) -> str:
    """Versions of one large folder, each a delta to the one before, and as many as are taken; the last is asked for."""
    file = pack.add(b"blob", b"x")
    entries = [("100644", b"%05d" % number, file) for number in range(GitLimits.of(size).tree // 33 - 10)]
    data = _tree([*entries, ("160000", b"z", file)])  # the id of a submodule is anything
    return _with_noise(pack, _chain(pack, b"tree", data, 290), size)


def deltas_of_files(pack: Pack, size: int) -> str:
    """Versions of one file, as large as is read, each a delta to the one before, and as many as are taken."""
    limits = GitLimits.of(size)
    last = _chain(pack, b"blob", bytes(limits.blob // 2), limits.unpacked // limits.blob * 2 - 1)
    return _with_noise(pack, pack.add_tree([("100644", b"f", last)]), size)


def delta_of_much(pack: Pack, size: int) -> str:
    """Small files that are differences to as many zeros as are taken."""
    old = bytes(GitLimits.of(size).blob // 2)
    return _with_noise(pack, pack.add_tree([_file(0, pack.add_other(b"blob", old, bytes(20)))]), size)


def long_commit(pack: Pack, size: int) -> str:
    """A commit whose header is as long as it may be."""
    tree = pack.add_tree([("100644", b"f", pack.add(b"blob", os.urandom(size)))])
    return pack.add_commit(tree, b"x " + b"y" * (GitLimits.of(size).tree - 1000) + b"\n")


def long_tags(pack: Pack, size: int) -> str:
    """As many tags of tags as are followed, as long as they may be."""
    limits = GitLimits.of(size)
    oid, kind = _with_noise(pack, pack.add_tree([_file(0, pack.add(b"blob", b"x"))]), size), b"commit"
    for _ in range(min(90, limits.objects // limits.tree - 2)):
        text = b"object %b\ntype %b\ntag x\ntagger %b\n\n" % (oid.encode(), kind, _WHO)
        oid, kind = pack.add(b"tag", text + b"x" * (limits.tree - 1000)), b"tag"
    return oid


def tiny_files(pack: Pack, size: int) -> str:
    """As many different files as there is room for, none of which weighs anything."""
    return _of_entries(
        pack, size, (_file(number, pack.add(b"blob", b"%d" % number)) for number in range(_entries(size)))
    )


def folders_of_one(pack: Pack, size: int) -> str:
    """Folders that all differ, with one file each."""
    file = pack.add(b"blob", b"x")
    trees = (pack.add_tree([("100644", b"%d" % number, file)]) for number in range(_entries(size) // 2))
    return _of_entries(pack, size, (("40000", b"%07d" % number, tree) for number, tree in enumerate(trees)))


def deep_folders(pack: Pack, size: int) -> str:
    """As many files as are read, each of them below ninety folders."""
    file = pack.add(b"blob", b"x")
    files = (("100644", b"%07d" % number, file) for number in range(_entries(size) // 4 - 300))
    tree = pack.add_tree(_folders(pack, size, files))
    for _ in range(90):
        tree = pack.add_tree([("40000", b"folder", tree)])
    return _with_noise(pack, tree, size)


links_to_a_folder = links(lambda _: b"../d", lambda size: min(_entries(size) // 2, 25_000 // 5 * 2))
links_that_are_long = links(lambda number: b"../d" + b"/." * 30, lambda size: min(_entries(size) // 2, 25_000 // 65))
short_chains_of_links = links(
    lambda number: b"../d" if number % 3 == 0 else b"%07d" % (number - 1),
    lambda size: min(_entries(size) // 2, 25_000 // 7),
)


def copies(pack: Pack, size: int) -> str:
    """Zeros, as many as are read, in a few files that are all the same."""
    file = pack.add(b"blob", bytes(1_000_000))
    most = GitLimits.of(size).blob // 1_000_000
    tree = pack.add_tree(("100644", b"%07d" % number, file) for number in range(most - 1 - size // 1_000_000))
    return _with_noise(pack, tree, size)


def largest(pack: Pack, size: int) -> str:
    """One file of zeros, as large as is read."""
    tree = pack.add_tree([("100644", b"f", pack.add(b"blob", bytes(GitLimits.of(size - 1000).blob - size)))])
    return _with_noise(pack, tree, size)


def _doubled(pack: Pack, size: int, levels: int) -> str:
    tree = pack.add_tree([("100644", b"f", pack.add(b"blob", b"x"))])
    for _ in range(levels):
        tree = pack.add_tree([("40000", b"a", tree), ("40000", b"b", tree)])
    return _with_noise(pack, tree, size)


def _chain(pack: Pack, kind: bytes, data: bytes, length: int) -> str:
    """The last of so many versions, each a delta to the one before."""
    last = pack.add(kind, data)
    for number in range(length):
        old, data = data, data[:-20] + number.to_bytes(20, "big")
        last = pack.add_delta(kind, last, old, data)
    return last


def _file(number: int, file: str) -> tuple[str, bytes, str]:
    """A file, and a submodule in the place of what would be a file too many."""
    return ("100644" if number < MAX_ARTIFACTS - 10 else "160000"), b"%07d" % number, file


def _of_entries(pack: Pack, size: int, entries: Iterable[tuple[str, bytes, str]]) -> str:
    return _with_noise(pack, pack.add_tree(_folders(pack, size, entries)), size)


def _folders(pack: Pack, size: int, entries: Iterable[tuple[str, bytes, str]]) -> list[tuple[str, bytes, str]]:
    """Folders of these entries, as wide as they may be."""
    found: list[tuple[str, bytes, str]] = []
    waiting = iter(entries)
    while some := list(islice(waiting, GitLimits.of(size).tree // 300)):
        found.append(("40000", b"in%05d" % len(found), pack.add_tree(some)))
    return found


def _with_noise(pack: Pack, tree: str, size: int) -> str:
    """A commit of this tree, in a repository that weighs enough."""
    noise = pack.add(b"blob", os.urandom(max(1, size - pack.size)))
    return pack.add_commit(pack.add_tree([("100644", b"noise", noise), ("40000", b"t", tree)]))


def _made(build: Callable[[Pack, int], str]) -> Callable[[int], bytes]:
    """The pack; its repository is made here, since whoever clones makes the index."""

    def make(size: int) -> bytes:
        pack = Pack()
        where = Path(tempfile.mkdtemp(prefix="carnet-hostile-"))
        revision = build(pack, size)
        data = (pack.write(where / "r", revision) / "objects/pack/pack-x.pack").read_bytes()
        _REPOSITORIES[hashlib.sha256(data).digest()] = where
        return data

    return make


_REPOSITORIES: dict[bytes, Path] = {}


@atexit.register
def _remove() -> None:
    for where in _REPOSITORIES.values():
        shutil.rmtree(where, ignore_errors=True)


def _read(data: bytes) -> object:
    where = _REPOSITORIES[hashlib.sha256(data).digest()]
    try:
        tree = read_commit(where / "r", (where / "r/HEAD").read_text().strip())
        return f"{len(tree.digests()[0])} files"
    except CarnetError as error:
        return f"{type(error).__name__}: {error}"


INPUTS = tuple(
    Hostile(f"git: {name}", _made(build), _read)
    for name, build in (
        ("folders that repeat themselves", doubled),
        ("folders that repeat themselves without end", repeated),
        ("wide folders", wide_folders),
        ("long names", long_names),
        ("submodules", submodules),
        ("a chain of deltas, of folders", deltas_of_folders),
        ("a chain of deltas, of files", deltas_of_files),
        ("a small delta of very much", delta_of_much),
        ("a commit with a long header", long_commit),
        ("long tags of tags", long_tags),
        ("very many tiny files", tiny_files),
        ("folders of one file", folders_of_one),
        ("deep folders", deep_folders),
        ("links that lead around", links_that_are_long),
        ("links that lead far around", links_far_around),
        ("links to a folder", links_to_a_folder),
        ("links to links", short_chains_of_links),
        ("links to links to links", links_to_links),
        ("copies of zeros", copies),
        ("zeros, as many as are read", largest),
    )
)
