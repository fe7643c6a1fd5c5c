"""What reports of a server's two hosts mean for its move, besides what its saga waits for."""

from __future__ import annotations

import msgspec

from ostro.model.wishes import MigrationReport, Report
from ostro.store.database import Tx
from ostro.store.sagas import poke_sagas
from ostro.store.server_migrations import SERVER_MIGRATIONS, list_leaving

AMOUNTS = tuple(name for name in MigrationReport.__struct_fields__ if name.startswith(("memory_", "disk_")))


def note_progress(tx: Tx, migration_id: str, host_id: str, report: Report) -> None:
    """Keep how far the sender says it has come. Writes nothing when nothing has changed."""
    told = report.migration
    migration = SERVER_MIGRATIONS.find(tx, uuid=migration_id)
    if told is None or migration is None or told.id != migration.uuid or migration.source_host_id != host_id:
        return
    found = msgspec.structs.asdict(told)
    changes = {name: found[name] for name in AMOUNTS if found[name] != getattr(migration, name)}
    if changes and told.memory_total:
        SERVER_MIGRATIONS.update(tx, migration.uuid, **changes)


def poke_leaving(tx: Tx, host_id: str, report: Report) -> None:
    """A host that a server has to leave has said something of it."""
    poke_sagas(tx, [m.uuid for m in list_leaving(tx, report.id) if m.leaving_host_id == host_id])
