"""Run cargo on a tagged source so that nothing of the source runs: list, lock, package.

`--no-verify` is not enough: a repository's `.cargo/config.toml` can name a compiler wrapper or a credential provider,
and `rust-toolchain.toml` another cargo. So the tagged files are exported to a folder of their own, and the pinned
cargo, named by its path and not through rustup, is started in an empty folder beside it with `--manifest-path`, an
empty CARGO_HOME, and an environment of nothing but what it needs. cargo looks for configuration above the folder that
it is started in, so none may stand there.

The export is a git repository again, with a configuration of ours and the original's objects, so that cargo sees which
files are tracked and writes `.cargo_vcs_info.json` as it does for everybody.
"""

from __future__ import annotations

import os
import posixpath
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from carnet.cargo.names import CrateId
from carnet.cargo.original import Table, crate_id, inherited_files, inherits, read_toml, resolve
from carnet.errors import ConfigError, FormatError, SigningError, Unpublishable
from carnet.publishable.objection import FieldPlaces
from carnet.scratch import temporary_folder
from carnet_signer.steps.gitsource import SourceTree, object_store, read_commit, run_git

MAX_TARBALL = 128 * 1024 * 1024
_TIMEOUT = 900


@dataclass(frozen=True, slots=True)
class Toolchain:
    """The cargo that lists and packages.

    Attributes:
        cargo: The program itself, not rustup's stand-in for it.
        version: What `cargo -V` prints, with its newline.
    """

    cargo: Path
    version: str


def find_toolchain(pinned: str | None = None, cargo: Path | None = None) -> Toolchain:
    """Find the cargo to use, from a folder where no `rust-toolchain.toml` acts.

    Args:
        pinned: A version such as `1.95.0`, or the text that `cargo -V` printed for the tag; None takes the default one.
        cargo: The program to use; it must be what `pinned` says.

    Raises:
        ConfigError: There is none, or not of that version.
    """
    wanted = (pinned or "").removeprefix("cargo ").split(" ")[0].strip()
    with temporary_folder() as empty:
        if cargo is None:
            cargo = _from_rustup(wanted, empty) or _from_path()
        try:
            done = subprocess.run(
                [str(cargo), "-V"], cwd=empty, env={"PATH": os.defpath}, capture_output=True, check=False, timeout=60
            )
        except (OSError, subprocess.TimeoutExpired):
            raise ConfigError(f"{cargo} does not run", hint="name cargo with --cargo") from None
    version = done.stdout.decode(errors="replace")
    if done.returncode != 0 or not version.startswith("cargo "):
        raise ConfigError(f"{cargo} is not cargo", hint="name the program itself, not rustup's stand-in, with --cargo")
    if pinned is not None and (version != pinned if pinned.startswith("cargo ") else version.split(" ")[1] != wanted):
        raise ConfigError(
            f"{pinned.strip()} is asked for, and this is {version.strip()}",
            hint=f"rustup toolchain install {wanted}",
        )
    return Toolchain(cargo, version)


def _from_rustup(wanted: str, empty: Path) -> Path | None:
    rustup = shutil.which("rustup")
    if rustup is None:
        return None
    choice = ["--toolchain", wanted] if wanted else []
    done = subprocess.run(
        [rustup, "which", *choice, "cargo"],
        cwd=empty,
        env=os.environ | {"RUSTUP_AUTO_INSTALL": "0"},  # what a tag names is no reason to download a toolchain
        capture_output=True,
        check=False,
        timeout=60,
    )
    path = Path(done.stdout.decode(errors="replace").strip())
    if done.returncode == 0 and path.is_file():
        return path
    return _from_rustup("", empty) if wanted else None  # the default one may be of that version


def _from_path() -> Path:
    found = shutil.which("cargo")
    if found is None:
        raise ConfigError("cargo is not installed", hint="install Rust, or name cargo with --cargo")
    return Path(found).resolve()


@dataclass(frozen=True, slots=True)
class Workspace:
    """A tagged source, exported, with the pinned cargo ready to work on it.

    Attributes:
        root: The scratch folder: `src` (the export), `empty`, `home`, `out`.
        tree: What was exported.
        folder: The package's folder in the repository; empty at its top.
        toolchain: The pinned cargo.
        index: `sparse+http://...` of a verifying proxy that stands for crates.io; None works offline.
    """

    root: Path
    tree: SourceTree
    folder: str
    toolchain: Toolchain
    index: str | None

    @property
    def source(self) -> Path:
        """The export."""
        return self.root / "src"

    @property
    def manifest(self) -> Path:
        """The package's manifest in the export."""
        return self.source / self.folder / "Cargo.toml"

    def workspace_folder(self) -> str:
        """The folder of the workspace's manifest, relative to the repository."""
        found = self.cargo("locate-project", "--workspace", "--message-format", "plain").strip()
        try:
            relative = Path(found).parent.relative_to(self.source.resolve())
        except ValueError:
            raise SigningError("the package says that its workspace lies outside the repository") from None
        return "" if relative == Path() else relative.as_posix()

    def crate(self) -> CrateId:
        """Name and version, with what the package inherits from its workspace.

        Raises:
            ConfigError: There is no manifest in that folder.
            FormatError: The manifest does not parse, or names no version.
        """
        return crate_id(self.resolved()[0])

    def resolved(self) -> tuple[Table, FieldPlaces]:
        """The package's manifest with what it inherits from its workspace, and where its fields stand.

        Raises:
            ConfigError: There is no manifest in that folder.
            FormatError: It does not parse, or inherits what the workspace does not have.
        """
        own, path = self._toml(self.folder), posixpath.join(self.folder, "Cargo.toml")
        if not inherits(own):
            return own, FieldPlaces(path)
        folder = self.workspace_folder()
        workspace = self._toml(folder)
        resolved = resolve(inherited_files(own, workspace, self.folder, folder), workspace)
        return resolved, FieldPlaces.of(own, path, posixpath.join(folder, "Cargo.toml"))

    def inherited_manifests(self) -> dict[str, str]:
        """The workspace's manifest, when the package inherits from it: path -> text."""
        if not inherits(self._toml(self.folder)):
            return {}
        path = posixpath.join(self.workspace_folder(), "Cargo.toml")
        return {path: self._file(path).decode()}

    def listing(self) -> tuple[str, ...]:
        """What `cargo package --list` says, once the lock is in place."""
        return tuple(self.cargo("package", "--list", "--locked").split("\n")[:-1])

    def lock(self) -> str:
        """The committed Cargo.lock, or one that cargo resolves now because none is committed."""
        path = posixpath.join(self.workspace_folder(), "Cargo.lock")
        committed = self.tree.resolved().get(path)
        try:
            if committed is not None:
                return committed.data.decode()
            self.cargo("generate-lockfile")
            return (self.source / path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise SigningError("there is no Cargo.lock, or it is not text") from None

    def put_lock(self, lock: str) -> None:
        """Put the tagged lock in place."""
        path = self.source / self.workspace_folder() / "Cargo.lock"
        path.unlink(missing_ok=True)
        path.write_text(lock, encoding="utf-8")

    def package(self, crate: CrateId) -> bytes:
        """Make the tarball without running anything of the crate's.

        Raises:
            SigningError: cargo refused, in its own words.
        """
        self.cargo("package", "--no-verify", "--locked")
        path = self.root / "out" / "package" / f"{crate.stem}.crate"
        if not path.is_file() or path.stat().st_size > MAX_TARBALL:
            raise SigningError(f"cargo made no tarball {crate.stem}.crate, or one above {MAX_TARBALL} bytes")
        return path.read_bytes()

    def cargo(self, *arguments: str) -> str:
        """Run the pinned cargo where nothing of the source acts on it.

        Raises:
            Unpublishable: It failed, and would for everybody: the package is wrong.
            SigningError: It failed.
        """
        command = [str(self.toolchain.cargo), *arguments, "--manifest-path", str(self.manifest)]
        if self.index is None:
            command += ["--offline"]
        else:
            command += ["--config", 'source.crates-io.replace-with="carnet-tag"']
            command += ["--config", f'source.carnet-tag.registry="{self.index}"']
        tools = self.toolchain.cargo.parent
        environment = {
            "PATH": str(tools),
            "HOME": str(self.root / "home"),
            "CARGO_HOME": str(self.root / "home" / "cargo"),
            "CARGO_TARGET_DIR": str(self.root / "out"),
            "CARGO_TERM_COLOR": "never",
            "RUSTC": str(tools / "rustc"),
            "LC_ALL": "C",
            "NO_PROXY": "*",
        }
        try:
            done = subprocess.run(
                command,
                cwd=self.root / "empty",
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=_TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            raise SigningError(f"cargo {arguments[0]} did not end within {_TIMEOUT} s") from None
        if done.returncode != 0:
            said = " ".join(done.stderr.decode(errors="replace").split()).replace(f"{self.source}/", "")
            text = f"cargo {arguments[0]} failed: {said[max(said.find('error:'), 0) :][:400]}"
            for phrase, advice in _OF_THE_PACKAGE:
                if phrase in said:
                    raise Unpublishable(text, hint=f"{advice}, commit, and tag that")
            raise SigningError(text, hint=_hint(said, self.index))
        return done.stdout.decode(errors="replace")

    def _toml(self, folder: str) -> Table:
        path = posixpath.join(folder, "Cargo.toml")
        return read_toml(self._file(path), path)

    def _file(self, path: str) -> bytes:
        found = self.tree.resolved().get(path)
        if found is None:
            raise ConfigError(
                f"the commit has no {path}", hint="name the package's folder in the repository with --package-dir"
            )
        return found.data


_OF_THE_PACKAGE = (
    ("inclusion of reserved file name", "cargo writes a file of that name itself: rename yours, or `exclude` it"),
    ("filename with a special character", "rename the file, or `exclude` it"),
    ("does not appear to exist", "add the file that the manifest names, or correct the manifest"),
    ("neither a dependency nor another feature", "correct the feature in the manifest"),
    ("failed to parse manifest", "correct the manifest"),
)
"""What cargo says when the package itself cannot be published, whatever this machine has, and what to do."""


def _hint(said: str, index: str | None) -> str:
    if "--locked was passed" in said:
        return "the committed Cargo.lock is out of date: run `cargo update --workspace`, commit, and tag that"
    if index is None and ("offline" in said or "no matching package" in said):
        return "the crate has dependencies: name a verifying proxy with --index, such as the one `carnet proxy` opens"
    return ""


@contextmanager
def open_workspace(
    repository: Path, revision: str, folder: str, toolchain: Toolchain, index: str | None
) -> Iterator[Workspace]:
    """Export a commit to a scratch folder, for as long as the block lasts.

    Raises:
        ConfigError: No such repository or revision, or a cargo configuration stands above the scratch folder.
        SigningError: git failed.
        FormatError: The commit has paths without a safe place.
    """
    if index is not None and not index.startswith(
        ("sparse+http://127.0.0.1:", "sparse+http://[::1]:", "sparse+https://")
    ):
        raise ConfigError(f"{index[:80]!a} is not a sparse index", hint="write sparse+http://127.0.0.1:PORT/index/")
    if '"' in (index or "") or "\\" in (index or ""):
        raise ConfigError("an index URL has no quotes", hint="leave the quotes out: https://mirror.example/index/")
    tree = read_commit(repository, revision)
    with temporary_folder() as root:
        for above in root.parents:
            for name in ("config", "config.toml"):
                if (above / ".cargo" / name).exists():
                    raise ConfigError(
                        f"{above / '.cargo' / name} would act on cargo in the scratch folder",
                        hint="remove it, or set TMPDIR to a folder of your own that has no .cargo above it",
                    )
        for name in ("src", "empty", "home", "out"):
            (root / name).mkdir()
        export(tree, root / "src")
        _pretend_clone(tree, root / "src")
        yield Workspace(root, tree, folder.strip("/"), toolchain, index)


def export(tree: SourceTree, folder: Path) -> None:
    """Write a commit's files below a folder that is empty: regular files first, then links that stay inside.

    Raises:
        FormatError: Two files of the commit are one on this file system.
    """
    try:
        for path, file in tree.files.items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            mode = 0o755 if file.executable else 0o644
            descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
            with os.fdopen(descriptor, "wb") as out:
                out.write(file.data)
        for path in tree.gitlinks:
            (folder / path).mkdir(parents=True, exist_ok=True)
        for path, target in tree.links.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).symlink_to(target)
    except (FileExistsError, NotADirectoryError) as error:
        raise FormatError(f"the commit has files that cannot stand side by side: {error.filename}") from None


def _pretend_clone(tree: SourceTree, folder: Path) -> None:
    """Make the export, and each submodule in it, a clean checkout: our configuration, the original's objects."""
    for path, store in tree.stores.items():
        commit = tree.gitlinks[path] if path else tree.commit
        place = folder / path
        form = ("--object-format=sha256",) if len(commit) == 64 else ()
        run_git("init", "--quiet", "--template=", *form, str(place))
        git_dir = place / ".git"
        (git_dir / "info").mkdir(exist_ok=True)
        (git_dir / "objects" / "info").mkdir(exist_ok=True)
        (git_dir / "objects" / "info" / "alternates").write_text(f"{object_store(store)}\n")
        # Attributes of the repository would make bytes in the export look changed; these win over them.
        (git_dir / "info" / "attributes").write_text("* -text !eol !ident !filter !working-tree-encoding\n")
        (git_dir / "info" / "exclude").write_text("Cargo.lock\n")
        (git_dir / "HEAD").write_text(f"{commit}\n")
        run_git("read-tree", commit, git_dir=git_dir)
