"""Requirements and platforms: one writing for one meaning, as cargo has it."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from carnet.cargo.admitted import admitted
from carnet.cargo.requirement import MAX_REQUIREMENT, Comparator, comparators, old_comparators, platform, requirement
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
    assert admitted(one) == admitted(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("1.0", "1.1"), ("1.0", "~1.0"), ("1.0", "=1.0"), ("1", "*"), (">=1", ">1"), ("0.1.*", "0.1.1"),
     ("=1.2.3", "~1.2.3"), ("1.0.0", "1.0.0-rc.1"), (">=1, <2", ">=1"), (">1", ">=1"),
     ("^0.1", "*"), (">=1.2.0, <2.0.1", "1.2"), (">=1.2.0, <=2.0.0", "1.2"), ("0.3.1.3", "0.3.1"),
     (">=1.0.0, <1.0.1", ">=1.0.0-0, <1.0.1"), (">=1.0.0-a, <2", ">=1.0.0-b, <2"), ("1.2.*", "1.2"),
     (">=0, <1.0.0-b", ">=0, <1.0.0-a"), ("=1.0.0-a", "=1.0.0-b")],
)  # fmt: skip
def test_another_meaning(one: str, other: str) -> None:
    assert admitted(one) != admitted(other)


_PRE = ("", "0", "a", "a.0", "b")
_COMPARATORS = st.builds(
    lambda op, numbers, pre: (
        f"{op}{'.'.join(map(str, numbers))}{'-' if pre and len(numbers) == 3 else ''}{pre if len(numbers) == 3 else ''}"
    ),
    st.sampled_from(("", "=", ">", ">=", "<", "<=", "~", "^")),
    st.lists(st.integers(0, 2), min_size=1, max_size=3),
    st.sampled_from(_PRE),
)
_REQUIREMENTS = st.lists(_COMPARATORS, min_size=1, max_size=3).map(", ".join)
_NUMBERS = [(major, minor, patch) for major in range(4) for minor in range(4) for patch in range(4)]
_PRERELEASES = ("0", "0.0", "a", "a.0", "a.0.0", "a.1", "b", "b.0", "c")


def _order(pre: str) -> tuple[tuple[bool, str], ...]:
    return tuple((not part.isdigit(), part) for part in pre.split(".")) if pre else ((True, "~"),)


def _lets_in(part: Comparator, numbers: tuple[int, ...], pre: str) -> bool:
    """What cargo's documentation says of one comparator, number by number."""
    written = tuple(number for number in (part.major, part.minor, part.patch) if number is not None)
    same = numbers[: len(written)] == written
    if len(written) == 3:
        here, there = _order(pre), _order(part.pre)
    else:
        here, there = (0 if pre == "" else -1,), (0,)  # type: ignore[assignment]  # a partial number has no pre-releases
    equal = same and here == there
    greater = numbers[: len(written)] > written or (same and len(written) == 3 and here > there)
    if part.op in ("=", "*"):
        return equal
    if part.op in (">", ">="):
        return greater or (part.op == ">=" and equal)
    if part.op in ("<", "<="):
        return (
            (part.op == "<=" and equal) or (not greater and not same) or (same and len(written) == 3 and here < there)
        )
    if part.op == "~":
        return numbers[:2] == written[:2][: len(numbers)] and (greater or equal) if len(written) > 1 else equal
    kept = next((place for place, number in enumerate(written) if number), len(written) - 1) + 1
    return numbers[:kept] == written[:kept] and (greater or equal or (same and len(written) < 3))


def _lets_all_in(text: str) -> frozenset[tuple[tuple[int, ...], str]]:
    parts = comparators(text)
    named = {part.numbers for part in parts if part.pre}  # of no other version a pre-release is let in
    return frozenset(
        (numbers, pre)
        for numbers in _NUMBERS
        for pre in (("", *_PRERELEASES) if numbers in named else ("",))
        if all(_lets_in(part, numbers, pre) for part in parts)
    )


@settings(max_examples=100)
@given(_REQUIREMENTS, _REQUIREMENTS)
@example("~1.2", ">=1.2, <1.3")
@example("^0.0", "0.0.*")
@example("~1", "1.0.0-a")
@example("<1.0.0-a, >=0.2", "<1.0.0, >=0.2")
def test_two_requirements_are_one_exactly_when_they_admit_the_same_versions(one: str, other: str) -> None:
    assert (admitted(one) == admitted(other)) == (_lets_all_in(one) == _lets_all_in(other))


@given(st.text("0123456789.*xX^~=<>, -+abc", max_size=30))
def test_writing_again_changes_nothing(text: str) -> None:
    try:
        published = requirement(text)
    except CarnetError:
        return
    assert requirement(published) == published
    assert admitted(published) == admitted(text)


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


def test_blanks_that_old_forms_allow_make_no_requirement_endless() -> None:
    padded = "1" + " " * (MAX_REQUIREMENT - 1)
    assert old_comparators(padded) == comparators("1")
    with pytest.raises(FormatError, match="characters"):
        old_comparators(padded + " ")
