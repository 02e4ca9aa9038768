"""Lock files of every version, and those that contradict themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carnet.cargo.lockfile import CRATES_IO, LockedPackage, SourceKind, read_lockfile
from carnet.errors import CarnetError, FormatError

SUM = "ab" * 32
PACKAGE = f'[[package]]\nname = "serde"\nversion = "1.0.0"\nsource = "{CRATES_IO}"\n'

V1 = f"""
[root]
name = "app"
version = "0.1.0"
dependencies = ["serde 1.0.0 ({CRATES_IO})"]

{PACKAGE}
[[package]]
name = "old"
version = "0.0.1"
source = "{CRATES_IO}"

[metadata]
"checksum serde 1.0.0 ({CRATES_IO})" = "{SUM}"
"checksum old 0.0.1 ({CRATES_IO})" = "<none>"
"""
V2 = f'{PACKAGE}checksum = "{SUM}"\n[[package]]\nname = "app"\nversion = "0.1.0"\ndependencies = ["serde"]\n'
V4 = f"""
version = 4
{V2}
[[package]]
name = "from-git"
version = "0.1.0"
source = "git+https://example.test/repo?rev=1#0123456789"

[[package]]
name = "from-elsewhere"
version = "0.1.0"
source = "sparse+https://registry.example.test/index/"
checksum = "{SUM}"

[[package]]
name = "_scratch"
version = "0.1.0"
"""


def read(text: str) -> tuple[LockedPackage, ...]:
    return read_lockfile(text.encode()).packages


def test_version_1_keeps_checksums_apart() -> None:
    lock = read_lockfile(V1.encode())
    assert lock.version == 1
    assert [(str(p.id), p.kind, p.checksum) for p in lock.packages] == [
        ("app@0.1.0", SourceKind.PATH, None),
        ("serde@1.0.0", SourceKind.CRATES_IO, SUM),
        ("old@0.0.1", SourceKind.CRATES_IO, None),
    ]


def test_versions_2_to_4() -> None:
    assert [read_lockfile(text.encode()).version for text in (V2, "version = 3\n" + V2, V4)] == [2, 3, 4]
    assert read(V2) == read("version = 3\n" + V2)


def test_every_kind_of_source_is_told() -> None:
    lock = read_lockfile(V4.encode())
    assert {str(p.id.name): p.kind for p in lock.packages} == {
        "serde": SourceKind.CRATES_IO,
        "app": SourceKind.PATH,
        "from-git": SourceKind.GIT,
        "from-elsewhere": SourceKind.REGISTRY,
    }
    assert [str(p.id) for p in lock.registry_packages] == ["serde@1.0.0"]
    assert lock.nameless == ("_scratch",)


NAMES = ["_scratch", "aux", "con", "9lives", "größe", "_", "x" * 65, "serde\u0430"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "source", ["git+https://example.org/x?rev=1#" + "a" * 40, "registry+https://example.org/index"]
)
def test_a_name_that_crates_io_would_not_take_stops_nothing_where_the_package_is_not_from_there(
    name: str, source: str
) -> None:
    entry = f'[[package]]\nname = "{name}"\nversion = "0.1.0"\nsource = "{source}"\n'
    lock = read_lockfile((V4 + entry).encode())
    found = lock.packages[-1]
    assert str(found.id) == f"{name}@0.1.0"
    assert found.kind in (SourceKind.GIT, SourceKind.REGISTRY)  # so that a policy has its say
    assert found.id not in {other.id for other in lock.packages[:-1]}
    with pytest.raises(FormatError):
        read_lockfile((V4 + entry.replace(source, CRATES_IO)).encode())


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a b", "a.b", "a\\u001bb", "a\\u200bb", "x" * 201])
def test_what_cargo_takes_for_no_name_is_none_wherever_it_is_from(name: str) -> None:
    entry = f'[[package]]\nname = "{name}"\nversion = "0.1.0"\nsource = "git+https://example.org/x#aa"\n'
    with pytest.raises(FormatError, match="not the name of a package"):
        read_lockfile((V4 + entry).encode())


def test_a_byte_order_mark_is_read_as_cargo_reads_it() -> None:
    for text in (V1, V2, V4):
        assert read_lockfile(b"\xef\xbb\xbf" + text.encode()) == read_lockfile(text.encode())
    with pytest.raises(FormatError):
        read_lockfile(b"\xef\xbb\xbf" * 2 + V2.encode())


def test_the_public_registry_goes_by_one_name_only() -> None:
    """Another spelling of its URL is another source to cargo, and so it is here."""
    for source in (CRATES_IO + "/", CRATES_IO.upper(), CRATES_IO.replace("registry+", "sparse+"), CRATES_IO + ".git"):
        try:
            packages = read(PACKAGE.replace(CRATES_IO, source))
        except FormatError:
            continue
        assert [package.kind for package in packages] == [SourceKind.REGISTRY]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version = 5\n" + V2, "version"),
        ("version = 2\n" + V2, "version"),
        ("version = true\n" + V2, "version"),
        ('version = "4"\n' + V2, "version"),
        (V2 + PACKAGE, "twice"),
        (
            V1 + f'{PACKAGE}checksum = "{SUM}"\n'.replace("serde", "x"),
            "two places",
        ),
        ("version = 4\n" + V1.replace("[root]", "[[package]]"), "two places"),
        (V2.replace(SUM, "AB" * 32), "not a sha256"),
        (V2.replace(SUM, SUM[:-2]), "not a sha256"),
        (V1.replace(SUM, "x"), "not a sha256"),
        (PACKAGE.replace("1.0.0", "1.0"), "not a semantic version"),
        (PACKAGE.replace("serde", "se rde"), "not a crate name"),
        (PACKAGE.replace("serde", "../serde"), "not a crate name"),
        (PACKAGE.replace("registry+", "path+"), "not a source"),
        (PACKAGE.replace("registry+", ""), "not a source"),
        (PACKAGE.replace(CRATES_IO, CRATES_IO + "\\n"), "not a source"),
        ('[[package]]\nname = "x"\n', "without a name or version"),
        ('[[package]]\nname = 1\nversion = "1.0.0"\n', "must be a string"),
        ("package = 1", "array of tables"),
        ("package = [1]", "must be a table"),
        ("root = 1", "must be a table"),
        ("metadata = 1", "must be a table"),
        ('[metadata]\n"checksum x 1.0.0 (y)" = 1', "must be a string"),
        ("[[package]", "not TOML"),
        ("x = " + "[" * 5000, "TOML|deep"),
        ("x = " + "9" * 5000, "not TOML"),
        ("\ud800", "not UTF-8"),
    ],
)
def test_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(FormatError, match=words) as refusal:
        read_lockfile(text.encode(errors="surrogatepass"), "some/Cargo.lock")
    assert str(refusal.value).startswith("some/Cargo.lock")
    assert str(refusal.value).isprintable()


def test_too_large() -> None:
    assert read_lockfile(b"#" * 1000).packages == ()
    with pytest.raises(FormatError, match="larger than"):
        read_lockfile(b"#" * (16 * 1024 * 1024 + 1))


def test_an_empty_lock_locks_nothing() -> None:
    assert read("") == ()


@given(st.integers(0, len(V4) - 1), st.characters(codec="utf-8"))
def test_a_mutated_character_gives_our_errors_only(at: int, char: str) -> None:
    try:
        read(V4[:at] + char + V4[at + 1 :])
    except CarnetError as refusal:
        words = str(refusal)
    else:
        words = "read"
    assert words.isprintable()
