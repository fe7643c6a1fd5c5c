"""Networks over HTTP."""

from __future__ import annotations

from ostro.testing.cloud import TestCloud
from ostro.testing.networking import ROOT, change, kind_of, listed, make, make_net


async def test_version_documents(cloud: TestCloud) -> None:
    versions = (await cloud.anonymous.get("/networking")).json["versions"]
    assert [(v["id"], v["status"]) for v in versions] == [("v2.0", "CURRENT")]
    assert versions[0]["links"][0]["href"].endswith("/networking/v2.0/")
    resources = (await cloud.anonymous.get("/networking/v2.0/")).json["resources"]
    assert {"networks", "subnets", "ports"} <= {r["collection"] for r in resources}


async def test_life_of_a_network(cloud: TestCloud) -> None:
    alice = await cloud.add_user("alice", "alices")
    made = await make(alice, "networks", name="blue")
    assert (made["status"], made["mtu"], made["shared"], made["subnets"]) == ("ACTIVE", 1450, False, [])
    assert made["project_id"] == made["tenant_id"] != ""
    assert "provider:network_type" not in made
    shown = (await alice.get(f"{ROOT}/networks/{made['id']}")).json["network"]
    assert shown == made
    changed = await change(alice, "networks", made["id"], name="green", description="d", mtu=1400)
    assert (changed["name"], changed["mtu"], changed["revision_number"]) == ("green", 1400, made["revision_number"] + 1)
    assert (await alice.delete(f"{ROOT}/networks/{made['id']}")).status == 204
    gone = await alice.get(f"{ROOT}/networks/{made['id']}")
    assert gone.status == 404
    assert kind_of(gone) == "NetworkNotFound"
    assert gone.json["NeutronError"]["message"] == f"Network {made['id']} could not be found."


async def test_bulk_create_is_all_or_nothing(cloud: TestCloud) -> None:
    admin = cloud.as_admin
    answer = await admin.post(f"{ROOT}/networks", {"networks": [{"name": "a"}, {"name": "b"}]})
    assert [n["name"] for n in answer.json["networks"]] == ["a", "b"]
    refused = await admin.post(f"{ROOT}/networks", {"networks": [{"name": "c"}, {"name": "d", "mtu": 9000}]})
    assert (refused.status, kind_of(refused)) == (400, "InvalidInput")
    assert {n["name"] for n in await listed(admin, "networks")} == {"a", "b"}


async def test_tenants_see_their_own_and_shared_networks(cloud: TestCloud) -> None:
    alice, bob = await cloud.add_user("alice", "alices"), await cloud.add_user("bob", "bobs")
    own = await make(alice, "networks", name="own")
    shared = await make(cloud.as_admin, "networks", name="shared", shared=True)
    assert {n["id"] for n in await listed(alice, "networks")} == {own["id"], shared["id"]}
    assert {n["id"] for n in await listed(bob, "networks")} == {shared["id"]}
    assert (await bob.get(f"{ROOT}/networks/{own['id']}")).status == 404
    assert (await bob.put(f"{ROOT}/networks/{own['id']}", {"network": {"name": "x"}})).status == 404
    assert (await bob.delete(f"{ROOT}/networks/{own['id']}")).status == 404
    foreign = await bob.delete(f"{ROOT}/networks/{shared['id']}")
    assert (foreign.status, kind_of(foreign)) == (403, "PolicyNotAuthorized")


async def test_only_an_administrator_shares_and_names_segments(cloud: TestCloud) -> None:
    alice = await cloud.add_user("alice", "alices")
    for attributes in ({"shared": True}, {"provider:network_type": "vxlan"}, {"project_id": "other"}):
        answer = await alice.post(f"{ROOT}/networks", {"network": attributes})
        assert (answer.status, kind_of(answer)) == (403, "PolicyNotAuthorized"), attributes


async def test_segments(cloud: TestCloud) -> None:
    admin = cloud.as_admin
    drawn = await make(admin, "networks")
    assert drawn["provider:network_type"] == "vxlan" and drawn["provider:segmentation_id"] > 0
    vlan = {
        "provider:network_type": "vlan",
        "provider:physical_network": "physnet1",
        "provider:segmentation_id": "101",
    }
    made = await make(admin, "networks", **vlan)
    assert (made["provider:segmentation_id"], made["mtu"]) == (101, 1500)
    again = await admin.post(f"{ROOT}/networks", {"network": vlan})
    assert (again.status, kind_of(again)) == (409, "VlanIdInUse")
    flat = {"provider:network_type": "flat", "provider:physical_network": "physnet1"}
    await make(admin, "networks", **flat)
    again = await admin.post(f"{ROOT}/networks", {"network": flat})
    assert (again.status, kind_of(again)) == (409, "FlatNetworkInUse")
    tunnel = {"provider:network_type": "vxlan", "provider:segmentation_id": 42}
    await make(admin, "networks", **tunnel)
    again = await admin.post(f"{ROOT}/networks", {"network": tunnel})
    assert (again.status, kind_of(again)) == (409, "TunnelIdInUse")
    await make(admin, "networks", **{"provider:network_type": "local"})
    await make(admin, "networks", **{"provider:network_type": "local"})
    for wrong in (
        {"provider:segmentation_id": 5},
        {"provider:network_type": "carrier-pigeon"},
        {"provider:network_type": "vlan", "provider:physical_network": "p"},
        {"provider:network_type": "vlan", "provider:segmentation_id": 5},
        {"provider:network_type": "vlan", "provider:physical_network": "p", "provider:segmentation_id": 5000},
        {"provider:network_type": "vxlan", "provider:physical_network": "p"},
        {"provider:network_type": "local", "provider:segmentation_id": 5},
    ):
        assert (await admin.post(f"{ROOT}/networks", {"network": wrong})).status == 400, wrong


async def test_a_network_in_use_stays(cloud: TestCloud) -> None:
    network, _ = await make_net(cloud.as_admin)
    port = await make(cloud.as_admin, "ports", network_id=network["id"])
    refused = await cloud.as_admin.delete(f"{ROOT}/networks/{network['id']}")
    assert (refused.status, kind_of(refused)) == (409, "NetworkInUse")
    assert port["id"] in refused.json["NeutronError"]["message"]
    await cloud.as_admin.delete(f"{ROOT}/ports/{port['id']}")
    assert (await cloud.as_admin.delete(f"{ROOT}/networks/{network['id']}")).status == 204
    assert await listed(cloud.as_admin, "subnets") == []
    assert await listed(cloud.as_admin, "ports") == []


async def test_sharing_ends_only_when_others_are_gone(cloud: TestCloud) -> None:
    alice = await cloud.add_user("alice", "alices")
    network = await make(cloud.as_admin, "networks", shared=True)
    await make(cloud.as_admin, "subnets", network_id=network["id"], ip_version=4, cidr="10.0.0.0/24")
    port = await make(alice, "ports", network_id=network["id"])
    path = f"{ROOT}/networks/{network['id']}"
    refused = await cloud.as_admin.put(path, {"network": {"shared": False}})
    assert (refused.status, kind_of(refused)) == (409, "InvalidSharedSetting")
    await alice.delete(f"{ROOT}/ports/{port['id']}")
    assert (await cloud.as_admin.put(path, {"network": {"shared": False}})).status == 200
    assert await listed(alice, "networks") == []


async def test_if_match_guards_a_change(cloud: TestCloud) -> None:
    network = await make(cloud.as_admin, "networks")
    path, current = f"{ROOT}/networks/{network['id']}", network["revision_number"]
    stale = {"If-Match": f"revision_number={current - 1}"}
    refused = await cloud.as_admin.put(path, {"network": {"name": "x"}}, headers=stale)
    assert (refused.status, kind_of(refused)) == (412, "RevisionNumberConstraintFailed")
    assert (await cloud.as_admin.delete(path, headers=stale)).status == 412
    fresh = {"If-Match": f"revision_number={current}"}
    assert (await cloud.as_admin.put(path, {"network": {"name": "x"}}, headers=fresh)).status == 200


async def test_bodies_are_strict(cloud: TestCloud) -> None:
    for body in ({"network": {"colour": "blue"}}, {"network": {"id": "x"}}, {}, {"network": {"name": "n" * 256}}):
        answer = await cloud.as_admin.post(f"{ROOT}/networks", body)
        assert (answer.status, kind_of(answer)) == (400, "HTTPBadRequest"), body
    network = await make(cloud.as_admin, "networks", admin_state_up="False")
    assert network["admin_state_up"] is False
    answer = await cloud.as_admin.put(f"{ROOT}/networks/{network['id']}", {"network": {"project_id": "x"}})
    assert answer.status == 400
