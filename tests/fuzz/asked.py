"""What is fuzzed of questions and answers: between carnet's own processes, and of mirrors, upstreams, git and cargo."""

from __future__ import annotations

import contextlib
import io
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.fuzz.kept import each, scratch
from tests.fuzz.mutate import documents, envelopes
from tests.fuzz.worlds import Target, honest_release, made, payload_seeds, role_seeds
from tests.support.worlds.ceremony import NOW, make_key

from carnet import strictjson
from carnet.cargo.names import CrateId
from carnet.claims.receipt import SignedReceipt
from carnet.errors import CarnetError, NotFound
from carnet.git.deltas import Deltas
from carnet.git.limits import GitLimits
from carnet.git.objects import GitObjects
from carnet.intoto.dsse import Envelope
from carnet.intoto.values import Layout
from carnet.tuf.read import parse_role
from carnet.tuf.roles import Root, Snapshot, Targets, Timestamp
from carnet_cli.commands.maintain import watch
from carnet_cli.report.waiting import WatchReport, watch_as_json, watch_as_text
from carnet_gate import project
from carnet_gate.outputs import without_links
from carnet_mirror import waiting
from carnet_mirror.second_opinion import in_toto_steps, python_tuf
from carnet_mirror.upstream.sparse import _download_template, fill_template
from carnet_mirror.web import files, senders
from carnet_signer.online.client import OnlineClient
from carnet_signer.online.server import Oracle
from carnet_verifier.cargo.proxy import Registry
from carnet_verifier.net.known_hosts import KnownHosts

# --- between carnet's own processes ---


def _online_request(data: bytes) -> None:
    """What a mirror that somebody broke into asks the process with the online keys."""
    memory: Any = SimpleNamespace(
        last=lambda role: None, named_snapshot={}, remember=lambda entries, snapshot: list(entries)
    )
    answer = Oracle([make_key("online")], memory, lambda: NOW).answer(data)
    strictjson.encode(answer)
    if "error" in answer:
        raise CarnetError("refused")


def _online_requests() -> list[bytes]:
    found = dict(zip(("timestamp", "snapshot", "index-0"), payload_seeds(), strict=True))
    small = {role: payload.decode() for role, payload in found.items() if role != "snapshot"}
    receipt = SignedReceipt.from_bytes(made().receipt).payload.decode()
    return [
        strictjson.encode({"op": "last", "roles": ["timestamp", "index-0"]}),
        strictjson.encode({"op": "sign", "payloads": small}),
        strictjson.encode({"op": "receipt", "payload": receipt}),
    ]


def _online_answer(data: bytes) -> None:
    """What the process with the online keys answers, or whatever listens in its place."""
    lines = iter(lambda: data, None)

    def asked() -> OnlineClient:
        found = OnlineClient.__new__(OnlineClient)
        found._connection, found._lines = SimpleNamespace(sendall=lambda sent: None), lines  # type: ignore[assignment]
        return found

    each(
        asked()._receive,
        lambda: f"{asked().last_version('timestamp'):d}",
        lambda: asked().named_snapshot(),
        lambda: [one.sig.hex() + one.keyid for one in asked().sign({"timestamp": b"{}"})["timestamp"]],
        lambda: [one.sig.hex() + one.keyid for one in asked().sign_receipt(b"{}")],
    )


def _online_answers() -> list[bytes]:
    signature = {"keyid": "0" * 64, "sig": "00" * 64}
    return [
        strictjson.encode({"versions": {"timestamp": 3}, "named": [2, "0" * 64]}),
        strictjson.encode({"signatures": {"timestamp": [signature]}}),
        strictjson.encode({"signatures": [signature]}),
        strictjson.encode({"error": "no", "hint": "x"}),
    ]


# --- mirrors and upstreams ---


def _watched(data: bytes) -> None:
    """The list of what waits, as `carnet watch` shows it."""
    answer: Any = strictjson.parse_object(data, "the answer", max_bytes=1 << 22)
    report = WatchReport("https://mirror.example/", list(watch._listed(answer, "https://mirror.example/")))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        watch_as_text(report)
    for one in watch_as_json(report):
        strictjson.encode(one)


def _receipt_answered(data: bytes) -> None:
    """What a mirror answers whoever proposes a claim."""
    SignedReceipt.from_object(strictjson.parse_object(data, "the answer", max_bytes=1 << 22).get("receipt"))


def _proposal(data: bytes) -> None:
    """What anybody hands to a mirror, signed by nobody."""
    waiting._parsed(data)


def _upstream_config(data: bytes) -> None:
    fill_template(_download_template(data), CrateId.of("demo", "0.1.0"), "0" * 64)


class _Nothing:
    """A gatekeeper that has nothing."""

    def index(self, name: object) -> bytes:
        raise NotFound(f"no {name}")

    def tarball(self, crate: object) -> bytes:
        raise NotFound(f"no {crate}")


@cache
def _proxy() -> Registry:
    return Registry(_Nothing(), "http://127.0.0.1:8790")  # type: ignore[arg-type]


@cache
def _site() -> files.Mirror:
    nothing: Any = SimpleNamespace(
        read=lambda path: None,
        withheld=lambda path: None,
        published_index=lambda path: None,
        files=SimpleNamespace(published=lambda path: None),
        crates=SimpleNamespace(version=lambda crate: None),
    )
    found = files.Mirror(nothing, "http://127.0.0.1:8787")
    found._pending = SimpleNamespace(page=lambda path, query: None)  # type: ignore[assignment]
    return found


def _http_request(data: bytes) -> None:
    """A request of whoever reaches the proxy or the mirror: method, path, headers, as a server hands them on."""
    method, path, host, other = (data.split(b"\0") + [b""] * 4)[:4]
    name, _, value = other.partition(b":")
    headers = [(b"host", host), (name.strip().lower(), value.strip())]
    scope: Any = {
        **{"type": "http", "method": method.decode("latin-1"), "path": path.decode("utf-8", "replace")},
        **{"headers": headers, "client": (host.decode("latin-1"), 1), "query_string": b""},
    }
    _proxy().answer(scope["method"], scope["path"])
    _site()._respond(scope)
    KnownHosts(lambda *_: None)._is_known(scope)  # type: ignore[arg-type]
    senders.network_of(senders.sender_of(scope, "x-forwarded-for"))


# --- second opinions, git and cargo ---


def _second_opinion(data: bytes) -> None:
    """What python-tuf makes of a file that carnet takes."""
    for kind in (Root, Timestamp, Snapshot, Targets):
        try:
            found = parse_role(data, kind, what="the file")
        except CarnetError:
            continue
        python_tuf.read("metadata/x.json", found)
        return
    raise NotFound("carnet does not take it")


def _second_layout(data: bytes) -> None:
    """What in-toto makes of a layout that carnet takes."""
    layout = Layout.from_payload(data)
    release: Any = SimpleNamespace(
        layout=layout,
        layout_file=Envelope(data).to_bytes(),
        steps=[SimpleNamespace(name=step.name) for step in layout.steps],
    )
    in_toto_steps._layout("x.bundle.json", release)


_EMPTY = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
"""git's id of a file without content."""
_EMPTY_SIZE = b"0 " + b"0" * 40 + b"\n"
"""What git says of it: no bytes, and no difference to anything."""


def _git_answer(data: bytes) -> None:
    """What `git cat-file --batch` answers over a repository of somebody who means harm."""
    found = GitObjects(scratch())
    found._process = SimpleNamespace(  # type: ignore[assignment]
        stdin=io.BytesIO(), stdout=io.BytesIO(data), wait=lambda timeout: 0
    )
    found._deltas = Deltas(io.BytesIO(), io.BytesIO(_EMPTY_SIZE), GitLimits.of(4096))
    found.get(_EMPTY, b"blob")


def _git_deltas(data: bytes) -> None:
    """What `git cat-file --batch-check` answers there, of two objects and whatever they stand upon."""
    Deltas(io.BytesIO(), io.BytesIO(data), GitLimits.of(4096)).check([_EMPTY, "1" * 40])


def _cargo_metadata(data: bytes) -> None:
    """What a cargo says of a project: one of its own wrappers may be in its place."""
    for place in project._places(data.decode("utf-8", "replace")).values():
        without_links(Path(place))


REQUESTS = (
    b'GET\0/index/de/mo/demo\0127.0.0.1:8790\0if-none-match: "0"',
    b"GET\0/api/v1/crates/demo/0.1.0/download\0localhost\0accept-encoding: gzip;q=1, *",
    b"GET\0/metadata/1.root.json\0[::1]:1\0x-forwarded-for: 192.0.2.1, 2001:db8::1",
    b"HEAD\0/config.json\0mirror.example\0content-length: 0",
)
METADATA = b'{"packages":[],"workspace_root":"/x","target_directory":"/x/target","version":1,"metadata":{"a":1.5}}'

ASKED: dict[str, Target] = {
    "online-request": Target(_online_requests, _online_request, documents),
    "online-answer": Target(_online_answers, _online_answer, documents),
    "watched": Target(lambda: [made().pending], _watched, documents),
    "receipt-answered": Target(
        lambda: [b'{"ok":true,"ends":"2026-01-01T00:00:00Z","receipt":%s}' % made().receipt.strip()],
        _receipt_answered,
        envelopes,
    ),
    "proposal": Target(role_seeds("handed-in.proposal"), _proposal),
    "upstream-config": Target(
        lambda: [b'{"dl":"https://static.example/{crate}/{version}","api":"https://x"}'], _upstream_config, documents
    ),
    "http-request": Target(lambda: list(REQUESTS), _http_request),
    "second-opinion": Target(
        role_seeds("root", "timestamp", "owner.", "crate.", "1.index"), _second_opinion, documents
    ),
    "second-layout": Target(lambda: [honest_release().layout.to_payload()], _second_layout, documents),
    "git-deltas": Target(
        lambda: [_EMPTY_SIZE + b"12 " + b"2" * 40 + b"\n7 " + b"0" * 40 + b"\n", _EMPTY_SIZE + b"x missing\n"],
        _git_deltas,
    ),
    "git-answer": Target(lambda: [_EMPTY.encode() + b" blob 0\n\n"], _git_answer),
    "cargo-metadata": Target(lambda: [METADATA], _cargo_metadata, documents),
}
"""Readers of questions and answers, by what they read."""
