"""Single objects in a pool, by librados' asynchronous operations.

An operation is submitted, and its awaiter sleeps until librados' thread has handed the result over by ``run_sync_soon``: the one
call that is allowed there. Whatever happens to the awaiter meanwhile (its deadline, a cancellation, the end of trio itself), the operation
keeps its place in the connection's budget until librados is done with it, so what is in flight is bounded truly. Cancelling
an operation does not undo it: a write may still take place.

Facts about the binding (16.2) that this relies on: the data of writes is copied at submission; a read's buffer must
be exactly as long as the object's answer, or longer (it is cut to the return value here, because for an empty answer the binding hands out
the whole buffer, uninitialised); a callback gets None on error and its exceptions are swallowed, so it must not raise.
"""

from __future__ import annotations

import ctypes
import errno
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import rados
import trio

from ostro.model.errors import Unavailable
from ostro.runtime.ceph.connection import Ceph, State
from ostro.runtime.ceph.errors import RETRY_AFTER_S, to_ours, translated
from ostro.runtime.ceph.handles import open_ioctx
from ostro.runtime.threads import Pool

DEADLINE_S = 20.0
LIST_PAGE = 1000
ENDS = Pool("Ceph listings' ends", 4)
OVERHEAD_BYTES = 1024
"""What an operation costs besides its data, roughly."""

TOUCH_XATTR = "ostro.touched"

_known = threading.local()
"""Python makes a state for each thread that calls into it and unmakes it when the call returns, which takes as long as the call: librados has a handful of
threads, whose states are kept, so that each is made once."""

Submit = Callable[[Callable[..., None]], object]


@dataclass(frozen=True)
class Stat:
    """``version`` grows with every change of the object, the last of which was ``age_s`` ago by the cluster's clock, in whole seconds."""

    size_bytes: int
    version: int
    age_s: float


class Objects:
    """The objects of one pool and namespace.

    Every method raises Unavailable when the cluster is away or the answer takes longer than ``deadline_s``, and NoCapacity when
    there is no room.
    """

    def __init__(self, ceph: Ceph, pool: str, namespace: str = "") -> None:
        self._ceph = ceph
        self._pool = pool
        self._namespace = namespace

    async def create(self, name: str, *pieces: bytes, deadline_s: float = DEADLINE_S) -> bool:
        """Store a new object, these pieces one after the other, whole or not at all.

        False when there is one of this name, which is left as it is.
        """
        ioctx = await self._ioctx()
        size_bytes = 0
        with rados.WriteOpCtx() as write:
            write.new(rados.LIBRADOS_CREATE_EXCLUSIVE)
            for piece in pieces:
                write.write(piece, size_bytes)
                size_bytes += len(piece)
            code = await self._write(ioctx, write, name, size_bytes, deadline_s)
        if code == -errno.EEXIST:
            return False
        self._check(code, name)
        return True

    async def put(self, name: str, data: bytes, *, deadline_s: float = DEADLINE_S) -> None:
        """Store an object, whole, in the place of what is there."""
        ioctx = await self._ioctx()
        code, _ = await self._do(lambda done: ioctx.aio_write_full(name, data, done), len(data), deadline_s)
        self._check(code, name)

    async def touch(self, name: str, *, deadline_s: float = DEADLINE_S) -> bool:
        """Raise the object's version and nothing else. False when there is no such object, and none is made."""
        ioctx = await self._ioctx()
        with rados.WriteOpCtx() as write:
            # Of all cheap changes this alone fails on an object that isn't there, rather than making it.
            write.rm_xattr(TOUCH_XATTR)
            write.set_xattr(TOUCH_XATTR, b"")
            code = await self._write(ioctx, write, name, 0, deadline_s)
        if code == -errno.ENOENT:
            return False
        self._check(code, name)
        return True

    def begin_read(self, name: str, length: int, offset: int = 0) -> Reading:
        """Begin to read now if that can be done without waiting; else when it is waited for."""
        return Reading(self, name, length, offset)

    async def read(self, name: str, length: int, offset: int = 0, *, deadline_s: float = DEADLINE_S) -> bytes:
        """At most ``length`` bytes from ``offset``, fewer at the object's end. Raises NotFound."""
        ioctx = await self._ioctx()
        code, data = await self._do(lambda done: ioctx.aio_read(name, length, offset, done), length, deadline_s)
        return _bytes_of(code, data, name)

    def try_begin_read(self, name: str, length: int, offset: int) -> _Operation | None:
        """Submit a read if that can be done without waiting."""
        ioctx = self._ceph.known_ioctx(self._pool, self._namespace)
        if ioctx is None or self._ceph.state is not State.UP or not self._ceph.budget.try_take(length + OVERHEAD_BYTES):
            return None
        return self._submit(lambda done: ioctx.aio_read(name, length, offset, done), length)

    async def size(self, name: str, *, deadline_s: float = DEADLINE_S) -> int | None:
        """The object's size in bytes, None when there is none."""
        ioctx = await self._ioctx()
        code, size_bytes = await self._do(lambda done: ioctx.aio_stat(name, done), 0, deadline_s)
        if code == -errno.ENOENT:
            return None
        self._check(code, name)
        assert isinstance(size_bytes, int), "only an error comes without a size"
        return size_bytes

    async def remove(self, name: str, *, deadline_s: float = DEADLINE_S) -> bool:
        """Delete the object. False when there was none."""
        ioctx = await self._ioctx()
        code, _ = await self._do(lambda done: ioctx.aio_remove(name, done), 0, deadline_s)
        if code == -errno.ENOENT:
            return False
        self._check(code, name)
        return True

    async def stat(self, name: str) -> Stat | None:
        """What the object is now, None when there is none. In a worker: for sweeps."""
        return await self._ceph.call(
            name, read_stat, self._pool, self._namespace, name, self._ceph.world.now_us() / 1e6
        )

    async def remove_version(self, name: str, version: int, *, deadline_s: float = DEADLINE_S) -> bool:
        """Delete the object if nothing has changed or touched it since it had this version. Whether it was deleted."""
        ioctx = await self._ioctx()
        with rados.WriteOpCtx() as write:
            write.assert_version(version)
            write.remove()
            code = await self._write(ioctx, write, name, 0, deadline_s)
        if code in (-errno.ENOENT, -errno.ERANGE, -errno.EOVERFLOW):
            return False
        self._check(code, name)
        return True

    async def pages(self) -> AsyncGenerator[list[str], None]:
        """The names of all objects, some at a time, in no order."""
        what = f"pool {self._pool}"
        self._ceph.check()
        listing = Listing(self._ceph.hold(), self._pool, self._namespace)
        try:
            while page := await self._ceph.call(what, listing.next_page):
                yield page
        finally:
            with trio.CancelScope(shield=True):
                await self._ceph.world.threads.run(ENDS, listing.close)

    async def probe(self, name: str, deadline_s: float) -> None:
        """Ask for an object, whatever the answer, even while the cluster is taken to be away."""
        ioctx = self._ceph.known_ioctx(self._pool, self._namespace)
        if ioctx is None:
            await self._ioctx()
            return
        await self._do(lambda done: ioctx.aio_stat(name, done), 0, deadline_s, even_away=True)

    async def _ioctx(self) -> Any:
        return await self._ceph.ioctx(self._pool, self._namespace)

    async def _write(self, ioctx: Any, write: Any, name: str, size_bytes: int, deadline_s: float) -> int:
        # Not told the time, the binding says 1970.
        now_s = self._ceph.world.now_us() // 1_000_000
        code, _ = await self._do(
            lambda done: ioctx.operate_aio_write_op(write, name, done, None, now_s), size_bytes, deadline_s
        )
        return code

    def _check(self, code: int, name: str) -> None:
        if code < 0:
            raise to_ours(-code, name)

    async def _do(
        self, submit: Submit, size_bytes: int, deadline_s: float, *, even_away: bool = False
    ) -> tuple[int, object]:
        """Submit, and wait for the return value and what came with it."""
        ceph = self._ceph
        with trio.move_on_after(deadline_s):
            await ceph.budget.take(size_bytes + OVERHEAD_BYTES)
            operation = self._submit(submit, size_bytes, even_away=even_away)
            await operation.done.wait()
            return operation.code, operation.answer
        raise _late(deadline_s)

    def _submit(self, submit: Submit, size_bytes: int, *, even_away: bool = False) -> _Operation:
        """Submit what has its place in the budget already."""
        operation = _Operation(self._ceph, size_bytes + OVERHEAD_BYTES)
        try:
            if not even_away:
                self._ceph.check()
            with translated(f"pool {self._pool}"):
                submit(operation.completed)
        except BaseException:
            operation.finish(-errno.ECANCELED, None, answered=False)
            raise
        return operation


class Reading:
    """A read that is under way, or will be. Dropping it is fine: its result is then thrown away."""

    def __init__(self, objects: Objects, name: str, length: int, offset: int) -> None:
        self.length = length
        self._objects = objects
        self._name = name
        self._offset = offset
        self._operation = objects.try_begin_read(name, length, offset)

    async def wait(self, deadline_s: float = DEADLINE_S) -> bytes:
        """The bytes, fewer than asked for at the object's end. Raises NotFound, Unavailable."""
        operation = self._operation
        if operation is None:
            return await self._objects.read(self._name, self.length, self._offset, deadline_s=deadline_s)
        with trio.move_on_after(deadline_s):
            await operation.done.wait()
            return _bytes_of(operation.code, operation.answer, self._name)
        raise _late(deadline_s)


class _Operation:
    """One operation under way. ``code`` and ``answer`` are there once ``done`` is set."""

    def __init__(self, ceph: Ceph, size_bytes: int) -> None:
        self.done = trio.Event()
        self.code = 0
        self.answer: object = None
        self._ceph = ceph
        self._size_bytes = size_bytes
        self._number = ceph.inflight.ask(trio.current_time())
        self._token = trio.lowlevel.current_trio_token()

    def completed(self, completion: Any, answer: object = None, *_more: object) -> None:
        """librados' thread: hand the result over to trio's. Must not raise."""
        if not hasattr(_known, "here"):
            _known.here = ctypes.pythonapi.PyGILState_Ensure()
        try:
            self._token.run_sync_soon(self.finish, completion.get_return_value(), answer)
        except trio.RunFinishedError:
            # Whoever asked is gone, and the budget with it.
            return

    def finish(self, code: int, answer: object, answered: bool = True) -> None:
        """trio's thread: note the result, which also frees the operation's place. Must not raise."""
        self.code, self.answer = code, answer
        self._ceph.inflight.done(self._number)
        self._ceph.budget.give_back(self._size_bytes)
        if answered:
            self._ceph.answered(-code)
        self.done.set()


def _bytes_of(code: int, data: object, name: str) -> bytes:
    """What a read has brought. Raises NotFound and others."""
    if code < 0:
        raise to_ours(-code, name)
    assert isinstance(data, bytes), "only an error comes without data"
    return data if code == len(data) else data[:code]


def _late(deadline_s: float) -> Unavailable:
    return Unavailable(
        "The storage (Ceph) does not answer.", retry_after_s=RETRY_AFTER_S, detail=f"waited {deadline_s:g} s"
    )


# -- blocking ----------------------------------------------------------------------------------------------------


def read_stat(cluster: Any, pool: str, namespace: str, name: str, now_s: float) -> Stat | None:
    """See `Objects.stat`. The last version is a property of the handle, so it needs one of its own."""
    with open_ioctx(cluster, pool, namespace) as ioctx:
        try:
            size_bytes, changed = ioctx.stat(name)
        except rados.ObjectNotFound:
            return None
        age_s = max(0.0, now_s - time.mktime(changed))
        return Stat(int(size_bytes), int(ioctx.get_last_version()), age_s)


class Listing:
    """A listing of a pool, on a handle of its own. Blocks.

    It must be closed before its connection is: librados crashes otherwise. So it holds the connection until ``close``, which
    waits for a page that is still being fetched, for whomever.
    """

    def __init__(self, leave: Callable[[], None], pool: str, namespace: str) -> None:
        self._leave = leave
        self._pool = pool
        self._namespace = namespace
        self._lock = threading.Lock()
        self._closed = False
        self._ioctx: Any = None
        self._found: Iterator[Any] = iter(())

    def next_page(self, cluster: Any) -> list[str]:
        """The next names, none at the end, nor once it is closed."""
        with self._lock:
            if self._closed:
                return []
            if self._ioctx is None:
                self._ioctx = open_ioctx(cluster, self._pool, self._namespace)
                self._found = iter(self._ioctx.list_objects())
            return [found.key for found in islice(self._found, LIST_PAGE)]

    def close(self) -> None:
        """Let go. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            # The listing before the handle that it is on.
            self._found = iter(())
            if self._ioctx is not None:
                self._ioctx.close()
            self._leave()
