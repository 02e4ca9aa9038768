"""Who decides: what the user, the machine and the command say is the floor, and a project can only ask for more.

A project's file comes with the code under judgement. Each part of a policy has one direction that lets less in, and in
that direction alone the project's word counts:

* a rule: `deny` is stricter than `warn`, and `warn` than `allow`;
* a setting: what the rule itself calls stricter (`Setting.stricter`);
* demands and bans: there may be more of them, and the floor's stay;
* exceptions: those about rules that the floor lets projects except (`Policy.may_except`). Any other one holds only
  where the floor does not deny: a project may except from what itself alone asks.

So whatever the floor denies, floor and project together deny, save where the floor lets the project except.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carnet.value import value
from carnet_verifier.policy.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carnet_verifier.policy.rule import Rule, Setting


@value
class Tightened:
    """A floor and a project's policy in one.

    Attributes:
        policy: What holds.
        less: Each part of the project's that asks for less than the floor, and so does not count, in words.
    """

    policy: Policy
    less: tuple[str, ...]


def over(upper: Policy, lower: Policy) -> Policy:
    """Put one word above another: where the upper one says something of a setting or a rule, it decides.

    Demands, bans and exceptions of both count.

    Args:
        upper: Such as what flags say.
        lower: Such as what the machine says.
    """
    return Policy(
        settings={**lower.settings, **upper.settings},
        demands=(*lower.demands, *upper.demands),
        rules={**lower.rules, **upper.rules},
        bans=(*lower.bans, *upper.bans),
        excuses=(*lower.excuses, *upper.excuses),
        may_except=lower.may_except if upper.may_except is None else upper.may_except,
        sources={**lower.sources, **upper.sources},
    )


def with_user(machine: Policy, user: Policy) -> Policy:
    """Put the machine's word and the user's together: the machine decides, and the user may ask for more.

    Demands, bans and exceptions of both count; projects may except what both let them, or the one that says it.

    Args:
        machine: What the machine's administrator says.
        user: What the user says.
    """
    settings = {
        setting: said
        for setting, said in user.settings.items()
        if setting not in machine.settings or _is_more(setting, said, machine)
    }
    rules = {rule: said for rule, said in user.rules.items() if said > machine.rules.get(rule, -1)}
    both = [said for said in (machine.may_except, user.may_except) if said is not None]
    may_except = frozenset.intersection(*both) if both else None
    return over(
        Policy(settings, user.demands, rules, user.bans, user.excuses, may_except, _sources(user, settings, rules)),
        machine,
    )


def tighten(floor: Policy, project: Policy) -> Tightened:
    """Let a project ask for more than the floor, and for nothing else.

    Args:
        floor: What holds whatever the project says.
        project: What its file says.

    Returns:
        What both ask for, and what of the project's does not count.

    Raises:
        TypeError: A policy has a value of a setting that is none of that setting's, and so cannot be compared.
    """
    let = floor.may_except or frozenset()
    settings = {setting: said for setting, said in project.settings.items() if _is_more(setting, said, floor)}
    rules = {rule: said for rule, said in project.rules.items() if said > floor.action(rule)}
    firm = over(Policy(excuses=tuple(excuse for excuse in project.excuses if excuse.rule in let)), floor)
    more = Policy(settings, project.demands, rules, project.bans, sources=_sources(project, settings, rules))
    held = over(more, firm)
    policy = Policy(
        held.settings,
        held.demands,
        held.rules,
        held.bans,
        held.excuses,
        let,
        held.sources,
        firm,
        tuple(excuse for excuse in project.excuses if excuse.rule not in let),
    )
    return Tightened(policy, (*_lower_settings(floor, project), *_lower_rules(floor, project)))


def _is_more(setting: Setting[Any], said: Any, than: Policy) -> bool:
    asked = than.asks_of_all(setting)
    return bool(said != asked and setting.stricter(asked, said) == said)


def _sources(
    policy: Policy, settings: Mapping[Setting[Any], Any], rules: Mapping[Rule, Any]
) -> dict[Setting[Any] | Rule, str]:
    said: tuple[Setting[Any] | Rule, ...] = (*settings, *rules)
    return {about: policy.who_says(about) for about in said}


def _lower_settings(floor: Policy, project: Policy) -> list[str]:
    return [
        f"{_file(project, setting)}{setting.name} = {setting.written(said)} does not count: "
        f"{_asker(floor, setting)} for {setting.written(floor.asks_of_all(setting))}"
        for setting, said in project.settings.items()
        if said != floor.asks_of_all(setting) and not _is_more(setting, said, floor)
    ]


def _lower_rules(floor: Policy, project: Policy) -> list[str]:
    return [
        f"{_file(project, rule)}[rules] {rule.name} = {said} does not count: "
        f"{_asker(floor, rule)} for {floor.action(rule)}"
        for rule, said in project.rules.items()
        if said < floor.action(rule)
    ]


def _file(project: Policy, about: Setting[Any] | Rule) -> str:
    source = project.who_says(about)
    return f"{source}: " if source else ""


def _asker(floor: Policy, about: Setting[Any] | Rule) -> str:
    return f"{floor.who_says(about) or 'by default carnet'} asks"
