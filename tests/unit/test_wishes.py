"""The change feed and reports: revisions, generations, tombstones."""

from __future__ import annotations

import msgspec
import pytest
import trio

from ostro.model.errors import NotFound
from ostro.model.registration import Inventory
from ostro.model.wishes import Feed, NetworkWish, Noun, Phase, Report, Segment
from ostro.store.database import Database, Tx
from ostro.store.hosts import HOSTS, Host, host_topic, raise_revision
from ostro.store.reports import find_current_report, find_report, is_absent, put_reports
from ostro.store.wishes import find_generation, forget_wish, hosts_wishing, read_feed, set_wish, wish_absence

HOST = "host-1"


def add_host(tx: Tx, id_: str = HOST) -> None:
    inventory = Inventory(4, 4096, 100, "fake", 1, "")
    HOSTS.insert(tx, Host(id_, id_, 1, "i", "10.0.0.1", inventory, True, "", 0, 0))


def network(id_: str, mtu: int = 1450) -> NetworkWish:
    return NetworkWish(id_, "net", Segment("vxlan", 7), mtu, "fa:16:3e:00:00:01")


def put(tx: Tx, id_: str, mtu: int = 1450, host: str = HOST) -> int:
    return set_wish(tx, host, Noun.NETWORK, id_, network(id_, mtu))


def absent(tx: Tx, id_: str) -> int:
    return wish_absence(tx, HOST, Noun.NETWORK, id_)


def put_report(tx: Tx, host_id: str, what: Report, now_us: int) -> bool:
    return put_reports(tx, host_id, [what], now_us) == [what]


def report(id_: str, generation: int, phase: Phase = Phase.READY) -> Report:
    return Report(Noun.NETWORK, id_, generation, phase)


@pytest.fixture
async def hosted(db: Database) -> Database:
    """``db`` with one host at revision 1."""
    await db.run(add_host)
    return db


async def feed(db: Database, since: int, limit: int = 100) -> Feed | None:
    return await db.read(read_feed, HOST, since, limit)


async def test_the_same_wish_again_changes_nothing(hosted: Database) -> None:
    first = await hosted.run(put, "n1")
    with hosted.doorbell.listen(host_topic(HOST)) as bell:
        assert await hosted.run(put, "n1") == first
        assert not await bell.wait(0)
    assert await feed(hosted, first) is None


async def test_a_change_raises_the_revision_and_rings(hosted: Database) -> None:
    first = await hosted.run(put, "n1")
    with hosted.doorbell.listen(host_topic(HOST)) as bell:
        second = await hosted.run(put, "n1", 1400)
        assert await bell.wait(1)
    assert second > first
    changed = await feed(hosted, first)
    assert changed is not None and not changed.full
    assert [(w.id, w.generation) for w in changed.wishes] == [("n1", second)]
    assert msgspec.json.decode(changed.wishes[0].body or b"", type=NetworkWish).mtu == 1400


async def test_since_zero_is_everything_and_pages_go_on_where_they_stopped(hosted: Database) -> None:
    for i in range(7):
        await hosted.run(put, f"n{i}")
    everything = await feed(hosted, 0, limit=2)
    assert everything is not None and everything.full and len(everything.wishes) == 7
    seen: list[str] = []
    since = 1
    while (page := await feed(hosted, since, limit=2)) is not None:
        assert len(page.wishes) <= 2
        seen += [w.id for w in page.wishes]
        since = page.revision
    assert seen == [f"n{i}" for i in range(7)]
    assert since == everything.revision


async def test_absence_stays_until_it_is_reported_and_generations_only_grow(hosted: Database) -> None:
    assert await hosted.run(absent, "n1") == 0
    made = await hosted.run(put, "n1")
    gone = await hosted.run(absent, "n1")
    assert await hosted.run(absent, "n1") == gone > made
    assert not await hosted.read(is_absent, HOST, Noun.NETWORK, "n1")
    assert await hosted.read(hosts_wishing, Noun.NETWORK, "n1") == []

    assert await hosted.run(put_report, HOST, report("n1", made, Phase.ABSENT), 1)
    assert not await hosted.read(is_absent, HOST, Noun.NETWORK, "n1"), "that was about the generation before"
    assert await hosted.run(put_report, HOST, report("n1", gone, Phase.ABSENT), 1)
    assert await hosted.read(is_absent, HOST, Noun.NETWORK, "n1")

    assert not await hosted.run(forget_wish, HOST, Noun.NETWORK, "n1", made)
    assert await hosted.run(forget_wish, HOST, Noun.NETWORK, "n1", gone)
    assert await hosted.read(find_report, HOST, Noun.NETWORK, "n1") is None
    assert await hosted.run(put, "n1") > gone


async def test_an_object_that_came_back_is_not_forgotten(hosted: Database) -> None:
    await hosted.run(put, "n1")
    gone = await hosted.run(absent, "n1")
    back = await hosted.run(put, "n1")
    assert not await hosted.run(forget_wish, HOST, Noun.NETWORK, "n1", gone)
    assert await hosted.read(find_generation, HOST, Noun.NETWORK, "n1") == back


async def test_stale_and_foreign_reports_are_dropped(hosted: Database) -> None:
    first = await hosted.run(put, "n1")
    second = await hosted.run(put, "n1", 1400)
    assert not await hosted.run(put_report, HOST, report("unknown", 1), 1)
    assert not await hosted.run(put_report, HOST, report("n1", second + 1), 1), "a generation from the future"
    assert await hosted.run(put_report, HOST, report("n1", first), 1)
    assert await hosted.read(find_current_report, HOST, Noun.NETWORK, "n1") is None
    assert await hosted.run(put_report, HOST, report("n1", second), 2)
    assert not await hosted.run(put_report, HOST, report("n1", first, Phase.FAILED), 3), "an older one came late"
    current = await hosted.read(find_current_report, HOST, Noun.NETWORK, "n1")
    assert current is not None and current.phase is Phase.READY


async def test_concurrent_wishes_get_revisions_of_their_own(hosted: Database) -> None:
    async with trio.open_nursery() as nursery:
        for i in range(20):
            nursery.start_soon(hosted.run, put, f"n{i}")
    everything = await feed(hosted, 0)
    assert everything is not None
    assert len({w.generation for w in everything.wishes}) == 20
    assert everything.revision == 21


async def test_a_reader_who_keeps_up_misses_nothing(hosted: Database) -> None:
    """Readers follow the feed while writers commit in any order: in the end they know every wish."""
    known: dict[str, int] = {}

    async def follow() -> None:
        since = 1
        with hosted.doorbell.listen(host_topic(HOST)) as bell:
            while len(known) < 20:
                page = await feed(hosted, since, limit=3)
                if page is None:
                    await bell.wait(5)
                    continue
                known.update({w.id: w.generation for w in page.wishes})
                since = page.revision

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            for i in range(20):
                nursery.start_soon(hosted.run, put, f"n{i}")
    everything = await feed(hosted, 0)
    assert everything is not None and known == {w.id: w.generation for w in everything.wishes}


async def test_a_host_that_is_not_there(db: Database) -> None:
    with pytest.raises(NotFound):
        await db.run(raise_revision, "nobody")
