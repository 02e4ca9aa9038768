"""A little fuzzing in every run, and what longer ones found."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fuzz.doors import doors, doors_in, entered
from tests.fuzz.fuzz import Failure, Total, judge, one_input, run_batch
from tests.fuzz.targets import TARGETS
from tests.fuzz.worlds import Target

from carnet.errors import FormatError

FOUND = Path(__file__).parent / "found"


@pytest.mark.parametrize("name", TARGETS)
def test_only_our_errors_leave_a_reader_and_no_input_costs_much(name: str) -> None:
    total, target = Total(), TARGETS[name]
    size = 150 if target.beside + max(map(len, target.seeds())) < 100_000 else 40
    run_batch(name, total, seed=20260101, failed=None, size=size)
    assert total.inputs == size


def test_honest_inputs_are_taken() -> None:
    """A reader that refuses everything would pass too: each target takes a seed of its own, whole."""
    refused = []
    for name, target in TARGETS.items():
        if target.mutator.__name__ in ("tarballs", "bodies"):
            continue  # their seeds are what is packed, or a part of a conversation
        try:
            judge(target, target.seeds()[-1] if name == "cargo-config" else target.seeds()[0])
        except Failure:
            refused.append(name)
            continue
        if not any(judge(target, seed)[0] for seed in target.seeds()):
            refused.append(name)
    assert refused == []


@pytest.mark.parametrize("place", sorted(FOUND.glob("*/*")), ids=lambda place: f"{place.parent.name}-{place.name}")
def test_what_was_found_stays_mended(place: Path) -> None:
    judge(TARGETS[place.parent.name], place.read_bytes())


BEHIND_OTHERS = {
    "core/carnet/strictjson.py:parse_known": "bytes that the same reader took before, known by their digest",
    "gate/carnet_gate/project.py:Project.dependencies": "what _places has read as JSON before: cargo-metadata",
    "gate/carnet_gate/project.py:Project.reading": "bytes that are compared with a lock that was read: lock",
    "cli/carnet_cli/commands/editors/standard_library.py:describe": "the user's own cargo, about its own toolchain",
    "gate/carnet_gate/project.py:open_project": "what _places has read as JSON before: cargo-metadata",
    "mirror/carnet_mirror/sync/manifests.py:_read": "the strict reader of TOML, and dependencies_of: manifest",
    "cli/carnet_cli/commands/own_view.py:_read_saved": "read_saved_view_from: saved-view",
    "cli/carnet_cli/config/workspace.py:_read": "stricttoml.parse, of a project's manifests: toml",
    "cli/carnet_cli/config/network/logins.py:read_logins": "stricttoml.parse, of the user's own file: toml",
    "cli/carnet_cli/config/mirror_file.py:read_mirror_file": "stricttoml.parse, of the operator's own file: toml",
    "cli/carnet_cli/config/let_in_file.py:read_let_in_file": "stricttoml.parse, of the operator's own file: toml",
    "mirror/carnet_mirror/backup/archive.py:BackupHeader.from_bytes": "strictjson.parse_object: json; test_backup.py",
    "mirror/carnet_mirror/state/store.py:Store.withheld": "what the mirror wrote into its own database",
    "signer/carnet_signer/ceremony/ceremony.py:_make": "a role file that the strict parser has read: ceremony-file",
    "signer/carnet_signer/ceremony/folder.py:_read_claims": "ClaimFiles.of over a folder's files: claim-file",
    "signer/carnet_signer/metadata/published_state.py:read_published_state": "role files: root, timestamp, snapshot",
    "verifier/carnet_verifier/cargo/stamps.py:tells": "what the system says of a folder's file system",
    "verifier/carnet_verifier/api.py:_read_lock": "read_lockfile, of a file or of bytes: lock",
    "verifier/carnet_verifier/memory/trust.py:read_pinned": "parse_role, of the file that a user named: root",
    "verifier/carnet_verifier/line.py:parse_index": "IndexFile.from_bytes: index-file",
    "verifier/carnet_verifier/tuf/refresh.py:read_repository": "the walk that saved-view goes as well",
    "verifier/carnet_verifier/tuf/saved_view.py:read_saved_view": "read_saved_view_from with a memory: saved-view",
    "mirror/carnet_mirror/pruning.py:_Progress.of": "a setting that the mirror wrote into its own database",
    "mirror/carnet_mirror/state/pending.py:Pending._entries": "rows that the mirror wrote into its own database",
    "mirror/carnet_mirror/state/approvals.py:awaited": "a setting that the mirror wrote into its own database",
    "mirror/carnet_mirror/web/pending.py:_shown": "a receipt in a row that the mirror wrote into its own database",
    "mirror/carnet_mirror/web/client.py:_once": "the network around what mirror-answer reads",
}
"""Doors that no target opens, and what stands behind each."""


def test_every_door_of_foreign_input_is_behind_a_target() -> None:
    """Found in the source: what calls a parser of JSON, TOML, gzip or structures, or reads bytes by its name."""
    reached = set().union(*map(entered, TARGETS.values()))
    there = set(doors())
    assert len(there) > 60
    assert there - reached - BEHIND_OTHERS.keys() == set()
    assert BEHIND_OTHERS.keys() - there == set()


def test_a_door_is_told_by_what_it_calls_and_by_its_name() -> None:
    source = """
class Reader:
    def from_bytes(cls, data: bytes): ...
    def look(self, text): return strictjson.parse_object(text, "it", max_bytes=1)
    def look_elsewhere(self, text): return parse_role(text)
def _read_it(data: bytes | None): ...
def read_path(path: Path): return path.read_bytes()
def unpacked(data: bytes): return zlib.decompressobj()
"""
    assert doors_in(source) == ["Reader.from_bytes", "Reader.look", "_read_it", "unpacked"]


def test_an_input_is_the_same_in_every_run() -> None:
    for name, target in TARGETS.items():
        again = [one_input(target, target.seeds(), 7, name, number) for number in (3, 4, 3)]
        assert again[0] == again[2], name


def test_the_judge_sees_errors_of_others_long_errors_and_slow_readers() -> None:
    def broken(data: bytes) -> None:
        raise KeyError(data)

    def slow(data: bytes) -> None:
        sum(range(20_000_000))

    def refusing(data: bytes) -> None:
        raise FormatError("x" * 100_000)

    for read, says in ((broken, "KeyError at"), (slow, "s of CPU for 1 bytes")):
        with pytest.raises(Failure, match=says):
            judge(Target(list, read), b"x")
    assert judge(Target(list, refusing), b"x")[0] is False
