"""Equal keys, times and input give equal bytes: of every published file, today and in a year.

`python -m tests.golden.test_metadata` writes the expected files anew; the difference is for a person to read.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from tests.support.worlds.ceremony import NOW, make_ceremony
from tests.support.worlds.changes import claim
from tests.support.worlds.publication import MemoryPublication

from carnet_signer.metadata.publish import Change, publish

FOLDER = Path(__file__).parent / "metadata"
WHOLE = (
    "1.root.json",
    "1.targets.json",
    "1.index.json",
    "1.claims-00.json",
    "2.claims-8b.json",
    "1.owner.serde.json",
    "1.crate.serde.json",
    "timestamp.json",
)
"""Kept as they are, to be read; of all others the digest is kept."""


def made() -> dict[str, bytes]:
    ceremony, publication = make_ceremony(waiting=None), MemoryPublication()
    online = ceremony.signer()
    publish(publication, online, replace(ceremony.change, index_files={"index/se/rd/serde": b"one\n"}), now=NOW)
    publish(publication, online, replace(claim(ceremony), index_files={"index/an/yh/anyhow": b"two\n"}), now=NOW)
    publish(publication, online, Change(), now=NOW)
    return publication.files


def expected(files: dict[str, bytes]) -> dict[str, bytes]:
    digests = "".join(f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n" for path in sorted(files))
    return {name: files[f"metadata/{name}"] for name in WHOLE} | {"sha256sums.txt": digests.encode()}


def test_every_file_is_made_byte_by_byte_as_before() -> None:
    kept = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    found = expected(made())
    assert found.keys() == kept.keys()
    for name, data in found.items():
        assert data == kept[name], name


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, content in expected(made()).items():
        (FOLDER / file).write_bytes(content)
