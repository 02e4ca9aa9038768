"""The search over delegations in repositories that others run: order, terminating, cycles, limit (TUF 5.6.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

import pytest
from tests.support.worlds.simulator import DAY, NOW, key, sign
from tuf.api.metadata import SPECIFICATION_VERSION

from carnet.cargo.names import CrateName
from carnet.errors import FormatError, MetadataError, MetadataMismatch, NotFound, ThresholdNotMet, TransportError
from carnet.tuf.keys import Profile
from carnet_verifier.memory.metadata_store import MemoryStore
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.tuf.refresh import update
from carnet_verifier.tuf.repository import MAX_DELEGATIONS, TrustedRepository


@dataclass(frozen=True)
class To:
    """A delegation: to whom, for which paths."""

    role: str
    paths: Sequence[str] = ("*",)
    terminating: bool = False
    key: str = ""


class Graph:
    """Targets roles that delegate freely, each signed by the key of its own name.

    Args:
        delegations: By delegating role; the top is `targets`.
        targets: The target paths that a role lists.
    """

    def __init__(
        self, delegations: Mapping[str, Sequence[To]], targets: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self.asked: list[str] = []
        self.files: dict[str, bytes] = {}
        listed = targets or {}
        names = {"targets", *delegations, *(to.role for tos in delegations.values() for to in tos)}
        for name in names:
            signed = self._common("targets") | {
                "targets": {path: {"length": 1, "hashes": {"sha512": "00" * 64}} for path in listed.get(name, ())}
            }
            if name in delegations:
                tos = delegations[name]
                signers = {to.role: key(to.key or to.role).public_key for to in tos}
                signed["delegations"] = {
                    "keys": {public.keyid: public.to_dict() for public in signers.values()},
                    "roles": [
                        {
                            "name": to.role,
                            "keyids": [signers[to.role].keyid],
                            "threshold": 1,
                            "terminating": to.terminating,
                            "paths": list(to.paths),
                        }
                        for to in tos
                    ],
                }
            self.files[f"metadata/1.{name}.json"] = sign(signed, [key(name)])
        meta = {f"{name}.json": {"version": 1} for name in names}
        self._sign("1.snapshot", "snapshot", {"meta": meta})
        self._sign("timestamp", "timestamp", {"meta": {"snapshot.json": {"version": 1}}})
        top = ("root", "timestamp", "snapshot", "targets")
        self._sign(
            "1.root",
            "root",
            {
                "consistent_snapshot": True,
                "keys": {key(role).public_key.keyid: key(role).public_key.to_dict() for role in top},
                "roles": {role: {"keyids": [key(role).public_key.keyid], "threshold": 1} for role in top},
            },
        )

    def _common(self, kind: str) -> dict[str, Any]:
        expires = NOW + DAY
        return {
            "_type": kind,
            "version": 1,
            "spec_version": ".".join(SPECIFICATION_VERSION),
            "expires": f"{expires:%Y-%m-%dT%H:%M:%SZ}",
        }

    def _sign(self, name: str, kind: str, more: Mapping[str, Any]) -> None:
        self.files[f"metadata/{name}.json"] = sign(self._common(kind) | dict(more), [key(kind)])

    def read(self, path: str) -> bytes | None:
        self.asked.append(path)
        return self.files.get(path)

    def open(self, now: datetime = NOW) -> TrustedRepository:
        store, fetcher = MemoryStore(), ReadFetcher(self.read)
        root = self.files["metadata/1.root.json"]
        repository = TrustedRepository(update(root, store, fetcher, now=now, profile=Profile.GENERAL), store, fetcher)
        _ = repository.targets
        self.asked.clear()
        return repository

    def visited(self) -> list[str]:
        return [path.removeprefix("metadata/1.").removesuffix(".json") for path in self.asked]


GRAPHS: dict[str, tuple[dict[str, list[To]], list[str]]] = {
    "one": ({"targets": [To("a")]}, ["a"]),
    "in order": ({"targets": [To("b"), To("a")]}, ["b", "a"]),
    "depth first": ({"targets": [To("a"), To("b")], "a": [To("c"), To("d")]}, ["a", "c", "d", "b"]),
    "deeper": ({"targets": [To("a"), To("b")], "a": [To("c")], "c": [To("d")]}, ["a", "c", "d", "b"]),
    "terminating": ({"targets": [To("a"), To("b")], "a": [To("c", terminating=True), To("d")]}, ["a", "c"]),
    "terminating, and on below": (
        {"targets": [To("a"), To("b")], "a": [To("c", terminating=True)], "c": [To("d")]},
        ["a", "c", "d"],
    ),
    "terminating for other paths": ({"targets": [To("a", ["x/*"], terminating=True), To("b")]}, ["b"]),
    "not for this path": ({"targets": [To("a", ["*.py"]), To("b")], "a": [To("c")]}, ["b"]),
    "a cycle": (
        {"targets": [To("a"), To("b")], "b": [To("c")], "c": [To("d")], "d": [To("b")]},
        ["a", "b", "c", "d"],
    ),
    "itself": ({"targets": [To("a")], "a": [To("a")]}, ["a"]),
    "a diamond": ({"targets": [To("a"), To("b")], "a": [To("c")], "b": [To("c")]}, ["a", "c", "b"]),
    "a diamond for this path once": (
        {"targets": [To("a"), To("b")], "a": [To("c", ["*.py"])], "b": [To("c")]},
        ["a", "b", "c"],
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_roles_are_visited_in_preorder(name: str) -> None:
    delegations, expected = GRAPHS[name]
    graph = Graph(delegations)
    repository = graph.open()
    with pytest.raises(NotFound):
        repository.find_target("missing")
    assert graph.visited() == expected


def test_the_first_role_that_lists_a_target_decides() -> None:
    graph = Graph({"targets": [To("a"), To("b")]}, {"a": ["x"], "b": ["x", "y"]})
    found = graph.open().find_targets(["x", "y", "z"])
    assert {path: target.role if target else None for path, target in found.items()} == {"x": "a", "y": "b", "z": None}


def test_a_terminating_delegation_hides_what_comes_after_it() -> None:
    graph = Graph({"targets": [To("a", terminating=True), To("b")]}, {"b": ["x"]})
    assert graph.open().find_targets(["x"]) == {"x": None}
    graph = Graph({"targets": [To("a"), To("b")]}, {"b": ["x"]})
    assert graph.open().find_target("x").role == "b"


def test_a_role_may_list_only_what_it_was_trusted_for_on_the_whole_way() -> None:
    graph = Graph({"targets": [To("a", ["a/*"])], "a": [To("b", ["*/*"])]}, {"b": ["a/x", "b/x"]})
    found = graph.open().find_targets(["a/x", "b/x"])
    assert found["a/x"] is not None
    assert found["b/x"] is None


def test_reaching_the_limit_is_an_error_and_never_not_found() -> None:
    """Trap 9: python-tuf calls it not found."""
    long = {"targets": [To("r0")]} | {f"r{number}": [To(f"r{number + 1}")] for number in range(MAX_DELEGATIONS)}
    last = f"r{MAX_DELEGATIONS}"
    with pytest.raises(MetadataError, match="nothing was decided") as refused:
        Graph(long, {last: ["x"]}).open().find_target("x")
    assert not isinstance(refused.value, NotFound)
    assert Graph(long, {f"r{MAX_DELEGATIONS - 1}": ["x"]}).open().find_target("x")
    del long[f"r{MAX_DELEGATIONS - 1}"]
    assert Graph(long).open().find_targets(["x"]) == {"x": None}


def test_a_role_is_verified_for_each_of_its_delegators() -> None:
    """Trap 11, diamonds: a role that one delegator's keys signed is not thereby trusted by another one."""
    graph = Graph(
        {
            "targets": [To("a", ["a/*"]), To("b", ["b/*"])],
            "a": [To("c", ["a/*"])],
            "b": [To("c", ["b/*"], key="another key for c")],
        },
        {"c": ["a/x", "b/x"]},
    )
    repository = graph.open()
    assert repository.find_target("a/x").role == "c"
    with pytest.raises(ThresholdNotMet):
        repository.find_target("b/x")
    assert repository.find_target("a/x").role == "c"


def test_a_role_that_the_snapshot_does_not_list_is_refused_without_asking() -> None:
    graph = Graph({"targets": [To("a")]}, {"a": ["x"]})
    graph._sign("1.snapshot", "snapshot", {"meta": {"targets.json": {"version": 1}}})
    repository = graph.open()
    with pytest.raises(MetadataMismatch, match="does not list"):
        repository.find_target("x")
    assert graph.asked == []


@pytest.mark.parametrize("name", ["?", "#", "/a", "../a", "..", ".", "a b", "%2e%2e", "\u00e4", "a\nb", "\\"])
def test_odd_role_names_are_quoted_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    plain = ReadFetcher.get

    def get(self: ReadFetcher, path: str, *, max_bytes: int) -> bytes:
        asked.append(path)
        return plain(self, path, max_bytes=max_bytes)

    monkeypatch.setattr(ReadFetcher, "get", get)
    with pytest.raises((NotFound, TransportError)):
        Graph({"targets": [To(name)]}).open().find_target("x")
    assert asked[-1] == f"metadata/1.{quote(name, safe='')}.json"


@pytest.mark.parametrize("path", ["", "/x", "../x", "a/../x", "a//x", "./x", "a\\x", "a\0x", "a/"])
def test_target_paths_that_traverse_are_refused(path: str) -> None:
    """Trap 4."""
    graph = Graph({}, {"targets": [path, "x"]})
    repository = graph.open()
    assert repository.find_target("x")
    with pytest.raises(FormatError, match="unsafe"):
        repository.find_target(path)


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_a_delegation_to_a_top_level_name_is_refused(role: str) -> None:
    with pytest.raises(FormatError, match="top-level"):
        Graph({"targets": [To(role)]}).open()


def test_a_role_that_expired_is_refused() -> None:
    graph = Graph({"targets": [To("a")]}, {"a": ["x"]})
    signed = graph._common("targets") | {"targets": {}, "expires": f"{NOW:%Y-%m-%dT%H:%M:%SZ}"}
    graph.files["metadata/1.a.json"] = sign(signed, [key("a")])
    with pytest.raises(MetadataError, match=r"expired.*5\.6\.5"):
        graph.open().find_target("x")


def test_a_role_of_another_version_is_refused() -> None:
    graph = Graph({"targets": [To("a")]}, {"a": ["x"]})
    signed = graph._common("targets") | {"targets": {}, "version": 2}
    graph.files["metadata/1.a.json"] = sign(signed, [key("a")])
    with pytest.raises(MetadataMismatch, match=r"5\.6\.4"):
        graph.open().find_target("x")


def test_a_role_of_another_type_is_refused() -> None:
    graph = Graph({"targets": [To("a")]}, {"a": ["x"]})
    signed = graph._common("snapshot") | {"meta": {"targets.json": {"version": 1}}}
    graph.files["metadata/1.a.json"] = sign(signed, [key("a")])
    with pytest.raises(FormatError, match="type"):
        graph.open().find_target("x")


def test_claims_are_read_in_our_own_repositories_only() -> None:
    """In another one, roles of these names would be anybody's, and what is in them unchecked."""
    graph = Graph({"targets": [To("claims")], "claims": [To("claims-8b")], "claims-8b": [To("owner.serde")]})
    repository = graph.open()
    for ask in (
        lambda: repository.claim(CrateName("serde")),
        lambda: repository.claims([CrateName("serde")]),
        lambda: repository.look_up(["x"], [CrateName("serde")]),
    ):
        with pytest.raises(MetadataMismatch, match="claims are read in carnet's own repositories only"):
            ask()
    assert graph.asked == []
