"""Instance actions and keypairs, on both engines."""

from __future__ import annotations

from ostro.store.database import Database
from ostro.store.instance_actions import ERROR, INSTANCE_ACTIONS, InstanceAction, finish_actions
from ostro.store.keypairs import KEYPAIRS, Keypair, list_user_keypairs, next_keypair_id
from ostro.testing.rows import insert_row


async def test_only_unfinished_actions_of_the_kinds_named_end(db: Database) -> None:
    for request_id, action, finished_at_us in (("r1", "stop", 0), ("r2", "start", 7), ("r3", "attach_volume", 0)):
        row = InstanceAction("s", request_id, action, "u", "p", "e", "h", None, "", 1, finished_at_us)
        await db.run(insert_row, INSTANCE_ACTIONS, row)
    for now_us in (9, 10):
        await db.run(finish_actions, "s", ("start", "stop"), result=ERROR, message="no", now_us=now_us)
    rows = await db.read(lambda tx: INSTANCE_ACTIONS.list(tx, server_id="s", order="request_id"))
    assert [(r.finished_at_us, r.result, r.message) for r in rows] == [(9, "Error", "no"), (7, "", None), (0, "", None)]
    assert [r.updated_at_us for r in rows] == [9, 7, 1]


async def test_keypairs_are_numbered_and_paged_by_name(db: Database) -> None:
    for user_id, name in (("u", "b"), ("u", "a"), ("v", "a"), ("u", "c")):
        id_ = await db.run(next_keypair_id)
        row = Keypair(id_, user_id, name, "ssh", "f", "k", 1)
        await db.run(insert_row, KEYPAIRS, row)
    found = await db.read(list_user_keypairs, "u", after="a", limit=1)
    assert [(k.id, k.name) for k in found] == [(1, "b")]
    assert [k.name for k in await db.read(list_user_keypairs, "u", after="", limit=10)] == ["a", "b", "c"]
