"""Subnets over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from ostro.testing.cloud import TestCloud
from ostro.testing.networking import ROOT, change, kind_of, listed, make, make_net


async def test_life_of_a_subnet(cloud: TestCloud) -> None:
    network, subnet = await make_net(cloud.as_admin, "10.1.0.0/24", name="s", dns_nameservers=["1.1.1.1", "8.8.8.8"])
    assert subnet["gateway_ip"] == "10.1.0.1"
    assert subnet["allocation_pools"] == [{"start": "10.1.0.2", "end": "10.1.0.254"}]
    assert subnet["dns_nameservers"] == ["1.1.1.1", "8.8.8.8"]
    assert subnet["enable_dhcp"] is True
    shown = (await cloud.as_admin.get(f"{ROOT}/networks/{network['id']}")).json["network"]
    assert shown["subnets"] == [subnet["id"]]
    assert shown["revision_number"] > network["revision_number"]
    routes = [{"destination": "192.168.0.0/16", "nexthop": "10.1.0.9"}]
    changed = await change(
        cloud.as_admin, "subnets", subnet["id"], name="t", gateway_ip=None, host_routes=routes, dns_nameservers=[]
    )
    assert (changed["name"], changed["gateway_ip"], changed["host_routes"]) == ("t", None, routes)
    assert changed["dns_nameservers"] == []
    assert (await cloud.as_admin.delete(f"{ROOT}/subnets/{subnet['id']}")).status == 204
    gone = await cloud.as_admin.get(f"{ROOT}/subnets/{subnet['id']}")
    assert (gone.status, kind_of(gone)) == (404, "SubnetNotFound")


@pytest.mark.parametrize(
    ("cidr", "more", "gateway", "pools"),
    [
        ("10.0.0.0/30", {}, "10.0.0.1", [("10.0.0.2", "10.0.0.2")]),
        (
            "10.0.0.0/24",
            {"gateway_ip": "10.0.0.128"},
            "10.0.0.128",
            [("10.0.0.1", "10.0.0.127"), ("10.0.0.129", "10.0.0.254")],
        ),
        ("10.0.0.0/24", {"gateway_ip": None}, None, [("10.0.0.1", "10.0.0.254")]),
        ("10.0.0.0/24", {"gateway_ip": "192.0.2.1"}, "192.0.2.1", [("10.0.0.1", "10.0.0.254")]),
        ("10.0.0.7/24", {}, "10.0.0.1", [("10.0.0.2", "10.0.0.254")]),
        ("10.0.0.0/31", {"enable_dhcp": False, "gateway_ip": None}, None, [("10.0.0.0", "10.0.0.1")]),
        ("10.0.0.9/32", {"enable_dhcp": False, "gateway_ip": None}, None, [("10.0.0.9", "10.0.0.9")]),
    ],
)
async def test_pools_and_gateways(
    cloud: TestCloud, cidr: str, more: dict[str, Any], gateway: str | None, pools: list[tuple[str, str]]
) -> None:
    _, subnet = await make_net(cloud.as_admin, cidr, **more)
    assert subnet["gateway_ip"] == gateway
    assert [(p["start"], p["end"]) for p in subnet["allocation_pools"]] == pools


@pytest.mark.parametrize(
    ("attributes", "status", "kind"),
    [
        ({"cidr": "10.9.0.0/33"}, 400, "HTTPBadRequest"),
        ({"cidr": "nonsense"}, 400, "HTTPBadRequest"),
        ({"cidr": None}, 400, "BadRequest"),
        ({"cidr": "0.0.0.0/0"}, 400, "InvalidInput"),
        ({"cidr": "10.9.0.0/31"}, 400, "InvalidInput"),
        ({"cidr": "224.0.0.0/24"}, 400, "InvalidInput"),
        ({"cidr": "127.0.0.0/24"}, 400, "InvalidInput"),
        ({"cidr": "fd00::/64"}, 400, "InvalidInput"),
        ({"cidr": "fd00::/64", "ip_version": 6}, 501, "HTTPNotImplemented"),
        ({"gateway_ip": "10.9.0.0"}, 400, "InvalidInput"),
        ({"gateway_ip": "10.9.0.255"}, 400, "InvalidInput"),
        ({"gateway_ip": "fd00::1"}, 400, "InvalidInput"),
        ({"gateway_ip": "x"}, 400, "HTTPBadRequest"),
        ({"allocation_pools": [{"start": "10.9.0.1", "end": "10.9.0.9"}]}, 409, "GatewayConflictWithAllocationPools"),
        ({"allocation_pools": [{"start": "10.9.0.9", "end": "10.9.0.5"}]}, 400, "InvalidAllocationPool"),
        ({"allocation_pools": [{"start": "10.9.0.9", "end": "10.9.1.5"}]}, 400, "OutOfBoundsAllocationPool"),
        (
            {
                "allocation_pools": [
                    {"start": "10.9.0.9", "end": "10.9.0.20"},
                    {"start": "10.9.0.20", "end": "10.9.0.30"},
                ]
            },
            409,
            "OverlappingAllocationPools",
        ),
        ({"dns_nameservers": ["fd00::1"]}, 400, "InvalidInput"),
        ({"dns_nameservers": ["1.1.1.1"] * 2}, 400, "HTTPBadRequest"),
        ({"dns_nameservers": [f"1.1.1.{n}" for n in range(6)]}, 400, "DNSNameServersExhausted"),
        ({"host_routes": [{"destination": "x", "nexthop": "10.9.0.2"}]}, 400, "HTTPBadRequest"),
        ({"host_routes": [{"destination": "10.0.0.0/8", "nexthop": "y"}]}, 400, "HTTPBadRequest"),
        ({"network_id": "7f000000-0000-4000-8000-000000000000"}, 404, "NetworkNotFound"),
        ({"subnetpool_id": "x"}, 400, "HTTPBadRequest"),
        ({"colour": "blue"}, 400, "HTTPBadRequest"),
    ],
)
async def test_what_a_subnet_may_not_be(cloud: TestCloud, attributes: dict[str, Any], status: int, kind: str) -> None:
    network = await make(cloud.as_admin, "networks")
    body = {"network_id": network["id"], "ip_version": 4, "cidr": "10.9.0.0/24", **attributes}
    answer = await cloud.as_admin.post(f"{ROOT}/subnets", {"subnet": body})
    assert (answer.status, kind_of(answer)) == (status, kind), answer.body
    assert await listed(cloud.as_admin, "subnets") == []
    assert await listed(cloud.as_admin, "ports") == []


async def test_subnets_of_a_network_do_not_overlap(cloud: TestCloud) -> None:
    network, _ = await make_net(cloud.as_admin, "10.1.0.0/24")
    body = {"network_id": network["id"], "ip_version": 4, "cidr": "10.1.0.128/25"}
    answer = await cloud.as_admin.post(f"{ROOT}/subnets", {"subnet": body})
    assert (answer.status, kind_of(answer)) == (400, "InvalidInput")
    await make_net(cloud.as_admin, "10.1.0.0/24")  # of another network it may


async def test_dhcp_brings_a_service_port(cloud: TestCloud) -> None:
    network, first = await make_net(cloud.as_admin, "10.1.0.0/24")
    [port] = await listed(cloud.as_admin, f"ports?network_id={network['id']}")
    assert (port["device_owner"], port["device_id"]) == ("network:distributed", f"ovnmeta-{network['id']}")
    assert port["fixed_ips"] == [{"subnet_id": first["id"], "ip_address": "10.1.0.2"}]
    second = await make(cloud.as_admin, "subnets", network_id=network["id"], ip_version=4, cidr="10.2.0.0/24")
    third = await make(
        cloud.as_admin, "subnets", network_id=network["id"], ip_version=4, cidr="10.3.0.0/24", enable_dhcp=False
    )
    [port] = await listed(cloud.as_admin, f"ports?network_id={network['id']}")
    assert [f["subnet_id"] for f in port["fixed_ips"]] == [first["id"], second["id"]]
    await change(cloud.as_admin, "subnets", third["id"], enable_dhcp=True)
    await change(cloud.as_admin, "subnets", first["id"], enable_dhcp=False)
    [port] = await listed(cloud.as_admin, f"ports?network_id={network['id']}")
    assert [f["subnet_id"] for f in port["fixed_ips"]] == [second["id"], third["id"]]
    for refused in (
        await cloud.as_admin.delete(f"{ROOT}/ports/{port['id']}"),
        await cloud.as_admin.put(f"{ROOT}/ports/{port['id']}", {"port": {"fixed_ips": []}}),
    ):
        assert (refused.status, kind_of(refused)) == (409, "ServicePortInUse")
    for subnet in (second, third):
        assert (await cloud.as_admin.delete(f"{ROOT}/subnets/{subnet['id']}")).status == 204
    assert await listed(cloud.as_admin, "ports") == []


async def test_a_subnet_in_use_stays(cloud: TestCloud) -> None:
    network, subnet = await make_net(cloud.as_admin)
    port = await make(cloud.as_admin, "ports", network_id=network["id"])
    refused = await cloud.as_admin.delete(f"{ROOT}/subnets/{subnet['id']}")
    assert (refused.status, kind_of(refused)) == (409, "SubnetInUse")
    await cloud.as_admin.delete(f"{ROOT}/ports/{port['id']}")
    assert (await cloud.as_admin.delete(f"{ROOT}/subnets/{subnet['id']}")).status == 204


async def test_a_gateway_stays_out_of_the_pools(cloud: TestCloud) -> None:
    _, subnet = await make_net(cloud.as_admin, "10.1.0.0/24")
    path = f"{ROOT}/subnets/{subnet['id']}"
    refused = await cloud.as_admin.put(path, {"subnet": {"gateway_ip": "10.1.0.9"}})
    assert (refused.status, kind_of(refused)) == (409, "GatewayConflictWithAllocationPools")
    pools = [{"start": "10.1.0.20", "end": "10.1.0.30"}]
    changed = await change(cloud.as_admin, "subnets", subnet["id"], gateway_ip="10.1.0.9", allocation_pools=pools)
    assert (changed["gateway_ip"], changed["allocation_pools"]) == ("10.1.0.9", pools)
    assert (await cloud.as_admin.put(path, {"subnet": {"cidr": "10.2.0.0/24"}})).status == 400


async def test_subnets_of_shared_networks_are_seen(cloud: TestCloud) -> None:
    alice, bob = await cloud.add_user("alice", "alices"), await cloud.add_user("bob", "bobs")
    _, own = await make_net(alice, "10.1.0.0/24")
    network = await make(cloud.as_admin, "networks", shared=True)
    shared = await make(cloud.as_admin, "subnets", network_id=network["id"], ip_version=4, cidr="10.2.0.0/24")
    assert {s["id"] for s in await listed(bob, "subnets")} == {shared["id"]}
    assert {s["id"] for s in await listed(alice, "subnets")} == {own["id"], shared["id"]}
    assert (await bob.get(f"{ROOT}/subnets/{own['id']}")).status == 404
    assert (await bob.get(f"{ROOT}/subnets/{shared['id']}")).status == 200
    assert (await bob.delete(f"{ROOT}/subnets/{shared['id']}")).status == 403
    body = {"network_id": network["id"], "ip_version": 4, "cidr": "10.3.0.0/24"}
    assert (await bob.post(f"{ROOT}/subnets", {"subnet": body})).status == 403
