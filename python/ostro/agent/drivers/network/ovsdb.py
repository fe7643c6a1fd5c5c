"""A client of the Open vSwitch database: JSON-RPC over a Unix socket (RFC 7047), on trio.

`Ovsdb` keeps a replica of the columns that it is told to watch, so questions about the switch are answered from memory and waiting for
the switch is waiting for a row to change. Changes are transactions, each atomic. The connection is made anew whenever it is lost;
until then `Ovsdb.transact` and `Ovsdb.until` raise or wait within their deadline, and the replica shows the last that was known.

Values are decoded to plain Python: a set of other than one element to a list, a map to a dict, a UUID to its string.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import msgspec
import structlog
import trio

from ostro.model.errors import Bug, Unavailable
from ostro.runtime.backoff import Backoff
from ostro.runtime.beside import beside
from ostro.runtime.world import World

log = structlog.get_logger()

Value = str | int | float | bool | list["Value"] | dict[str, "Value"]
Row = dict[str, Value]
Operation = Mapping[str, object]
Changes = Mapping[str, set[str]]
"""UUIDs of rows by table."""

DATABASE = "Open_vSwitch"
TRANSACTION_S = 10.0
"""A transaction takes the server about a millisecond; 10 s is a server that hangs."""
READ_BYTES = 1 << 18
MESSAGE_MOST_BYTES = 64 << 20
"""A full replica of 10,000 ports is about 10 MB."""

_MARKS = re.compile(rb'["\\{}]')


def decode(value: object) -> Value:
    """A value as OVSDB writes it, in plain Python."""
    match value:
        case ["uuid" | "named-uuid", str() as uuid]:
            return uuid
        case ["set", list() as members]:
            return [decode(member) for member in members]
        case ["map", list() as pairs]:
            return {str(decode(pair[0])): decode(pair[1]) for pair in pairs}
        case str() | int() | float():
            return value
    raise Bug(f"OVSDB sent {value!r}.")


def encode_map(value: Mapping[str, str]) -> list[object]:
    """A map as OVSDB writes it."""
    return ["map", [[key, item] for key, item in value.items()]]


def encode_set(members: Sequence[object]) -> list[object]:
    """A set as OVSDB writes it."""
    return ["set", list(members)]


def uuid_ref(uuid: str) -> list[object]:
    """A reference to a row that is there."""
    return ["uuid", uuid]


def named_ref(name: str) -> list[object]:
    """A reference to a row that the same transaction inserts."""
    return ["named-uuid", name]


def members(value: Value) -> list[Value]:
    """The elements of a set column."""
    return value if isinstance(value, list) else [value]


def where_uuid(uuid: str) -> list[object]:
    """The condition that selects one row."""
    return [["_uuid", "==", uuid_ref(uuid)]]


class Splitter:
    """Cuts a stream of bytes into JSON objects, which follow one another without anything between."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._looked_at = 0
        self._depth = 0
        self._in_string = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes and give every object that they complete.

        Raises:
            Unavailable: an object is longer than any that the server has reason to send.
        """
        self._buffer += data
        start = 0
        for mark in _MARKS.finditer(self._buffer, self._looked_at):
            at, sign = mark.start(), mark.group()
            if at < self._looked_at:
                continue  # escaped
            if sign == b"\\":
                self._looked_at = at + 2
            elif sign == b'"':
                self._in_string = not self._in_string
            elif not self._in_string:
                self._depth += 1 if sign == b"{" else -1
                if self._depth == 0:
                    yield bytes(self._buffer[start : at + 1])
                    start = at + 1
        self._looked_at = max(self._looked_at, len(self._buffer)) - start
        del self._buffer[:start]
        if len(self._buffer) > MESSAGE_MOST_BYTES:
            raise Unavailable("The Open vSwitch database sends a message without an end.")


@dataclass
class _Call:
    done: trio.Event = field(default_factory=trio.Event)
    result: object = None
    error: object = None


class Ovsdb:
    """See the module. Made by `open_`."""

    def __init__(self, path: Path, watch: Mapping[str, Sequence[str]]) -> None:
        self.tables: dict[str, dict[str, Row]] = {table: {} for table in watch}
        self._path = path
        self._watch = watch
        self._stream: trio.SocketStream | None = None
        self._sending = trio.Lock()
        self._calls: dict[int, _Call] = {}
        self._last_id = 0
        self._changed = trio.Event()
        self._listeners: list[Callable[[Changes], None]] = []

    def on_change(self, listener: Callable[[Changes], None]) -> None:
        """Call ``listener`` after each change of the replica, with the rows concerned. It must not raise."""
        self._listeners.append(listener)

    def find(self, table: str, **columns: Value) -> tuple[str, Row] | None:
        """The first row whose columns have these values, with its UUID."""
        for uuid, row in self.tables[table].items():
            if all(row.get(name) == value for name, value in columns.items()):
                return uuid, row
        return None

    async def transact(self, *operations: Operation) -> list[object]:
        """Carry out all operations or none; their results in order.

        Raises:
            Unavailable: the server is away or hangs; whether it was carried out is unknown.
            Bug: the server refuses an operation.
        """
        result = await self._call("transact", [DATABASE, *operations])
        results = result if isinstance(result, list) else []
        for answer in results:
            if isinstance(answer, dict) and answer.get("error"):
                raise Bug("Open vSwitch refused a change of its database.", detail=f"{answer} of {operations}")
        return results

    async def until(self, found: Callable[[], bool], what: str, deadline_s: float = TRANSACTION_S) -> None:
        """Wait until the replica is such that ``found()``.

        Raises:
            Unavailable: it isn't within ``deadline_s``; the message says ``what`` did not happen.
        """
        with trio.move_on_after(deadline_s):
            while not found():
                await self._changed.wait()
            return
        raise Unavailable(f"Open vSwitch did not {what} in {deadline_s:g} s.", retry_after_s=2)

    async def run(self, world: World, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be connected, for ever; started with the first full replica."""
        backoff, failures = Backoff(first_s=0.05, most_s=1.0), 0
        started = False
        loop = world.metrics.loop("switch: database")
        while True:
            try:
                async with await trio.open_unix_socket(self._path) as stream, trio.open_nursery() as nursery:
                    self._stream = stream
                    nursery.start_soon(self._receive, stream)
                    with loop.run():
                        await self._replicate()
                    failures = 0
                    if not started:
                        started = True
                        task_status.started()
            except* (OSError, trio.BrokenResourceError, Unavailable) as lost:
                if started and not failures:
                    log.warning("the Open vSwitch database is away", path=str(self._path), reason=_reason(lost))
                loop.errors += 1
                loop.due()
            finally:
                self._stream = None
                self._fail_calls()
            failures += 1
            await trio.sleep(backoff.delay_s(failures, world.random))

    async def _replicate(self) -> None:
        requests = {table: {"columns": list(columns)} for table, columns in self._watch.items()}
        snapshot = await self._call("monitor", [DATABASE, "replica", requests])
        before = {table: set(rows) for table, rows in self.tables.items()}
        for rows in self.tables.values():
            rows.clear()
        self._take_updates(snapshot, before)

    async def _call(self, method: str, params: Sequence[object]) -> object:
        stream = self._stream
        if stream is None:
            raise Unavailable("The Open vSwitch database does not answer.", detail=str(self._path))
        self._last_id += 1
        call_id, call = self._last_id, _Call()
        self._calls[call_id] = call
        try:
            with trio.fail_after(TRANSACTION_S):
                await self._send(stream, {"method": method, "params": params, "id": call_id})
                await call.done.wait()
        except (trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Unavailable("The Open vSwitch database does not answer.", detail=repr(error)) from error
        finally:
            self._calls.pop(call_id, None)
        if call.error is not None:
            raise Unavailable("The Open vSwitch database failed.", detail=f"{method}: {call.error}")
        return call.result

    async def _send(self, stream: trio.SocketStream, message: Mapping[str, object]) -> None:
        async with self._sending:
            await stream.send_all(msgspec.json.encode(message))

    async def _receive(self, stream: trio.SocketStream) -> None:
        splitter = Splitter()
        while data := await stream.receive_some(READ_BYTES):
            for text in splitter.feed(bytes(data)):
                await self._take(stream, msgspec.json.decode(text, type=dict[str, object]))
        raise Unavailable("The Open vSwitch database closed the connection.")

    async def _take(self, stream: trio.SocketStream, message: Mapping[str, object]) -> None:
        match message:
            case {"method": "echo", "params": params, "id": call_id}:
                await self._send(stream, {"result": params, "error": None, "id": call_id})
            case {"method": "update", "params": [_, updates]}:
                self._take_updates(updates)
            case {"result": result, "error": error, "id": int() as call_id} if call_id in self._calls:
                call = self._calls[call_id]
                call.result, call.error = result, error
                call.done.set()

    def _take_updates(self, updates: object, also: Changes = MappingProxyType({})) -> None:
        """Carry updates out on the replica and tell who waits; ``also`` are rows that have changed besides."""
        assert isinstance(updates, dict), "RFC 7047, 4.1.6"
        changes = {table: set(uuids) for table, uuids in also.items()}
        for table, rows in updates.items():
            changes.setdefault(table, set()).update(rows)
            for uuid, update in rows.items():
                if "new" in update:
                    self.tables[table][uuid] = {name: decode(value) for name, value in update["new"].items()}
                else:
                    self.tables[table].pop(uuid, None)
        for listener in self._listeners:
            listener(changes)
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    def _fail_calls(self) -> None:
        for call in self._calls.values():
            call.error = "the connection was lost"
            call.done.set()


def _reason(lost: BaseExceptionGroup[BaseException]) -> str:
    first = lost.exceptions[0]
    return _reason(first) if isinstance(first, BaseExceptionGroup) else str(first)


@asynccontextmanager
async def open_(
    world: World, path: Path, watch: Mapping[str, Sequence[str]], deadline_s: float
) -> AsyncIterator[Ovsdb]:
    """A connected client with its replica filled; on leaving, the connection is closed.

    Raises:
        Unavailable: the server doesn't answer within ``deadline_s``.
    """
    client = Ovsdb(path, watch)
    async with beside() as nursery:
        with trio.move_on_after(deadline_s) as patience:
            await nursery.start(client.run, world)
        if patience.cancelled_caught:
            raise Unavailable("The Open vSwitch database does not answer.", detail=str(path))
        yield client
