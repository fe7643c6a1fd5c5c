"""The connections to libvirt, which mend themselves, and the way through which every blocking call goes.

libvirt's event loop runs in a worker thread; what it reports is handed to the trio thread. Calls run in two
bounded pools, one for looking and one for acting, so that acts that hang (each until its deadline) leave room for looking. Each pool has a
connection of its own, and so has each migration: libvirt's client (9.0) has one of the threads that wait on a connection read for all of them, and can miss
that another wants to send; that one's call then waits until the first hears something, which a migration may not for minutes.
A daemon that is killed closes the connection at once; then it is made anew, for ever, and whoever watches is told that
anything may have changed. While a daemon hangs, calls end by their deadlines; when it goes on, so do they. The client's own
keep-alive is not used: where several threads wait on a connection that it gives up, libvirt 9.0 crashes the process.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, TypeVar

import libvirt
import structlog
import trio

from ostro.model.errors import Conflict, Invalid, NoCapacity, NotFound, OstroError, Unavailable
from ostro.runtime.backoff import Backoff
from ostro.runtime.threads import Pool
from ostro.runtime.world import World

log = structlog.get_logger()

P = ParamSpec("P")
T = TypeVar("T")

LOOK_DEADLINE_S = 10.0
ACT_DEADLINE_S = 60.0
OPEN_DEADLINE_S = 60.0
"""The first connection to a fresh daemon waits for it to probe QEMU, 4 s on an idle machine."""

LOOKERS = 4
ACTORS = 8
SENDERS = 4
"""Migrations from here at once: they share the line, and each would end later."""


@dataclass(frozen=True)
class _Connections:
    """What is open."""

    looking: libvirt.virConnect
    acting: libvirt.virConnect


class Connection:
    """Connections to one libvirt URI. ``changed`` gets a domain's UUID, or ``""`` after libvirt was away.

    ``prepare`` is called in a worker whenever libvirt has been reached anew, before anything else is.
    """

    def __init__(
        self,
        world: World,
        uri: str,
        changed: Callable[[str], None],
        look_deadline_s: float = LOOK_DEADLINE_S,
        prepare: Callable[[libvirt.virConnect], None] = lambda _connection: None,
    ) -> None:
        self._world = world
        self._look_deadline_s = look_deadline_s
        self._uri = uri
        self._changed = changed
        self._prepare = prepare
        self._connected: _Connections | None = None
        self._closed = trio.Event()
        self._looking = Pool("libvirt", LOOKERS)
        self._acting = Pool("libvirt", ACTORS)
        self._sending = Pool("libvirt migrations", SENDERS)
        self._listening = Pool("libvirt events", 1)
        self._opening = Pool("libvirt open", 1)

    async def look(self, fn: Callable[Concatenate[libvirt.virConnect, P], T], *args: P.args, **_: P.kwargs) -> T:
        """Run ``fn(connection, *args)``, which only reads. Raises what it raises, libvirt's errors as ours, or Unavailable."""
        return await self._run(self._looking, self._look_deadline_s, functools.partial(fn, self._open().looking, *args))

    async def act(self, fn: Callable[Concatenate[libvirt.virConnect, P], T], *args: P.args, **_: P.kwargs) -> T:
        """Run ``fn(connection, *args)``, which changes something. Raises as `look` does."""
        return await self._run(self._acting, ACT_DEADLINE_S, functools.partial(fn, self._open().acting, *args))

    async def send(self, fn: Callable[[libvirt.virConnect], T]) -> T:
        """Run ``fn(connection)``, which sends a domain away and takes as long as that takes. Raises as `look` does."""
        self._open()

        def send() -> T:
            connection = libvirt.open(self._uri)
            try:
                return fn(connection)
            finally:
                connection.close()

        return await self._run(self._sending, float("inf"), send)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Connect, and connect again whenever the connection is lost; started once the first one stands.

        Raises:
            Unavailable: the first connection can't be made.
        """
        _register_event_loop()
        stop = _Stop()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, stop)
            try:
                await self._keep_connected(task_status)
            finally:
                stop.now()

    async def _listen(self, stop: _Stop) -> None:
        await self._world.threads.run(self._listening, stop.run_event_loop, deadline_s=float("inf"))

    async def _keep_connected(self, task_status: trio.TaskStatus[None]) -> None:
        await self._connect()
        task_status.started()
        backoff = Backoff(first_s=0.2, most_s=5.0)
        loop = self._world.metrics.loop("libvirt connection")
        while True:
            await self._closed.wait()
            self._connected = None
            loop.due()
            log.warning("libvirt went away, connecting again", uri=self._uri)
            failures = 0
            while self._connected is None:
                try:
                    with loop.run():
                        await self._connect()
                except Unavailable as error:
                    failures += 1
                    log.debug("libvirt does not answer", reason=error.message, failures=failures)
                    await trio.sleep(backoff.delay_s(failures, self._world.random))
            log.info("libvirt is back", uri=self._uri)
            self._changed("")

    async def _connect(self) -> None:
        closed = trio.Event()
        token = trio.lowlevel.current_trio_token()

        def on_close(_connection: object, _reason: int, _opaque: object) -> None:
            _hand_over(token, closed.set)

        def on_domain_event(_connection: object, domain: libvirt.virDomain, *_details: object) -> None:
            _hand_over(token, functools.partial(self._changed, domain.UUIDString()))

        def open_() -> _Connections:
            found = _Connections(libvirt.open(self._uri), libvirt.open(self._uri))
            for connection in (found.looking, found.acting):
                connection.registerCloseCallback(on_close, None)
            for event in (
                libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
                libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED,
            ):
                found.looking.domainEventRegisterAny(None, event, on_domain_event, None)
            self._prepare(found.acting)
            return found

        self._connected = await self._run(self._opening, OPEN_DEADLINE_S, open_)
        self._closed = closed

    def _open(self) -> _Connections:
        """What is open. Raises Unavailable."""
        if self._connected is None or self._closed.is_set():
            raise Unavailable("libvirt is away.")
        return self._connected

    async def _run(self, pool: Pool, deadline_s: float, fn: Callable[[], T]) -> T:
        try:
            return await self._world.threads.run(pool, fn, deadline_s=deadline_s)
        except libvirt.libvirtError as error:
            raise as_ours(error) from error


def as_ours(error: libvirt.libvirtError) -> OstroError:
    """libvirt's error, named by what can be done about it."""
    text = str(error)
    if _is_away(error):
        return Unavailable("libvirt is away.", detail=text)
    if "Cannot allocate memory" in text or "cannot set up guest memory" in text:
        return NoCapacity("The host has too little memory for this server.", detail=text)
    if "No space left on device" in text:
        return NoCapacity("The host's disk is full.", detail=text)
    match error.get_error_code():
        case libvirt.VIR_ERR_NO_DOMAIN:
            return NotFound("domain", "?", text)
        case libvirt.VIR_ERR_XML_ERROR | libvirt.VIR_ERR_XML_DETAIL | libvirt.VIR_ERR_CONFIG_UNSUPPORTED:
            return Invalid(f"The hypervisor refuses this domain: {text}")
        case libvirt.VIR_ERR_OPERATION_FAILED if "already exists" in text:
            return Conflict(f"The hypervisor has something of that name: {text}")
        case _:
            return Unavailable(f"The hypervisor could not do it: {text}", retry_after_s=5)


def _is_away(error: libvirt.libvirtError) -> bool:
    """Whether the error is about the connection, not about what was asked."""
    code, domain = error.get_error_code(), error.get_error_domain()
    transport = domain in (libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE)
    return code in (libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_ERR_INVALID_CONN) or (
        transport and code in (libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_ERR_RPC)
    )


class _Stop:
    """Runs libvirt's event loop in the thread that calls ``run_event_loop`` until another calls ``now``."""

    def __init__(self) -> None:
        self._stopped = False

    def now(self) -> None:
        self._stopped = True
        libvirt.virEventAddTimeout(0, _remove_timer, [None])

    def run_event_loop(self) -> None:
        while not self._stopped:
            libvirt.virEventRunDefaultImpl()


def _remove_timer(timer: int, _opaque: object) -> None:
    libvirt.virEventRemoveTimeout(timer)


@functools.cache
def _register_event_loop() -> None:
    """libvirt has one event loop per process, which must be there before the first connection."""
    libvirt.virEventRegisterDefaultImpl()
    libvirt.registerErrorHandler(_ignore_error, None)


def _ignore_error(_context: object, _error: object) -> None:
    """Errors arrive as exceptions; libvirt would print them to standard error as well."""


def _hand_over(token: trio.lowlevel.TrioToken, fn: Callable[[], object]) -> None:
    """Run ``fn`` on the trio thread, if that is still there."""
    try:
        token.run_sync_soon(fn)
    except trio.RunFinishedError:
        return
