"""The seam between Python and the Rust core: panics are exceptions, long calls let others run, objects are shared by threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import trio

from ostro._core import Bug, Chunker, Corrupt, FlowState, Hasher, HostTable, Request, update_together, verify_chunk

BYTES = bytes(32 << 20)
NETWORK = {"name": "n", "segment": {"type": "vxlan", "id": 1}, "mtu": 1450, "service_mac": "02:00:00:00:00:01"}
ONE_VCPU = Request({"resources": {"VCPU": 1}})


def _table(hosts: int) -> HostTable:
    table = HostTable()
    for number in range(hosts):
        table.set_host(f"h{number}", {"inventories": {"VCPU": {"total": 100}}})
    return table


def test_a_panic_is_an_exception_and_poisons_nothing() -> None:
    table = _table(2)
    with pytest.raises(Bug, match="panicked: the roof is on fire"):
        table._panic("the roof is on fire")
    assert issubclass(Bug, RuntimeError)
    assert table.place(ONE_VCPU, limit=2).hosts
    table.add_used("h0", {"VCPU": 1})

    def panic() -> None:
        with pytest.raises(Bug):
            table._panic("in another thread")

    thread = threading.Thread(target=panic)
    thread.start()
    thread.join()
    assert len(table) == 2 and table.remove_host("h1")


def _place_many() -> object:
    return _table(100).place_many([(ONE_VCPU, 9000)], all_or_nothing=False)


def _how_many(table: HostTable) -> Callable[[], object]:
    asked = [Request({"resources": {"VCPU": 1 + n}}) for n in range(40)]
    return lambda: [table.how_many(request) for request in asked]


def _verify() -> None:
    for _ in range(6):
        with pytest.raises(Corrupt):
            verify_chunk(BYTES, "0" * 64)


LONG: dict[str, Callable[[], Callable[[], object]]] = {
    "Hasher.update": lambda: lambda: Hasher("md5", "sha512").update(BYTES),
    "Chunker.feed": lambda: lambda: Chunker(digests=["md5"]).feed(BYTES),
    "update_together": lambda: lambda: update_together([(Hasher("md5", "sha256"), BYTES) for _ in range(2)]),
    "verify_chunk": lambda: _verify,
    "HostTable.place_many": lambda: _place_many,
    "HostTable.how_many": lambda: _how_many(_table(3000)),
}


def _noted_in_the_middle(call: Callable[[], object]) -> bool:
    """Whether another thread ran in the middle third of the call."""
    notes, over = [0.0], threading.Event()

    def note() -> None:
        while not over.is_set():
            notes.append(time.perf_counter())

    thread = threading.Thread(target=note)
    thread.start()
    try:
        started_s = time.perf_counter()
        call()
        ended_s = time.perf_counter()
    finally:
        over.set()
        thread.join()
    third_s = (ended_s - started_s) / 3
    return any(started_s + third_s < note_s < ended_s - third_s for note_s in notes)


@pytest.mark.parametrize("name", LONG)
def test_another_thread_runs_during_long_calls(name: str) -> None:
    """A call that held the interpreter would never let the other thread note anything from its middle; a busy machine only does so often."""
    call = LONG[name]()
    assert any(_noted_in_the_middle(call) for _ in range(50)), f"{name} held the interpreter 50 times"


def test_objects_are_shared_by_threads() -> None:
    hasher, state, table = Hasher("sha256"), FlowState(), _table(50)

    def work(number: int) -> None:
        for turn in range(50):
            hasher.update(b"x" * 10_000)
            id_ = f"net-{number}-{turn}"
            state.put("network", id_, json.dumps({"id": id_, **NETWORK}).encode())
            state.commit()
            table.add_used(f"h{turn}", {"VCPU": 1})
            table.place(ONE_VCPU, seed=number)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(work, range(4))) == [None] * 4
    assert hasher.length == 4 * 50 * 10_000
    assert state.stats()["commits"] == 200
    assert table.how_many(ONE_VCPU) == 50 * 100 - 200


IN_EACH_INTERPRETER = """
from ostro._core import Bug, Hasher, HostTable, Request

table = HostTable()
for number in range(50):
    table.set_host(f"h{number}", {"inventories": {"VCPU": {"total": 100}}})
try:
    table._panic("in one of several")
except Bug:
    pass
hasher = Hasher("md5", "sha256", "blake3")
for _ in range(20):
    hasher.update(b"x" * 100_000)
hosts = table.place(Request({"resources": {"VCPU": 1}}), seed=7, limit=3).hosts
print(f"{hosts} {hasher.digests()}\\n", end="", flush=True)
"""
WORKERS = """
import sys, threading
import _xxsubinterpreters as interpreters

def work():
    one = interpreters.create()
    interpreters.run_string(one, sys.argv[1])
    interpreters.destroy(one)

threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_workers_of_several_interpreters_have_the_core_to_themselves() -> None:
    """Interpreters of one process at once, each in a thread of its own, and another process: all find the same, a panic ends none."""
    environment = {**os.environ, "RUST_BACKTRACE": "0"}

    def said_by(*words: str) -> list[str]:
        command = [sys.executable, "-c", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    alone = said_by(IN_EACH_INTERPRETER)
    assert len(alone) == 1 and "'h" in alone[0]
    assert said_by(WORKERS, IN_EACH_INTERPRETER) == alone * 3


async def test_trio_threads_share_the_core_and_the_loop_goes_on() -> None:
    hashers, turns = [Hasher("md5", "sha256") for _ in range(3)], 0

    async def work(hasher: Hasher) -> None:
        await trio.to_thread.run_sync(hasher.update, BYTES)

    async with trio.open_nursery() as nursery:
        for hasher in hashers:
            nursery.start_soon(work, hasher)
        while not all(hasher.length for hasher in hashers):
            await trio.lowlevel.checkpoint()
            turns += 1
    assert turns > 1
    assert len({hasher.hexdigest("sha256") for hasher in hashers}) == 1
