"""Crate names and versions, as cargo and the registry have them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carnet.cargo.names import CrateId, CrateName, Version
from carnet.errors import FormatError

# The order that SemVer 2.0, section 11, gives as its example.
ORDERED = [
    *("1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11"),
    *("1.0.0-rc.1", "1.0.0"),
]


@pytest.mark.parametrize("text", ["a", "serde", "Inflector", "a-b_c9", "x" * 64])
def test_crate_names_of_the_registry_are_taken(text: str) -> None:
    assert str(CrateName(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "9a", "_a", "-a", "a.b", "a/b", "é", "a b", "a\n", "x" * 65, "nul", "CON", "a\0", "..", "com1", "\u0131"],
)
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(FormatError):
        CrateName(text)


def test_all_spellings_share_one_canonical_name_and_shard() -> None:
    spellings = [CrateName(text) for text in ("Foo-Bar", "foo_bar", "FOO-bar")]
    assert {name.canonical for name in spellings} == {"foo_bar"}
    assert len({name.shard for name in spellings}) == 1


@pytest.mark.parametrize("text", [*ORDERED, "0.0.0", "1.2.3+build.01", "18446744073709551615.0.0", "1.0.0-0a.-"])
def test_semantic_versions_are_taken(text: str) -> None:
    assert str(Version(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1.2",
        "1.2.3.4",
        "v1.2.3",
        "01.2.3",
        "1.2.3-01",
        "1.2.3-",
        "1.2.3+",
        "1.2.3\n",
        " 1.2.3",
        "1.2.*",
        "18446744073709551616.0.0",
        "1.2.3-a..b",
        "1.2.3-é",
        "\u0661.0.0",
        "1.0.0-" + "a" * 128,
    ],
)
def test_other_versions_are_refused(text: str) -> None:
    with pytest.raises(FormatError):
        Version(text)


def test_versions_are_ordered_as_the_specification_says() -> None:
    for lower, higher in itertools.pairwise(map(Version, ORDERED)):
        assert lower < higher
        assert not higher < lower


@given(st.permutations([*ORDERED, "1.0.0+a", "1.0.0+b", "1.0.0+1"]))
def test_order_is_total(texts: list[str]) -> None:
    assert [str(v) for v in sorted(map(Version, texts))] == [*ORDERED, "1.0.0+1", "1.0.0+a", "1.0.0+b"]


def test_crate_id_is_read_as_people_type_it() -> None:
    crate = CrateId.parse("serde@1.0.219")
    assert (str(crate), crate.stem) == ("serde@1.0.219", "serde-1.0.219")
    with pytest.raises(FormatError, match="names no version"):
        CrateId.parse("serde")
