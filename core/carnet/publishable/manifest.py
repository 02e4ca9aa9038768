"""What cargo and crates.io ask of the manifest of a crate that is to be published.

What cargo refuses is refused for every registry; what crates.io asks for beyond that (its endpoint `publish`), of
crates of the registry `crates-io` only. Another registry has rules of its own, which carnet does not know.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from carnet.cargo.original import Table, dependencies, is_local
from carnet.publishable.categories import category_objections
from carnet.publishable.license import license_objections
from carnet.publishable.objection import FieldPlaces, Objection, table

CRATES_IO = "crates-io"
"""What cargo and claims call crates.io; `publish = ["crates-io"]` names it too."""

_INDEXES = frozenset(("https://github.com/rust-lang/crates.io-index",))
_MAX_DESCRIPTION = 1_000
_MAX_WORDS = 5
_MAX_KEYWORD = 20
_MAX_FEATURES = 300
_MAX_DEPENDENCIES = 500
_KEYWORD = re.compile(r"[0-9A-Za-z][0-9A-Za-z_+-]*\Z")


def manifest_objections(manifest: Table, registry: str, place: FieldPlaces) -> Iterator[Objection]:
    """What is wrong with a manifest (`carnet.publishable.checks.check_manifest`)."""
    package = table(manifest, "package") or table(manifest, "project")
    if "version" not in package:
        yield Objection(
            f"{place.package('version')} is missing, and cargo publishes nothing without one",
            'write `version = "0.1.0"` below [package]',
        )
    yield from _publish(package.get("publish"), registry, place.package("publish"))
    yield from _dependencies(manifest, registry, place)
    if registry == CRATES_IO:
        yield from _described(package, place)
        yield from _words(package, place)
        yield from _addresses(package, place)
        yield from _amounts(manifest, place)


def _publish(said: object, registry: str, where: str) -> Iterator[Objection]:
    if said is None or said is True:
        return
    if said is False or said == []:
        yield Objection(
            f"{where} is {'false' if said is False else '[]'}: whoever wrote it wants the crate published nowhere",
            "if it is to be public, take `publish` out of the manifest, commit, and tag that",
        )
    elif not (isinstance(said, list) and registry in said):
        names = ", ".join(map(str, said)) if isinstance(said, list) else str(said)
        yield Objection(
            f"{where} allows {names[:120]} only, and this release is for the registry {registry}",
            f'name "{registry}" in `publish` if it is to be public there; for the other registry, claim it with '
            "`carnet claim new --registry NAME` at that registry's mirror, and tag it with `carnet record tag "
            "--registry NAME`",
        )


def _dependencies(manifest: Table, registry: str, place: FieldPlaces) -> Iterator[Objection]:
    for kind, target, name, entry in dependencies(manifest):
        table = "dependencies" if kind == "normal" else f"{kind}-dependencies"
        where = f"{place.manifest}: {f'target.{target}.' if target else ''}{table}.{name}"[:200]
        if is_local(entry):
            if kind != "dev":  # cargo leaves those out of what it publishes
                at = "path" if "path" in entry else "git"
                yield Objection(
                    f"{where} has a `{at}` and no version, and who builds it elsewhere has only versions",
                    f'write `{name[:64]} = {{ {at} = "...", version = "..." }}`, of a version that is published',
                )
            continue
        other = entry.get("registry-index", entry.get("registry"))
        if registry != CRATES_IO:
            continue
        if other is not None and other != CRATES_IO and other not in _INDEXES:
            yield Objection(
                f"{where} is of the registry {str(other)[:120]}, and crates.io takes dependencies of its own only",
                "publish that crate on crates.io first, or leave the dependency out",
            )
        if str(entry.get("version", "*")).strip() in ("*", "x", "X"):
            yield Objection(
                f"{where} takes any version (`*`), which crates.io refuses",
                f'write the version that you build with, such as `{name[:64]} = "1.2"`',
                refused=kind != "dev",  # nobody who depends on the crate resolves those
            )


def _described(package: Table, place: FieldPlaces) -> Iterator[Objection]:
    text = package.get("description")
    if not isinstance(text, str) or not text:
        yield Objection(
            f"{place.package('description')} is missing, which crates.io demands",
            'write `description = "what it is, in one sentence"` below [package]',
        )
    elif len(text.encode()) > _MAX_DESCRIPTION:
        yield Objection(
            f"{place.package('description')} is longer than {_MAX_DESCRIPTION} bytes, which crates.io refuses",
            "say more in the readme",
        )
    if not any(isinstance(package.get(key), str) and package[key] for key in ("license", "license-file")):
        yield Objection(
            f"{place.package('license')} is missing, and so is license-file: crates.io demands one of them",
            'write `license = "MIT OR Apache-2.0"`, or whichever it is, below [package]',
        )
    if isinstance(said := package.get("license"), str) and said:
        yield from license_objections(said, place.package("license"))


def _words(package: Table, place: FieldPlaces) -> Iterator[Objection]:
    for key in ("keywords", "categories"):
        words = package.get(key)
        if not isinstance(words, list):
            continue
        if len(words) > _MAX_WORDS:
            yield Objection(
                f"{place.package(key)} names {len(words)}, and crates.io takes {_MAX_WORDS}", "keep the best five"
            )
        if key == "categories":
            yield from category_objections(words, place.package(key))
        for word in words if key == "keywords" else ():
            if len(str(word).encode()) > _MAX_KEYWORD or _KEYWORD.match(str(word)) is None:
                yield Objection(
                    f"{place.package(key)} has {str(word)[:40]!a}, which crates.io refuses",
                    f"a keyword has at most {_MAX_KEYWORD} letters, digits, `-`, `_` and `+`, and no blanks",
                )


def _addresses(package: Table, place: FieldPlaces) -> Iterator[Objection]:
    for key in ("homepage", "documentation", "repository"):
        text = package.get(key)
        if isinstance(text, str) and not text.startswith(("http://", "https://")):
            yield Objection(
                f"{place.package(key)} is {text[:80]!a}, and crates.io takes web addresses only",
                "write https://..., or leave it out",
            )


def _amounts(manifest: Table, place: FieldPlaces) -> Iterator[Objection]:
    """What crates.io raises for a crate when it is asked: shown, not refused."""
    features = table(manifest, "features")
    most = max([len(features), *(len(one) for one in features.values() if isinstance(one, list))])
    for found, limit, what in (
        (most, _MAX_FEATURES, "features, or one feature with as many parts"),
        (sum(1 for _ in dependencies(manifest)), _MAX_DEPENDENCIES, "dependencies"),
    ):
        if found > limit:
            yield Objection(
                f"{place.manifest} has {found} {what}, and crates.io takes {limit} unless it was asked",
                "",
                refused=False,
            )
