"""What controllers know of each other's uploads, on both engines."""

from __future__ import annotations

from ostro.store.controllers import (
    add_live_upload,
    end_live_upload,
    forget_live_uploads,
    list_live_uploads,
    touch_uploads,
)
from ostro.store.database import Database


async def test_an_upload_is_alive_from_its_beginning_to_its_end(db: Database) -> None:
    for upload_id in ("one", "two", "dead"):
        await db.run(add_live_upload, upload_id, 10)
    await db.run(touch_uploads, ["one", "two"], 20)
    assert await db.read(list_live_uploads, 20) == {"one", "two"}
    for _twice in range(2):
        await db.run(end_live_upload, "one")
        # Whoever tells of it late has not heard that it has ended.
        await db.run(touch_uploads, ["one", "two"], 30)
        assert await db.read(list_live_uploads, 0) == {"two", "dead"}
    await db.run(forget_live_uploads, 20)
    assert await db.read(list_live_uploads, 0) == {"two"}
