"""Frozen values whose classes are cheap to make.

`dataclasses.dataclass` writes the source of up to six methods for each class and compiles it, at every start: 0.6 ms
for a frozen class, and a look at one lock needs some forty of them. `value` makes the same kind of class (a real
dataclass: `fields` and `replace` work, type checkers know it) out of closures that are compiled once, with this file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from typing import Any, NoReturn, TypeVar, dataclass_transform, overload

T = TypeVar("T")


@overload
def value(cls: type[T], /) -> type[T]: ...
@overload
def value(*, eq: bool = True, order: bool = False) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(
    cls: type[T] | None = None, /, *, eq: bool = True, order: bool = False
) -> type[T] | Callable[[type[T]], type[T]]:
    """Make a frozen dataclass of a class with annotated fields.

    Args:
        cls: The class; its own methods stay as they are.
        eq: Whether instances with equal fields are equal (and hash alike); otherwise each is equal to itself only.
        order: Whether instances are ordered as the tuples of their fields.
    """

    def make(cls: type[T]) -> type[T]:
        # With these three off, `dataclass` only reads the annotations.
        made = dataclass(init=False, repr=False, eq=False)(cls)
        own = vars(made).copy()
        parts = fields(made)  # type: ignore[arg-type]
        methods = {
            "__init__": _init(made, parts),
            "__setattr__": _refuse,
            "__delattr__": _refuse,
            "__repr__": _repr(parts),
        }
        if eq:
            methods |= _equality(parts)
        if order:
            methods |= _order(parts)
        for name, method in methods.items():
            # A class that defines __eq__ gets a __hash__ of None from Python, which is nobody's wish.
            if own.get(name) is None:
                setattr(made, name, method)
        return made

    return make if cls is None else make(cls)


def _init(cls: type[Any], parts: tuple[Field[Any], ...]) -> Callable[..., None]:
    names = tuple(one.name for one in parts)
    allowed = frozenset(names)
    defaults = {one.name: one.default for one in parts if one.default is not MISSING}
    factories = {one.name: one.default_factory for one in parts if one.default_factory is not MISSING}
    check = getattr(cls, "__post_init__", None)

    def __init__(self: Any, /, *args: Any, **named: Any) -> None:  # noqa: N807
        found = self.__dict__  # what is frozen is __setattr__
        found.update(zip(names, args, strict=False))
        if named or len(args) != len(names):
            if len(args) > len(names) or not allowed.issuperset(named) or not found.keys().isdisjoint(named):
                raise TypeError(f"{cls.__name__}() takes the fields {', '.join(names)}, each once")
            found.update(named)
            for name, default in defaults.items():
                found.setdefault(name, default)
            for name, factory in factories.items():
                if name not in found:
                    found[name] = factory()
            if len(found) != len(names):
                raise TypeError(f"{cls.__name__}() needs the fields {', '.join(names)}")
        if check is not None:
            self.__post_init__()

    return __init__


def _refuse(self: object, name: str, _: object = None) -> NoReturn:
    raise FrozenInstanceError(f"cannot change the field {name!r}")


def _repr(parts: tuple[Field[Any], ...]) -> Callable[[Any], str]:
    shown = tuple(one.name for one in parts if one.repr)

    def __repr__(self: Any) -> str:  # noqa: N807
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    return __repr__


def _equality(parts: tuple[Field[Any], ...]) -> dict[str, Callable[..., Any]]:
    compared = tuple(one.name for one in parts if one.compare)
    hashed = tuple(one.name for one in parts if (one.compare if one.hash is None else one.hash))
    key, hash_key = attrgetter(*compared), attrgetter(*hashed)

    def __eq__(self: Any, other: object) -> bool:  # noqa: N807
        if type(other) is not type(self):
            return NotImplemented
        return bool(key(self) == key(other))

    def __hash__(self: Any) -> int:  # noqa: N807
        return hash(hash_key(self))

    return {"__eq__": __eq__, "__hash__": __hash__}


def _order(parts: tuple[Field[Any], ...]) -> dict[str, Callable[..., Any]]:
    key = attrgetter(*(one.name for one in parts if one.compare))

    def __lt__(self: Any, other: object) -> bool:  # noqa: N807
        return bool(key(self) < key(other)) if type(other) is type(self) else NotImplemented

    def __le__(self: Any, other: object) -> bool:  # noqa: N807
        return bool(key(self) <= key(other)) if type(other) is type(self) else NotImplemented

    def __gt__(self: Any, other: object) -> bool:  # noqa: N807
        return bool(key(self) > key(other)) if type(other) is type(self) else NotImplemented

    def __ge__(self: Any, other: object) -> bool:  # noqa: N807
        return bool(key(self) >= key(other)) if type(other) is type(self) else NotImplemented

    return {"__lt__": __lt__, "__le__": __le__, "__gt__": __gt__, "__ge__": __ge__}
