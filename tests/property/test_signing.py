"""Laws of what is signed: whatever is asked, in whatever order, and whatever bytes arrive."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.worlds.ceremony import NOW, make_key, quorum

from carnet import strictjson
from carnet.errors import CarnetError
from carnet.tuf.read import parse_role
from carnet.tuf.roles import MetaFile, SuccinctRoles, Targets
from carnet.tuf.structure import role_field
from carnet_signer.ceremony import ceremony
from carnet_signer.ceremony import folder as ceremony_folder
from carnet_signer.ceremony import lint as ceremony_lint
from carnet_signer.ceremony.ceremony import Ceremony, Holder, Plan
from carnet_signer.metadata import role_files
from carnet_signer.online.memory import SigningMemory
from carnet_signer.online.server import Oracle

KEY = make_key("online")


@contextmanager
def oracle(folder: Path) -> Iterator[Oracle]:
    memory = SigningMemory(folder)
    try:
        yield Oracle([KEY], memory, lambda: NOW)
    finally:
        memory.close()


def ask(one: Oracle, role: str, payload: bytes) -> strictjson.JsonObject:
    return one.answer(strictjson.canonical({"op": "sign", "payloads": {role: payload.decode()}}))


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 3), st.booleans()), max_size=25))
@settings(max_examples=60)
def test_no_version_is_ever_signed_with_two_contents_and_none_goes_back(asked: list[tuple[int, int, bool]]) -> None:
    signed: dict[int, bytes] = {}
    newest = 0
    with tempfile.TemporaryDirectory() as folder:
        memory = SigningMemory(Path(folder))
        try:
            for version, hours, restart in asked:
                if restart:
                    memory.close()
                    memory = SigningMemory(Path(folder))
                named = MetaFile(1, 5, {"sha256": "0" * 64})
                payload = strictjson.canonical(role_files.timestamp(version, NOW + timedelta(hours=hours), named))
                answer = ask(Oracle([KEY], memory, lambda: NOW), "timestamp", payload)
                allowed = version > newest or (version == newest and signed[version] == payload)
                assert ("signatures" in answer) is allowed
                if allowed:
                    signed[version], newest = payload, version
        finally:
            memory.close()


@given(st.lists(st.sampled_from(["a", "b", "cc", "serde", "anyhow", "x1", "x2", "x3"]), unique=True), st.integers(1, 6))
@settings(max_examples=60)
def test_a_bin_is_signed_with_the_paths_of_its_hash_only(names: list[str], bits: int) -> None:
    bins = SuccinctRoles(quorum([KEY], 1), bits, "index")
    listed = {f"index/q/{name}": role_files.target(0, "0" * 64) for name in names}
    at_home = {bins.bin_of(path) for path in listed}
    with tempfile.TemporaryDirectory() as folder, oracle(Path(folder)) as one:
        for name in sorted(bins.names()):
            signed = role_files.targets(1, NOW + timedelta(days=1), listed=dict(listed), extra=role_field(name))
            answer = ask(one, name, strictjson.canonical(signed))
            if at_home <= {name}:
                assert "signatures" in answer
            elif not _may_be_a_bin_of(name, list(listed)):
                assert "another bin" in str(answer["error"])


def _may_be_a_bin_of(name: str, listed: list[str]) -> bool:
    """How many bins there are is not in the name: its digits leave four possibilities."""
    number = name.removeprefix("index-")
    return any(
        all(SuccinctRoles(quorum([KEY], 1), bits, "index").bin_of(path) == name for path in listed)
        for bits in range(max(1, 4 * len(number) - 3), 4 * len(number) + 1)
    )


@given(st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(str).map(str.encode))
def test_any_bytes_are_answered(line: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, oracle(Path(folder)) as one:
        assert set(one.answer(line)) == {"error", "hint"}


@given(st.text(max_size=60))
def test_every_text_survives_the_way_into_a_file_and_back(text: str) -> None:
    signed = role_files.targets(1, NOW, extra={"note": text})
    try:
        message = strictjson.canonical(signed)
    except CarnetError:
        assert any(0xD800 <= ord(char) < 0xE000 for char in text)
        return
    read = parse_role(role_files.file_bytes(message, [KEY.sign(message)]), Targets, max_bytes=10_000)
    assert read.message == message
    assert read.signed.extra == {"note": text}


PLAN = Plan(
    tuple(Holder(name, make_key(name).public_key) for name in ("alice", "bob")),
    2,
    (Holder("online", KEY.public_key),),
    4,
)
FILES = ceremony.start(PLAN, NOW)
STARTED = ceremony_folder.overlay(Ceremony({}), FILES)


@given(st.sampled_from(["1.root.json", "1.targets.json", "1.index.json"]), st.data())
@settings(max_examples=150)
def test_a_changed_byte_is_an_error_or_changes_what_is_shown(name: str, data: st.DataObject) -> None:
    file = bytearray(FILES[name])
    position = data.draw(st.integers(0, len(file) - 1))
    file[position] = data.draw(st.integers(0, 255).filter(lambda byte: byte != file[position]))
    role = name.split(".")[1]
    try:
        changed = ceremony_folder.overlay(STARTED, {name: bytes(file)})
        ceremony_lint.refuse(ceremony_lint.lint(changed, NOW))
    except CarnetError:
        return
    # It may be signed, so it must not be taken for what the others sign: their copies do not merge with it.
    if changed.latest(role).message == STARTED.latest(role).message:
        return
    with pytest.raises(CarnetError, match="different files"):
        ceremony.merge(STARTED, changed)
