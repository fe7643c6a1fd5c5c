"""Ports plugged into servers and pulled out again, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from ostro.model.wishes import Noun
from ostro.testing.cloud import Answer, ApiClient, TestCloud
from ostro.testing.hosts import SimHost, add_host, converge
from ostro.testing.images import IMAGE_ID, put_image

COMPUTE = "/compute/v2.1"
NETWORK = "/networking/v2.0"
NEW = {"OpenStack-API-Version": "compute 2.79"}


class Lab:
    """A network, and a server without any interface."""

    def __init__(self, cloud: TestCloud, host: SimHost, client: ApiClient) -> None:
        self.cloud, self.host, self.client = cloud, host, client
        self.network_id = self.server_id = self.path = ""

    async def network(self, name: str, cidr: str) -> str:
        made = (await self.client.post(f"{NETWORK}/networks", {"network": {"name": name}})).json["network"]
        subnet = {"network_id": made["id"], "ip_version": 4, "cidr": cidr}
        assert (await self.client.post(f"{NETWORK}/subnets", {"subnet": subnet})).status == 201
        return str(made["id"])

    async def open(self) -> None:
        self.network_id = await self.network("one", "10.0.0.0/24")
        server = {"name": "s", "imageRef": IMAGE_ID, "flavorRef": "f", "networks": "none"}
        answer = await self.client.post(f"{COMPUTE}/servers", {"server": server}, headers=NEW)
        self.server_id = answer.json["server"]["id"]
        self.path = f"{COMPUTE}/servers/{self.server_id}/os-interface"
        await self.settle()

    async def settle(self) -> None:
        await converge(self.cloud, self.host)

    async def attach(self, **given: Any) -> Answer:
        return await self.client.post(self.path, {"interfaceAttachment": given}, headers=NEW)

    async def detach(self, port_id: str) -> Answer:
        return await self.client.delete(f"{self.path}/{port_id}", headers=NEW)

    async def listed(self) -> list[str]:
        shown = (await self.client.get(self.path, headers=NEW)).json["interfaceAttachments"]
        return [port["port_id"] for port in shown]

    async def port(self, **more: Any) -> str:
        body = {"network_id": self.network_id, **more}
        return str((await self.client.post(f"{NETWORK}/ports", {"port": body})).json["port"]["id"])

    def wished(self) -> list[str]:
        return list(self.host.things[Noun.SERVER, self.server_id]["ports"])

    async def action(self, name: str) -> dict[str, Any]:
        path = f"{COMPUTE}/servers/{self.server_id}/os-instance-actions"
        actions = (await self.client.get(path, headers=NEW)).json["instanceActions"]
        return next(dict(action) for action in actions if action["action"] == name)


@pytest.fixture
async def lab(cloud: TestCloud) -> Lab:
    host = await add_host(cloud)
    await cloud.db.run(put_image)
    flavor = {"name": "f", "id": "f", "ram": 64, "vcpus": 1, "disk": 1}
    await cloud.as_admin.post(f"{COMPUTE}/flavors", {"flavor": flavor})
    lab = Lab(cloud, host, await cloud.add_user("ann", "blue"))
    await lab.open()
    return lab


async def test_attach_list_show_detach(lab: Lab) -> None:
    answer = await lab.attach(net_id=lab.network_id, fixed_ips=[{"ip_address": "10.0.0.77"}], tag="front")
    assert answer.status == 200, answer.body
    made = answer.json["interfaceAttachment"]
    assert (made["net_id"], made["tag"]) == (lab.network_id, "front")
    assert made["fixed_ips"][0]["ip_address"] == "10.0.0.77"
    port_id = made["port_id"]
    await lab.settle()
    assert lab.wished() == [port_id]
    assert (await lab.action("attach_interface"))["message"] is None
    assert await lab.listed() == [port_id]
    shown = (await lab.client.get(f"{lab.path}/{port_id}", headers=NEW)).json["interfaceAttachment"]
    assert (shown["port_state"], shown["mac_addr"]) == ("ACTIVE", made["mac_addr"])
    server = (await lab.client.get(f"{COMPUTE}/servers/{lab.server_id}", headers=NEW)).json["server"]
    assert [a["addr"] for a in server["addresses"]["one"]] == ["10.0.0.77"]
    assert (await lab.detach(port_id)).status == 202
    assert (await lab.client.get(f"{NETWORK}/ports/{port_id}")).status == 200, "the host still has it"
    assert (await lab.detach(port_id)).status == 400
    await lab.settle()
    assert lab.wished() == []
    assert (Noun.PORT, port_id) not in lab.host.things
    assert (await lab.client.get(f"{NETWORK}/ports/{port_id}")).status == 404
    assert (await lab.detach(port_id)).status == 404
    assert await lab.listed() == []


async def test_a_lent_port_comes_back(lab: Lab) -> None:
    port_id = await lab.port(name="mine")
    assert (await lab.attach(port_id=port_id)).json["interfaceAttachment"]["port_id"] == port_id
    assert (await lab.attach(port_id=port_id)).status == 409
    await lab.settle()
    await lab.detach(port_id)
    await lab.settle()
    port = (await lab.client.get(f"{NETWORK}/ports/{port_id}")).json["port"]
    assert (port["device_id"], port["status"], port["name"]) == ("", "DOWN", "mine")


async def test_the_only_network_needs_no_name(lab: Lab) -> None:
    assert (await lab.attach()).json["interfaceAttachment"]["net_id"] == lab.network_id
    await lab.network("two", "10.1.0.0/24")
    assert (await lab.attach()).status == 409


async def test_several_in_their_order(lab: Lab) -> None:
    ids = [(await lab.attach(net_id=lab.network_id)).json["interfaceAttachment"]["port_id"] for _ in range(3)]
    await lab.settle()
    assert await lab.listed() == ids
    await lab.detach(ids[1])
    await lab.settle()
    assert (await lab.listed(), lab.wished()) == ([ids[0], ids[2]], [ids[0], ids[2]])


async def test_what_is_refused(cloud: TestCloud, lab: Lab) -> None:
    nobody = "0" * 8 + "-0000-4000-8000-" + "0" * 12
    port_id = await lab.port()
    assert (await lab.attach(port_id=port_id, net_id=lab.network_id)).status == 400
    assert (await lab.attach(fixed_ips=[{"ip_address": "10.0.0.5"}])).status == 400
    assert (await lab.attach(net_id=lab.network_id, fixed_ips=[{"ip_address": "nonsense"}])).status == 400
    assert (await lab.attach(net_id=nobody)).status == 404
    assert (await lab.attach(port_id=nobody)).status == 404
    assert (await lab.attach(colour="red")).status == 400
    eve = await cloud.add_user("eve", "red")
    assert (await eve.post(lab.path, {"interfaceAttachment": {}}, headers=NEW)).status == 404
    await lab.client.post(f"{COMPUTE}/servers/{lab.server_id}/action", {"lock": None}, headers=NEW)
    assert (await lab.attach(net_id=lab.network_id)).status == 409
    assert await lab.listed() == []


async def test_an_interface_that_the_host_gives_up_on_is_taken_back(lab: Lab) -> None:
    kept = (await lab.attach(net_id=lab.network_id)).json["interfaceAttachment"]["port_id"]
    await lab.settle()
    lab.host.failing[lab.server_id] = "No slot is free."
    refused = (await lab.attach(net_id=lab.network_id)).json["interfaceAttachment"]["port_id"]
    await lab.host.sync()
    lab.host.failing.clear()
    await lab.settle()
    assert (await lab.listed(), lab.wished()) == ([kept], [kept])
    assert (await lab.client.get(f"{NETWORK}/ports/{refused}")).status == 404
    server = (await lab.client.get(f"{COMPUTE}/servers/{lab.server_id}", headers=NEW)).json["server"]
    assert server["status"] == "ACTIVE"
    assert (await lab.action("attach_interface"))["message"]


async def test_all_go_with_the_server(lab: Lab) -> None:
    await lab.attach(net_id=lab.network_id)
    await lab.settle()
    await lab.attach(net_id=lab.network_id)
    await lab.client.delete(f"{COMPUTE}/servers/{lab.server_id}")
    await lab.settle()
    ports = (await lab.client.get(f"{NETWORK}/ports?network_id={lab.network_id}")).json["ports"]
    assert [port for port in ports if port["device_owner"].startswith("compute:")] == []
