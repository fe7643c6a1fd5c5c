"""Tags over HTTP, on each noun that has them."""

from __future__ import annotations

import pytest

from ostro.testing.cloud import TestCloud
from ostro.testing.networking import ROOT, kind_of, make, make_net


@pytest.mark.parametrize("collection", ["networks", "subnets", "ports", "security-groups"])
async def test_life_of_tags(cloud: TestCloud, collection: str) -> None:
    network, subnet = await make_net(cloud.as_admin)
    objects = {
        "networks": network,
        "subnets": subnet,
        "ports": await make(cloud.as_admin, "ports", network_id=network["id"]),
        "security-groups": await make(cloud.as_admin, "security-groups", name="g"),
    }
    base = f"{ROOT}/{collection}/{objects[collection]['id']}"
    path = base + "/tags"
    admin = cloud.as_admin
    assert (await admin.put(path, {"tags": ["a", "b"]})).json == {"tags": ["a", "b"]}
    assert (await admin.put(f"{path}/c")).status == 201
    assert (await admin.post(path, {"tags": ["c", "d"]})).status == 201
    assert (await admin.get(path)).json == {"tags": ["a", "b", "c", "d"]}
    assert (await admin.get(f"{path}/d")).status == 204
    assert (await admin.delete(f"{path}/d")).status == 204
    missing = await admin.get(f"{path}/d")
    assert (missing.status, kind_of(missing)) == (404, "TagNotFound")
    assert (await admin.delete(f"{path}/d")).status == 404
    shown = next(iter((await admin.get(base)).json.values()))
    assert shown["tags"] == ["a", "b", "c"]
    assert shown["revision_number"] > objects[collection]["revision_number"]
    assert (await admin.delete(path)).status == 204
    assert (await admin.get(path)).json == {"tags": []}
    for body in (
        {"tags": ["a", "a"]},
        {"tags": [""]},
        {"tags": ["x" * 256]},
        {"tags": [str(n) for n in range(51)]},
        {},
    ):
        assert (await admin.put(path, body)).status == 400, body


async def test_anothers_tags_are_not_mine(cloud: TestCloud) -> None:
    alice, bob = await cloud.add_user("alice", "alices"), await cloud.add_user("bob", "bobs")
    own = await make(alice, "networks")
    assert (await bob.get(f"{ROOT}/networks/{own['id']}/tags")).status == 404
    shared = await make(cloud.as_admin, "networks", shared=True)
    assert (await bob.get(f"{ROOT}/networks/{shared['id']}/tags")).status == 200
    assert (await bob.put(f"{ROOT}/networks/{shared['id']}/tags/x")).status == 403


async def test_ports_may_be_born_with_tags(cloud: TestCloud) -> None:
    network, _ = await make_net(cloud.as_admin)
    port = await make(cloud.as_admin, "ports", network_id=network["id"], tags=["a", "b"])
    assert port["tags"] == ["a", "b"]
