"""The repository that a build is judged by, as a policy has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carnet.errors import PolicyRefused
from carnet_cli.config import home
from carnet_cli.terminal import output

if TYPE_CHECKING:
    from carnet_cli.config.home import Trusted
    from carnet_cli.config.settings import Settings


def judging_repository(settings: Settings) -> Trusted:
    """Open the trusted repository that the settings name, and say when what is seen of it cannot be remembered.

    Raises:
        PolicyRefused: It cannot, and the policy forbids that.
        ConfigError: It is not clear which one is meant, or none is trusted.
        StorageError: What is remembered is damaged.
    """
    trusted = home.choose(settings.repository, may_choose=settings.may_choose)
    if not trusted.is_lasting:
        from carnet_verifier.policy.rule import Action
        from carnet_verifier.policy.rules.runs import unremembered

        action = settings.policy.action(unremembered.RULE)
        message = f"{home.home()} cannot be written: what this run sees is not remembered [{unremembered.RULE.name}]"
        if action is Action.DENY:
            raise PolicyRefused(message, hint="let carnet keep its memory: set CARNET_HOME to a folder of your own")
        if action is Action.WARN:
            output.warn(message)
    return trusted
