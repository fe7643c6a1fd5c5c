"""``ostro manage``: what an operator does to a cloud now and then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import click
import trio

from ostro.cli.control import ControlConfig, open_database
from ostro.cli.state import StateDir
from ostro.cli.up import DEFAULT_STATE
from ostro.runtime.world import World
from ostro.services.identity.tokens import Tokens
from ostro.store.database import Database
from ostro.store.migrate import migrate


@click.group()
def manage() -> None:
    """Keys and other housekeeping."""


async def with_database(state: str, database: str, act: Callable[[World, Database], Awaitable[None]]) -> None:
    """Open the cloud's store beside whatever else uses it, act, close."""
    world = World()
    db = open_database(world, ControlConfig(StateDir.make(state), database))
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(db.serve)
            await migrate(db)
            await act(world, db)
            nursery.cancel_scope.cancel()
    finally:
        db.close()


async def _rotate(world: World, db: Database) -> None:
    await Tokens(world, db).rotate()


@manage.command()
@click.option("--state", default=DEFAULT_STATE, show_default=True, help="Directory of all state.")
@click.option("--database", default="", help="PostgreSQL URL instead of the embedded store.")
def rotate_keys(state: str, database: str) -> None:
    """Sign tokens with a new key, within a minute. Tokens signed with the four keys before stay valid; no call fails, and nothing restarts."""
    trio.run(with_database, state, database, _rotate)
    click.echo("Tokens are signed with a new key within a minute.")
