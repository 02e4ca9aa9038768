"""What is fuzzed of files: those that people hand on in folders, and those that carnet keeps."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path

from tests.fuzz.mutate import documents, envelopes, named, views
from tests.fuzz.seeds import SETTINGS
from tests.fuzz.worlds import Target, honest_release, made
from tests.support.worlds.ceremony import NOW, make_key, quorum
from tests.support.worlds.claims import NAME

from carnet import strictjson
from carnet.claims.holders import ClaimFacts, SeenOwners
from carnet.claims.receipt import ClaimReceipt, SignedReceipt
from carnet.claims.waiting import Waiting
from carnet.digests import sha256_hex
from carnet.durable import private_folder
from carnet.errors import CarnetError
from carnet.intoto.bundle import Bundle
from carnet.strictjson import JsonObject
from carnet.tuf import paths
from carnet.tuf.read import parse_role
from carnet.tuf.roles import MetaFile, RoleFile, RoleKeys, Root, Snapshot, Targets
from carnet.tuf.structure import check_structure
from carnet.tuf.tree import roles_of
from carnet_cli.config import policy_file
from carnet_gate.comparison import marks
from carnet_signer import signed_before
from carnet_signer.ceremony import claim_files, folder, lint, words
from carnet_signer.ceremony.ceremony import OFFLINE_ROLES, Ceremony
from carnet_signer.ceremony.claim_files import ClaimFiles
from carnet_signer.online import memory
from carnet_signer.proposals import review
from carnet_signer.proposals.proposal import _roles, read_role
from carnet_signer.steps.layout_files import read_signed_layout
from carnet_signer.steps.record import SignedLink
from carnet_verifier.claims.owners import follow
from carnet_verifier.memory.carnet_lock import CarnetLock
from carnet_verifier.memory.lookup_memory import _HEAD, LookupMemory
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.policy.floor import tighten
from carnet_verifier.policy.policy import Policy
from carnet_verifier.tuf.saved_view import read_saved_view_from

SHARD, OWNER, CRATE = roles_of(NAME)
_PUBLISHED = ("1.snapshot.json", "timestamp.json")


@cache
def scratch() -> Path:
    """A folder of this process, for readers that open files."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    made = Path(tempfile.mkdtemp(prefix="carnet-fuzz-", dir=memory))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def each(*reads: Callable[[], object]) -> None:
    """Call all of them; refused is what all of them refuse."""
    refused = []
    for read in reads:
        try:
            read()
        except CarnetError as error:
            refused.append(error)
    if len(refused) == len(reads):
        raise refused[0]


# --- what is handed on ---


@cache
def _root() -> Root:
    return parse_role(made().files["root"], Root).signed


def _receipt(data: bytes) -> None:
    signed = SignedReceipt.from_bytes(data)
    said = ClaimReceipt.from_payload(signed.payload)
    each(lambda: said.ends(Waiting(7, 30)), lambda: signed.verified(_root()))


def _saved_view(data: bytes) -> None:
    found = read_saved_view_from(data, made().files["root"], now=NOW)
    each(*(lambda role=role: found.repository.role(role) for role in (paths.CLAIMS, SHARD, OWNER, CRATE)))


@cache
def _ceremony() -> Ceremony:
    files = {f"1.{role}.json": data for role, data in made().ceremony.items()}
    return folder.overlay(Ceremony({}), files)


def _ceremony_file(data: bytes) -> None:
    """A file that somebody put into the folder of a ceremony, as every holder sees it.

    The linter looks at all 260 roles each time; here at those that changed, and then as it does.
    """
    name, _, content = data.partition(b"\0")
    found = folder.overlay(_ceremony(), {name.decode("utf-8", "replace"): content})
    wanted = [role for role in OFFLINE_ROLES if found.latest(role).raw != made().ceremony[role]]
    words.describe(found, wanted, NOW)
    for role in wanted:
        signed = found.latest(role).signed
        if isinstance(signed, Targets):
            check_structure(role, signed)
    findings = [*lint._versions(found), *lint._expiries(found, NOW), *lint._keys(found, False)]
    lint.refuse([*findings, *lint._delegations(found), *lint._least(found)])


def _claim_file(data: bytes) -> None:
    """An owner's file in the folder of a ceremony, or handed to it."""
    name, _, content = data.partition(b"\0")
    shards = {SHARD: _published(SHARD).signed}
    each(
        lambda: claim_files.handed_in(ClaimFiles(), [content], shards),
        lambda: _look_at(_known().with_newer(ClaimFiles.of({name.decode("utf-8", "replace"): content})), shards[SHARD]),
    )


@cache
def _claim_files() -> dict[str, bytes]:
    named = (f"1.{OWNER}.json", OWNER), (f"1.{CRATE}.json", CRATE)
    return {name: made().files[role] for name, role in (*named, *((one, one) for one in _PUBLISHED))}


@cache
def _known() -> ClaimFiles:
    return ClaimFiles.of(_claim_files())


@cache
def _published(role: str) -> RoleFile[Targets]:
    return read_role(made().files[role], role)


@cache
def _owners() -> SeenOwners:
    return SeenOwners(1, ClaimFacts.of(_published(OWNER).signed).owners.signers)


def _look_at(found: ClaimFiles, shard: Targets) -> None:
    each(lambda: found.check_age([_root()], NOW), lambda: found.standing(shard), found.made_at)


def _claim_draft(data: bytes) -> None:
    """A draft in a folder of `carnet claim`, as every signer sees it, whatever is wrong with it."""
    name, _, content = data.partition(b"\0")
    base = made().release if name == b"release" else made().claim
    file = f"{CRATE}.json" if name == b"release" else name.decode("utf-8", "replace")
    drafts = _roles({file: content}, Path("roles"), roles_of(NAME))
    proposal = replace(base, drafts={**base.drafts, **drafts})
    problem = review.problem(proposal, now=NOW, example_keys=True)
    each(lambda: list(review.describe(proposal, now=NOW)), proposal.quorums, lambda: review.differences(proposal))
    if problem is not None:
        raise problem


def _owner_chain(data: bytes) -> None:
    """An earlier owner role that a mirror gives for the chain from the owners seen before."""
    newer, strangers = _newer_owner()
    follow(OWNER, _owners(), newer, strangers, lambda number: data)


@cache
def _newer_owner() -> tuple[RoleFile[Targets], RoleKeys]:
    published = _published(OWNER)
    newer = replace(published, signed=replace(published.signed, version=3), signatures=())
    return newer, quorum([make_key("b")], 1)


def _policy(data: bytes) -> None:
    """A file of each place, and the project's under the floor of the others."""
    place = scratch() / "carnet.toml"
    place.write_bytes(data)
    said = policy_file.read(place, now=NOW)
    assert said is not None
    floor = _floor()
    each(lambda: tighten(floor, said.policy), lambda: tighten(said.policy, floor))


@cache
def _floor() -> Policy:
    (scratch() / "floor.toml").write_bytes(SETTINGS)
    found = policy_file.read(scratch() / "floor.toml", now=NOW)
    return Policy() if found is None else found.policy


def _terms_file(data: bytes) -> None:
    _layout_place().with_name("layout.terms.json").write_bytes(data)
    read_signed_layout(_layout_place())


@cache
def _layout_place() -> Path:
    place = scratch() / "layout.json"
    place.write_bytes(honest_release().layout_file)
    return place


# --- what is kept ---


def _mark(data: bytes) -> None:
    """What an earlier run left, and whether the folders of this one may be used."""
    (_marks_folder() / f"{'0' * 32}.json").write_bytes(data)
    marks.Marks(_marks_folder(), [scratch() / "full", scratch() / "none"]).require_none()


@cache
def _marks_folder() -> Path:
    (scratch() / "full/x").mkdir(parents=True)
    return private_folder(scratch() / "marks")


def _mark_seeds() -> list[bytes]:
    listed = [marks.BuiltInto(scratch() / "full", (1, 2, 3)), marks.BuiltInto(scratch() / "none", None)]
    return [marks._text(listed, "changed"), marks._text([marks.BuiltInto(None, (1, 2, 0))], None)]


def _signed_before(data: bytes) -> None:
    before = _signed()
    before._path.write_bytes(data)
    before._key_path.write_bytes(data)
    files = {role: _published(role) for role in (OWNER, CRATE)}
    each(lambda: before._checked(files, False), lambda: before._checked_elsewhere(files, False))


@cache
def _signed() -> signed_before.SignedBefore:
    made = signed_before.SignedBefore(scratch() / "signed", "0" * 16, make_key("a").public_key)
    made._key_path.parent.mkdir(parents=True)
    return made


def _signed_before_seeds() -> list[bytes]:
    role = {"version": 0, "sha256": "0" * 64}
    return [
        strictjson.encode({"_type": "carnet-signed", "version": 1, "roles": {OWNER: role, "root": role}}),
        strictjson.encode(
            {"_type": "carnet-signed-by-key", "version": 1, "roles": {CRATE: {"1" * 16: {**role, "apart": True}}}}
        ),
    ]


def _signer_memory(data: bytes) -> None:
    place = _memory_folder()
    (place / "signed.log").write_bytes(data)
    (place / "1.snapshot.json").write_bytes(data)
    each(lambda: memory._read_log(place / "signed.log"), lambda: memory._read_snapshots(place))


@cache
def _memory_folder() -> Path:
    return private_folder(scratch() / "memory")


def _signer_memory_seeds() -> list[bytes]:
    snapshot = strictjson.parse_object(made().files["1.snapshot.json"], "x", max_bytes=1 << 22)["signed"]
    small = {**snapshot, "meta": {"targets.json": {"version": 1}}}  # type: ignore[dict-item]
    entries = (memory.Entry("timestamp", 2, "0" * 64, (1, "1" * 64)), memory.Entry("index-0", 1, "2" * 64))
    return [b"".join(entry.line() for entry in entries), strictjson.canonical(small)]


@cache
def _trust_folder() -> Path:
    return TrustDirectory.create(scratch() / "trust", made().files["root"], "http://localhost/").path


def _trust(data: bytes) -> None:
    """What a client remembers, damaged or written by another version."""
    place = _trust_folder()
    for name in ("trust.json", "seen.json"):
        (place / name).write_bytes(data)
    each(lambda: TrustDirectory.open(place), lambda: _remembered(TrustDirectory(place, "http://localhost/")))


def _remembered(trust: TrustDirectory) -> None:
    each(
        trust.last_refresh,
        lambda: [f"{level:d}" for level in trust.highest_levels([NAME]).values()],
        lambda: trust.owners([NAME]),
    )


def _trust_seeds() -> list[bytes]:
    crates: JsonObject = {NAME.canonical: {"level": 2, "owners": _owners().to_object()}}
    return [
        strictjson.encode({"refreshed": "2026-01-01T00:00:00Z", "crates": crates}),
        strictjson.encode({"url": "http://localhost/"}),
    ]


def _carnet_lock(data: bytes) -> None:
    """What a project carries, whole or as a merge left it; what was read is read again from what is written."""
    each(lambda: CarnetLock.from_merge(data), lambda: _written_again(CarnetLock.from_bytes(data)))


def _written_again(lock: CarnetLock) -> None:
    assert CarnetLock.from_bytes(lock.to_bytes()) == lock == lock.joined(lock)


def _carnet_lock_seeds() -> list[bytes]:
    seen: JsonObject = {"version": 7, "signers": ["1" * 64]}
    crate: JsonObject = {"crate": "serde", "level": "maintainer", "owner": 2, "releases": 9, "threshold": 1}
    lines: list[JsonObject] = [
        {"carnet-lock": {"version": 1, "repository": "0" * 64}},
        {"root": {"version": 2, "sha256": "2" * 64}},
        {"timestamp": seen},
        {"snapshot": seen},
        {"refreshed": "2026-01-01T00:00:00Z"},
        {**crate, "owners": {"3" * 64: "alice"}},
    ]
    file = b"".join(strictjson.encode(line) + b"\n" for line in lines)
    return [file, b"<<<<<<< HEAD\n" + file + b"=======\n" + file + b">>>>>>> topic\n"]


def _answers_kept(data: bytes) -> None:
    """Answers of an earlier run: anything in the file is no reason to end this one."""
    place = scratch() / "answers.json"
    place.write_bytes(_HEAD + sha256_hex(data).encode() + b"\n" + data)
    kept = LookupMemory(str(place), made().files["root"], _listed(), NOW)
    found = kept.target("crates/x")
    if found is not None:
        f"{found.length:d} {found.sha256} {found.role}"
    kept.is_unclaimed(NAME)
    kept._changed = True
    kept.flush()


@cache
def _listed() -> Mapping[str, MetaFile]:
    return parse_role(made().files["1.snapshot.json"], Snapshot).signed.meta


def _answers_seeds() -> list[bytes]:
    meta = _listed()
    expires = int((NOW + timedelta(days=9)).timestamp())
    listed = {
        role: {"version": meta[role].version, "length": meta[role].length, "hashes": dict(meta[role].hashes)}
        | {"expires": expires}
        for role in ("targets", "claims", SHARD)
    }
    kept = {
        **{"root": sha256_hex(made().files["root"]), "roles": listed, "unclaimed": {NAME.canonical: ["targets"]}},
        "targets": {"crates/x": [["targets", "claims"], 12, "0" * 64]},
    }
    return [strictjson.encode(kept)]


def _link_files() -> list[bytes]:
    found = Bundle.from_bytes(honest_release().bundle().to_bytes()).links
    return [envelope.to_bytes() for listed in found.values() for envelope in listed]


def _files(*names: str) -> Callable[[], list[bytes]]:
    return lambda: [f"1.{name}.json\0".encode() + made().ceremony[name] for name in names]


KEPT: dict[str, Target] = {
    "receipt": Target(lambda: [made().receipt], _receipt, envelopes),
    "saved-view": Target(lambda: [made().saved], _saved_view, views),
    # All 260 roles are looked at each time, whatever the file is.
    "ceremony-file": Target(_files("root", "targets", SHARD, "index"), _ceremony_file, named, 1_000_000),
    "claim-file": Target(
        lambda: [name.encode() + b"\0" + data for name, data in _claim_files().items()], _claim_file, named
    ),
    "claim-draft": Target(
        lambda: [
            *(f"{role}.json\0".encode() + made().files[role] for role in (SHARD, OWNER, CRATE)),
            b"release\0" + made().release.drafts[CRATE].raw,
        ],
        _claim_draft,
        named,
    ),
    "owner-chain": Target(lambda: [made().files[OWNER], made().files[CRATE]], _owner_chain, documents),
    "policy": Target(lambda: [SETTINGS], _policy),
    "terms-file": Target(lambda: [strictjson.encode(honest_release().terms.to_custom())], _terms_file, documents),
    "link-file": Target(_link_files, SignedLink.from_bytes, envelopes),
    "mark": Target(_mark_seeds, _mark, documents),
    "signed-before": Target(_signed_before_seeds, _signed_before, documents),
    "signer-memory": Target(_signer_memory_seeds, _signer_memory),
    "trust": Target(_trust_seeds, _trust, documents),
    "carnet-lock": Target(_carnet_lock_seeds, _carnet_lock),
    "answers-kept": Target(_answers_seeds, _answers_kept, documents),
}
"""Readers of files by what they read."""
