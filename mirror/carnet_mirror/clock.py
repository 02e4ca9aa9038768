"""The mirror's clock, held against what it published itself: a clock that is absurd is told before anything is signed.

A timestamp that is signed while the clock is far ahead can be shown to clients for as long; one that is signed while it
is behind is refused by all of them. The online signer cannot tell, because it mostly runs on the same machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from carnet import times
from carnet.errors import CarnetError, ConfigError
from carnet.tuf import paths
from carnet.tuf.read import parse_role
from carnet.tuf.roles import Root, Signed, Targets
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.store import Store
from carnet_signer.metadata.role_files import OFFLINE_LIFE, ROOT_LIFE, TIMESTAMP_LIFE

_OWN = timedelta(minutes=5)
"""How far this machine's clock may go back behind what it signed itself."""
_OTHERS = timedelta(days=1)
"""How far it may be behind those of the holders."""
_JUMP = timedelta(days=30)
"""A mirror signs twice a day: after so long a gap either it was off, or its clock is ahead."""
_OFFLINE = ((paths.ROOT, ROOT_LIFE), (paths.TARGETS, OFFLINE_LIFE))
_SET_IT = "compare the clock with another one and set it"


def check_clock(store: Store, *, now: datetime, roles: Mapping[str, bytes] | None = None) -> None:
    """Demand that the clock can be right, before something is published.

    Args:
        store: The mirror; nothing may be published yet.
        now: What the clock says.
        roles: Newer files of offline roles that are about to be published.

    Raises:
        ConfigError: It is behind what was signed already, or so far ahead that all of it has ended.
        FormatError: A file does not parse.
    """
    offline = _offline(store, roles or {})
    for role, made, _ in offline:
        if now < made - _OTHERS:
            raise ConfigError(
                f"this machine's clock says {times.written(now)}, and {role} was made on {times.written(made)}",
                hint=_SET_IT,
            )
    if not _is_published(store):
        return
    signed = UnverifiedView(store).timestamp.expires - TIMESTAMP_LIFE
    if now < signed - _OWN:
        raise ConfigError(
            f"this machine's clock says {times.written(now)}, and this mirror signed its timestamp at "
            f"{times.written(signed)}",
            hint=f"{_SET_IT}; when it was ahead then and is right now, `carnet mirror refresh DIR --clock-is-right`",
        )
    ended = [role for role, _, expires in offline if expires <= now]
    if now - signed > _JUMP and ended:
        raise ConfigError(
            f"this machine's clock says {times.written(now)}, this mirror signed its timestamp at "
            f"{times.written(signed)}, and {ended[0]} has ended since",
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


def _is_published(store: Store) -> bool:
    return store.read(paths.METADATA_PREFIX + paths.metadata_name(paths.TIMESTAMP, None)) is not None


def _offline(store: Store, roles: Mapping[str, bytes]) -> list[tuple[str, datetime, datetime]]:
    """Root and targets as they will be: when each was made at the latest, and when it ends."""
    return [(role, signed.expires - life, signed.expires) for role, life, signed in _newest(store, roles)]


def _newest(store: Store, roles: Mapping[str, bytes]) -> Iterator[tuple[str, timedelta, Signed]]:
    view = UnverifiedView(store) if _is_published(store) else None
    for role, life in _OFFLINE:
        kind: type[Root] | type[Targets] = Root if role == paths.ROOT else Targets
        signed: Signed | None = None
        if role in roles:
            signed = parse_role(roles[role], kind, what=role).signed
        elif view is not None:
            signed = view.root() if role == paths.ROOT else view.targets(role)
        if signed is not None:
            yield role, life, signed
