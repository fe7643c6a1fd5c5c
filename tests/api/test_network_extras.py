"""Extensions, quotas, agents, zones and the use of addresses, over HTTP."""

from __future__ import annotations

from ostro.http.network.extensions import EXTENSIONS
from ostro.testing.cloud import TestCloud
from ostro.testing.networking import ROOT, add_hosts, kind_of, listed, make, make_net


async def test_extensions(cloud: TestCloud) -> None:
    assert [e["alias"] for e in await listed(cloud.as_admin, "extensions")] == list(EXTENSIONS)
    shown = (await cloud.as_admin.get(f"{ROOT}/extensions/security-group")).json["extension"]
    assert shown["name"] == "security-group"
    missing = await cloud.as_admin.get(f"{ROOT}/extensions/router")
    assert (missing.status, kind_of(missing)) == (404, "ExtensionNotFound")


async def test_what_is_not_here_is_not_announced(cloud: TestCloud) -> None:
    for collection, alias in (("routers", "router"), ("floatingips", "router"), ("service-providers", "")):
        assert alias not in EXTENSIONS
        assert await listed(cloud.as_admin, collection) == []
        assert (await cloud.as_admin.post(f"{ROOT}/{collection}", {})).status in (404, 405)
    assert (await cloud.as_admin.get(f"{ROOT}/subnetpools")).status == 404


async def test_quotas(cloud: TestCloud) -> None:
    alice = await cloud.add_user("alice", "alices")
    network, _ = await make_net(alice)
    quota = (await alice.get(f"{ROOT}/quotas/{network['project_id']}")).json["quota"]
    assert (quota["network"], quota["port"], quota["security_group_rule"]) == (-1, -1, -1)
    assert (await alice.get(f"{ROOT}/quotas/{network['project_id']}/default")).json["quota"] == quota
    details = (await alice.get(f"{ROOT}/quotas/{network['project_id']}/details")).json["quota"]
    assert details["network"] == {"limit": -1, "used": 1, "reserved": 0}
    assert (details["port"]["used"], details["security_group"]["used"], details["router"]["used"]) == (1, 1, 0)
    assert (await alice.get(f"{ROOT}/quotas/somebody")).status == 403
    assert (await cloud.as_admin.get(f"{ROOT}/quotas/somebody")).status == 200
    assert await listed(cloud.as_admin, "quotas") == []


async def test_agents_and_zones(cloud: TestCloud) -> None:
    alice = await cloud.add_user("alice", "alices")
    assert await listed(alice, "availability_zones") == []
    await cloud.db.run(add_hosts, "a", "b")
    agents = await listed(cloud.as_admin, "agents")
    assert [(a["host"], a["alive"], a["admin_state_up"]) for a in agents] == [("a", False, True), ("b", False, True)]
    assert agents[1]["configurations"]["tunneling_ip"] == "127.0.0.2"
    assert [a["host"] for a in await listed(cloud.as_admin, "agents?host=b")] == ["b"]
    assert await listed(cloud.as_admin, "agents?alive=true") == []
    shown = (await cloud.as_admin.get(f"{ROOT}/agents/{agents[0]['id']}")).json["agent"]
    assert shown == agents[0]
    missing = await cloud.as_admin.get(f"{ROOT}/agents/nobody")
    assert (missing.status, kind_of(missing)) == (404, "AgentNotFound")
    zones = await listed(alice, "availability_zones")
    assert zones == [{"name": "nova", "resource": "network", "state": "available"}]
    assert await listed(alice, "availability_zones?state=unavailable") == []


async def test_ip_availability(cloud: TestCloud) -> None:
    network, subnet = await make_net(cloud.as_admin, "10.1.0.0/24")
    await make(cloud.as_admin, "ports", network_id=network["id"])
    await make(cloud.as_admin, "networks", name="empty")
    [use] = await listed(cloud.as_admin, f"network-ip-availabilities?network_id={network['id']}")
    assert (use["total_ips"], use["used_ips"]) == (253, 2)
    assert use["subnet_ip_availability"] == [
        {
            "subnet_id": subnet["id"],
            "subnet_name": "",
            "cidr": "10.1.0.0/24",
            "ip_version": 4,
            "total_ips": 253,
            "used_ips": 2,
        }
    ]
    shown = (await cloud.as_admin.get(f"{ROOT}/network-ip-availabilities/{network['id']}")).json
    assert shown["network_ip_availability"] == use
    assert len(await listed(cloud.as_admin, "network-ip-availabilities")) == 2


async def test_a_refused_token_has_identitys_shape(cloud: TestCloud) -> None:
    answer = await cloud.anonymous.get(f"{ROOT}/networks")
    assert answer.status == 401
    assert answer.json["error"]["code"] == 401
    unknown = await cloud.as_admin.get(f"{ROOT}/nothing")
    assert (unknown.status, kind_of(unknown)) == (404, "HTTPNotFound")
