"""Two readings of one file, compared field by field; the first field in which they differ is named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from carnet.errors import CarnetError, OpinionsDiffer

_SHOWN = 200
_ABSENT = object()


def demand_same(file: str, ours: Any, theirs: Any, *, library: str, field: str = "") -> None:
    """Demand that both libraries understood the same.

    Args:
        file: The file, as it is named below the repository's base URL.
        ours: What carnet read: objects and lists of plain values.
        theirs: What the library read, in the same shape.
        library: Which one.
        field: Where in the file these two stand; empty at its top.

    Raises:
        OpinionsDiffer: Naming the first field that differs.
    """
    if repr(ours) == repr(theirs):  # what is written alike, in the same order, is the same; it nearly always is
        return
    difference = _difference(field, ours, theirs)
    if difference is not None:
        where, mine, other = difference
        raise OpinionsDiffer(file, where or "content", ours=_shown(mine), theirs=_shown(other), library=library)


@contextmanager
def agreeing(file: str, field: str, *, ours: str, library: str) -> Iterator[None]:
    """Take whatever a library raises as its opinion about a file that carnet takes.

    Args:
        file: As for `demand_same`.
        field: What the library is asked about.
        ours: What carnet says about it.
        library: Which one.

    Raises:
        OpinionsDiffer: In place of any error of the library's.
    """
    try:
        yield
    except CarnetError:
        raise
    except Exception as error:  # the libraries let KeyError, TypeError, RecursionError and their own pass
        theirs = f"{type(error).__name__}: {error}"
        raise OpinionsDiffer(file, field, ours=ours, theirs=_shown(theirs), library=library) from error


def _difference(field: str, ours: Any, theirs: Any) -> tuple[str, Any, Any] | None:
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        names = [*ours, *(name for name in theirs if name not in ours)]
        pairs = [(f"{field}.{name}".lstrip("."), ours.get(name, _ABSENT), theirs.get(name, _ABSENT)) for name in names]
    elif isinstance(ours, list | tuple) and isinstance(theirs, list | tuple) and len(ours) == len(theirs):
        pairs = [(f"{field}[{number}]", *both) for number, both in enumerate(zip(ours, theirs, strict=True))]
    else:
        # True is 1 to Python, and is not to a reader of JSON.
        return None if type(ours) is type(theirs) and ours == theirs else (field, ours, theirs)
    return next((found for found in (_difference(*pair) for pair in pairs) if found is not None), None)


def _shown(value: Any) -> str:
    text = "nothing" if value is _ABSENT or value is None else str(value)
    return ascii(text[:_SHOWN])[1:-1] + ("..." if len(text) > _SHOWN else "")
