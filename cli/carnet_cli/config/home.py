"""Where carnet keeps what it remembers for one user, and which repositories that user trusts.

::

    <home>/trust/<id>/            one trusted repository: pinned root, newest metadata, memory of crates
    <home>/cargo/<id>/registry/   its admitted tarballs, as a local registry for cargo
    <home>/cargo/<id>/home/       the private CARGO_HOME
    <home>/signed/                the newest version of each role that this user signed, by repository and by key

`<home>` is CARNET_HOME, or `carnet` in the user's data directory (XDG_DATA_HOME). `<id>` begins the sha256 of the
pinned root.

A home that cannot be written, as in an image, is copied for the time of one run: what the run sees counts in it, and
is not remembered.
"""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from carnet.digests import sha256_hex
from carnet.durable import private_folder
from carnet.errors import ConfigError, StorageError
from carnet.value import value
from carnet_cli.config.ancestors import require_held

if TYPE_CHECKING:
    from carnet_verifier.memory.trust import TrustDirectory

_ADD = "carnet trust add URL --root root.json"
_ELSEWHERE = "`export CARNET_HOME=DIR` with a folder of your own, which carnet makes when it is not there"


def now() -> datetime:
    """The clock, in one place."""
    return datetime.now(UTC)


def home() -> Path:
    """The folder of this user's carnet, whether or not it is there yet.

    Raises:
        ConfigError: The environment names none, a relative one, or something that is no folder.
    """
    named = os.environ.get("CARNET_HOME")
    if named:
        if not named.startswith("/"):
            raise ConfigError(
                f"CARNET_HOME is {named[:200]!a}, a path from wherever a command runs: any project could bring one",
                hint="`export CARNET_HOME=/DIR` with the whole path of a folder of your own",
            )
        return _no_file(Path(named), "CARNET_HOME")
    data, says = os.environ.get("XDG_DATA_HOME", ""), "XDG_DATA_HOME"
    if not data.startswith("/"):  # as the XDG specification says of relative ones
        user, says = os.environ.get("HOME", ""), "HOME"
        if not user:
            raise ConfigError("neither CARNET_HOME nor HOME is set", hint=_ELSEWHERE)
        data = f"{user}/.local/share"
    return _no_file(Path(data) / "carnet", says)


def _no_file(path: Path, says: str) -> Path:
    """Demand that a path is a folder or can become one: a file in its place would read as an empty home."""
    for place in (path, *path.parents):
        try:
            found = place.stat()
        except FileNotFoundError:
            if place.is_symlink():
                raise ConfigError(f"{says} leads to {place}, a link to what is not there", hint=_ELSEWHERE) from None
        except NotADirectoryError:
            continue  # something above is a file, which comes next
        except OSError:
            break  # who reads or writes there is told what is wrong
        else:
            if not stat.S_ISDIR(found.st_mode):
                raise ConfigError(f"{says} leads to {place}, which is no folder", hint=_ELSEWHERE)
            break
    return path


def require_own() -> None:
    """See to it that nobody else can take this user's carnet away, and put another memory in its place.

    Raises:
        ConfigError: Somebody else can write to a folder above it.
    """
    require_held(home(), "you", (os.geteuid(),), "that decides which repositories are trusted, and what is compiled")


def make() -> Path:
    """The folder of this user's carnet, made if it is not there, and this user's alone.

    Raises:
        ConfigError: Others can write to it, or take it away.
        StorageError: It cannot be made.
    """
    require_own()
    try:
        return private_folder(home())
    except StorageError as error:
        error.hint = f"{error.hint}; or {_ELSEWHERE}" if error.hint else _ELSEWHERE
        raise


def cargo_home() -> Path:
    """The user's own CARGO_HOME, where cargo itself looks for it.

    Raises:
        ConfigError: Nothing says where this user's files are.
    """
    named = os.environ.get("CARGO_HOME")
    if named:
        return Path(named).absolute()
    try:
        return Path.home() / ".cargo"
    except RuntimeError:
        raise ConfigError(
            "neither CARGO_HOME nor HOME is set", hint="set HOME, or CARGO_HOME to your cargo's folder"
        ) from None


def fingerprint(root: bytes) -> str:
    """What identifies a pinned root: the sha256 of its file, in hex."""
    return sha256_hex(root)


@value
class Trusted:
    """A repository that the user trusts.

    Attributes:
        id: The first 16 digits of the fingerprint of the pinned root.
        directory: What is remembered of it.
        cargo: The folder of its local registry and its private CARGO_HOME.
        home: The folder of carnet that it is in: the user's, or a copy for this run.
        is_lasting: Whether what is seen is remembered; not where the user's folder cannot be written.
    """

    id: str
    directory: TrustDirectory
    cargo: Path
    home: Path
    is_lasting: bool = True

    def require_lasting(self) -> None:
        """Demand that what a command changes lasts.

        Raises:
            StorageError: The user's folder cannot be written.
        """
        if not self.is_lasting:
            raise StorageError(
                f"{home()} cannot be written", hint="do it where it can be, or set CARNET_HOME to a folder of your own"
            )


def trusted_ids() -> list[str]:
    """The ids of all trusted repositories.

    Raises:
        StorageError: This user may not look there.
    """
    folder = home() / "trust"
    try:
        return sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        raise ConfigError(f"{folder} is no folder", hint=_ELSEWHERE) from None
    except OSError as error:
        raise StorageError(
            f"{folder}: {(error.strerror or 'cannot be read').lower()}",
            hint=f"let this user read it (`chmod -R a+rX {home()}`), or set CARNET_HOME to a folder of your own",
        ) from None


def none_trusted() -> ConfigError:
    """What is said to whoever trusts no repository, with the place: CARNET_HOME may name another one than is meant."""
    return ConfigError(
        f"no repository is trusted yet in {home()}", hint=f"run `{_ADD}` with the root file that you got safely"
    )


def trust_path(trust_id: str) -> Path:
    """The trust directory of one repository."""
    return home() / "trust" / trust_id


def signed_folder() -> Path:
    """What this user signed; see `carnet_signer.signed_before`."""
    return home() / "signed"


def open_trusted(trust_id: str) -> Trusted:
    """Open one trusted repository.

    Raises:
        ConfigError: There is none, or others can write to it, or take it away.
        StorageError: Its directory is damaged.
    """
    from carnet_verifier.memory.trust import TrustDirectory

    if not can_be_written():
        from carnet_cli.config.passing_home import passing_home

        require_own()
        place = passing_home(home())
        return Trusted(
            trust_id, TrustDirectory.open(place / "trust" / trust_id), place / "cargo" / trust_id, place, False
        )
    private_folder(make() / "trust")
    directory = TrustDirectory.open(trust_path(trust_id))
    return Trusted(trust_id, directory, home() / "cargo" / trust_id, home())


def can_be_written() -> bool:
    """Whether this user may write where the repositories are that are trusted."""
    return os.access(home() / "trust", os.W_OK)


def choose(repository: str | None, *, may_choose: bool = True) -> Trusted:
    """Open the repository that a command works with.

    Args:
        repository: Its URL, or the beginning of its fingerprint; None when there is only one.
        may_choose: Whether whoever named it may choose among several. A project may not, unless it is let.

    Raises:
        ConfigError: None is trusted, none fits, or it is not clear which one is meant.
    """
    ids = trusted_ids()
    if not ids:
        raise none_trusted()
    if len(ids) > 1 and (repository is None or not may_choose):
        alone = "" if repository is None else f", and the project alone asks for {repository[:200]!a}"
        raise ConfigError(
            f"more than one repository is trusted{alone}",
            hint='name one: `repository = "URL"` in your own carnet.toml, or a flag; `[project] may-choose` there lets '
            "projects choose",
        )
    return open_trusted(ids[0]) if repository is None else _fitting(ids, repository)


def _fitting(ids: list[str], repository: str) -> Trusted:
    by_id = [one for one in ids if len(repository) >= 8 and one.startswith(repository[:16])]
    if len(by_id) == 1:
        return open_trusted(by_id[0])
    opened = [open_trusted(one) for one in ids]
    found = [one for one in opened if one.directory.url.rstrip("/") == repository.rstrip("/")]
    if len(found) != 1:
        reason = "is not trusted" if not found else "is trusted with more than one root"
        raise ConfigError(
            f"repository {repository} {reason}", hint=f"`carnet trust status` lists them; `{_ADD}` adds one"
        )
    return found[0]
