"""How the commands of `carnet mirror` reach the online signer: one that runs already, or a child of their own.

A mirror remembers either where its online key is, or the socket of a signer that somebody else runs. `serve` starts
a signer that listens on a socket in the mirror's directory for as long as it serves, and `sync` beside it asks the same
one: a key's memory has one owner at a time. Where a command's own signer has it, the next command waits for its end.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from carnet.errors import CarnetError, ConfigError, SigningError
from carnet.tuf.paths import TIMESTAMP
from carnet_cli.commands.registry.online import WAITING, signer_command
from carnet_cli.terminal import output
from carnet_cli.terminal.passphrase import PassphraseSource
from carnet_mirror.fsck.fsck import Remembered
from carnet_mirror.state.store import Store
from carnet_signer.keys.uri import anchored, exists, key_file
from carnet_signer.online.client import OnlineClient, connect_signer, start_signer
from carnet_signer.online.memory import copy_memory, named_in, take_memory

SOCKET = "online.sock"
_WAIT = 3600
"""Seconds for which a command waits for another one's signer, such as that of a sync that has much to fetch."""
_STARTED_WITHIN = _WAIT + 600.0
"""Seconds: somebody may have to look for the passphrase."""


@dataclass(frozen=True, slots=True)
class OnlineSettings:
    """Where a mirror's online signer is.

    Attributes:
        key: The private key, a path or a URI, when the mirror's commands start the signer.
        memory: The signer's memory, then.
        socket: The socket of a signer that runs by itself, otherwise.
        example_keys: Whether the example keys are accepted.
        next_key: A key that takes over: both sign, so that clients with the root before and with the next one agree.
        lost: Whether the operator says that `key` is lost for good.
        new_memory: Whether the memory may be one that begins now.
    """

    key: str | None = None
    memory: Path | None = None
    socket: Path | None = None
    example_keys: bool = False
    next_key: str | None = None
    lost: bool = False
    new_memory: bool = False

    @classmethod
    def of(cls, store: Store) -> OnlineSettings:
        """What a mirror remembers.

        Raises:
            ConfigError: It knows of no online signer.
        """
        key, memory, place = (store.setting(name) for name in ("online-key", "online-memory", "online-socket"))
        if key is None and place is None:
            raise ConfigError(
                f"the mirror in {store.directory} knows of no online signer",
                hint="restore its database from a backup; `carnet mirror init DIR --online-key KEY` named it",
            )
        return cls(
            key,
            None if memory is None else Path(memory),
            None if place is None else Path(place),
            store.setting("example-keys") == "yes",
        )

    @classmethod
    def told(
        cls, key: str | None, memory: Path | None, socket: Path | None, *, example_keys: bool = False
    ) -> OnlineSettings:
        """What a person says of it on the command line.

        Raises:
            ConfigError: Neither a key nor a socket, both, or a key without a place for its memory.
        """
        if (key is None) == (socket is None):
            raise ConfigError(
                "say which online key signs this mirror's index", hint="give --online-key KEY, or --online-socket PATH"
            )
        return cls(
            key and anchored(key),
            _memory_of(key, memory).absolute() if key else None,
            socket and socket.absolute(),
            example_keys,
            new_memory=True,
        )

    def moved(self, key: str | None, memory: Path | None, socket: Path | None) -> OnlineSettings:
        """The same signer in another place: what is not said stays, and a key's memory is beside it if one is there.

        Raises:
            ConfigError: Nothing is said, both a key and a socket are, or a key that no memory lies beside.
        """
        if socket is not None:
            told = OnlineSettings.told(key, memory, socket)
            return replace(self, key=None, memory=None, socket=told.socket)
        if key is None and memory is None:
            raise ConfigError(
                "say what has moved: the mirror remembers "
                + " ".join(f"{flag} {place}" for flag, place in self.places.items()),
                hint="--online-key KEY, --memory FOLDER or --online-socket PATH says where it is now",
            )
        key = self.key if key is None else anchored(key)
        if key is None:
            raise ConfigError("this mirror's online signer runs by itself", hint="--online-socket says where it is now")
        beside = None if key_file(key) is None else _memory_of(key, None).absolute()
        if memory is None:
            memory = beside if beside is not None and beside.is_dir() else self.memory
        if memory is None:
            memory = _memory_of(key, None)
        return replace(self, key=key, memory=memory.absolute(), socket=None)

    @property
    def places(self) -> dict[str, str]:
        """Where it is, by the flag that says it."""
        named = {"--online-key": self.key, "--memory": self.memory, "--online-socket": self.socket}
        return {flag: str(place) for flag, place in named.items() if place is not None}

    def remember(self, store: Store) -> None:
        """Let a mirror remember it, inside a change."""
        for name, value in (("online-key", self.key), ("online-memory", self.memory), ("online-socket", self.socket)):
            if value is not None:
                store.put_setting(name, str(value))
            else:
                store.forget_setting(name)
        if self.example_keys:
            store.put_setting("example-keys", "yes")

    def command(self, passphrase: PassphraseSource) -> list[str]:
        """The command line that starts the signer."""
        if self.key is None or self.memory is None:
            raise ConfigError("this mirror's online signer runs by itself", hint=f"it listens on {self.socket}")
        if not self.new_memory and not self.memory.is_dir():
            raise SigningError(
                f"the memory of the online signer, {self.memory}, is gone",
                hint="put that folder back, or say where it is now: `carnet mirror relocate DIR --memory FOLDER`; when "
                "it is lost for good, `carnet mirror refresh DIR --memory-lost` begins another one, above what is "
                "published",
            )
        absolute = PassphraseSource(passphrase.file and passphrase.file.absolute(), passphrase.descriptor)
        # A key that was lost cannot hand over: the new one signs alone, and clients are refused for a moment. A file
        # that is gone is lost; a token that does not answer may be in a drawer.
        gone = key_file(self.key) is not None and not exists(self.key)
        lost = self.next_key is not None and (self.lost or gone)
        if gone and not lost:
            raise SigningError(
                f"the online key {self.key} is not there",
                hint="put it back, or say where it is now: `carnet mirror relocate DIR --online-key KEY`; when it is "
                "lost for good, `carnet root rotate CEREMONY --online NEW.pub` names another one",
            )
        keys = [key for key in (None if lost else self.key, self.next_key) if key is not None]
        return signer_command(keys, self.memory, absolute, insecure_example_keys=self.example_keys)


def _memory_of(key: str, memory: Path | None) -> Path:
    """Where the signer of a key remembers what it signed: as the user says, or beside the key's file."""
    if memory is not None:
        return memory
    file = key_file(key)
    if file is None:
        raise ConfigError(
            "say where the signer remembers what it signed: nothing lies beside a key that is no file",
            hint="give --memory DIR, and keep it as long as the key",
        )
    return file.with_name(f"{file.name}.memory")


@contextmanager
def online(directory: Path, settings: OnlineSettings, passphrase: PassphraseSource) -> Iterator[OnlineClient]:
    """Ask the signer that runs for this mirror; start one for the time being when there is none.

    Raises:
        SigningError: It cannot be reached or started.
    """
    with _reached(directory, settings, passphrase) as reached:
        client = reached if isinstance(reached, OnlineClient) else reached.start(_descriptors(passphrase))
        with client:
            yield client


@contextmanager
def signer_beside(directory: Path, settings: OnlineSettings, passphrase: PassphraseSource) -> Iterator[None]:
    """Let a signer listen in a mirror's directory, for this process and those that sync meanwhile.

    Raises:
        SigningError: It did not start.
    """
    theirs, ours = os.pipe()  # closed by the system when this process ends, however it ends
    with _reached(directory, settings, passphrase) as reached:
        if isinstance(reached, OnlineClient):  # somebody else's
            reached.close()
            os.close(theirs)
            os.close(ours)
            yield
            return
        command = [*reached.command, "--socket", SOCKET, "--while-open", str(theirs)]
        process = subprocess.Popen(
            command,
            cwd=directory,
            stdout=subprocess.DEVNULL,
            pass_fds=(theirs, *reached.locks, *_descriptors(passphrase)),
        )
    os.close(theirs)
    try:
        _wait(directory, settings, process)
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(ours)
        (directory / SOCKET).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _ToStart:
    """A signer that is to be started: its command line, and the lock of the memory that it inherits."""

    command: list[str]
    locks: tuple[int, ...] = ()

    def start(self, inherit: tuple[int, ...]) -> OnlineClient:
        return start_signer(self.command, inherit=(*self.locks, *inherit))


@contextmanager
def _reached(
    directory: Path, settings: OnlineSettings, passphrase: PassphraseSource
) -> Iterator[OnlineClient | _ToStart]:
    """The signer that runs for this mirror, or what starts one, with the memory's lock held for it meanwhile.

    While another command's own signer has the memory, whichever comes first is taken: that one ends, or a signer
    listens. Of two commands that start in one instant, the second so finds the signer of a `serve` that goes on.
    """
    if settings.next_key is not None:
        # One that runs holds the old key only, and the memory: starting another one says that it must be stopped first.
        yield _ToStart(settings.command(passphrase))
        return
    client = _running(directory, settings)
    if client is not None:
        yield client
        return
    command, memory = settings.command(passphrase), settings.memory or directory
    deadline, told = time.monotonic() + _WAIT, False
    while (lock := take_memory(memory)) is None:
        client = _running(directory, settings)
        if client is not None:
            yield client
            return
        if time.monotonic() >= deadline:
            raise SigningError(f"another online signer uses the memory {memory}", hint="stop it, then try again")
        if not told:
            output.note(WAITING.format(memory, _WAIT))
            told = True
        time.sleep(0.1)
    try:
        yield _ToStart([*command, "--memory-lock", str(lock)], (lock,))
    finally:
        with suppress(OSError):
            os.close(lock)


def signed_last(directory: Path, store: Store) -> Remembered | None:
    """What the online signer remembers, when it runs or its memory can be read: without a passphrase."""
    try:
        settings = OnlineSettings.of(store)
        client = _running(directory, settings)
        if client is not None:
            with client:
                return Remembered(client.last_version(TIMESTAMP), client.named_snapshot())
        if settings.memory is None:
            return None
        try:
            settings.memory.stat()
        except FileNotFoundError:
            return Remembered(0, None)
        return Remembered(*named_in(copy_memory(settings.memory)))
    except (CarnetError, PermissionError):
        return None


def _wait(directory: Path, settings: OnlineSettings, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _STARTED_WITHIN
    while time.monotonic() < deadline:
        client = _running(directory, settings)
        if client is not None:
            client.close()
            return
        if process.poll() is not None:
            raise SigningError("the online signer did not start", hint="its own message stands above")
        time.sleep(0.02)
    raise SigningError(f"the online signer did not start within {_STARTED_WITHIN:.0f} s")


def _running(directory: Path, settings: OnlineSettings) -> OnlineClient | None:
    if settings.socket is not None:
        return connect_signer(settings.socket)
    place = directory.absolute() / SOCKET
    if not place.exists():
        return None
    try:
        return connect_signer(place)
    except SigningError:
        return None  # left over from a signer that was killed


def _descriptors(passphrase: PassphraseSource) -> tuple[int, ...]:
    return () if passphrase.descriptor is None else (passphrase.descriptor,)
