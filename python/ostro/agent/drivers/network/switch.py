"""The Rust core's connection to the bridge, on trio: commands that return when they are answered, and the rest as log lines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
import trio

from ostro._core import FlowDiff, FlowState, Switch, SwitchEvent
from ostro.model.errors import Unavailable
from ostro.runtime.beside import beside

log = structlog.get_logger()

ANSWER_S = 30.0
"""A switch swallows 100,000 flows in about 2 s; one that takes 30 s is not answering."""
REFUSED_SHOWN_MOST = 5


class SwitchLink:
    """See the module. Made by `open_`."""

    def __init__(self, path: Path, state: FlowState, watched: str) -> None:
        self._switch = Switch(str(path), state)
        self._watched = watched
        self._waiting: dict[int, list[SwitchEvent | trio.Event]] = {}
        self._signs = 0
        self._sign = trio.Event()

    async def sync(self, diff: FlowDiff) -> SwitchEvent:
        """Send a difference; returns when the switch has confirmed it.

        Raises:
            Unavailable: the switch is away or doesn't answer. It gets the difference when it is back.
        """
        return await self._answer(self._switch.sync(diff), "take the flows")

    async def audit(self) -> SwitchEvent:
        """Compare the switch with what it should have, and mend it.

        Raises:
            Unavailable: the switch is away or doesn't answer.
        """
        return await self._answer(self._switch.audit(), "give its flows")

    async def dump(self) -> SwitchEvent:
        """Read the switch's flows.

        Raises:
            Unavailable: the switch is away or doesn't answer.
        """
        return await self._answer(self._switch.dump(), "give its flows")

    async def sign(self, after: int = 0) -> int:
        """Wait for a later sign than the ``after``-th, and return which it is: that the switch is there, or that the watched
        port has come, gone or changed. The first is the first connection."""
        while self._signs <= after:
            await self._sign.wait()
        return self._signs

    async def run(self) -> None:
        """Take what the switch tells, for ever."""
        while True:
            await trio.lowlevel.wait_readable(self._switch.fileno())
            for event in self._switch.events():
                self._take(event)

    def close(self) -> None:
        """End the connection; the switch keeps its flows."""
        self._switch.close()

    async def _answer(self, ticket: int, what: str) -> SwitchEvent:
        arrived = trio.Event()
        slot: list[SwitchEvent | trio.Event] = [arrived]
        self._waiting[ticket] = slot
        try:
            with trio.move_on_after(ANSWER_S):
                await arrived.wait()
                event = slot[0]
                assert isinstance(event, SwitchEvent), "set before the waiter is woken"
                if event.kind != "away":
                    return event
        finally:
            del self._waiting[ticket]
        raise Unavailable(f"Open vSwitch does not {what}.", retry_after_s=2)

    def _take(self, event: SwitchEvent) -> None:
        slot = self._waiting.get(event.ticket)
        if slot is not None:
            arrived, slot[0] = slot[0], event
            assert isinstance(arrived, trio.Event), "a ticket is answered once"
            arrived.set()
        if event.kind in ("synced", "refilled") and event.lines:
            log.error("the switch refuses flows", count=len(event.lines), first=event.lines[:REFUSED_SHOWN_MOST])
        tell = _TELL.get(event.kind)
        if tell is not None:
            tell(event)
        if event.kind == "connected" or (event.kind == "port" and event.lines == [self._watched]):
            self._signs += 1
            sign, self._sign = self._sign, trio.Event()
            sign.set()


def _tell_refilled(event: SwitchEvent) -> None:
    added, changed, removed = event.counts
    log.warning("the switch had lost flows and has them again", added=added, changed=changed, removed=removed)


_TELL: dict[str, Callable[[SwitchEvent], None]] = {
    "connected": lambda event: log.info("the switch is connected"),
    "disconnected": lambda event: log.warning("the switch is away", reason=event.lines[0]),
    "refilled": _tell_refilled,
}


@asynccontextmanager
async def open_(path: Path, state: FlowState, watched: str) -> AsyncIterator[SwitchLink]:
    """A link to the bridge behind the socket ``path``, there yet or not; on leaving it is closed and the flows stay.

    ``watched`` is the name of a port whose comings and goings are signs (`SwitchLink.sign`).
    """
    link = SwitchLink(path, state, watched)
    try:
        async with beside(link.run):
            yield link
    finally:
        link.close()
