"""Those who want things of the cloud: each has a project, networks and a group, and does one thing after another as dice say.

A call may fail in every way that a client must expect; what none may get is an answer of 500.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import trio

from ostro.model.errors import Unavailable
from ostro.testing.images import IMAGE_ID
from ostro.testing.sim.plane import ADMIN_PASSWORD
from ostro.testing.sim.trace import Trace
from ostro.testing.sim.wire import Wire

COMPUTE = "/compute/v2.1"
NETWORK = "/networking/v2.0"
VOLUME = "/volume/v3"
ANSWER_S = 60.0
PATIENCE = 100
EXPECTED_5XX = frozenset((503, 504))
FLAVORS = {"small": (1, 64, 1), "medium": (2, 128, 1), "large": (3, 512, 4)}


class Caller:
    """Somebody with a token."""

    def __init__(self, wire: Wire, trace: Trace, name: str) -> None:
        self.name = name
        self._wire = wire
        self._trace = trace
        self._token = ""

    async def log_in(self, user: str, password: str, project: str) -> None:
        """Get a token, trying until there is one."""
        domain = {"id": "default"}
        identity = {
            "methods": ["password"],
            "password": {"user": {"name": user, "domain": domain, "password": password}},
        }
        scope = {"project": {"name": project, "domain": domain}}
        body = orjson.dumps({"auth": {"identity": identity, "scope": scope}})
        parcel = await self._wire.exchange(self.name, "POST", "/identity/v3/auth/tokens", {}, body)
        assert parcel.answer is not None and parcel.answer.status == 201, parcel.answer
        self._token = parcel.answer_headers["X-Subject-Token"]

    async def call(self, method: str, target: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON; 0 when nobody knows how it went."""
        headers = {"X-Auth-Token": self._token, "OpenStack-API-Version": "compute 2.79"}
        data = b"" if body is None else orjson.dumps(body)
        with trio.move_on_after(ANSWER_S):
            try:
                parcel = await self._wire.exchange(self.name, method, target, headers, data)
            except Unavailable:
                return 0, {}
            assert parcel.answer is not None, "else it would have raised"
            status = parcel.answer.status
            if status >= 500 and status not in EXPECTED_5XX:
                self._trace.complain("answers", f"{method} {target}: {status} {parcel.answer.body[:300]!r}")
            return status, orjson.loads(parcel.answer.body) if parcel.answer.body[:1] in (b"{", b"[") else {}
        return 0, {}

    async def insist(self, method: str, target: str, body: Any = None) -> Any:
        """A call that must succeed in the end; for calm times."""
        for _ in range(PATIENCE):
            status, answer = await self.call(method, target, body)
            if 200 <= status < 300:
                return answer
            assert status == 0 or status >= 500, f"{method} {target}: {status} {answer}"
            await trio.sleep(1)
        raise AssertionError(f"{method} {target} does not succeed")

    async def listed(self, target: str, key: str) -> list[dict[str, Any]]:
        """What a list shows, nothing when it can't be had."""
        _status, answer = await self.call("GET", target)
        found: list[dict[str, Any]] = answer.get(key, [])
        return found


async def furnish(admin: Caller) -> None:
    """What everybody needs."""
    await admin.log_in("admin", ADMIN_PASSWORD, "admin")
    for name, (vcpus, ram_mb, disk_gb) in FLAVORS.items():
        flavor = {"name": name, "id": name, "vcpus": vcpus, "ram": ram_mb, "disk": disk_gb}
        await admin.insist("POST", f"{COMPUTE}/flavors", {"flavor": flavor})


class Tenant:
    """One project's user."""

    def __init__(self, wire: Wire, trace: Trace, seed: int, number: int) -> None:
        self.name = f"tenant-{number:03}"
        self.caller = Caller(wire, trace, self.name)
        self._number = number
        self._rng = random.Random(f"{seed}/{self.name}")
        self._trace = trace
        self._networks: list[str] = []
        self._wants: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self._create_server, 22),
            (self._delete_server, 12),
            (self._change_power, 14),
            (self._create_port, 6),
            (self._delete_port, 4),
            (self._regroup_port, 4),
            (self._create_volume, 8),
            (self._delete_volume, 5),
            (self._extend_volume, 3),
            (self._attach_volume, 8),
            (self._detach_volume, 6),
            (self._plug_port, 4),
            (self._unplug_port, 4),
            (self._create_group, 2),
            (self._change_rules, 5),
            (self._change_network, 2),
            (self._read_console, 2),
            (self._resize, 6),
            (self._end_resize, 8),
        ]

    async def move_in(self, admin: Caller) -> None:
        """Make the project, its user and its networks."""
        project = await admin.insist("POST", "/identity/v3/projects", {"project": {"name": self.name}})
        user_body = {"user": {"name": self.name, "password": self.name}}
        user = await admin.insist("POST", "/identity/v3/users", user_body)
        roles = await admin.insist("GET", "/identity/v3/roles?name=member")
        path = f"/identity/v3/projects/{project['project']['id']}/users/{user['user']['id']}/roles"
        await admin.insist("PUT", f"{path}/{roles['roles'][0]['id']}")
        await self.caller.log_in(self.name, self.name, self.name)
        # The same addresses as everybody's, and one network so small that it fills up.
        for cidr in ("10.0.0.0/24", "10.0.1.0/28"):
            made = await self.caller.insist("POST", f"{NETWORK}/networks", {"network": {"name": cidr}})
            network_id = made["network"]["id"]
            subnet = {"network_id": network_id, "ip_version": 4, "cidr": cidr}
            await self.caller.insist("POST", f"{NETWORK}/subnets", {"subnet": subnet})
            self._networks.append(network_id)

    async def want(self) -> None:
        """Do one thing."""
        acts, weights = zip(*self._wants, strict=True)
        (act,) = self._rng.choices(acts, weights)
        await act()

    # ---- servers ---------------------------------------------------------------------------------------------------

    async def _servers(self, *statuses: str) -> list[dict[str, Any]]:
        servers = await self.caller.listed(f"{COMPUTE}/servers/detail", "servers")
        return [s for s in servers if not statuses or s["status"] in statuses]

    async def _some(self, things: list[dict[str, Any]]) -> str:
        return str(self._rng.choice(things)["id"]) if things else ""

    async def _create_server(self) -> None:
        rng = self._rng
        server: dict[str, Any] = {"name": "s", "flavorRef": rng.choice(list(FLAVORS)), "imageRef": IMAGE_ID}
        match rng.randrange(6):
            case 0:
                server["networks"] = "none"
            case 1:
                server["networks"] = [{"uuid": id_} for id_ in self._networks]
            case 2:
                port_id = await self._some(await self._free_ports())
                server["networks"] = [{"port": port_id}] if port_id else "none"
            case 3:
                root = {"source_type": "image", "destination_type": "volume", "boot_index": 0, "uuid": IMAGE_ID}
                mapping = {**root, "volume_size": 1, "delete_on_termination": rng.random() < 0.7}
                server |= {"imageRef": "", "networks": "none", "block_device_mapping_v2": [mapping]}
            case _:
                server["networks"] = [{"uuid": rng.choice(self._networks)}]
                server["max_count"] = rng.choice((1, 1, 3))
        await self.caller.call("POST", f"{COMPUTE}/servers", {"server": server})

    async def _delete_server(self) -> None:
        if server_id := await self._some(await self._servers()):
            await self.caller.call("DELETE", f"{COMPUTE}/servers/{server_id}")

    async def _change_power(self) -> None:
        act = self._rng.choice(("os-stop", "os-start", "reboot", "reboot"))
        kind = self._rng.choice(("SOFT", "HARD"))
        if server_id := await self._some(await self._servers("ACTIVE", "SHUTOFF", "ERROR")):
            body = {act: {"type": kind} if act == "reboot" else None}
            await self.caller.call("POST", f"{COMPUTE}/servers/{server_id}/action", body)

    async def _resize(self) -> None:
        if server_id := await self._some(await self._servers("ACTIVE", "SHUTOFF")):
            body = {"resize": {"flavorRef": self._rng.choice(list(FLAVORS))}}
            await self.caller.call("POST", f"{COMPUTE}/servers/{server_id}/action", body)

    async def _end_resize(self) -> None:
        act = self._rng.choice(("confirmResize", "revertResize"))
        if server_id := await self._some(await self._servers("VERIFY_RESIZE")):
            await self.caller.call("POST", f"{COMPUTE}/servers/{server_id}/action", {act: None})

    async def _read_console(self) -> None:
        if server_id := await self._some(await self._servers("ACTIVE")):
            await self.caller.call("POST", f"{COMPUTE}/servers/{server_id}/action", {"os-getConsoleOutput": {}})

    # ---- network ---------------------------------------------------------------------------------------------------

    async def _free_ports(self) -> list[dict[str, Any]]:
        ports = await self.caller.listed(f"{NETWORK}/ports?device_id=", "ports")
        return [port for port in ports if not port["device_owner"]]

    async def _create_port(self) -> None:
        port = {"network_id": self._rng.choice(self._networks), "name": "p"}
        await self.caller.call("POST", f"{NETWORK}/ports", {"port": port})

    async def _delete_port(self) -> None:
        if port_id := await self._some(await self._free_ports()):
            await self.caller.call("DELETE", f"{NETWORK}/ports/{port_id}")

    async def _regroup_port(self) -> None:
        groups = await self.caller.listed(f"{NETWORK}/security-groups", "security_groups")
        ports = await self.caller.listed(f"{NETWORK}/ports", "ports")
        if port_id := await self._some(ports):
            chosen = self._rng.sample([group["id"] for group in groups], min(len(groups), self._rng.randrange(3)))
            await self.caller.call("PUT", f"{NETWORK}/ports/{port_id}", {"port": {"security_groups": chosen}})

    async def _create_group(self) -> None:
        await self.caller.call("POST", f"{NETWORK}/security-groups", {"security_group": {"name": "g"}})

    async def _change_rules(self) -> None:
        groups = await self.caller.listed(f"{NETWORK}/security-groups", "security_groups")
        if not groups:
            return
        group = self._rng.choice(groups)
        rules = group["security_group_rules"]
        if len(rules) > 5 and self._rng.random() < 0.6:
            await self.caller.call("DELETE", f"{NETWORK}/security-group-rules/{self._rng.choice(rules)['id']}")
            return
        low = self._rng.randrange(1, 1000)
        rule = {"security_group_id": group["id"], "direction": "ingress", "ethertype": "IPv4", "protocol": "tcp"}
        rule |= {"port_range_min": low, "port_range_max": low + self._rng.randrange(50)}
        if self._rng.random() < 0.5:
            rule["remote_group_id"] = self._rng.choice(groups)["id"]
        await self.caller.call("POST", f"{NETWORK}/security-group-rules", {"security_group_rule": rule})

    async def _change_network(self) -> None:
        network_id = self._rng.choice(self._networks)
        changes = self._rng.choice(({"admin_state_up": False}, {"admin_state_up": True}, {"name": "renamed"}))
        await self.caller.call("PUT", f"{NETWORK}/networks/{network_id}", {"network": changes})

    async def _plug_port(self) -> None:
        server_id = await self._some(await self._servers("ACTIVE", "SHUTOFF"))
        port_id = await self._some(await self._free_ports())
        if server_id:
            body = {"port_id": port_id} if port_id else {"net_id": self._networks[0]}
            await self.caller.call("POST", f"{COMPUTE}/servers/{server_id}/os-interface", {"interfaceAttachment": body})

    async def _unplug_port(self) -> None:
        ports = await self.caller.listed(f"{NETWORK}/ports?device_owner=compute:nova", "ports")
        if ports:
            port = self._rng.choice(ports)
            await self.caller.call("DELETE", f"{COMPUTE}/servers/{port['device_id']}/os-interface/{port['id']}")

    # ---- volumes ---------------------------------------------------------------------------------------------------

    async def _volumes(self, *statuses: str) -> list[dict[str, Any]]:
        volumes = await self.caller.listed(f"{VOLUME}/volumes/detail", "volumes")
        return [v for v in volumes if not statuses or v["status"] in statuses]

    async def _create_volume(self) -> None:
        volume: dict[str, Any] = {"size": self._rng.randrange(1, 4)}
        if self._rng.random() < 0.4:
            volume["imageRef"] = IMAGE_ID
        await self.caller.call("POST", f"{VOLUME}/volumes", {"volume": volume})

    async def _delete_volume(self) -> None:
        if volume_id := await self._some(await self._volumes("available", "error", "error_extending")):
            await self.caller.call("DELETE", f"{VOLUME}/volumes/{volume_id}")

    async def _extend_volume(self) -> None:
        if volume_id := await self._some(await self._volumes("available", "in-use")):
            body = {"os-extend": {"new_size": self._rng.randrange(2, 7)}}
            await self.caller.call("POST", f"{VOLUME}/volumes/{volume_id}/action", body)

    async def _attach_volume(self) -> None:
        server_id = await self._some(await self._servers("ACTIVE", "SHUTOFF"))
        volume_id = await self._some(await self._volumes("available"))
        if server_id and volume_id:
            body = {"volumeAttachment": {"volumeId": volume_id}}
            await self.caller.call("POST", f"{COMPUTE}/servers/{server_id}/os-volume_attachments", body)

    async def _detach_volume(self) -> None:
        volumes = await self._volumes("in-use")
        if volumes:
            volume = self._rng.choice(volumes)
            for attachment in volume["attachments"][:1]:
                path = f"{COMPUTE}/servers/{attachment['server_id']}/os-volume_attachments/{volume['id']}"
                await self.caller.call("DELETE", path)
