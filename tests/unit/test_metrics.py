"""Metrics: loops, the agent's page, and request ids in logs."""

from __future__ import annotations

import json
import random
from io import StringIO
from pathlib import Path

import pytest
import structlog
import trio
from trio.testing import MockClock

from ostro.agent.metrics import serve_metrics
from ostro.runtime.log import REQUEST_ID, configure_logging
from ostro.runtime.metrics import LoopFigures, Metrics
from ostro.runtime.reconciler import Reconciler
from ostro.runtime.threads import Pool
from ostro.runtime.world import World

PATIENCE_S = 30.0


async def test_a_loop_tells_its_runs(autojump_clock: MockClock) -> None:
    loop = Metrics().loop("l")
    assert loop.figures() == LoopFigures(0, 0.0, 0, 0, None)
    with loop.run():
        await trio.sleep(3)
        assert loop.figures() == LoopFigures(1, 3.0, 0, 0, None)
    await trio.sleep(2)
    assert loop.figures() == LoopFigures(0, 0.0, 0, 1, 2.0)
    with pytest.raises(ValueError), loop.run():
        raise ValueError
    assert loop.figures() == LoopFigures(1, 0.0, 1, 2, 0.0), "it has yet to be done"
    loop.pending = lambda: 7
    assert loop.figures().pending == 7


async def test_an_agents_page(world: World) -> None:
    loop = world.metrics.loop("servers")
    with loop.run():
        pass
    await world.threads.run(Pool("files", 3), int)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        await nursery.start(serve_metrics, world, listeners)

        async def ask(head: bytes) -> bytes:
            with trio.fail_after(PATIENCE_S):
                async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                    await stream.send_all(head)
                    return b"".join([part async for part in stream])

        page = await ask(b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n")
        assert page.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b'ostro_loop_runs_total{loop="servers"} 1.0' in page
        assert b'ostro_pool_size{of="files"} 3.0' in page
        assert (await ask(b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 404")
        assert await ask(b"x" * 9000) == b""
        nursery.cancel_scope.cancel()


async def test_a_reconciler_works_for_the_request_of_the_wish(autojump_clock: MockClock) -> None:
    seen: dict[str, str] = {}

    async def reconcile(name: str) -> None:
        seen[name] = REQUEST_ID.get()

    reconciler = Reconciler("r", reconcile, 2, random.Random(1), asked_by=lambda name: f"req-{name}")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reconciler.run)
        reconciler.wake(["a", "b"])
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert seen == {"a": "req-a", "b": "req-b"}
    assert REQUEST_ID.get() == ""
    assert reconciler.stats().idle_s == 1.0


def test_every_line_of_a_request_bears_its_id(tmp_path: Path) -> None:
    stream = StringIO()
    configure_logging("info", stream)
    try:
        token = REQUEST_ID.set("req-1")
        structlog.get_logger().info("one")
        structlog.get_logger().info("two", request_id="req-2")
        REQUEST_ID.reset(token)
        structlog.get_logger().info("three")
    finally:
        structlog.reset_defaults()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line.get("request_id") for line in lines] == ["req-1", "req-2", None]
