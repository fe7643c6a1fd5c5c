"""Services, endpoints and regions, which are what this program is."""

from __future__ import annotations

from ostro.testing.cloud import TestCloud

V3 = "/identity/v3"


async def test_services_endpoints_and_the_region_fit_together(cloud: TestCloud) -> None:
    services = (await cloud.as_admin.get(f"{V3}/services")).json["services"]
    endpoints = (await cloud.as_admin.get(f"{V3}/endpoints")).json["endpoints"]
    (region,) = (await cloud.as_admin.get(f"{V3}/regions")).json["regions"]
    by_id = {service["id"]: service for service in services}
    assert len(endpoints) == 3 * len(services)
    assert {endpoint["service_id"] for endpoint in endpoints} == set(by_id)
    assert {endpoint["region_id"] for endpoint in endpoints} == {region["id"]}
    (volume,) = [e for e in endpoints if by_id[e["service_id"]]["type"] == "volumev3" and e["interface"] == "public"]
    assert volume["url"].endswith("/volume/v3/$(project_id)s")


async def test_one_of_each(cloud: TestCloud) -> None:
    for noun in ("service", "endpoint", "region"):
        listed = (await cloud.as_admin.get(f"{V3}/{noun}s")).json[f"{noun}s"][0]
        assert (await cloud.as_admin.get(f"{V3}/{noun}s/{listed['id']}")).json[noun] == listed
        missing = await cloud.as_admin.get(f"{V3}/{noun}s/nothing")
        assert missing.status == 404
        assert missing.json["error"]["message"] == f"Could not find {noun}: nothing."


async def test_filters(cloud: TestCloud) -> None:
    (identity,) = (await cloud.as_admin.get(f"{V3}/services?type=identity")).json["services"]
    found = (await cloud.as_admin.get(f"{V3}/endpoints?interface=public&service_id={identity['id']}")).json["endpoints"]
    assert len(found) == 1


async def test_what_others_run_is_added(cloud: TestCloud) -> None:
    admin = cloud.as_admin
    region = (await admin.put(f"{V3}/regions/north", {"region": {"description": "d"}})).json["region"]
    assert (region["id"], region["parent_region_id"]) == ("north", None)
    assert (await admin.put(f"{V3}/regions/north", {"region": {}})).status == 409
    below = await admin.post(f"{V3}/regions", {"region": {"parent_region_id": "north"}})
    assert below.status == 201
    circle = {"region": {"parent_region_id": below.json["region"]["id"]}}
    assert (await admin.patch(f"{V3}/regions/north", circle)).status == 409
    service = (await admin.post(f"{V3}/services", {"service": {"type": "dns", "name": "designate"}})).json["service"]
    given = {"service_id": service["id"], "interface": "public", "url": "http://dns/$(project_id)s", "region": "north"}
    endpoint = (await admin.post(f"{V3}/endpoints", {"endpoint": given})).json["endpoint"]
    assert (endpoint["region"], endpoint["region_id"]) == ("north", "north")
    catalog = (await admin.get(f"{V3}/auth/catalog")).json["catalog"]
    (dns,) = [entry for entry in catalog if entry["type"] == "dns"]
    assert "(project_id)" not in dns["endpoints"][0]["url"]
    assert (await admin.delete(f"{V3}/regions/north")).status == 403, "an endpoint is in it"
    assert (await admin.delete(f"{V3}/services/{service['id']}")).status == 204
    assert (await admin.get(f"{V3}/endpoints/{endpoint['id']}")).status == 404, "it goes with its service"
    assert (await admin.delete(f"{V3}/regions/north")).status == 204
    assert (await admin.get(f"{V3}/regions/{below.json['region']['id']}")).status == 404


async def test_a_disabled_service_is_not_shown_in_catalogues(cloud: TestCloud) -> None:
    (placement,) = (await cloud.as_admin.get(f"{V3}/services?type=placement")).json["services"]
    await cloud.as_admin.patch(f"{V3}/services/{placement['id']}", {"service": {"enabled": False}})
    catalog = (await cloud.as_admin.get(f"{V3}/auth/catalog")).json["catalog"]
    assert "placement" not in {entry["type"] for entry in catalog}
