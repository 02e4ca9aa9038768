"""Repositories whose objects cost as much as they can: folders in very many places, chains of deltas, zeros, tags."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.support.hostile.measure import Hostile

from carnet.errors import CarnetError
from carnet.git.limits import GitLimits
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
        rest = data[same:]
        delta += b"".join(bytes([len(rest[i : i + 127])]) + rest[i : i + 127] for i in range(0, len(rest), 127))
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


def _head(kind: int, size: int) -> bytes:
    first, rest = kind << 4 | size & 15, size >> 4
    return bytes([first | 0x80]) + _number(rest) if rest else bytes([first])


def _number(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(0x80 | number & 0x7F)
        number >>= 7
    return bytes([*found, number])


def repeated(pack: Pack, size: int) -> str:
    """Two entries a level, ninety levels: more folders than anyone can walk."""
    tree = pack.add_tree([("100644", b"f", pack.add(b"blob", b"x"))])
    for _ in range(90):
        tree = pack.add_tree([("40000", b"a", tree), ("40000", b"b", tree)])
    return _with_noise(pack, tree, size)


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


def deltas(pack: Pack, size: int) -> str:
    """A thousand versions of one large folder, each a delta to the one before; the last one is asked for."""
    file = pack.add(b"blob", b"x")
    entries = [("100644", b"%05d" % number, file) for number in range(min(size // 100, 30_000))]
    data = _tree([*entries, ("160000", b"z", file)])  # the id of a submodule is anything
    last = pack.add(b"tree", data)
    for number in range(1000):
        old, data = data, data[:-20] + number.to_bytes(20, "big")
        last = pack.add_delta(b"tree", last, old, data)
    return _with_noise(pack, last, size)


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


def tiny_files(pack: Pack, size: int) -> str:
    """As many different files as there is room for, none of which weighs anything."""
    return pack.add_commit(
        pack.add_tree(
            ("100644", b"%07d" % number, pack.add(b"blob", b"%d" % number))
            for number in range(GitLimits.of(size * 8 // 10).entries)
        )
    )


def folders_of_one(pack: Pack, size: int) -> str:
    """Folders that all differ, with one file each."""
    file = pack.add(b"blob", b"x")
    return pack.add_commit(
        pack.add_tree(
            ("40000", b"%07d" % number, pack.add_tree([("100644", b"%d" % number, file)]))
            for number in range(GitLimits.of(size * 8 // 10).entries // 2 - 10)
        )
    )


def deep_folders(pack: Pack, size: int) -> str:
    """As many files as are read, each of them below ninety folders."""
    file = pack.add(b"blob", b"x")
    tree = pack.add_tree(("100644", b"%07d" % number, file) for number in range(GitLimits.of(size).entries - 200))
    for _ in range(90):
        tree = pack.add_tree([("40000", b"folder", tree)])
    return _with_noise(pack, tree, size)


def links(target: Callable[[int], bytes]) -> Callable[[Pack, int], str]:
    """Symbolic links, half as many as there may be entries, beside a folder with a file."""

    def build(pack: Pack, size: int) -> str:
        folder = pack.add_tree([("100644", b"f", pack.add(b"blob", b"x"))])
        found = [
            ("120000", b"%07d" % number, pack.add(b"blob", target(number)))
            for number in range(GitLimits.of(size).entries // 2)
        ]
        return _with_noise(pack, pack.add_tree([*found, ("40000", b"d", folder)]), size)

    return build


links_far_around = links(lambda _: b"d/../" * 800 + b"d")
links_to_a_folder = links(lambda _: b"d")
links_to_links = links(lambda number: b"d" if number % 40 == 0 else b"%07d" % (number - 1))


def copies(pack: Pack, size: int) -> str:
    """Zeros, as many as are read, in a few files that are all the same."""
    file = pack.add(b"blob", bytes(1_000_000))
    most = GitLimits.of(size).blob // 1_000_000
    tree = pack.add_tree(("100644", b"%07d" % number, file) for number in range(most))
    return _with_noise(pack, tree, size)


def largest(pack: Pack, size: int) -> str:
    """One file of zeros, as large as is read."""
    tree = pack.add_tree([("100644", b"f", pack.add(b"blob", bytes(GitLimits.of(size - 1000).blob - size)))])
    return _with_noise(pack, tree, size)


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


def _read(data: bytes) -> object:
    where = _REPOSITORIES[hashlib.sha256(data).digest()]
    try:
        tree = read_commit(where / "r", (where / "r/HEAD").read_text().strip())
        return f"{len(tree.digests()[0])} files"
    except CarnetError as error:
        return f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(where)


INPUTS = tuple(
    Hostile(f"git: {name}", _made(build), _read)
    for name, build in (
        ("folders that repeat themselves", repeated),
        ("one wide folder", wide),
        ("long names in every place", same_in_every_place),
        ("a chain of deltas", deltas),
        ("zeros", zeros),
        ("a commit with an endless header", endless_commit),
        ("tags of tags", tags),
        ("very many tiny files", tiny_files),
        ("folders of one file", folders_of_one),
        ("deep folders", deep_folders),
        ("links that lead far around", links_far_around),
        ("links to a folder", links_to_a_folder),
        ("links to links", links_to_links),
        ("copies of zeros", copies),
        ("zeros, as many as are read", largest),
    )
)
