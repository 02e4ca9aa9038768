"""Which versions a requirement admits, in one form for all requirements that admit the same ones.

A registry's index and a manifest may write one requirement in two ways: `>=1.2.0, <2.0.0` and `1.2`. To cargo they are
one when they admit the same versions, and that is what is compared here (`semver` 1.0, `VersionReq::matches`):

* versions without a pre-release: every comparator admits those of one interval, so a requirement does as well;
* a pre-release of `1.2.3` only where a comparator names a pre-release of `1.2.3` too; of these, an interval again.

Build metadata takes no part.
"""

from __future__ import annotations

from collections.abc import Iterable

from carnet.cargo.names import Version
from carnet.cargo.requirement import Comparator, old_comparators
from carnet.value import value

_Numbers = tuple[int, int, int]
_Identifiers = tuple[tuple[int, int, str], ...]

_LARGEST = 2**64 - 1
_END: _Numbers = (_LARGEST + 1, 0, 0)
_LEAST: _Identifiers = ((0, 0, ""),)
"""The pre-release `0`: none comes before it (SemVer 11.4)."""
_NEXT = ((0, 0, ""),)
"""What makes of a pre-release the one right behind it: `rc.0` follows `rc`."""


@value
class AdmittedVersions:
    """The versions that a requirement admits; equal for two requirements that admit the same ones.

    Attributes:
        releases: The first version without a pre-release that is admitted, and the first that no longer is; None when
            none is admitted.
        prereleases: For each version of which pre-releases are admitted: the first of them, and the first that no
            longer is, or None when all that follow are.
    """

    releases: tuple[_Numbers, _Numbers] | None
    prereleases: tuple[tuple[_Numbers, _Identifiers, _Identifiers | None], ...] = ()

    def admits(self, version: Version) -> bool:
        """Whether a version is one of them."""
        core, _, pre = version.text.partition("+")[0].partition("-")
        major, minor, patch = map(int, core.split("."))
        numbers, at = (major, minor, patch), _identifiers(pre)
        if at is None:
            return self.releases is not None and self.releases[0] <= numbers < self.releases[1]
        return any(
            named == numbers and least <= at and (most is None or at < most) for named, least, most in self.prereleases
        )


def admitted(text: str) -> AdmittedVersions:
    """What a requirement admits.

    Args:
        text: A requirement, such as `1.0`, `>=1, <2`, `1.*` or `*`.

    Raises:
        FormatError: Not a requirement that any cargo reads.
    """
    parts = old_comparators(text)
    first, end = (0, 0, 0), _END
    for part in parts:
        least, most = _interval(part)
        first, end = max(first, least), min(end, most)
    named = sorted({part.numbers for part in parts if part.pre})
    found = [(numbers, *_prereleases(parts, numbers)) for numbers in named]
    return AdmittedVersions(
        (first, end) if first < end else None,
        tuple((numbers, least, most) for numbers, least, most in found if most is None or least < most),
    )


def _interval(part: Comparator) -> tuple[_Numbers, _Numbers]:
    """The versions without a pre-release that a comparator admits: the first, and the first that no longer is."""
    at = part.numbers
    behind = _following(part)
    if part.op == "<":
        return (0, 0, 0), at
    if part.op == "<=":
        return (0, 0, 0), at if part.pre else behind
    if part.op == ">":
        return at if part.pre else behind, _END
    if part.op == ">=":
        return at, _END
    if part.op == "~":
        return at, _carried(part.major, (part.minor or 0) + 1, 0) if part.minor is not None else behind
    if part.op == "^":
        return at, _compatible(part)
    return at, at if part.pre else behind  # `=`, and wildcards


def _following(part: Comparator) -> _Numbers:
    """The first version behind all that a comparator's numbers stand for: behind `1.2` it is 1.3.0."""
    if part.minor is None:
        return _carried(part.major + 1, 0, 0)
    return (
        _carried(part.major, part.minor + 1, 0) if part.patch is None else _carried(*part.numbers[:2], part.patch + 1)
    )


def _compatible(part: Comparator) -> _Numbers:
    """The first version that is not compatible: a change of the first number that is not 0, as far as it is written."""
    if part.major or part.minor is None:
        return _carried(part.major + 1, 0, 0)
    return _carried(0, part.minor + 1, 0) if part.minor or part.patch is None else _following(part)


def _carried(major: int, minor: int, patch: int) -> _Numbers:
    """The same version, where a number is one past the largest: 1.0.0 is the next after 0.MAX.MAX."""
    if patch > _LARGEST:
        minor, patch = minor + 1, 0
    return (major + 1, 0, 0) if minor > _LARGEST else (major, minor, patch)


def _prereleases(parts: Iterable[Comparator], numbers: _Numbers) -> tuple[_Identifiers, _Identifiers | None]:
    """Of the pre-releases of one version: the first that all comparators admit, and the first that no longer is."""
    first: _Identifiers = _LEAST
    end: _Identifiers | None = None
    for part in parts:
        least, most = _part_prereleases(part, numbers)
        first = max(first, least)
        end = most if end is None else end if most is None else min(end, most)
    return first, end


def _part_prereleases(part: Comparator, numbers: _Numbers) -> tuple[_Identifiers, _Identifiers | None]:
    nothing, everything = (_LEAST, _LEAST), (_LEAST, None)
    if part.patch is None or part.numbers != numbers:
        return everything if _admits_before(part, numbers) else nothing
    at = _identifiers(part.pre)
    if at is None:  # the release itself, which comes behind all its pre-releases
        return everything if part.op in ("<", "<=") else nothing
    behind = at + _NEXT
    if part.op in (">=", "^", "~"):
        return at, None
    return {"<": (_LEAST, at), "<=": (_LEAST, behind), ">": (behind, None)}.get(part.op, (at, behind))


def _admits_before(part: Comparator, numbers: _Numbers) -> bool:
    """Whether a comparator that names another version, or no whole one, admits the pre-releases of this one."""
    if part.patch is None and _stands_for(part, numbers):
        return part.op == "^"  # to all others `1.2` is 1.2.0, which comes behind its own pre-releases
    least, most = _interval(part)
    return least <= numbers < most


def _stands_for(part: Comparator, numbers: _Numbers) -> bool:
    return part.major == numbers[0] and part.minor in (None, numbers[1])


def _identifiers(pre: str) -> _Identifiers | None:
    """Numeric identifiers compare as numbers and come before the others (SemVer 11.4)."""
    if not pre:
        return None
    return tuple((0, int(one), "") if one.isdigit() else (1, 0, one) for one in pre.split("."))
