"""Odd bodies and queries are refused or taken, never a 500: random ones from a seed, over every route of the service that takes any."""

from __future__ import annotations

import random
from typing import Any
from urllib.parse import urlencode

import pytest

from ostro.http.network.networks import CREATE as NETWORKS
from ostro.http.network.networks import LISTING as NETWORK_LIST
from ostro.http.network.ports import CREATE as PORTS
from ostro.http.network.ports import LISTING as PORT_LIST
from ostro.http.network.security_group_rules import CREATE as RULES
from ostro.http.network.security_group_rules import LISTING as RULE_LIST
from ostro.http.network.security_groups import CREATE as GROUPS
from ostro.http.network.security_groups import LISTING as GROUP_LIST
from ostro.http.network.subnets import CREATE as SUBNETS
from ostro.http.network.subnets import LISTING as SUBNET_LIST
from ostro.testing.cloud import TestCloud
from ostro.testing.networking import ROOT, make, make_net

NOUNS: dict[str, tuple[str, dict[str, Any], Any]] = {
    "networks": ("network", NETWORKS, NETWORK_LIST),
    "subnets": ("subnet", SUBNETS, SUBNET_LIST),
    "ports": ("port", PORTS, PORT_LIST),
    "security-groups": ("security_group", GROUPS, GROUP_LIST),
    "security-group-rules": ("security_group_rule", RULES, RULE_LIST),
}
ODD: list[Any] = [
    None,
    "",
    "x",
    "0",
    "-1",
    "4294967296",
    "10.0.0.1",
    "10.1.0.7",
    "10.1.0.0/24",
    "255.255.255.255",
    "fd00::1",
    "fd00::/64",
    "::ffff:10.0.0.1",
    "01:02:03:04:05:06",
    "fa:16:3e:00:00:01",
    "ü\0%_'\"\\",
    "n" * 300,
    0,
    -1,
    1,
    65536,
    2**40,
    1.5,
    True,
    False,
    [],
    [None],
    [[]],
    {},
    {"a": 1},
    "ingress",
    "IPv6",
    "tcp",
    "icmp",
    "vxlan",
    "vlan",
]
LISTS = ("fixed_ips", "allowed_address_pairs", "allocation_pools", "host_routes")


def odd_value(rng: random.Random, name: str, ids: list[str]) -> Any:
    pool = [*ODD, *ids]
    if name in LISTS and rng.random() < 0.7:
        keys = ("ip_address", "subnet_id", "mac_address", "start", "end", "destination", "nexthop")
        return [
            {key: rng.choice(pool) for key in rng.sample(keys, rng.randrange(1, 3))} for _ in range(rng.randrange(3))
        ]
    if rng.random() < 0.2:
        return [rng.choice(pool) for _ in range(rng.randrange(3))]
    return rng.choice(pool)


@pytest.mark.parametrize("collection", NOUNS)
async def test_no_body_breaks_the_service(cloud: TestCloud, collection: str) -> None:
    network, subnet = await make_net(cloud.as_admin, "10.1.0.0/24")
    port = await make(cloud.as_admin, "ports", network_id=network["id"])
    group = await make(cloud.as_admin, "security-groups", name="g")
    ids = [network["id"], subnet["id"], port["id"], group["id"]]
    noun, schema, listing = NOUNS[collection]
    properties = list(schema["properties"][noun]["properties"])
    required = schema["properties"][noun].get("required", [])
    target = {"networks": network, "subnets": subnet, "ports": port}.get(collection, group)["id"]
    sound = {
        "network_id": network["id"],
        "ip_version": 4,
        "cidr": "10.2.0.0/24",
        "security_group_id": group["id"],
        "direction": "ingress",
    }
    rng = random.Random(collection)
    for _ in range(80):
        item = {name: sound[name] for name in required if rng.random() < 0.9}
        if collection == "subnets":
            item["cidr"] = rng.choice(["10.2.0.0/24", "10.3.0.0/30", "192.168.0.0/31", "10.1.0.0/16"])
        item.update({name: odd_value(rng, name, ids) for name in rng.sample(properties, rng.randrange(1, 3))})
        answers = [await cloud.as_admin.post(f"{ROOT}/{collection}", {noun: item})]
        if collection != "security-group-rules":
            changes = {name: odd_value(rng, name, ids) for name in rng.sample(properties, rng.randrange(1, 3))}
            answers.append(await cloud.as_admin.put(f"{ROOT}/{collection}/{target}", {noun: changes}))
        query = urlencode([(name, str(rng.choice([*ODD, *ids]))) for name in rng.sample(list(listing.query), 2)])
        answers.append(await cloud.as_admin.get(f"{ROOT}/{collection}?{query}"))
        for answer in answers:
            assert answer.status < 500 or answer.status == 501, (item, query, answer.body)
