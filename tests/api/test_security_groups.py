"""Security groups over HTTP."""

from __future__ import annotations

from ostro.testing.cloud import TestCloud
from ostro.testing.networking import ROOT, change, kind_of, listed, make, make_net


async def test_every_project_has_a_default_group(cloud: TestCloud) -> None:
    alice, bob = await cloud.add_user("alice", "alices"), await cloud.add_user("bob", "bobs")
    [group] = await listed(alice, "security-groups")
    assert (group["name"], group["description"]) == ("default", "Default security group")
    rules = {(r["direction"], r["ethertype"], r["remote_group_id"]) for r in group["security_group_rules"]}
    assert rules == {
        ("egress", "IPv4", None),
        ("egress", "IPv6", None),
        ("ingress", "IPv4", group["id"]),
        ("ingress", "IPv6", group["id"]),
    }
    assert all(r["belongs_to_default_sg"] and r["protocol"] is None for r in group["security_group_rules"])
    assert len(await listed(bob, "security-group-rules")) == 4
    assert [g["id"] for g in await listed(alice, "security-groups")] == [group["id"]]
    assert (await bob.get(f"{ROOT}/security-groups/{group['id']}")).status == 404


async def test_life_of_a_group(cloud: TestCloud) -> None:
    alice = await cloud.add_user("alice", "alices")
    group = await make(alice, "security-groups", name="web", description="d")
    assert {(r["direction"], r["ethertype"]) for r in group["security_group_rules"]} == {
        ("egress", "IPv4"),
        ("egress", "IPv6"),
    }
    assert (group["stateful"], group["shared"]) == (True, False)
    changed = await change(alice, "security-groups", group["id"], name="www")
    assert changed["name"] == "www"
    assert len(await listed(alice, "security-groups")) == 2
    assert (await alice.delete(f"{ROOT}/security-groups/{group['id']}")).status == 204
    gone = await alice.get(f"{ROOT}/security-groups/{group['id']}")
    assert (gone.status, kind_of(gone)) == (404, "SecurityGroupNotFound")


async def test_the_default_group_is_special(cloud: TestCloud) -> None:
    alice = await cloud.add_user("alice", "alices")
    [group] = await listed(alice, "security-groups")
    path = f"{ROOT}/security-groups/{group['id']}"
    for answer, kind in (
        (
            await alice.post(f"{ROOT}/security-groups", {"security_group": {"name": "Default"}}),
            "SecurityGroupDefaultAlreadyExists",
        ),
        (await alice.put(path, {"security_group": {"name": "x"}}), "SecurityGroupCannotUpdateDefault"),
        (await alice.delete(path), "SecurityGroupCannotRemoveDefault"),
    ):
        assert (answer.status, kind_of(answer)) == (409, kind)
    assert (await change(alice, "security-groups", group["id"], description="mine"))["description"] == "mine"


async def test_a_group_in_use_stays(cloud: TestCloud) -> None:
    network, _ = await make_net(cloud.as_admin)
    group = await make(cloud.as_admin, "security-groups", name="g")
    port = await make(cloud.as_admin, "ports", network_id=network["id"], security_groups=[group["id"]])
    path = f"{ROOT}/security-groups/{group['id']}"
    for answer in (
        await cloud.as_admin.delete(path),
        await cloud.as_admin.put(path, {"security_group": {"stateful": False}}),
    ):
        assert (answer.status, kind_of(answer)) == (409, "SecurityGroupInUse")
    await change(cloud.as_admin, "ports", port["id"], security_groups=[])
    assert (await cloud.as_admin.delete(path)).status == 204


async def test_stateful_and_stateless_do_not_mix(cloud: TestCloud) -> None:
    network, _ = await make_net(cloud.as_admin)
    one = await make(cloud.as_admin, "security-groups", name="one")
    two = await make(cloud.as_admin, "security-groups", name="two", stateful=False)
    body = {"network_id": network["id"], "security_groups": [one["id"], two["id"]]}
    answer = await cloud.as_admin.post(f"{ROOT}/ports", {"port": body})
    assert (answer.status, kind_of(answer)) == (409, "SecurityGroupConflict")


async def test_another_tenants_group_is_not_for_my_port(cloud: TestCloud) -> None:
    alice, bob = await cloud.add_user("alice", "alices"), await cloud.add_user("bob", "bobs")
    group = await make(bob, "security-groups", name="bobs")
    network, _ = await make_net(alice)
    body = {"network_id": network["id"], "security_groups": [group["id"]]}
    answer = await alice.post(f"{ROOT}/ports", {"port": body})
    assert (answer.status, kind_of(answer)) == (404, "SecurityGroupNotFound")


async def test_rules_that_name_a_group_go_with_it(cloud: TestCloud) -> None:
    one = await make(cloud.as_admin, "security-groups", name="one")
    two = await make(cloud.as_admin, "security-groups", name="two")
    await make(
        cloud.as_admin,
        "security-group-rules",
        security_group_id=one["id"],
        direction="ingress",
        remote_group_id=two["id"],
    )
    assert (await cloud.as_admin.delete(f"{ROOT}/security-groups/{two['id']}")).status == 204
    shown = (await cloud.as_admin.get(f"{ROOT}/security-groups/{one['id']}")).json["security_group"]
    assert {r["direction"] for r in shown["security_group_rules"]} == {"egress"}
