"""License expressions (SPDX 2.1, annex D), as crates.io reads them: `MIT OR Apache-2.0`.

It takes `AND`, `OR` and `WITH` in capitals, `/` for `OR`, `+` behind an id, and ids exactly as SPDX spells them. Which
ids there are, `packaging` knows as of its own release: one that it does not know is shown, and may be newer than that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from carnet.publishable.objection import Objection

_WORD = re.compile(r"[()/]|[^\s()/]+")
_ID = re.compile(
    r"(?:(?:DocumentRef-[A-Za-z0-9.-]+:)?LicenseRef-[A-Za-z0-9.-]+|(?!LicenseRef-)[A-Za-z0-9][A-Za-z0-9.-]*\+?)\Z"
)
_KINDS = {"(": "(", ")": ")", "AND": "join", "OR": "join", "/": "join", "WITH": "with"}
"""What a word is; any other is an id."""
_AFTER = {
    "join": ("(", "id"),
    "(": ("(", "id"),
    "with": ("id",),
    "id": ("join", "with", ")"),
    "exception": ("join", ")"),
    ")": ("join", ")"),
}
"""What may come after what; at its beginning an expression is as after a join."""
_ADVICE = (
    'write ids of https://spdx.org/licenses joined with AND, OR and WITH, such as `license = "MIT OR Apache-2.0"`; '
    "for a text of your own, name its file in `license-file`"
)


def license_objections(text: str, where: str) -> Iterator[Objection]:
    """What is wrong with a license expression.

    Args:
        text: As the manifest has it; not empty.
        where: Where it stands.
    """
    ids: list[tuple[str, bool]] = []
    wrong = _read(text, ids)
    if wrong is not None:
        yield Objection(f"{where} is {text[:80]!a}, which crates.io does not read: {wrong}", _ADVICE)
        return
    for one, is_exception in dict.fromkeys(ids):
        known = _as_spdx_writes(one, is_exception)
        what = "exception" if is_exception else "license"
        if known is None:
            yield Objection(
                f"{where} names the {what} {one[:80]}, which is not in the SPDX list that carnet knows, and crates.io "
                "refuses what is not in its own",
                "look it up at https://spdx.org/licenses",
                refused=False,
            )
        elif known != one:
            yield Objection(f"{where} names {one[:80]}, which SPDX and crates.io write {known}", f"write {known}")


def _read(text: str, ids: list[tuple[str, bool]]) -> str | None:
    """Collect the ids of an expression, each with whether it stands behind a `WITH`; or say what is wrong with it."""
    depth, before = 0, "join"
    for word in _WORD.findall(text):
        kind = _KINDS.get(word, "id")
        depth += (kind == "(") - (kind == ")")
        if kind not in _AFTER[before] or depth < 0:
            return f"{word[:40]!a} cannot stand {'where it stands' if ids else 'at its beginning'}"
        if kind == "id":
            if _ID.match(word) is None:
                return f"{word[:40]!a} is no id of a license"
            ids.append((word, before == "with"))
            kind = "exception" if before == "with" else "id"
        before = kind
    if before in ("join", "with"):
        return "it ends in the middle"
    return "a parenthesis is not closed" if depth else None


def _as_spdx_writes(one: str, is_exception: bool) -> str | None:
    """An id in SPDX's spelling; None when it is not known."""
    # Late: compiled tables of all licenses, about 10 ms, for which most commands have no use.
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    if "LicenseRef-" in one:
        return one
    try:
        known = str(canonicalize_license_expression(f"MIT WITH {one}" if is_exception else one))
    except InvalidLicenseExpression:
        return None
    return known.removeprefix("MIT WITH ")
