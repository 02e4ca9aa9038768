"""The index of a local registry, which cargo believes: every change of it but the registry's own is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate

from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import IndexLine, line_from_crate
from carnet.cargo.names import CrateId
from carnet_verifier.cargo.copies import in_vendor_folder
from carnet_verifier.cargo.local_index import index_differences

CRATE, OLDER = honest_crate("leaf", "1.1.0"), honest_crate("leaf", "1.0.0")


def line(data: bytes) -> IndexLine:
    return line_from_crate(read_crate(data), pubtime="2026-01-01T00:00:00Z")


SIGNED, OTHER = line(CRATE), line(OLDER)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for data in (CRATE, OLDER):
        (tmp_path / f"{read_crate(data).id.stem}.crate").write_bytes(data)
    index = tmp_path / "index/le/af/leaf"
    index.parent.mkdir(parents=True)
    index.write_bytes(OTHER.to_bytes() + b"\n" + SIGNED.to_bytes() + b"\n")
    index.chmod(0o644)
    return tmp_path


def write(*lines: bytes) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(b"".join(one + b"\n" for one in lines))


def link(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")


def folder_instead(file: Path) -> None:
    file.unlink()
    file.mkdir()


SIGNED_BYTES, OTHER_BYTES = SIGNED.to_bytes(), OTHER.to_bytes()
EVIL_DEPENDENCY = SIGNED_BYTES.replace(
    b'"deps":[]',
    b'"deps":[{"name":"evil","req":"*","features":[],"optional":false,"default_features":true,"target":null,'
    b'"kind":"normal"}]',
)
CHANGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "nothing": (lambda file: None, []),
    "yanked meanwhile": (write(OTHER_BYTES, SIGNED.with_(yanked=True).to_bytes()), []),
    "published at another time": (write(OTHER_BYTES, SIGNED.with_(pubtime="2026-02-01T00:00:00Z").to_bytes()), []),
    "another checksum": (write(OTHER_BYTES, SIGNED_BYTES.replace(SIGNED.cksum.encode(), b"0" * 64)), ["changed"]),
    "one dependency more": (write(OTHER_BYTES, EVIL_DEPENDENCY), ["changed"]),
    "one feature more": (
        write(OTHER_BYTES, SIGNED_BYTES.replace(b'"features":{}', b'"features":{"x":[]}')),
        ["changed"],
    ),
    "the line twice": (write(OTHER_BYTES, SIGNED_BYTES, SIGNED_BYTES.replace(b"leaf", b"Leaf")), ["changed"]),
    "the line of another crate": (
        write(OTHER_BYTES, SIGNED_BYTES, SIGNED_BYTES.replace(b"leaf", b"tree")),
        ["changed"],
    ),
    "no JSON": (write(b"evil"), ["changed"]),
    "no line": (write(OTHER_BYTES), ["missing"]),
    "a line for no tarball": (
        write(OTHER_BYTES, SIGNED_BYTES, line(honest_crate("leaf", "6.6.6")).to_bytes()),
        ["added"],
    ),
    "no file": (lambda file: file.unlink(), ["missing"]),
    "a link": (link, ["link"]),
    "a folder": (folder_instead, ["link"]),
    "open to everybody": (lambda file: file.chmod(0o666), ["permissions"]),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_was_changed_is_found_and_nothing_else(folder: Path, case: str) -> None:
    change, expected = CHANGES[case]
    change(folder / "index/le/af/leaf")
    found = list(index_differences(folder, SIGNED))
    assert [one.change for one in found] == expected
    assert all(one.path == "index/le/af/leaf" and str(folder) in one.said for one in found)


def test_what_else_lies_in_the_index_is_no_crates(folder: Path) -> None:
    assert in_vendor_folder(folder).strays == ()
    (folder / "index/ev").mkdir()
    (folder / "index/ev/evil").write_bytes(SIGNED_BYTES)
    (folder / "index/config.json").write_text("{}")
    found = in_vendor_folder(folder)
    assert found.strays == (folder / "index/config.json", folder / "index/ev/evil")
    assert {copy.crate for copy in found.copies} == {CrateId.of("leaf", "1.0.0"), CrateId.of("leaf", "1.1.0")}
