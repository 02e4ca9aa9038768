"""Version requirements and target platforms, written the one way in which cargo writes them.

A manifest says `1.0` or `cfg(target_os="linux")`, cargo publishes `^1.0` and `cfg(target_os = "linux")`. Two platforms
mean the same when cargo's own writing of them is the same; of requirements, `carnet.cargo.admitted` says it.
"""

from __future__ import annotations

import re

from carnet.errors import FormatError
from carnet.value import value

MAX_REQUIREMENT = 2000
"""Characters in a requirement; 32 comparators fit many times."""
MAX_COMPARATORS = 32
"""As the `semver` crate has it."""
MAX_PLATFORM = 4000
"""Characters in a platform expression."""

_UINT64_MAX = 2**64 - 1
_NUMBER = r"(?:0|[1-9][0-9]*)"
_PRERELEASE = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_BUILD = r"[0-9A-Za-z-]+"
_COMPARATOR = re.compile(
    rf"(?P<op>=|>=|>|<=|<|~|\^|) *(?P<major>{_NUMBER})"
    rf"(?:\.(?P<minor>{_NUMBER}|[*xX])"
    rf"(?:\.(?:(?P<any>[*xX])|(?P<patch>{_NUMBER})"
    rf"(?:-(?P<pre>{_PRERELEASE}(?:\.{_PRERELEASE})*))?(?:\+{_BUILD}(?:\.{_BUILD})*)?))?)? *",
    re.ASCII,
)
_WILDCARD = re.compile(r" *[*xX] *\Z")
_OLD_FORMS = {"": "*", ".*": "*", "*.0": "*", "0.2*": "0.2.*", "0.1.0.": "0.1.0", "0.3.1.3": "0.3.13"}
"""What cargo took before 2021, and what it took it for: five slips that somebody had published (`semver` 0.9)."""


@value
class Comparator:
    """One part of a requirement.

    Attributes:
        op: `=`, `>`, `>=`, `<`, `<=`, `~`, `^`, or `*` for the likes of `1.2.*`.
        major: The first number.
        minor: The second one, or None.
        patch: The third one, or None.
        pre: The pre-release, without its hyphen; empty when there is none.
    """

    op: str
    major: int
    minor: int | None = None
    patch: int | None = None
    pre: str = ""

    def __str__(self) -> str:
        text = ".".join(str(number) for number in (self.major, self.minor, self.patch) if number is not None)
        return f"{text}.*" if self.op == "*" else f"{self.op}{text}{'-' if self.pre else ''}{self.pre}"

    @property
    def numbers(self) -> tuple[int, int, int]:
        """All three numbers; 0 for one that is not written."""
        return self.major, self.minor or 0, self.patch or 0


def comparators(text: str) -> tuple[Comparator, ...]:
    """The parts of a requirement; none for `*`.

    Args:
        text: A requirement, such as `1.0`, `>=1, <2`, `1.*` or `*`.

    Raises:
        FormatError: Not a requirement that cargo reads.
    """
    _check_length(text)
    if _WILDCARD.match(text):
        return ()
    found = [_comparator(part, text) for part in text.lstrip(" ").split(",")]
    if len(found) > MAX_COMPARATORS:
        raise FormatError(f"version requirement {text[:60]!a} has more than {MAX_COMPARATORS} parts")
    return tuple(found)


def old_comparators(text: str) -> tuple[Comparator, ...]:
    """As `comparators`, of a requirement in any form that some cargo took: blanks of any kind, a `*` beside others.

    Raises:
        FormatError: Not a requirement that any cargo reads.
    """
    _check_length(text)
    text = " ".join(text.split())
    parts = [part for part in _OLD_FORMS.get(text, text).split(",") if not _WILDCARD.match(part)]
    return comparators(",".join(parts)) if parts else ()


def _check_length(text: str) -> None:
    if len(text) > MAX_REQUIREMENT:
        raise FormatError(f"a version requirement of {len(text)} characters; {MAX_REQUIREMENT} are allowed")


def requirement(text: str) -> str:
    """A requirement as cargo publishes it: `1.0` becomes `^1.0`, `>=1,<2` becomes `>=1, <2`.

    Raises:
        FormatError: Not a requirement that cargo reads.
    """
    return ", ".join(map(str, comparators(text))) or "*"


def _comparator(part: str, whole: str) -> Comparator:
    match = _COMPARATOR.fullmatch(part.lstrip(" "))
    if match is None:
        raise FormatError(f"{whole[:60]!a} is not a version requirement")
    minor, patch = match["minor"], match["patch"]
    wildcard = match["any"] is not None
    if minor in ("*", "x", "X"):
        if patch is not None:
            raise FormatError(f"{whole[:60]!a} is not a version requirement: a number follows a wildcard")
        minor, wildcard = None, True
    if any(len(number) > 20 or int(number) > _UINT64_MAX for number in (match["major"], minor, patch) if number):
        raise FormatError(f"{whole[:60]!a} has a number past 64 bits")
    return Comparator(
        match["op"] or ("*" if wildcard else "^"),
        int(match["major"]),
        None if minor is None else int(minor),
        None if patch is None else int(patch),
        match["pre"] or "",
    )


_TOKEN = re.compile(
    r' *(?:(?P<mark>[(),=])|"(?P<string>[^"]*)"|(?P<raw>r#)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<end>\Z))', re.ASCII
)
_MAX_DEPTH = 64
_Token = tuple[str, str]


def platform(text: str) -> str:
    """A target platform as cargo writes it: `cfg(unix)`, or the name of a target.

    Raises:
        FormatError: A `cfg(...)` that cargo does not read.
    """
    if len(text) > MAX_PLATFORM:
        raise FormatError(f"a target platform of {len(text)} characters; {MAX_PLATFORM} are allowed")
    if not (text.startswith("cfg(") and text.endswith(")")):
        return text
    parser = _Cfg(text[4:-1], text)
    expression = parser.expression(0)
    parser.expect("end")
    return f"cfg({expression})"


class _Cfg:
    """A `cfg` expression, read token by token."""

    def __init__(self, text: str, whole: str) -> None:
        self._whole = whole
        self._tokens = list(self._read(text))
        self._at = 0

    def _read(self, text: str) -> list[_Token]:
        tokens: list[_Token] = []
        position = 0
        while not tokens or tokens[-1][0] != "end":
            match = _TOKEN.match(text, position)
            if match is None:
                raise FormatError(f"{self._whole[:80]!a} is not a cfg expression")
            position = match.end()
            kind = match.lastgroup or "end"
            tokens.append((match[kind] if kind == "mark" else kind, (match["raw"] or "") + match[kind]))
        return tokens

    def _next(self) -> _Token:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def expect(self, kind: str) -> str:
        found, text = self._next()
        if found != kind:
            raise FormatError(f"{self._whole[:80]!a} is not a cfg expression")
        return text

    def _follows(self, kind: str) -> bool:
        if self._tokens[self._at][0] != kind:
            return False
        self._next()
        return True

    def expression(self, depth: int) -> str:
        if depth > _MAX_DEPTH:
            raise FormatError(f"{self._whole[:80]!a} is nested deeper than {_MAX_DEPTH} levels")
        name = self.expect("name")
        if name in ("all", "any", "not"):
            self.expect("(")
            inner: list[str] = []
            while not self._follows(")"):
                inner.append(self.expression(depth + 1))
                if name == "not" or not self._follows(","):
                    self.expect(")")
                    break
            if name == "not" and not inner:
                raise FormatError(f"{self._whole[:80]!a} is not a cfg expression")
            return f"{name}({', '.join(inner)})"
        return f'{name} = "{self.expect("string")}"' if self._follows("=") else name
