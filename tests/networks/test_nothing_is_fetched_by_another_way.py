"""Whoever connects is told how: no command opens a connection without saying which network it goes through."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PROJECT = Path(__file__).parents[2]
OPENERS = {
    "HttpFetcher",
    "open_view",
    "open_view_from",
    "open_renewed_view",
    "SparseUpstream",
    "Downloads",
    "submit",
    "propose",
    "pending",
}
"""What connects, or is given what to connect through."""
DIRECT = {"verifier/carnet_verifier/api.py"}
"""Where others say themselves how their servers are reached: they bring a fetcher."""
CONNECTS = {"socket", "urllib3", "http", "ssl", "requests", "httpx"}
"""Modules that connect."""
WHO_CONNECTS = {
    "verifier/carnet_verifier/net/wire.py",
    "verifier/carnet_verifier/net/reasons.py",  # names its errors
    "mirror/carnet_mirror/web/client.py",
    "mirror/carnet_mirror/web/serve.py",  # answers
    "gate/carnet_gate/loopback.py",  # answers
    "signer/carnet_signer/online/client.py",  # on a socket of this machine
    "signer/carnet_signer/online/server.py",  # answers there
    "cli/carnet_cli/commands/registry/online.py",  # opens that
    "cli/carnet_cli/commands/registry/service_manager.py",  # tells whoever started it, on a socket of this machine
}


def modules(names: set[str]) -> dict[str, ast.Module]:
    """The modules that have one of these names in them; to parse all of them would take seconds."""
    rooms = ("core", "evidence", "signer", "verifier", "gate", "mirror", "cli", "layouts")
    texts = {path: path.read_text() for room in rooms for path in sorted((PROJECT / room).rglob("*.py"))}
    return {
        str(path.relative_to(PROJECT)): ast.parse(text)
        for path, text in texts.items()
        if re.search(rf"\b({'|'.join(names)})\b", text)
    }


def test_every_command_says_which_network_it_goes_through() -> None:
    calls = [
        (name, node, node.func)
        for name, tree in modules(OPENERS).items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute)
    ]
    opened = [
        (f"{name}:{call.lineno}", {keyword.arg for keyword in call.keywords})
        for name, call, called in calls
        if (isinstance(called, ast.Name) and called.id in OPENERS and name not in DIRECT)
        or ast.unparse(called) in ("trusting.add", "trusting.move")
    ]
    assert len(opened) > 20
    assert [place for place, named in opened if "network" not in named] == []


def test_nothing_else_connects() -> None:
    """A room that opened a connection of its own would take no proxy, and trust other authorities."""
    found = {
        name
        for name, tree in modules({rf"import {name}|from {name}" for name in CONNECTS}).items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Import) and any(one.name.partition(".")[0] in CONNECTS for one in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in CONNECTS)
    }
    assert found == WHO_CONNECTS
