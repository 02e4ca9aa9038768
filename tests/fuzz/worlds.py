"""What a fuzzed reader is, and honest files of a small registry that several of them start from."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.fuzz.mutate import Mutator, octets
from tests.support.worlds.claims import NAME, World, body, person, sign
from tests.support.worlds.release import synthetic

from carnet import strictjson
from carnet.cargo.names import CrateId
from carnet.claims.submission import PENDING_PATH
from carnet.claims.waiting import Waiting
from carnet_mirror.web.pending import PendingPages
from carnet_signer.proposals import waiting
from carnet_signer.proposals.proposal import Proposal
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.tuf.saved_view import roles_to_save, save_view
from carnet_verifier.tuf.view import View


@dataclass(frozen=True)
class Target:
    """One reader.

    Attributes:
        seeds: Honest inputs, made when they are asked for.
        read: The reader; it returns, or raises an error of carnet's.
        mutator: How inputs are made of the seeds.
        beside: Bytes of other files that are read again with each input.
    """

    seeds: Callable[[], Sequence[bytes]]
    read: Callable[[bytes], object]
    mutator: Mutator = octets
    beside: int = 0


@dataclass(frozen=True)
class Made:
    """What a small registry with one claimed crate came to.

    Attributes:
        files: Role files by name, and the bodies of what was handed in: `handed-in.claim`.
        ceremony: The holders' files by role.
        claim: The claim, as it was proposed.
        release: A release, as it was proposed.
        saved: The view of it in a file.
        receipt: For the claim.
        pending: What the mirror lists while it waits.
    """

    files: Mapping[str, bytes]
    ceremony: Mapping[str, bytes]
    claim: Proposal
    release: Proposal
    saved: bytes
    receipt: bytes
    pending: bytes


@cache
def made() -> Made:
    """The registry, made once for each process."""
    tarball = synthetic(crate=CrateId.of(str(NAME), "1.0.0")).tarball
    with tempfile.TemporaryDirectory() as folder:
        waits = World.make(Path(folder) / "waits", waits=Waiting(7, 30))
        receipt = waits.propose(waits.claim_proposal()).receipt.to_bytes()
        page = PendingPages(waits.store).page(PENDING_PATH)
        waits.store.close()
        world = World.make(Path(folder) / "at-once")
        claim = sign(world.claim_proposal(), map(person, ("alice", "rita")))
        world.claim()
        release = sign(world.release_proposal(tarball=tarball), map(person, ("rita", "sven")))
        files = {"root": world.ceremony.root, "handed-in.proposal": waiting.body(claim)}
        files |= {"handed-in.claim": body(claim), "handed-in.release": body(release)}
        files |= {role: draft.raw for role, draft in claim.drafts.items()}
        for file in ("timestamp.json", "1.snapshot.json", "1.index-0.json", "1.targets.json", "1.index.json"):
            files[file] = world.store.read(f"metadata/{file}") or files["root"]
        repository = world.fresh()
        view = View(repository, ReadFetcher(world.store.read), "http://registry.test/")
        saved = save_view(view, roles_to_save(repository, [NAME]), [])
        world.store.close()
        return Made(files, world.ceremony.files, claim, release, saved, receipt, b"" if page is None else page[0])


@cache
def small_snapshot() -> bytes:
    """The snapshot, with few of its hundreds of roles: what is changed in it is rarely one of many that are alike."""
    whole: Any = strictjson.parse_object(made().files["1.snapshot.json"], "the snapshot", max_bytes=1 << 22)
    meta = whole["signed"]["meta"]
    few = {role: meta[role] for role in sorted(meta, key=lambda role: (role.startswith("claims-"), role))[:9]}
    return strictjson.encode({**whole, "signed": {**whole["signed"], "meta": few}})


def role_seeds(*names: str) -> Callable[[], list[bytes]]:
    """The files whose names begin so."""
    return lambda: [data for name, data in made().files.items() if name.startswith(names)]


def payload_seeds() -> list[bytes]:
    """What the online keys sign."""
    found = [made().files["timestamp.json"], small_snapshot(), made().files["1.index-0.json"]]
    return [strictjson.canonical(strictjson.parse_object(data, "x", max_bytes=1 << 22)["signed"]) for data in found]


@cache
def honest_release() -> Any:
    """A release with all of its steps."""
    return synthetic()


def link_seeds() -> list[bytes]:
    """The links of its steps."""
    return [link.to_payload() for links in honest_release().links.values() for _, link in links]
