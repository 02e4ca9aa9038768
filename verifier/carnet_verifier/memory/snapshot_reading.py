"""What a snapshot says that an earlier run read and verified, in a form that is quick to take up again.

::

    carnet reading 1 <sha256 of the snapshot's file> <sha256 of what follows>
    {"expires": …, "extra": {…}, "listed": [[version, length, hashes, "index-0000 index-0001 …"], …], "spec": …, …}

A snapshot lists many thousand roles, most of them with one of a few versions, and every run holds the next one against
it: to parse it again took longer than everything else of a refresh in which nothing changed. What is here follows from
the file's bytes alone and counts only for these bytes, and only where a proof says that their signatures were verified
under the keys of this run; its time, and that it is what the timestamp names, are judged as ever.

It is as safe as the root beside it: whoever can write here can replace that too (docs/adr/0003-tuf-client.md). Missing,
torn or of another making, the file itself is read.
"""

from __future__ import annotations

from typing import Any

from carnet import strictjson, times
from carnet.digests import sha256_hex
from carnet.errors import FormatError
from carnet.tuf.keys import Profile
from carnet.tuf.roles import MetaFile, RoleFile, Snapshot

KEPT_AS = "snapshot:reading"
"""Its place among the cached files of a `MetadataStore`: no role of the product's has such a name."""

_HEAD = "carnet reading 1 "
"""Another number makes older readings unread: raise it when what is read of a snapshot changes."""


def is_of(reading: bytes | None, snapshot: bytes) -> bool:
    """Whether a reading is that of a snapshot's file, which says nothing of whether it is whole."""
    return reading is not None and reading.startswith(_head(snapshot))


def written(snapshot: RoleFile[Snapshot]) -> bytes:
    """The reading of a verified snapshot.

    One that lists names with a space in them, which no repository of carnet's does, is not taken up again.
    """
    signed = snapshot.signed
    alike: dict[int, tuple[MetaFile, list[str]]] = {}
    for role, meta in signed.meta.items():  # equal ones are one value: see `carnet.tuf.read`
        alike.setdefault(id(meta), (meta, []))[1].append(role)
    listed = [[meta.version, meta.length, dict(meta.hashes), " ".join(roles)] for meta, roles in alike.values()]
    document = {
        "expires": times.written(signed.expires),
        "extra": signed.extra,
        "listed": listed,
        "spec": signed.spec_version,
        "version": signed.version,
    }
    body = strictjson.encode(document if not any(" " in role for role in signed.meta) else None)
    return _head(snapshot.raw) + sha256_hex(body).encode() + b"\n" + body


def take_up(reading: bytes | None, snapshot: bytes) -> RoleFile[Snapshot] | None:
    """What a snapshot's file says, from its reading; None where that is of another file, or not whole.

    Args:
        reading: As it was kept.
        snapshot: The file, of which a proof says that its signatures were verified.

    Returns:
        The role without what was signed and who signed it: whoever would check signatures again, finds none.
    """
    if reading is None or not is_of(reading, snapshot):
        return None
    head, _, body = reading.partition(b"\n")
    if head != _head(snapshot) + sha256_hex(body).encode():
        return None
    try:
        document: Any = strictjson.parse_known(body, "what is remembered of the snapshot")
        meta: dict[str, MetaFile] = {}
        for version, length, hashes, roles in document["listed"]:
            meta.update(dict.fromkeys(roles.split(" "), MetaFile(version, length, hashes)))
        expires = times.read(document["expires"], "its time")
        signed = Snapshot(document["version"], expires, document["spec"], document["extra"], meta)
    except (FormatError, KeyError, TypeError, ValueError, AttributeError):  # of another making
        return None
    return RoleFile(snapshot, {}, (), signed, Profile.PRODUCT)


def _head(snapshot: bytes) -> bytes:
    return f"{_HEAD}{sha256_hex(snapshot)} ".encode()
