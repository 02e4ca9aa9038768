"""A scratch project that depends on a program: so cargo resolves what the program needs, and no more."""

from __future__ import annotations

from pathlib import Path

from carnet import stricttoml
from carnet.cargo.crate import CrateFile
from carnet.cargo.lockfile import CRATES_IO, MAX_LOCK
from carnet.cargo.names import CrateName, Version
from carnet.durable import write_file
from carnet.errors import ConfigError, FormatError
from carnet_gate.args import Invocation
from carnet_gate.home import to_toml

_NAME = "carnet-installs"
_OPERATORS = "<>=^~"
_OF_GIT = {"--git": "git", "--branch": "branch", "--tag": "tag", "--rev": "rev"}


def write(folder: Path, invocation: Invocation, crate: CrateFile | None = None) -> CrateName:
    """Write the project; returns the program's name.

    Args:
        folder: Where.
        invocation: The command, with one word: the program, as it is asked for.
        crate: The program's tarball, where all of its features are asked for.

    Raises:
        ConfigError: That is no name, or no version.
    """
    text, _, version = invocation.words[0].partition("@")
    try:
        name = CrateName(text)
    except FormatError as error:
        raise ConfigError(str(error), hint=error.hint or "name a crate, or the folder of a program") from None
    if crate is None:
        asked = (one for text in invocation.values("-F", "--features") for one in text.replace(",", " ").split())
        features = [feature.removeprefix(f"{name}/") for feature in asked]
    else:
        features = _all_features(crate)
    wanted: dict[str, object] = {key: said for flag, key in _OF_GIT.items() if (said := invocation.value(flag))}
    if not wanted:
        wanted["version"] = _requirement(version or invocation.value("--version", "--vers") or "*")
    wanted |= {"features": features, "default-features": not invocation.has("--no-default-features")}
    document = {
        "package": {"name": _NAME, "version": "0.0.0", "edition": "2021"},
        "dependencies": {str(name): wanted},
        "workspace": {},
    }
    (folder / "src").mkdir(exist_ok=True)
    write_file(folder / "src/lib.rs", b"")
    write_file(folder / "Cargo.toml", to_toml(document).encode())
    return name


def lock(brought: bytes, what: str, crate: CrateFile) -> bytes:
    """The lock that a program brings, as that of the project.

    Args:
        brought: Its bytes, which were read as a lock.
        what: What it is, for messages.
        crate: The program's tarball.
    """
    document = stricttoml.parse(brought, what, max_bytes=MAX_LOCK)
    own = (str(crate.id.name), str(crate.id.version))
    packages = [
        {**package, "source": CRATES_IO, "checksum": crate.sha256}
        if (package.get("name"), package.get("version")) == own and "source" not in package
        else package
        for package in document.get("package", ())
    ]
    packages.append({"name": _NAME, "version": "0.0.0", "dependencies": [own[0]]})
    return to_toml({**document, "package": packages}).encode()


def _requirement(text: str) -> str:
    """A version as `cargo install` takes it: a whole one is that one, and all others are requirements."""
    if text[:1] in _OPERATORS or "*" in text:
        return text
    try:
        Version(text)
    except FormatError:
        raise ConfigError(
            f"{text[:80]!a} is neither a whole version nor a requirement", hint="write 1.2.3, or a range such as ^1.2"
        ) from None
    return f"={text}"


def _all_features(crate: CrateFile) -> list[str]:
    """Every feature of a crate, those among them that optional dependencies are."""
    features = crate.manifest.features
    named = {said for values in features.values() for said in values}
    optional = {dep.name for dep in crate.manifest.dependencies if dep.optional and f"dep:{dep.name}" not in named}
    return sorted({*features, *optional} - {"default"})
