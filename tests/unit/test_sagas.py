"""The saga engine: every kind of step, undo, deadlines, crashes at every fault point, replacement, several engines."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import trio

from ostro.model.errors import NotFound, Unavailable
from ostro.runtime.faults import Crash, CrashAt, Faults, RecordFaults
from ostro.runtime.world import World
from ostro.saga.engine import Await, Engine, Failed, Outcome, Ready, Run, Saga, Waiting, Write, settle, start_saga
from ostro.store.database import Database, Tx
from ostro.store.sagas import SAGAS, poke_sagas
from ostro.testing.clock import ManualClock


def note(tx: Tx, run: Run, name: str) -> None:
    """An effect that tells when it is done twice: the counters of a correct saga are 0 or 1."""
    tx.execute(
        "INSERT INTO settings (name, value) VALUES (?, '1') ON CONFLICT (name) DO UPDATE SET value = settings.value || '1'",
        (f"{run.object_id}.{name}",),
    )


def unnote(tx: Tx, run: Run, name: str) -> None:
    tx.execute("DELETE FROM settings WHERE name = ?", (f"{run.object_id}.{name}",))


def writing(name: str) -> Write:
    return Write(name, lambda tx, run: note(tx, run, name), lambda tx, run: unnote(tx, run, name))


def answer(tx: Tx, run: Run) -> Outcome:
    """Ready or Failed as the row ``<object>.answer`` says, else Waiting."""
    row = tx.one("SELECT value FROM settings WHERE name = ?", (f"{run.object_id}.answer",))
    if row is None:
        return Waiting()
    return Ready() if row[0] == "ready" else Failed(row[0])


def remember_fault(tx: Tx, run: Run) -> None:
    tx.execute("INSERT INTO settings (name, value) VALUES (?, ?)", (f"{run.object_id}.fault", run.fault))


CREATE = Saga(
    "create",
    (
        Write("mark", lambda tx, run: None, remember_fault),
        writing("claim"),
        writing("wish"),
        Await("running", answer, 60.0, "The host did not answer in time."),
        writing("announce"),
    ),
)
DELETE = Saga("delete", (Write("forget", lambda tx, run: unnote(tx, run, "claim")),))
SAGAS_KNOWN = (CREATE, DELETE)


def engine(
    world: World, db: Database, *, faults: Faults | None = None, sagas: tuple[Saga, ...] = SAGAS_KNOWN
) -> Engine:
    """A runner, as a fresh process would have it."""
    if faults is not None:
        world = World(world.clock, world.random, world.threads, faults)
    return Engine(world, db, sagas)


def start(tx: Tx, world: World, kind: str = "create", object_id: str = "o") -> None:
    start_saga(tx, f"{kind}-{object_id}-{world.random.random()}", kind, object_id, {}, world.now_us())


def set_answer(tx: Tx, text: str, object_id: str = "o") -> None:
    tx.execute("INSERT INTO settings (name, value) VALUES (?, ?)", (f"{object_id}.answer", text))
    poke_sagas(tx, [object_id])


def settings(tx: Tx) -> dict[str, str]:
    return dict(tx.all("SELECT name, value FROM settings"))


def unfinished(tx: Tx) -> int:
    return SAGAS.count(tx)


async def test_forward(db: Database, world: World) -> None:
    await db.run(start, world)
    await settle(engine(world, db))
    assert await db.read(settings) == {"o.claim": "1", "o.wish": "1"}
    await db.run(set_answer, "ready")
    await settle(engine(world, db))
    assert await db.read(settings) == {"o.claim": "1", "o.wish": "1", "o.announce": "1", "o.answer": "ready"}
    assert await db.read(unfinished) == 0


async def test_failure_undoes_everything_and_says_why(db: Database, world: World) -> None:
    await db.run(start, world)
    await settle(engine(world, db))
    await db.run(set_answer, "No room.")
    await settle(engine(world, db))
    assert await db.read(settings) == {"o.answer": "No room.", "o.fault": "No room."}
    assert await db.read(unfinished) == 0


async def test_a_deadline_passes_without_anybody_ringing(db: Database, world: World, clock: ManualClock) -> None:
    await db.run(start, world)
    await settle(engine(world, db))
    clock.advance(59.0)
    await settle(engine(world, db))
    assert "o.fault" not in await db.read(settings)
    clock.advance(1.0)
    await settle(engine(world, db))
    assert await db.read(settings) == {"o.fault": "The host did not answer in time."}


async def test_pokes_do_not_move_the_deadline(db: Database, world: World, clock: ManualClock) -> None:
    await db.run(start, world)
    for _ in range(7):
        await settle(engine(world, db))
        clock.advance(10.0)
        await db.run(poke_sagas, ["o"])
    await settle(engine(world, db))
    assert await db.read(settings) == {"o.fault": "The host did not answer in time."}


async def converge(db: Database, world: World, outcome: str, faults: Faults) -> None:
    """One life of a create from start to end, in processes that may die."""

    async def settle_until_quiet() -> None:
        for _ in range(3):
            try:
                await settle(engine(world, db, faults=faults))
                return
            except Crash:
                continue
        raise AssertionError("crashed again and again")

    await db.run(start, world)
    await settle_until_quiet()
    await db.run(set_answer, outcome)
    await settle_until_quiet()


POINTS_READY = [f"saga.create.{name}" for name in ("mark", "claim", "wish", "running", "announce", "committed")]
POINTS_FAILED = [
    *[f"saga.create.{name}" for name in ("mark", "claim", "wish", "committed")],
    *[f"saga.create.{name}.undone" for name in ("wish", "claim", "mark")],
]


@pytest.mark.parametrize("outcome", ["ready", "No room."])
async def test_every_fault_point_is_known(db: Database, world: World, outcome: str) -> None:
    """The lists that the crash tests use are the points that a run passes."""
    record = RecordFaults()
    await converge(db, world, outcome, record)
    assert set(record.seen) == set(POINTS_READY if outcome == "ready" else POINTS_FAILED)


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize(
    ("outcome", "point"), [("ready", p) for p in POINTS_READY] + [("No room.", p) for p in POINTS_FAILED]
)
async def test_crash_anywhere_and_converge(db: Database, world: World, outcome: str, point: str, nth: int) -> None:
    await converge(db, world, outcome, CrashAt(point, nth))
    left = {name: value for name, value in (await db.read(settings)).items() if name != "o.answer"}
    if outcome == "ready":
        assert left == {"o.claim": "1", "o.wish": "1", "o.announce": "1"}
    else:
        assert left == {"o.fault": "No room."}
    assert await db.read(unfinished) == 0


async def test_a_delete_overtakes_a_create(db: Database, world: World) -> None:
    await db.run(start, world)
    await settle(engine(world, db))
    await db.run(start, world, "delete")
    assert await db.read(unfinished) == 1
    await settle(engine(world, db))
    await db.run(set_answer, "ready")
    await settle(engine(world, db))
    assert await db.read(settings) == {"o.wish": "1", "o.answer": "ready"}
    assert await db.read(unfinished) == 0


async def test_several_engines_do_each_step_once(db: Database, world: World) -> None:
    objects = [f"o{i}" for i in range(12)]
    for object_id in objects:
        await db.run(start, world, "create", object_id)

    async def work(done: trio.Event) -> None:
        runner = engine(world, db)
        while not done.is_set():
            await runner.step()
            await trio.lowlevel.checkpoint()

    async def answer_all() -> None:
        for object_id in objects:
            await db.run(set_answer, "ready", object_id)
        while await db.read(unfinished):
            await trio.lowlevel.checkpoint()
        done.set()

    done = trio.Event()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(work, done)
            nursery.start_soon(answer_all)
    rows = await db.read(settings)
    for object_id in objects:
        assert [rows[f"{object_id}.{step}"] for step in ("claim", "wish", "announce")] == ["1", "1", "1"]


class DyingFaults:
    """Kills whoever comes to a point, now and then."""

    def __init__(self, seed: str) -> None:
        self._rng = random.Random(seed)
        self.deaths = 0

    def hit(self, name: str) -> None:
        if self._rng.random() < 0.03:
            self.deaths += 1
            raise Crash(name)


@pytest.mark.parametrize("seed", range(3))
async def test_two_engines_die_again_and_again(db: Database, world: World, seed: int) -> None:
    """Wherever it dies, each step is done once, by one of them."""
    objects = [f"o{i}" for i in range(12)]
    for number, object_id in enumerate(objects):
        await db.run(start, world, "create", object_id)
        await db.run(set_answer, "ready" if number % 3 else "no", object_id)
    faults = DyingFaults(f"{seed}")

    async def work() -> None:
        runner = engine(world, db, faults=faults)
        while await db.read(unfinished):
            try:
                await runner.step()
            except Crash:
                runner = engine(world, db, faults=faults)

    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(work)
    rows = await db.read(settings)
    for number, object_id in enumerate(objects):
        steps = [rows.get(f"{object_id}.{step}") for step in ("claim", "wish", "announce")]
        assert steps == (["1", "1", "1"] if number % 3 else [None, None, None])
    assert faults.deaths > 0


async def test_one_broken_saga_does_not_hold_up_the_others(db: Database, world: World, clock: ManualClock) -> None:
    broken = True

    def stumble(tx: Tx, run: Run) -> None:
        if broken:
            raise NotFound("thing", "x")

    sagas = (Saga("bad", (Write("stumble", stumble),)), DELETE)
    runner = engine(world, db, sagas=sagas)
    await db.run(start, world, "bad", "b")
    await db.run(start, world, "delete", "d")
    await settle(runner)
    assert await db.read(unfinished) == 1
    broken = False
    assert await runner.step() == 0, "it waits for its turn"
    clock.advance(60)
    await settle(runner)
    assert await db.read(unfinished) == 0


async def test_the_loop_tells_what_is_under_way(db: Database, world: World, clock: ManualClock) -> None:
    await db.run(start, world)
    clock.advance(7)
    runner = engine(world, db)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.run)
            while b'ostro_loop_pending{loop="sagas"} 1.0' not in world.metrics.page():
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert b'ostro_loop_oldest_seconds{loop="sagas"} 7.0' in world.metrics.page()


async def test_a_saga_may_start_another(db: Database, world: World) -> None:
    """The last step of one saga hands the object over to the next."""
    hand_over = Saga(
        "hand", (writing("claim"), Write("over", lambda tx, run: start(tx, world, "delete", run.object_id)))
    )
    await db.run(start, world, "hand")
    await settle(engine(world, db, sagas=(hand_over, DELETE)))
    assert await db.read(settings) == {}
    assert await db.read(unfinished) == 0


async def test_params_reach_every_step(db: Database, world: World) -> None:
    seen: list[Any] = []
    look: Callable[[Tx, Run], None] = lambda tx, run: seen.append((run.params, run.object_id, run.now_us))  # noqa: E731
    await db.run(lambda tx: start_saga(tx, "s", "look", "o", {"a": [1, "ü"]}, world.now_us()))
    await settle(engine(world, db, sagas=(Saga("look", (Write("look", look),)),)))
    assert seen == [({"a": [1, "ü"]}, "o", world.now_us())]


async def test_the_loop_wakes_at_a_start_and_survives_a_database_that_does_not_answer(
    db: Database, world: World
) -> None:
    """``run`` sleeps on its doorbell; trouble with the database delays it and no more."""
    troubles = 2

    class Flaky:
        doorbell = db.doorbell
        shared = False
        room = db.room

        async def read(self, *args: Any, **kwargs: Any) -> Any:
            nonlocal troubles
            if troubles:
                troubles -= 1
                raise Unavailable("The database does not answer.")
            return await db.read(*args, **kwargs)

        async def run(self, *args: Any, **kwargs: Any) -> Any:
            return await db.run(*args, **kwargs)

        serve, close = db.serve, db.close

    runner = Engine(World(random=random.Random(1)), Flaky(), SAGAS_KNOWN)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.run)
            await db.run(start, world, "delete")
            while await db.read(unfinished):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert troubles == 0
