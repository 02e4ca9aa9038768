"""What may be published, judged alike at every step of a release.

Facts in, judgement out: each check raises `Unpublishable` with everything that is wrong, or returns remarks, which
refuse nothing and are shown to whoever signs. One room for every step, so that all of them say the same:

    check_name                                       the claim: made, proposed, signed, handed in
    check_manifest, check_files, check_submodules    the tag, from git's objects
    check_tarball                                    packaging, assembling, every signer, the mirror
    remarks_on                                       what another registry has published already, at a sync

What cargo refuses is refused for every registry. What crates.io asks for beyond that is asked of crates of the registry
`crates-io` only (crates.io's `publish` endpoint, its `crates_io_validation`, its table of reserved names); another
registry has rules of its own, which carnet does not know.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator

from carnet.cargo.crate import CrateFile
from carnet.cargo.names import CrateId, CrateName
from carnet.cargo.original import Table
from carnet.publishable.files import file_objections, pointer_objections, submodule_objections
from carnet.publishable.manifest import CRATES_IO, manifest_objections
from carnet.publishable.objection import FieldPlaces, Objection, judged, table
from carnet.value import value

_RESERVED = frozenset(
    (
        *(
            "alloc",
            "arena",
            "ast",
            "builtins",
            "collections",
            "compiler_builtins",
            "compiler_rt",
            "compiletest",
            "core",
        ),
        *("coretest", "debug", "driver", "flate", "fmt_macros", "grammar", "graphviz", "macro", "macros", "proc_macro"),
        *("rbml", "rust_installer", "rustbook", "rustc", "rustc_back", "rustc_borrowck", "rustc_driver", "rustc_llvm"),
        *(
            "rustc_resolve",
            "rustc_trans",
            "rustc_typeck",
            "rustdoc",
            "rustllvm",
            "rustuv",
            "serialize",
            "std",
            "syntax",
        ),
        *("test", "unicode"),
    )
)
"""Canonical names that crates.io keeps for the language; those of Windows' devices are no `CrateName` at all."""
_KEYWORDS = frozenset(
    (
        *("abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn"),
        *("else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "match"),
        *("mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super"),
        *("trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield"),
    )
)


@value
class Destination:
    """Where a crate is to be published.

    Attributes:
        registry: The registry's name, as the crate's claim has it.
        published: The versions of the crate that are there already, as far as that could be asked.
    """

    registry: str = CRATES_IO
    published: tuple[CrateId, ...] = ()


def nobody_asked(name: CrateName) -> Destination:
    """Where a crate is published when there is no registry to ask: crates.io, and what is there is not known."""
    return Destination()


def check_name(name: CrateName, registry: str) -> tuple[str, ...]:
    """Demand a name that the registry would take.

    Raises:
        Unpublishable: It is reserved.
    """
    return judged(str(name), _name(name, registry))


def check_manifest(crate: CrateId, manifest: Table, to: Destination, place: FieldPlaces) -> tuple[str, ...]:
    """Demand a name, a version and a manifest that cargo and the registry would publish.

    Args:
        crate: Which it is.
        manifest: With what it inherits filled in (`carnet.cargo.original.resolve`), or as cargo wrote it.
        to: Where it is to be published.
        place: Where its fields stand.

    Returns:
        Remarks.

    Raises:
        Unpublishable: Something is refused; all of it is named.
        FormatError: A dependency is neither a requirement nor a table.
    """
    objections = list(_about(crate, manifest, to, place))
    if crate in to.published:
        objections.append(
            Objection(f"{crate} is published already", "a version never changes: raise package.version", refused=False)
        )
    return judged(str(crate), objections)


def check_files(files: Iterable[str], read: Callable[[str], bytes | None]) -> tuple[str, ...]:
    """Demand files that are themselves, under names that every file system keeps apart.

    Args:
        files: The paths that cargo would package.
        read: The content of one, or None where cargo makes the file.

    Raises:
        Unpublishable: Something is refused; all of it is named.
    """
    return judged("the package", file_objections(list(files), read))


def check_submodules(absent: Iterable[str], folder: str, manifest: Table) -> tuple[str, ...]:
    """Demand that no submodule is absent whose files would be packaged.

    Args:
        absent: Paths of the submodules whose objects are not here.
        folder: The package's folder in the repository; empty at its top.
        manifest: With `include` and `exclude`.

    Raises:
        Unpublishable: One lies in the package's folder, and the manifest does not leave it out.
    """
    return judged("the package", submodule_objections(absent, folder, table(manifest, "package")))


def check_tarball(crate: CrateFile, to: Destination) -> tuple[str, ...]:
    """All that can be known of a tarball: name, version, manifest, files.

    Args:
        crate: The tarball.
        to: Where it is to be published; that very version may be there.

    Raises:
        Unpublishable: Something is refused; all of it is named.
    """
    objections = [
        *_about(crate.id, dict(crate.manifest.document), to, FieldPlaces()),
        *pointer_objections([entry.path for entry in crate.entries], crate.file),
        *(Objection(f"{crate.id}: {warning}", "", refused=False) for warning in crate.warnings),
    ]
    return judged(str(crate.id), objections)


def remarks_on(crate: CrateId, to: Destination) -> tuple[str, ...]:
    """What nobody could publish today of a name and a version that a registry lists all the same.

    Args:
        crate: Which it is.
        to: The registry, and the versions that are at hand.
    """
    objections = [*_name(crate.name, to.registry), *_version(crate, [one for one in to.published if one != crate])]
    return tuple(objection.what for objection in objections if objection.refused)


def _about(crate: CrateId, manifest: Table, to: Destination, place: FieldPlaces) -> Iterator[Objection]:
    yield from _name(crate.name, to.registry)
    yield from _version(crate, [one for one in to.published if one != crate])
    yield from manifest_objections(manifest, to.registry, place)


def spellings(name: CrateName) -> tuple[CrateName, ...]:
    """Other spellings under which the registry would take the crate for the same: `-` and `_` for one another.

    A name with more than five of them is spelled all one way or all the other.
    """
    parts = re.split("[-_]", str(name))
    if len(parts) > 6:
        found = {"-".join(parts), "_".join(parts)}
    else:
        found = {
            parts[0] + "".join(sign + part for sign, part in zip(signs, parts[1:], strict=True))
            for signs in itertools.product("-_", repeat=len(parts) - 1)
        }
    return tuple(CrateName(text) for text in sorted(found - {str(name)}))


# --- names and versions ---


def _name(name: CrateName, registry: str) -> Iterator[Objection]:
    if registry == CRATES_IO and name.canonical in _RESERVED:
        yield Objection(f"the name {name} is reserved: crates.io keeps it for the language", "choose another name")
    elif name.canonical in _KEYWORDS:
        yield Objection(
            f"the name {name} is a keyword of Rust", "who depends on it has to rename it in their code", refused=False
        )


def _version(crate: CrateId, published: list[CrateId]) -> Iterator[Objection]:
    base = _without_build(crate)
    for other in published:
        if _without_build(other) == base and other.version != crate.version:
            yield Objection(
                f"version {crate.version} differs from {other.version}, which is published, in its build metadata "
                "only, and cargo takes them for one version",
                "raise package.version in Cargo.toml",
            )
            break
    names = sorted({str(other.name) for other in published})
    if names and str(crate.name) not in names:
        yield Objection(
            f"the crate is published as {names[0]}, and this is spelled {crate.name}",
            f'write `name = "{names[0]}"` in Cargo.toml',
        )
    newest = max((other.version for other in published), default=None)
    if newest is not None and crate.version < newest:
        yield Objection(f"version {crate.version} is older than {newest}, which is published", "", refused=False)


def _without_build(crate: CrateId) -> str:
    return str(crate.version).partition("+")[0]
