"""Whether a tagged source may be published: what `carnet.publishable` asks, answered from git's objects.

`check_source` comes before cargo reads anything, so that what is wrong is said in carnet's words, all of it at once;
`check_listing` when cargo has said which files it would package.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Sequence

from carnet.cargo.names import CrateName
from carnet.cargo.original import crate_id
from carnet.errors import FormatError, Unpublishable
from carnet.publishable.checks import Destination, check_files, check_manifest, check_submodules
from carnet_signer.steps.gitsource import object_store, run_git
from carnet_signer.steps.packaging import Workspace

_AT_ONCE = 500
"""Paths on one command line."""


def check_source(workspace: Workspace, destination: Callable[[CrateName], Destination]) -> tuple[str, ...]:
    """Demand a name, a version, a manifest and submodules that may be published.

    Args:
        workspace: The tagged source.
        destination: Says where a crate is to be published, and what is there.

    Returns:
        Remarks, for whoever signs.

    Raises:
        Unpublishable: cargo or the registry would refuse it.
        ConfigError: The package's folder has no manifest.
    """
    tree = workspace.tree
    try:
        manifest, place = workspace.resolved()
        crate = crate_id(manifest)
        remarks = check_manifest(crate, manifest, destination(crate.name), place)
    except FormatError as error:  # it is the maintainer's own file
        raise Unpublishable(f"{workspace.folder or 'the package'}: {error}", hint=error.hint) from None
    absent = sorted(set(tree.gitlinks) - set(tree.stores))
    return (*remarks, *check_submodules(absent, workspace.folder, manifest))


def check_listing(workspace: Workspace, listing: Sequence[str]) -> tuple[str, ...]:
    """Demand that the files which cargo would package are themselves, and have names of their own everywhere.

    Returns:
        Remarks, for whoever signs.

    Raises:
        Unpublishable: One is a pointer to a file that is kept elsewhere, or two are one on some file system.
    """
    files = workspace.tree.resolved()
    places = {path: posixpath.join(workspace.folder, path) for path in listing}

    def read(path: str) -> bytes | None:
        file = files.get(places[path])
        return None if file is None else file.data

    remarks = check_files(listing, read)
    return (*remarks, *_filtered(workspace, [place for place in places.values() if place in files]))


def _filtered(workspace: Workspace, paths: Sequence[str]) -> Iterator[str]:
    """Files that git changes between a commit and a checkout: the commit's bytes are what is packaged."""
    attributes = [path for path in workspace.tree.files if posixpath.basename(path) == ".gitattributes"]
    if not any(b"filter" in workspace.tree.files[path].data for path in attributes):
        return
    found: dict[str, list[str]] = {}
    for number, (prefix, store) in enumerate(workspace.tree.stores.items()):
        # An index and nothing else: no attributes but those of the commit itself count.
        place = workspace.root / f"attributes-{number}"
        commit = workspace.tree.gitlinks[prefix] if prefix else workspace.tree.commit
        form = ("--object-format=sha256",) if len(commit) == 64 else ()
        run_git("init", "--quiet", "--bare", "--template=", *form, str(place))
        (place / "objects" / "info").mkdir(exist_ok=True)
        (place / "objects" / "info" / "alternates").write_text(f"{object_store(store)}\n")
        run_git("read-tree", commit, git_dir=place)
        above = f"{prefix}/" if prefix else ""
        inside = [path.removeprefix(above) for path in paths if path.startswith(above)]
        for start in range(0, len(inside), _AT_ONCE):
            chosen = inside[start : start + _AT_ONCE]
            said = run_git("check-attr", "--cached", "-z", "filter", "--", *chosen, git_dir=place).split("\0")
            for path, name in zip(said[0::3], said[2::3], strict=False):
                if name not in ("unspecified", "unset"):
                    found.setdefault(name, []).append(above + path)
    for name, files in sorted(found.items()):
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        yield f"{files[0]}{more}: git's filter {name} changes it in a checkout; what is packaged is what is committed"
