"""Hosts over the Compute API: hypervisors, services, zones; and what a project uses."""

from __future__ import annotations

from ostro.testing.cloud import ApiClient, TestCloud
from ostro.testing.hosts import add_host, converge
from ostro.testing.images import IMAGE_ID, put_image

COMPUTE = "/compute/v2.1"


def at(client: ApiClient, version: str) -> ApiClient:
    return client.with_headers(OpenStack_API_Version=f"compute {version}")


async def test_hypervisors_by_microversion(cloud: TestCloud) -> None:
    host = await add_host(cloud)
    old = (await cloud.as_admin.get(f"{COMPUTE}/os-hypervisors/detail")).json["hypervisors"][0]
    assert (old["id"], old["hypervisor_hostname"], old["state"], old["vcpus"]) == (1, "host-a", "up", 8)
    assert isinstance(old["cpu_info"], str)
    new = (await at(cloud.as_admin, "2.88").get(f"{COMPUTE}/os-hypervisors/{host.host_id}")).json["hypervisor"]
    assert new["id"] == host.host_id and "vcpus" not in new and new["uptime"] is None
    sums = (await cloud.as_admin.get(f"{COMPUTE}/os-hypervisors/statistics")).json["hypervisor_statistics"]
    assert (sums["count"], sums["memory_mb"]) == (1, 16384)
    assert (await at(cloud.as_admin, "2.88").get(f"{COMPUTE}/os-hypervisors/statistics")).status == 404
    assert (await cloud.as_admin.get(f"{COMPUTE}/os-hypervisors/99")).status == 404
    member = await cloud.add_user("ann", "alpha")
    assert (await member.get(f"{COMPUTE}/os-hypervisors")).status == 403


async def test_a_disabled_host_takes_no_new_servers(cloud: TestCloud) -> None:
    host = await add_host(cloud)
    await cloud.db.run(put_image)
    admin = at(cloud.as_admin, "2.79")
    await admin.post(f"{COMPUTE}/flavors", {"flavor": {"name": "f", "id": "f", "ram": 64, "vcpus": 1, "disk": 1}})
    [service] = (await admin.get(f"{COMPUTE}/os-services")).json["services"]
    assert (service["binary"], service["state"], service["status"]) == ("nova-compute", "up", "enabled")
    change = {"status": "disabled", "disabled_reason": "broken fan"}
    answer = await admin.put(f"{COMPUTE}/os-services/{service['id']}", change)
    assert answer.json["service"]["disabled_reason"] == "broken fan"
    body = {"server": {"name": "s", "imageRef": IMAGE_ID, "flavorRef": "f", "networks": "none"}}

    async def status() -> str:
        server_id = (await admin.post(f"{COMPUTE}/servers", body)).json["server"]["id"]
        await converge(cloud, host)
        return str((await admin.get(f"{COMPUTE}/servers/{server_id}")).json["server"]["status"])

    assert await status() == "ERROR"
    await admin.put(f"{COMPUTE}/os-services/{service['id']}", {"status": "enabled"})
    assert await status() == "ACTIVE"


async def test_zones_aggregates_limits_and_quotas(cloud: TestCloud) -> None:
    await add_host(cloud)
    zones = (await cloud.as_admin.get(f"{COMPUTE}/os-availability-zone")).json["availabilityZoneInfo"]
    assert zones == [{"zoneName": "nova", "zoneState": {"available": True}, "hosts": None}]
    detail = (await cloud.as_admin.get(f"{COMPUTE}/os-availability-zone/detail")).json["availabilityZoneInfo"]
    assert detail[0]["hosts"]["host-a"]["nova-compute"]["available"] is True
    assert (await cloud.as_admin.get(f"{COMPUTE}/os-aggregates")).json == {"aggregates": []}
    limits = (await at(cloud.as_admin, "2.57").get(f"{COMPUTE}/limits")).json["limits"]["absolute"]
    assert limits["totalInstancesUsed"] == 0 and "maxPersonality" not in limits
    (project,) = (await cloud.as_admin.get("/identity/v3/projects?name=admin")).json["projects"]
    quotas = (await cloud.as_admin.get(f"{COMPUTE}/os-quota-sets/{project['id']}")).json["quota_set"]
    assert (quotas["id"], quotas["cores"]) == (project["id"], -1)
    assert (await cloud.as_admin.get(f"{COMPUTE}/os-quota-sets/p")).status == 400
    member = await cloud.add_user("ann", "alpha")
    assert (await member.get(f"{COMPUTE}/os-quota-sets/p")).status == 403


async def test_version_documents_and_negotiation(cloud: TestCloud) -> None:
    versions = (await cloud.anonymous.get("/compute/")).json["versions"]
    assert [(one["id"], one["min_version"], one["version"]) for one in versions] == [
        ("v2.0", "", ""),
        ("v2.1", "2.1", "2.96"),
    ]
    assert (await cloud.anonymous.get("/compute/v2.1/")).json["version"]["status"] == "CURRENT"
    answer = await at(cloud.as_admin, "2.999").get(f"{COMPUTE}/servers")
    assert answer.status == 406
    answer = await at(cloud.as_admin, "latest").get(f"{COMPUTE}/servers")
    assert answer.headers["OpenStack-API-Version"] == "compute 2.96"
    assert answer.headers["X-OpenStack-Nova-API-Version"] == "2.96"
