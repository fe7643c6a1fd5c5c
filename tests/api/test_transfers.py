"""Volumes offered to other projects."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from ostro.testing.cloud import ApiClient, TestCloud
from ostro.testing.hosts import SimHost, add_host, converge

VOLUMES = "/volume/v3/volumes"
OLDER, NEWER = "/volume/v3/os-volume-transfer", "/volume/v3/volume-transfers"
V57 = {"OpenStack-API-Version": "volume 3.57"}


@pytest.fixture
async def host(cloud: TestCloud) -> SimHost:
    return await add_host(cloud)


async def make(cloud: TestCloud, host: SimHost, client: ApiClient) -> str:
    answer = await client.post(VOLUMES, {"volume": {"size": 2, "name": "v"}})
    await converge(cloud, host)
    return str(answer.json["volume"]["id"])


async def offer(client: ApiClient, volume_id: str, path: str = OLDER, **more: Any) -> dict[str, Any]:
    headers = V57 if path == NEWER else {}
    body = {"transfer": {"volume_id": volume_id, "name": "gift", **more}}
    answer = await client.post(path, body, headers=headers)
    assert answer.status == 202, answer.body
    made: dict[str, Any] = answer.json["transfer"]
    return made


async def status(client: ApiClient, volume_id: str) -> str:
    return str((await client.get(f"{VOLUMES}/{volume_id}")).json["volume"]["status"])


@pytest.mark.parametrize("path", [OLDER, NEWER])
async def test_a_volume_goes_to_who_has_the_key(cloud: TestCloud, host: SimHost, path: str) -> None:
    ann, bob = await cloud.add_user("ann", "red"), await cloud.add_user("bob", "blue")
    headers = V57 if path == NEWER else {}
    volume_id = await make(cloud, host, ann)
    snapshot = {"snapshot": {"volume_id": volume_id, "name": "s"}}
    snapshot_id = (await ann.post("/volume/v3/snapshots", snapshot)).json["snapshot"]["id"]
    await converge(cloud, host)
    made = await offer(ann, volume_id, path)
    assert len(made["auth_key"]) == 16 and made["name"] == "gift"
    assert await status(ann, volume_id) == "awaiting-transfer"
    shown = (await ann.get(f"{path}/{made['id']}", headers=headers)).json["transfer"]
    assert shown["volume_id"] == volume_id and "auth_key" not in shown
    for where in (path, f"{path}/detail"):
        assert [one["id"] for one in (await ann.get(where, headers=headers)).json["transfers"]] == [made["id"]]
        assert (await bob.get(where, headers=headers)).json["transfers"] == []
    assert (await bob.get(f"{path}/{made['id']}", headers=headers)).status == 404
    assert (await bob.delete(f"{path}/{made['id']}", headers=headers)).status == 404
    wrong = await bob.post(f"{path}/{made['id']}/accept", {"accept": {"auth_key": "guess"}}, headers=headers)
    assert wrong.status == 400 and b"auth key" in wrong.body
    body = {"accept": {"auth_key": made["auth_key"]}}
    taken = await bob.post(f"{path}/{made['id']}/accept", body, headers=headers)
    assert taken.status == 202, taken.body
    assert taken.json["transfer"]["volume_id"] == volume_id
    assert (await ann.get(f"{VOLUMES}/{volume_id}")).status == 404
    assert (await ann.get(f"/volume/v3/snapshots/{snapshot_id}")).status == 404
    assert (await bob.get(f"/volume/v3/snapshots/{snapshot_id}")).status == 200
    assert await status(bob, volume_id) == "available"
    assert (await bob.post(f"{path}/{made['id']}/accept", body, headers=headers)).status == 404
    assert (await bob.delete(f"{VOLUMES}/{volume_id}?cascade=true")).status == 202
    await converge(cloud, host)
    assert (await bob.get(VOLUMES)).json["volumes"] == []


@pytest.mark.parametrize("path", [OLDER, NEWER])
async def test_an_offer_is_taken_back(cloud: TestCloud, host: SimHost, path: str) -> None:
    headers = V57 if path == NEWER else {}
    ann = await cloud.add_user("ann", "red")
    volume_id = await make(cloud, host, ann)
    made = await offer(ann, volume_id, path)
    body = {"transfer": {"volume_id": volume_id}}
    assert (await ann.post(path, body, headers=headers)).status == 400
    assert (await ann.delete(f"{VOLUMES}/{volume_id}")).status == 400
    assert (await ann.post(f"{VOLUMES}/{volume_id}/action", {"os-extend": {"new_size": 9}})).status == 400
    assert (await ann.delete(f"{path}/{made['id']}", headers=headers)).status == 202
    assert await status(ann, volume_id) == "available"
    assert (await ann.delete(f"{path}/{made['id']}", headers=headers)).status == 404
    accept = {"accept": {"auth_key": made["auth_key"]}}
    assert (await ann.post(f"{path}/{made['id']}/accept", accept, headers=headers)).status == 404


async def test_what_is_refused(cloud: TestCloud, host: SimHost) -> None:
    ann, bob = await cloud.add_user("ann", "red"), await cloud.add_user("bob", "blue")
    volume_id = await make(cloud, host, ann)
    for body, expected in (
        ({"transfer": {"volume_id": "no-such"}}, 404),
        ({"transfer": {}}, 400),
        ({"transfer": {"volume_id": volume_id, "no_snapshots": True}}, 400),
        ({"transfer": {"volume_id": volume_id, "size": 1}}, 400),
    ):
        assert (await ann.post(OLDER, body)).status == expected, body
    assert (await bob.post(OLDER, {"transfer": {"volume_id": volume_id}})).status == 404
    assert (await ann.post(NEWER, {"transfer": {"volume_id": volume_id}})).status == 404, "a newer path"
    assert await status(ann, volume_id) == "available"


async def test_snapshots_may_stay(cloud: TestCloud, host: SimHost) -> None:
    ann, bob = await cloud.add_user("ann", "red"), await cloud.add_user("bob", "blue")
    volume_id = await make(cloud, host, ann)
    made = await ann.post("/volume/v3/snapshots", {"snapshot": {"volume_id": volume_id}})
    await converge(cloud, host)
    given = await offer(ann, volume_id, NEWER, no_snapshots=True)
    body = {"accept": {"auth_key": given["auth_key"]}}
    assert (await bob.post(f"{NEWER}/{given['id']}/accept", body, headers=V57)).status == 202
    assert (await ann.get(f"/volume/v3/snapshots/{made.json['snapshot']['id']}")).status == 200


async def test_who_accepts_must_have_the_quota(cloud: TestCloud, host: SimHost) -> None:
    ann, bob = await cloud.add_user("ann", "red"), await cloud.add_user("bob", "blue")
    (blue,) = (await cloud.as_admin.get("/identity/v3/projects?name=blue")).json["projects"]
    volume_id = await make(cloud, host, ann)
    given = await offer(ann, volume_id)
    path, body = f"{OLDER}/{given['id']}/accept", {"accept": {"auth_key": given["auth_key"]}}
    quota = f"/volume/v3/os-quota-sets/{blue['id']}"
    assert (await cloud.as_admin.put(quota, {"quota_set": {"gigabytes": 1}})).status == 200
    assert (await bob.post(path, body)).status == 413
    assert await status(ann, volume_id) == "awaiting-transfer"
    assert (await cloud.as_admin.put(quota, {"quota_set": {"gigabytes": 2}})).status == 200
    assert (await bob.post(path, body)).status == 202


async def test_two_who_accept_at_once(cloud: TestCloud, host: SimHost) -> None:
    clients = [await cloud.add_user(name, f"p{name}") for name in ("ann", "bob", "cid")]
    volume_id = await make(cloud, host, clients[0])
    given = await offer(clients[0], volume_id)
    answers: list[int] = []

    async def accept(client: ApiClient) -> None:
        body = {"accept": {"auth_key": given["auth_key"]}}
        answers.append((await client.post(f"{OLDER}/{given['id']}/accept", body)).status)

    async with trio.open_nursery() as nursery:
        for client in clients[1:]:
            nursery.start_soon(accept, client)
    assert sorted(answers) == [202, 404]
