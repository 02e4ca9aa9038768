"""Refusals that no honest file and no other test comes near: each of them stands alone between an input and a value."""

from __future__ import annotations

import errno
import fcntl
import io
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.crates.archives import TarballBuilder
from tests.support.worlds.ceremony import make_key, quorum, sign_role
from tests.support.worlds.release import synthetic

from carnet import strictjson
from carnet.cargo.crate import _Spellings
from carnet.cargo.names import CrateId, CrateName
from carnet.claims.adoption import check_adopted
from carnet.claims.decided import decided
from carnet.claims.holders import _taken_over
from carnet.claims.receipt import PAYLOAD_TYPE, ClaimReceipt, Proposed, SignedReceipt, check_waited
from carnet.claims.releases import Digest, SignedRelease
from carnet.claims.standing import claimed, read_standing_of
from carnet.claims.waiting import CLAIM, Waiting
from carnet.errors import (
    ArchiveRefused,
    ConfigError,
    FormatError,
    MetadataMismatch,
    SigningError,
    StorageError,
    VerificationError,
)
from carnet.folder import _reading
from carnet.git import objects
from carnet.intoto.layout_lint import lint_layout
from carnet.intoto.values import ArtifactRule
from carnet.lock import take
from carnet.scratch import temporary_folder
from carnet.tuf import paths
from carnet.tuf.keys import Profile
from carnet.tuf.read import MAX_KEYS, parse_role
from carnet.tuf.roles import DelegatedRole, Delegations, RoleFile, Root, Targets

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SERDE = CrateName("serde")
OWNER, CRATE = paths.owner_role(SERDE), paths.crate_role(SERDE)
PROPOSED = Proposed(SERDE, CLAIM, "0" * 64)
SIGNERS = quorum([make_key("owner")], 1)


def test_a_part_of_a_path_that_no_file_system_takes_is_no_crates() -> None:
    TarballBuilder().manifest().long_name(f"demo-0.1.0/{'x' * 250}".encode())
    for name in ("x" * 256, "é" * 128):
        builder = TarballBuilder().manifest().file(f"{'a' * 80}/{name}", "x")
        with pytest.raises(ArchiveRefused, match="more than 255 bytes, which no file system takes"):
            builder.read()
    assert TarballBuilder().manifest().file("é" * 127, "x").read().length > 0


def test_names_beyond_ascii_are_folded_for_so_many_bytes_and_no_more() -> None:
    """Each letter can stand for eighteen: folding is bounded by bytes that are told, not only by what it costs."""
    spellings = _Spellings(10)
    for path in ("ascii" * 10, "éé", "ééé"):
        assert spellings.add(path) is None
    with pytest.raises(ArchiveRefused, match="more than 10 bytes of names beyond ASCII"):
        spellings.add("éééé")


# --- claims ---


def test_the_mark_of_a_takeover_is_a_time() -> None:
    assert _taken_over({"takeover": "2026-06-01T00:00:00Z"}) == NOW
    for other in (None, True, 1, ["2026-06-01T00:00:00Z"]):
        with pytest.raises(FormatError, match=r"carnet\.takeover of an owner role is not a time"):
            _taken_over({"takeover": other})


def test_a_receipt_at_the_end_of_all_calendars_never_ends() -> None:
    receipt = ClaimReceipt(PROPOSED, datetime(9999, 12, 30, tzinfo=UTC))
    assert receipt.ends(Waiting(1, 0)) == datetime(9999, 12, 31, tzinfo=UTC)
    with pytest.raises(FormatError, match="a receipt of 9999-12-30 never ends"):
        receipt.ends(Waiting(7, 30))


def test_a_receipt_of_the_future_is_no_receipt_yet() -> None:
    receipt = ClaimReceipt(PROPOSED, NOW + timedelta(minutes=6))
    check_waited(receipt, PROPOSED, Waiting(0, 0), now=NOW + timedelta(minutes=6))
    with pytest.raises(VerificationError, match=r"the receipt is of 2026-06-01T00:06:00Z, and now it is") as refused:
        check_waited(receipt, PROPOSED, Waiting(0, 0), now=NOW)
    assert "compare this machine's clock" in refused.value.hint


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"payloadType": "application/x"}, "a receipt needs payload"),
        ({"payload": 1}, "a receipt needs payload"),
        ({"signatures": {}}, "a receipt needs payload"),
        ({"signatures": [{"keyid": "0" * 64, "sig": ""}] * 10_000}, "a receipt needs payload"),
        ({"signatures": [{"keyid": "0" * 63, "sig": ""}]}, "each signature of a receipt needs keyid and sig"),
        ({"signatures": [{"keyid": "0" * 64}]}, "each signature of a receipt needs keyid and sig"),
        ({"signatures": ["x"]}, "each signature of a receipt needs keyid and sig"),
    ],
)
def test_an_envelope_of_a_receipt_has_its_form(change: dict[str, Any], why: str) -> None:
    honest = {"payload": "", "payloadType": PAYLOAD_TYPE, "signatures": [{"keyid": "0" * 64, "sig": ""}]}
    assert SignedReceipt.from_object(honest).payload == b""
    with pytest.raises(FormatError, match=why):
        SignedReceipt.from_object(honest | change)


@pytest.mark.parametrize("days", [-1, 91, True, "7", 7.0, None])
def test_a_waiting_period_is_a_number_of_days(days: Any) -> None:
    for both in ({"claim": days}, {"takeover": days}):
        with pytest.raises(FormatError, match="a waiting period has from 0 to 90 days"):
            Waiting(**both)


@pytest.mark.parametrize(
    "said", [None, [], {"claim": 7}, {"claim": "7", "takeover": 1}, {"claim": 7, "takeover": 1, "x": 1}]
)
def test_a_root_that_speaks_of_waiting_speaks_of_days(said: Any) -> None:
    root: Any = SimpleNamespace(extra={"carnet": {"waiting": said}})
    with pytest.raises(FormatError, match="needs exactly claim and takeover, in days"):
        Waiting.of(root)


def targets(role: str | None, *delegated: DelegatedRole) -> Targets:
    said: dict[str, Any] = {} if role is None else {"carnet": {"role": role}}
    below = Delegations({one.name: one for one in delegated}) if delegated else None
    return Targets(1, NOW + timedelta(days=9), "1.0.31", said, {}, below)


def file_of(signed: Targets) -> RoleFile[Targets]:
    return RoleFile(b"", {}, (), signed, Profile.PRODUCT)


def test_a_shard_delegates_to_owners_alone() -> None:
    owner = DelegatedRole(OWNER, SIGNERS, True, paths.owner_patterns(SERDE))
    assert list(claimed(targets(None, owner))) == [SERDE]
    for other in (CRATE, "index", "claims-00", "root"):
        with pytest.raises(MetadataMismatch, match="which is no owner role"):
            list(claimed(targets(None, replace(owner, name=other))))


def test_the_version_of_a_role_is_told_by_a_file_of_its_form_that_somebody_delegates_to() -> None:
    crate = DelegatedRole(CRATE, SIGNERS, True, paths.crate_patterns(SERDE))
    files = {OWNER: file_of(targets(OWNER, crate)), CRATE: file_of(targets(CRATE))}
    with pytest.raises(MetadataMismatch, match=f"nobody delegates to {OWNER}"):
        read_standing_of(SERDE, targets(None), files)
    with pytest.raises(MetadataMismatch, match="does not say that it is"):
        read_standing_of(SERDE, targets(None), {**files, OWNER: file_of(targets(None, crate))})


def test_a_first_claim_adopts_no_evidence() -> None:
    line: Any = SimpleNamespace(cksum="0" * 64, identity=lambda: "1" * 64, yanked=False)
    release = SignedRelease(CrateId.of("serde", "1.0.0"), Digest(10, "0" * 64), "1" * 64, False, "crates-io")
    check_adopted([release], {release.id: line})  # type: ignore[arg-type]
    with pytest.raises(MetadataMismatch, match="with evidence, which came with none"):
        check_adopted([replace(release, bundle=Digest(1, "2" * 64))], {release.id: line})  # type: ignore[arg-type]


# --- metadata, layouts, JSON ---


def test_a_role_has_a_bounded_number_of_keys() -> None:
    """Even where the file's other roles would allow for as many keys in the list."""
    keys = [make_key(f"many {number}").public_key for number in range(MAX_KEYS + 1)]
    role = {"keyids": [keys[0].keyid], "threshold": 1}
    signed: dict[str, Any] = {
        "_type": "root",
        "spec_version": "1.0.31",
        "version": 1,
        "expires": "2027-01-01T00:00:00Z",
        "consistent_snapshot": True,
        "keys": {key.keyid: key.to_object() for key in keys},
        "roles": dict.fromkeys(("root", "timestamp", "snapshot", "targets"), role),
    }
    assert parse_role(sign_role(signed, []), Root).signed.version == 1
    signed["roles"]["targets"] = {"keyids": [key.keyid for key in keys], "threshold": 1}
    with pytest.raises(FormatError, match=f"a role lists more than {MAX_KEYS} keys"):
        parse_role(sign_role(signed, []), Root)


def test_a_file_lists_no_more_keys_than_its_roles_can_have() -> None:
    """Keys that no role names: each costs a digest, and nobody looks at it."""
    keys: dict[str, Any] = {f"{number:064x}": {} for number in range(4 * MAX_KEYS + 1)}
    role = {"keyids": [], "threshold": 1}
    signed: dict[str, Any] = {"_type": "root", "spec_version": "1.0.31", "version": 1, "consistent_snapshot": True}
    signed |= {"expires": "2027-01-01T00:00:00Z", "keys": keys}
    signed["roles"] = dict.fromkeys(("root", "timestamp", "snapshot", "targets"), role)
    with pytest.raises(FormatError, match="lists 1025 keys for 4 roles"):
        parse_role(sign_role(signed, []), Root)


def test_a_pattern_that_no_path_can_be_is_found_in_a_layout() -> None:
    release = synthetic()
    (first, *rest) = release.layout.steps
    odd = replace(first, products=(ArtifactRule("require", "{name}-{version}/../x"), *first.products))
    found = list(lint_layout(replace(release.layout, steps=(odd, *rest)), release.terms))
    assert any("artifact path 'example-1.0.0/../x' is not a normalised" in problem for problem in map(str, found))


def test_a_document_deeper_than_the_parser_goes_is_ours_to_refuse() -> None:
    """Few enough brackets for their weight, and more of them than Python's parser can be inside of."""
    data = (b'{"aaaaaaaaaaaaaaaaaaaa":' * 100_000) + b"1" + b"}" * 100_000
    with pytest.raises(FormatError, match="nested deeper than 64 levels"):
        strictjson.parse(data, "it", max_bytes=1 << 24)


@pytest.mark.parametrize("pair", [b"[]", b"{}"])
def test_a_document_of_hardly_anything_but_brackets_is_refused_before_it_is_parsed(pair: bytes) -> None:
    """Two bytes make a list, and eighty hold it in memory: no metadata has one for less than eight bytes."""
    few, many = (b"[" + b",".join([pair] * number) + b"]" for number in (4_000, 10_000))
    assert strictjson.parse(few, "it", max_bytes=1 << 20)
    with pytest.raises(FormatError, match="hardly anything but brackets: 10001 in 30001 bytes"):
        strictjson.parse(many, "it", max_bytes=1 << 20)


# --- the machine ---


def test_a_lock_that_the_file_system_refuses_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    before = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr(fcntl, "flock", refuses)
    with pytest.raises(StorageError, match="lock: no locks available"):
        take(tmp_path / "lock", timeout=0, busy=SigningError("busy"))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_no_place_for_temporary_files_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(**options: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", nowhere)
    with pytest.raises(StorageError, match="no temporary folder can be made: no usable"), temporary_folder():
        pass


def test_a_file_that_became_a_link_after_it_was_listed_is_told_as_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a symbolic link"), _reading(tmp_path):
        raise OSError(errno.ELOOP, "Too many levels of symbolic links")


def test_a_folder_whose_file_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="input/output error"), _reading(tmp_path):
        raise OSError(errno.EIO, "Input/output error")


# --- git ---


@pytest.mark.parametrize(
    "commit", [b"", b"tree", b"tree " + b"0" * 39, b"tree " + b"g" * 40, b"author x\ntree " + b"0" * 40]
)
def test_a_commit_names_its_tree_first(commit: bytes) -> None:
    assert objects.tree_of(b"tree " + b"0" * 40 + b"\nauthor x\n") == "0" * 40
    with pytest.raises(StorageError, match="the commit names no tree"):
        objects.tree_of(commit)


@pytest.mark.parametrize(
    "tree",
    [
        b"100644 a\0" + bytes(19),
        b"100644 a",
        b"100644",
        b"1006448 a\0" + bytes(20),
        b"9 a\0" + bytes(20),
        b" a\0" + bytes(20),
        b"100644 a\0" + bytes(20) + b"x",
    ],
)
def test_a_tree_is_whole(tree: bytes) -> None:
    assert list(objects.tree_entries(b"100644 a\0" + bytes(20), 20)) == [(0o100644, "a", "00" * 20)]
    with pytest.raises(StorageError, match="a tree object is damaged"):
        list(objects.tree_entries(tree, 20))


def test_a_machine_without_git_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "git_command", lambda *arguments, git_dir: [str(tmp_path / "no git")])
    with pytest.raises(ConfigError, match="git is not installed"), objects.GitObjects(tmp_path):
        pass


def test_what_is_no_folder_is_no_git_directory(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: /elsewhere\n")
    for place in (tmp_path / ".git", tmp_path / "gone"):
        with pytest.raises(StorageError, match="is no git directory"):
            objects.GitObjects(place)


def test_git_that_ended_cannot_be_asked(tmp_path: Path) -> None:
    class Broken(io.BytesIO):
        def flush(self) -> None:
            raise BrokenPipeError

    found = objects.GitObjects(tmp_path)
    for streams, why in (((Broken(), io.BytesIO()), "git cannot read objects in"), ((None, None), "without pipes")):
        found._process = SimpleNamespace(  # type: ignore[assignment]
            stdin=streams[0], stdout=streams[1], wait=lambda timeout: 1
        )
        found._deltas = SimpleNamespace(check=lambda oids: None)  # type: ignore[assignment]
        with pytest.raises(StorageError, match=why):
            found.get("0" * 40, b"blob")


def test_nothing_is_decided_of_a_crate_whose_owner_role_nobody_drafts() -> None:
    with pytest.raises(FormatError, match=r"a claim or a takeover of serde drafts owner\.serde"):
        decided(CrateName("serde"), {})
