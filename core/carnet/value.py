"""Frozen values whose classes are cheap to make.

`dataclasses.dataclass` writes the source of up to six methods for each class and compiles it, at every start: 0.6 ms
for a frozen class, and a look at one lock needs some forty of them. `value` makes the same kind of class out of
closures that are compiled once, with this file. It is a dataclass as soon as somebody asks: `fields` and `replace` of
the standard library work, and type checkers know it as one. Until then `dataclasses`, which brings `inspect`, is not
even imported.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, dataclass_transform, overload

if TYPE_CHECKING:
    from dataclasses import Field

T = TypeVar("T")

_PARTS = "__value_parts__"
_MISSING: Any = object()


class _Part:
    """What `field` says of a field."""

    def __init__(self, default: Any, factory: Any, repr_: bool, compare: bool, hash_: bool | None) -> None:
        self.default, self.factory = default, factory
        self.repr, self.compare, self.hash = repr_, compare, hash_

    def to_field(self) -> Field[Any]:
        import dataclasses

        given = {"default": self.default, "default_factory": self.factory}
        said: dict[str, Any] = {name: one for name, one in given.items() if one is not _MISSING}
        made: Field[Any] = dataclasses.field(**said, repr=self.repr, compare=self.compare, hash=self.hash)
        return made


@overload
def field(*, default: T, repr: bool = ..., compare: bool = ..., hash: bool | None = ...) -> T: ...
@overload
def field(*, default_factory: Callable[[], T], repr: bool = ..., compare: bool = ..., hash: bool | None = ...) -> T: ...
@overload
def field(*, repr: bool = ..., compare: bool = ..., hash: bool | None = ...) -> Any: ...
def field(
    *,
    default: Any = _MISSING,
    default_factory: Any = _MISSING,
    repr: bool = True,
    compare: bool = True,
    hash: bool | None = None,
) -> Any:
    """Say more of a field than its default, as `dataclasses.field` does.

    Args:
        default: Its value when none is given.
        default_factory: Makes its value when none is given.
        repr: Whether it is shown.
        compare: Whether it counts when two are compared.
        hash: Whether it counts for the hash; as `compare` when that is not said.
    """
    return _Part(default, default_factory, repr, compare, hash)


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
        own = vars(cls).copy()
        parts: dict[str, Any] = dict(getattr(cls, _PARTS, {}))
        for name, annotation in _annotations(cls).items():
            if not str(annotation).startswith(("ClassVar", "typing.ClassVar")):
                parts[name] = own.get(name, _MISSING)
        methods = {
            _PARTS: parts,
            "__dataclass_fields__": _Fields(),
            "__init__": _init(cls, parts),
            "__setattr__": _refuse,
            "__delattr__": _refuse,
            "__repr__": _repr([name for name, default in parts.items() if _asks(default, "repr")]),
        }
        if eq or order:
            compared = [name for name, default in parts.items() if _asks(default, "compare")]
            hashed = [name for name in compared if _asks(parts[name], "hash")]
            methods |= _order(compared) if order else {}
            methods |= _equality(compared, hashed) if eq else {}
        for name, method in methods.items():
            # A class that defines __eq__ gets a __hash__ of None from Python, which is nobody's wish.
            if own.get(name) is None:
                setattr(cls, name, method)
        return cls

    return make if cls is None else make(cls)


class _Fields:
    """Stands where a dataclass has its fields, and makes them when they are asked for first."""

    def __get__(self, _: object, cls: type[Any]) -> dict[str, Field[Any]]:
        from dataclasses import dataclass

        # A class with the same fields, which `dataclass` reads; with these three off it does nothing else.
        body: dict[str, Any] = {
            name: default.to_field() if isinstance(default, _Part) else default
            for name, default in getattr(cls, _PARTS).items()
            if default is not _MISSING
        }
        annotations = {name: one for base in reversed(cls.__mro__) for name, one in _annotations(base).items()}
        body["__annotations__"] = {name: annotations[name] for name in getattr(cls, _PARTS)}
        made: Any = dataclass(init=False, repr=False, eq=False)(type(cls.__name__, (), body))
        found: dict[str, Field[Any]] = made.__dataclass_fields__
        type.__setattr__(cls, "__dataclass_fields__", found)
        return found


def _annotations(cls: type[Any]) -> dict[str, Any]:
    found: dict[str, Any] = vars(cls).get("__annotations__", {})
    return found


def _asks(default: Any, what: str) -> bool:
    """Whether a field takes part in `repr`, `compare` or `hash`; it does, unless it says otherwise."""
    return not isinstance(default, _Part) or getattr(default, what) is not False


def _init(cls: type[Any], parts: dict[str, Any]) -> Callable[..., None]:
    names, count = tuple(parts), len(parts)
    allowed = frozenset(names)
    plain = {name: one.default if isinstance(one, _Part) else one for name, one in parts.items()}
    defaults = {name: default for name, default in plain.items() if default is not _MISSING}
    factories = {
        name: one.factory for name, one in parts.items() if isinstance(one, _Part) and one.factory is not _MISSING
    }
    check = getattr(cls, "__post_init__", None)

    def __init__(self: Any, /, *args: Any, **named: Any) -> None:  # noqa: N807
        found = self.__dict__  # what is frozen is __setattr__
        found.update(zip(names, args))  # noqa: B905  -- too many or too few are told below
        if named or len(args) != count:
            if len(args) > count or not allowed.issuperset(named) or (args and not found.keys().isdisjoint(named)):
                raise TypeError(f"{cls.__name__}() takes the fields {', '.join(names)}, each once")
            if len(args) + len(named) != count:
                found.update(defaults | found)
                for name, factory in factories.items():
                    if name not in found and name not in named:
                        found[name] = factory()
            found.update(named)
            if len(found) != count:
                raise TypeError(f"{cls.__name__}() needs the fields {', '.join(names)}")
        if check is not None:
            self.__post_init__()

    return __init__


def _refuse(self: object, name: str, _: object = None) -> NoReturn:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot change the field {name!r}")


def _repr(shown: list[str]) -> Callable[[Any], str]:
    def __repr__(self: Any) -> str:  # noqa: N807
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    return __repr__


def _equality(compared: list[str], hashed: list[str]) -> dict[str, Callable[..., Any]]:
    key, hash_key = attrgetter(*compared), attrgetter(*hashed)

    def __eq__(self: Any, other: object) -> bool:  # noqa: N807
        if type(other) is not type(self):
            return NotImplemented
        return bool(key(self) == key(other))

    def __hash__(self: Any) -> int:  # noqa: N807
        return hash(hash_key(self))

    return {"__eq__": __eq__, "__hash__": __hash__}


def _order(compared: list[str]) -> dict[str, Callable[..., Any]]:
    key = attrgetter(*compared)

    def __lt__(self: Any, other: object) -> bool:  # noqa: N807
        return bool(key(self) < key(other)) if type(other) is type(self) else NotImplemented

    def __le__(self: Any, other: object) -> bool:  # noqa: N807
        return bool(key(self) <= key(other)) if type(other) is type(self) else NotImplemented

    def __gt__(self: Any, other: object) -> bool:  # noqa: N807
        return bool(key(self) > key(other)) if type(other) is type(self) else NotImplemented

    def __ge__(self: Any, other: object) -> bool:  # noqa: N807
        return bool(key(self) >= key(other)) if type(other) is type(self) else NotImplemented

    return {"__lt__": __lt__, "__le__": __le__, "__gt__": __gt__, "__ge__": __ge__}
