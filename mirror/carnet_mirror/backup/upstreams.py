"""What a mirror has seen of other mirrors that are its upstreams, in a back-up and out of one.

::

    upstreams/<sha256 of the pinned root>/trust.json, pinned-root.json
                                          metadata/root.json, timestamp.json, snapshot.json

No more of it is kept than protects against going back: the rest is fetched again. An archive is nobody's word, and a
root that lies in a memory is believed without its chain. So the newest root comes back where the keys of the pinned one
signed it too, and otherwise the pinned one: the chain is followed from there when the upstream is asked. Timestamp and
snapshot are compared with what is newer, once keys of the newest root have signed them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from carnet import durable
from carnet.digests import sha256_hex
from carnet.errors import CarnetError, MalformedFile
from carnet.tuf.paths import ROOT
from carnet.tuf.read import parse_role
from carnet.tuf.roles import Root, Snapshot
from carnet_mirror.upstream.mirror import MEMORIES
from carnet_verifier.memory.trust import read_pinned

UPSTREAMS = f"{MEMORIES}/"
_SNAPSHOT, _TIMESTAMP, _ROOT = (f"metadata/{role}.json" for role in ("snapshot", "timestamp", ROOT))
_PINNED, _URL = "pinned-root.json", "trust.json"
_READ = (_SNAPSHOT, _TIMESTAMP, _ROOT, _PINNED, _URL)
"""Against the order in which they are written: what is read while a sync asks is what a crash leaves, at worst."""
_MEMORY = re.compile(r"[0-9a-f]{64}\Z")
_PLACE = re.compile(rf"{UPSTREAMS}[0-9a-f]{{64}}/(?:{'|'.join(map(re.escape, _READ))})\Z")


def is_of_upstream(path: str) -> bool:
    """Whether a member of an archive is called as such a file is."""
    return _PLACE.match(path) is not None


def seen_of_upstreams(directory: Path) -> dict[str, bytes]:
    """The files of every such memory, by path below the mirror's directory.

    Raises:
        StorageError: One cannot be read.
    """
    return dict(_files(directory))


def _files(directory: Path) -> Iterator[tuple[str, bytes]]:
    with durable.as_storage_error(directory / MEMORIES):
        folder = directory / MEMORIES
        memories = [path for path in folder.iterdir() if _MEMORY.match(path.name)] if folder.is_dir() else []
    for memory in memories:
        if not (memory / _URL).exists():  # it was begun, and nothing was seen
            continue
        for name in _READ:
            try:
                data = durable.read_file(memory / name, "what was seen of an upstream", max_bytes=Snapshot.MAX_BYTES)
            except FileNotFoundError:
                continue
            yield f"{UPSTREAMS}{memory.name}/{name}", data


def put_back(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write what a back-up has of them below a mirror's directory.

    Args:
        directory: The mirror's, which holds none yet.
        files: As `seen_of_upstreams` gave them, from somebody.

    Raises:
        MalformedFile: A memory is not of the root that it is called after.
        StorageError: The disk failed.
    """
    memories: dict[str, dict[str, bytes]] = {}
    for path, data in files.items():
        _, memory, name = path.split("/", 2)
        memories.setdefault(memory, {})[name] = data
    for memory, found in memories.items():
        pinned = found.get(_PINNED, b"")
        if sha256_hex(pinned) != memory or _URL not in found:
            raise MalformedFile(
                f"{UPSTREAMS}{memory} of the back-up is no memory of the upstream with that root",
                hint="take another back-up; this one was changed or damaged since",
            )
        whole = found | {_ROOT: _proven(pinned, found.get(_ROOT, pinned))}
        durable.private_folder(directory / MEMORIES)
        durable.make_folder(directory / MEMORIES / memory / "metadata", mode=0o700)
        for name in reversed(_READ):  # the root before what its keys signed
            if name in whole and name != _URL:
                durable.write_file(directory / MEMORIES / memory / name, whole[name], mode=0o600)
        durable.write_file(directory / MEMORIES / memory / _URL, whole[_URL], mode=0o600)


def _proven(pinned: bytes, newest: bytes) -> bytes:
    """The newest root if enough keys of the pinned one signed it too, and the pinned one otherwise."""
    first = read_pinned(pinned)
    try:
        root = parse_role(newest, Root)
        for signers, what in ((first.roles[ROOT], "the pinned root"), (root.signed.roles[ROOT], "itself")):
            signers.check(root, f"the newest root, by the keys of {what},", "5.3.4")
    except CarnetError:
        return pinned
    return newest if root.signed.version >= first.version else pinned
