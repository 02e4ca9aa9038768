"""Index lines: read, written, built from a tarball, and compared with its manifest."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.crates.archives import honest_crate

from carnet.cargo.crate import CrateFile, read_crate
from carnet.cargo.index_line import CRATES_IO, IndexFile, IndexLine, compare_line, line_from_crate, line_from_publish
from carnet.cargo.names import CrateName, Version
from carnet.errors import ArchiveRefused, CarnetError, FormatError

SUM = "ab" * 32
ELSEWHERE = "sparse+https://registry.example.test/index/"
MANIFEST = """
links = "z"
rust-version = "1.70"
[features]
default = ["std"]
std = ["plain/std"]
nice = ["dep:renamed"]
weak = ["renamed?/x"]
all = ["nice", "std"]
[dependencies]
plain = "1.0"
renamed = { version = ">=1,<2", package = "real", optional = true, default-features = false, features = ["a", "b"] }
[target.'cfg(unix)'.build-dependencies]
cc = "1"
[dev-dependencies]
criterion = "0.5"
"""


@pytest.fixture(scope="module")
def crate() -> CrateFile:
    return read_crate(honest_crate(extra=MANIFEST))


@pytest.fixture(scope="module")
def line(crate: CrateFile) -> IndexLine:
    return line_from_crate(crate, pubtime="2026-01-02T03:04:05Z")


def raw_line(**fields: Any) -> dict[str, Any]:
    return {"name": "demo", "vers": "0.1.0", "deps": [], "cksum": SUM, "features": {}, "yanked": False} | fields


def dep(**fields: Any) -> dict[str, Any]:
    plain = {"name": "a", "req": "^1", "features": [], "optional": False, "default_features": True, "target": None}
    return plain | {"kind": "normal"} | fields


def test_a_line_keeps_its_bytes_and_unknown_fields() -> None:
    data = b' {"vers": "0.1.0","name":"demo","deps":[],"new":{"x":[1]},"cksum":"%s"}' % SUM.encode()
    line = IndexLine.from_bytes(data + b"\n")
    assert line.to_bytes() == data
    assert line.raw["new"] == {"x": [1]}
    yanked = line.with_(yanked=True)
    assert json.loads(yanked.to_bytes())["new"] == {"x": [1]}
    assert yanked.yanked
    assert not line.yanked


def test_only_yanking_and_time_leave_the_identity(line: IndexLine) -> None:
    moved = line.with_(yanked=True, pubtime="2026-01-01T00:00:00Z")
    assert (moved.yanked, moved.pubtime) == (True, "2026-01-01T00:00:00Z")
    assert moved.identity() == line.identity() == line_from_identity(line)
    assert line.with_() is line
    for key, value in (("cksum", SUM), ("new", 1), ("features", {}), ("links", "y"), ("deps", [])):
        assert IndexLine.from_object(dict(line.raw) | {key: value}).identity() != line.identity()


def line_from_identity(line: IndexLine) -> str:
    """The identity does not depend on how the line is spaced or ordered."""
    spaced = json.dumps(dict(reversed(list(line.raw.items()))), indent=1).replace("\n", " ").encode()
    return IndexLine.from_bytes(spaced).identity()


def test_features_of_both_tables_are_joined_as_cargo_does() -> None:
    line = IndexLine.from_object(raw_line(features={"a": ["x"]}, features2={"a": ["dep:y"], "b": []}))
    assert line.features == {"a": ("x", "dep:y"), "b": ()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": None}, "`name` must be a string"),
        ({"name": "../x"}, "not a crate name"),
        ({"vers": "1"}, "not a semantic version"),
        ({"cksum": "AB" * 32}, "not a sha256"),
        ({"cksum": SUM + "0"}, "not a sha256"),
        ({"cksum": None}, "must be a string"),
        ({"deps": None}, "list of objects"),
        ({"deps": {}}, "list of objects"),
        ({"deps": [1]}, "list of objects"),
        ({"deps": [dep(kind="other")]}, "unknown kind"),
        ({"deps": [dep(optional=None)]}, "true or false"),
        ({"deps": [dep(features="x")]}, "list of strings"),
        ({"deps": [dep(req=None)]}, "must be a string"),
        ({"features": {"a": "b"}}, "lists of strings"),
        ({"features": {"a": [1]}}, "lists of strings"),
        ({"features": []}, ""),
        ({"features2": [1]}, "lists of strings"),
        ({"yanked": 1}, "true or false"),
        ({"links": 1}, "must be a string"),
        ({"pubtime": "2026-1-2T03:04:05Z"}, "pubtime"),
        ({"pubtime": "2026-01-02T03:04:05+00:00"}, "pubtime"),
    ],
)
def test_wrong_fields_are_refused(change: dict[str, Any], words: str) -> None:
    assert IndexLine.from_object(raw_line()).id.name.text == "demo"
    if words:
        with pytest.raises(FormatError, match=words):
            IndexLine.from_object(raw_line(**change))
    else:
        IndexLine.from_object(raw_line(**change))


@pytest.mark.parametrize("text", ['{"name":"a","name":"b"}', "[]", "", "{}\n{}", '{"a":1.5}', "\xff"])
def test_lines_that_are_no_json_object_are_refused(text: str) -> None:
    with pytest.raises(FormatError):
        IndexLine.from_bytes(text.encode("latin-1"))


def test_a_line_is_one_line() -> None:
    with pytest.raises(FormatError, match="line break"):
        IndexLine.from_bytes(json.dumps(raw_line(), indent=1).encode())


def test_a_file_of_lines() -> None:
    lines = [json.dumps(raw_line(vers=vers)).encode() for vers in ("0.1.0", "0.1.1")]
    file = IndexFile.from_bytes(b"\n".join(lines) + b"\n", CrateName("Demo"))
    assert file.to_bytes() == b"\n".join(lines) + b"\n"
    found = file.line(Version("0.1.1"))
    assert found is not None
    assert found.to_bytes() == lines[1]
    assert file.line(Version("0.2.0")) is None
    assert IndexFile.from_bytes(lines[0], CrateName("demo")).to_bytes() == lines[0] + b"\n"


STRANGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a line twice": (lambda line: line + line, "two lines of version '0.1.0'"),
    "a version twice": (lambda line: line + line.replace(b'"demo"', b'"Demo"'), "two lines of version '0.1.0'"),
    "a version twice, once in escapes": (
        lambda line: line + line.replace(b'"0.1.0"', b'"0.1.\\u0030"'),
        "two lines of version '0.1.0'",
    ),
    "another crate": (lambda line: line.replace(b"demo", b"other"), "has a line of 'other'"),
}
STRANGE_BESIDE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"{}\n", "without a name and version"),
    "a number for a name": (b'{"name":1,"vers":"0.1.1"}\n', "without a name and version"),
    "a list": (b'["name","vers"]\n', "without a name and version"),
    "half": (b"{\n", "without a name and version"),
    "another crate": (b'{"name":"other","vers":"0.1.1"}\n', "has a line of 'other'"),
    "no line": (b'{"name":"demo","vers":"0.1.1"}\n', "cksum"),
    "escapes that end nowhere": (b'{"name":"demo\\"}\n', "without a name and version"),
    "half a line of the same version": (b'{"name":"demo","vers":"0.1.0",\n', "without a name and version"),
    "a later form": (b'{"v":9,"crate":"demo","release":"0.1.0"}\n', "without a name and version"),
    "not UTF-8": (b'{"name":"demo","vers":"0.1.0","\xff":1}\n', "without a name and version"),
    "another version that is none": (b'{"name":"demo","vers":"0.1","deps":[]}\n', "not a semantic version"),
}
_FATAL = ("another crate",)


@pytest.mark.parametrize("name", STRANGE)
def test_a_file_with_a_strange_line_is_refused(name: str) -> None:
    change, words = STRANGE[name]
    file = IndexFile.from_bytes(change(json.dumps(raw_line()).encode() + b"\n"), CrateName("demo"))
    with pytest.raises(FormatError, match=words):
        _ = file.lines
    with pytest.raises(FormatError, match=words):
        file.line(Version("0.1.0"))


@pytest.mark.parametrize("name", STRANGE_BESIDE)
def test_a_strange_line_spoils_no_other_version(name: str) -> None:
    more, words = STRANGE_BESIDE[name]
    line = json.dumps(raw_line()).encode() + b"\n"
    file = IndexFile.from_bytes(line + more, CrateName("demo"))
    assert file.line(Version("0.1.0")) == IndexLine.from_bytes(line)
    assert file.line(Version("0.1.9")) is None
    if name in _FATAL:  # cargo does not skip it
        with pytest.raises(FormatError, match=words):
            _ = file.readable
    else:
        assert file.readable == (IndexLine.from_bytes(line),)
    with pytest.raises(FormatError, match=words):
        _ = file.lines


def test_a_file_that_is_too_large_is_refused() -> None:
    with pytest.raises(FormatError, match="larger than"):
        IndexFile.from_bytes(b" " * (64 * 1024 * 1024 + 1), CrateName("demo"))


@given(st.lists(st.sampled_from(("0.1.0", "0.1.1", "0.1.10", "10.1.0", "0.1.0-a", "0.1.0+0.1.0")), max_size=5))
def test_the_line_of_a_version_is_the_one_among_all_lines(versions: list[str]) -> None:
    data = b"".join(json.dumps(raw_line(vers=version)).encode() + b"\n" for version in versions)
    for wanted in ("0.1.0", "0.1.1", "0.1.0-a", "0.1.0+0.1.0"):
        file = IndexFile.from_bytes(data, CrateName("demo"))
        if versions.count(wanted) > 1:
            with pytest.raises(FormatError, match="two lines"):
                file.line(Version(wanted))
            continue
        found = file.line(Version(wanted))
        assert (found is not None) == (wanted in versions)
        assert found is None or str(found.id.version) == wanted


def test_a_line_is_read_in_full_when_it_is_asked_for() -> None:
    good, bad = json.dumps(raw_line()).encode(), json.dumps(raw_line(vers="0.1.1", deps=1)).encode()
    twice = bad.replace(b'"deps": 1', b'"vers": "0.1.2"')
    for other, version in ((bad, "0.1.1"), (twice, "0.1.2")):
        file = IndexFile.from_bytes(good + b"\n" + other, CrateName("demo"))
        assert file.line(Version("0.1.0")) == IndexLine.from_bytes(good)
        with pytest.raises(FormatError):
            file.line(Version(version))
        with pytest.raises(FormatError):
            assert file.lines


def test_files_are_equal_when_their_bytes_are() -> None:
    line = IndexLine.from_object(raw_line())
    name = CrateName("demo")
    assert IndexFile(name, [line]) == IndexFile.from_bytes(line.to_bytes(), name)
    assert IndexFile(name, [line]) != IndexFile(name)
    assert IndexFile(name, [line]) != line


def test_the_line_of_a_crate(crate: CrateFile, line: IndexLine) -> None:
    assert line.raw == {
        "name": "demo",
        "vers": "0.1.0",
        "deps": [
            dep(name="cc", target="cfg(unix)", kind="build"),
            dep(name="criterion", req="^0.5", kind="dev"),
            dep(name="plain", req="^1.0"),
            dep(name="renamed", req=">=1, <2", features=["a", "b"], optional=True, default_features=False)
            | {"package": "real"},
        ],
        "cksum": crate.sha256,
        "features": {"default": ["std"], "std": ["plain/std"]},
        "features2": {"all": ["nice", "std"], "nice": ["dep:renamed"], "weak": ["renamed?/x"]},
        "v": 2,
        "links": "z",
        "rust_version": "1.70",
        "pubtime": "2026-01-02T03:04:05Z",
        "yanked": False,
    }
    assert compare_line(line, crate) == ()


def test_no_registry_means_crates_io_in_a_manifest_and_its_own_in_a_line() -> None:
    extra = f'[dependencies]\nhere = {{ version = "1", registry-index = "{ELSEWHERE}" }}\nthere = "1"\n'
    crate = read_crate(honest_crate(extra=extra))
    for registry, expected in ((CRATES_IO, [ELSEWHERE, None]), (ELSEWHERE, [None, CRATES_IO])):
        line = line_from_crate(crate, pubtime=None, registry=registry)
        assert [found.registry for found in line.deps] == expected
        assert compare_line(line, crate, registry=registry) == ()
    with pytest.raises(ArchiveRefused, match="dependencies"):
        compare_line(line_from_crate(crate, pubtime=None, registry=ELSEWHERE), crate)


def test_a_publish_request_gives_the_same_line(line: IndexLine, crate: CrateFile) -> None:
    request: dict[str, Any] = {
        "name": "demo",
        "vers": "0.1.0",
        "deps": [
            {**dep(name=found.crate, kind=found.kind, target=found.target, features=list(found.features)),
             "version_req": found.req, "optional": found.optional, "default_features": found.default_features,
             "explicit_name_in_toml": found.name if found.package else None}
            for found in reversed(line.deps)
        ],
        "features": {name: list(values) for name, values in crate.manifest.features.items()},
        "links": "z",
        "rust_version": "1.70",
        "authors": [],
    }  # fmt: skip
    assert line_from_publish(request, crate.sha256, pubtime=line.pubtime).raw == line.raw
    with pytest.raises(FormatError, match="deps"):
        line_from_publish({**request, "deps": None}, crate.sha256, pubtime=None)


# --- what a line may not say ---


def changed(line: IndexLine, which: str, /, **fields: Any) -> IndexLine:
    raw = json.loads(line.to_bytes())
    raw["deps"] = [found | fields if found["name"] == which else found for found in raw["deps"]]
    return IndexLine.from_object(raw)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("plain", {"req": "^1.1"}),
        ("plain", {"req": "*"}),
        ("plain", {"req": "=1.0.0"}),
        ("plain", {"req": "nonsense"}),
        ("plain", {"name": "plane"}),
        ("plain", {"package": "evil"}),
        ("plain", {"kind": "build"}),
        ("plain", {"kind": "dev"}),
        ("plain", {"target": "cfg(windows)"}),
        ("plain", {"target": "cfg(any())"}),
        ("plain", {"features": ["evil"]}),
        ("plain", {"optional": True}),
        ("plain", {"default_features": False}),
        ("plain", {"registry": ELSEWHERE}),
        ("plain", {"artifact": ["bin"]}),
        ("renamed", {"package": None}),
        ("renamed", {"package": "other"}),
        ("renamed", {"features": ["a"]}),
        ("renamed", {"default_features": True}),
        ("cc", {"target": None}),
        ("cc", {"kind": "normal"}),
        ("criterion", {"kind": "normal"}),
        ("criterion", {"kind": "build"}),
    ],
)
def test_a_dependency_that_differs_is_refused(
    name: str, fields: dict[str, Any], line: IndexLine, crate: CrateFile
) -> None:
    assert compare_line(changed(line, name), crate) == ()
    with pytest.raises(ArchiveRefused, match="dependencies of its index line are not the manifest's") as refusal:
        compare_line(changed(line, name, **fields), crate)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("deps", [], "only the manifest has"),
        ("features", {}, "features"),
        ("features", {"default": ["std", "nice"], "std": ["plain/std"]}, "'default'"),
        ("features", {"default": ["std"], "std": ["plain/std"], "evil": []}, "'evil'"),
        ("features2", {"nice": ["dep:renamed"]}, "features"),
        ("links", "y", "links"),
        ("cksum", SUM, "promises sha256"),
        ("vers", "0.1.1", "the archive is demo@0.1.0"),
        ("name", "Demo", "the archive is demo@0.1.0"),
    ],
)
def test_a_line_that_differs_is_refused(key: str, value: Any, words: str, line: IndexLine, crate: CrateFile) -> None:
    with pytest.raises(ArchiveRefused, match=words):
        compare_line(IndexLine.from_object(dict(line.raw) | {key: value}), crate)


def test_an_extra_dependency_is_refused(line: IndexLine, crate: CrateFile) -> None:
    raw = json.loads(line.to_bytes())
    raw["deps"].append(dep(name="evil"))
    with pytest.raises(ArchiveRefused, match=r"only the index has 'normal evil \^1'"):
        compare_line(IndexLine.from_object(raw), crate)
    raw["deps"][-1] = raw["deps"][2]  # the same one twice is another list too
    with pytest.raises(ArchiveRefused, match="only the index has"):
        compare_line(IndexLine.from_object(raw), crate)


def test_spelling_is_warned_of(line: IndexLine, crate: CrateFile) -> None:
    for name, fields in (
        ("plain", {"req": "1.0"}),
        ("renamed", {"req": "<2, >=1"}),
    ):
        assert compare_line(changed(line, name, **fields), crate) == (
            "a requirement is not written as cargo publishes it",
        )


def test_old_lines_are_warned_of(line: IndexLine, crate: CrateFile) -> None:
    raw = {key: value for key, value in line.raw.items() if key not in ("links", "rust_version")}
    assert compare_line(IndexLine.from_object(raw), crate) == (
        "the index lacks links = 'z'",
        "the index says rust-version None, the manifest 1.70",
    )
    assert compare_line(changed(line, "plain", target=None, features=[""]), crate) == ()
    no_dev = raw | {"deps": [found for found in raw["deps"] if found["name"] != "criterion"]}  # type: ignore[union-attr,index,call-overload]
    assert "the index lacks 'dev criterion ^0.5'" in compare_line(IndexLine.from_object(no_dev), crate)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"req": "^0.4"}, ("only the index has 'dev criterion ^0.4'", "the index lacks 'dev criterion ^0.5'")),
        (
            {"optional": True},
            ("only the index has 'dev criterion ^0.5 optional'", "the index lacks 'dev criterion ^0.5'"),
        ),
        ({"name": "other"}, ("only the index has 'dev other ^0.5'", "the index lacks 'dev criterion ^0.5'")),
        (
            {"features": ["x"]},
            ("only the index has 'dev criterion ^0.5 features x'", "the index lacks 'dev criterion ^0.5'"),
        ),
    ],
)
def test_what_differs_in_dev_dependencies_alone_is_warned_of(
    fields: dict[str, Any], words: tuple[str, ...], line: IndexLine, crate: CrateFile
) -> None:
    """As in `httparse` 1.1.2: cargo never resolves those of a registry's crate."""
    said = compare_line(changed(line, "criterion", **fields), crate)
    assert set(words) <= set(said)
    more = json.loads(line.to_bytes())
    more["deps"].append(dep(name="another", kind="dev"))
    assert "only the index has 'dev another ^1'" in compare_line(IndexLine.from_object(more), crate)


@pytest.mark.parametrize("kind", ["normal", "build"])
def test_a_dev_dependency_that_the_index_makes_another_kind_is_refused(
    kind: str, line: IndexLine, crate: CrateFile
) -> None:
    with pytest.raises(ArchiveRefused, match=f"only the index has '{kind} criterion"):
        compare_line(changed(line, "criterion", kind=kind), crate)


@pytest.mark.parametrize(
    ("theirs", "same"),
    [(">=1.0.0, <2.0.0", True), ("1, *", True), (">=1.0, <2", True), ("*", False), (">=1.0.0, <2.0.1", False)],
)
def test_requirements_are_compared_by_what_they_admit(
    theirs: str, same: bool, line: IndexLine, crate: CrateFile
) -> None:
    """As in `serial_test` 0.5.1, and in `number_prefix` 0.2.5, whose index and manifest truly differ."""
    other = changed(line, "plain", req=theirs)
    if same:
        assert compare_line(other, crate) == ("a requirement is not written as cargo publishes it",)
    else:
        with pytest.raises(ArchiveRefused, match="only the index has"):
            compare_line(other, crate)


def test_yanking_and_time_are_no_difference(line: IndexLine, crate: CrateFile) -> None:
    assert compare_line(line.with_(yanked=True, pubtime="2020-01-01T00:00:00Z"), crate) == ()


@given(st.data())
def test_any_change_of_a_line_is_refused_or_harmless(data: st.DataObject) -> None:
    """No value in any place of a line gives an error that is not ours."""
    values = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=5), st.lists(st.text(max_size=3)))
    crate = read_crate(honest_crate(extra=MANIFEST))
    raw = json.loads(line_from_crate(crate, pubtime=None).to_bytes())
    target = data.draw(st.sampled_from([raw, *raw["deps"], raw["features"], raw["features2"]]))
    key = data.draw(st.sampled_from(sorted(target)))
    target[key] = data.draw(values)
    try:
        line = IndexLine.from_bytes(json.dumps(raw).encode())
        compare_line(line, crate)
    except CarnetError as refusal:
        assert str(refusal).isprintable()  # noqa: PT017  -- either outcome is right
    else:
        assert line.cksum == crate.sha256


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b"{\\\n"])
def test_a_file_of_hardly_anything_but_line_breaks_is_refused_unread(line: bytes) -> None:
    """A look at each of a third of a million lines would cost half a second for a megabyte."""
    IndexFile.from_bytes(line * 1000, CrateName("demo"))
    with pytest.raises(FormatError, match="hardly anything but line breaks: 20000"):
        IndexFile.from_bytes(line * 20_000, CrateName("demo"))


def test_positive_control_short_lines_of_many_versions_are_read() -> None:
    data = b"".join(b'{"name":"a","vers":"%d.0.0","deps":[],"cksum":"%064d"}\n' % (n, n) for n in range(5000))
    line = IndexFile.from_bytes(data, CrateName("a")).line(Version("4999.0.0"))
    assert line is not None
    assert line.cksum.endswith("4999")
