"""Which reads of SQLite leave the trio thread."""

from __future__ import annotations

from pathlib import Path

from ostro.runtime.world import World
from ostro.store.database import Tx
from ostro.store.sqlite import SqliteDatabase


def count_to(tx: Tx, most: int) -> int:
    sql = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?) SELECT count(*) FROM n"
    row = tx.one(sql, (most,))
    assert row is not None
    return int(row[0])


async def test_short_reads_stay_however_often_they_are_made_and_long_ones_leave(tmp_path: Path) -> None:
    world = World()
    db = SqliteDatabase(world, str(tmp_path / "ostro.db"))
    for _ in range(500):
        assert await db.read(count_to, 100) == 100
    assert "sqlite-reader" not in world.threads.pools
    assert await db.read(count_to, 100_000) == 100_000
    assert "sqlite-reader" in world.threads.pools
    db.close()
