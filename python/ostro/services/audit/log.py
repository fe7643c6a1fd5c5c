"""Writing the audit log, and sealing it.

- A change's record is written by the change's own transaction (``write``): there is none without the other.
- What has no transaction (a refusal, a login) is kept in memory for at most ``ROUND_S`` and written in one transaction. Equal ones of a
  round become one record with a count, and different ones beyond ``HELD_MOST`` are only counted, so that whoever hammers at the door
  can't fill the disk. A crash loses those of the last round, and no change's.
- One loop seals: at most once a ``ROUND_S``, because sealing touches the page of the inbox that every writer touches. Several processes
  may do it at the same time; each record is sealed once. After each round the end of the chain is signed into the state directory.
"""

from __future__ import annotations

import structlog
import trio

from ostro.model.context import NOBODY
from ostro.model.ids import new_uuid
from ostro.runtime.threads import Pool
from ostro.runtime.world import World
from ostro.services.audit.anchors import Anchors
from ostro.services.audit.events import FAILURE, SUCCESS, Deed, Trail, id_in
from ostro.store.audit import Chain, find_chain, list_inbox, put_record, seal_records
from ostro.store.database import Database, Tx

log = structlog.get_logger()

ROUND_S = 1.0
BATCH = 500
HELD_MOST = 1000
BAD = 400
POOL = Pool("audit-anchor", 1)
OVERFLOW = Deed("monitor", "service/audit", "audit")

Held = tuple[Trail, int, int]
"""A first attempt, its status code, and how many like it there were."""


class AuditLog:
    """The audit log of one process. Made anew it has nothing to remember: what matters is in rows."""

    def __init__(self, world: World, db: Database, anchors: Anchors) -> None:
        self._world = world
        self._db = db
        self._anchors = anchors
        self._held: dict[tuple[str, ...], Held] = {}
        self._dropped = 0
        self._stir = trio.Event()
        self._loop = world.metrics.loop("audit")

    def write(self, tx: Tx, trail: Trail, result: object) -> None:
        """Record a change in its own transaction; ``result`` tells the new object's id."""
        id_ = new_uuid(self._world.random)
        made = id_in(result) if trail.deed.creates or not trail.target_id else ""
        put_record(tx, id_, trail.at_us, trail.event(id_, SUCCESS, target_id=made))

    def written(self, trail: Trail) -> None:
        """The transaction has committed: there is something to seal."""
        trail.written = True
        self._stir.set()

    async def note(self, trail: Trail, code: int) -> None:
        """Record a change that was made by other ways than the request's own transactions, after the fact."""
        id_ = new_uuid(self._world.random)
        await self._db.run(put_record, id_, trail.at_us, trail.event(id_, SUCCESS, code=code))
        self.written(trail)

    def hold(self, trail: Trail, code: int) -> None:
        """Have something recorded soon that left no change: a refusal or a login."""
        key = (trail.actor.user_id, trail.address, trail.action, trail.deed.target_type, trail.target_id, str(code))
        if key in self._held:
            first, _code, count = self._held[key]
            self._held[key] = (first, code, count + 1)
        elif len(self._held) < HELD_MOST:
            self._held[key] = (trail, code, 1)
        else:
            self._dropped += 1
        self._stir.set()

    async def run(self) -> None:
        """Write and seal until cancelled, and once more then."""
        try:
            while True:
                try:
                    with self._loop.run():
                        await self.settle()
                except Exception:
                    log.exception("the audit log could not be sealed")
                    self._stir.set()  # What is left is sealed by the next round, whether or not somebody asks for something.
                await trio.sleep(ROUND_S)
                await self._stir.wait()
        finally:
            with trio.move_on_after(ROUND_S, shield=True):
                await self._write_held()

    async def settle(self) -> Chain:
        """One round: write what is held, seal what is in the inbox, sign the end. The chain then."""
        self._stir = trio.Event()
        await self._write_held()
        chain = await self._db.read(find_chain)
        while ids := await self._db.read(list_inbox, BATCH):
            chain = await self._db.run(seal_records, ids)
            self._world.faults.hit("audit.sealed")
        await self._world.threads.run(POOL, self._anchors.anchor, chain, self._world.now_us())
        return chain

    async def _write_held(self) -> None:
        """Write what is held. What can't be written is counted as dropped."""
        held, dropped = list(self._held.values()), self._dropped
        if not held and not dropped:
            return
        self._held, self._dropped = {}, 0
        try:
            await self._db.run(self._put_held, held, dropped)
        except BaseException:
            self._dropped += dropped + sum(count for _, _, count in held)
            raise

    def _put_held(self, tx: Tx, held: list[Held], dropped: int) -> None:
        for trail, code, count in held:
            id_ = new_uuid(self._world.random)
            outcome = SUCCESS if code < BAD else FAILURE
            put_record(tx, id_, trail.at_us, trail.event(id_, outcome, code=code, count=count))
        if dropped:
            id_, now_us = new_uuid(self._world.random), self._world.now_us()
            lost = Trail(OVERFLOW, NOBODY, "", now_us, "", "", "", OVERFLOW.action, "unrecorded-attempts")
            put_record(tx, id_, now_us, lost.event(id_, FAILURE, count=dropped))
