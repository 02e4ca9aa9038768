"""TOML: what is refused, where it says so, and what parsing may cost."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from carnet import stricttoml
from carnet.cargo.lockfile import read_lockfile
from carnet.cargo.manifest import read_manifest
from carnet.cargo.original import read_toml
from carnet.errors import CarnetError, FormatError
from carnet_cli.config import policy_file
from carnet_gate.config import check_argument, read_config
from carnet_signer.steps.layouts import compile_layout

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MANY = 10_000_000


def read(text: str | bytes) -> stricttoml.Table:
    return stricttoml.parse(text.encode() if isinstance(text, str) else text, "the file", max_bytes=MANY)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = " + "9" * 5_000, "integer past 64 bits"),
        ("a = 9223372036854775808", "integer past 64 bits"),
        ("a = [1,-9223372036854775809]", "integer past 64 bits"),
        ("a = 0xffff_ffff_ffff_ffff", "integer past 64 bits"),
        ("a = 0b1" + "0" * 64, "integer past 64 bits"),
        ("a = " + "[" * 300 + "]" * 300, "deeper than 80"),
        ("a = " + "{a=" * 200 + "1" + "}" * 200, "deeper than 80"),
        (".".join("a" * 90) + " = 1", "deeper than 80"),
        (".".join("a" * 3_000) + " = 1", "deeper than 80|syntax"),
        (f"[{'.'.join('a' * 20)}]", "more than 16 parts .line 1"),
        ("a = 1\na = 2", "line 2, column"),
        ("[a]\n[a]", "twice.*line 2, column"),
        ('a = "\x00"', "line 1, column"),
        ("a = 2026-13-01", "line 1, column"),
        ("a = 0000-01-01", "line 1, column"),
        ('a = "\\ud800"', "not TOML"),
        ("\ufeff\ufeffa = 1", "not TOML"),
        (b"a = '\xff'", "not UTF-8 .byte 5"),
        (b"\xff\xfea\x00", "not UTF-8"),
        (b"a = 1\r", "not TOML"),
    ],
)
def test_a_document_that_cargo_would_not_take_is_refused_by_one_error(text: str | bytes, says: str) -> None:
    with pytest.raises(FormatError, match=f"(?s)^the file .*({says})"):
        read(text)


def test_a_byte_order_mark_and_what_toml_allows_are_read() -> None:
    assert read("\ufeffa = 1") == {"a": 1}
    assert read("a = 9223372036854775807\nb = -0\nc = 0o777\r\n") == {"a": 2**63 - 1, "b": 0, "c": 0o777}
    assert read("a = 9999-12-31T23:59:59.999999+23:59\nb = 0001-01-01") is not None
    assert read('a = "18446744073709551616"')["a"] == str(2**64)
    assert read("a = {b = 1,\n}") == {"a": {"b": 1}}  # TOML 1.1


def test_a_long_key_does_not_make_a_long_error() -> None:
    with pytest.raises(FormatError) as refused:
        read(f"{'k' * 100_000} = 1\n" * 2)
    assert len(str(refused.value)) < 300


def _layout(data: bytes) -> object:
    return compile_layout(data, lambda path: b"", now=NOW, what="layout.toml")


def _cargo_config(data: bytes) -> object:
    return read_config(_written(data, "config.toml"))


def _settings(data: bytes) -> object:
    return policy_file.read(_written(data, "carnet.toml"), now=NOW)


def _argument(data: bytes) -> None:
    check_argument(data.decode(errors="surrogateescape"), Path("/nonexistent"))


_folder: list[Path] = []


def _written(data: bytes, name: str) -> Path:
    (_folder[0] / name).write_bytes(data)
    return _folder[0] / name


READERS = [
    read_lockfile,
    read_manifest,
    _layout,
    _cargo_config,
    _settings,
    _argument,
    lambda data: read_toml(data, "x"),
]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "data",
    [
        b"a = " + b"9" * 5_000,
        b"a = " + b"[" * 5_000,
        b".".join([b"a"] * 5_000) + b" = 1",
        b"a = '\xff'",
        b"\xff\xfe",
        b"a = 1\na = 2",
        b"a = 1,",
    ],
)
def test_whoever_reads_toml_raises_an_error_of_ours(
    reader: Callable[[bytes], object], data: bytes, tmp_path: Path
) -> None:
    _folder[:] = [tmp_path]
    with pytest.raises(CarnetError):
        reader(data)


def test_files_that_people_write_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    _folder[:] = [tmp_path]
    mark = b"\xef\xbb\xbf"
    assert read_lockfile(mark + b"version = 4\n") == read_lockfile(b"version = 4\n")
    manifest = b'[package]\nname = "foo"\nversion = "1.0.0"\n'
    assert read_manifest(mark + manifest) == read_manifest(manifest)
    assert _cargo_config(mark + b"[net]\n") == {"net": {}}
    assert _settings(mark + b"[policy]\n") is not None


def headers(size: int) -> bytes:
    return b"".join(b"[a%d.b.c]\n" % number for number in range(size // 11))


def dotted(size: int) -> bytes:
    return b"[" + b"x." * 14 + b"x]\n" + b"".join(b"a%d" % n + b".a" * 14 + b" = 1\n" for n in range(size // 38))


def one_long_key(size: int) -> bytes:
    return b"\n".join([b".".join([b"a"] * 900) + b" = 1"] * (size // 1_800))


def below_a_long_header(size: int) -> bytes:
    return b"[" + b"a." * 900 + b"a]\n" + b"".join(b"%d=1\n" % number for number in range(size // 6))


def numbers(size: int) -> bytes:
    return b"a=[" + b"1," * (size // 2) + b"]"


def tables(size: int) -> bytes:
    return b"a=[" + b"{}," * (size // 3) + b"]"


def strings(size: int) -> bytes:
    return b'a="' + b"\\n" * (size // 2) + b'"'


def digits(size: int) -> bytes:
    return b"a=" + b"1_" * (size // 2) + b"1"


@pytest.mark.parametrize("make", [headers, dotted, one_long_key, below_a_long_header, numbers, tables, strings, digits])
@pytest.mark.parametrize("size", [20_000, 1_000_000])
def test_no_document_costs_more_than_its_size_allows(make: Callable[[int], bytes], size: int) -> None:
    """0.2 s for a megabyte and 50 ms for small files, with room for a slow machine; without the bound, 1 to 60 s."""
    data = make(size)
    took = []
    for _ in range(3):  # others run beside it: the best of three says what it takes
        begin = time.process_time()
        with contextlib.suppress(FormatError):
            read(data)
        took.append(time.process_time() - begin)
    assert min(took) < 3 * max(0.05, 0.2 * len(data) / 1e6)


@pytest.mark.parametrize("packages", [10, 1_000, 6_000])
def test_large_lock_files_of_real_projects_are_read(packages: int) -> None:
    lock = "version = 4\n" + "".join(
        f'\n[[package]]\nname = "windows-x86-{number}"\nversion = "0.52.{number}"\n'
        f'source = "registry+https://github.com/rust-lang/crates.io-index"\nchecksum = "{number:064x}"\n'
        'dependencies = [\n "log",\n "syn 1.0.109",\n "quote",\n "serde",\n "libc",\n "rand",\n "time",\n "url",\n]\n'
        for number in range(packages)
    )
    assert len(read_lockfile(lock.encode()).packages) == packages


@pytest.mark.parametrize("number", ["9" * 300, "-" + "9" * 300, "0x" + "f" * 300, "0." + "1" * 300, "1_" * 200 + "1"])
@pytest.mark.parametrize("before", ["a = ", "a = [1, ", "a = [#\n"])
def test_a_large_file_has_no_number_without_end(before: str, number: str) -> None:
    """The parser below has a hundred bytes of memory for each digit."""
    filler = 'b = "' + "x" * 30_000 + '"\n'
    assert stricttoml.parse(filler.encode() + b"a = [1, -2, 0xff, 0.5]\n", "it", max_bytes=10**6)["a"][:3] == [
        1,
        -2,
        255,
    ]
    with pytest.raises(FormatError, match="a number of more than 200 digits"):
        stricttoml.parse((filler + before + number + "\n").encode(), "it", max_bytes=10**6)


def test_numbers_weigh_more_than_strings_do() -> None:
    strings = b"a = [" + b'"abcdefghi",' * 80_000 + b"]\n"
    numbers = b"a = [" + b"12345678901," * 80_000 + b"]\n"
    assert len(stricttoml.parse(strings, "it", max_bytes=10**6)["a"]) == 80_000
    with pytest.raises(FormatError, match="nothing but syntax"):
        stricttoml.parse(numbers, "it", max_bytes=10**6)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("collecting", [True, False])
def test_the_collector_is_as_it_was_after_a_large_document(collecting: bool, whole: bool) -> None:
    document = b'a = "' + b"x" * 30_000 + (b'"\n' if whole else b"\n")
    (gc.enable if collecting else gc.disable)()
    try:
        with contextlib.nullcontext() if whole else pytest.raises(FormatError):
            stricttoml.parse(document, "it", max_bytes=40_000)
        assert gc.isenabled() == collecting
    finally:
        gc.enable()
