"""JSON: what is refused, and the canonical form against the one that others write."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.formats import encode_canonical

from carnet import strictjson
from carnet.errors import FormatError

LIMIT = 1_000_000


class Text(str):
    """A string that may say one thing and be written as another."""


@pytest.fixture(scope="module", params=["standard", "orjson"], autouse=True)
def engine(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test runs with both: as if there was no large file yet, and as if there was one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strictjson, "_orjson", lambda size: orjson if request.param == "orjson" else None)
        yield


scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text()
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a":1,"a":1}', "twice"),
        (b'{"x":{"a":1,"\\u0061":2}}', "twice"),
        (b"NaN", "only integers"),
        (b"-Infinity", "only integers"),
        (b"1.0", "only integers"),
        (b"1e2", "only integers"),
        (b'"\\ud800"', "surrogates"),
        (b'{"\\udfff":1}', "surrogates"),
        (b"[" * 65 + b"]" * 65, "nested deeper"),
        (b"[" * 100_000, "nested deeper"),
        (b'{"a":' * 100_000, "nested deeper"),
        (b"18446744073709551616", "64 bits"),
        (b"-9223372036854775809", "64 bits"),
        (b"[18446744073709551616]", "64 bits"),
        (b"[0,-9223372036854775809]", "64 bits"),
        (b'{"a":18446744073709551616}', "64 bits"),
        (b"[1.0]", "only integers"),
        (b"[0,1e2]", "only integers"),
        (b'{"a":-0.0}', "only integers"),
        (b"[ 1.0]", "only integers"),
        (b'{"a":\t1E9}', "only integers"),
        (b"[1,\r\n -9223372036854775809]", "64 bits"),
        (b"1" * 5000, "64 bits"),
        (b"[" + b"1" * 5000 + b"]", "64 bits"),
        (b"\xff", "not UTF-8"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"", "not JSON"),
        (b"{} {}", "not JSON"),
    ],
)
def test_ambiguous_or_broken_json_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        strictjson.parse(data, "thing", max_bytes=LIMIT)


def test_depth_up_to_the_limit_is_taken() -> None:
    data = b"[" * strictjson.MAX_DEPTH + b"]" * strictjson.MAX_DEPTH
    assert strictjson.canonical(strictjson.parse(data, "thing", max_bytes=LIMIT)) == data


@pytest.mark.parametrize("levels", [17, 63, 64, 65, 200])
def test_brackets_within_strings_hide_no_depth(levels: int) -> None:
    """They would balance the true ones: `{"}": {"}": 1, "{": 2}, "{": 2}` looks like four objects side by side."""
    data = b'{"a}":' * levels + b"1" + b',"b{":2}' * levels
    if levels > strictjson.MAX_DEPTH:
        with pytest.raises(FormatError, match="nested deeper"):
            strictjson.parse(data, "thing", max_bytes=LIMIT)
    else:
        strictjson.parse(data, "thing", max_bytes=LIMIT)


def _depth(value: object) -> int:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if children is None else 1 + max(map(_depth, children), default=0)


@given(st.recursive(st.text('[]{}",\\'), lambda inner: st.lists(inner) | st.dictionaries(st.text('[]{}"'), inner)))
def test_what_brackets_prove_is_so(document: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strictjson, "_USUAL_DEPTH", 2)
        data = strictjson.encode(document)
        if b"\\" in data or _has_brackets_in_strings(document):
            assert not strictjson._is_shallow(data)
        else:
            assert strictjson._is_shallow(data) == (_depth(document) <= 2)


def _has_brackets_in_strings(value: object) -> bool:
    if isinstance(value, str):
        return not {*value}.isdisjoint("[]{}")
    parts = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    return any(map(_has_brackets_in_strings, parts))


def test_size_is_checked_before_parsing() -> None:
    assert strictjson.parse(b"[1]", "thing", max_bytes=3) == [1]
    with pytest.raises(FormatError, match="larger than 2 bytes"):
        strictjson.parse(b"[1]", "thing", max_bytes=2)


def test_outermost_value_must_be_an_object_where_that_is_asked() -> None:
    with pytest.raises(FormatError, match="not a JSON object"):
        strictjson.parse_object(b"[]", "thing", max_bytes=LIMIT)


@pytest.mark.parametrize(
    "value", [1.5, float("nan"), b"x", {1: 2}, {"a": object()}, 2**64, (1, 2), {"a": {1}}, {Text("a"): 1}]
)
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(FormatError):
        strictjson.canonical(value)


def test_canonical_form_agrees_with_securesystemslib_for_every_character_below_256_and_beyond() -> None:
    text = "".join(map(chr, range(256))) + "\u2028\u2029\ud7ff\ue000\uffff\U00010000\U0010ffff"
    assert strictjson.canonical({text: text}) == str(encode_canonical({text: text})).encode()


@given(documents)
def test_canonical_form_agrees_with_securesystemslib(value: Any) -> None:
    encoded = encode_canonical(value)
    assert encoded is not None
    assert strictjson.canonical(value) == encoded.encode()


@given(documents)
def test_what_is_written_is_read_back(value: Any) -> None:
    assert strictjson.parse(json.dumps(value).encode(), "thing", max_bytes=LIMIT) == value


@st.composite
def numbers(draw: st.DrawFn) -> tuple[Any, bool]:
    """A document of numbers, and whether all of them are integers of 64 bits."""
    found: list[int | float] = draw(
        st.lists(
            st.integers() | st.integers(2**62, 2**66) | st.integers(-(2**65), -(2**62)) | st.floats(allow_nan=False),
            min_size=1,
            max_size=4,
        )
    )
    good = all(isinstance(number, int) and -(2**63) <= number < 2**64 for number in found)
    return draw(st.sampled_from((found, {"a": found[0], "b": found[1:]}, {"z": found[1:], "a": [[found[0]]]}))), good


@given(numbers(), st.text(" \t\n\r", max_size=3))
def test_numbers_are_integers_of_64_bits_wherever_they_stand(case: tuple[Any, bool], space: str) -> None:
    document, good = case
    data = json.dumps(document, separators=(f"{space},{space}", f"{space}:{space}")).encode()
    if good:
        assert strictjson.parse(data, "thing", max_bytes=LIMIT) == document
    else:
        with pytest.raises(FormatError):
            strictjson.parse(data, "thing", max_bytes=LIMIT)


@pytest.mark.parametrize("value", ["\udcff", {"\udcff": 1}, {"a": object()}, {"a": {1}}, float("nan")])
def test_what_is_no_json_is_not_written(value: Any) -> None:
    """Such as a file name that is not UTF-8: one line for people, no traceback."""
    with pytest.raises(FormatError, match="the report cannot be written as JSON"):
        strictjson.encode(value, "the report")


@given(documents)
def test_what_is_encoded_is_json_and_the_same_for_equal_values(value: Any) -> None:
    data = strictjson.encode(value)
    assert json.loads(data) == value
    if isinstance(value, dict):
        assert strictjson.encode(dict(reversed(value.items()))) == data


LARGE = b'{"a":[' + b",".join([b"1234567"] * 70_000) + b'],"b":%s}'


def test_only_a_large_file_brings_orjson() -> None:
    program = """
import sys
from carnet import strictjson
assert strictjson.parse(b"[1]", "thing", max_bytes=10) == [1]
assert strictjson.canonical({"b": 1, "a": [2]}) == b'{"a":[2],"b":1}'
assert "orjson" not in sys.modules
large = sys.stdin.buffer.read()
assert strictjson.parse(large, "thing", max_bytes=10**6)["b"] == 1
assert "orjson" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], input=LARGE % b"1", check=True)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (b"1.5", "only integers"),
        (b"18446744073709551616", "64 bits"),
        (b'1,"b":1', "twice"),
        (b'{"c":1,"c":1}', "twice"),
        (b'"\\ud800"', "surrogates"),
        (b'"\xff"', "not UTF-8"),
        (b"[" * 64 + b"]" * 64, "nested deeper"),
        (b"1}", "not JSON"),
    ],
)
def test_a_large_file_is_read_as_strictly(end: bytes, reason: str) -> None:
    assert strictjson.parse(LARGE % b'{"c":"1.5"}', "thing", max_bytes=10**6) == json.loads(LARGE % b'{"c":"1.5"}')
    with pytest.raises(FormatError, match=reason):
        strictjson.parse(LARGE % end, "thing", max_bytes=10**6)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_a_format_error(data: bytes) -> None:
    try:
        value = strictjson.parse(data, "thing", max_bytes=LIMIT)
    except FormatError:
        return
    assert json.loads(data) == value


@given(
    st.binary(max_size=200)
    | st.sampled_from([LARGE % b'{"c":"1.5"}', b'{"a":"\\ud83d\\ude00"}', b"18446744073709551615"])
)
def test_what_was_parsed_before_is_parsed_alike(data: bytes) -> None:
    try:
        value = strictjson.parse(data, "thing", max_bytes=10**6)
    except FormatError:
        return
    assert strictjson.parse_known(data, "thing") == value
    assert strictjson._PLAIN.decode(data.decode()) == value


def test_what_was_parsed_before_and_is_damaged_is_an_error() -> None:
    with pytest.raises(FormatError, match="thing is not JSON"):
        strictjson.parse_known(b'{"a":', "thing")
