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


async def test_the_catalogue_can_not_be_written(cloud: TestCloud) -> None:
    assert (await cloud.as_admin.post(f"{V3}/services", {"service": {"type": "x"}})).status == 405
