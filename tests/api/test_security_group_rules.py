"""Security group rules over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from ostro.testing.cloud import TestCloud
from ostro.testing.networking import ROOT, kind_of, listed, make


async def test_life_of_a_rule(cloud: TestCloud) -> None:
    alice, bob = await cloud.add_user("alice", "alices"), await cloud.add_user("bob", "bobs")
    group = await make(alice, "security-groups", name="web")
    rule = await make(
        alice,
        "security-group-rules",
        security_group_id=group["id"],
        direction="ingress",
        protocol="TCP",
        port_range_min="80",
        port_range_max=81,
        remote_ip_prefix="192.0.2.7/24",
        description="http",
    )
    assert (rule["ethertype"], rule["protocol"], rule["port_range_min"], rule["port_range_max"]) == (
        "IPv4",
        "tcp",
        80,
        81,
    )
    assert (rule["remote_ip_prefix"], rule["normalized_cidr"]) == ("192.0.2.7/24", "192.0.2.0/24")
    assert (rule["remote_group_id"], rule["belongs_to_default_sg"]) == (None, False)
    shown = (await alice.get(f"{ROOT}/security-group-rules/{rule['id']}")).json["security_group_rule"]
    assert shown == rule
    group_now = (await alice.get(f"{ROOT}/security-groups/{group['id']}")).json["security_group"]
    assert rule["id"] in {r["id"] for r in group_now["security_group_rules"]}
    assert group_now["revision_number"] > group["revision_number"]
    for answer in (
        await bob.get(f"{ROOT}/security-group-rules/{rule['id']}"),
        await bob.delete(f"{ROOT}/security-group-rules/{rule['id']}"),
    ):
        assert (answer.status, kind_of(answer)) == (404, "SecurityGroupRuleNotFound")
    body = {"security_group_id": group["id"], "direction": "ingress"}
    assert (await bob.post(f"{ROOT}/security-group-rules", {"security_group_rule": body})).status == 404
    assert (await alice.delete(f"{ROOT}/security-group-rules/{rule['id']}")).status == 204
    assert (await alice.delete(f"{ROOT}/security-group-rules/{rule['id']}")).status == 404
    assert (await alice.put(f"{ROOT}/security-group-rules/{rule['id']}", {})).status in (404, 405)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            {"protocol": "tcp", "port_range_min": 80, "port_range_max": 80},
            {"protocol": 6, "port_range_min": 80, "port_range_max": 80},
        ),
        ({"protocol": "icmp", "ethertype": "IPv6"}, {"protocol": "ipv6-icmp", "ethertype": "ipv6"}),
        ({"protocol": "58", "ethertype": "IPv6"}, {"protocol": "icmpv6", "ethertype": "IPv6"}),
        ({}, {"remote_ip_prefix": "0.0.0.0/0"}),
        ({"protocol": "udp"}, {"protocol": "udp", "port_range_min": 1, "port_range_max": 65535}),
        ({"remote_ip_prefix": "192.0.2.1"}, {"remote_ip_prefix": "192.0.2.1/32"}),
        ({"protocol": "any"}, {"protocol": None}),
        ({"description": "one"}, {"description": "two"}),
    ],
)
async def test_duplicates(cloud: TestCloud, first: dict[str, Any], second: dict[str, Any]) -> None:
    group = await make(cloud.as_admin, "security-groups", name="g")
    base = {"security_group_id": group["id"], "direction": "ingress"}
    rule = await make(cloud.as_admin, "security-group-rules", **base, **first)
    answer = await cloud.as_admin.post(f"{ROOT}/security-group-rules", {"security_group_rule": {**base, **second}})
    assert (answer.status, kind_of(answer)) == (409, "SecurityGroupRuleExists")
    assert rule["id"] in answer.json["NeutronError"]["message"]
    await make(
        cloud.as_admin,
        "security-group-rules",
        **{**base, **second, "direction": "egress", "protocol": 17 if second.get("protocol") != "udp" else 6},
    )


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"direction": "sideways"}, "HTTPBadRequest"),
        ({"ethertype": "IPX"}, "SecurityGroupRuleInvalidEtherType"),
        ({"protocol": "carrier"}, "SecurityGroupRuleInvalidProtocol"),
        ({"protocol": 256}, "SecurityGroupRuleInvalidProtocol"),
        ({"protocol": ""}, "SecurityGroupRuleInvalidProtocol"),
        ({"port_range_min": 80, "port_range_max": 80}, "SecurityGroupProtocolRequiredWithPorts"),
        ({"protocol": "tcp", "port_range_min": 80}, "SecurityGroupInvalidPortRange"),
        ({"protocol": "tcp", "port_range_max": 80}, "SecurityGroupInvalidPortRange"),
        ({"protocol": "tcp", "port_range_min": 81, "port_range_max": 80}, "SecurityGroupInvalidPortRange"),
        ({"protocol": "tcp", "port_range_min": 0, "port_range_max": 80}, "SecurityGroupInvalidPortValue"),
        ({"protocol": "tcp", "port_range_min": -1, "port_range_max": 80}, "SecurityGroupInvalidPortValue"),
        ({"protocol": "tcp", "port_range_min": 1, "port_range_max": 65536}, "SecurityGroupInvalidPortValue"),
        ({"protocol": "tcp", "port_range_min": "x", "port_range_max": 1}, "SecurityGroupInvalidPortValue"),
        ({"protocol": "icmp", "port_range_min": 256}, "SecurityGroupInvalidIcmpValue"),
        ({"protocol": "icmp", "port_range_max": 5}, "SecurityGroupMissingIcmpType"),
        ({"protocol": "gre", "port_range_min": 1, "port_range_max": 2}, "SecurityGroupInvalidProtocolForPort"),
        ({"remote_ip_prefix": "300.0.0.0/8"}, "InvalidCIDR"),
        ({"remote_ip_prefix": "fd00::/8"}, "SecurityGroupRuleParameterConflict"),
        ({"protocol": "ipv6-icmp"}, "SecurityGroupEthertypeConflictWithProtocol"),
        ({"remote_address_group_id": "x"}, "HTTPBadRequest"),
        ({"colour": "blue"}, "HTTPBadRequest"),
    ],
)
async def test_what_a_rule_may_not_say(cloud: TestCloud, attributes: dict[str, Any], kind: str) -> None:
    group = await make(cloud.as_admin, "security-groups", name="g")
    body = {"security_group_id": group["id"], "direction": "ingress", **attributes}
    answer = await cloud.as_admin.post(f"{ROOT}/security-group-rules", {"security_group_rule": body})
    assert (answer.status, kind_of(answer)) == (400, kind), answer.body


async def test_one_remote_only(cloud: TestCloud) -> None:
    group = await make(cloud.as_admin, "security-groups", name="g")
    body = {
        "security_group_id": group["id"],
        "direction": "ingress",
        "remote_group_id": group["id"],
        "remote_ip_prefix": "10.0.0.0/8",
    }
    answer = await cloud.as_admin.post(f"{ROOT}/security-group-rules", {"security_group_rule": body})
    assert (answer.status, kind_of(answer)) == (400, "SecurityGroupMultipleRemoteEntites")
    body = {**body, "remote_ip_prefix": None, "remote_group_id": "7f000000-0000-4000-8000-000000000000"}
    answer = await cloud.as_admin.post(f"{ROOT}/security-group-rules", {"security_group_rule": body})
    assert (answer.status, kind_of(answer)) == (404, "SecurityGroupNotFound")


async def test_bulk(cloud: TestCloud) -> None:
    one = await make(cloud.as_admin, "security-groups", name="one")
    two = await make(cloud.as_admin, "security-groups", name="two")
    rules = [
        {
            "security_group_id": one["id"],
            "direction": "ingress",
            "protocol": "tcp",
            "port_range_min": n,
            "port_range_max": n,
        }
        for n in range(1, 6)
    ]
    answer = await cloud.as_admin.post(f"{ROOT}/security-group-rules", {"security_group_rules": rules})
    assert [r["port_range_min"] for r in answer.json["security_group_rules"]] == [1, 2, 3, 4, 5]
    path = f"security-group-rules?security_group_id={two['id']}"
    before = await listed(cloud.as_admin, path)
    fresh = {"security_group_id": two["id"], "direction": "ingress"}
    twice = await cloud.as_admin.post(f"{ROOT}/security-group-rules", {"security_group_rules": [fresh, fresh]})
    assert (twice.status, kind_of(twice)) == (409, "DuplicateSecurityGroupRuleInPost")
    mixed = [fresh, {**fresh, "security_group_id": one["id"]}]
    refused = await cloud.as_admin.post(f"{ROOT}/security-group-rules", {"security_group_rules": mixed})
    assert (refused.status, kind_of(refused)) == (400, "SecurityGroupNotSingleGroupRules")
    assert await listed(cloud.as_admin, path) == before
