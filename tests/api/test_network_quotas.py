"""The network service's quotas over HTTP: shown, changed, and held."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from ostro.services.identity.catalog import seed_limits
from ostro.testing.cloud import ApiClient, TestCloud
from ostro.testing.hosts import add_host
from ostro.testing.images import IMAGE_ID, put_image

ROOT = "/networking/v2.0"
COMPUTE = "/compute/v2.1"


@pytest.fixture
async def limited(cloud: TestCloud) -> TestCloud:
    """A cloud with upstream's default limits."""
    await cloud.db.run(seed_limits, cloud.world)
    return cloud


async def make(client: ApiClient, noun: str, **body: Any) -> Any:
    return await client.post(f"{ROOT}/{noun}s", {noun.replace("-", "_"): body})


async def quota_of(cloud: TestCloud, client: ApiClient, **numbers: int) -> str:
    """Set the quota of the client's project; its id."""
    network = (await make(client, "network", name="first")).json["network"]
    answer = await cloud.as_admin.put(f"{ROOT}/quotas/{network['project_id']}", {"quota": numbers})
    assert answer.status == 200, answer.body
    return str(network["project_id"])


def refusal(answer: Any, resource: str) -> None:
    assert answer.status == 409
    error = {"type": "OverQuota", "message": f"Quota exceeded for resources: ['{resource}'].", "detail": ""}
    assert answer.json == {"NeutronError": error}


async def test_show_update_delete(limited: TestCloud) -> None:
    alice = await limited.add_user("alice", "blue")
    project = await quota_of(limited, alice, network=2, port=7)
    shown = (await alice.get(f"{ROOT}/quotas/{project}")).json["quota"]
    assert (shown["network"], shown["port"], shown["subnet"], shown["router"]) == (2, 7, 100, 10)
    assert (await alice.get(f"{ROOT}/quotas/{project}/default")).json["quota"]["network"] == 100
    details = (await alice.get(f"{ROOT}/quotas/{project}/details")).json["quota"]
    assert details["network"] == {"limit": 2, "used": 1, "reserved": 0}
    (listed,) = (await limited.as_admin.get(f"{ROOT}/quotas")).json["quotas"]
    assert (listed["project_id"], listed["tenant_id"], listed["port"]) == (project, project, 7)
    assert (await alice.put(f"{ROOT}/quotas/{project}", {"quota": {"network": 99}})).status == 403
    assert (await alice.delete(f"{ROOT}/quotas/{project}")).status == 403
    admin = limited.as_admin
    assert (await admin.put(f"{ROOT}/quotas/{project}", {"quota": {"network": -2}})).status == 400
    assert (await admin.put(f"{ROOT}/quotas/{project}", {"quota": {"lemon": 1}})).status == 400
    less = {"quota": {"network": 0, "check_limit": True}}
    assert (await admin.put(f"{ROOT}/quotas/{project}", less)).status == 400
    assert (await admin.put(f"{ROOT}/quotas/{project}", {"quota": {"network": "0"}})).json["quota"]["network"] == 0
    assert (await admin.delete(f"{ROOT}/quotas/{project}")).status == 204
    assert (await admin.get(f"{ROOT}/quotas")).json["quotas"] == []


async def test_each_resource_is_refused_in_neutrons_words(limited: TestCloud) -> None:
    alice = await limited.add_user("alice", "blue")
    project = await quota_of(limited, alice, network=2, subnet=1, port=2, security_group=2, security_group_rule=7)
    network = (await make(alice, "network")).json["network"]["id"]
    refusal(await make(alice, "network"), "network")
    refusal(await alice.post(f"{ROOT}/networks", {"networks": [{}, {}]}), "network")
    assert (await make(alice, "subnet", network_id=network, ip_version=4, cidr="10.1.0.0/24")).status == 201
    refusal(await make(alice, "subnet", network_id=network, ip_version=4, cidr="10.2.0.0/24"), "subnet")
    assert (await make(alice, "port", network_id=network)).status == 201
    refusal(await make(alice, "port", network_id=network), "port")
    refusal(
        await limited.as_admin.post(f"{ROOT}/ports", {"port": {"network_id": network, "project_id": project}}), "port"
    )
    group = await make(alice, "security-group", name="g")
    assert group.status == 201
    refusal(await make(alice, "security-group", name="h"), "security_group")
    rule = {"security_group_id": group.json["security_group"]["id"], "direction": "ingress", "protocol": "tcp"}
    assert (await make(alice, "security-group-rule", **rule, port_range_min=1, port_range_max=1)).status == 201
    more = await make(alice, "security-group-rule", **rule, port_range_min=2, port_range_max=2)
    refusal(more, "security_group_rule")
    details = (await alice.get(f"{ROOT}/quotas/{project}/details")).json["quota"]
    used = {name: item["used"] for name, item in details.items() if item["used"]}
    assert used == {"network": 2, "subnet": 1, "port": 2, "security_group": 2, "security_group_rule": 7}
    other = await limited.add_user("bob", "red")
    assert (await make(other, "network")).status == 201


async def test_a_server_needs_room_for_its_port(limited: TestCloud) -> None:
    await add_host(limited)
    await limited.db.run(put_image)
    flavor = {"flavor": {"name": "small", "id": "f", "ram": 64, "vcpus": 1, "disk": 1}}
    assert (await limited.as_admin.post(f"{COMPUTE}/flavors", flavor)).status == 200
    alice = await limited.add_user("alice", "blue")
    await quota_of(limited, alice, port=1)
    network = (await make(alice, "network")).json["network"]["id"]
    await make(alice, "subnet", network_id=network, ip_version=4, cidr="10.1.0.0/24")
    server = {"name": "s", "imageRef": IMAGE_ID, "flavorRef": "f", "networks": [{"uuid": network}]}
    refused = await alice.post(f"{COMPUTE}/servers", {"server": server})
    assert (refused.status, refused.json["forbidden"]["message"]) == (403, "Maximum number of ports exceeded")
    assert (await alice.get(f"{COMPUTE}/servers")).json["servers"] == []


async def test_sixteen_writers_never_pass_a_quota(limited: TestCloud) -> None:
    alice = await limited.add_user("alice", "blue")
    project = await quota_of(limited, alice, port=5)
    network = (await make(alice, "network")).json["network"]["id"]
    statuses: list[int] = []

    async def write() -> None:
        statuses.append((await make(alice, "port", network_id=network)).status)

    async with trio.open_nursery() as nursery:
        for _ in range(16):
            nursery.start_soon(write)
    assert sorted(statuses) == [201] * 5 + [409] * 11
    details = (await alice.get(f"{ROOT}/quotas/{project}/details")).json["quota"]
    assert details["port"]["used"] == 5
