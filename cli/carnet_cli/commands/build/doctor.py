"""`carnet doctor`: what protects builds on this machine, and what does not; what they reach, and what they do not."""

from __future__ import annotations

import os
from pathlib import Path

import click

from carnet.errors import CarnetError
from carnet_cli.commands.build.locked_project import LockedProject
from carnet_cli.config import home
from carnet_cli.config.network.reading import NetworkSettings, read_network
from carnet_cli.doctor import disk, mirrors, network, own_cargo, own_home, path, proxy, read_only_home, shim
from carnet_cli.doctor.check import Check, Health, Patient
from carnet_cli.doctor.seen import SeenMirror, look_at
from carnet_cli.report.doctor import as_json, as_text
from carnet_cli.report.trust import WARN_BEFORE
from carnet_cli.terminal import output
from carnet_cli.terminal.output import MessageFormat

CHECKS: tuple[Check, ...] = (
    read_only_home.CHECK,
    own_home.CHECK,
    network.CHECK,
    proxy.CHECK,
    mirrors.MIRROR,
    mirrors.CLOCK,
    mirrors.EXPIRY,
    own_cargo.CHECK,
    disk.CHECK,
    path.CHECK,
    shim.CHECK,
)
"""What is looked at, in this order."""


@click.command()
@output.message_format
@click.option("--json", "message_format", flag_value="json", help="The same as `--message-format json`.")
def command(message_format: MessageFormat) -> int:
    """Say what protects builds on this machine, what they reach, and what is wrong.

    What keeps builds from writing to carnet's home; which proxies, authorities and identities are in force, and who
    named them; whether the proxy and the trusted mirrors answer; clock, expiry, cargo, disk, PATH, shims. Nothing is
    changed. Exit status 1 means that something is not as the policy of this project asks, that others can write to
    carnet's home or to a shim, or that no build would get through. For example:

    \b
        carnet doctor
        carnet doctor --json
    """
    project = LockedProject.around(Path())
    settings = project.settings()
    reached = _network(project)
    patient = Patient(home.home(), settings.policy, os.environ, home.now(), WARN_BEFORE, reached, _mirrors(reached))
    diagnoses = [check.examine(patient) for check in CHECKS]
    output.show(diagnoses, message_format, as_text, as_json)
    return int(any(diagnosis.health is Health.FAILURE for diagnosis in diagnoses))


def _network(project: LockedProject) -> NetworkSettings | CarnetError:
    try:
        return read_network(*project.folders)
    except CarnetError as error:
        return error


def _mirrors(reached: NetworkSettings | CarnetError) -> tuple[SeenMirror, ...] | CarnetError:
    if isinstance(reached, CarnetError):
        return reached
    try:
        trusted = [home.open_trusted(one) for one in home.trusted_ids()]
        return tuple(look_at(one.directory, reached.network, now=home.now()) for one in trusted)
    except CarnetError as error:
        return error
