"""The change feed on both engines: nothing is lost, however transactions overlap, and one read serves all who wait."""

from __future__ import annotations

import random

import pytest
import trio

from ostro.model.errors import Conflict
from ostro.runtime.world import World
from ostro.services.changes import HELD_MOST, Changes, Subscription, everything, one, project
from ostro.store.changes import (
    Change,
    catch_up,
    find_lost,
    find_reached,
    forget_gone,
    mark_reached,
    read_news,
)
from ostro.store.database import Database, Tx
from ostro.store.postgres import PostgresDatabase
from ostro.store.servers import SERVERS
from ostro.testing.servers import put_server

PATIENCE_S = 30.0


async def news(db: Database, since: int, noun: str = "") -> list[tuple[str, str, bool]]:
    return [(c.noun, c.id, c.gone) for c in (await db.read(read_news, since, 1000, noun)).changes]


async def test_every_kind_of_change_is_told_once(db: Database) -> None:
    start = await db.read(find_reached)
    await db.run(put_server, id="a", project_id="p")
    await db.run(put_server, id="b", project_id="p")
    assert sorted(await news(db, start)) == [("server", "a", False), ("server", "b", False)]
    middle = await db.read(find_reached)
    assert middle > start
    await db.run(lambda tx: SERVERS.update(tx, "a", name="other"))
    assert await news(db, middle) == [("server", "a", False)]
    await db.run(lambda tx: SERVERS.update(tx, "a", deleted_at_us=5))
    assert await news(db, middle) == [("server", "a", True)]
    await db.run(lambda tx: SERVERS.delete(tx, "a"))
    await db.run(lambda tx: SERVERS.delete(tx, "b"))
    assert sorted(await news(db, middle, "server")) == [("server", "a", True), ("server", "b", True)]
    assert await news(db, await db.read(find_reached)) == []


async def test_what_rolls_back_is_not_told(db: Database) -> None:
    start = await db.read(find_reached)

    def fail(tx: Tx) -> None:
        put_server(tx, id="a")
        raise Conflict("no")

    with pytest.raises(Conflict):
        await db.run(fail)
    assert await news(db, start) == []


async def test_a_page_never_splits_a_revision(db: Database) -> None:
    start = await db.read(find_reached)

    def put_some(tx: Tx, prefix: str) -> None:
        for number in range(3):
            put_server(tx, id=f"{prefix}{number}")

    for prefix in "abc":
        await db.run(put_some, prefix)
    seen: list[str] = []
    at, pages = start, 0
    while True:
        page = await db.read(read_news, at, 2)
        seen += [change.id for change in page.changes]
        assert all(change.revision <= page.reached for change in page.changes)
        at, pages = page.reached, pages + 1
        if not page.more:
            break
    assert sorted(seen) == [f"{prefix}{number}" for prefix in "abc" for number in range(3)]
    assert pages > 2


async def test_no_change_is_lost_among_writers_at_once(db: Database) -> None:
    """Writers overlap as they like while a reader goes on from where it was. What it has seen last of each object must be the last change."""
    servers = [f"s{number}" for number in range(4)]
    for server in servers:
        await db.run(put_server, id=server)
    start = await db.read(find_reached)
    rounds = 12
    seen: dict[str, int] = {}
    names: dict[str, str] = {}
    at = start
    done = trio.Event()

    def rename(tx: Tx, server: str, name: str) -> None:
        tx.all("SELECT count(*) FROM servers WHERE id = ?", (server,))
        SERVERS.update(tx, server, name=name)

    async def write(server: str) -> None:
        for number in range(rounds):
            await db.run(rename, server, f"n{number}")

    def read(tx: Tx, since: int) -> tuple[list[Change], int, dict[str, str]]:
        found = read_news(tx, since, 1000)
        return found.changes, found.reached, {s.id: s.name for s in SERVERS.list(tx)}

    async def follow() -> None:
        nonlocal at
        while True:
            last = done.is_set()
            changes, reached, shown = await db.read(read, at)
            assert reached >= at
            for change in changes:
                assert at < change.revision <= reached, "what is told lies between the two revisions"
                assert change.revision > seen.get(change.id, 0)
                seen[change.id], names[change.id] = change.revision, shown[change.id]
            at = reached
            if last and set(names.values()) == {f"n{rounds - 1}"} and len(names) == len(servers):
                return
            await trio.lowlevel.checkpoint()

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as reader:
            reader.start_soon(follow)
            async with trio.open_nursery() as writers:
                for server in servers:
                    writers.start_soon(write, server)
            done.set()
    assert names == dict.fromkeys(servers, f"n{rounds - 1}")


@pytest.mark.parametrize("engine_name", ["postgres"])
async def test_an_older_transaction_holds_back_what_is_newer(db: Database, migrated_url: str) -> None:
    """The younger of two transactions commits first; a plain sequence would lose the older one's change. SQLite has no two at once."""
    await db.run(put_server, id="old")
    await db.run(put_server, id="new")
    start = await db.read(find_reached)
    world = World(random=random.Random(2))
    begun, go_on = trio.Event(), trio.Event()
    token = trio.lowlevel.current_trio_token()

    def slow(tx: Tx) -> None:
        assert SERVERS.update_where(tx, {"name": "changed"}, id="old") == 1
        token.run_sync_soon(begun.set)
        trio.from_thread.run(go_on.wait, trio_token=token)

    async with trio.open_nursery() as nursery:
        other = PostgresDatabase(world, migrated_url)
        await nursery.start(other.serve)
        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as writers:
                writers.start_soon(other.run, slow)
                await begun.wait()
                await db.run(lambda tx: SERVERS.update(tx, "new", name="changed"))
                held = await db.read(read_news, start, 10)
                assert (held.changes, held.more) == ([], True), "the newer one waits for the older one"
                go_on.set()
            told = await db.read(read_news, start, 10)
        assert [c.id for c in told.changes] == ["old", "new"]
        assert told.changes[0].revision < told.changes[1].revision
        nursery.cancel_scope.cancel()
    other.close()


async def test_revisions_go_on_after_a_restore(db: Database) -> None:
    await db.run(put_server, id="a")
    await db.run(catch_up)
    before = await db.read(find_reached)
    await db.run(catch_up)
    high = before + 1_000_000_000
    await db.run(lambda tx: tx.execute("UPDATE changes SET revision = ?", (high,)))
    await db.run(catch_up)
    assert await db.read(find_reached) >= high
    await db.run(put_server, id="b")
    (told,) = (await db.read(read_news, high, 10)).changes
    assert told.id == "b"


async def test_what_is_gone_is_forgotten_after_a_while(db: Database) -> None:
    await db.run(put_server, id="a")
    await db.run(put_server, id="b")
    await db.run(lambda tx: SERVERS.delete(tx, "a"))
    await db.run(mark_reached, 100)
    assert await db.run(forget_gone, 100) == 0
    assert await db.run(forget_gone, 101) == 1
    assert await news(db, 0, "server") == [("server", "b", False)]
    assert await db.read(find_lost) > 1
    assert await db.run(forget_gone, 500) == 0


async def listen(subscription: Subscription, count: int) -> list[Change]:
    heard: list[Change] = []
    with trio.fail_after(PATIENCE_S):
        while len(heard) < count:
            await subscription.bell.wait(1.0)
            heard += subscription.take()
    return heard


async def test_subscribers_hear_of_what_concerns_them_by_one_read(db: Database) -> None:
    reads = 0
    plain = db.read

    async def counted(fn, *args, **kwargs):  # type: ignore[no-untyped-def]
        nonlocal reads
        reads += fn is read_news
        return await plain(fn, *args, **kwargs)

    db.read = counted  # type: ignore[method-assign]
    changes = Changes(World(random=random.Random(1)), db)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(changes.run)
        async with (
            changes.subscribe(one("server", "a")) as single,
            changes.subscribe(project("server", "p")) as mine,
            changes.subscribe(everything("server")) as every,
            changes.subscribe(project("port", "p")) as ports,
        ):
            await db.run(put_server, id="a", project_id="q")
            await db.run(put_server, id="b", project_id="p")
            assert [c.id for c in await listen(every, 2)] == ["a", "b"]
            assert [c.id for c in await listen(single, 1)] == ["a"]
            assert [c.id for c in await listen(mine, 1)] == ["b"]
            assert ports.take() == []
            assert every.reached >= every.start
        assert reads < 20
        nursery.cancel_scope.cancel()


async def test_what_is_made_once_is_made_again_when_its_maker_is_gone(db: Database) -> None:
    changes = Changes(World(random=random.Random(1)), db)
    began = trio.Event()
    made = 0

    async def slow() -> int:
        began.set()
        await trio.sleep_forever()
        return 0

    async def quick() -> int:
        nonlocal made
        made += 1
        return made

    async with trio.open_nursery() as nursery:
        doomed = trio.CancelScope()

        async def first() -> None:
            with doomed:
                await changes.make_once(("k",), slow)

        nursery.start_soon(first)
        await began.wait()
        results: list[int] = []

        async def second() -> None:
            results.append(await changes.make_once(("k",), quick))

        nursery.start_soon(second)
        nursery.start_soon(second)
        doomed.cancel()
    assert (results, made) == ([1, 1], 1)


def test_a_subscription_is_bounded() -> None:
    subscription = Subscription(0)
    for number in range(HELD_MOST):
        subscription.put(Change("server", str(number), "p", number, False))
        subscription.put(Change("server", str(number), "p", number + 1, False))
    assert not subscription.overflowed
    subscription.put(Change("server", "more", "p", 1, False))
    assert subscription.overflowed
