"""The audit log on both engines: sealed once and in order, and nothing can be done to it unseen."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from ostro.model.context import Actor
from ostro.model.errors import Conflict, Invalid
from ostro.runtime.faults import Crash, CrashAt
from ostro.runtime.world import World
from ostro.services.audit.anchors import Anchors
from ostro.services.audit.events import Deed, Trail
from ostro.services.audit.log import HELD_MOST, AuditLog
from ostro.services.audit.verify import prune, verify
from ostro.store.audit import (
    Chain,
    Search,
    find_chain,
    list_inbox,
    list_records,
    put_record,
    seal_records,
    search_records,
)
from ostro.store.database import Database, Tx
from ostro.testing.clock import ManualClock

DEED = Deed("create", "service/compute/servers", "compute")


def trail(name: str, *, at_us: int = 1, user: str = "u1") -> Trail:
    actor = Actor(user, user, "default", "Default", project_id="p1")
    return Trail(DEED, actor, f"req-{name}", at_us, "192.0.2.1", "client", "/compute/v2.1/servers", "create", name)


def write(tx: Tx, log: AuditLog, *names: str, at_us: int = 1) -> None:
    for name in names:
        log.write(tx, trail(name, at_us=at_us), None)


def damage(tx: Tx, *statements: str) -> None:
    for statement in statements:
        tx.execute(statement)


@pytest.fixture
def anchors(tmp_path: Path) -> Anchors:
    return Anchors(tmp_path / "audit")


@pytest.fixture
def log(world: World, db: Database, anchors: Anchors) -> AuditLog:
    return AuditLog(world, db, anchors)


async def test_records_are_chained_and_the_end_is_signed(db: Database, log: AuditLog, anchors: Anchors) -> None:
    await db.run(write, log, "b", at_us=2)
    await db.run(write, log, "a", at_us=1)
    await log.settle()
    records = await db.read(list_records, 0, 10)
    assert [(r.seq, r.target_id) for r in records] == [(1, "a"), (2, "b")]
    verdict = await verify(db, anchors)
    assert (verdict.records, verdict.first, verdict.last, verdict.anchored) == (2, 1, 2, 2)
    assert not verdict.findings
    assert not await db.read(list_inbox, 10)


async def test_whoever_seals_at_once_seals_each_record_once(db: Database, log: AuditLog, anchors: Anchors) -> None:
    names = [f"s{number}" for number in range(40)]

    async def write_some(some: list[str]) -> None:
        for name in some:
            await db.run(write, log, name)

    async def seal() -> None:
        for _ in range(6):
            await db.run(seal_records, await db.read(list_inbox, 7))

    async with trio.open_nursery() as nursery:
        for part in range(4):
            nursery.start_soon(write_some, names[part::4])
        for _ in range(3):
            nursery.start_soon(seal)
    await log.settle()
    records = await db.read(list_records, 0, 100)
    assert sorted(r.target_id for r in records) == sorted(names)
    assert [r.seq for r in records] == list(range(1, 41))
    assert not (await verify(db, anchors)).findings


@pytest.mark.parametrize(
    ("statements", "finding"),
    [
        (["UPDATE audit_records SET body = replace(body, 'u1', 'u2') WHERE seq = 2"], "Record 2 was changed"),
        (["UPDATE audit_records SET user_id = 'u2' WHERE seq = 2"], "Record 2 was changed"),
        (["DELETE FROM audit_records WHERE seq = 2"], "Records 2 to 2 are missing"),
        (["DELETE FROM audit_records WHERE seq = 1"], "Records 1 to 1 are missing"),
        (
            [
                "UPDATE audit_records SET seq = -1 WHERE seq = 2",
                "UPDATE audit_records SET seq = 2 WHERE seq = 3",
                "UPDATE audit_records SET seq = 3 WHERE seq = -1",
            ],
            "Record 2 was changed",
        ),
        (["DELETE FROM audit_records WHERE seq = 4"], "ends at record 3, but 4 were sealed"),
        (
            [
                "DELETE FROM audit_records WHERE seq = 4",
                "UPDATE audit_chain SET seq = 3, digest = (SELECT digest FROM audit_records WHERE seq = 3)",
            ],
            "but record 4 was signed",
        ),
        (
            ["DELETE FROM audit_records", "UPDATE audit_chain SET seq = 0, digest = ''"],
            "ends at record 0, but record 4 was signed",
        ),
        (
            [
                "UPDATE audit_chain SET base_seq = 1, base_digest = (SELECT digest FROM audit_records WHERE seq = 1)",
                "DELETE FROM audit_records WHERE seq = 1",
            ],
            "no command to remove older ones was signed",
        ),
    ],
)
async def test_damage_is_found(
    db: Database, log: AuditLog, anchors: Anchors, statements: list[str], finding: str
) -> None:
    await db.run(write, log, "a", "b", "c", "d")
    await log.settle()
    await db.run(damage, *statements)
    assert any(finding in text for text in (await verify(db, anchors)).findings)
    with pytest.raises(Conflict):
        await prune(db, anchors, 10, 10)


async def test_a_log_written_anew_is_not_the_one_that_was_signed(
    db: Database, log: AuditLog, world: World, anchors: Anchors, tmp_path: Path
) -> None:
    await db.run(write, log, "a", "b")
    await log.settle()
    await db.run(damage, "DELETE FROM audit_records", "UPDATE audit_chain SET seq = 0, digest = ''")
    await db.run(write, log, "a", "x")
    forger = AuditLog(world, db, Anchors(tmp_path / "elsewhere"))
    await forger.settle()
    assert (await verify(db, anchors)).findings == ["Record 2 is not the one that was signed in the state directory."]


async def test_what_was_signed_can_not_be_edited(db: Database, log: AuditLog, anchors: Anchors, tmp_path: Path) -> None:
    await db.run(write, log, "a", "b")
    await log.settle()
    head = tmp_path / "audit" / "head"
    head.write_text(head.read_text().replace('"seq":2', '"seq":1'))
    with pytest.raises(Invalid):
        await verify(db, anchors)


async def test_an_older_end_does_not_replace_a_newer_one(db: Database, log: AuditLog, anchors: Anchors) -> None:
    await db.run(write, log, "a", "b")
    await log.settle()
    await db.run(damage, "DELETE FROM audit_records WHERE seq = 2", "UPDATE audit_chain SET seq = 1, digest = 'x'")
    await log.settle()
    head = anchors.head()
    assert head is not None and head.seq == 2


async def test_old_records_are_removed_by_command_alone(db: Database, log: AuditLog, anchors: Anchors) -> None:
    await db.run(write, log, "a", at_us=1)
    await db.run(write, log, "b", at_us=2)
    await db.run(write, log, "c", at_us=3)
    await log.settle()
    assert await prune(db, anchors, 3, 9) == 2
    assert await prune(db, anchors, 3, 9) == 0
    verdict = await verify(db, anchors)
    assert (verdict.first, verdict.last, verdict.findings) == (3, 3, [])
    assert await prune(db, anchors, 99, 9) == 1
    await db.run(write, log, "d", at_us=4)
    await log.settle()
    verdict = await verify(db, anchors)
    assert (verdict.first, verdict.last, verdict.findings) == (4, 4, [])


async def test_a_crash_between_sealing_and_signing_leaves_a_sound_log(
    db: Database, clock: ManualClock, log: AuditLog, anchors: Anchors
) -> None:
    await db.run(write, log, "a")
    crashing = AuditLog(World(clock=clock, faults=CrashAt("audit.sealed")), db, anchors)
    with pytest.raises(Crash):
        await crashing.settle()
    assert anchors.head() is None
    assert not (await verify(db, anchors)).findings
    await log.settle()
    assert (await verify(db, anchors)).anchored == 1


async def test_refusals_are_merged_and_bounded(db: Database, log: AuditLog) -> None:
    for _ in range(5):
        log.hold(trail("one"), 403)
    for number in range(HELD_MOST + 10):
        log.hold(trail(f"t{number}"), 401)
    await log.settle()
    assert (await db.read(find_chain)).seq == HELD_MOST + 1
    found = await db.read(search_records, Search(target="one"), 9999, 10)
    assert len(found) == 1
    assert '"count":5' in found[0].body
    assert found[0].outcome == "failure"
    lost = await db.read(search_records, Search(action="monitor"), 9999, 10)
    assert '"count":11' in lost[0].body


async def test_records_are_found_by_what_they_say(db: Database, log: AuditLog) -> None:
    await db.run(write, log, "a", "b")
    log.hold(trail("c", user="u2", at_us=5), 403)
    await log.settle()

    async def targets(search: Search) -> list[str]:
        return [r.target_id for r in await db.read(search_records, search, 9999, 10)]

    assert sorted(await targets(Search(project="p1"))) == ["a", "b", "c"]
    assert await targets(Search(user="u2")) == ["c"]
    assert await targets(Search(outcome="failure")) == ["c"]
    assert await targets(Search(since_us=5)) == ["c"]
    assert await targets(Search(target="a")) == ["a"]
    assert len(await targets(Search(target="/servers", action="create"))) == 3
    assert await targets(Search(action="delete")) == []


async def test_what_rolls_back_is_not_recorded(db: Database, log: AuditLog) -> None:
    def fail(tx: Tx) -> None:
        put_record(tx, "x", 1, "{}")
        raise Conflict("no")

    with pytest.raises(Conflict):
        await db.run(fail)
    assert not await db.read(list_inbox, 10)


async def test_a_round_that_failed_is_made_up_for_though_nobody_comes(
    db: Database, log: AuditLog, anchors: Anchors, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds, sealed, settle = iter((False, True)), trio.Event(), log.settle

    async def fail_once() -> Chain:
        if not next(rounds):
            raise OSError("no space left on device")
        chain = await settle()
        sealed.set()
        return chain

    monkeypatch.setattr(log, "settle", fail_once)
    await db.run(write, log, "a")
    nursery.start_soon(log.run)
    with trio.fail_after(60):
        await sealed.wait()
    assert anchors.head() is not None
