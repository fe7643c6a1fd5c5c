"""The ``ostro`` command."""

from __future__ import annotations

import faulthandler
import sys
from typing import Any

import click

from ostro import __version__
from ostro.cli.agent import agent
from ostro.cli.audit import audit
from ostro.cli.demo.ceph import demo_ceph
from ostro.cli.demo.command import demo
from ostro.cli.demo.hosts import demo_hosts
from ostro.cli.doctor import doctor
from ostro.cli.down import down
from ostro.cli.flows import flows
from ostro.cli.host import host
from ostro.cli.install import install
from ostro.cli.join import join
from ostro.cli.manage import manage
from ostro.cli.roles import api, controller, init
from ostro.cli.seed import seed
from ostro.cli.token import token
from ostro.cli.up import up
from ostro.model.errors import OstroError


class Commands(click.Group):
    """Shows our own errors as one line and exit status 1; anything else is a bug and keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (OstroError, BaseExceptionGroup) as error:
            messages = [known.message for known in _flatten(error) if isinstance(known, OstroError)]
            if len(messages) < len(_flatten(error)):
                raise
            for message in dict.fromkeys(messages):
                click.echo(f"ostro: {message}", err=True)
            sys.exit(1)


def _flatten(error: BaseException) -> list[BaseException]:
    """The errors that a group is made of, however deep: tasks' errors come out of their nurseries in groups."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [part for inner in error.exceptions for part in _flatten(inner)]


@click.group(cls=Commands)
@click.version_option(__version__)
def main() -> None:
    """Ostro: an IaaS cloud in one program."""
    if not faulthandler.is_enabled():
        # A library in C may end the process, and says why on standard error: there it shall also be seen what it was called for.
        faulthandler.enable(2)


main.add_command(agent)
main.add_command(api)
main.add_command(audit)
main.add_command(controller)
main.add_command(demo)
main.add_command(demo_ceph)
main.add_command(demo_hosts)
main.add_command(doctor)
main.add_command(down)
main.add_command(flows)
main.add_command(host)
main.add_command(init)
main.add_command(install)
main.add_command(join)
main.add_command(manage)
main.add_command(seed)
main.add_command(token)
main.add_command(up)
