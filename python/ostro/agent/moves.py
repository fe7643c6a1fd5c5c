"""Servers on their way: what this host does for one that comes here or leaves.

A host that is left tries each migration once. Which one it has tried is in the domain's memo, written before the attempt begins, so an agent that
starts again in the midst of one never sends the guest a second time, to a host that may not expect it any more. The attempt itself is the
hypervisor's: it goes on without the agent, and is looked after again by the next.

What is reported of a migration that is over:

- sent, and the domain is gone or off because it was: **migrated**;
- the domain runs here and no attempt is under way: **failed**, or cancelled;
- the domain stands still, or is off and nobody knows why: **unknown**. The other host is asked, and this one does nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import msgspec
import structlog
import trio

from ostro.agent import transfer
from ostro.agent.drivers.hypervisor import Domain, DomainSpec, Memo, Progress
from ostro.agent.host import Host
from ostro.agent.mirror import Held, Key
from ostro.model.errors import Conflict, OstroError, Unavailable
from ostro.model.wishes import (
    ComingWish,
    GoingWish,
    MigrationReport,
    MigrationState,
    Noun,
    Phase,
    Power,
    Report,
    ServerWish,
)

log = structlog.get_logger()

GRACE_S = 30.0
"""How long a guest may take to power off before it is switched off."""
LOOK_AGAIN_S = 1.0
"""While a guest is under way."""
MakeSpec = Callable[[ServerWish], Awaitable[DomainSpec]]
FindAwaited = Callable[[ServerWish], Sequence[Key]]
_RUNS = (Power.ON, Power.PAUSED)


@dataclass
class Attempt:
    """One attempt to send a server, as far as this agent knows of it. ``over`` with a reason is one that failed."""

    migration_id: str
    since_s: float
    sending: bool = False
    over: bool = False
    reason: str = ""
    progress: Progress | None = None


class Moves:
    """Part of `ostro.agent.servers.Servers`, which calls `receive` and `leave` for servers with such wishes."""

    def __init__(self, host: Host, make_spec: MakeSpec, find_awaited: FindAwaited) -> None:
        self._host = host
        self._make_spec = make_spec
        self._find_awaited = find_awaited
        self._attempts: dict[str, Attempt] = {}
        """By server: it goes one way at a time."""
        self._offered: dict[str, str] = {}
        """Servers, and the migrations for which their disks are offered."""
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Look after attempts, for ever."""
        async with trio.open_nursery() as self._nursery:
            await self._host.disks.run()
            await trio.sleep_forever()

    def forget(self, server_id: str) -> None:
        """The server doesn't move from here, or not any more. One that is being sent is remembered until that is over."""
        if not self._is_sending(server_id):
            self._attempts.pop(server_id, None)
        offered = self._offered.pop(server_id, "")
        if offered:
            self._host.disks.withdraw(offered)

    def _is_sending(self, server_id: str) -> bool:
        attempt = self._attempts.get(server_id)
        return attempt is not None and attempt.sending

    def _attempt_of(self, server_id: str, going: GoingWish) -> Attempt | None:
        found = self._attempts.get(server_id)
        return found if found is not None and found.migration_id == going.migration_id else None

    # ---- coming ----------------------------------------------------------------------------------------------------

    async def receive(self, held: Held, wish: ServerWish, coming: ComingWish, have: Domain | None) -> float | None:
        """Be ready for a guest, or find that it has come."""
        host = self._host
        if coming.cold:
            return await self._receive_cold(held, wish, coming, have)
        if have is not None and not have.moving and have.memo.move == coming.migration_id:
            self._report(held, have, MigrationReport(coming.migration_id, MigrationState.MIGRATED))
            return None
        if coming.closed:
            if have is not None:
                await host.hypervisor.delete(wish.id)
            self._report(held, None, MigrationReport(coming.migration_id, MigrationState.FAILED))
            return None
        awaited = self._find_awaited(wish)
        if awaited:
            host.wait_for(awaited, (Noun.SERVER, wish.id))
            host.report_trouble(held, Phase.WORKING, f"Waiting for {awaited[0][0]} {awaited[0][1]}.")
            return LOOK_AGAIN_S
        host.fence.check()
        memo = Memo(0, wish.reboots, host.hypervisor.facts.boot_id, coming.migration_id)
        landing = await host.hypervisor.prepare_arrival(await self._make_spec(wish), memo)
        host.world.faults.hit("agent.server.expected")
        self._report(held, None, MigrationReport(coming.migration_id, MigrationState.RUNNING), landing=landing)
        return LOOK_AGAIN_S

    async def _receive_cold(
        self, held: Held, wish: ServerWish, coming: ComingWish, have: Domain | None
    ) -> float | None:
        """Have the root disk of a server that is off."""
        host = self._host
        awaited = self._find_awaited(wish)
        if awaited:
            host.wait_for(awaited, (Noun.SERVER, wish.id))
            host.report_trouble(held, Phase.WORKING, f"Waiting for {awaited[0][0]} {awaited[0][1]}.")
            return LOOK_AGAIN_S
        if not wish.root_volume_id and await host.block.find_root(wish.id) is None:
            if not coming.offer:
                raise Conflict("The root disk is not in storage that this host shares with the one that has it.")
            host.fence.check()
            async with aclosing(transfer.fetch(coming.offer, host.identity)) as chunks:
                await host.block.receive_root(wish.id, wish.image_id, chunks)
            host.world.faults.hit("agent.server.fetched")
            await self._settle_offer(wish, coming)
        self._report(held, have, MigrationReport(coming.migration_id, MigrationState.RUNNING))
        return None

    async def _settle_offer(self, wish: ServerWish, coming: ComingWish) -> None:
        """Tell the other host that the disk is here. If it doesn't hear it, its offer ends by itself."""
        try:
            await transfer.settle(coming.offer, self._host.identity)
        except OstroError as error:
            log.warning("an offer of a disk is left to expire", id=wish.id, reason=error.message, detail=error.detail)

    # ---- going -----------------------------------------------------------------------------------------------------

    async def leave(self, held: Held, wish: ServerWish, going: GoingWish, have: Domain | None) -> float | None:
        """Do what is wished of the host that is left."""
        if going.left:
            return await self._let_go(held, wish, going, have)
        if going.cold:
            return await self._leave_cold(held, wish, going, have)
        return await self._send(held, wish, going, have)

    async def _send(self, held: Held, wish: ServerWish, going: GoingWish, have: Domain | None) -> float | None:
        """Send the guest, once, and look after it until that is over."""
        if have is not None and have.moving:
            return await self._look_after(held, wish, going, have)
        if self._is_sending(wish.id):
            return LOOK_AGAIN_S
        if have is None or have.power not in _RUNS or have.memo.move == going.migration_id:
            self._report(held, have, self._outcome(wish.id, going, have))
            return None
        if going.abort:
            self._report(held, have, MigrationReport(going.migration_id, MigrationState.CANCELLED, "It was aborted."))
            return None
        self._host.fence.check()
        await self._host.hypervisor.note(wish.id, msgspec.structs.replace(have.memo, move=going.migration_id))
        self._host.world.faults.hit("agent.server.going")
        assert self._nursery is not None, "the keeper runs"
        attempt = self._attempts[wish.id] = Attempt(going.migration_id, trio.current_time(), sending=True)
        self._nursery.start_soon(self._attempt, wish.id, going, attempt)
        self._report(held, have, MigrationReport(going.migration_id, MigrationState.RUNNING))
        return LOOK_AGAIN_S

    async def _leave_cold(self, held: Held, wish: ServerWish, going: GoingWish, have: Domain | None) -> float | None:
        """Switch the server off, and let its disk be fetched."""
        if have is not None and have.power in _RUNS:
            await self._host.hypervisor.stop(wish.id, GRACE_S if have.power is Power.ON else 0.0)
            self._host.world.faults.hit("agent.server.switched_off")
            have = msgspec.structs.replace(have, power=Power.OFF)
        path = "" if wish.root_volume_id else await self._host.block.root_file(wish.id)
        offer = ""
        if path:
            self._offered[wish.id] = going.migration_id
            offer = self._host.disks.offer(going.migration_id, path)
        self._report(held, have, MigrationReport(going.migration_id, MigrationState.RUNNING), offer=offer)
        return transfer.OFFER_LEAST_S / 2 if offer else None

    async def _attempt(self, server_id: str, going: GoingWish, attempt: Attempt) -> None:
        """One attempt, to its end."""
        try:
            await self._host.hypervisor.migrate(server_id, going.landing, copy=going.copy)
            attempt.over = True
        except OstroError as error:
            log.warning("a migration failed", id=server_id, reason=error.message, detail=error.detail)
            attempt.over, attempt.reason = True, error.message
        finally:
            attempt.sending = False
        self._host.world.faults.hit("agent.server.sent")
        self._host.wake([(Noun.SERVER, server_id)])

    async def _look_after(self, held: Held, wish: ServerWish, going: GoingWish, have: Domain) -> float:
        """An attempt is under way, this agent's or one before's."""
        hypervisor = self._host.hypervisor
        attempt = self._attempt_of(wish.id, going)
        if attempt is None:
            attempt = self._attempts[wish.id] = Attempt(going.migration_id, trio.current_time())
        late = bool(going.timeout_s) and trio.current_time() - attempt.since_s > going.timeout_s
        if going.abort or (late and not going.timeout_force):
            await hypervisor.abort_migration(wish.id)
        elif going.force or late:
            await hypervisor.force_migration(wish.id)
        try:
            attempt.progress = await hypervisor.migration(wish.id) or attempt.progress
        except Unavailable as error:
            # It has much to send, and answers late.
            log.info("how far a migration has come isn't known now", id=wish.id, reason=error.message)
        amounts = {} if attempt.progress is None else msgspec.structs.asdict(attempt.progress)
        self._report(held, have, MigrationReport(going.migration_id, MigrationState.RUNNING, **amounts))
        return LOOK_AGAIN_S

    def _outcome(self, server_id: str, going: GoingWish, have: Domain | None) -> MigrationReport:
        """What has become of an attempt that is not under way; see the module."""
        attempt = self._attempt_of(server_id, going)
        ended = attempt if attempt is not None and attempt.over else None
        if (ended is not None and not ended.reason) or (have is not None and have.sent):
            return MigrationReport(going.migration_id, MigrationState.MIGRATED)
        if have is not None and have.power is Power.ON:
            state = MigrationState.CANCELLED if going.abort else MigrationState.FAILED
            reason = ended.reason if ended is not None else "The attempt was broken off."
            return MigrationReport(going.migration_id, state, reason)
        if have is not None and ended is not None and have.memo.move == going.migration_id:
            return MigrationReport(going.migration_id, MigrationState.FAILED, ended.reason)
        return MigrationReport(going.migration_id, MigrationState.UNKNOWN)

    async def _let_go(self, held: Held, wish: ServerWish, going: GoingWish, have: Domain | None) -> float | None:
        """The server is another host's: keep nothing of it but what goes with its absence.

        What is still being sent isn't touched before that is over: it ends by itself, and the other host may need it to.
        """
        if self._is_sending(wish.id) or (have is not None and have.moving):
            return LOOK_AGAIN_S
        self.forget(wish.id)
        if have is not None:
            await self._host.hypervisor.delete(wish.id)
            self._host.world.faults.hit("agent.server.let_go")
        await self._host.block.hand_over_root(wish.id, going.heir)
        self._report(held, None, MigrationReport(going.migration_id, MigrationState.MIGRATED))
        return None

    def _report(
        self, held: Held, have: Domain | None, migration: MigrationReport, landing: str = "", offer: str = ""
    ) -> None:
        power = Power.UNKNOWN if have is None else have.power
        attached = [] if have is None else have.attached
        reboots = held.body(ServerWish).reboots
        self._host.report(
            Report(
                Noun.SERVER,
                held.wish.id,
                held.generation,
                Phase.READY,
                power=power,
                reboots=reboots,
                attached=attached,
                backend="" if have is None else have.root_backend,
                landing=landing,
                offer=offer,
                migration=migration,
            )
        )
