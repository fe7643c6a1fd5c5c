"""Servers on networks, with a simulated host."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ostro.model.wishes import Noun, ServerWish
from ostro.store.database import Tx
from ostro.store.wishes import list_wished
from ostro.testing.cloud import Answer, TestCloud
from ostro.testing.hosts import SimHost, add_host, converge
from ostro.testing.images import IMAGE_ID, put_image
from ostro.testing.networking import ROOT, listed, make, make_net

COMPUTE = "/compute/v2.1"


@pytest.fixture
async def host(cloud: TestCloud) -> SimHost:
    """A host, an image, and a flavor ``f``."""
    host = await add_host(cloud)
    await cloud.db.run(put_image)
    flavor = {"flavor": {"name": "small", "id": "f", "ram": 512, "vcpus": 1, "disk": 1}}
    assert (await cloud.as_admin.post(f"{COMPUTE}/flavors", flavor)).status == 200
    return host


async def post(cloud: TestCloud, **more: Any) -> Answer:
    body = {"server": {"name": "web", "imageRef": IMAGE_ID, "flavorRef": "f", **more}}
    return await cloud.as_admin.post(f"{COMPUTE}/servers", body)


async def boot(cloud: TestCloud, host: SimHost, **more: Any) -> str:
    answer = await post(cloud, **more)
    assert answer.status == 202, answer.body
    await converge(cloud, host)
    return str(answer.json["server"]["id"])


async def test_a_server_has_an_active_port_while_it_lives(cloud: TestCloud, host: SimHost) -> None:
    network, subnet = await make_net(cloud.as_admin, "10.1.0.0/24")
    server_id = await boot(cloud, host, networks=[{"uuid": network["id"], "fixed_ip": "10.1.0.77"}])
    [port] = await listed(cloud.as_admin, f"ports?device_id={server_id}")
    assert (port["status"], port["device_owner"], port["binding:vif_type"]) == ("ACTIVE", "compute:nova", "ovs")
    assert port["fixed_ips"] == [{"subnet_id": subnet["id"], "ip_address": "10.1.0.77"}]
    shown = (await cloud.as_admin.get(f"{COMPUTE}/servers/{server_id}")).json["server"]
    [address] = shown["addresses"]["net"]
    assert (address["addr"], address["OS-EXT-IPS-MAC:mac_addr"]) == ("10.1.0.77", port["mac_address"])
    assert (await cloud.as_admin.delete(f"{COMPUTE}/servers/{server_id}")).status == 204
    await converge(cloud, host)
    assert await listed(cloud.as_admin, f"ports?device_id={server_id}") == []
    assert (await cloud.as_admin.delete(f"{ROOT}/networks/{network['id']}")).status == 204


async def test_a_lent_port_comes_back(cloud: TestCloud, host: SimHost) -> None:
    network, _ = await make_net(cloud.as_admin)
    port = await make(cloud.as_admin, "ports", network_id=network["id"])
    server_id = await boot(cloud, host, networks=[{"port": port["id"]}])
    assert (await post(cloud, networks=[{"port": port["id"]}])).status == 409
    await cloud.as_admin.delete(f"{COMPUTE}/servers/{server_id}")
    await converge(cloud, host)
    back = (await cloud.as_admin.get(f"{ROOT}/ports/{port['id']}")).json["port"]
    assert (back["device_id"], back["device_owner"], back["binding:host_id"], back["status"]) == ("", "", "", "DOWN")
    assert back["fixed_ips"] == port["fixed_ips"]


async def test_which_network_is_meant(cloud: TestCloud, host: SimHost) -> None:
    alone = await boot(cloud, host)
    assert await listed(cloud.as_admin, f"ports?device_id={alone}") == []
    await make_net(cloud.as_admin)
    assert len(await listed(cloud.as_admin, f"ports?device_id={await boot(cloud, host)}")) == 1
    await make_net(cloud.as_admin)
    assert (await post(cloud)).status == 409


@pytest.mark.parametrize(
    ("networks", "status"),
    [
        ([{"uuid": "7f000000-0000-4000-8000-000000000000"}], 400),
        ([{"port": "7f000000-0000-4000-8000-000000000000"}], 400),
        ([{"uuid": "BARE"}], 400),
        ([{"uuid": "NET", "fixed_ip": "192.0.2.1"}], 400),
        ([{"uuid": "NET", "fixed_ip": "10.1.0.2"}], 400),
    ],
)
async def test_networks_that_cannot_be(
    cloud: TestCloud, host: SimHost, networks: list[dict[str, str]], status: int
) -> None:
    network, _ = await make_net(cloud.as_admin, "10.1.0.0/24")
    bare = await make(cloud.as_admin, "networks", name="bare")
    names = {"NET": network["id"], "BARE": bare["id"]}
    asked = [{key: names.get(value, value) for key, value in nic.items()} for nic in networks]
    answer = await post(cloud, networks=asked)
    assert answer.status == status, answer.body
    assert await listed(cloud.as_admin, "ports?device_owner=compute:nova") == []


async def test_a_port_deleted_behind_its_server_is_forgotten(cloud: TestCloud, host: SimHost) -> None:
    network, _ = await make_net(cloud.as_admin)
    server_id = await boot(cloud, host, networks=[{"uuid": network["id"]}] * 2)
    first, second = await listed(cloud.as_admin, f"ports?device_id={server_id}")

    def wished(tx: Tx) -> list[str]:
        [wish] = list_wished(tx, host.host_id, [Noun.SERVER])
        assert wish.body is not None
        return msgspec.json.decode(wish.body, type=ServerWish).ports

    assert set(await cloud.db.read(wished)) == {first["id"], second["id"]}
    assert (await cloud.as_admin.delete(f"{ROOT}/ports/{first['id']}")).status == 204
    assert await cloud.db.read(wished) == [second["id"]]
    await converge(cloud, host)
    shown = (await cloud.as_admin.get(f"{COMPUTE}/servers/{server_id}")).json["server"]
    assert (shown["status"], len(shown["addresses"]["net"])) == ("ACTIVE", 1)


async def test_groups_of_a_server(cloud: TestCloud, host: SimHost) -> None:
    network, _ = await make_net(cloud.as_admin)
    group = await make(cloud.as_admin, "security-groups", name="web")
    nics = [{"uuid": network["id"]}]
    server_id = await boot(cloud, host, networks=nics, security_groups=[{"name": "web"}])
    [port] = await listed(cloud.as_admin, f"ports?device_id={server_id}")
    assert port["security_groups"] == [group["id"]]
    assert (await post(cloud, networks=nics, security_groups=[{"name": "none"}])).status == 400
    await make(cloud.as_admin, "security-groups", name="web")
    assert (await post(cloud, networks=nics, security_groups=[{"name": "web"}])).status == 409


async def test_groups_need_port_security(cloud: TestCloud, host: SimHost) -> None:
    network = await make(cloud.as_admin, "networks", port_security_enabled=False)
    await make(cloud.as_admin, "subnets", network_id=network["id"], ip_version=4, cidr="10.1.0.0/24")
    await make(cloud.as_admin, "security-groups", name="web")
    nics = [{"uuid": network["id"]}]
    assert (await post(cloud, networks=nics, security_groups=[{"name": "web"}])).status == 400
    server_id = await boot(cloud, host, networks=nics, security_groups=[{"name": "default"}])
    [port] = await listed(cloud.as_admin, f"ports?device_id={server_id}")
    assert (port["security_groups"], port["port_security_enabled"]) == ([], False)


async def test_a_port_cannot_pose_as_another_tenants_servers(cloud: TestCloud, host: SimHost) -> None:
    """Whoever's port names a server would be told that server's metadata, or be shown among its addresses."""
    network, _ = await make_net(cloud.as_admin)
    server_id = await boot(cloud, host, networks=[{"uuid": network["id"]}])
    eve = await cloud.add_user("eve", "evil")
    own, _ = await make_net(eve, "10.9.0.0/24")
    port = {"network_id": own["id"], "device_id": server_id, "device_owner": "compute:nova"}
    answer = await eve.post(f"{ROOT}/ports", {"port": port})
    assert (answer.status, answer.json["NeutronError"]["type"]) == (409, "DeviceIDNotOwnedByTenant")
    made = await make(eve, "ports", network_id=own["id"], device_id="my-appliance")
    answer = await eve.put(f"{ROOT}/ports/{made['id']}", {"port": {"device_id": server_id}})
    assert (answer.status, answer.json["NeutronError"]["type"]) == (409, "DeviceIDNotOwnedByTenant")
    answer = await eve.put(f"{ROOT}/ports/{made['id']}", {"port": {"device_id": "another"}})
    assert answer.status == 200
