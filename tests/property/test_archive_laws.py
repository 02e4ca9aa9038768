"""Laws of the archive reader that hold for every input: no byte moves, and nothing surfaces but our errors."""

from __future__ import annotations

import io
import tarfile
import zlib

from hypothesis import assume, example, given
from hypothesis import strategies as st
from tests.support.crates.archives import BLOCK, TarballBuilder, gzip

from carnet.cargo.crate import CrateFile, read_crate
from carnet.cargo.names import CrateId
from carnet.cargo.tarball import members
from carnet.errors import CarnetError

DEMO = CrateId.of("demo", "0.1.0")
HONEST = (
    TarballBuilder()
    .manifest()
    .file("src/lib.rs", "pub fn f() {}\n" * 20)
    .file("a/" * 50 + "deep.rs", "x", executable=True)
    .directory("empty/")
)
TAR = HONEST.tar()
CRATE = HONEST.build()
READ = read_crate(CRATE, DEMO)


def content(crate: CrateFile) -> dict[str, tuple[bool, bytes]]:
    return {entry.path: (entry.executable, entry.data) for entry in crate.entries}


@given(st.integers(0, len(CRATE) - 1), st.integers(1, 255))
def test_a_mutated_byte_is_refused_or_changes_no_file(at: int, flip: int) -> None:
    mutated = bytearray(CRATE)
    mutated[at] ^= flip
    try:
        crate = read_crate(bytes(mutated), DEMO)
    except CarnetError:
        return
    assert content(crate) == content(READ)
    assert crate.sha256 != READ.sha256


@given(st.integers(0, len(TAR) - 1), st.integers(1, 255))
@example(156, 5)  # the type of the first file
@example(5, 1)  # its name
def test_a_mutated_header_is_refused_even_below_a_good_checksum_of_gzip(at: int, flip: int) -> None:
    """Inside the tar only one file's own bytes, or the end of its long name, can change without a refusal."""
    mutated = bytearray(TAR)
    mutated[at] ^= flip
    try:
        crate = read_crate(gzip(bytes(mutated)), DEMO)
    except CarnetError:
        return
    changed = content(crate).items() ^ content(READ).items()
    assert len(changed) == 2  # one file of before, one of now


@given(st.binary(max_size=3 * BLOCK))
def test_any_bytes_give_our_errors_only(data: bytes) -> None:
    for attempt in (data, gzip(data), gzip(data.ljust(-(-len(data) // BLOCK) * BLOCK, b"\0") + bytes(2 * BLOCK))):
        words = "read"
        try:
            read_crate(attempt)
        except CarnetError as refusal:
            words = str(refusal)
        assert words.isprintable()


@given(st.integers(0, len(CRATE) - 1))
def test_a_crate_that_is_cut_off_is_refused(length: int) -> None:
    try:
        read_crate(CRATE[:length], DEMO)
    except CarnetError:
        return
    raise AssertionError(f"{length} bytes of {len(CRATE)} were read")


FIELDS = st.sampled_from(
    [(0, 100), (100, 8), (108, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8), (345, 167)]
)


@given(
    st.lists(st.tuples(FIELDS, st.binary(max_size=100)), min_size=1, max_size=3),
    st.binary(max_size=600),
    st.booleans(),
)
def test_what_is_read_is_read_alike_by_another_reader(
    changes: list[tuple[tuple[int, int], bytes]], data: bytes, keep_size: bool
) -> None:
    """Every archive that is read means the same to Python's tarfile: same names, types, modes and bytes."""
    block = bytearray(TAR[:BLOCK])
    block[124:136] = f"{len(data):011o}\0".encode()
    for (start, length), value in changes:
        if not (keep_size and start == 124):
            block[start : start + min(length, len(value))] = value[:length]
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):07o}\0".encode()
    tar = bytes(block) + data + bytes(-len(data) % BLOCK) + TAR
    try:
        ours = [
            (member.name, member.directory, member.mode, tar[member.start : member.start + member.size])
            for member in members(tar, max_members=100)
        ]
    except CarnetError:
        return
    with tarfile.open(fileobj=io.BytesIO(tar)) as other:
        theirs = [
            (info.name, info.isdir(), info.mode & 0o7777, file.read() if (file := other.extractfile(info)) else b"")
            for info in other.getmembers()
        ]
    assert ours == theirs


PARTS = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12)
PATHS = st.lists(PARTS, min_size=1, max_size=12).map("/".join)


@given(st.dictionaries(PATHS, st.tuples(st.booleans(), st.binary(max_size=700)), max_size=6))
def test_what_was_put_in_comes_out(files: dict[str, tuple[bool, bytes]]) -> None:
    assume("Cargo.toml" not in files)
    archive = TarballBuilder().manifest()
    for path, (executable, data) in files.items():
        archive.file(path, data, executable=executable)
    try:
        crate = read_crate(archive.build(), DEMO)
    except CarnetError:
        return  # a name that some file system takes differently; the attacks list them
    found = content(crate)
    assert found.pop("Cargo.toml")
    assert found == {path: value for path, value in files.items() if not path.endswith(".cargo-ok")}


@given(st.binary(max_size=2000), st.integers(0, 9))
def test_compression_is_no_part_of_the_content(data: bytes, level: int) -> None:
    archive = TarballBuilder().manifest().file("f", data)
    crate = read_crate(gzip(archive.tar(), level=level), DEMO)
    assert crate.file("f") == data
    assert zlib.decompress(gzip(archive.tar(), level=level), 31) == archive.tar()
