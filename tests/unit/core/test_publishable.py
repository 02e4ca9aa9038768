"""What `cargo publish` and the registry would refuse: each rule, what is said, and what passes."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from tests.support.crates.archives import honest_crate

from carnet.cargo.crate import read_crate
from carnet.cargo.names import CrateId, CrateName
from carnet.cargo.original import read_toml, resolve
from carnet.errors import FormatError, Unpublishable
from carnet.publishable.checks import (
    Destination,
    check_files,
    check_manifest,
    check_name,
    check_submodules,
    check_tarball,
    spellings,
)
from carnet.publishable.manifest import CRATES_IO
from carnet.publishable.objection import FieldPlaces

CRATE = CrateId.of("demo-lib", "0.1.0")
GOOD = '[package]\nname = "demo-lib"\nversion = "0.1.0"\ndescription = "a demo"\nlicense = "MIT"\n'
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12\n"


def judge(manifest: str, registry: str = CRATES_IO, published: tuple[CrateId, ...] = ()) -> tuple[str, ...]:
    to = Destination(registry, published)
    return check_manifest(CRATE, read_toml(manifest.encode(), "Cargo.toml"), to, FieldPlaces("lib/Cargo.toml"))


def test_an_ordinary_manifest_passes_without_a_word() -> None:
    more = 'publish = true\nkeywords = ["a-b", "c++"]\nhomepage = "https://a.example"\n[dependencies]\nlog = "0.4"\n'
    assert judge(GOOD + more) == ()
    assert judge(GOOD + 'publish = ["corp", "crates-io"]\n') == ()
    local = '[dev-dependencies]\nhelper = { path = "../helper" }\n[dependencies]\na = { path = "a", version = "1" }\n'
    assert judge(GOOD + local) == ()


# manifest, what is said of it, whether another registry takes it
REFUSED = {
    "publish = false": (GOOD + "publish = false\n", "lib/Cargo.toml: package.publish is false", False),
    "publish = []": (GOOD + "publish = []\n", "lib/Cargo.toml: package.publish is []", False),
    "another registry": (GOOD + 'publish = ["internal"]\n', "package.publish allows internal only", False),
    "no version": (GOOD.replace('version = "0.1.0"\n', ""), "package.version is missing", False),
    "only a path": (
        GOOD + '[dependencies]\na = { path = "a" }\n',
        "dependencies.a has a `path` and no version",
        False,
    ),
    "only git": (
        GOOD + '[target."cfg(unix)".build-dependencies]\na = { git = "https://a.example" }\n',
        "target.cfg(unix).build-dependencies.a has a `git` and no version",
        False,
    ),
    "no description": (GOOD.replace('"a demo"', '""'), "package.description is missing", True),
    "a long description": (GOOD.replace("a demo", "é" * 501), "package.description is longer than 1000 bytes", True),
    "no licence": (GOOD.replace('license = "MIT"\n', ""), "package.license is missing, and so is license-file", True),
    "any version": (GOOD + '[dependencies]\nlog = "*"\n', "dependencies.log takes any version (`*`)", True),
    "of another registry": (
        GOOD + '[dependencies]\na = { version = "1", registry = "corp" }\n',
        "dependencies.a is of the registry corp",
        True,
    ),
    "of another index": (
        GOOD + '[dependencies]\na = { version = "1", registry-index = "sparse+https://corp.example/" }\n',
        "is of the registry sparse+https://corp.example/",
        True,
    ),
    "six keywords": (GOOD + 'keywords = ["a", "b", "c", "d", "e", "f"]\n', "package.keywords names 6", True),
    "a keyword with a blank": (GOOD + 'keywords = ["big data"]\n', "package.keywords has 'big data'", True),
    "a long keyword": (GOOD + f'keywords = ["{"k" * 21}"]\n', "package.keywords has", True),
    "six categories": (GOOD + 'categories = ["a", "b", "c", "d", "e", "f"]\n', "package.categories names 6", True),
    "words for a licence": (
        GOOD.replace('"MIT"', '"apache 2.0"'),
        "package.license is 'apache 2.0', which crates",
        True,
    ),
    "a licence in small letters": (
        GOOD.replace('"MIT"', '"mit"'),
        "names mit, which SPDX and crates.io write MIT",
        True,
    ),
    "a category in words": (GOOD + 'categories = ["Command line"]\n', "package.categories has 'Command line'", True),
    "a category that is a number": (GOOD + "categories = [1]\n", "package.categories has '1'", True),
    "no web address": (GOOD + 'repository = "git@a.example:b"\n', "package.repository is 'git@a.example:b'", True),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cargo_or_crates_io_refuses(case: str) -> None:
    manifest, said, elsewhere = REFUSED[case]
    with pytest.raises(Unpublishable) as caught:
        judge(manifest)
    assert said in str(caught.value)
    assert str(caught.value).startswith("demo-lib@0.1.0 cannot be published: lib/Cargo.toml: ")
    assert caught.value.hint, "somebody has to know what to type"
    assert caught.value.exit_code == 2
    if elsewhere:
        assert judge(manifest, "corp") == (), "another registry has rules of its own"
    else:
        with pytest.raises(Unpublishable):
            judge(manifest, "corp")


def test_a_crate_for_a_registry_of_ones_own_goes_there_and_nowhere_else() -> None:
    """The name in `publish` is the registry's name in the claim."""
    assert judge(GOOD + 'publish = ["corp"]\n', "corp") == ()
    with pytest.raises(Unpublishable, match="allows corp only, and this release is for the registry crates-io"):
        judge(GOOD + 'publish = ["corp"]\n')


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(Unpublishable) as caught:
        judge('[package]\nname = "demo-lib"\npublish = false\nrepository = "x"\nkeywords = ["a b"]\n')
    assert str(caught.value).count("; ") == 4
    assert "and 2 more" in str(caught.value)
    assert 'write `version = "0.1.0"`' in caught.value.hint


def test_what_is_inherited_is_sought_where_it_stands() -> None:
    own = read_toml(f"{GOOD}publish.workspace = true\n".encode(), "it")
    workspace = read_toml(b"[workspace.package]\npublish = false\n", "it")
    place = FieldPlaces.of(own, "lib/Cargo.toml", "Cargo.toml")
    with pytest.raises(Unpublishable, match=r"published: Cargo\.toml: workspace\.package\.publish is false"):
        check_manifest(CRATE, resolve(own, workspace), Destination(), place)


def test_what_crates_io_raises_when_asked_is_shown() -> None:
    features = "".join(f"f{number} = []\n" for number in range(301))
    assert "301 features" in judge(f"{GOOD}[features]\n{features}")[0]
    assert judge(f"{GOOD}[features]\n{features}", "corp") == ()


def test_any_version_of_what_only_its_own_tests_need_is_shown() -> None:
    assert "dev-dependencies.log takes any version" in judge(GOOD + "[dev-dependencies]\nlog = {}\n")[0]


# --- what the registry has lists of ---


@pytest.mark.parametrize(
    "text",
    [
        *(
            "MIT OR Apache-2.0",
            "MIT/Apache-2.0",
            "MIT / Apache-2.0",
            "GPL-3.0+",
            "Apache-2.0+",
            "(MIT)",
            "GPL-3.0-or-later",
        ),
        "MIT OR (Apache-2.0 AND MIT)",
        "(Apache-2.0 WITH LLVM-exception) OR ((MIT))",
        "GPL-2.0-only WITH Classpath-exception-2.0 AND Zlib",
        "LicenseRef-mine OR DocumentRef-a:LicenseRef-b.1",
    ],
)
def test_license_expressions_that_crates_io_reads(text: str) -> None:
    assert judge(GOOD.replace('"MIT"', f'"{text}"')) == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("MIT or Apache-2.0", "'or' cannot stand where it stands"),
        ("MIT, Apache-2.0", "'MIT,' is no id"),
        ("MIT Apache-2.0", "'Apache-2.0' cannot stand"),
        ("MIT +", "'+' cannot stand"),
        ("OR MIT", "'OR' cannot stand at its beginning"),
        ("MIT OR", "it ends in the middle"),
        ("MIT WITH", "it ends in the middle"),
        ("(MIT", "a parenthesis is not closed"),
        ("MIT)", "')' cannot stand"),
        ("()", "')' cannot stand"),
        ("(MIT) WITH LLVM-exception", "'WITH' cannot stand"),
        ("MIT WITH (LLVM-exception)", "'(' cannot stand"),
        ("MIT WITH LLVM-exception WITH LLVM-exception", "'WITH' cannot stand"),
        ("  ", "it ends in the middle"),
        ("LicenseRef-", "'LicenseRef-' is no id"),
        ("Apache-2.0 WITH llvm-exception", "write LLVM-exception"),
        ("(" * 100_000, "a parenthesis is not closed"),
    ],
)
def test_license_expressions_that_crates_io_refuses(text: str, said: str) -> None:
    with pytest.raises(Unpublishable, match=re.escape(said)):
        judge(GOOD.replace('"MIT"', f'"{text}"'))


def test_a_license_or_a_category_that_may_be_newer_than_carnet_is_shown() -> None:
    for unknown in ("BSD", "GPLv3", "MIT OR Quite-New-1.0"):
        (shown,) = judge(GOOD.replace('"MIT"', f'"{unknown}"'))
        assert "is not in the SPDX list that carnet knows" in shown
    (shown,) = judge(GOOD.replace('"MIT"', '"MIT WITH some-exception"'))
    assert "names the exception some-exception" in shown
    assert judge(GOOD + 'categories = ["no-std::no-alloc", "parsing"]\n') == ()
    (shown,) = judge(GOOD + 'categories = ["parsing", "knitting"]\n')
    assert "has knitting, which is not in the list that carnet knows" in shown


# --- names and versions ---


@pytest.mark.parametrize("name", ["std", "Core", "proc-macro", "proc_macro", "compiler-builtins", "TEST"])
def test_names_that_crates_io_keeps(name: str) -> None:
    with pytest.raises(Unpublishable, match="is reserved"):
        check_name(CrateName(name), CRATES_IO)
    assert check_name(CrateName(name), "corp") == ()


@pytest.mark.parametrize("name", ["nul", "CON", "com0", "lpt9", "1up", "_x", "größe", "a.b", "a" * 65, ""])
def test_names_that_no_registry_takes(name: str) -> None:
    with pytest.raises(FormatError):
        CrateName(name)


def test_a_name_that_is_a_keyword_is_shown() -> None:
    assert "keyword of Rust" in check_name(CrateName("match"), CRATES_IO)[0]
    assert check_name(CrateName("matches"), CRATES_IO) == ()


@pytest.mark.parametrize(
    ("version", "there", "said"),
    [
        ("0.4.0", "0.4.0+b.5", "differs from 0.4.0+b.5"),
        ("0.4.0+b.6", "0.4.0", "differs from 0.4.0,"),
        ("0.4.0+b.6", "0.4.0+b.5", "in its build metadata only"),
        ("1.0.0-rc.1+x", "1.0.0-rc.1", "in its build metadata only"),
    ],
)
@pytest.mark.parametrize("registry", [CRATES_IO, "corp"])
def test_versions_that_differ_in_build_metadata_only(version: str, there: str, said: str, registry: str) -> None:
    crate = read_crate(honest_crate("demo-lib", version))
    with pytest.raises(Unpublishable) as caught:
        check_tarball(crate, Destination(registry, (CrateId.of("demo-lib", "0.1.0"), CrateId.of("demo-lib", there))))
    assert said in str(caught.value)


def test_versions_that_differ_in_more() -> None:
    crate = read_crate(honest_crate("demo-lib", "0.4.0+b.5"))
    there = tuple(CrateId.of("demo-lib", version) for version in ("0.4.0-rc.1", "0.3.9", "0.4.0+b.5"))
    assert check_tarball(crate, Destination(CRATES_IO, there)) == ()
    (remark,) = check_tarball(crate, Destination(CRATES_IO, (*there, CrateId.of("demo-lib", "1.0.0"))))
    assert remark == "version 0.4.0+b.5 is older than 1.0.0, which is published"


@pytest.mark.parametrize("there", ["demo_lib", "Demo-Lib"])
def test_a_crate_keeps_its_spelling(there: str) -> None:
    crate = read_crate(honest_crate("demo-lib", "0.4.0"))
    with pytest.raises(Unpublishable, match=f"published as {there}, and this is spelled demo-lib"):
        check_tarball(crate, Destination(CRATES_IO, (CrateId.of(there, "0.3.0"),)))


def test_other_spellings_of_a_name() -> None:
    assert [str(name) for name in spellings(CrateName("a-b_c"))] == ["a-b-c", "a_b-c", "a_b_c"]
    assert spellings(CrateName("abc")) == ()
    assert [str(name) for name in spellings(CrateName("a-b-c-d-e-f-g"))] == ["a_b_c_d_e_f_g"]


# --- files ---

STAND_INS = {
    "git-lfs": POINTER,
    "git-lfs with an extension": POINTER.replace(b"oid", b"ext-0-x sha256:" + b"b" * 64 + b"\noid", 1),
    "git-lfs, written on Windows": POINTER.replace(b"\n", b"\r\n"),
    "hawser": POINTER.replace(b"git-lfs.github.com", b"hawser.github.com"),
    "git-media": POINTER.replace(b"https://git-lfs.github.com/spec/v1", b"http://git-media.io/v/2"),
    "git-annex": b"/annex/objects/SHA256E-s12--" + b"a" * 64 + b".bin\n",
    "git-crypt": b"\0GITCRYPT\0" + b"x" * 40,
}
ITSELF = {
    "about pointers": b"# How a pointer looks\n" + POINTER,
    "a version only": b"version https://git-lfs.github.com/spec/v1\n",
    "nothing": b"",
}


def files(contents: Mapping[str, bytes]) -> tuple[str, ...]:
    return check_files(contents, contents.get)


@pytest.mark.parametrize("case", STAND_INS)
def test_what_stands_in_git_for_a_file_is_not_the_file(case: str) -> None:
    with pytest.raises(Unpublishable, match=r"data/x\.bin is what git-(lfs|annex|crypt) keeps") as caught:
        files({"src/lib.rs": b"", "data/x.bin": STAND_INS[case]})
    assert "`exclude`" in caught.value.hint
    crate = read_crate(honest_crate("demo-lib", files={"data/x.bin": STAND_INS[case]}))
    with pytest.raises(Unpublishable, match=r"data/x\.bin is what"):
        check_tarball(crate, Destination("corp"))


@pytest.mark.parametrize("case", ITSELF)
def test_a_file_that_is_itself(case: str) -> None:
    assert files({"x.md": ITSELF[case]}) == ()
    assert check_tarball(read_crate(honest_crate("demo-lib", files={"x.md": ITSELF[case]})), Destination()) == ()


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (("src/A.rs", "src/a.rs"), "are one path where case"),
        (("Data/x", "data/y"), "are one path where case"),
        (("größe", "gro\u0308ße"), "are one path where case"),
        (("src/nul.rs",), "cannot be unpacked on Windows"),
        (("aux/x.rs",), "cannot be unpacked on Windows"),
        (("what?.txt",), "cannot be unpacked on Windows"),
        (("a\u200bb",), "not seen"),
        (("a:b",), "another path on some file system"),
        (("src/.cargo-ok",), "cargo's own marker"),
    ],
)
def test_names_that_are_not_kept_apart_everywhere(paths: tuple[str, ...], said: str) -> None:
    with pytest.raises(Unpublishable, match=said):
        files(dict.fromkeys(paths, b""))
    assert files({"src/lib.rs": b"", "src/lib/x.rs": b"", "größe": b"", "a b": b""}) == ()


@pytest.mark.parametrize(
    ("folder", "manifest", "missing"),
    [
        ("", "", True),
        ("", 'exclude = ["vendor/other"]', True),
        ("", 'exclude = ["vendor/libx"]', True),
        ("", 'exclude = ["vendor/lib/*.txt"]', True),
        ("", 'include = ["src/**", "vendor/**/*.c"]', True),
        ("", 'include = ["*.c"]', True),
        ("vendor", "", True),
        ("", 'exclude = ["/vendor/lib/"]', False),
        ("", 'exclude = ["vendor"]', False),
        ("", 'exclude = ["lib"]', False),
        ("", 'exclude = ["vendor/**"]', False),
        ("", 'include = ["src/**/*.rs", "README.md", "/LICENSE-*"]', False),
        ("crates/demo", "", False),
    ],
)
def test_a_submodule_that_is_absent(folder: str, manifest: str, missing: bool) -> None:
    table = read_toml(f"{GOOD}{manifest}\n".encode(), "it")
    if not missing:
        assert check_submodules(["vendor/lib"], folder, table) == ()
        return
    with pytest.raises(Unpublishable, match="submodule vendor/lib is absent") as caught:
        check_submodules(["vendor/lib"], folder, table)
    assert "git submodule update --init --recursive vendor/lib" in caught.value.hint
