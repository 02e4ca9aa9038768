"""Requirements and platforms: one writing for one meaning, as cargo has it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carnet.cargo.requirement import meaning, platform, requirement
from carnet.errors import CarnetError, FormatError


@pytest.mark.parametrize(
    ("written", "published"),
    [
        ("1", "^1"),
        ("1.0", "^1.0"),
        (" 1.0.3 ", "^1.0.3"),
        ("^0.3", "^0.3"),
        ("~1.2", "~1.2"),
        ("=1.2.3", "=1.2.3"),
        ("= 1.2.3", "=1.2.3"),
        (">=1, <2", ">=1, <2"),
        (">=1,<2", ">=1, <2"),
        (">= 1.0 , < 2.0", ">=1.0, <2.0"),
        ("> 1, <= 3", ">1, <=3"),
        ("*", "*"),
        (" x ", "*"),
        ("1.*", "1.*"),
        ("1.x", "1.*"),
        ("1.*.*", "1.*"),
        ("1.2.*", "1.2.*"),
        (">=1.*", ">=1"),
        ("^0.*", "^0"),
        ("1.0.0-rc.1", "^1.0.0-rc.1"),
        ("=1.0.0-alpha+build.5", "=1.0.0-alpha"),
        ("1.0.0+build", "^1.0.0"),
        ("0.3.0-0", "^0.3.0-0"),
    ],
)
def test_written_as_cargo_publishes_it(written: str, published: str) -> None:
    assert requirement(written) == published
    assert requirement(published) == published


@pytest.mark.parametrize(
    "text",
    [
        "", ",", "1,", "1 2", "*, 1", "1, *", "1.*.3", "v1", "01", "1.02", "1.0.0-01", "1.0.0-", "1.0.0+", "1.0.0.0",
        ">", "==1", "=>1", "1\t", "\u0661", "18446744073709551616", "1.0-rc.1", "1.*-rc",
        "1," * 33 + "1", "1" + " " * 3000,
    ],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(FormatError):
        requirement(text)


def test_positive_controls_of_the_limits() -> None:
    assert requirement("1," * 31 + "1") == ", ".join(["^1"] * 32)
    assert requirement("18446744073709551615") == "^18446744073709551615"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1.0", "^1.0"),
        (">=1, <2", "<2,>=1"),
        ("0.*", "^0.*"),
        ("=1", "~1"),
        ("1.2.*", "~1.2"),
        ("=1.2", "1.2.x"),
        ("x", "*"),
    ],
)
def test_the_same_meaning(one: str, other: str) -> None:
    assert meaning(one) == meaning(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("1.0", "1.1"), ("1.0", "~1.0"), ("1.0", "=1.0"), ("1", "*"), (">=1", ">1"), ("0.1.*", "0.1.1"),
     ("=1.2.3", "~1.2.3"), ("1.0.0", "1.0.0-rc.1"), (">=1, <2", ">=1"), (">1", ">=1")],
)  # fmt: skip
def test_another_meaning(one: str, other: str) -> None:
    assert meaning(one) != meaning(other)


@given(st.text("0123456789.*xX^~=<>, -+abc", max_size=30))
def test_writing_again_changes_nothing(text: str) -> None:
    try:
        published = requirement(text)
    except CarnetError:
        return
    assert requirement(published) == published
    assert meaning(published) == meaning(text)


@pytest.mark.parametrize(
    ("written", "published"),
    [
        ("cfg(unix)", "cfg(unix)"),
        ("x86_64-pc-windows-msvc", "x86_64-pc-windows-msvc"),
        ('cfg(target_os="linux")', 'cfg(target_os = "linux")'),
        ('cfg( all( unix,not(target_os   =  "a b")) )', 'cfg(all(unix, not(target_os = "a b")))'),
        ("cfg(any(unix, windows,))", "cfg(any(unix, windows))"),
        ("cfg(any())", "cfg(any())"),
        ("cfg(r#true)", "cfg(r#true)"),
        ("cfg(true)", "cfg(true)"),
        ("cfg(all)", None),
        ("cfg(not())", None),
        ("cfg(not(a, b))", None),
        ("cfg(unix", "cfg(unix"),
        ("cfg(unix))", None),
        ("cfg()", None),
        ("cfg(a b)", None),
        ("cfg(a = b)", None),
        ('cfg(a = "b)', None),
        ("cfg(all(,))", None),
        ("cfg(" + "not(" * 70 + "a" + ")" * 70 + ")", None),
        ("cfg(" + "a" * 5000 + ")", None),
    ],
)
def test_platforms(written: str, published: str | None) -> None:
    if published is None:
        with pytest.raises(FormatError):
            platform(written)
    else:
        assert platform(written) == published
        assert platform(published) == published


@given(st.text('alnyotu()=", "', max_size=40))
def test_any_platform_gives_our_errors_only(text: str) -> None:
    try:
        written = platform(f"cfg({text})")
    except CarnetError:
        return
    assert platform(written) == written
