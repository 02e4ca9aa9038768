"""`carnet mirror fsck --rebuild`: a mirror's database made anew from its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from carnet.errors import CarnetError, ConfigError
from carnet_cli.commands.registry.online_signer import OnlineSettings, online
from carnet_cli.config import home, trusting
from carnet_cli.report.registry.mirror import RebuiltReport, rebuilt_as_json, rebuilt_as_text
from carnet_cli.terminal import output
from carnet_mirror.fsck.rebuild import SEEN, Anchors
from carnet_mirror.fsck.rebuild import rebuild as make_anew

if TYPE_CHECKING:
    from carnet_cli.terminal.passphrase import PassphraseSource
    from carnet_mirror.state.store import Store

_HINT = (
    "`carnet mirror fsck DIR --rebuild --root 1.root.json --online-key KEY`, with the first root as clients have it "
    "(its holders kept it; `carnet trust add` took it) and the key, or --online-socket, of `carnet mirror init`"
)


@dataclass(frozen=True, slots=True)
class RebuildFlags:
    """What the command line says of it.

    Attributes:
        root: The pinned root's file.
        key: The online key.
        socket: Or the socket of its signer.
        memory: The signer's memory.
        example_keys: Whether the example keys are accepted.
        seen: `ROLE=VERSION`, as it was typed.
    """

    root: Path | None
    key: str | None
    socket: Path | None
    memory: Path | None
    example_keys: bool
    seen: tuple[str, ...]

    @property
    def given(self) -> list[str]:
        """The flags that were given."""
        named = {
            "--root": self.root,
            "--online-key": self.key,
            "--online-socket": self.socket,
            "--memory": self.memory,
            "--seen": self.seen,
        }
        return [name for name, value in named.items() if value]

    def versions(self) -> dict[str, int]:
        """The versions that were seen.

        Raises:
            ConfigError: One is not of that form.
        """
        return seen_versions(self.seen)


def seen_versions(seen: tuple[str, ...]) -> dict[str, int]:
    """What `--seen ROLE=VERSION`, as it was typed, says: the highest version of each role.

    Raises:
        ConfigError: One is not of that form.
    """
    found: dict[str, int] = {}
    for text in seen:
        role, _, version = text.partition("=")
        if role not in SEEN or not (version.isascii() and version.isdecimal()) or not 0 < len(version) < 19:
            raise ConfigError(
                f"--seen {text[:80]!a} is not ROLE=VERSION",
                hint=f"such as --seen timestamp=120; roles are {', '.join(SEEN)}",
            )
        found[role] = max(int(version), found.get(role, 0))
    return found


def rebuild(
    directory: Path, flags: RebuildFlags, passphrase: PassphraseSource, message_format: output.MessageFormat
) -> int:
    """Do it, and say what came of it; returns the exit status.

    Raises:
        CarnetError: As `carnet_mirror.fsck.rebuild.rebuild`.
    """
    seen = flags.versions()

    def anchors(old: Store | None) -> Anchors:
        if flags.root is None:
            raise ConfigError("say which root everything is verified from", hint=_HINT)
        pinned = trusting.read_root(flags.root, fingerprint=None, insecure_example_keys=flags.example_keys)
        settings = _settings(flags, old)
        return Anchors(pinned.data, lambda: online(directory, settings, passphrase), settings.remember, seen)

    made = make_anew(directory, anchors, now=home.now(), progress=output.counting)
    output.show(RebuiltReport(made, directory), message_format, rebuilt_as_text, rebuilt_as_json)
    return 0


def _settings(flags: RebuildFlags, old: Store | None) -> OnlineSettings:
    """Where the online signer is: as it is said, or as a database says that can still be read."""
    if old is not None and flags.key is None and flags.socket is None:
        try:
            return OnlineSettings.of(old)
        except CarnetError:
            pass
    if flags.key is None and flags.socket is None:
        raise ConfigError("say where the online signer is: the database knew it", hint=_HINT)
    return OnlineSettings.told(flags.key, flags.memory, flags.socket, example_keys=flags.example_keys)
