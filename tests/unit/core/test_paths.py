"""Paths of the trust model: how they are built, and which ones are unsafe."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuf.api.metadata import DelegatedRole

from carnet.cargo.names import CrateId, CrateName
from carnet.errors import FormatError
from carnet.tuf import paths


@pytest.mark.parametrize(
    ("name", "path"),
    [("a", "index/1/a"), ("Ab", "index/2/ab"), ("abc", "index/3/a/abc"), ("Serde_JSON", "index/se/rd/serde_json")],
)
def test_index_paths_are_where_cargo_looks(name: str, path: str) -> None:
    assert paths.index_path(CrateName(name)) == path
    assert any(paths.matches(pattern, path) for pattern in paths.INDEX_PATTERNS)


def test_crate_paths_keep_the_spelling_in_a_canonical_folder() -> None:
    crate = CrateId.of("Inflector", "0.11.4")
    assert paths.crate_path(crate) == "crates/c3/inflector/Inflector-0.11.4.crate"
    for pattern in (paths.CLAIMS_PATTERNS[0], paths.shard_patterns("c3")[0], *paths.crate_patterns(crate.name)):
        assert paths.matches(pattern, paths.crate_path(crate))
        assert paths.matches(pattern, paths.bundle_path(crate))


@pytest.mark.parametrize(
    "path", ["", "/a", "a/", "a//b", "a/../b", "..", "./a", "a\\b", "a\0b", "a\nb", "a b", "x" * 513]
)
def test_unsafe_target_paths_are_refused(path: str) -> None:
    with pytest.raises(FormatError):
        paths.check_target_path(path)


def test_a_star_does_not_cross_a_slash() -> None:
    assert paths.matches("index/*/*", "index/1/a")
    assert not paths.matches("index/*/*", "index/se/rd/serde")
    assert not paths.matches("crates/*", "crates/a\n/b")


path_chars = st.text("ab*?/.[]", max_size=8)


@given(path_chars.filter(lambda p: "[" not in p), st.text("ab/.", max_size=8))
def test_patterns_mean_what_python_tuf_makes_of_them(pattern: str, path: str) -> None:
    role = DelegatedRole("r", [], 1, False, paths=[pattern])
    if pattern and path:
        assert paths.matches(pattern, path) == role.is_delegated_path(path)
