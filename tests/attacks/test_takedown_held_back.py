"""A version that the mirror's operator took down: refused with the reason, signed, kept, and not hidden again."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import Tarballs, quiet
from tests.support.worlds.claims import NAME, World, refusal

from carnet import strictjson
from carnet.cargo.let_in import read_let_in
from carnet.cargo.names import CrateId, CrateName, Version
from carnet.cargo.takedown import Takedown, read_takedowns, write_takedowns
from carnet.digests import sha256_hex
from carnet.errors import ConfigError, FormatError, RollbackDetected, SigningError, VerificationError
from carnet.strictjson import Json, JsonObject
from carnet.tuf.paths import download_path, index_path
from carnet.tuf.structure import role_field
from carnet_mirror.fsck.fsck import fsck
from carnet_mirror.state.store import Store
from carnet_mirror.sync.sync import sync
from carnet_mirror.sync.takedown import take_down
from carnet_mirror.web.files import Mirror
from carnet_signer.metadata import role_files
from carnet_signer.online.memory import SigningMemory
from carnet_signer.online.rules import check_payload
from carnet_verifier.line import attribute_all, find_target, open_index
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import Action
from carnet_verifier.policy.rules import named
from carnet_verifier.tuf.refresh import refresh

EVIL, REASON = CrateName("evil"), "its build script sends keys away"
BAD = CrateId(EVIL, Version("1.0.1"))
TARBALLS = [honest_crate("evil", "1.0.0"), honest_crate("evil", "1.0.1")]


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World.make(tmp_path)
    made.add(*TARBALLS)
    made.client()
    return made


def down(world: World, crate: CrateId = BAD, reason: str | None = REASON) -> Takedown:
    return take_down(world.store, world.online, crate, reason, now=world.now)[0]


def serves(world: World, path: str) -> tuple[int, bytes]:
    with Store.open(world.folder / "mirror") as store:
        response = Mirror(store, "http://localhost")._respond(
            {"type": "http", "method": "GET", "path": "/" + path, "headers": [], "query_string": b""}
        )
        return response.status_code, bytes(response.body)


def test_one_version_is_refused_with_the_reason_and_the_others_are_not(world: World) -> None:
    assert world.admit("1.0.1", name=EVIL, client="client")
    down(world)
    error = refusal(lambda: world.admit("1.0.1", name=EVIL, client="client"))
    assert isinstance(error, VerificationError)
    assert REASON in str(error)
    assert world.admit("1.0.0", name=EVIL, client="client")
    view = world.client()
    judged = attribute_all(open_index(view, EVIL, find_target(view, EVIL)), None)  # what the proxy offers
    assert [isinstance(one, VerificationError) for _, one in judged] == [False, True]


def test_no_policy_lets_it_in(world: World) -> None:
    down(world)
    lax = Policy(rules={named("index-differs"): Action.ALLOW, named("level"): Action.ALLOW})
    assert REASON in str(refusal(lambda: world.admit("1.0.1", name=EVIL, policy=lax)))


def test_its_tarball_is_kept_and_not_served_until_that_is_undone(world: World) -> None:
    path = download_path(BAD)
    assert serves(world, path) == (200, TARBALLS[1])
    down(world)
    status, body = serves(world, path)
    assert status == 451
    assert REASON in body.decode()
    assert serves(world, download_path(CrateId(EVIL, Version("1.0.0"))))[0] == 200
    stored = world.store.crates.version(BAD)
    assert stored is not None
    assert (world.store.directory / stored.path).read_bytes() == TARBALLS[1]
    assert fsck(world.store, now=world.now, progress=quiet).problems == []
    down(world, reason=None)
    assert serves(world, path) == (200, TARBALLS[1])
    assert world.admit("1.0.1", name=EVIL, client="client")


def test_a_sync_does_not_bring_it_back(world: World) -> None:
    down(world)
    newer = honest_crate("evil", "1.0.2")
    upstream = Tarballs([*TARBALLS, newer])
    sync(world.store, world.online, upstream, upstream.packages, now=world.now, progress=quiet)
    assert REASON in str(refusal(lambda: world.admit("1.0.1", name=EVIL)))
    assert world.admit("1.0.2", name=EVIL)
    assert serves(world, download_path(BAD))[0] == 451


def test_a_claimed_crate_whose_maintainers_signed_it(world: World) -> None:
    world.add(honest_crate(str(NAME), "0.9.0"))
    world.claim()
    world.release("1.0.0")
    crate = CrateId(NAME, Version("1.0.0"))
    stored = world.store.crates.version(CrateId(world.store.crates.names()[0], Version("1.0.0")))
    down(world, crate if stored is None or stored.id != crate else stored.id)
    assert REASON in str(refusal(lambda: world.admit("1.0.0")))
    assert world.admit("0.9.0")
    world.release("1.1.0")
    assert world.admit("1.1.0")
    assert REASON in str(refusal(lambda: world.admit("1.0.0")))  # what maintainers release later takes nothing back
    released = world.store.crates.version(crate)
    assert released is not None
    assert released.path.startswith("targets/")
    assert serves(world, released.path)[0] == 451


def test_an_older_index_that_does_not_say_it_is_a_rollback(world: World) -> None:
    """Whoever runs the mirror's web server, and holds no key, cannot take the word back."""
    kept = {"metadata/timestamp.json": world.store.read("metadata/timestamp.json")}
    down(world)
    world.client()

    def before(path: str) -> bytes | None:
        return kept.get(path) or world.store.read(path)

    with pytest.raises(RollbackDetected):
        refresh(world.clients["client"], ReadFetcher(before), now=world.now)


def test_what_is_asked_for_in_vain(world: World) -> None:
    with pytest.raises(ConfigError, match="does not have"):
        down(world, CrateId(EVIL, Version("9.9.9")))
    with pytest.raises(ConfigError, match="is not taken down"):
        down(world, reason=None)
    with pytest.raises(FormatError, match="a reason has"):
        down(world, reason="x" * 201)
    first = down(world)
    world.later(days=1)
    assert take_down(world.store, world.online, BAD, REASON, now=world.now) == (first, None)


@pytest.mark.parametrize(
    "more", [{"more": 1}, {"taken_down": {}}, {"taken_down": {"1.0.1": {"reason": REASON}}}, {"let_in": {}}]
)
def test_the_online_signer_signs_that_and_nothing_else_of_an_index_file(
    more: JsonObject, tmp_path: Path, world: World
) -> None:
    path = index_path(EVIL)
    role = f"index-{sha256_hex(path.encode())[:2]}"

    def asked(custom: JsonObject) -> bytes:
        listed: JsonObject = {path: role_files.target(1, "0" * 64, custom)}
        expires = datetime.now(UTC) + role_files.BIN_LIFE
        return strictjson.canonical(role_files.targets(1, expires, listed=listed, extra=role_field(role)), role)

    right, memory = write_takedowns({"1.0.1": Takedown(REASON, world.now)}), SigningMemory(tmp_path / "memory")
    try:
        assert check_payload(role, asked(right), memory, datetime.now(UTC)).version == 1
        with pytest.raises(SigningError, match="more than its length and sha256"):
            check_payload(role, asked(right | more), memory, datetime.now(UTC))
    finally:
        memory.close()


def test_of_what_is_no_version_nothing_is_said() -> None:
    """Whoever asks a mirror's signer in its name could otherwise sign what the mirror cannot read any more."""
    down: JsonObject = {"reason": REASON, "since": "2026-11-20T12:00:00Z"}
    let_in: JsonObject = {"reason": REASON, "sha256": "0" * 64, "expires": "2026-12-20T12:00:00Z"}
    assert (
        read_takedowns({"taken_down": {"1.0.0": down}}, "it").keys()
        == read_let_in({"let_in": {"1.0.0": let_in}}, "it").keys()
    )
    for version in ("the newest", "1.0", ""):
        with pytest.raises(FormatError, match="it: taken_down"):
            read_takedowns({"taken_down": {version: down}}, "it")
        with pytest.raises(FormatError, match="it: let_in"):
            read_let_in({"let_in": {version: let_in}}, "it")


@pytest.mark.parametrize("said", [[], {"1.0.0": []}, {"1.0.0": {"reason": 1}}])
def test_what_does_not_parse_is_an_error_and_no_permission(said: Json) -> None:
    with pytest.raises(FormatError):
        read_takedowns({"taken_down": said}, "it")
    assert read_takedowns({"anything": 1}, "it") == {}
