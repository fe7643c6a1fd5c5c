"""Numbers that are none, or too large for anything: they are the client's mistake, and never ours."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from ostro.testing.cloud import TestCloud

STRANGE = ("\u00b2", "9" * 30, "9" * 5000)
QUERIES = (
    "/compute/v2.1/flavors?minRam={}",
    "/compute/v2.1/servers/detail?power_state={}",
    "/compute/v2.1/os-hypervisors/{}",
    "/compute/v2.1/servers/00000000-0000-0000-0000-000000000001/migrations/{}",
    "/networking/v2.0/networks?limit={}",
    "/networking/v2.0/networks?mtu={}",
    "/networking/v2.0/security-group-rules?port_range_min={}",
    "/image/v2/images?limit={}",
    "/image/v2/images?size_min={}",
    "/volume/v3/volumes?limit={}",
    "/volume/v3/volumes?size={}",
    "/placement/resource_providers/00000000-0000-0000-0000-000000000001/inventories/VCPU?x={}",
    "/object-store/v1/AUTH_{{project}}?limit={}",
    "/identity/v3/users?limit={}",
    "/compute/v2.1/servers?watch={}",
)


@pytest.mark.parametrize("strange", STRANGE, ids=("digit", "large", "huge"))
async def test_numbers_of_queries_and_paths(cloud: TestCloud, strange: str) -> None:
    client = cloud.as_admin.with_headers(**{"OpenStack-API-Version": "compute 2.90"})
    answers = {path: (await client.get(path.format(quote(strange)))).status for path in QUERIES}
    assert {path: status for path, status in answers.items() if status >= 500} == {}


@pytest.mark.parametrize("strange", STRANGE, ids=("digit", "large", "huge"))
async def test_numbers_of_bodies(cloud: TestCloud, strange: str) -> None:
    network = (await cloud.as_admin.post("/networking/v2.0/networks", {"network": {"name": "n"}})).json["network"]["id"]
    group = (await cloud.as_admin.get("/networking/v2.0/security-groups")).json["security_groups"][0]["id"]
    rule = {"security_group_id": group, "direction": "ingress", "protocol": strange}
    device = {"boot_index": 0, "uuid": network, "source_type": "image", "destination_type": "volume"}
    server = {"name": "s", "flavorRef": "1", "networks": "none", "block_device_mapping_v2": [device]}
    device["volume_size"] = strange
    for path, body in (
        ("/networking/v2.0/security-group-rules", {"security_group_rule": rule}),
        (
            "/networking/v2.0/security-group-rules",
            {"security_group_rule": {**rule, "protocol": "tcp", "port_range_min": strange}},
        ),
        ("/compute/v2.1/servers", {"server": server}),
    ):
        assert 400 <= (await cloud.as_admin.post(path, body)).status < 500
    ranged = cloud.as_admin.with_headers(**{"If-Match": f"revision_number={strange}"})
    if strange.isascii():
        renamed = await ranged.patch(f"/networking/v2.0/networks/{network}", {"network": {"name": "m"}})
        assert 400 <= renamed.status < 500
