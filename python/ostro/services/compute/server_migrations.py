"""Lists of migrations."""

from __future__ import annotations

from ostro.model.context import Context
from ostro.services.compute.moves import UNDER_WAY
from ostro.services.compute.visibility import get_server
from ostro.store.database import Tx
from ostro.store.paging import Page, list_page
from ostro.store.server_migrations import SERVER_MIGRATIONS, Kind, ServerMigration


def is_live(migration: ServerMigration) -> bool:
    """Whether it is a live migration that is under way."""
    return migration.kind is Kind.LIVE and migration.status in UNDER_WAY


def list_live_migrations(tx: Tx, context: Context, server_id: str) -> list[ServerMigration]:
    """The live migrations of a server that are under way: one at most. Raises NotFound."""
    get_server(tx, context, server_id)
    return [m for m in SERVER_MIGRATIONS.list(tx, server_id=server_id, order="id") if is_live(m)]


def list_migrations(tx: Tx, context: Context, page: Page) -> list[ServerMigration]:
    """A page of migrations, of whatever kind and project."""
    return list_page(tx, SERVER_MIGRATIONS, page)
