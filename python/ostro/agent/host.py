"""What the nouns of one agent share: the wishes, the book of reports, the drivers, and who waits for whom."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import msgspec
import structlog

from ostro.agent.drivers.block import Block
from ostro.agent.drivers.hypervisor import Hypervisor
from ostro.agent.drivers.network import Network
from ostro.agent.fence import Fence
from ostro.agent.identity import Identity
from ostro.agent.link import Link
from ostro.agent.mirror import Held, Key, Mirror
from ostro.agent.reports import Reports
from ostro.agent.transfer import DiskServer
from ostro.model.errors import Bug, Conflict, Invalid, NoCapacity, OstroError, Unsupported
from ostro.model.wishes import Noun, Phase, Report
from ostro.runtime.reconciler import Reconciler
from ostro.runtime.world import World

log = structlog.get_logger()

GIVE_UP = (Invalid, Conflict, NoCapacity, Unsupported, Bug)
"""Errors that trying again doesn't mend: the wish has to change, or somebody has to act."""


class Keeper(Protocol):
    """Keeps the objects of one noun, or of several that belong together, as wished."""

    nouns: frozenset[Noun]

    def wake(self, keys: Iterable[Key]) -> None:
        """Look at these objects again. Never blocks; safe to call for anything at any time."""
        ...

    async def inspect(self) -> None:
        """Look at the whole host, and wake what isn't as wished or not as last reported, orphans included.

        Raises:
            Unavailable: the host's part can't be looked at now; it will be later.
        """
        ...

    async def run(self) -> None:
        """Work for ever."""
        ...


@dataclass
class Host:
    """Shared by an agent's keepers. Not thread-safe."""

    world: World
    link: Link
    hypervisor: Hypervisor
    network: Network
    block: Block
    mirror: Mirror
    reports: Reports
    wake: Callable[[Iterable[Key]], None]
    """Has objects looked at again, whatever their nouns."""
    fence: Fence
    disks: DiskServer
    identity: Identity
    orphans_may_go: bool = False
    """Whether what nobody wishes for may be removed: only where the control plane surely means this host."""
    _waiting: dict[Key, dict[Key, None]] = field(default_factory=dict)

    def asked_by(self, noun: Noun, id: str) -> str:
        """The request that an object's wish comes from; empty when none is known."""
        held = self.mirror.find(noun, id)
        return "" if held is None else held.wish.request_id

    def loop(
        self, name: str, reconcile: Callable[[str], Awaitable[float | None]], width: int, noun: Noun
    ) -> Reconciler:
        """A reconciler of this host's objects of a noun, which is shown among the process's loops."""
        asked_by = partial(self.asked_by, noun)
        reconciler = Reconciler(name, reconcile, width, self.world.random, asked_by=asked_by)
        self.world.metrics.watch_loop(name, reconciler.stats)
        return reconciler

    def wait_for(self, keys: Iterable[Key], waiter: Key) -> None:
        """Wake ``waiter`` once, when something new is reported of any of ``keys``."""
        for key in keys:
            self._waiting.setdefault(key, {})[waiter] = None

    def report(self, report: Report) -> None:
        """Note a report and wake those who waited for it."""
        if self.reports.put(report):
            log.debug(
                "found",
                noun=report.noun,
                id=report.id,
                generation=report.generation,
                phase=report.phase,
                request_id=self.asked_by(report.noun, report.id),
            )
            waiters = self._waiting.pop((report.noun, report.id), None)
            if waiters:
                self.wake(waiters)

    def is_ready(self, noun: Noun, id: str) -> bool:
        """Whether the object was last reported ready. Raises Conflict when it has failed, with its reason."""
        report = self.reports.find(noun, id)
        if report is not None and report.phase is Phase.FAILED:
            raise Conflict(f"Its {noun.replace('_', ' ')} {id} failed: {report.reason}")
        return report is not None and report.phase is Phase.READY

    def gave_up_on(self, held: Held) -> Report | None:
        """The report of failure at the wish's very generation, if there is one."""
        report = self.reports.find(held.wish.noun, held.wish.id)
        gave_up = report is not None and report.phase is Phase.FAILED and report.generation == held.generation
        return report if gave_up else None

    @contextmanager
    def reporting_trouble(self, held: Held) -> Iterator[None]:
        """Report an error in the block: one that lasts ends the work on this generation, another goes on to be retried."""
        try:
            yield
        except GIVE_UP as error:
            log.warning("giving up on a wish", noun=held.wish.noun, id=held.wish.id, reason=error.message)
            self.report_trouble(held, Phase.FAILED, error.message)
        except OstroError as error:
            self.report_trouble(held, Phase.WORKING, error.message)
            raise

    def report_trouble(self, held: Held, phase: Phase, reason: str) -> None:
        """Report that a wish isn't carried out, with what was last found of its object."""
        noun, id_ = held.wish.noun, held.wish.id
        last = self.reports.find(noun, id_) or Report(noun, id_, 0, phase)
        self.report(msgspec.structs.replace(last, generation=held.generation, phase=phase, reason=reason))
