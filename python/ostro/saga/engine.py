"""Durable multi-step operations, driven from rows.

A saga is a table of steps. A **Write** is a plain transaction function; an **Await** is a predicate over rows with a deadline. A saga
never calls a host: it sets wishes and waits for reports, so a crash leaves nothing in flight. The row says which step is next; every
run of steps up to the next unready Await commits as one transaction together with the row, fenced by the row's
epoch. When an Await fails or passes its deadline the saga turns round: the ``undo`` of each Write that was done runs, the last first. Undo
is the opposite wish, so it cannot fail for reasons of the world.

One object has at most one unfinished saga. Starting another one on it replaces the first: a delete overtakes a create.

Fault points: ``saga.<kind>.<step>`` after the effects of each step and before the commit, ``saga.<kind>.committed`` after it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
import trio

from ostro.model.errors import Bug, Unavailable
from ostro.model.ids import new_uuid
from ostro.runtime.backoff import Backoff
from ostro.runtime.world import World
from ostro.store.database import Database, Tx
from ostro.store.sagas import SAGAS, TOPIC, SagaRow, list_due_sagas, measure_sagas, put_saga

log = structlog.get_logger()

BATCH = 64
LOOK_AGAIN_S = 5.0
"""Sleep no longer than this: another process may have died with a saga half-way."""


@dataclass(frozen=True)
class Run:
    """What a step sees: the saga's parameters, the time, and why it is being undone."""

    object_id: str
    params: Mapping[str, Any]
    now_us: int
    fault: str = ""


@dataclass(frozen=True)
class Ready:
    """The awaited rows are as they should be."""


@dataclass(frozen=True)
class Waiting:
    """Not yet. ``paused`` stops the clock: the whole deadline is given again, as when whoever is waited for can't be seen."""

    paused: bool = False


@dataclass(frozen=True)
class Failed:
    """They never will be; ``reason`` is for the owner of the object."""

    reason: str


Outcome = Ready | Waiting | Failed


def _nothing(tx: Tx, run: Run) -> None:
    return


def _nothing_ahead(tx: Tx, object_id: str) -> None:
    return


@dataclass(frozen=True)
class Write:
    """One change of rows, and its opposite."""

    name: str
    do: Callable[[Tx, Run], None]
    undo: Callable[[Tx, Run], None] = _nothing


@dataclass(frozen=True)
class Await:
    """Wait until ``ready`` says Ready, at most ``deadline_s``; ``late`` is the reason given when time is up."""

    name: str
    ready: Callable[[Tx, Run], Outcome]
    deadline_s: float
    late: str


Step = Write | Await


@dataclass(frozen=True)
class Saga:
    """A named table of steps."""

    kind: str
    steps: tuple[Step, ...]
    foresee: Callable[[Tx, str], None] = _nothing_ahead
    """What its steps are going to read of the object (``Tx.foresee``)."""


def start_saga(
    tx: Tx,
    saga_id: str,
    kind: str,
    object_id: str,
    params: Mapping[str, Any],
    now_us: int,
    *,
    done: int = 0,
    wait_s: float = 0.0,
) -> None:
    """Start a saga in the caller's transaction, replacing an unfinished one of the same object. A runner goes on from here.

    A caller that has done the first ``done`` steps itself says so; if it knows that the next waits, it tells how long at most by ``wait_s``, and a
    runner looks when something rings.
    """
    until_us = now_us + int(wait_s * 1e6) if wait_s else 0
    put_saga(
        tx,
        SagaRow(
            id=saga_id,
            kind=kind,
            object_id=object_id,
            step=done,
            undoing=False,
            params=dict(params),
            fault="",
            deadline_us=until_us,
            due_us=until_us,
            epoch=0,
            created_at_us=now_us,
            updated_at_us=now_us,
        ),
    )
    if not until_us:
        tx.ring(TOPIC)


class Engine:
    """Runs sagas. Any number of engines may work on one store."""

    def __init__(self, world: World, db: Database, sagas: Sequence[Saga]) -> None:
        self._world = world
        self._db = db
        self._sagas = {saga.kind: saga for saga in sagas}
        self._backoff = Backoff(first_s=0.5, most_s=60.0)
        self._failures: dict[str, int] = {}
        self._next_due_us: int | None = None
        self._loop = world.metrics.loop("sagas")
        self._pending, self._oldest_us, self._measured_s = 0, 0, -math.inf
        self._loop.pending = lambda: self._pending
        self._loop.oldest_age_s = lambda: (world.now_us() - self._oldest_us) / 1e6 if self._pending else 0.0

    async def run(self) -> None:
        """Work until cancelled. A database that does not answer only delays it."""
        troubles = 0
        with self._db.doorbell.listen(TOPIC) as bell:
            while True:
                try:
                    with self._loop.run():
                        worked = await self.step()
                    await self._measure()
                    wait_s = 0.0 if worked else self._rest_s()
                    troubles = 0
                except Unavailable as error:
                    troubles += 1
                    wait_s = self._backoff.delay_s(troubles, self._world.random)
                    log.warning("sagas wait for the database", reason=error.message, retry_s=round(wait_s, 2))
                await bell.wait(wait_s)

    async def _measure(self) -> None:
        """Note how much there is to do, now and then."""
        if trio.current_time() - self._measured_s >= LOOK_AGAIN_S:
            self._pending, self._oldest_us = await self._db.read(measure_sagas)
            self._measured_s = trio.current_time()

    def _rest_s(self) -> float:
        """How long nothing has to be done unless somebody rings, by the last look."""
        if self._next_due_us is None:
            return LOOK_AGAIN_S
        return min(LOOK_AGAIN_S, max(0.0, (self._next_due_us - self._world.now_us()) / 1e6))

    async def step(self) -> int:
        """Look once at the sagas that are due; how many there were."""
        now_us = self._world.now_us()
        rows, self._next_due_us = await self._db.read(list_due_sagas, now_us, BATCH)
        if not rows:
            return 0
        try:
            await self._db.run(self._advance_all, rows, now_us)
        except Exception:
            # One of them is at fault, and it must not hold up the others.
            log.exception("saga batch failed, going one by one", sagas=len(rows))
            for row in rows:
                await self._advance_alone(row, now_us)
        else:
            for row in rows:
                self._failures.pop(row.id, None)
        for kind in {row.kind for row in rows}:
            self._world.faults.hit(f"saga.{kind}.committed")
        return len(rows)

    async def _advance_alone(self, row: SagaRow, now_us: int) -> None:
        try:
            await self._db.run(self._advance_all, [row], now_us)
            self._failures.pop(row.id, None)
        except Exception:
            self._loop.errors += 1
            failures = self._failures[row.id] = self._failures.get(row.id, 0) + 1
            delay_s = self._backoff.delay_s(failures, self._world.random)
            log.exception("saga step failed", kind=row.kind, object_id=row.object_id, step=row.step, retry_s=delay_s)
            due_us = now_us + int(delay_s * 1e6)
            await self._db.run(lambda tx: SAGAS.update_where(tx, {"due_us": due_us}, id=row.id, epoch=row.epoch))

    def _advance_all(self, tx: Tx, rows: Sequence[SagaRow], now_us: int) -> None:
        for seen in rows:
            SAGAS.foresee(tx, id=seen.id, epoch=seen.epoch)
            if seen.kind in self._sagas:
                self._sagas[seen.kind].foresee(tx, seen.object_id)
        advanced: list[tuple[SagaRow, SagaRow]] = []
        for seen in rows:
            row = SAGAS.find(tx, id=seen.id, epoch=seen.epoch)
            if row is not None:
                advanced.append((row, self._advance(tx, row, now_us)))
        # Only now, because what is removed makes a transaction forget what it has foreseen.
        for row, state in advanced:
            self._write(tx, row, state)

    def _advance(self, tx: Tx, row: SagaRow, now_us: int) -> SagaRow:
        """Run steps until one has to wait or none is left; the row as it is then."""
        saga = self._sagas.get(row.kind)
        if saga is None:
            raise Bug(f"No saga of kind {row.kind} is known.")
        state = msgspec.structs.replace(row, epoch=row.epoch + 1, updated_at_us=now_us)
        while True:
            state, waits = (
                self._forward(tx, saga, state, now_us) if not state.undoing else self._back(tx, saga, state, now_us)
            )
            if waits:
                return state

    def _write(self, tx: Tx, row: SagaRow, state: SagaRow) -> None:
        """How far the saga has come, unless another has taken its place meanwhile."""
        if state.step < 0 or state.step >= len(self._sagas[row.kind].steps):
            SAGAS.remove_where(tx, id=row.id, epoch=row.epoch)
            return
        changes = {
            name: getattr(state, name)
            for name in ("step", "undoing", "fault", "deadline_us", "due_us", "epoch", "updated_at_us")
        }
        SAGAS.set_where(tx, changes, id=row.id, epoch=row.epoch)

    def _forward(self, tx: Tx, saga: Saga, state: SagaRow, now_us: int) -> tuple[SagaRow, bool]:
        """One step forward; (new state, whether to stop here)."""
        if state.step >= len(saga.steps):
            return state, True
        step = saga.steps[state.step]
        run = Run(state.object_id, state.params, now_us)
        if isinstance(step, Write):
            step.do(tx, run)
            self._world.faults.hit(f"saga.{saga.kind}.{step.name}")
            return msgspec.structs.replace(state, step=state.step + 1, deadline_us=0), False
        deadline_us = state.deadline_us or now_us + int(step.deadline_s * 1e6)
        match step.ready(tx, run):
            case Ready():
                self._world.faults.hit(f"saga.{saga.kind}.{step.name}")
                return msgspec.structs.replace(state, step=state.step + 1, deadline_us=0), False
            case Waiting(paused=True):
                deadline_us = now_us + int(step.deadline_s * 1e6)
                return msgspec.structs.replace(state, deadline_us=deadline_us, due_us=deadline_us), True
            case Waiting() if now_us < deadline_us:
                return msgspec.structs.replace(state, deadline_us=deadline_us, due_us=deadline_us), True
            case Waiting():
                fault = step.late
            case Failed(reason):
                fault = reason
        log.warning("saga turns round", kind=saga.kind, object_id=state.object_id, step=step.name, reason=fault)
        return msgspec.structs.replace(state, undoing=True, fault=fault, step=state.step - 1, deadline_us=0), False

    def _back(self, tx: Tx, saga: Saga, state: SagaRow, now_us: int) -> tuple[SagaRow, bool]:
        """One step back."""
        if state.step < 0:
            return state, True
        step = saga.steps[state.step]
        if isinstance(step, Write):
            step.undo(tx, Run(state.object_id, state.params, now_us, state.fault))
            self._world.faults.hit(f"saga.{saga.kind}.{step.name}.undone")
        return msgspec.structs.replace(state, step=state.step - 1), False


def new_saga_id(world: World) -> str:
    """An id for ``start_saga``, drawn before the transaction."""
    return new_uuid(world.random)


async def settle(engine: Engine, *, rounds_most: int = 1000) -> None:
    """Step until nothing is due: for tests and simulations, which must not wait for doorbells."""
    for _ in range(rounds_most):
        if not await engine.step():
            return
        await trio.lowlevel.checkpoint()
    raise Bug("The sagas do not settle.")
