"""Archives that two readers could take differently, or that put bytes where no reviewer saw them.

Each case is one change to an archive that is read without complaint when the change is left out.
"""

from __future__ import annotations

import io
import random
import tarfile
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.crates.archives import BLOCK, Header, TarballBuilder, gzip, honest_crate

from carnet.cargo import tarball
from carnet.cargo.crate import Allowance, CrateLimits, read_crate
from carnet.cargo.names import CrateId
from carnet.errors import ArchiveRefused, FormatError

DEMO = CrateId.of("demo", "0.1.0")


def builder() -> TarballBuilder:
    return TarballBuilder().manifest().file("src/lib.rs", "pub fn f() {}\n")


def header(path: str = "src/evil.rs", **fields: Any) -> Header:
    return Header(f"demo-0.1.0/{path}".encode(), **fields)


def test_positive_control_the_honest_archive_is_read() -> None:
    crate = read_crate(builder().build(), DEMO)
    assert [entry.path for entry in crate.entries] == ["Cargo.toml", "src/lib.rs"]
    assert crate.file("src/lib.rs") == b"pub fn f() {}\n"
    assert crate.warnings == ()


def test_positive_control_of_the_changes() -> None:
    """What the cases below add is read when it is plain."""
    archive = builder().member(header(), b"x").directory("d/").file("d/" * 60 + "f", b"deep")
    archive.member(Header(b"deeper", magic=b"ustar\x0000", prefix=b"demo-0.1.0/p"), b"x")
    archive.member(header("big owner", uid=b"\x80\0\0\0!,Z\xc1"), b"x")
    archive.member(header("no owner", uid=bytes(8), gid=bytes(8), mtime=bytes(12)), b"x")
    archive.member(header("typed", mode=b"0100755\0"), b"x")
    crate = read_crate(archive.build(end=bytes(20 * BLOCK)), DEMO)
    assert crate.warnings == ()
    assert [entry.path for entry in crate.entries if entry.executable] == ["typed"]
    assert {"src/evil.rs", "d/" * 60 + "f", "p/deeper", "big owner", "no owner"} <= {e.path for e in crate.entries}


Change = Callable[[TarballBuilder], bytes]


def added(member: Header, data: bytes = b"") -> Change:
    return lambda archive: archive.member(member, data).build()


LONG = b"demo-0.1.0/" + b"d/" * 60 + b"f"
USTAR = b"ustar\x0000"
PAX_PATH = b"30 path=demo-0.1.0/src/lib.rs\n"
PAX_SIZE = b"12 size=100\n"

REFUSED: dict[str, tuple[Change, str]] = {
    # what is not a file
    "hard link": (added(header(kind=b"1", linkname=b"demo-0.1.0/src/lib.rs")), "hard link"),
    "symbolic link": (added(header(kind=b"2", linkname=b"../../other-1.0.0/src")), "symbolic link"),
    "symbolic link in ustar": (added(header(kind=b"2", linkname=b"x", magic=USTAR)), "symbolic link"),
    "character device": (added(header(kind=b"3")), "character device"),
    "block device": (added(header(kind=b"4")), "block device"),
    "fifo": (added(header(kind=b"6")), "fifo"),
    "contiguous file": (added(header(kind=b"7"), b"x"), "contiguous"),
    "sparse file": (added(header(kind=b"S"), b"x"), "sparse"),
    "multi-volume": (added(header(kind=b"M"), b"x"), "continuation"),
    "volume label": (added(header(kind=b"V")), "volume label"),
    "GNU directory dump": (added(header(kind=b"D")), "directory dump"),
    "old long names": (added(header(kind=b"N"), b"x"), "long name table"),
    "Solaris extended header": (added(header(kind=b"X"), b"x"), "unknown type"),
    "old file type": (added(header(kind=b"\0"), b"x"), "unknown type"),
    "file type 9": (added(header(kind=b"9"), b"x"), "unknown type"),
    "file with a link target": (added(header(linkname=b"/etc/passwd")), "link target"),
    # PAX
    "PAX path": (lambda a: a.member(header(kind=b"x"), PAX_PATH).file("src/a.rs", "x").build(), "PAX"),
    "PAX size": (lambda a: a.member(header(kind=b"x"), PAX_SIZE).file("src/a.rs", "x").build(), "PAX"),
    "global PAX": (lambda a: a.member(header(kind=b"g"), PAX_PATH).file("src/a.rs", "x").build(), "global PAX"),
    # GNU long names
    "long link name": (added(header(kind=b"K"), b"x" * 200 + b"\0"), "long link name"),
    "two long names": (lambda a: a.long_name(LONG).long_name(LONG).build(), "two long names"),
    "long name for nothing": (lambda a: a.long_name(LONG).build(), "does not follow"),
    "long name without NUL": (lambda a: a.long_name(LONG, terminator=b"").build(), "only NUL"),
    "long name with a NUL inside": (lambda a: a.long_name(LONG + b"\0" + LONG).build(), "only NUL"),
    "long name that is short": (lambda a: a.long_name(b"demo-0.1.0/src/a.rs").build(), "100 to"),
    "long name of a megabyte": (lambda a: a.long_name(LONG + b"x" * 2**20).build(), "100 to"),
    "long name of another file": (lambda a: a.long_name(LONG).member(header(), b"x").build(), "another short name"),
    "long name with a prefix": (
        lambda a: a.long_name(LONG).member(Header(LONG, prefix=b"p", magic=USTAR), b"x").build(),
        "another short name",
    ),
    "long name under a name": (added(Header(b"demo-0.1.0/a", kind=b"L"), LONG + b"\0"), "name of its own"),
    # numbers
    "size in base 256": (added(header(size_field=b"\x80" + bytes(10) + b"\x01"), b"x"), "size that is not"),
    "negative size": (added(header(size_field=b"-0000000001\0"), b"x"), "size that is not"),
    "size with a blank in front": (added(header(size_field=b" 0000000001\0"), b"x"), "size that is not"),
    "size with two numbers": (added(header(size_field=b"00001\x0000002\0"), b"x"), "size that is not"),
    "size in hexadecimal": (added(header(size_field=b"0x000000001\0"), b"x"), "size that is not"),
    "size with a plus": (added(header(size_field=b"+0000000001\0"), b"x"), "size that is not"),
    "empty size": (added(header(size_field=bytes(12)), b""), "size that is not"),
    "size beyond the end": (added(header(size_field=b"77777777777\0"), b"x"), "more data than"),
    "negative mtime": (added(header(mtime=b"\xff" * 12)), "mtime that is not"),
    "negative owner": (added(header(uid=b"\xff" * 8)), "uid that is not"),
    "mode of a link": (added(header(mode=b"0120777\0")), "permission bits"),
    "mode that is no number": (added(header(mode=b"rw-r--r-")), "mode that is not"),
    "wrong checksum": (added(header(checksum=b"0000001\0")), "wrong checksum"),
    "no checksum": (added(header(checksum=bytes(8))), "checksum that is not"),
    "device numbers": (added(header(raw={329: b"000000x\0"})), "device major"),
    # formats
    "v7 header": (added(header(magic=bytes(8))), "neither GNU nor ustar"),
    "odd magic": (added(header(magic=b"ustar\0 \0")), "neither GNU nor ustar"),
    "prefix in a GNU header": (added(header(prefix=b"elsewhere")), "readers take differently"),
    "times in a GNU header": (added(header(raw={345: b"00000000001\0"})), "readers take differently"),
    "sparse map in a GNU header": (added(header(raw={386: b"00000000001\0"})), "readers take differently"),
    "xstar mark": (added(header(magic=USTAR, raw={508: b"tar\0"})), "readers take differently"),
    "directory with data": (added(header("d/", kind=b"5"), b"x"), "has data"),
    # names
    "name behind a NUL": (added(Header(b"demo-0.1.0/a\0b"), b"x"), "behind a NUL"),
    "prefix behind a NUL": (added(header(magic=USTAR, prefix=b"a\0b"), b"x"), "behind a NUL"),
    "name not UTF-8": (added(Header(b"demo-0.1.0/\xff"), b"x"), "not UTF-8"),
    "empty name": (added(Header(b""), b"x"), "outside"),
    "absolute name": (added(Header(b"/etc/passwd"), b"x"), "outside"),
    "another crate's folder": (added(Header(b"other-1.0.0/src/lib.rs"), b"x"), "outside"),
    "folder as a file": (added(Header(b"demo-0.1.0"), b"x"), "not a path"),
    "parent": (added(header("../other-1.0.0/src/lib.rs"), b"x"), "not a path"),
    "parent in the middle": (added(header("src/../../other-1.0.0/lib.rs"), b"x"), "not a path"),
    "parent by prefix": (added(Header(b"a", magic=USTAR, prefix=b"demo-0.1.0/.."), b"x"), "not a path"),
    "parent by long name": (lambda a: a.file("../" + "d/" * 60 + "f").build(), "not a path"),
    "here": (added(header("./src/lib.rs"), b"x"), "not a path"),
    "empty part": (added(header("src//lib.rs"), b"x"), "not a path"),
    "file with a slash at its end": (added(header("src/evil.rs/"), b"x"), "not a path"),
    "backslash": (added(header("src\\lib.rs"), b"x"), "some file system"),
    "stream of another file": (added(header("src/lib.rs::$DATA"), b"x"), "some file system"),
    "drive": (added(header("C:/x"), b"x"), "some file system"),
    "short name of another file": (added(header("CARGO~1.TOM"), b"x"), "some file system"),
    "dot at the end": (added(header("src/lib.rs."), b"x"), "some file system"),
    "blank at the end": (added(header("src /lib.rs"), b"x"), "some file system"),
    "line break": (added(header("src/a\nb"), b"x"), "some file system"),
    "control character": (added(header("src/\x1b[2Ja"), b"x"), "some file system"),
    # one name for two things
    "twice": (added(header("src/lib.rs"), b"x"), "twice"),
    "directory twice": (
        lambda a: a.directory("d/").member(header("d/", kind=b"5", mode=b"0000700\0")).build(),
        "twice, and the two differ",
    ),
    "twice, longer by a byte": (added(header("src/lib.rs"), b"pub fn f() {}\n\n"), "twice, and the two differ"),
    "twice, once executable": (
        added(header("src/lib.rs", mode=b"0000755\0"), b"pub fn f() {}\n"),
        "twice, and the two differ",
    ),
    "three times, the last one another": (
        lambda a: a.file("src/lib.rs", "pub fn f() {}\n").file("src/lib.rs", "pub fn g() {}\n").build(),
        "twice, and the two differ",
    ),
    "directory with two slashes at its end": (added(header("d//", kind=b"5")), "not a path"),
    "the one folder with two slashes at its end": (added(Header(b"demo-0.1.0//", kind=b"5")), "not a path"),
    "file and then folder": (added(header("src/lib.rs/x"), b"x"), "file and a folder"),
    "folder and then file": (added(header("src"), b"x"), "file and a folder"),
    "directory and then file": (lambda a: a.directory("d/").file("d").build(), "twice"),
    "two manifests": (added(header("Cargo.toml"), b"[package]"), "twice"),
    "a manifest in lower case": (added(header("cargo.toml"), b"[package]"), "exactly one Cargo.toml"),
    "a manifest in full width": (added(header("\uff23argo.toml"), b"[package]"), "exactly one Cargo.toml"),
    # ends
    "no end mark": (lambda a: gzip(a.tar(end=b"")), "no end mark"),
    "half an end mark": (lambda a: gzip(a.tar(end=bytes(BLOCK))), "end mark is cut off"),
    "a file behind the end mark": (
        lambda a: gzip(a.tar() + TarballBuilder().file("src/evil.rs", "x").tar()),
        "behind its end mark",
    ),
    "a file behind one zero block": (
        lambda a: a.block(bytes(BLOCK)).file("src/evil.rs", "x").build(),
        "behind its end mark",
    ),
    "a byte behind the end mark": (lambda a: gzip(a.tar(end=bytes(3 * BLOCK - 1) + b"\1")), "behind its end mark"),
    "no multiple of 512": (lambda a: gzip(a.tar() + b"\0"), "no multiple"),
    "data in the padding": (lambda a: a.member(header(), b"x", padding=b"evil".ljust(511, b"\0")).build(), "padding"),
    # gzip
    "bytes behind the member": (lambda a: a.build(trailing=b"x"), "follow"),
    "zeros behind the member": (lambda a: a.build(trailing=bytes(512)), "follow"),
    "two members": (lambda a: a.build(trailing=gzip(b"")), "follow"),
    "reserved flag": (lambda a: gzip(a.tar(), header=b"\x1f\x8b\x08\x20\0\0\0\0\0\xff"), "not gzip"),
    "not gzip": (lambda a: a.tar(), "not gzip"),
    "zlib": (lambda a: zlib.compress(a.tar()), "not gzip"),
    "cut off": (lambda a: a.build()[:-9], "cut off"),
    "wrong CRC": (lambda a: a.build()[:-8] + bytes(8), "does not inflate"),
    "wrong length": (lambda a: a.build()[:-4] + bytes(4), "does not inflate"),
    "nothing": (lambda a: b"", "not gzip"),
    "empty archive": (lambda a: TarballBuilder().build(), "exactly one Cargo.toml"),
}


@pytest.mark.parametrize(("change", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused(change: Change, reason: str) -> None:
    with pytest.raises(ArchiveRefused, match=reason) as refusal:
        read_crate(change(builder()), DEMO)
    text = str(refusal.value)
    assert text.isprintable()  # one line; nothing in it moves the cursor
    assert text.isascii()
    assert len(text) < 250


ELSEWHERE = {
    "absolute": Header(b"/src/lib.rs"),
    "absolute, twice": Header(b"//src/lib.rs"),
    "the root": Header(b"/", kind=b"5"),
    "empty": Header(b""),
    "empty directory": Header(b"", kind=b"5"),
    "here": Header(b"./src/lib.rs"),
    "here, as a directory": Header(b"./", kind=b"5"),
    "above": Header(b"../src/lib.rs"),
    "beside": Header(b"src/lib.rs"),
    "beside, as a file": Header(b"pax_global_header"),
    "another crate's": Header(b"other-1.0.0/src/lib.rs"),
    "another spelling": Header(b"Demo-0.1.0/src/lib.rs"),
    "absolute by prefix": Header(b"lib.rs", magic=USTAR, prefix=b"/src"),
    "the folder as a file": Header(b"demo-0.1.0"),
    "a drive": Header(b"C:/src/lib.rs"),
}


@pytest.mark.parametrize("asked", [DEMO, None], ids=["asked for", "whatever it is"])
@pytest.mark.parametrize("place", ["first", "last"])
@pytest.mark.parametrize("member", ELSEWHERE.values(), ids=ELSEWHERE)
def test_what_is_outside_of_the_one_folder_is_refused_whatever_comes_first(
    member: Header, place: str, asked: CrateId | None
) -> None:
    archive = TarballBuilder()
    if place == "first":
        archive.member(member)
    archive.manifest()
    if place == "last":
        archive.member(member)
    with pytest.raises(ArchiveRefused, match=r"outside of the folder|not a path|some file system"):
        read_crate(archive.build(), asked)


TWICE: dict[str, Callable[[TarballBuilder], TarballBuilder]] = {
    "the manifest": lambda a: a.manifest(),
    "a file": lambda a: a.file("src/lib.rs", "pub fn f() {}\n"),
    "a file with another time and owner": lambda a: a.member(
        header("src/lib.rs", mtime=b"00000000001\0", uid=b"0001750\0"), b"pub fn f() {}\n"
    ),
    "a directory": lambda a: a.directory("d/").directory("d/"),
    "the one folder": lambda a: a.member(Header(b"demo-0.1.0/", kind=b"5")).member(Header(b"demo-0.1.0", kind=b"5")),
    "a long name": lambda a: a.file("d/" * 60 + "f", "x").file("d/" * 60 + "f", "x"),
}


@pytest.mark.parametrize("again", TWICE.values(), ids=TWICE)
def test_equal_members_of_one_name_are_warned_of(again: Callable[[TarballBuilder], TarballBuilder]) -> None:
    """As in `vecio` 0.1.0: whichever of them a reader keeps, it has the same files."""
    data = again(builder()).build()
    crate = read_crate(data, DEMO)
    assert len(crate.warnings) == 1
    assert "twice, and both are the same" in crate.warnings[0]
    assert len({entry.path for entry in crate.entries}) == len(crate.entries)
    with pytest.raises(ArchiveRefused, match="both are the same"):
        read_crate(data, DEMO, strict=True)


def test_two_originals_of_the_manifest_are_warned_of_and_the_last_one_counts() -> None:
    """As in `linregress` 0.4.0, whose repository had cargo's copy in it. Unpacked, the last one is what remains."""
    archive = builder().file("Cargo.toml.orig", "of the repository").file("Cargo.toml.orig", "of cargo")
    crate = read_crate(archive.build(), DEMO)
    assert crate.file("Cargo.toml.orig") == b"of cargo"
    assert ["the last one counts" in warning for warning in crate.warnings] == [True]
    with pytest.raises(ArchiveRefused, match="the last one counts"):
        read_crate(archive.build(), DEMO, strict=True)
    for path in ("src/Cargo.toml.orig", "cargo.toml.orig2", "Cargo.lock"):
        with pytest.raises(ArchiveRefused, match="twice, and the two differ"):
            read_crate(builder().file(path, "a").file(path, "b").build(), DEMO)
    with pytest.raises(ArchiveRefused, match="twice, and the two differ"):
        read_crate(archive.directory("Cargo.toml.orig").build(), DEMO)


def test_another_crate_under_the_name_is_refused() -> None:
    data = honest_crate("evil", "0.1.0")
    assert str(read_crate(data).id) == "evil@0.1.0"
    with pytest.raises(ArchiveRefused, match=r"not 'demo-0\.1\.0'"):
        read_crate(data, DEMO)


def test_the_folder_and_the_manifest_must_name_one_crate() -> None:
    archive = TarballBuilder("demo", "0.1.0")
    archive.file("Cargo.toml", '[package]\nname = "other"\nversion = "0.1.0"\n')
    with pytest.raises(ArchiveRefused, match=r"says other@0\.1\.0"):
        read_crate(archive.build())


def test_a_manifest_that_does_not_parse_names_the_crate() -> None:
    with pytest.raises(FormatError, match=r"demo-0\.1\.0: Cargo\.toml is not TOML"):
        read_crate(TarballBuilder().file("Cargo.toml", "[package").build(), DEMO)


def test_a_bomb_is_stopped_at_the_limit() -> None:
    limits = CrateLimits(unpacked=10**6)
    fits = builder().file("zeros", bytes(900_000)).build()
    assert read_crate(fits, DEMO, limits=limits).file("zeros") == bytes(900_000)
    bomb = builder().file("zeros", bytes(100 * 10**6)).build()
    assert len(bomb) < 10**6
    with pytest.raises(ArchiveRefused, match="inflates to more than 1000000 bytes"):
        read_crate(bomb, DEMO, limits=limits)


REAL = {
    "imxrt-ral 0.6.2": (1_923_452, 62_509_568, 372),
    "stm32mp1 0.16.0": (2_696_959, 36_139_520, 7_542),
    "esp32p4 0.1.0": (1_608_828, 24_857_088, 4_054),
}
"""What real crates weigh, as tarballs and as tar archives, and how many files and folders they have."""


@pytest.mark.parametrize(("size", "unpacked", "entries"), REAL.values(), ids=REAL)
def test_positive_control_what_the_heaviest_of_real_crates_bring_is_read(
    size: int, unpacked: int, entries: int
) -> None:
    archive = builder()
    for number in range(entries - 4):  # beside the manifest, a folder and its file, and the noise
        archive.file(f"src/{number}.rs")
    noise = random.Random(1).randbytes(size - len(gzip(archive.tar(), level=1)) - unpacked // 200)
    archive.file("noise", noise + bytes(unpacked - len(archive.tar()) - BLOCK - len(noise)))
    data = gzip(archive.tar(), level=1)
    assert len(data) <= size
    assert len(archive.tar()) >= unpacked
    assert len(read_crate(data, DEMO).entries) == entries - 1


def test_what_a_tarball_may_bring_grows_with_it_and_ends() -> None:
    small, large = CrateLimits().allowance(100), CrateLimits().allowance(10**6)
    assert (small.unpacked, small.entries) == (12 * 2**20 + 3200, 1000)
    assert (large.unpacked, large.entries) == (12 * 2**20 + 32 * 10**6, 1000 + 3333)
    most = CrateLimits().allowance(10**9)
    assert (most.unpacked, most.entries) == (512 * 2**20, 100_000)


def test_whoever_brings_all_bytes_does_not_bring_all_files_as_well() -> None:
    """Each beyond the first thousand costs as much time as six kilobytes inside."""
    allowance = CrateLimits().allowance(10**6)
    assert allowance.beside(10**6).entries == allowance.entries
    assert allowance.beside(allowance.unpacked).entries == 1_000
    half = allowance.beside(allowance.unpacked - 1_000 * 6 * 1024)
    assert (half.entries, half.unpacked, half.letters) == (2_000, allowance.unpacked, allowance.letters)
    limits = CrateLimits(always=Allowance(7 * 2**20, 1_000, 1_000))
    many = builder()
    for number in range(1_097):
        many.file(str(number))
    many.file("noise", random.Random(1).randbytes(40_000))
    assert len(read_crate(many.build(), DEMO, limits=limits).entries) == 1_100
    with pytest.raises(ArchiveRefused, match=r"more than 10\d\d files"):
        read_crate(many.file("z", bytes(8_300_000)).build(), DEMO, limits=limits)


def test_a_long_name_counts_as_what_it_costs() -> None:
    archive = builder().file("d/" + "n" * 200)
    limits = CrateLimits(entries=5)
    assert len(read_crate(archive.build(), DEMO, limits=limits).entries) == 3
    archive = builder().file("n" * 200).file("m" * 200)
    with pytest.raises(ArchiveRefused, match="long names counted"):
        read_crate(archive.build(), DEMO, limits=limits)


@pytest.mark.parametrize("claimed", [0, 1, 4096, 2**32 - 1])
def test_the_length_at_the_end_of_the_member_must_be_the_length(claimed: int) -> None:
    data = builder().build()
    with pytest.raises(ArchiveRefused, match=r"does not inflate: .*length"):
        read_crate(data[:-4] + claimed.to_bytes(4, "little"), DEMO)


@pytest.mark.parametrize("place", [0, 127, 128, 255, 256, 511])
@pytest.mark.parametrize("wrong", [-1, 1, 65_521])
def test_a_checksum_is_the_sum_of_every_byte(place: int, wrong: int) -> None:
    full = Header(b"\xff" * 100, linkname=b"\xff" * 100, raw={265: b"\xff" * 247}).encode()
    changed = bytearray(full)
    changed[place] ^= 0x40
    for block in (full, changed):
        plain = bytes(block[:148]) + b" " * 8 + bytes(block[156:])
        assert tarball._sum_of_all(bytes(block)) == sum(block)
        off = plain[:148] + b"%06o\0 " % (sum(plain) + wrong) + plain[156:]
        with pytest.raises(ArchiveRefused, match="wrong checksum"):
            tarball._plain(off, 0)


def test_limits_of_size_and_number() -> None:
    data = builder().build()
    assert read_crate(data, DEMO, limits=CrateLimits(compressed=len(data), entries=3)).length == len(data)
    with pytest.raises(ArchiveRefused, match=f"{len(data) - 1} are allowed"):
        read_crate(data, DEMO, limits=CrateLimits(compressed=len(data) - 1))
    with pytest.raises(ArchiveRefused, match="more than 1 files and directories"):
        read_crate(data, DEMO, limits=CrateLimits(entries=1))
    with pytest.raises(ArchiveRefused, match="more than 2 files and folders"):
        read_crate(data, DEMO, limits=CrateLimits(entries=2))  # `src/` is a folder that only a path names
    deep = builder().file("d/" * 99 + "f").build()
    assert read_crate(deep, DEMO).file("d/" * 99 + "f") == b""
    with pytest.raises(ArchiveRefused, match="100 folders deep"):
        read_crate(builder().file("d/" * 100 + "f").build(), DEMO)


WARNED = {
    "case": ("src/Lib.rs", "are one path"),
    "a folder's case": ("SRC/other.rs", "are one path"),
    "composition": ("src/e\u0301.rs", "are one path"),
    "invisible": ("src/li\u200db.rs", "are one path"),
    "device of Windows": ("src/aux.rs", "on Windows"),
    "unportable": ("tests/a?b", "on Windows"),
    "written backwards": ("src/x\u202ey.rs", "not seen"),
    "cargo's marker": (".cargo-ok", "does not unpack"),
}


@pytest.mark.parametrize(("path", "words"), WARNED.values(), ids=WARNED)
def test_warned_of_and_refused_when_strict(path: str, words: str) -> None:
    archive = builder().file("src/\xe9.rs")
    assert read_crate(archive.build(), DEMO, strict=True).warnings == ()
    data = archive.file(path, "x").build()
    assert any(words in warning for warning in read_crate(data, DEMO).warnings)
    with pytest.raises(ArchiveRefused, match=words):
        read_crate(data, DEMO, strict=True)


def test_warnings_do_not_pile_up() -> None:
    archive = builder()
    for number in range(50):
        archive.file(f"{number}/aux.rs")
    assert len(read_crate(archive.build(), DEMO).warnings) == 20


def test_size_is_warned_of() -> None:
    data = builder().build()
    assert "more than the usual 10" in read_crate(data, DEMO, limits=CrateLimits(usual=10), strict=True).warnings[0]


def test_what_cargo_does_not_unpack_is_no_file() -> None:
    crate = read_crate(builder().file(".cargo-ok", "ok").file("a/.cargo-ok", "ok").build(), DEMO)
    assert [entry.path for entry in crate.entries] == ["Cargo.toml", "src/lib.rs"]


@pytest.mark.parametrize("format_", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_what_another_writer_makes_is_read_alike_or_refused(format_: int) -> None:
    files = {
        "demo-0.1.0/Cargo.toml": b'[package]\nname = "demo"\nversion = "0.1.0"\n',
        "demo-0.1.0/" + "long/" * 20 + "f": b"deep",
        "demo-0.1.0/\xe9.rs": b"named in UTF-8",
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=format_) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    if format_ == tarfile.PAX_FORMAT:  # names beyond ASCII need a header that overrides another
        with pytest.raises(ArchiveRefused, match="PAX"):
            read_crate(buffer.getvalue(), DEMO)
    else:
        crate = read_crate(buffer.getvalue(), DEMO)
        assert {f"demo-0.1.0/{entry.path}": entry.data for entry in crate.entries} == files
