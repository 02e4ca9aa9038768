"""What is checked of new role files and of what is published before anything is signed for them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.worlds.ceremony import NOW, Ceremony, make_ceremony, sign_role
from tests.support.worlds.publication import MemoryPublication

from carnet import strictjson
from carnet.digests import sha256_hex
from carnet.errors import ExpiredMetadata, FormatError, MetadataMismatch, ThresholdNotMet
from carnet.tuf import paths
from carnet.tuf.read import parse_role
from carnet.tuf.roles import Targets
from carnet_signer.metadata.new_roles import Accepted
from carnet_signer.metadata.publish import Change, publish
from carnet_signer.metadata.published_state import read_published_state, read_roots, succinct_of

INDEX = {"index/se/rd/serde": b'{"name":"serde"}\n'}


@cache
def ceremony() -> Ceremony:
    return make_ceremony()


@cache
def _first() -> dict[str, bytes]:
    publication = MemoryPublication()
    publish(publication, ceremony().signer(), replace(ceremony().change, index_files=INDEX), now=NOW)
    return publication.files


@pytest.fixture
def publication() -> MemoryPublication:
    return MemoryPublication(dict(_first()))


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "index-0"])
def test_nobody_hands_in_what_the_online_keys_sign(publication: MemoryPublication, role: str) -> None:
    name = "metadata/timestamp.json" if role == "timestamp" else f"metadata/1.{role}.json"
    change = Change(roles={role: publication.files[name]})
    with pytest.raises(MetadataMismatch, match=f"{role} is signed by the online keys, and by nobody else"):
        publish(publication, ceremony().signer(), change, now=NOW)


def test_a_role_is_given_once(publication: MemoryPublication) -> None:
    data = publication.files["metadata/1.claims.json"]
    parsed = parse_role(data, Targets)
    assert Change(parsed={"claims": parsed})
    with pytest.raises(FormatError, match="claims is given twice, or is no targets role"):
        Change(roles={"claims": data}, parsed={"claims": parsed})
    with pytest.raises(FormatError, match="root is given twice, or is no targets role"):
        Change(parsed={"root": parsed})


def test_the_first_publish_brings_a_root_that_is_fresh() -> None:
    roles = ceremony().change.roles
    without = {role: data for role, data in roles.items() if role != paths.ROOT}
    with pytest.raises(MetadataMismatch, match="there is no root"):
        publish(MemoryPublication(), ceremony().signer(), Change(roles=without), now=NOW)
    with pytest.raises(ExpiredMetadata, match="root"):
        publish(MemoryPublication(), ceremony().signer(), ceremony().change, now=NOW + timedelta(days=3650))


def unsigned(data: bytes) -> bytes:
    """The same file with one signature only."""
    document = json.loads(data)
    document["signatures"] = document["signatures"][:1]
    return strictjson.encode(document)


def test_a_root_below_its_threshold_is_refused() -> None:
    roles = dict(ceremony().change.roles)
    roles[paths.ROOT] = unsigned(roles[paths.ROOT])
    publication = MemoryPublication()
    with pytest.raises(ThresholdNotMet, match=r"root 1"):
        publish(publication, ceremony().signer(), Change(roles=roles), now=NOW)
    assert publication.files == {}


def test_published_roots_are_a_chain(publication: MemoryPublication) -> None:
    assert len(read_roots(publication)) == 1
    root = publication.files["metadata/1.root.json"]
    publication.files["metadata/1.root.json"] = unsigned(root)
    with pytest.raises(ThresholdNotMet, match="root 1"):
        read_roots(publication)
    del publication.files["metadata/1.root.json"]
    with pytest.raises(MetadataMismatch, match="there is a timestamp and no root"):
        read_published_state(publication)


def test_what_signed_metadata_names_is_there(publication: MemoryPublication) -> None:
    snapshot = publication.files.pop("metadata/1.snapshot.json")
    with pytest.raises(MetadataMismatch, match=r"1\.snapshot\.json is missing, though signed metadata names it"):
        read_published_state(publication)
    publication.files["metadata/1.snapshot.json"] = snapshot + b"\n"
    with pytest.raises(MetadataMismatch, match="the snapshot is not the file that the timestamp names"):
        read_published_state(publication)


def test_index_delegates_to_bins(publication: MemoryPublication) -> None:
    index, claims = (parse_role(publication.files[f"metadata/1.{role}.json"], Targets) for role in ("index", "claims"))
    assert succinct_of(index.signed).prefix == "index"
    with pytest.raises(MetadataMismatch, match="index does not delegate to hash bins"):
        succinct_of(claims.signed)


@pytest.mark.parametrize("path", ["index/se/rd/..", "../index/se/rd/serde", "/index", "crates/8b/serde/x.crate", ""])
def test_an_index_file_has_its_path(publication: MemoryPublication, path: str) -> None:
    with pytest.raises((FormatError, MetadataMismatch)):
        publish(publication, ceremony().signer(), Change(index_files={path: b"x"}), now=NOW)


def test_a_bin_is_of_the_version_that_its_snapshot_names(publication: MemoryPublication) -> None:
    """The snapshot names only its version: another one under that name is signed as well as the right one."""
    state = read_published_state(publication)
    bins = succinct_of(parse_role(publication.files["metadata/1.index.json"], Targets).signed)
    assert state.bin("index-0", bins.signers).signed.version == 1
    signed = strictjson.parse_object(publication.files["metadata/1.index-0.json"], "it", max_bytes=10**6)["signed"]
    newer = sign_role({**signed, "version": 2}, [ceremony().online])  # type: ignore[dict-item]
    publication.files["metadata/1.index-0.json"] = newer
    with pytest.raises(MetadataMismatch, match=r"metadata/1\.index-0\.json is of version 2"):
        state.bin("index-0", bins.signers)


def test_a_snapshot_that_a_crash_kept_from_being_named_is_signed_as_any_other(publication: MemoryPublication) -> None:
    signed = strictjson.parse_object(publication.files["metadata/1.snapshot.json"], "it", max_bytes=10**7)["signed"]
    for keys, refused in (([ceremony().online], False), ([], True)):
        newer = sign_role({**signed, "version": 2}, keys)  # type: ignore[dict-item]
        publication.files["metadata/2.snapshot.json"] = newer
        named = (2, sha256_hex(newer))
        if refused:
            with pytest.raises(ThresholdNotMet, match="snapshot"):
                read_published_state(publication, named)
        else:
            state = read_published_state(publication, named)
            assert state.snapshot is not None
            assert state.snapshot.signed.version == 2


def test_a_publication_without_an_index_has_no_bins() -> None:
    nothing: Any = SimpleNamespace(role=lambda name: None)
    with pytest.raises(MetadataMismatch, match="there is no index role"):
        Accepted.bins.fget(nothing)  # type: ignore[attr-defined]
