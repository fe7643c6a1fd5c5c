"""One connection to a Ceph cluster, shared by everything in the process.

``open_`` never fails because a cluster is away: connecting goes on in the background, and until then every call raises
Unavailable at once. Two ways lead to Ceph. **Asynchronous operations** on single objects (`ostro.runtime.ceph.objects`) are submitted from
the trio thread and completed by librados' own threads, which do no more than hand the result to trio. **Blocking calls** (librbd, listings,
monitor commands) run in a bounded pool of workers with deadlines (`Ceph.call`).

A cluster that has died makes no noise: operations merely stay unanswered. So the oldest operation in flight is watched. When it has waited for
``STALL_S`` and nothing else was answered meanwhile, the cluster is taken to be away: new operations fail at once, those under way
fail at their deadlines, and one probe at a time asks until there is an answer. An idle connection is probed now and then.
librados gives up on operations too (``rados_osd_op_timeout``), so what was abandoned here does not pile up there.

A client that the cluster has fenced (its address is blocklisted) can never use its connection again; it is thrown away and a new one made.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from enum import StrEnum
from typing import Any, ParamSpec, TypeVar

import structlog
import trio

from ostro.model.errors import Conflict, OstroError, Unavailable
from ostro.runtime.backoff import Backoff
from ostro.runtime.ceph import disks
from ostro.runtime.ceph.budget import Budget
from ostro.runtime.ceph.calls import Gate
from ostro.runtime.ceph.config import CephConfig
from ostro.runtime.ceph.disks import Disk, OpenDisk, Parent
from ostro.runtime.ceph.errors import FENCED, RETRY_AFTER_S, code_of, translated
from ostro.runtime.ceph.handles import CLOSE_S, CONNECT_S, connect, open_ioctx, shut_down
from ostro.runtime.ceph.inflight import Inflight
from ostro.runtime.threads import Pool
from ostro.runtime.world import World

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger()

WORKERS = 16
CALL_DEADLINE_S = 60.0
LONG_DEADLINE_S = 6 * 3600.0
"""A disk goes object by object, so a large one takes long."""
LET_GO_S = 5.0
"""Whoever has a disk open for no longer than this while it is deleted is only waited for."""
LOOK_AGAIN_S = 0.1
STALL_S = 5.0
LOOK_EVERY_S = 0.5
PROBE_IDLE_S = 10.0
PROBE_DEADLINE_S = 60.0
PROBE_NAME = "ostro.probe"
CLOSE_AWAY_S = 1.0
"""How long what is under way is waited for at the end when the cluster is known not to answer."""
MOST_OPS = 256
MOST_BYTES = 96 << 20
"""Below librados' own bound (raised in `SETTINGS`), at which submitting would block the trio thread."""


class State(StrEnum):
    """What is known of the cluster."""

    CONNECTING = "connecting"
    UP = "up"
    AWAY = "away"
    FENCED = "fenced"


class Ceph:
    """See the module's docstring. Not thread-safe: use it from the trio thread."""

    def __init__(self, world: World, config: CephConfig) -> None:
        self.world = world
        self.config = config
        self.state = State.CONNECTING
        self.reason = "connecting"
        self.inflight = Inflight()
        self.budget = Budget(MOST_OPS, MOST_BYTES)
        self._workers = Pool("Ceph", WORKERS)
        self._closing = Pool("Ceph's end", 1)
        self._cluster: Any = None
        self._gate = Gate()
        self._ioctxs: dict[tuple[str, str], Any] = {}
        self._changed = trio.Event()

    @property
    def health(self) -> str:
        """One line for people: ``up``, or since when and why not."""
        return "up" if self.state is State.UP else f"{self.state}: {self.reason}"

    def check(self) -> None:
        """Raise Unavailable at once while the cluster is known to be away."""
        if self.state is not State.UP:
            raise Unavailable(
                "The storage (Ceph) does not answer.",
                retry_after_s=RETRY_AFTER_S,
                detail=f"{self.state}: {self.reason}",
            )

    async def wait_connected(self, timeout_s: float) -> None:
        """Wait for the first connection. Raises Unavailable when there is none in time."""
        with trio.move_on_after(timeout_s):
            await self.wait_for(State.UP)
        self.check()

    async def wait_for(self, state: State) -> None:
        """Wait until this is the state."""
        while self.state is not state:
            await self._changed.wait()

    async def call(self, what: str, fn: Callable[..., T], *args: object, deadline_s: float = CALL_DEADLINE_S) -> T:
        """Run the blocking ``fn(cluster, *args)`` in a worker; ``what`` names the object in errors.

        Raises the errors of `ostro.runtime.ceph.errors` and Unavailable at the deadline.
        """
        self.check()
        with translated(what), self._noticing_fences():
            return await self.world.threads.run(
                self._workers, self._gate.run, fn, self._cluster, *args, deadline_s=deadline_s
            )

    async def remove_disk(self, disk: Disk) -> None:
        """Delete a disk as `disks.remove` does, however large; who has it open for a moment is waited for.

        That may be ourselves, dropping a snapshot in the background. Raises Conflict while it stays open, and as `call`.
        """
        await self._let_go(disk, disks.remove)

    async def flatten_disk(self, disk: Disk) -> None:
        """Make a clone stand on its own feet as `disks.flatten` does, however large. Waits and raises as `remove_disk`."""
        await self._let_go(disk, disks.flatten)

    async def _let_go(self, disk: Disk, fn: Callable[[Any, Disk], Parent | None]) -> None:
        """Do that, and then reap what it has left. What stays open in the trash is left to whoever empties it."""
        left: Parent | None = None
        until_s = trio.current_time() + LET_GO_S
        while True:
            try:
                if left is None:
                    left = await self.call(disk.name, fn, disk, deadline_s=LONG_DEADLINE_S)
                    until_s = trio.current_time() + LET_GO_S
                else:
                    left = await self.call(disk.name, disks.reap, left, deadline_s=LONG_DEADLINE_S)
                if left is None or trio.current_time() >= until_s:
                    return
            except Conflict:
                if trio.current_time() >= until_s:
                    raise
            await trio.sleep(LOOK_AGAIN_S)

    def call_here(self, what: str, fn: Callable[..., T], *args: object) -> T:
        """As `call`, in the worker thread that calls this, and without a deadline but librados' own. Safe in any thread."""
        self.check()
        with translated(what):
            return self._gate.run(fn, self._cluster, *args)

    def open_disk(self, disk: Disk, snapshot: str | None = None) -> OpenDisk:
        """Open a disk (at a snapshot: for reading) in the worker thread that calls this. Raises NotFound, Unavailable."""
        self.check()
        leave = self.hold()
        try:
            with translated(disk.name):
                return OpenDisk(self._cluster, disk, snapshot, leave)
        except BaseException:
            leave()
            raise

    def hold(self) -> Callable[[], None]:
        """Keep the connection from being shut down until what is returned is called. Safe in any thread. Raises Unavailable."""
        gate = self._gate
        gate.enter()
        return gate.leave

    async def ioctx(self, pool: str, namespace: str = "") -> Any:
        """The handle of a pool, opened at its first use and kept; it is thread-safe. Raises NotFound, Unavailable."""
        self.check()
        found = self._ioctxs.get((pool, namespace))
        if found is None:
            found = await self.call(f"pool {pool}", open_ioctx, pool, namespace)
            self._ioctxs[pool, namespace] = found
        return found

    def known_ioctx(self, pool: str, namespace: str = "") -> Any:
        """The handle of a pool if it is open already, else None."""
        return self._ioctxs.get((pool, namespace))

    def answered(self, code: int) -> None:
        """An operation was answered: the cluster lives, unless the answer is that it gave up, or that we are fenced."""
        if code == FENCED:
            self._become(State.FENCED, "the cluster has shut this client out")
        elif code != errno.ETIMEDOUT:
            self.inflight.last_answer_s = trio.current_time()
            if self.state is State.AWAY:
                self._become(State.UP, "")

    @contextmanager
    def _noticing_fences(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if code_of(error) == FENCED:
                self.answered(FENCED)
            raise

    # -- background ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Connect, watch, and connect anew when fenced, until cancelled."""
        backoff = Backoff(first_s=0.5, most_s=10.0)
        failures = 0
        loop = self.world.metrics.loop("ceph connection")
        try:
            while True:
                try:
                    with loop.run():
                        await self._connect()
                except OstroError as error:
                    failures += 1
                    if str(error) != self.reason:
                        log.warning(
                            "ceph can't be reached",
                            conf=str(self.config.conf),
                            reason=error.message,
                            detail=error.detail,
                        )
                    self.reason = error.message
                    await trio.sleep(backoff.delay_s(failures, self.world.random))
                    continue
                failures = 0
                await self._watch()
                loop.due()
                await self._disconnect()
        finally:
            with trio.CancelScope(shield=True):
                await self._disconnect()

    async def _connect(self) -> None:
        with translated(f"{self.config.entity} of {self.config.conf}"):
            self._cluster = await self.world.threads.run(
                self._workers, connect, self.config, deadline_s=CONNECT_S * 3.0
            )
        self._gate = Gate()
        self.inflight.last_answer_s = trio.current_time()
        self._become(State.UP, "")

    async def _disconnect(self) -> None:
        """Let go of the connection once nothing is under way on it. Its threads must have ended before the interpreter does."""
        answers = self.state is State.UP
        cluster, self._cluster = self._cluster, None
        ioctxs, self._ioctxs = list(self._ioctxs.values()), {}
        self.state, self.reason = State.CONNECTING, "the connection was closed"
        if cluster is None:
            return
        with trio.move_on_after(CLOSE_S if answers else CLOSE_AWAY_S):
            # More than there is room for is let in when nothing else is in.
            await self.budget.take(MOST_BYTES + 1)
            self.budget.give_back(MOST_BYTES + 1)
        try:
            await self.world.threads.run(self._closing, shut_down, cluster, ioctxs, self._gate, deadline_s=CLOSE_S * 2)
        except OstroError as error:
            log.warning("ceph's connection did not close", reason=error.message, detail=error.detail)

    def _become(self, state: State, reason: str) -> None:
        if state is not self.state:
            tell = log.info if state is State.UP else log.warning
            tell("ceph", state=state, reason=reason, conf=str(self.config.conf))
            self._changed.set()
            self._changed = trio.Event()
        self.state, self.reason = state, reason

    async def _watch(self) -> None:
        """Watch over what is in flight, and probe, until this client is fenced."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._probe_often)
            nursery.start_soon(self._look_often)
            await self.wait_for(State.FENCED)
            nursery.cancel_scope.cancel()

    async def _look_often(self) -> None:
        """Notice that nothing is answered any more."""
        while True:
            await trio.sleep(LOOK_EVERY_S)
            silence_s = self.inflight.silence_s(trio.current_time())
            if silence_s > STALL_S and self.state is State.UP:
                self._become(State.AWAY, f"nothing was answered for {silence_s:.0f} s")

    async def _probe_often(self) -> None:
        """Ask for an object that need not exist: often while the cluster is away, now and then while nobody else asks."""
        # Only here, because objects stand on this module.
        from ostro.runtime.ceph.objects import Objects

        objects = Objects(self, self.config.pools.objects)
        loop = self.world.metrics.loop("ceph probe")
        while True:
            idle_s = trio.current_time() - self.inflight.last_answer_s
            if self.state is State.AWAY or idle_s >= PROBE_IDLE_S:
                try:
                    with loop.run():
                        await objects.probe(PROBE_NAME, PROBE_DEADLINE_S)
                except OstroError as error:
                    self.reason = error.message
            await trio.sleep(LOOK_EVERY_S if self.state is State.AWAY else 1.0)


@asynccontextmanager
async def open_(world: World, config: CephConfig) -> AsyncIterator[Ceph]:
    """The process's connection, made and watched until the block ends."""
    ceph = Ceph(world, config)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ceph.run)
        yield ceph
        nursery.cancel_scope.cancel()
