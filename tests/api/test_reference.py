"""Compute, Placement, Image and Block Storage as their references list them: operations that no other test has reason to use.

Identity's are in ``test_reference_identity``.
"""

from __future__ import annotations

from typing import Any

import pytest

from ostro.testing.cloud import ApiClient, TestCloud
from ostro.testing.hosts import SimHost, add_host, converge
from ostro.testing.images import IMAGE_ID, put_image

COMPUTE = "/compute/v2.1"
VOLUME = "/volume/v3"
PLACEMENT = "/placement"


def at(client: ApiClient, version: str, service: str = "compute") -> ApiClient:
    return client.with_headers(OpenStack_API_Version=f"{service} {version}")


async def get(client: ApiClient, path: str) -> Any:
    answer = await client.get(path)
    assert answer.status == 200, answer.body
    return answer.json


@pytest.fixture
async def host(cloud: TestCloud) -> SimHost:
    """A host, an image and a flavor."""
    host = await add_host(cloud)
    await cloud.db.run(put_image)
    flavor = {"flavor": {"name": "f", "id": "f", "ram": 64, "vcpus": 1, "disk": 1}}
    assert (await cloud.as_admin.post(f"{COMPUTE}/flavors", flavor)).status == 200
    return host


async def boot(cloud: TestCloud, host: SimHost, **more: Any) -> str:
    """A server on a network ``blue``; its id."""
    network = await cloud.as_admin.post("/networking/v2.0/networks", {"network": {"name": "blue"}})
    network_id = network.json["network"]["id"]
    subnet = {"network_id": network_id, "ip_version": 4, "cidr": "10.9.0.0/24"}
    await cloud.as_admin.post("/networking/v2.0/subnets", {"subnet": subnet})
    server = {"name": "web", "imageRef": IMAGE_ID, "flavorRef": "f", "networks": [{"uuid": network_id}], **more}
    answer = await at(cloud.as_admin, "2.79").post(f"{COMPUTE}/servers", {"server": server})
    assert answer.status == 202, answer.body
    await converge(cloud, host)
    return str(answer.json["server"]["id"])


async def test_what_a_server_has(cloud: TestCloud, host: SimHost) -> None:
    admin = at(cloud.as_admin, "2.79")
    server = f"{COMPUTE}/servers/{await boot(cloud, host, metadata={'a': '1'}, tags=['t'])}"
    addresses = (await get(admin, f"{server}/ips"))["addresses"]
    assert [a["version"] for a in addresses["blue"]] == [4]
    assert await get(admin, f"{server}/ips/blue") == {"blue": addresses["blue"]}
    assert (await admin.get(f"{server}/ips/red")).status == 404
    assert (await get(admin, f"{server}/metadata"))["metadata"] == {"a": "1"}
    assert (await get(admin, f"{server}/metadata/a"))["meta"] == {"a": "1"}
    assert (await admin.get(f"{server}/metadata/b")).status == 404
    assert (await get(admin, f"{server}/tags"))["tags"] == ["t"]
    assert (await admin.delete(f"{server}/tags")).status == 204
    assert (await get(admin, f"{server}/tags"))["tags"] == []
    [action] = (await get(admin, f"{server}/os-instance-actions"))["instanceActions"]
    shown = (await get(admin, f"{server}/os-instance-actions/{action['request_id']}"))["instanceAction"]
    assert (shown["action"], shown["instance_uuid"]) == ("create", server.rpartition("/")[2])


async def test_hypervisors_found_and_services_switched(cloud: TestCloud, host: SimHost) -> None:
    admin = cloud.as_admin
    server_id = await boot(cloud, host)
    [one] = (await get(admin, f"{COMPUTE}/os-hypervisors"))["hypervisors"]
    assert (one["hypervisor_hostname"], one["state"]) == ("host-a", "up")
    assert (await get(admin, f"{COMPUTE}/os-hypervisors/host/search"))["hypervisors"] == [one]
    assert (await admin.get(f"{COMPUTE}/os-hypervisors/elsewhere/search")).status == 404
    [with_servers] = (await get(admin, f"{COMPUTE}/os-hypervisors/host-a/servers"))["hypervisors"]
    assert [s["uuid"] for s in with_servers["servers"]] == [server_id]
    named = {"host": "host-a", "binary": "nova-compute"}
    off = await admin.put(f"{COMPUTE}/os-services/disable", named)
    assert off.json["service"]["status"] == "disabled"
    why = await admin.put(f"{COMPUTE}/os-services/disable-log-reason", {**named, "disabled_reason": "fan"})
    assert why.json["service"]["disabled_reason"] == "fan"
    on = await admin.put(f"{COMPUTE}/os-services/enable", named)
    assert on.json["service"]["status"] == "enabled"


async def test_what_a_flavor_has(cloud: TestCloud) -> None:
    admin = cloud.as_admin
    flavor = {"name": "g", "id": "g", "ram": 64, "vcpus": 1, "disk": 1, "os-flavor-access:is_public": False}
    await admin.post(f"{COMPUTE}/flavors", {"flavor": flavor})
    await admin.post(f"{COMPUTE}/flavors/g/os-extra_specs", {"extra_specs": {"hw:a": "b"}})
    assert await get(admin, f"{COMPUTE}/flavors/g/os-extra_specs/hw:a") == {"hw:a": "b"}
    assert (await admin.get(f"{COMPUTE}/flavors/g/os-extra_specs/hw:c")).status == 404
    await admin.post(f"{COMPUTE}/flavors/g/action", {"addTenantAccess": {"tenant": "p1"}})
    access = (await get(admin, f"{COMPUTE}/flavors/g/os-flavor-access"))["flavor_access"]
    assert access == [{"flavor_id": "g", "tenant_id": "p1"}]
    taken = await admin.post(f"{COMPUTE}/flavors/g/action", {"removeTenantAccess": {"tenant": "p1"}})
    assert taken.json["flavor_access"] == []


async def test_providers_piece_by_piece(cloud: TestCloud) -> None:
    admin = at(cloud.as_admin, "1.39", "placement")
    provider = (await admin.post(f"{PLACEMENT}/resource_providers", {"name": "rp"})).json
    root = f"{PLACEMENT}/resource_providers/{provider['uuid']}"
    inventory = {"resource_provider_generation": 0, "inventories": {"VCPU": {"total": 4}}}
    assert (await admin.put(f"{root}/inventories", inventory)).status == 200
    assert (await get(admin, f"{root}/inventories/VCPU"))["total"] == 4
    assert (await admin.get(f"{root}/inventories/DISK_GB")).status == 404
    assert (await get(admin, f"{root}/aggregates"))["aggregates"] == []
    assert (await get(admin, f"{root}/traits"))["traits"] == []
    assert (await admin.delete(f"{root}/inventories")).status == 204
    assert (await get(admin, f"{root}/inventories"))["inventories"] == {}


async def test_resource_classes(cloud: TestCloud) -> None:
    admin = at(cloud.as_admin, "1.39", "placement")
    classes = f"{PLACEMENT}/resource_classes"
    assert {"VCPU", "MEMORY_MB"} <= {c["name"] for c in (await get(admin, classes))["resource_classes"]}
    made = await admin.post(classes, {"name": "CUSTOM_OVEN"})
    assert made.status == 201 and made.headers["Location"].endswith("/resource_classes/CUSTOM_OVEN")
    assert (await get(admin, f"{classes}/CUSTOM_OVEN"))["name"] == "CUSTOM_OVEN"
    assert (await admin.post(classes, {"name": "CUSTOM_OVEN"})).status == 409


async def test_members_of_images_and_versions(cloud: TestCloud) -> None:
    image = {"name": "i", "disk_format": "raw", "container_format": "bare", "visibility": "shared"}
    made = (await cloud.as_admin.post("/image/v2/images", image)).json
    members = f"/image/v2/images/{made['id']}/members"
    await cloud.as_admin.post(members, {"member": "p1"})
    shown = await get(cloud.as_admin, f"{members}/p1")
    assert (shown["member_id"], shown["status"]) == ("p1", "pending")
    versions = await cloud.anonymous.get("/image/versions")
    assert "v2.0" in {v["id"] for v in versions.json["versions"]}


async def test_block_storage_says_what_it_has(cloud: TestCloud, host: SimHost) -> None:
    admin = at(cloud.as_admin, "3.60", "volume")
    volume = (await admin.post(f"{VOLUME}/volumes", {"volume": {"size": 1}})).json["volume"]
    await converge(cloud, host)
    snapshot = await admin.post(f"{VOLUME}/snapshots", {"snapshot": {"volume_id": volume["id"]}})
    assert snapshot.status == 202, snapshot.body
    [listed] = (await get(admin, f"{VOLUME}/snapshots"))["snapshots"]
    assert listed["volume_id"] == volume["id"]
    await converge(cloud, host)
    made = await admin.post(f"{VOLUME}/attachments", {"attachment": {"volume_uuid": volume["id"]}})
    attachment = made.json["attachment"]
    assert (await get(admin, f"{VOLUME}/attachments/{attachment['id']}"))["attachment"]["volume_id"] == volume["id"]
    [kind] = (await get(admin, f"{VOLUME}/types"))["volume_types"]
    assert (await get(admin, f"{VOLUME}/types/{kind['id']}/extra_specs"))["extra_specs"] == kind["extra_specs"]
    assert await get(admin, f"{VOLUME}/types/{kind['id']}/encryption") == {}
