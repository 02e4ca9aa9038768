"""Values that one step makes and nothing else: evidence that a check took place, in the type system and at run time.

    @made_by("evaluate")
    @value                          # or @dataclass(frozen=True)
    class Verdict:
        allowed: bool

    _verdict = maker(Verdict)       # in the module of `evaluate`: the private token, given out once

    def evaluate(...) -> Verdict:
        return _verdict(allowed=True)

The constructor raises for everybody who does not hold the token, and so does `dataclasses.replace`, which calls it: a
changed copy is a new claim, and the step has to make it. `copy.copy` changes nothing and is allowed. This is a guard
against mistakes, not against code in the same process, which can do anything to an object.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

_tokens: dict[Any, Callable[..., Any]] = {}


def made_by(step: str) -> Callable[[type[T]], type[T]]:
    """Close the constructor of a class to all but one step.

    Args:
        step: The function that makes its values, for the message of the error.

    Returns:
        A decorator, which stands above the one that makes the constructor (`value` or `dataclass`).

    Raises:
        TypeError: (The decorator) the class has no constructor of its own yet.
    """

    def close(cls: type[T]) -> type[T]:
        init = vars(cls).get("__init__")
        if init is None:
            raise TypeError(f"made_by({step!r}) stands above the decorator that gives {cls.__name__} its constructor")

        def make(*args: Any, **named: Any) -> T:
            made = cls.__new__(cls)
            init(made, *args, **named)
            return made

        def refuse(*_: object, **__: object) -> NoReturn:
            raise TypeError(f"only {step} makes a {cls.__name__}")

        _tokens[cls] = make
        opened: Any = cls
        opened.__init__ = refuse
        opened.__init_subclass__ = classmethod(refuse)
        return cls

    return close


def maker(cls: Callable[P, T]) -> Callable[P, T]:
    """Take the private token of a class: its constructor, as it was before `made_by` closed it.

    Args:
        cls: A class under `made_by`.

    Raises:
        TypeError: The token was taken already, or there never was one.
    """
    make = _tokens.pop(cls, None)
    if make is None:
        raise TypeError(f"the one maker of {getattr(cls, '__name__', cls)} was taken already, or nobody closed it")
    return make
