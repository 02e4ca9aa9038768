"""A value under `made_by` comes from whoever holds its token, and from nobody else."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, is_dataclass, replace

import pytest

from carnet.made import made_by, maker
from carnet.value import value


@made_by("weigh")
@value
class Weighed:
    grams: int
    note: str = ""

    def __post_init__(self) -> None:
        if self.grams < 0:
            raise ValueError(self.grams)


@made_by("pack")
@dataclass(frozen=True, slots=True)
class Packed:
    grams: int
    note: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.grams < 0:
            raise ValueError(self.grams)


_weighed, _packed = maker(Weighed), maker(Packed)


def test_the_constructor_is_closed() -> None:
    with pytest.raises(TypeError, match="only weigh makes a Weighed"):
        Weighed(5)
    with pytest.raises(TypeError, match="only pack makes a Packed"):
        Packed(grams=5, note="n")


def test_the_step_makes_what_the_constructor_would() -> None:
    assert (_weighed(5).grams, _weighed(5, note="n").note) == (5, "n")
    assert (_packed(grams=5).grams, _packed(5, "n").note) == (5, "n")
    assert isinstance(_weighed(5), Weighed)
    assert isinstance(_packed(5), Packed)
    assert (repr(_weighed(5)), repr(_packed(5))) == ("Weighed(grams=5, note='')", "Packed(grams=5)")
    assert _weighed(5) == _weighed(5) != _weighed(6)
    assert hash(_packed(5)) == hash(_packed(5))
    assert is_dataclass(Weighed)


def test_the_step_is_bound_by_the_constructor_too() -> None:
    with pytest.raises(ValueError, match="-1"):
        _weighed(-1)
    with pytest.raises(ValueError, match="-1"):
        _packed(-1)
    with pytest.raises(TypeError, match="Weighed"):
        _weighed(5, other=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="other"):
        _packed(5, other=1)  # type: ignore[call-arg]


def test_a_changed_copy_is_no_way_around() -> None:
    with pytest.raises(TypeError, match="only weigh"):
        replace(_weighed(5), grams=6)
    with pytest.raises(TypeError, match="only pack"):
        replace(_packed(5), grams=6)
    with pytest.raises(TypeError, match="only pack"):
        replace(_packed(5))


def test_an_unchanged_copy_is_the_same_value() -> None:
    assert copy.copy(_weighed(5)) == copy.deepcopy(_weighed(5)) == _weighed(5)
    assert copy.copy(_packed(5)) == copy.deepcopy(_packed(5)) == _packed(5)


def test_a_subclass_is_no_way_around() -> None:
    with pytest.raises(TypeError, match="only weigh"):

        class Light(Weighed):
            pass


def test_the_token_is_given_out_once() -> None:
    with pytest.raises(TypeError, match="the one maker of Weighed"):
        maker(Weighed)

    class Open:
        pass

    with pytest.raises(TypeError, match="the one maker of Open"):
        maker(Open)


def test_only_a_constructor_that_is_there_can_be_closed() -> None:
    class Bare:
        pass

    with pytest.raises(TypeError, match="stands above"):
        made_by("nobody")(Bare)
