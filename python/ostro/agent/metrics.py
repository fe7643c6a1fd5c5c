"""``/metrics`` of an agent: one page over HTTP for Prometheus, on an address of the operator's choice."""

from __future__ import annotations

from functools import partial

import trio

from ostro.runtime.metrics import CONTENT_TYPE
from ostro.runtime.world import World

HEAD_MOST_BYTES = 8192
PATIENCE_S = 10.0
END = b"\r\n\r\n"


async def serve_metrics(
    world: World, listeners: list[trio.SocketListener], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Answer until cancelled."""
    task_status.started()
    await trio.serve_listeners(partial(_answer, world), listeners)


async def _answer(world: World, stream: trio.SocketStream) -> None:
    """One request of one connection. Whoever is slow or speaks nonsense gets nothing."""
    async with stream:
        with trio.move_on_after(PATIENCE_S):
            try:
                head = b""
                while END not in head:
                    part = await stream.receive_some(HEAD_MOST_BYTES)
                    head += part
                    if not part or len(head) > HEAD_MOST_BYTES:
                        return
                await stream.send_all(_reply(world, head))
            except trio.BrokenResourceError:
                return


def _reply(world: World, head: bytes) -> bytes:
    target = head.partition(b"\r\n")[0].split(b" ")
    if target[:2] != [b"GET", b"/metrics"]:
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    page = world.metrics_page()
    lines = (
        f"HTTP/1.1 200 OK\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len(page)}\r\nConnection: close\r\n\r\n"
    )
    return lines.encode() + page
