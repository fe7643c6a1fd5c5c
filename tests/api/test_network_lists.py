"""Lists of the network service: filters, fields, sorting and pages, over all nouns."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from ostro.testing.cloud import TestCloud
from ostro.testing.networking import ROOT, kind_of, listed, make, make_net


async def _names(cloud: TestCloud, query: str) -> list[str]:
    return [n["name"] for n in await listed(cloud.as_admin, "networks?" + query)]


async def test_pages_lead_forth_and_back(cloud: TestCloud) -> None:
    for name in "abcdefg":
        await make(cloud.as_admin, "networks", name=name)
    pages: list[list[str]] = []
    url: str | None = f"{ROOT}/networks?limit=3&sort_key=name&sort_dir=asc"
    last: dict[str, Any] = {}
    while url:
        answer = await cloud.as_admin.get(url)
        last = answer.json
        pages.append([n["name"] for n in last["networks"]])
        links = {link["rel"]: link["href"] for link in last.get("networks_links", ())}
        url = _below(links["next"]) if "next" in links else None
    assert pages == [["a", "b", "c"], ["d", "e", "f"], ["g"]]
    links = {link["rel"]: link["href"] for link in last["networks_links"]}
    back = (await cloud.as_admin.get(_below(links["previous"]))).json
    assert [n["name"] for n in back["networks"]] == ["d", "e", "f"]
    assert {link["rel"] for link in back["networks_links"]} == {"next", "previous"}
    links = {link["rel"]: link["href"] for link in back["networks_links"]}
    first = (await cloud.as_admin.get(_below(links["previous"]))).json
    assert [n["name"] for n in first["networks"]] == ["a", "b", "c"]
    assert {link["rel"] for link in first["networks_links"]} == {"next"}


def _below(href: str) -> str:
    parts = urlsplit(href)
    return f"{parts.path}?{parts.query}"


async def test_a_whole_list_has_no_links(cloud: TestCloud) -> None:
    await make(cloud.as_admin, "networks")
    for query in ("", "?limit=0", "?limit=5"):
        assert "networks_links" not in (await cloud.as_admin.get(f"{ROOT}/networks{query}")).json


async def test_sorting(cloud: TestCloud) -> None:
    for name, mtu in (("a", 1400), ("b", 1300), ("c", 1400)):
        await make(cloud.as_admin, "networks", name=name, mtu=mtu)
    query = "sort_key=mtu&sort_dir=desc&sort_key=name&sort_dir=desc"
    assert await _names(cloud, query) == ["c", "a", "b"]


@pytest.mark.parametrize(
    "query",
    [
        "sort_key=name",
        "sort_key=colour&sort_dir=asc",
        "sort_key=name&sort_dir=up",
        "limit=-1",
        "limit=x",
        "colour=blue",
        "shared=maybe",
        "mtu=many",
        "marker=nobody&limit=1",
        "changed_since=yesterday",
    ],
)
async def test_queries_that_make_no_sense(cloud: TestCloud, query: str) -> None:
    answer = await cloud.as_admin.get(f"{ROOT}/networks?{query}")
    assert answer.status == 400, answer.body
    assert kind_of(answer)


async def test_filters_of_networks(cloud: TestCloud) -> None:
    alice = await cloud.add_user("alice", "alices")
    one = await make(cloud.as_admin, "networks", name="one", shared=True, mtu=1400)
    two = await make(alice, "networks", name="two", admin_state_up=False)
    for query, names in (
        ("name=one", ["one"]),
        ("name=one&name=two&sort_key=name&sort_dir=asc", ["one", "two"]),
        ("name=none", []),
        ("shared=True", ["one"]),
        ("admin_state_up=false", ["two"]),
        ("mtu=1400", ["one"]),
        (f"id={two['id']}", ["two"]),
        (f"project_id={two['project_id']}", ["two"]),
        (f"tenant_id={one['project_id']}", ["one"]),
        ("status=DOWN", []),
        ("status=ACTIVE&name=one", ["one"]),
        (f"provider:segmentation_id={one['provider:segmentation_id']}", ["one"]),
        ("provider:network_type=vlan", []),
        ("changed_since=2100-01-01T00:00:00Z", []),
    ):
        assert await _names(cloud, query) == names, query


async def test_fields(cloud: TestCloud) -> None:
    network = await make(cloud.as_admin, "networks", name="one")
    assert await listed(cloud.as_admin, "networks?fields=id&fields=name") == [{"id": network["id"], "name": "one"}]
    shown = (await cloud.as_admin.get(f"{ROOT}/networks/{network['id']}?fields=mtu")).json
    assert shown == {"network": {"mtu": 1450}}


async def test_filters_of_ports(cloud: TestCloud) -> None:
    network, subnet = await make_net(cloud.as_admin, "10.1.0.0/24", enable_dhcp=False)
    other, _ = await make_net(cloud.as_admin, "10.1.0.0/24", enable_dhcp=False)
    group = await make(cloud.as_admin, "security-groups", name="g")
    fixed = [{"ip_address": "10.1.0.10"}]
    one = await make(
        cloud.as_admin,
        "ports",
        network_id=network["id"],
        name="one",
        fixed_ips=fixed,
        device_id="d",
        security_groups=[group["id"]],
    )
    await make(cloud.as_admin, "ports", network_id=other["id"], name="two", fixed_ips=fixed, device_owner="o")
    for query, names in (
        (f"network_id={network['id']}", ["one"]),
        ("fixed_ips=ip_address%3D10.1.0.10", ["one", "two"]),
        (f"fixed_ips=subnet_id%3D{subnet['id']}", ["one"]),
        (f"fixed_ips=subnet_id%3D{subnet['id']}&fixed_ips=ip_address%3D10.1.0.11", []),
        (f"fixed_ips=subnet_id%3D{subnet['id']}&fixed_ips=ip_address%3D10.1.0.10", ["one"]),
        ("fixed_ips=ip_address%3Dx", []),
        (f"mac_address={one['mac_address'].upper()}", ["one"]),
        ("device_id=d", ["one"]),
        ("device_owner=o", ["two"]),
        (f"security_groups={group['id']}", ["one"]),
        ("status=DOWN", ["one", "two"]),
        ("binding:host_id=a", []),
    ):
        found = await listed(cloud.as_admin, f"ports?sort_key=name&sort_dir=asc&{query}")
        assert [p["name"] for p in found] == names, query
    for wrong in ("fixed_ips=colour%3Dblue", "fixed_ips=x"):
        assert (await cloud.as_admin.get(f"{ROOT}/ports?{wrong}")).status == 400


async def test_filters_of_subnets_and_rules(cloud: TestCloud) -> None:
    _, subnet = await make_net(cloud.as_admin, "10.1.0.0/24")
    assert len(await listed(cloud.as_admin, "subnets?cidr=10.1.0.0/24&ip_version=4&enable_dhcp=true")) == 1
    assert await listed(cloud.as_admin, "subnets?ip_version=6") == []
    assert [s["id"] for s in await listed(cloud.as_admin, "subnets?gateway_ip=10.1.0.1")] == [subnet["id"]]
    group = await make(cloud.as_admin, "security-groups", name="g")
    found = await listed(cloud.as_admin, f"security-group-rules?security_group_id={group['id']}&direction=egress")
    assert len(found) == 2
    assert len(await listed(cloud.as_admin, "security-group-rules?belongs_to_default_sg=true")) == 4
    assert len(await listed(cloud.as_admin, "security-groups?shared=false")) == 2
    assert await listed(cloud.as_admin, "security-groups?shared=true") == []


async def test_filters_of_tags(cloud: TestCloud) -> None:
    for name, tags in (("n1", ["red"]), ("n2", ["red", "blue"]), ("n3", ['gr"een%_', "blue"]), ("n4", [])):
        network = await make(cloud.as_admin, "networks", name=name)
        answer = await cloud.as_admin.put(f"{ROOT}/networks/{network['id']}/tags", {"tags": tags})
        assert answer.json == {"tags": tags}
    for query, names in (
        ("tags=red", ["n1", "n2"]),
        ("tags=red,blue", ["n2"]),
        ("tags-any=red,blue", ["n1", "n2", "n3"]),
        ("not-tags=red,blue", ["n1", "n3", "n4"]),
        ("not-tags-any=red,blue", ["n4"]),
        ("tags=re", []),
        ("tags=" + quote('gr"een%_'), ["n3"]),
        ("tags=" + quote("gr_een__"), []),
    ):
        assert await _names(cloud, query + "&sort_key=name&sort_dir=asc") == names, query
