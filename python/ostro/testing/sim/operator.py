"""The one who runs the cloud: moves servers between hosts, drains hosts, declares them dead and has their servers started elsewhere."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from ostro.testing.checkers.incarnations import Incarnations
from ostro.testing.sim.tenants import COMPUTE, Caller
from ostro.testing.sim.trace import Trace

SERVICES = f"{COMPUTE}/os-services"
EVERYBODYS = f"{COMPUTE}/servers/detail?all_tenants=1"
DRAINED_S = (5.0, 60.0)
LIVE = {"host": None, "block_migration": "auto"}


class Operator:
    """As an administrator does it by the API."""

    def __init__(self, caller: Caller, trace: Trace, seed: int, incarnations: Incarnations) -> None:
        self.caller = caller
        self._trace = trace
        self._rng = random.Random(f"{seed}/operator")
        self._incarnations = incarnations
        self._wants: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self._migrate_live, 14),
            (self._migrate_cold, 7),
            (self._hurry_a_migration, 8),
            (self._end_a_resize, 8),
            (self._evacuate, 6),
            (self._drain, 3),
            (self._change_a_host, 5),
            (self._declare_dead, 2),
        ]

    async def want(self) -> None:
        """Do one thing."""
        acts, weights = zip(*self._wants, strict=True)
        (act,) = self._rng.choices(acts, weights)
        await act()

    async def give_up(self, name: str) -> None:
        """Declare a host dead and have its servers started on others."""
        for service in await self._services():
            if service["host"] == name:
                await self._switch(service, forced_down=True)
        for server in await self._servers():
            if server["OS-EXT-SRV-ATTR:host"] == name:
                await self._have_evacuated(server)

    async def make_up(self) -> None:
        """Every host is there again and takes servers."""
        for service in (await self.caller.insist("GET", SERVICES))["services"]:
            if service["forced_down"] or service["status"] != "enabled":
                body = {"status": "enabled", "forced_down": False}
                await self.caller.insist("PUT", f"{SERVICES}/{service['id']}", body)

    async def confirm_all(self) -> None:
        """Nothing waits to be confirmed, or to be taken back."""
        for server in await self._servers("VERIFY_RESIZE"):
            act = self._rng.choice(("confirmResize", "revertResize"))
            await self.caller.insist("POST", f"{COMPUTE}/servers/{server['id']}/action", {act: None})

    # ---- what it looks at ------------------------------------------------------------------------------------------

    async def _services(self) -> list[dict[str, Any]]:
        return await self.caller.listed(SERVICES, "services")

    async def _servers(self, *statuses: str) -> list[dict[str, Any]]:
        servers = await self.caller.listed(EVERYBODYS, "servers")
        return [server for server in servers if not statuses or server["status"] in statuses]

    async def _act(self, server_id: str, name: str, value: Any = None) -> None:
        await self.caller.call("POST", f"{COMPUTE}/servers/{server_id}/action", {name: value})

    async def _switch(self, service: dict[str, Any], **changes: Any) -> None:
        await self.caller.call("PUT", f"{SERVICES}/{service['id']}", changes)

    # ---- what it does ----------------------------------------------------------------------------------------------

    async def _somewhere(self) -> str | None:
        """Where to: where Placement says, or on a host by name."""
        services = await self._services()
        named = services and self._rng.random() < 0.4
        return str(self._rng.choice(services)["host"]) if named else None

    async def _migrate_live(self) -> None:
        if servers := await self._servers("ACTIVE"):
            where = {"host": await self._somewhere(), "block_migration": "auto"}
            await self._act(self._rng.choice(servers)["id"], "os-migrateLive", where)

    async def _migrate_cold(self) -> None:
        if servers := await self._servers("ACTIVE", "SHUTOFF"):
            host = await self._somewhere()
            await self._act(self._rng.choice(servers)["id"], "migrate", {"host": host} if host else None)

    async def _hurry_a_migration(self) -> None:
        for server in await self._servers("MIGRATING"):
            path = f"{COMPUTE}/servers/{server['id']}/migrations"
            for migration in await self.caller.listed(path, "migrations"):
                if self._rng.random() < 0.5:
                    await self.caller.call("DELETE", f"{path}/{migration['id']}")
                else:
                    await self.caller.call("POST", f"{path}/{migration['id']}/action", {"force_complete": None})

    async def _end_a_resize(self) -> None:
        if servers := await self._servers("VERIFY_RESIZE"):
            act = self._rng.choice(("confirmResize", "revertResize"))
            await self._act(self._rng.choice(servers)["id"], act)

    async def _have_evacuated(self, server: dict[str, Any]) -> None:
        self._incarnations.excuse(server["id"])
        await self._act(server["id"], "evacuate", {})

    async def _evacuate(self) -> None:
        down = {service["host"] for service in await self._services() if service["state"] == "down"}
        for server in await self._servers():
            if server["OS-EXT-SRV-ATTR:host"] in down:
                await self._have_evacuated(server)

    async def _drain(self) -> None:
        services = await self._services()
        if not services:
            return
        service = self._rng.choice(services)
        self._trace.note("drain", service["host"])
        await self._switch(service, status="disabled", disabled_reason="drained")
        for server in await self._servers("ACTIVE", "SHUTOFF"):
            if server["OS-EXT-SRV-ATTR:host"] == service["host"]:
                live = server["status"] == "ACTIVE"
                await self._act(server["id"], "os-migrateLive" if live else "migrate", LIVE if live else None)
        await trio.sleep(self._rng.uniform(*DRAINED_S))
        await self._switch(service, status="enabled")

    async def _change_a_host(self) -> None:
        if services := await self._services():
            changes = self._rng.choice(({"status": "enabled"}, {"status": "enabled"}, {"status": "disabled"}))
            await self._switch(self._rng.choice(services), **changes, forced_down=False)

    async def _declare_dead(self) -> None:
        """Though it is well, for all that anybody knows."""
        if services := await self._services():
            await self._switch(self._rng.choice(services), forced_down=True)
