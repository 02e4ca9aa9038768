"""The project that a command is about: where its lock is, what holds there, and what the lock names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from carnet.errors import ConfigError
from carnet.value import value
from carnet_cli.config import home, places
from carnet_cli.config import settings as config
from carnet_cli.terminal import output

if TYPE_CHECKING:
    from carnet.cargo.lockfile import LockedPackage, Lockfile
    from carnet.cargo.names import CrateId
    from carnet_cli.config.settings import Settings

LOCK = "Cargo.lock"


@value
class LockedProject:
    """A project, found from a folder of it as cargo finds it.

    Attributes:
        about: The folder that was meant, such as that of a member.
        folder: That of the lock, and of the policy beside it: the root of the workspace.
        lock: The lock, as messages name it; it need not be there.
    """

    about: Path
    folder: Path
    lock: Path

    @classmethod
    def around(cls, folder: Path) -> LockedProject:
        """The project that a folder belongs to.

        Raises:
            ConfigError: A `Cargo.toml` on the way is not one.
        """
        about = folder.resolve()  # as `cd` has it: of `..` and of a link, what is above is not what stands before it
        found = places.project_folder(about)
        return cls(about, found, folder / LOCK if found == about else found / LOCK)

    @property
    def folders(self) -> tuple[Path, Path]:
        """Its folders, for whoever asks whether a file comes with the project."""
        return self.folder, self.about

    @classmethod
    def of_lock(cls, lock: Path) -> LockedProject:
        """The project of a lock that somebody named."""
        folder = lock.absolute().parent
        return cls(folder, folder, lock)

    def settings(
        self,
        asked: Mapping[str, str] | None = None,
        *,
        config_file: Path | None = None,
        repository: str | None = None,
    ) -> Settings:
        """What holds for a command about it; what is to be said of that is said.

        Raises:
            ConfigError: A file, the environment or a flag is wrong.
        """
        settings = config.load(
            self.folder, now=home.now(), file=config_file, repository=repository, asked=asked, about=self.about
        )
        output.warn_all(settings.remarks)
        return settings

    def read_lock(self) -> Lockfile:
        """Read its lock.

        Raises:
            ConfigError: There is none, or it is not one.
        """
        from carnet.cargo.lockfile import MAX_LOCK, read_lockfile
        from carnet.durable import read_file, users_file

        with users_file(self.lock, LOCK):
            try:
                data = read_file(self.lock, "the lock", max_bytes=MAX_LOCK)
            except FileNotFoundError:
                raise ConfigError(f"{self.lock} does not exist", hint=self._without_lock()) from None
            return read_lockfile(data, str(self.lock))

    def _without_lock(self) -> str:
        if self.lock.name != LOCK:  # it may have been meant for something else than a lock
            return "name a Cargo.lock, a .crate file or NAME@VERSION"
        if places.is_there(str(self.folder / "Cargo.toml")):
            return "`cargo carnet generate-lockfile` makes one, of versions that were verified"
        return "`cd` to a project of cargo's, or name the Cargo.lock of one"

    def meant(self, text: str) -> CrateId:
        """The crate that somebody typed: NAME@VERSION, or NAME where the lock has one version of it.

        Raises:
            ConfigError: It names no version, and the lock has none or several.
        """
        from carnet.cargo.names import CrateId, CrateName
        from carnet_cli.terminal.typed import typed

        if "@" not in text and places.is_there(str(self.lock)):
            name = typed(CrateName, text)
            found = sorted({package.id for package in self.read_lock().packages if package.id.name == name})
            if len(found) == 1:
                return found[0]
            if found:
                raise ConfigError(
                    f"{self.lock} has several versions of {name}", hint=f"name one: {', '.join(map(str, found))}"
                )
        return typed(CrateId.parse, text)

    def packages(self, crate: CrateId) -> tuple[LockedPackage, ...]:
        """Everything that the lock has by one name and version, from whatever source; nothing where there is no lock.

        Raises:
            ConfigError: It is no lock.
        """
        from carnet_verifier.whole_lock import packages_named

        return packages_named(self.read_lock(), crate) if places.is_there(str(self.lock)) else ()
