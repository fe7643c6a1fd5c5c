"""Calls into the Rust core that can take longer than 50 microseconds release the interpreter, and none keeps it while it waits for another thread.

Whether a call lets go is seen without a clock. With the interpreter's own switching put off, another thread that waits for it gets it only
if the call releases it, however long the call takes.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from ostro import _core
from ostro._core import Chunker, Corrupt, DigestPool, FlowState, Hasher, HostTable, Netlink, Request, Switch, Verifier

TRIES = 400
"""A busy machine often wakes the other thread too late; a call that never releases fails every time."""
BYTES = bytes(16 << 20)
ONE_VCPU = Request({"resources": {"VCPU": 1}})
ID = "0" * 64

CONVERTS = {
    "_core.IMAGE_HEADER_BYTES, CHUNK_BYTES_DEFAULT": "constants",
    "Request.__new__": "reads what it is given, which is Python's",
    "Request.from_query": "a query string of at most some kilobytes",
    "Decision.hosts": "a copy",
    "Decision.rejected": "a copy",
    "Decision.explanation": "a sentence for each reason",
    "Decision.claim": "a copy",
    "Batch.orders": "a copy",
    "Batch.complete": "a field",
    "Piece.start": "a field",
    "Piece.end": "a field",
    "Piece.index": "a field",
    "Piece.offset": "a field",
    "Piece.chunk_id": "a field",
    "SwitchEvent.kind": "a field",
    "SwitchEvent.ticket": "a field",
    "SwitchEvent.counts": "a field",
    "SwitchEvent.lines": "a copy",
    "SwitchEvent.groups": "a copy",
    "NetlinkReport.counts": "a field",
    "NetlinkReport.refused": "a copy",
    "HostTable.__new__": "empty",
    "FlowState.__new__": "empty",
    "Hasher.__new__": "names of digests",
    "Chunker.__new__": "names of digests",
    "Chunker.by_content": "names of digests",
    "Verifier.__new__": "one name",
    "DigestPool.__new__": "empty",
    "Netlink.__new__": "opens a socket, which waits for nothing",
    "Switch.__new__": "starts a thread, which connects",
    "Switch.fileno": "a field",
    "Switch.sync": "hands over to the switch's own thread",
    "Switch.sync_groups": "reads what it is given and hands it over",
    "Switch.audit": "hands over",
    "Switch.dump": "hands over",
    "Switch.events": "takes what is there",
    "Hasher.from_state": "three kilobytes at most",
    "inspect_image": "reads a few fields of a header",
    "Netlink.links": "asks the kernel, released",
    "Netlink.sync_links": "asks the kernel, released",
    "Netlink.fdb": "asks the kernel, released",
    "Netlink.neighbours": "asks the kernel, released",
}
"""What neither computes much nor waits: it holds the interpreter, which copying to and from Python's objects needs anyway."""


def _json(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def _network(number: int, key: int = 5) -> bytes:
    segment = {"type": "vxlan", "id": key}
    return _json(id=f"n{number}", name="n", segment=segment, mtu=1450, service_mac="02:00:00:00:00:01")


def _mac(number: int) -> str:
    return f"02:00:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


class Things:
    """What calls are tried on, big enough that they take their time."""

    def __init__(self) -> None:
        self.table = HostTable()
        for number in range(6000):
            self.table.set_host(f"h{number}", {"inventories": {"VCPU": {"total": 100}}})
        self.members = {f"h{number}": 1 for number in range(6000)}
        for number in range(2000):
            self.table.set_group(f"g{number}", {"h1": 1})
        cores = [[2 * number, 2 * number + 1] for number in range(300)]
        self.celled = HostTable()
        self.celled.set_host("c", {"inventories": {"VCPU": {"total": 100}}, "numa": [{"id": 0, "cores": cores}]})
        pools = [{"id": f"p{number}", "inventories": {"VGPU": {"total": 2}}} for number in range(9)]
        self.tree = HostTable()
        self.tree.set_host("t", {"inventories": {"VCPU": {"total": 100}}, "providers": pools})
        groups = {f"_{number}": {"resources": {"VGPU": 1}} for number in range(8)}
        self.tangled = Request(
            {
                "resources": {"VCPU": 1},
                "groups": {**groups, "_x": {"resources": {"VGPU": 2}}, "_y": {"resources": {"VGPU": 2}}},
                "group_policy": "isolate",
            }
        )
        self.state = FlowState()
        self.state.set_uplinks({"vxlan": 1})
        for number in range(3):
            self.state.put("network", f"n{number}", _network(number))
        for number in range(3000):
            peer = {"network_id": "n1", "mac": _mac(number), "tunnel_ip": f"198.51.100.{number % 250}"}
            self.state.put("peer", f"p{number}", _json(id=f"p{number}", **peer))
        self.state.commit()
        self.turns = iter(range(10**9))

    def touched(self) -> FlowState:
        """The flow state with everything to compute again."""
        self.state.set_uplinks({"vxlan": 1 + next(self.turns) % 2})
        return self.state

    def add_host(self) -> None:
        """What is kept by id is copied before, because a snapshot has it too."""
        snapshot = self.table.snapshot()
        self.table.set_host(f"x{next(self.turns)}", {})
        del snapshot

    def drop_network(self) -> None:
        self.state.drop("network", "n1")
        self.state.put("network", "n1", _network(1))

    def hasher(self) -> Hasher:
        hasher = Hasher("md5", "sha512")
        hasher.update(b"x")
        return hasher


@pytest.fixture(scope="module")
def things() -> Things:
    return Things()


Call = Callable[[Things], object]
ENTRIES = [(_mac(number), "198.51.100.1", None, None) for number in range(20_000)]
LONG: dict[str, Call] = {
    "HostTable.place": lambda t: t.table.place(
        {"resources": {"VCPU": 1}, "weights": {"VCPU": next(t.turns)}}, limit=3000
    ),
    "HostTable.place, on trees": lambda t: t.tree.place(t.tangled, explain=False),
    "HostTable.place, which explains": lambda t: t.table.place({"resources": {"VCPU": 1000}}),
    "HostTable.place, for a big group": lambda t: t.celled.place(
        {"resources": {"VCPU": 1}, "not_hosts": list(t.members)}, explain=False
    ),
    "HostTable.place_many": lambda t: t.table.place_many([(ONE_VCPU, 3000)]),
    "HostTable.drain": lambda t: t.table.drain("h1", [(ONE_VCPU, 300)]),
    "HostTable.how_many": lambda t: t.table.how_many(ONE_VCPU),
    "HostTable.candidates": lambda t: t.table.candidates(ONE_VCPU, limit=2000),
    "FlowState.commit": lambda t: t.touched().commit(),
    "FlowState.words": lambda t: t.state.words(),
    "FlowDiff.counts": lambda t: t.touched().commit().counts(),
    "Hasher.update": lambda t: t.hasher().update(BYTES[: 1 << 20]),
    "Chunker.feed": lambda t: Chunker(digests=["md5"]).feed(BYTES[: 1 << 20]),
    "Verifier.update": lambda t: Verifier(ID).update(BYTES),
    "DigestPool.update": lambda t: DigestPool().update(t.hasher(), BYTES[: 1 << 20]),
    "update_together": lambda t: _core.update_together([(t.hasher(), BYTES[: 1 << 20])]),
    "verify_chunk": lambda t: _core.verify_chunk(BYTES, ID),
    "multipart_etag": lambda t: _core.multipart_etag([bytes(16)] * 100_000),
    "slo_etag": lambda t: _core.slo_etag([("0" * 32, "1-2")] * 50_000),
    "composite_checksum": lambda t: _core.composite_checksum("sha256", [bytes(32)] * 100_000),
    "combined_checksum": lambda t: _core.combined_checksum(
        "crc32c", [(bytes(4), 1000 + length) for length in range(1000)]
    ),
    "Netlink.sync_fdb": lambda t: Netlink().sync_fdb("nobody-has", ENTRIES),
    "Netlink.sync_neighbours": lambda t: Netlink().sync_neighbours(
        "nobody-has", [("10.0.0.1", mac) for mac, *_ in ENTRIES]
    ),
    "Switch.close": lambda t: Switch("/nowhere", t.state).close(),
}
"""Calls that take long, or wait for the kernel or a thread."""


@contextmanager
def _no_switching() -> Iterator[None]:
    """The interpreter doesn't go from thread to thread by itself."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)


def _lets_go(call: Callable[[], object]) -> bool:
    """Whether another thread that is woken before the call runs before it ends."""
    woken, noted = threading.Lock(), []

    def note() -> None:
        woken.acquire()
        noted.append(True)

    with _no_switching():
        woken.acquire()
        thread = threading.Thread(target=note)
        thread.start()
        woken.release()
        with suppress(Corrupt, KeyError, OSError):
            call()
        ran = bool(noted)
    thread.join()
    return ran


@pytest.mark.parametrize("name", LONG)
def test_long_calls_release_the_interpreter(name: str, things: Things) -> None:
    assert any(_lets_go(lambda: LONG[name](things)) for _ in range(TRIES)), f"{name} held it {TRIES} times"


def test_calls_that_release_nothing_are_seen_to_do_so() -> None:
    assert not any(_lets_go(lambda: sum(range(20_000))) for _ in range(20))


HASHER, CHUNKER, VERIFIER = Hasher("md5", "sha512"), Chunker(digests=["md5"]), Verifier(ID)
WAITING: dict[str, tuple[Call, Call]] = {
    "Hasher.length": (lambda t: HASHER.update(BYTES), lambda t: HASHER.length),
    "Hasher.algorithms": (lambda t: HASHER.update(BYTES), lambda t: HASHER.algorithms),
    "Hasher.digest": (lambda t: HASHER.update(BYTES), lambda t: HASHER.digest("md5")),
    "Hasher.hexdigest": (lambda t: HASHER.update(BYTES), lambda t: HASHER.hexdigest("md5")),
    "Hasher.digests": (lambda t: HASHER.update(BYTES), lambda t: HASHER.digests()),
    "Hasher.state": (lambda t: HASHER.update(BYTES), lambda t: HASHER.state()),
    "Hasher.copy": (lambda t: HASHER.update(BYTES), lambda t: HASHER.copy()),
    "Hasher.update, of little": (lambda t: HASHER.update(BYTES), lambda t: HASHER.update(b"x")),
    "Chunker.length": (lambda t: CHUNKER.feed(BYTES), lambda t: CHUNKER.length),
    "Chunker.hexdigest": (lambda t: CHUNKER.feed(BYTES), lambda t: CHUNKER.hexdigest("md5")),
    "Chunker.digests": (lambda t: CHUNKER.feed(BYTES), lambda t: CHUNKER.digests()),
    "Chunker.finish": (lambda t: CHUNKER.feed(BYTES), lambda t: CHUNKER.finish()),
    "Verifier.finish": (lambda t: VERIFIER.update(BYTES), lambda t: VERIFIER.finish()),
    **{
        f"HostTable.{name}": (lambda t: t.table.place_many([(ONE_VCPU, 20_000)]), call)
        for name, call in {
            "__len__": lambda t: len(t.table),
            "__contains__": lambda t: "h1" in t.table,
            "set_enabled": lambda t: t.table.set_enabled("h1", True),
            "set_used": lambda t: t.table.set_used("h1", {"VCPU": 0}),
            "add_used": lambda t: t.table.add_used("h1", {"VCPU": 0}),
            "add_member": lambda t: t.table.add_member("g1", "h1", 0),
            "claim": lambda t: t.table.claim({"host": "h1", "allocations": {"h1": {"VCPU": 1}}}),
            "release": lambda t: t.table.release({"host": "h1", "allocations": {"h1": {"VCPU": 1}}}),
            "set_host": Things.add_host,
            "remove_host": lambda t: t.table.remove_host("nobody"),
            "set_group": lambda t: t.table.set_group("all", t.members),
            "snapshot": lambda t: t.table.snapshot(),
            "set_cells_used": lambda t: t.table.set_cells_used("h1", []),
            "memory_bytes": lambda t: t.table.memory_bytes,
        }.items()
    },
    **{
        f"FlowState.{name}": (lambda t: t.touched().commit(), call)
        for name, call in {
            "bind": lambda t: t.state.bind("q", None),
            "restore_number": lambda t: t.state.restore_number("network", "n1", 1),
            "take_changed_numbers": lambda t: t.state.take_changed_numbers(),
            "plug_facts": lambda t: t.state.plug_facts("q"),
            "port_at": lambda t: t.state.port_at("10.0.0.1"),
            "stats": lambda t: t.state.stats(),
            "put": lambda t: t.state.put("network", "n1", _network(1, next(t.turns) % 1000)),
            "drop": Things.drop_network,
            "set_uplinks": lambda t: t.touched(),
        }.items()
    },
}
"""Short calls, and those that are long on big tables only, with the long one that another thread is in."""


def _waits_without(occupy: Callable[[], object], call: Callable[[], object]) -> bool:
    """Whether a third thread runs while ``call`` waits for the thread that is in ``occupy``."""
    begun = threading.Lock()
    begun.acquire()

    def work() -> None:
        begun.release()
        occupy()

    with _no_switching():
        thread = threading.Thread(target=work)
        thread.start()
        begun.acquire()
        ran = _lets_go(call)
    thread.join()
    return ran


@pytest.mark.parametrize("name", WAITING)
def test_calls_that_wait_for_another_thread_release_the_interpreter(name: str, things: Things) -> None:
    occupy, call = WAITING[name]
    waits = (_waits_without(lambda: occupy(things), lambda: call(things)) for _ in range(TRIES))
    assert any(waits), f"{name} held it {TRIES} times"


def test_every_call_is_in_one_of_the_lists() -> None:
    """A new one is to be thought about."""
    there = set()
    for name, thing in vars(_core).items():
        if name.startswith("__") or (isinstance(thing, type) and issubclass(thing, Exception)):
            continue
        if isinstance(thing, type):
            kept = ("__new__", "__len__", "__contains__")
            own = [member for member in vars(thing) if not member.startswith("_") or member in kept]
            constructed = {"Decision", "Batch", "Piece", "SwitchEvent", "NetlinkReport", "FlowDiff"}
            there |= {f"{name}.{member}" for member in own if not (member == "__new__" and name in constructed)}
        elif callable(thing):
            there.add(name)
    listed = {name.split(",")[0] for name in [*LONG, *WAITING, *CONVERTS]} - {"_core.IMAGE_HEADER_BYTES"}
    known_from_elsewhere = {"FlowState.describe"}
    """Needs a switch: ``tests/real``."""
    assert there - listed == known_from_elsewhere
    assert listed - there == set()
