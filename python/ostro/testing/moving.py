"""A lab of three hosts and one server, for tests of moves over the API."""

from __future__ import annotations

from typing import Any

from ostro.store.inventories import count_wrong_sums
from ostro.testing.cloud import ApiClient, TestCloud
from ostro.testing.hosts import SimHost, add_host, converge, meet
from ostro.testing.images import IMAGE_ID, put_image
from ostro.testing.leaks import find_leaks

COMPUTE = "/compute/v2.1"
NETWORK = "/networking/v2.0"


def at(client: ApiClient, version: str) -> ApiClient:
    """The client at a microversion of Compute."""
    return client.with_headers(OpenStack_API_Version=f"compute {version}")


class Lab:
    """Three hosts that can send each other servers, and one server."""

    def __init__(self, cloud: TestCloud, hosts: list[SimHost]) -> None:
        self.cloud = cloud
        self.hosts = {host.name: host for host in hosts}
        self.client = at(cloud.as_admin, "2.95")
        self.id = ""

    async def boot(self, **more: Any) -> str:
        """Make the server; its id."""
        server = {"name": "s", "imageRef": IMAGE_ID, "flavorRef": "f", "networks": "auto", **more}
        answer = await self.client.post(f"{COMPUTE}/servers", {"server": server})
        assert answer.status == 202, answer.body
        self.id = answer.json["server"]["id"]
        await self.settle()
        return self.id

    async def settle(self) -> None:
        """Let hosts and sagas go on until nothing is left to do."""
        await converge(self.cloud, *self.hosts.values())

    async def sagas(self) -> None:
        """Let sagas go on as far as they can without the hosts."""
        while await self.cloud.sagas.step():
            pass

    async def show(self) -> dict[str, Any]:
        """The server."""
        return dict((await self.client.get(f"{COMPUTE}/servers/{self.id}")).json["server"])

    async def where(self) -> str:
        """Which host it is said to be on."""
        return str((await self.show())["OS-EXT-SRV-ATTR:host"])

    async def state(self) -> tuple[str, str | None]:
        """Its status and task."""
        server = await self.show()
        return server["status"], server["OS-EXT-STS:task_state"]

    async def act(self, name: str, value: Any = None, version: str = "2.95") -> Any:
        """Ask for an action."""
        return await at(self.cloud.as_admin, version).post(f"{COMPUTE}/servers/{self.id}/action", {name: value})

    async def migrate_live(self, host: str | None = None, block: Any = "auto") -> Any:
        """Ask for a live migration."""
        return await self.act("os-migrateLive", {"host": host, "block_migration": block})

    async def migrations(self, query: str = "") -> list[dict[str, Any]]:
        """The list of migrations."""
        return list((await self.client.get(f"{COMPUTE}/os-migrations{query}")).json["migrations"])

    def others(self, name: str) -> list[SimHost]:
        """All hosts but one."""
        return [host for host in self.hosts.values() if host.name != name]

    async def used(self) -> dict[str, int]:
        """VCPUs claimed, by host."""
        answer = await at(self.cloud.as_admin, "2.87").get(f"{COMPUTE}/os-hypervisors/detail")
        return {h["hypervisor_hostname"]: h["vcpus_used"] for h in answer.json["hypervisors"]}

    async def check_whole(self) -> None:
        """The server runs where it is said to be, and nowhere else is anything of it; then it can be deleted without a trace."""
        host = await self.where()
        for other in self.others(host):
            assert {noun for noun, _ in other.things} <= set(), (other.name, other.things)
        assert self.id in self.hosts[host].running
        assert await self.used() == {name: int(name == host) for name in self.hosts}
        assert await self.cloud.db.read(count_wrong_sums) == 0
        await self.client.delete(f"{COMPUTE}/servers/{self.id}")
        await self.settle()
        assert await self.cloud.db.read(find_leaks) == {}


async def open_lab(cloud: TestCloud) -> Lab:
    """The hosts of the lab, its flavors and network, and its server, which runs."""
    hosts = [await add_host(cloud, name, tunnel_ip=f"10.9.0.{i}") for i, name in enumerate(("a", "b", "c"), 1)]
    meet(*hosts)
    await cloud.db.run(put_image)
    lab = Lab(cloud, hosts)
    for name, vcpus, disk in (("f", 1, 1), ("g", 2, 2), ("huge", 100, 1)):
        flavor = {"name": name, "id": name, "ram": 64, "vcpus": vcpus, "disk": disk}
        assert (await lab.client.post(f"{COMPUTE}/flavors", {"flavor": flavor})).status == 200
    answer = await lab.client.post(f"{NETWORK}/networks", {"network": {"name": "net"}})
    subnet = {"network_id": answer.json["network"]["id"], "ip_version": 4, "cidr": "10.0.0.0/24"}
    assert (await lab.client.post(f"{NETWORK}/subnets", {"subnet": subnet})).status == 201
    await lab.boot()
    return lab
