"""The mirror's clock, held against what it published itself: a clock that is absurd is told before anything is signed.

A timestamp that is signed while the clock is far ahead can be shown to clients for as long; one that is signed while it
is behind is refused by all of them. The online signer cannot tell, because it mostly runs on the same machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from carnet import times
from carnet.errors import CarnetError, ConfigError
from carnet.tuf import paths
from carnet.tuf.read import parse_role
from carnet.tuf.roles import Root, Signed, Targets, Timestamp
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.store import Store
from carnet_signer.metadata.new_roles import Change
from carnet_signer.metadata.published_state import PublishedState
from carnet_signer.metadata.role_files import OFFLINE_LIFE, ROOT_LIFE, TIMESTAMP_LIFE

_OWN = timedelta(minutes=5)
"""How far this machine's clock may go back behind what it signed itself."""
_OTHERS = timedelta(days=1)
"""How far it may be behind those of the holders."""
_JUMP = timedelta(days=30)
"""A mirror signs twice a day: after so long a gap either it was off, or its clock is ahead."""
_LIVES = {paths.ROOT: ROOT_LIFE, paths.TARGETS: OFFLINE_LIFE}
_SET_IT = "compare the clock with another one and set it"


def check_clock(store: Store, *, now: datetime) -> None:
    """Demand that the clock can be right, before something is signed.

    Args:
        store: The mirror; nothing may be published yet.
        now: What the clock says.

    Raises:
        ConfigError: It is behind what was signed already, or so far ahead that all of it has ended.
        FormatError: A file does not parse.
        StorageError: A file is missing.
    """
    if store.read(paths.METADATA_PREFIX + paths.metadata_name(paths.TIMESTAMP, None)) is None:
        return
    view = UnverifiedView(store)
    _check(now, view.timestamp, {paths.ROOT: view.root(), paths.TARGETS: view.targets(paths.TARGETS)})


def check_clock_before(current: PublishedState, change: Change, *, now: datetime) -> None:
    """The same of what is about to be published, from what was read for it anyway.

    Args:
        current: What is published; it may be nothing yet.
        change: What is new.
        now: What the clock says.

    Raises:
        ConfigError: As `check_clock`.
        FormatError: A file does not parse.
    """
    targets = current.role(paths.TARGETS)
    offline: dict[str, Signed | None] = {
        paths.ROOT: current.roots[-1].signed if current.roots else None,
        paths.TARGETS: None if targets is None else targets.signed,
    }
    if paths.ROOT in change.roles:
        offline[paths.ROOT] = parse_role(change.roles[paths.ROOT], Root, what=paths.ROOT).signed
    if paths.TARGETS in change.roles:
        offline[paths.TARGETS] = parse_role(change.roles[paths.TARGETS], Targets, what=paths.TARGETS).signed
    _check(now, None if current.timestamp is None else current.timestamp.signed, offline)


def _check(now: datetime, timestamp: Timestamp | None, offline: Mapping[str, Signed | None]) -> None:
    """By when the timestamp was signed, and when root and targets were made at the latest, and end."""
    known = {role: signed for role, signed in offline.items() if signed is not None}
    for role, signed in known.items():
        made = times.moved(signed.expires, -_LIVES[role])
        if now < times.moved(made, -_OTHERS):
            raise ConfigError(
                f"this machine's clock says {times.written(now)}, and {role} was made on {times.written(made)}",
                hint=_SET_IT,
            )
    if timestamp is None:
        return
    last = times.moved(timestamp.expires, -TIMESTAMP_LIFE)
    if now < times.moved(last, -_OWN):
        raise ConfigError(
            f"this machine's clock says {times.written(now)}, and this mirror signed its timestamp at "
            f"{times.written(last)}",
            hint=f"{_SET_IT}; when it was ahead then and is right now, `carnet mirror refresh DIR --clock-is-right`",
        )
    ended = [role for role, signed in known.items() if signed.expires <= now]
    if now - last > _JUMP and ended:
        raise ConfigError(
            f"this machine's clock says {times.written(now)}, this mirror signed its timestamp at "
            f"{times.written(last)}, and {ended[0]} has ended since",
            hint=f"{_SET_IT}; when the mirror was off for so long, its holders sign first: `carnet mirror refresh DIR "
            "--ceremony FOLDER`",
        )


def clock_problem(store: Store, *, now: datetime) -> ConfigError | None:
    """What `check_clock` refuses, as a value; for who looks at a mirror and changes nothing.

    Files that are damaged say nothing about a clock: whoever looks at them says so.
    """
    try:
        check_clock(store, now=now)
    except ConfigError as error:
        return error
    except CarnetError:
        return None
    return None
