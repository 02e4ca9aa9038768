"""The manifest as its maintainer wrote it: what cannot be read one way only is refused, not guessed at."""

from __future__ import annotations

from typing import Any

import pytest

from carnet.cargo.original import MAX_MANIFEST, crate_id, meaning, read_toml, resolve
from carnet.errors import FormatError

PACKAGE = {"name": "demo", "version": "1.0.0"}


@pytest.mark.parametrize(
    "data",
    [b"x = ", b"\xff", b"[a]\n[a]\n", b"a = 1\na = 2\n", b"#" * (MAX_MANIFEST + 1), b"a = " + b"[" * 100_000],
    ids=["cut off", "no UTF-8", "a table twice", "a key twice", "large", "deep"],
)
def test_what_is_no_toml_is_refused(data: bytes) -> None:
    assert read_toml(b"\xef\xbb\xbfa = 1\n" + b"#" * 100, "it") == {"a": 1}
    with pytest.raises(FormatError, match=r"^it is "):
        read_toml(data, "it")


@pytest.mark.parametrize(
    "manifest",
    [{}, {"package": {}}, {"package": {"name": 1}}, {"package": {"name": "demo", "version": 1}}, {"package": []}],
    ids=str,
)
def test_a_manifest_is_of_a_package(manifest: dict[str, Any]) -> None:
    assert str(crate_id({"package": PACKAGE})) == "demo@1.0.0"
    with pytest.raises(FormatError):
        crate_id(manifest)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"dependencies": {"log": 1}}, "dependency 'log' is neither a requirement nor a table"),
        ({"build-dependencies": {"log": ["1"]}}, "dependency 'log' is neither a requirement nor a table"),
        ({"target": {"cfg(unix)": {"dependencies": {"log": True}}}}, "dependency 'log' is neither"),
        ({"target": {" ": {"dependencies": {"log": "1"}}}}, "a platform without a name"),
        ({"features": {"std": "log"}}, "feature 'std' is not a list of names"),
        ({"features": {"std": ["log", 1]}}, "feature 'std' is not a list of names"),
    ],
    ids=str,
)
def test_what_decides_the_build_has_its_form(more: dict[str, Any], why: str) -> None:
    assert meaning({"package": PACKAGE, "dependencies": {"log": "1"}}, {"src/lib.rs"})
    with pytest.raises(FormatError, match=why):
        meaning({"package": PACKAGE} | more, {"src/lib.rs"})


@pytest.mark.parametrize(
    ("pool", "own", "why"),
    [
        (1, {"workspace": True}, "the workspace's dependency 'log' is neither a requirement nor a table"),
        ("1", {"workspace": True, "features": "std"}, "features of the dependency 'log' are not a list"),
        ({"version": "1", "features": 1}, {"workspace": True, "features": []}, "the dependency 'log' are not a list"),
    ],
    ids=str,
)
def test_what_is_inherited_has_its_form(pool: object, own: dict[str, Any], why: str) -> None:
    with pytest.raises(FormatError, match=why):
        resolve({"package": PACKAGE, "dependencies": {"log": own}}, {"workspace": {"dependencies": {"log": pool}}})


@pytest.mark.parametrize(
    "own",
    [
        {"package": PACKAGE | {"edition": {"workspace": True}}},
        {"package": PACKAGE, "dependencies": {"log": {"workspace": True}}},
    ],
    ids=["a field", "a dependency"],
)
def test_what_is_inherited_is_there(own: dict[str, Any]) -> None:
    whole = {"workspace": {"package": {"edition": "2021"}, "dependencies": {"log": "1"}}}
    assert resolve(own, whole)
    workspaces: list[dict[str, Any]] = [{"workspace": {}}, {"workspace": {"package": {}, "dependencies": {}}}]
    for workspace in workspaces:
        with pytest.raises(FormatError, match="is inherited, and the workspace does not have it"):
            resolve(own, workspace)
