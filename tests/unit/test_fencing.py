"""When a host counts as fenced, and who is heard after it was declared dead: on both engines."""

from __future__ import annotations

import random

import msgspec
import pytest

from ostro.model.context import Actor, Context
from ostro.model.errors import NotFound
from ostro.model.registration import Inventory, Registered, Registration
from ostro.model.wishes import Noun, Phase, Report, ServerWish
from ostro.services.agents.hosts import (
    FENCE_MARGIN_S,
    LEASE_S,
    check_speaker,
    declare_alive,
    declare_dead,
    is_fenced,
    is_up,
    register_host,
    touch_host,
)
from ostro.services.agents.joining import Speaker
from ostro.services.agents.reports import record_reports
from ostro.services.placement.engine import PlacementEngine
from ostro.store.database import Database, Tx
from ostro.store.hosts import HOSTS, Host, host_topic, list_alive
from ostro.store.reports import find_report
from ostro.store.wishes import set_wish, wish_absence

SERVER = "5e000000-0000-4000-8000-000000000001"
FENCE_S = 60.0
SPEAKER = Speaker("one", 1)
NOW_US = 1_700_000_000_000_000
REGISTRATION = Registration("host-a", "one", "127.0.0.1", Inventory(4, 8192, 100, "fake", 1, "{}"), 1, FENCE_S)


def at(seconds: float) -> int:
    return NOW_US + int(seconds * 1_000_000)


def context(now_us: int = NOW_US) -> Context:
    return Context(Actor("u", "admin", "default", "Default"), "req-1", now_us, random.Random(1))


async def register(db: Database, told_s: float = FENCE_S, **said: object) -> Registered:
    registration = msgspec.structs.replace(REGISTRATION, **said)
    return await db.run(register_host, context(), PlacementEngine(db), Speaker(), registration, "cloud", told_s)


def find(tx: Tx) -> Host:
    found = HOSTS.find(tx, name="host-a")
    assert found is not None
    return found


async def fenced(db: Database, seconds: float, server_id: str = "") -> bool:
    return await db.read(lambda tx: is_fenced(tx, find(tx), at(seconds), server_id))


async def wish_server(db: Database) -> str:
    """A registered host with a server; the host's id."""
    host_id = (await register(db)).host_id
    await db.run(set_wish, host_id, Noun.SERVER, SERVER, ServerWish(SERVER, "web", "p", "u", "web", 1, 64, 1))
    return host_id


async def test_a_name_is_one_host_in_upper_and_lower_case(db: Database) -> None:
    first = await register(db)
    again = await register(db, name="HOST-A", incarnation="two")
    assert again.host_id == first.host_id
    host = await db.read(find)
    assert (host.name, host.incarnation) == ("host-a", "two")
    other = Speaker("two", 1, name="Host-a")
    assert (await db.read(check_speaker, host.id, other)).id == host.id
    with pytest.raises(NotFound):
        await db.read(check_speaker, host.id, Speaker("two", 1, name="host-b"))


@pytest.mark.parametrize("server_id", ["", SERVER])
async def test_a_host_that_fences_itself_is_fenced_by_silence(db: Database, server_id: str) -> None:
    host_id = await wish_server(db)
    assert not await fenced(db, FENCE_S + FENCE_MARGIN_S - 0.1, server_id)
    assert await fenced(db, FENCE_S + FENCE_MARGIN_S, server_id)
    assert not await fenced(db, -3600, server_id), "a clock that was set back proves nothing"
    await db.run(touch_host, host_id, at(70))
    assert not await fenced(db, FENCE_S + FENCE_MARGIN_S, server_id)


async def test_a_host_that_reports_the_absence_is_fenced_for_that_server(db: Database) -> None:
    host_id = await wish_server(db)
    generation = await db.run(wish_absence, host_id, Noun.SERVER, SERVER)
    for reported, phase, sure in ((1, Phase.ABSENT, False), (generation, Phase.WORKING, False)):
        await db.run(record_reports, context(), host_id, SPEAKER, [Report(Noun.SERVER, SERVER, reported, phase)])
        assert await fenced(db, 1, SERVER) is sure
    await db.run(record_reports, context(), host_id, SPEAKER, [Report(Noun.SERVER, SERVER, generation, Phase.ABSENT)])
    assert await fenced(db, 1, SERVER)
    assert not await fenced(db, 1), "of its other servers nothing is known"


async def test_of_a_host_that_does_not_fence_itself_an_operator_must_take_the_word(db: Database) -> None:
    host_id = (await register(db, told_s=0.0, fence_s=0.0)).host_id
    assert not await fenced(db, 1_000_000)
    await db.run(declare_dead, context(), host_id)
    assert not await fenced(db, LEASE_S)
    assert await fenced(db, LEASE_S + FENCE_MARGIN_S)


@pytest.mark.parametrize(
    ("said_s", "told_s", "counts_s"),
    [
        pytest.param(0.0, 60.0, 0.0, id="has yet to get the answer"),
        pytest.param(60.0, 60.0, 60.0, id="goes by it"),
        pytest.param(60.0, 30.0, 60.0, id="may go by the longer one still"),
        pytest.param(30.0, 60.0, 60.0, id="may go by the longer one already"),
        pytest.param(60.0, 0.0, 0.0, id="stops"),
    ],
)
async def test_the_fence_that_counts_is_what_the_host_surely_goes_by(
    db: Database, said_s: float, told_s: float, counts_s: float
) -> None:
    for _first_and_again in range(2):
        assert (await register(db, told_s, fence_s=said_s)).fence_s == told_s
        assert (await db.read(find)).fence_ms == counts_s * 1000


async def test_a_host_declared_dead_is_not_heard_until_it_knows(db: Database) -> None:
    host_id = await wish_server(db)
    with db.doorbell.listen(host_topic(host_id)) as bell:
        for _twice in range(2):
            host = await db.run(declare_dead, context(), host_id)
            assert (host.epoch, host.forced_down) == (2, True)
        assert await bell.wait(0), "a poll that waits ends"
    for epoch in (0, 1, 3):
        with pytest.raises(NotFound):
            await db.read(check_speaker, host_id, Speaker("one", epoch))
    with pytest.raises(NotFound):
        report = Report(Noun.SERVER, SERVER, 2, Phase.READY)
        await db.run(record_reports, context(), host_id, SPEAKER, [report])
    assert await db.read(lambda tx: find_report(tx, host_id, Noun.SERVER, SERVER)) is None
    before = await db.read(find)
    for epoch in (0, 1):
        learnt = await db.run(
            register_host,
            context(at(50)),
            PlacementEngine(db),
            Speaker(),
            msgspec.structs.replace(REGISTRATION, incarnation="old", epoch=epoch),
            "cloud",
        )
        assert (learnt.host_id, learnt.epoch) == (host_id, 2)
        assert await db.read(find) == before, "who knows the older epoch only writes nothing"
    await register(db, incarnation="two", epoch=2)
    assert (await db.read(check_speaker, host_id, Speaker("two", 2))).id == host_id


async def test_a_host_declared_dead_is_down_until_it_is_declared_alive(db: Database) -> None:
    host_id = (await register(db)).host_id

    async def up() -> tuple[bool, bool]:
        return await db.read(lambda tx: (is_up(find(tx), NOW_US), host_id in list_alive(tx, [host_id], at(-30))))

    assert await up() == (True, True)
    await db.run(declare_dead, context(), host_id)
    await register(db, epoch=2)
    assert await up() == (False, False)
    for _twice in range(2):
        assert (await db.run(declare_alive, context(), host_id)).epoch == 2
    assert await up() == (True, True)
