"""A signed layout on the disk: `layout.json`, and what its owners ask beside it in `layout.terms.json`."""

from __future__ import annotations

from pathlib import Path

from carnet import strictjson
from carnet.durable import read_named_file, users_file, write_file
from carnet.intoto.dsse import Envelope
from carnet.intoto.duties import Terms
from carnet.strictjson import JsonObject
from carnet_signer.keys.public import read_origins
from carnet_signer.steps.layouts import CompiledLayout

MAX_FILE = 160 * 1024 * 1024
_MAX_TERMS = 1024 * 1024
_ORIGINS = "origins"
"""A field of the terms file alone: what owners sign has no place for it."""


def terms_path(layout: Path) -> Path:
    """Where the terms of a layout are: `layout.json` has them in `layout.terms.json`."""
    return layout.with_name(f"{layout.name.removesuffix('.json')}.terms.json")


def read_signed_layout(path: Path) -> tuple[bytes, Terms, dict[str, str]]:
    """A signed layout's bytes, the terms beside it, and where its people's keys come from, as whoever wrote it says.

    Raises:
        ConfigError: One of the two files is not there, or does not parse.
    """
    with users_file(path, "layout"):
        data = read_named_file(path, "layout", max_bytes=MAX_FILE)
        Envelope.from_bytes(data, str(path))
        beside = terms_path(path)
        text = read_named_file(beside, "terms file", max_bytes=MAX_FILE)
        custom = strictjson.parse_object(text, str(beside), max_bytes=_MAX_TERMS)
        return data, Terms.from_custom(custom), read_origins(custom.get(_ORIGINS, {}), str(beside))


def write_signed_layout(path: Path, signed: Envelope, compiled: CompiledLayout) -> None:
    """Write a signed layout; its terms first, because one without the other is of no use.

    Raises:
        StorageError: The disk failed.
    """
    origins: JsonObject = {_ORIGINS: dict(compiled.origins)} if compiled.origins else {}
    write_file(terms_path(path), strictjson.encode(compiled.terms.to_custom() | origins) + b"\n")
    write_file(path, signed.to_bytes())
