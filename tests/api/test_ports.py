"""Ports over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from ostro.model.wishes import Noun, Phase, Report
from ostro.services.network.port_changes import settle_port
from ostro.store.database import Tx
from ostro.store.wishes import find_generation
from ostro.testing.cloud import TestCloud
from ostro.testing.networking import ROOT, add_hosts, change, kind_of, listed, make, make_net


async def test_life_of_a_port(cloud: TestCloud) -> None:
    alice = await cloud.add_user("alice", "alices")
    network, subnet = await make_net(alice, "10.1.0.0/24")
    port = await make(alice, "ports", network_id=network["id"], name="p", device_id="d", device_owner="me")
    [address] = port["fixed_ips"]
    assert address["subnet_id"] == subnet["id"] and address["ip_address"].startswith("10.1.0.")
    assert port["mac_address"].startswith("fa:16:3e:")
    assert (port["status"], port["admin_state_up"], port["port_security_enabled"]) == ("DOWN", True, True)
    [default] = await listed(alice, "security-groups")
    assert port["security_groups"] == [default["id"]]
    assert not any(name.startswith("binding:host") for name in port)
    assert (await alice.get(f"{ROOT}/ports/{port['id']}")).json["port"] == port
    changed = await change(alice, "ports", port["id"], name="q", device_id="", device_owner="", security_groups=[])
    assert (changed["name"], changed["security_groups"]) == ("q", [])
    assert changed["fixed_ips"] == port["fixed_ips"]
    assert (await alice.delete(f"{ROOT}/ports/{port['id']}")).status == 204
    gone = await alice.get(f"{ROOT}/ports/{port['id']}")
    assert (gone.status, kind_of(gone)) == (404, "PortNotFound")


async def test_asked_addresses(cloud: TestCloud) -> None:
    network, first = await make_net(cloud.as_admin, "10.1.0.0/24")
    second = await make(cloud.as_admin, "subnets", network_id=network["id"], ip_version=4, cidr="10.2.0.0/24")
    wanted = [
        {"ip_address": "10.2.0.9"},
        {"subnet_id": first["id"]},
        {"subnet_id": first["id"], "ip_address": "10.1.0.1"},
    ]
    port = await make(cloud.as_admin, "ports", network_id=network["id"], fixed_ips=wanted)
    got = [(f["subnet_id"], f["ip_address"]) for f in port["fixed_ips"]]
    assert got[0] == (second["id"], "10.2.0.9")
    assert got[1][0] == first["id"]
    assert got[2] == (first["id"], "10.1.0.1")
    bare = await make(cloud.as_admin, "ports", network_id=network["id"], fixed_ips=[])
    assert bare["fixed_ips"] == []
    taken = {"network_id": network["id"], "fixed_ips": [{"ip_address": "10.2.0.9"}]}
    refused = await cloud.as_admin.post(f"{ROOT}/ports", {"port": taken})
    assert (refused.status, kind_of(refused)) == (409, "IpAddressAlreadyAllocated")


@pytest.mark.parametrize(
    ("attributes", "status", "kind"),
    [
        ({"fixed_ips": [{"ip_address": "192.0.2.1"}]}, 400, "InvalidIpForNetwork"),
        ({"fixed_ips": [{"ip_address": "10.9.0.0"}]}, 400, "InvalidIpForNetwork"),
        ({"fixed_ips": [{"ip_address": "10.9.0.255"}]}, 400, "InvalidIpForNetwork"),
        ({"fixed_ips": [{"ip_address": "x"}]}, 400, "HTTPBadRequest"),
        ({"fixed_ips": [{"ip_address": "10.9.0.5"}, {"ip_address": "10.9.0.5"}]}, 400, "HTTPBadRequest"),
        ({"fixed_ips": [{"subnet_id": "7f000000-0000-4000-8000-000000000000"}]}, 404, "SubnetNotFound"),
        ({"fixed_ips": [{}]}, 400, "HTTPBadRequest"),
        ({"mac_address": "x"}, 400, "HTTPBadRequest"),
        ({"mac_address": "01:00:5e:00:00:01"}, 400, "HTTPBadRequest"),
        ({"security_groups": ["7f000000-0000-4000-8000-000000000000"]}, 404, "SecurityGroupNotFound"),
        ({"allowed_address_pairs": [{"ip_address": "x"}]}, 400, "HTTPBadRequest"),
        ({"allowed_address_pairs": [{"ip_address": "10.0.0.1"}] * 2}, 400, "DuplicateAddressPairInRequest"),
        (
            {"allowed_address_pairs": [{"ip_address": f"10.0.0.{n}"} for n in range(11)]},
            400,
            "AllowedAddressPairExhausted",
        ),
        (
            {"port_security_enabled": False, "allowed_address_pairs": [{"ip_address": "10.0.0.1"}]},
            409,
            "AddressPairAndPortSecurityRequired",
        ),
        ({"binding:vnic_type": "direct"}, 400, "HTTPBadRequest"),
        ({"device_owner": "network:distributed"}, 403, "PolicyNotAuthorized"),
        ({"extra_dhcp_opts": []}, 400, "HTTPBadRequest"),
        ({"network_id": "7f000000-0000-4000-8000-000000000000"}, 404, "NetworkNotFound"),
    ],
)
async def test_what_a_port_may_not_be(cloud: TestCloud, attributes: dict[str, Any], status: int, kind: str) -> None:
    network, _ = await make_net(cloud.as_admin, "10.9.0.0/24", enable_dhcp=False)
    answer = await cloud.as_admin.post(f"{ROOT}/ports", {"port": {"network_id": network["id"], **attributes}})
    assert (answer.status, kind_of(answer)) == (status, kind), answer.body
    assert await listed(cloud.as_admin, "ports") == []


async def test_a_subnet_of_another_network_is_refused(cloud: TestCloud) -> None:
    network, _ = await make_net(cloud.as_admin)
    _, other = await make_net(cloud.as_admin)
    body = {"network_id": network["id"], "fixed_ips": [{"subnet_id": other["id"]}]}
    refused = await cloud.as_admin.post(f"{ROOT}/ports", {"port": body})
    assert (refused.status, kind_of(refused)) == (400, "InvalidInput")


async def test_mac_addresses_are_unique_in_a_network(cloud: TestCloud) -> None:
    network, _ = await make_net(cloud.as_admin)
    other, _ = await make_net(cloud.as_admin)
    mac = "fa:16:3e:aa:bb:cc"
    made = await make(cloud.as_admin, "ports", network_id=network["id"], mac_address=mac.upper().replace(":", "-"))
    assert made["mac_address"] == mac
    refused = await cloud.as_admin.post(f"{ROOT}/ports", {"port": {"network_id": network["id"], "mac_address": mac}})
    assert (refused.status, kind_of(refused)) == (409, "MacAddressInUse")
    await make(cloud.as_admin, "ports", network_id=other["id"], mac_address=mac)
    second = await make(cloud.as_admin, "ports", network_id=network["id"])
    refused = await cloud.as_admin.put(f"{ROOT}/ports/{second['id']}", {"port": {"mac_address": mac}})
    assert (refused.status, kind_of(refused)) == (409, "MacAddressInUse")
    changed = await change(cloud.as_admin, "ports", second["id"], mac_address=None)
    assert changed["mac_address"] not in (second["mac_address"], mac)
    [service] = await listed(cloud.as_admin, f"ports?network_id={network['id']}&device_owner=network:distributed")
    for attributes in ({"mac_address": service["mac_address"]},):
        refused = await cloud.as_admin.post(f"{ROOT}/ports", {"port": {"network_id": network["id"], **attributes}})
        assert refused.status == 409


async def test_an_exhausted_subnet_says_so(cloud: TestCloud) -> None:
    network, subnet = await make_net(cloud.as_admin, "10.1.0.0/29", enable_dhcp=False)
    ports = [await make(cloud.as_admin, "ports", network_id=network["id"]) for _ in range(5)]
    assert len({p["fixed_ips"][0]["ip_address"] for p in ports}) == 5
    refused = await cloud.as_admin.post(f"{ROOT}/ports", {"port": {"network_id": network["id"]}})
    assert (refused.status, kind_of(refused)) == (409, "IpAddressGenerationFailure")
    await make(cloud.as_admin, "subnets", network_id=network["id"], ip_version=4, cidr="10.2.0.0/24", enable_dhcp=False)
    spill = await make(cloud.as_admin, "ports", network_id=network["id"])
    assert spill["fixed_ips"][0]["ip_address"].startswith("10.2.")
    one = {"network_id": network["id"], "fixed_ips": [{"subnet_id": subnet["id"]}]}
    assert (await cloud.as_admin.post(f"{ROOT}/ports", {"port": one})).status == 409
    await cloud.as_admin.delete(f"{ROOT}/ports/{ports[3]['id']}")
    again = await make(cloud.as_admin, "ports", **one)
    assert again["fixed_ips"] == ports[3]["fixed_ips"]


async def test_bulk_create_is_all_or_nothing(cloud: TestCloud) -> None:
    network, _ = await make_net(cloud.as_admin, "10.1.0.0/16", enable_dhcp=False)
    item = {"network_id": network["id"], "name": "b"}
    answer = await cloud.as_admin.post(f"{ROOT}/ports", {"ports": [item] * 100})
    assert answer.status == 201
    assert len({p["fixed_ips"][0]["ip_address"] for p in answer.json["ports"]}) == 100
    assert len({p["mac_address"] for p in answer.json["ports"]}) == 100
    mixed = [item, {**item, "fixed_ips": [{"ip_address": "192.0.2.1"}]}]
    assert (await cloud.as_admin.post(f"{ROOT}/ports", {"ports": mixed})).status == 400
    assert len(await listed(cloud.as_admin, "ports")) == 100
    given = [{**item, "fixed_ips": [{"ip_address": f"10.1.3.{n}"}]} for n in range(1, 9)]
    answer = await cloud.as_admin.post(f"{ROOT}/ports", {"ports": [item, *given, item]})
    assert [p["fixed_ips"][0]["ip_address"] for p in answer.json["ports"][1:9]] == [f"10.1.3.{n}" for n in range(1, 9)]


async def test_changing_addresses_keeps_what_is_asked_for_again(cloud: TestCloud) -> None:
    network, subnet = await make_net(cloud.as_admin, "10.1.0.0/24")
    fixed = [{"ip_address": "10.1.0.10"}, {"ip_address": "10.1.0.11"}]
    port = await make(cloud.as_admin, "ports", network_id=network["id"], fixed_ips=fixed)
    wanted = [{"subnet_id": subnet["id"]}, {"ip_address": "10.1.0.10"}, {"ip_address": "10.1.0.12"}]
    changed = await change(cloud.as_admin, "ports", port["id"], fixed_ips=wanted)
    assert [f["ip_address"] for f in changed["fixed_ips"]] == ["10.1.0.11", "10.1.0.10", "10.1.0.12"]
    changed = await change(cloud.as_admin, "ports", port["id"], fixed_ips=[])
    assert changed["fixed_ips"] == []
    await make(cloud.as_admin, "ports", network_id=network["id"], fixed_ips=fixed)
    refused = await cloud.as_admin.put(f"{ROOT}/ports/{port['id']}", {"port": {"fixed_ips": fixed}})
    assert (refused.status, kind_of(refused)) == (409, "IpAddressAlreadyAllocated")


async def test_port_security(cloud: TestCloud) -> None:
    network, _ = await make_net(cloud.as_admin)
    open_port = await make(cloud.as_admin, "ports", network_id=network["id"], port_security_enabled=False)
    assert (open_port["security_groups"], open_port["port_security_enabled"]) == ([], False)
    port = await make(cloud.as_admin, "ports", network_id=network["id"])
    path = f"{ROOT}/ports/{port['id']}"
    refused = await cloud.as_admin.put(path, {"port": {"port_security_enabled": False}})
    assert (refused.status, kind_of(refused)) == (409, "PortSecurityPortHasSecurityGroup")
    both = {"port_security_enabled": False, "security_groups": port["security_groups"]}
    refused = await cloud.as_admin.put(path, {"port": both})
    assert (refused.status, kind_of(refused)) == (409, "PortSecurityAndIPRequiredForSecurityGroups")
    changed = await change(cloud.as_admin, "ports", port["id"], port_security_enabled=False, security_groups=[])
    assert changed["port_security_enabled"] is False
    loose = await make(cloud.as_admin, "networks", port_security_enabled=False)
    made = await make(cloud.as_admin, "ports", network_id=loose["id"])
    assert (made["port_security_enabled"], made["security_groups"]) == (False, [])
    secured = await make(cloud.as_admin, "ports", network_id=loose["id"], port_security_enabled=True)
    assert len(secured["security_groups"]) == 1


async def test_address_pairs(cloud: TestCloud) -> None:
    network, _ = await make_net(cloud.as_admin)
    pairs = [{"ip_address": "10.1.0.200"}, {"ip_address": "10.8.0.0/16", "mac_address": "FA:16:3E:00:00:09"}]
    port = await make(cloud.as_admin, "ports", network_id=network["id"], allowed_address_pairs=pairs)
    assert port["allowed_address_pairs"] == [
        {"ip_address": "10.1.0.200", "mac_address": port["mac_address"]},
        {"ip_address": "10.8.0.0/16", "mac_address": "fa:16:3e:00:00:09"},
    ]


async def test_rights_on_somebody_elses_shared_network(cloud: TestCloud) -> None:
    alice = await cloud.add_user("alice", "alices")
    network = await make(cloud.as_admin, "networks", shared=True)
    subnet = await make(cloud.as_admin, "subnets", network_id=network["id"], ip_version=4, cidr="10.2.0.0/24")
    for attributes in (
        {"fixed_ips": [{"ip_address": "10.2.0.9"}]},
        {"mac_address": "fa:16:3e:00:00:01"},
        {"port_security_enabled": False},
        {"allowed_address_pairs": [{"ip_address": "10.2.0.9"}]},
        {"device_owner": "network:dhcp"},
        {"binding:host_id": "h"},
        {"project_id": "other"},
    ):
        answer = await alice.post(f"{ROOT}/ports", {"port": {"network_id": network["id"], **attributes}})
        assert (answer.status, kind_of(answer)) == (403, "PolicyNotAuthorized"), attributes
    port = await make(alice, "ports", network_id=network["id"], fixed_ips=[{"subnet_id": subnet["id"]}])
    for attributes in ({"fixed_ips": [{"ip_address": "10.2.0.9"}]}, {"port_security_enabled": False}):
        assert (await alice.put(f"{ROOT}/ports/{port['id']}", {"port": attributes})).status == 403
    # The network's owner sees the ports of others on it; those see only their own.
    assert {p["id"] for p in await listed(alice, "ports")} == {port["id"]}
    owner = await cloud.add_user("owner", "owners")
    theirs, _ = await make_net(owner)
    hers = await make(cloud.as_admin, "ports", network_id=theirs["id"])
    assert hers["id"] in {p["id"] for p in await listed(owner, "ports")}
    assert (await alice.get(f"{ROOT}/ports/{hers['id']}")).status == 404


def _report(tx: Tx, host_id: str, port_id: str, phase: Phase) -> None:
    generation = find_generation(tx, host_id, Noun.PORT, port_id) or 0
    settle_port(tx, host_id, Report(Noun.PORT, port_id, generation, phase), now_us=1)


async def test_binding_and_status(cloud: TestCloud) -> None:
    await cloud.db.run(add_hosts, "a", "b")
    network, _ = await make_net(cloud.as_admin)
    port = await make(cloud.as_admin, "ports", network_id=network["id"], **{"binding:host_id": "a"})
    assert (port["binding:vif_type"], port["binding:host_id"], port["status"]) == ("ovs", "a", "DOWN")
    path = f"{ROOT}/ports/{port['id']}"

    async def status_after(host_id: str, phase: Phase) -> str:
        await cloud.db.run(_report, host_id, port["id"], phase)
        status: str = (await cloud.as_admin.get(path)).json["port"]["status"]
        return status

    assert await status_after("id-a", Phase.WORKING) == "BUILD"
    assert await status_after("id-a", Phase.READY) == "ACTIVE"
    assert await status_after("id-b", Phase.FAILED) == "ACTIVE"  # not its host
    assert await status_after("id-a", Phase.FAILED) == "ERROR"
    assert (await change(cloud.as_admin, "ports", port["id"], admin_state_up=False))["status"] == "DOWN"
    assert await status_after("id-a", Phase.READY) == "DOWN"
    await change(cloud.as_admin, "ports", port["id"], admin_state_up=True)
    assert await status_after("id-a", Phase.READY) == "ACTIVE"
    refused = await cloud.as_admin.put(path, {"port": {"mac_address": "fa:16:3e:00:00:01"}})
    assert (refused.status, kind_of(refused)) == (409, "PortBound")
    moved = await change(cloud.as_admin, "ports", port["id"], **{"binding:host_id": "b"})
    assert moved["status"] == "DOWN"
    lost = await change(cloud.as_admin, "ports", port["id"], **{"binding:host_id": "nowhere"})
    assert lost["binding:vif_type"] == "binding_failed"
    free = await change(cloud.as_admin, "ports", port["id"], **{"binding:host_id": ""})
    assert free["binding:vif_type"] == "unbound"


async def test_a_name_before_its_host(cloud: TestCloud) -> None:
    network, _ = await make_net(cloud.as_admin)
    port = await make(cloud.as_admin, "ports", network_id=network["id"], **{"binding:host_id": "late"})
    assert port["binding:vif_type"] == "binding_failed"
    inventory = {"vcpus": 1, "ram_mb": 1, "disk_gb": 1, "hypervisor_type": "f", "hypervisor_version": 1, "cpu_info": ""}
    body = {"name": "late", "incarnation": "1", "tunnel_ip": "127.0.0.9", "inventory": inventory}
    assert (await cloud.as_agent.with_headers(X_Agent_Incarnation="1").post("/agent/v1/hosts", body)).status == 200
    shown = (await cloud.as_admin.get(f"{ROOT}/ports/{port['id']}")).json["port"]
    assert shown["binding:vif_type"] == "ovs"


async def test_ids_in_bodies_are_uuids(cloud: TestCloud) -> None:
    network, _ = await make_net(cloud.as_admin)
    for noun, attributes in (
        ("port", {"network_id": "x"}),
        ("port", {"network_id": network["id"], "security_groups": ["x"]}),
        ("port", {"network_id": network["id"], "fixed_ips": [{"subnet_id": "x"}]}),
        ("subnet", {"network_id": "x", "ip_version": 4, "cidr": "10.9.0.0/24"}),
    ):
        assert (await cloud.as_admin.post(f"{ROOT}/{noun}s", {noun: attributes})).status == 400, attributes


async def test_only_an_administrator_changes_a_mac_address(cloud: TestCloud) -> None:
    alice = await cloud.add_user("alice", "demo")
    network, _ = await make_net(alice)
    port = await make(alice, "ports", network_id=network["id"], mac_address="fa:16:3e:00:00:05")
    path = f"{ROOT}/ports/{port['id']}"
    refused = await alice.put(path, {"port": {"mac_address": "fa:16:3e:00:00:06"}})
    assert (refused.status, kind_of(refused)) == (403, "PolicyNotAuthorized")
    assert (await alice.put(path, {"port": {"mac_address": port["mac_address"]}})).status == 200
    changed = await cloud.as_admin.put(path, {"port": {"mac_address": "fa:16:3e:00:00:06"}})
    assert changed.json["port"]["mac_address"] == "fa:16:3e:00:00:06"
