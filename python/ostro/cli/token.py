"""``ostro token``: what lets hosts join. Run on a controller."""

from __future__ import annotations

import re
from collections.abc import Callable

import click
import trio

from ostro.cli.roles import open_parts, state_option
from ostro.cli.settings import read_settings
from ostro.cli.state import StateDir, Usage
from ostro.model.context import NOBODY, Context
from ostro.model.times import iso_z
from ostro.runtime.certificates import fingerprint
from ostro.runtime.log import configure_logging
from ostro.runtime.world import World
from ostro.services.agents.hosts import list_urls
from ostro.services.agents.joining import create_token, list_tokens, new_secret, revoke_token
from ostro.services.cloud import Cloud
from ostro.store.database import Tx
from ostro.store.postgres import check_server

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
DURATION = re.compile(r"(\d{1,9})([smhd])")


def parse_duration_s(text: str) -> int:
    """Seconds of a duration such as 90s, 15m, 1h or 7d. Raises Usage."""
    found = DURATION.fullmatch(text)
    if found is None:
        raise Usage(f"{text!r} is no duration: write 90s, 15m, 1h or 7d.")
    return int(found[1]) * UNITS[found[2]]


def _with_cloud(state: str, act: Callable[[Cloud, Tx, Context], list[str]]) -> list[str]:
    """One transaction on the cloud's store."""

    directory = StateDir.make(state)
    settings = read_settings(directory)
    check_server(settings.database)

    async def run() -> list[str]:
        world = World()
        async with open_parts(directory, settings, world) as cloud:

            def work(tx: Tx) -> list[str]:
                return act(cloud, tx, Context(NOBODY, "req-cli", world.now_us(), world.random))

            return await cloud.db.run(work)

    configure_logging("warning")
    return trio.run(run)


@click.group()
def token() -> None:
    """Tokens that let hosts join."""


@token.command()
@state_option
@click.option("--expires", default="1h", show_default=True, help="How long it is good: 90s, 15m, 1h, 7d.")
@click.option("--uses", default=1, show_default=True, help="How many hosts it lets in.")
@click.option("--host", default="", help="Let in a host of this name only, also in place of one that is there.")
def create(state: str, expires: str, uses: int, host: str) -> None:
    """Print a new token."""
    expires_s = parse_duration_s(expires)

    def act(cloud: Cloud, tx: Tx, context: Context) -> list[str]:
        assert cloud.authority is not None, "open_parts loads it"
        secret = new_secret(cloud.world)
        create_token(tx, context, secret, expires_s=expires_s, uses=uses, host_name=host)
        return [f"{secret}.{fingerprint(cloud.authority.cert_pem)}", *list_urls(tx, context.now_us)]

    made, *urls = _with_cloud(state, act)
    click.echo(made)
    if urls:
        click.echo(f"On the host: ostro join {urls[0]} {made}", err=True)


@token.command("list")
@state_option
def list_(state: str) -> None:
    """List tokens that are still good; what lets hosts in is not shown again."""

    def act(cloud: Cloud, tx: Tx, context: Context) -> list[str]:
        return [
            f"{found.id}  {found.uses_left} uses  until {iso_z(found.expires_at_us)}  {found.host_name or 'any host'}"
            for found in list_tokens(tx, context)
        ]

    for line in _with_cloud(state, act):
        click.echo(line)


@token.command()
@state_option
@click.argument("token_id")
def revoke(state: str, token_id: str) -> None:
    """Let nobody in by a token any more. Hosts that have joined by it stay."""

    def act(cloud: Cloud, tx: Tx, context: Context) -> list[str]:
        revoke_token(tx, context, token_id)
        return []

    _with_cloud(state, act)
