"""A value behaves as the frozen dataclass that it stands for."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError, dataclass, fields, is_dataclass, replace
from dataclasses import field as stock_field
from typing import Any, ClassVar

import pytest

from carnet.value import field, value


@value(order=True)
class Point:
    x: int
    y: int = 2
    tags: tuple[str, ...] = field(default_factory=tuple)
    note: str = field(default="", repr=False, compare=False)

    KIND: ClassVar[str] = "point"

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError(self.x)


@dataclass(frozen=True, order=True)
class Stock:
    x: int
    y: int = 2
    tags: tuple[str, ...] = stock_field(default_factory=tuple)
    note: str = stock_field(default="", repr=False, compare=False)

    KIND: ClassVar[str] = "point"


@value
class Space(Point):
    z: int = 3


@value(eq=False)
class Same:
    x: int


CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((1,), {}),
    ((1, 5), {}),
    ((), {"x": 1}),
    ((1,), {"note": "n"}),
    ((1, 2, ("a",), "n"), {}),
    ((0,), {"y": 9, "tags": ("b",)}),
]
WRONG: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    ((), {"y": 1}),
    ((1,), {"x": 1}),
    ((1,), {"other": 1}),
    ((1, 2, (), "", 5), {}),
    ((1, 2, (), ""), {"x": 1}),
    ((1, 2, (), ""), {"other": 1}),
]


@pytest.mark.parametrize(("args", "named"), CALLS)
def test_it_is_made_and_shown_as_a_dataclass_is(args: tuple[Any, ...], named: dict[str, Any]) -> None:
    made, stock = Point(*args, **named), Stock(*args, **named)
    assert [getattr(made, one.name) for one in fields(made)] == [getattr(stock, one.name) for one in fields(stock)]
    assert repr(made) == repr(stock).replace("Stock", "Point")


@pytest.mark.parametrize(("args", "named"), WRONG)
def test_what_a_dataclass_does_not_take_it_does_not_take(args: tuple[Any, ...], named: dict[str, Any]) -> None:
    for kind in (Stock, Point):
        with pytest.raises(TypeError):
            kind(*args, **named)


@pytest.mark.parametrize("left", CALLS)
@pytest.mark.parametrize("right", CALLS)
def test_it_compares_and_hashes_as_a_dataclass_does(left: Any, right: Any) -> None:
    one, other = Point(*left[0], **left[1]), Point(*right[0], **right[1])
    stock, stock_other = Stock(*left[0], **left[1]), Stock(*right[0], **right[1])
    assert (one == other, one < other, one <= other, one > other, one >= other) == (
        stock == stock_other,
        stock < stock_other,
        stock <= stock_other,
        stock > stock_other,
        stock >= stock_other,
    )
    assert (hash(one) == hash(other)) == (hash(stock) == hash(stock_other))


def test_it_is_frozen() -> None:
    made = Point(1)
    with pytest.raises(FrozenInstanceError):
        made.x = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del made.x
    assert made == Point(1)


def test_it_is_checked_however_it_is_made() -> None:
    with pytest.raises(ValueError, match="-1"):
        Point(-1)
    with pytest.raises(ValueError, match="-1"):
        replace(Point(1), x=-1)
    assert is_dataclass(Point)


def test_a_value_of_another_class_is_another_value() -> None:
    assert Point(1) != Space(1)
    assert Space(1, 2, (), "", 4).z == 4
    with pytest.raises(TypeError):
        _ = Point(1) < Space(1)


def test_without_equality_each_is_equal_to_itself_only() -> None:
    one = Same(1)
    assert one == one  # noqa: PLR0124
    assert one != Same(1)
    assert len({one, Same(1)}) == 2


def test_a_class_is_made_and_used_without_dataclasses() -> None:
    program = """
import sys
from carnet.value import field, value

@value
class Point:
    x: int
    tags: list = field(default_factory=list)

assert Point(1) == Point(1, []) != Point(2) and "Point(x=1" in repr(Point(1))
assert "dataclasses" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_fields_are_those_of_the_dataclass_with_all_that_was_said_of_them() -> None:
    def shown(cls: Any) -> list[tuple[Any, ...]]:
        return [(one.name, one.type, one.default, one.default_factory, one.repr, one.compare) for one in fields(cls)]

    assert shown(Point) == shown(Stock)
    assert [one.name for one in fields(Space)] == ["x", "y", "tags", "note", "z"]


def test_fields_are_made_once_for_each_class() -> None:
    """`replace` asks for them at every call."""

    @value
    class Changed:
        x: int

    @value
    class More(Changed):
        y: int

    assert [one.name for one in fields(More)] == ["x", "y"]
    assert [one.name for one in fields(Changed)] == ["x"]
    first = vars(Changed)["__dataclass_fields__"]
    assert replace(Changed(1), x=2) == Changed(2)
    assert vars(Changed)["__dataclass_fields__"] is first
