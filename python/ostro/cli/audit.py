"""``ostro audit``: read the log of who changed what, check that nobody changed the log, remove what is too old."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import orjson
import trio

from ostro.cli.manage import with_database
from ostro.cli.state import StateDir, Usage
from ostro.cli.up import DEFAULT_STATE
from ostro.model.times import iso_z, parse_iso
from ostro.runtime.world import World
from ostro.services.audit.anchors import Anchors
from ostro.services.audit.verify import Verdict, prune, verify
from ostro.store.audit import AuditRecord, Search, search_records
from ostro.store.database import Database

PAGE = 500
NEWEST = 2**62


@click.group()
def audit() -> None:
    """The log of changes and refused attempts."""


def _where(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which cloud."""
    command = click.option("--database", default="", help="PostgreSQL URL instead of the embedded store.")(command)
    return click.option("--state", default=DEFAULT_STATE, show_default=True, help="Directory of all state.")(command)


def _time_us(text: str) -> int:
    try:
        return parse_iso(text)
    except ValueError as error:
        raise Usage(f"{text} is not a time: write 2026-01-31 or 2026-01-31T12:00:00Z.") from error


def anchors_of(state: str) -> Anchors:
    """The anchors of a cloud's audit log."""
    return Anchors(Path(StateDir.open(state).root) / "audit")


@audit.command("verify")
@_where
def verify_command(state: str, database: str) -> None:
    """Check the whole log against itself and against what was signed in the state directory. Exit status 1 when it is not sound."""
    anchors = anchors_of(state)
    verdict = Verdict()

    async def act(_world: World, db: Database) -> None:
        nonlocal verdict
        verdict = await verify(db, anchors)

    trio.run(with_database, state, database, act)
    for finding in verdict.findings:
        click.echo(finding)
    if verdict.findings:
        raise Usage("The audit log is not sound.")
    click.echo(f"{verdict.records} records, {verdict.first} to {verdict.last}; signed up to {verdict.anchored}. Sound.")


@audit.command()
@_where
@click.option("--project", default="", help="Id of the project that the actor's token was for.")
@click.option("--user", default="", help="Id of the user.")
@click.option("--action", default="", help="create, update, update/reboot, delete, authenticate, read.")
@click.option("--outcome", type=click.Choice(["", "success", "failure"]), default="", help="Only these.")
@click.option("--target", default="", help="Id of what was changed, or any part of the request's path.")
@click.option("--since", default="", help="Not before this time, such as 2026-01-31T12:00:00Z.")
@click.option("--limit", default=100, show_default=True, help="At most so many, the newest first; 0 for all.")
@click.option("--json", "as_json", is_flag=True, help="Whole records, one JSON object a line.")
def show(
    state: str,
    database: str,
    project: str,
    user: str,
    action: str,
    outcome: str,
    target: str,
    since: str,
    limit: int,
    as_json: bool,
) -> None:
    """Print records, the newest first. What happened in the last second may not be there yet."""
    StateDir.open(state)
    search = Search(project, user, action, outcome, target, _time_us(since) if since else 0)
    trio.run(with_database, state, database, lambda _world, db: _print(db, search, limit, as_json))


async def _print(db: Database, search: Search, limit: int, as_json: bool) -> None:
    before, left = NEWEST, limit or NEWEST
    if not as_json:
        click.echo(_ROW.format("NO", "TIME", "ACTION", "OUTCOME", "USER", "ADDRESS", "TARGET"))
    while left > 0 and (page := await db.read(search_records, search, before, min(PAGE, left))):
        for record in page:
            click.echo(_line(record) if as_json else _row(record))
        before, left = page[-1].seq, left - len(page)


def _line(record: AuditRecord) -> str:
    return orjson.dumps({"seq": record.seq, "digest": record.digest, **orjson.loads(record.body)}).decode()


_ROW = "{:>8}  {:20}  {:24}  {:12}  {:32}  {:15}  {}"


def _row(record: AuditRecord) -> str:
    event: dict[str, Any] = orjson.loads(record.body)
    initiator = event["initiator"]
    code = event.get("reason", {}).get("reasonCode", "")
    times = f" x{event['count']}" if "count" in event else ""
    return _ROW.format(
        record.seq,
        iso_z(record.at_us),
        record.action,
        f"{record.outcome} {code}".strip() + times,
        initiator.get("name") or record.user_id,
        initiator["host"]["address"],
        f"{event['target']['typeURI'].removeprefix('service/')} {record.target_id}",
    )


@audit.command("prune")
@_where
@click.option("--before", required=True, help="Remove what is older than this time.")
def prune_command(state: str, database: str, before: str) -> None:
    """Remove old records. The log is checked first, and its new beginning is signed in the state directory."""
    anchors, before_us, removed = anchors_of(state), _time_us(before), 0

    async def act(world: World, db: Database) -> None:
        nonlocal removed
        removed = await prune(db, anchors, before_us, world.now_us())

    trio.run(with_database, state, database, act)
    click.echo(f"{removed} records removed.")
