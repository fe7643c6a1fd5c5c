"""Server groups over HTTP, and that placement keeps them."""

from __future__ import annotations

from typing import Any

from ostro.testing.cloud import ApiClient, TestCloud
from ostro.testing.hosts import SimHost, add_host, converge
from ostro.testing.images import IMAGE_ID, put_image

COMPUTE = "/compute/v2.1"


def at(client: ApiClient, version: str) -> ApiClient:
    return client.with_headers(OpenStack_API_Version=f"compute {version}")


async def group(client: ApiClient, policy: str, **rules: Any) -> str:
    body = {"server_group": {"name": policy, "policy": policy, "rules": rules}}
    answer = await client.post(f"{COMPUTE}/os-server-groups", body)
    assert answer.status == 200, answer.body
    return str(answer.json["server_group"]["id"])


async def test_create_show_list_delete(cloud: TestCloud) -> None:
    old = cloud.as_admin
    answer = await old.post(f"{COMPUTE}/os-server-groups", {"server_group": {"name": "g", "policies": ["affinity"]}})
    made = answer.json["server_group"]
    assert (made["policies"], made["members"], made["metadata"]) == (["affinity"], [], {})
    new = (await at(old, "2.64").get(f"{COMPUTE}/os-server-groups/{made['id']}")).json["server_group"]
    assert (new["policy"], new["rules"]) == ("affinity", {})
    soft = {"server_group": {"name": "g", "policies": ["soft-affinity"]}}
    assert (await old.post(f"{COMPUTE}/os-server-groups", soft)).status == 400
    assert len((await old.get(f"{COMPUTE}/os-server-groups")).json["server_groups"]) == 1
    assert (await (await cloud.add_user("eve", "evil")).get(f"{COMPUTE}/os-server-groups/{made['id']}")).status == 404
    assert (await old.delete(f"{COMPUTE}/os-server-groups/{made['id']}")).status == 204
    assert (await old.get(f"{COMPUTE}/os-server-groups/{made['id']}")).status == 404


async def _boot(cloud: TestCloud, hosts: list[SimHost], group_id: str) -> dict[str, Any]:
    client = at(cloud.as_admin, "2.79")
    body = {
        "server": {"name": "s", "imageRef": IMAGE_ID, "flavorRef": "f", "networks": "none"},
        "os:scheduler_hints": {"group": group_id},
    }
    answer = await client.post(f"{COMPUTE}/servers", body)
    assert answer.status == 202, answer.body
    await converge(cloud, *hosts)
    return dict((await client.get(f"{COMPUTE}/servers/{answer.json['server']['id']}")).json["server"])


async def test_policies_are_kept(cloud: TestCloud) -> None:
    hosts = [await add_host(cloud, "host-a"), await add_host(cloud, "host-b")]
    await cloud.db.run(put_image)
    client = at(cloud.as_admin, "2.79")
    await client.post(f"{COMPUTE}/flavors", {"flavor": {"name": "f", "id": "f", "ram": 64, "vcpus": 1, "disk": 1}})
    host = "OS-EXT-SRV-ATTR:host"
    apart = await group(client, "anti-affinity")
    first, second, third = [await _boot(cloud, hosts, apart) for _ in range(3)]
    assert {first[host], second[host]} == {"host-a", "host-b"}
    assert third["status"] == "ERROR" and first["server_groups"] == [apart]
    together = await group(client, "affinity")
    assert len({(await _boot(cloud, hosts, together))[host] for _ in range(3)}) == 1
    soft = await group(client, "soft-anti-affinity")
    placed = [await _boot(cloud, hosts, soft) for _ in range(3)]
    assert {s["status"] for s in placed} == {"ACTIVE"}
    assert {s[host] for s in placed[:2]} == {"host-a", "host-b"}
    members = (await client.get(f"{COMPUTE}/os-server-groups/{soft}")).json["server_group"]["members"]
    assert sorted(members) == sorted(s["id"] for s in placed)
    other = "33333333-3333-4333-8333-333333333333"
    body = {
        "server": {"name": "s", "imageRef": IMAGE_ID, "flavorRef": "f", "networks": "none"},
        "os:scheduler_hints": {"group": other},
    }
    assert (await client.post(f"{COMPUTE}/servers", body)).status == 400
