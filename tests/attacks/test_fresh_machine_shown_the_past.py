"""A fresh machine, such as CI's, is shown an old state; and `carnet.lock`, which comes with the project, is forged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.worlds.simulator import NOW, Simulator, Who, keys

from carnet.cargo.names import CrateName
from carnet.digests import sha256_hex
from carnet.errors import CarnetError, ExpiredMetadata, MetadataMismatch, RollbackDetected
from carnet.level import Level
from carnet_verifier.claims.owners import Claim, Handover
from carnet_verifier.memory.carnet_lock import CarnetLock, SeenOnline, SeenRoot
from carnet_verifier.memory.carried import Carried, updated
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.tuf.refresh import refresh

SERDE = CrateName("serde")
OWNER, CRATE = "owner.serde", "crate.serde"


class Machine:
    """Fresh machines that look at one repository, each with a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sim = Simulator()
        self.sim.claim("serde", releases={"serde-1.0.0.crate": b"tarball"}, layout=b"{}")
        self.sim.publish()

    def home(self, name: str) -> TrustDirectory:
        return TrustDirectory.create(self.folder / name, self.sim.root_file(), "https://mirror.example/")

    def update(self, before: CarnetLock | None = None) -> CarnetLock:
        """What `carnet verify --update-memory` writes on a machine that sees the truth."""
        trust = self.home(f"truth-{len(list(self.folder.iterdir()))}")
        view = refresh(trust, self.sim, now=NOW)
        claim = view.claim(SERDE)
        assert claim is not None
        made = updated(before, view.trusted, sha256_hex(trust.pinned), {SERDE: claim}, {SERDE: 2})
        return CarnetLock.from_bytes(made.to_bytes())

    def look(self, carried: CarnetLock | None, shown: Simulator, name: str = "fresh", **said: Any) -> Claim:
        place = self.folder / name
        trust = TrustDirectory.open(place) if place.exists() else self.home(name)
        if carried is not None:
            trust.carried = Carried(carried, **said)
        found = refresh(trust, shown, now=NOW).claim(SERDE)
        assert found is not None
        return found


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("newer", [[OWNER], [CRATE], []])
def test_a_fresh_machine_is_not_shown_the_past(machine: Machine, newer: list[str]) -> None:
    old = machine.sim.copy()
    machine.sim.publish(*newer)
    carried = machine.update()
    assert machine.look(None, old, "without").handover is Handover.FIRST_SEEN, "nothing else tells a fresh machine"
    assert machine.look(carried, machine.sim, "now").handover is Handover.SAME
    with pytest.raises(RollbackDetected, match=r"timestamp has version .*carnet\.lock has seen") as refused:
        machine.look(carried, old)
    assert "git log carnet.lock" in refused.value.hint


def test_online_keys_that_number_an_old_state_anew(machine: Machine) -> None:
    """Stolen online keys sign higher numbers over the owners' old files: the roles' own versions are carried."""
    seen = machine.update()
    serde = seen.crates["serde"]
    for name, newer in (("owner", replace(serde, owner=7)), ("releases", replace(serde, releases=7))):
        with pytest.raises(RollbackDetected, match=r"role 'owner|role 'crate"):
            machine.look(replace(seen, crates={"serde": newer}), machine.sim, name)


def test_owners_who_were_replaced_without_them(machine: Machine) -> None:
    carried = machine.update()
    honest = machine.sim.copy()
    honest.hand_over(SERDE, Who(keys("heirs", 3), 2))
    honest.publish()
    assert machine.look(carried, honest, "heirs").handover is Handover.HANDED_OVER
    machine.sim.hand_over(SERDE, Who(keys("thieves", 3), 2), agreed=False)
    machine.sim.publish()
    assert machine.look(None, machine.sim, "without").handover is Handover.FIRST_SEEN
    for name in ("fresh", "fresh", "without"):  # also where a home took the new owners for granted meanwhile
        found = machine.look(carried, machine.sim, name)
        assert (found.takeover, found.seen_in) == (True, "carnet.lock")


FORGED: dict[str, tuple[Callable[[CarnetLock], CarnetLock], type[CarnetError]]] = {
    "future": (lambda lock: replace(lock, refreshed=NOW + timedelta(days=400)), ExpiredMetadata),
    "root": (lambda lock: replace(lock, root=SeenRoot(lock.root.version, "0" * 64)), MetadataMismatch),
    "later root": (lambda lock: replace(lock, root=SeenRoot(99, "0" * 64)), RollbackDetected),
    "snapshot": (lambda lock: replace(lock, snapshot=replace(lock.snapshot, version=10**6)), RollbackDetected),
    "timestamp by nobody": (lambda lock: replace(lock, timestamp=SeenOnline(10**9, ("0" * 64,))), MetadataMismatch),
    "snapshot by nobody": (lambda lock: replace(lock, snapshot=SeenOnline(10**9, ("0" * 64,))), MetadataMismatch),
    "owners": (
        lambda lock: replace(
            lock, crates={"serde": replace(lock.crates["serde"], threshold=1, owners={"0" * 64: "mallory"})}
        ),
        MetadataMismatch,
    ),
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_file_refuses_and_leaves_no_trace(machine: Machine, kind: str) -> None:
    forge, error = FORGED[kind]
    honest = machine.update()
    with pytest.raises(error):
        machine.look(forge(honest), machine.sim, "home")
    assert machine.look(None, machine.sim, "home").handover in (Handover.FIRST_SEEN, Handover.SAME)
    assert TrustDirectory.open(machine.folder / "home").highest_levels([SERDE]) == {}


@pytest.mark.parametrize("line", ["timestamp", "snapshot"])
def test_keys_that_no_root_names_are_refused_after_a_newer_root_too(machine: Machine, line: str) -> None:
    """Whom the file's root names is known where it is pinned, or was walked over: on a fresh machine always."""
    pinned = machine.update()
    machine.sim.publish("root")
    walked = machine.update()
    machine.sim.publish("root")
    assert (pinned.root.version, walked.root.version) == (1, 2)
    forged: dict[str, Any] = {line: SeenOnline(10**9, ("0" * 64,))}
    for honest, homes in ((pinned, ("fresh", "fresh")), (walked, ("another",))):
        for home in homes:
            assert machine.look(honest, machine.sim, f"honest-{home}").handover in (Handover.FIRST_SEEN, Handover.SAME)
            with pytest.raises(
                MetadataMismatch, match=f"of {line} under this root, signed by keys that it does not name"
            ):
                machine.look(replace(honest, **forged), machine.sim, home)
            machine.look(None, machine.sim, home)


def test_a_file_that_says_less_loosens_nothing(machine: Machine) -> None:
    weak = replace(machine.update(), crates={})
    old = machine.sim.copy()
    machine.sim.publish()
    trust = machine.home("home")
    refresh(trust, machine.sim, now=NOW)
    trust.remember_levels({SERDE: 3})
    trust.carried = Carried(replace(weak, crates={"serde": replace(machine.update().crates["serde"])}))
    assert trust.highest_levels([SERDE]) == {SERDE: 3}
    with pytest.raises(RollbackDetected, match="was seen before"):
        refresh(trust, old, now=NOW)


def test_a_level_that_is_carried_counts_and_is_not_remembered(machine: Machine) -> None:
    lock = machine.update()
    trust = machine.home("home")
    trust.carried = Carried(replace(lock, crates={"serde": replace(lock.crates["serde"], level=Level.REPRODUCED)}))
    refresh(trust, machine.sim, now=NOW)
    assert trust.highest_levels([SERDE]) == {SERDE: 4}
    assert TrustDirectory.open(trust.path).highest_levels([SERDE]) == {}


def test_the_file_of_another_repository_is_told_and_left_out(machine: Machine) -> None:
    lock = replace(machine.update(), repository="1" * 64, root=SeenRoot(9, "2" * 64))
    told: list[str] = []
    machine.look(lock, machine.sim, elsewhere=lambda: told.append("elsewhere"))
    assert told == ["elsewhere"]


# --- merges, and what is written again ---


def test_nothing_goes_backwards_and_merges_join_both_sides(machine: Machine) -> None:
    first = machine.update()
    assert machine.update(first) is not first
    assert machine.update(first) == first, "nothing changed: the same, to the byte"
    machine.sim.publish(OWNER)
    second = machine.update(first)
    assert second.crates["serde"].owner > first.crates["serde"].owner
    assert first.joined(second) == second.joined(first) == second
    ours, theirs = first.to_bytes(), second.to_bytes()
    merged = b"<<<<<<< HEAD\n" + ours + b"=======\n" + theirs + b">>>>>>> topic\n"
    with pytest.raises(CarnetError, match="marks of a merge") as refused:
        CarnetLock.from_bytes(merged)
    assert "carnet verify --update-memory" in refused.value.hint
    assert CarnetLock.from_merge(merged) == second
    contradicts = replace(second, crates={"serde": replace(second.crates["serde"], threshold=1)})
    with pytest.raises(CarnetError, match="other owners"):
        second.joined(contradicts)


def test_each_line_of_the_file_stands_for_itself(machine: Machine) -> None:
    data = machine.update().to_bytes()
    lines = data.splitlines()
    assert json.loads(lines[-1])["crate"] == "serde"
    for broken in (
        data[:-1],
        data + lines[-1] + b"\n",
        data + b"{}\n",
        data.replace(b'"version":1,', b'"version":true,', 1) + b'{"more":1}\n',
        b"\n".join(lines[1:]) + b"\n",
        data.replace(b'"threshold":2', b'"threshold":9'),
        data.replace(b'"serde"', b'"Serde"'),
        b"",
        b"[" * 100_000 + b"\n",
    ):
        with pytest.raises(CarnetError, match=r"carnet\.lock"):
            CarnetLock.from_bytes(broken)
