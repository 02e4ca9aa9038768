"""Fields of what is signed that no sentence speaks of: shown as they are, so that nothing is signed unseen.

Sentences are for what people decide about. A role can say more: fields that carnet does not know, words in a target's
`custom`, a second digest, a key that no delegation uses. Two versions of a role are taken apart into their leaves;
every leaf that is new, gone or another one, and that no sentence covers, becomes a line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from carnet import strictjson
from carnet.strictjson import Json, JsonObject
from carnet.tuf.read import MAX_SIGNATURES
from carnet_signer.metadata.role_files import SPEC_VERSION

Path = tuple[str, ...]
"""Keys and places from the top of the `signed` part down to a leaf."""
ANY = "*"
"""In a pattern, any key at this place."""
REST = "**"
"""As the last part of a pattern, whatever is below."""
EVERY_ROLE: tuple[Path, ...] = (
    *(("_type",), ("version",), ("expires",)),
    *(("targets",), ("delegations",), ("delegations", "keys"), ("delegations", "roles")),
)
"""What the heading of every role speaks of; and empty lists, which say nothing."""
_MOST = 4 * MAX_SIGNATURES


def unsaid(before: JsonObject | None, after: JsonObject, said: Iterable[Path]) -> list[str]:
    """What changes between two versions of a role beside what sentences speak of, a line each.

    Args:
        before: The `signed` part that is published; None when there is none.
        after: The `signed` part that would be signed.
        said: Patterns of what sentences speak of. A key is one leaf, by its id, and so is a list of plain values;
            a delegated role is found by its name, not by its place in the list.
    """
    old, new = dict(_leaves({} if before is None else _shaped(before))), dict(_leaves(_shaped(after)))
    covered, more = _Covered(said), 0
    lines: list[str] = []
    for path in sorted({*old, *new}):
        # As written: to Python, true is 1.
        is_same = path in old and path in new and _shown(old[path]) == _shown(new[path])
        if is_same or path in covered:
            continue
        if path == ("spec_version",) and new.get(path) == SPEC_VERSION:
            continue
        if len(lines) == _MOST:  # nobody reads them, and whoever wrote them pays nothing for each
            more += 1
            continue
        name = ".".join(part if part.replace("_", "a").isalnum() else _shown(part) for part in path)
        if path not in new:
            lines.append(f"{name} is gone; it was {_shown(old[path])}")
        else:
            lines.append(f"{name} is {_shown(new[path])}" + (f"; it was {_shown(old[path])}" if path in old else ""))
    return [*lines, f"and {more} more: far too many, do not sign this"] if more else lines


class _Covered:
    """What patterns cover, looked up part by part: a role may have as many leaves as it has lines."""

    def __init__(self, patterns: Iterable[Path]) -> None:
        self._top: dict[str | None, Any] = {}
        for pattern in patterns:
            node = self._top
            for part in pattern:
                node = node.setdefault(part, {})
            node[None] = True  # a pattern ends here

    def __contains__(self, path: Path) -> bool:
        nodes = [self._top]
        for part in path:
            nodes = [node[key] for node in nodes for key in (part, ANY) if key in node]
            if any(REST in node for node in nodes):
                return True
        return any(None in node for node in nodes)


def _shaped(signed: JsonObject) -> JsonObject:
    """The signed part with delegated roles by their names, and keys by nothing but their ids, their digests."""
    shaped = {**signed}
    if isinstance(signed.get("keys"), dict):
        shaped["keys"] = _ids(signed["keys"])
    delegations = signed.get("delegations")
    if isinstance(delegations, dict):
        changed = {**delegations, "keys": _ids(delegations.get("keys"))}
        roles = delegations.get("roles")
        if isinstance(roles, list):
            changed["roles"] = {str(one.get("name")): one for one in roles if isinstance(one, dict)}
        shaped["delegations"] = changed
    carnet = signed.get("carnet")
    owners = carnet.get("owners") if isinstance(carnet, dict) else None
    if isinstance(carnet, dict) and isinstance(owners, dict):
        shaped["carnet"] = {**carnet, "owners": {**owners, "keys": _ids(owners.get("keys"))}}
    return shaped


def _ids(keys: Json) -> Json:
    return dict.fromkeys(keys, True) if isinstance(keys, dict) else keys


def _leaves(value: Json, path: Path = ()) -> Iterator[tuple[Path, Json]]:
    inside: Mapping[str, Any] | None = None
    if isinstance(value, dict):
        inside = value
    elif isinstance(value, list) and any(isinstance(one, (dict, list)) for one in value):
        inside = {str(place): one for place, one in enumerate(value)}
    if inside:
        for key, one in inside.items():
            yield from _leaves(one, (*path, key))
    elif path:
        yield path, value


def _shown(value: Json) -> str:
    return strictjson.encode(value).decode()
