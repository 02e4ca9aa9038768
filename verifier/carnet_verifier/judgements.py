"""Crates that an earlier run let in without a remark, and what that followed from: they need not be judged again.

Only of a crate that nobody has claimed, and of which no rule found anything at all. What then decides is its signed
index file, the checksum in the lock, what the policy asks, the highest level that was seen of it, the pinned root and
carnet itself; all of that is in the key, and another key is another question. Refresh, expiry and the search for the
index file are not remembered here: they are done in every run, and say which index file counts.

Time alone makes no rule find what it did not find before (a version grows older, it does not grow younger); where a
policy asks for an age, or the clock went back, all is judged again. What a rule did find, and what an exception
excuses, is judged in every run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from carnet import VERSION
from carnet.cargo.names import CrateId
from carnet.digests import sha256_hex
from carnet.errors import CarnetError
from carnet.level import Level
from carnet.tuf import paths
from carnet_verifier.policy.evaluate import in_force
from carnet_verifier.policy.rules import young

if TYPE_CHECKING:
    from carnet_verifier.memory.trust import TrustDirectory
    from carnet_verifier.outcomes import Admission, Wanted
    from carnet_verifier.policy.policy import Policy
    from carnet_verifier.policy.rule import Setting
    from carnet_verifier.tuf.repository import TrustedRepository

_MAKING = "judgements 1"
"""Another number makes older judgements unread: raise it when what a judgement follows from changes."""


def keys_of(
    repository: TrustedRepository, wanted: Sequence[Wanted], policy: Policy, trust: TrustDirectory
) -> Mapping[CrateId, str]:
    """What decides over each crate, in one digest; crates of which nothing is remembered are left out.

    Args:
        repository: The verified view of this run.
        wanted: The crates, as the lock has them.
        policy: The build's.
        trust: What the client remembers.

    Returns:
        A digest for each crate that nobody claims; nothing where it depends on the time, or could not be looked up.
    """
    if any(rule is young.RULE for rule in in_force(policy)):
        return {}
    names = {item.id.name.canonical: item.id.name for item in wanted}
    try:
        targets, claims = repository.look_up(
            list(dict.fromkeys(paths.index_path(item.id.name) for item in wanted)), names.values()
        )
        plain = {
            canonical for canonical, name in names.items() if claims[name] is None and not repository.released(name)
        }
    except CarnetError:
        return {}  # each is looked up for itself then, and says what is wrong
    highest = trust.highest_levels(names.values())
    grounds = repr((_MAKING, VERSION, sha256_hex(trust.root), asked_by(policy)))
    keys = {}
    for item in wanted:
        target = targets[paths.index_path(item.id.name)]
        if item.id.name.canonical not in plain or target is None or target.custom:
            continue
        about = (str(item.id), item.checksum, item.locked, target.length, target.sha256, highest.get(item.id.name))
        keys[item.id] = sha256_hex(f"{grounds}{about!r}".encode())
    return keys


def is_settled(admission: Admission) -> bool:
    """Whether the same question gets the same answer, whatever the time: nobody's crate, and nothing to remark."""
    attributed = admission.attributed
    plain = attributed.claim is None and not attributed.released and attributed.let_in is None
    return plain and admission.level is Level.REGISTRY and not admission.verdict.findings


def asked_by(policy: Policy) -> object:
    """All that a policy asks, in words that are the same in each run."""
    return (
        _written(policy.settings.items()),
        [(demand.pattern.text, _written(demand.settings.items())) for demand in policy.demands],
        sorted((rule.name, int(action)) for rule, action in policy.rules.items()),
        [(ban.pattern.text, ban.reason) for ban in policy.bans],
        [(excuse.pattern.text, excuse.rule.name, str(excuse.expires)) for excuse in policy.excuses],
        None if policy.floor is None else asked_by(policy.floor),
    )


def _written(asked: Iterable[tuple[Setting[Any], Any]]) -> list[tuple[str, str | int]]:
    return sorted((setting.name, setting.written(value)) for setting, value in asked)
