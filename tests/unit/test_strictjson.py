from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.formats import encode_canonical

from carnet import strictjson
from carnet.errors import FormatError

LIMIT = 1_000_000

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
        (b"1" * 5000, "not JSON"),
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


def test_size_is_checked_before_parsing() -> None:
    assert strictjson.parse(b"[1]", "thing", max_bytes=3) == [1]
    with pytest.raises(FormatError, match="larger than 2 bytes"):
        strictjson.parse(b"[1]", "thing", max_bytes=2)


def test_outermost_value_must_be_an_object_where_that_is_asked() -> None:
    with pytest.raises(FormatError, match="not a JSON object"):
        strictjson.parse_object(b"[]", "thing", max_bytes=LIMIT)


@pytest.mark.parametrize("value", [1.5, float("nan"), b"x", {1: 2}, {"a": object()}, 2**64, (1, 2), {"a": {1}}])
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


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_a_format_error(data: bytes) -> None:
    try:
        value = strictjson.parse(data, "thing", max_bytes=LIMIT)
    except FormatError:
        return
    assert json.loads(data) == value
