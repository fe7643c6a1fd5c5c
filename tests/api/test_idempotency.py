"""``Idempotency-Key``: a POST that comes again gets the first answer, and nothing is done twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from ostro.http.idempotency import ANSWER_MOST_BYTES, KEY_MOST
from ostro.services.sweeps import KEPT_S, forget_kept_answers
from ostro.store.audit import list_inbox
from ostro.store.database import Tx
from ostro.store.kept_answers import KEPT_ANSWERS
from ostro.testing.cloud import Answer, ApiClient, TestCloud
from ostro.testing.crashes import Sites, crash_at_every_point
from ostro.testing.hosts import SimHost, add_host
from ostro.testing.images import IMAGE_ID, put_image
from ostro.testing.postgres import PostgresServer
from ostro.testing.served import head, serve_cloud

NETWORKS = "/networking/v2.0/networks"
VARYING = {"X-Openstack-Request-Id", "X-Compute-Request-Id", "Openstack-Request-Id", "Date", "Idempotency-Replayed"}


async def post(client: ApiClient, path: str, body: Any, key: str = "k1") -> Answer:
    return await client.post(path, body, headers={"Idempotency-Key": key})


def same(first: Answer, second: Answer) -> bool:
    """Whether the second answer is the first one again."""
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    heads = [sorted(pair for pair in a.headers.items() if pair[0] not in VARYING) for a in (first, second)]
    return (first.status, first.body, heads[0]) == (second.status, second.body, heads[1])


async def count(client: ApiClient, path: str = NETWORKS, noun: str = "networks") -> int:
    return len((await client.get(path)).json[noun])


async def add_flavor(cloud: TestCloud) -> None:
    await cloud.db.run(put_image)
    flavor = {"flavor": {"name": "small", "id": "f", "ram": 512, "vcpus": 1, "disk": 1}}
    assert (await cloud.as_admin.post("/compute/v2.1/flavors", flavor)).status == 200


SERVER = {"server": {"name": "web", "imageRef": IMAGE_ID, "flavorRef": "f"}}
CREATES: tuple[tuple[str, Any], ...] = (
    (NETWORKS, {"network": {"name": "n"}}),
    ("/networking/v2.0/security-groups", {"security_group": {"name": "g"}}),
    ("/volume/v3/volumes", {"volume": {"size": 1}}),
    ("/image/v2/images", {"name": "i", "disk_format": "raw", "container_format": "bare"}),
    ("/compute/v2.1/servers", SERVER),
    ("/compute/v2.1/os-keypairs", {"keypair": {"name": "k"}}),
    ("/compute/v2.1/flavors", {"flavor": {"name": "g", "ram": 1, "vcpus": 1, "disk": 0}}),
    ("/compute/v2.1/os-server-groups", {"server_group": {"name": "g", "policies": ["affinity"]}}),
    ("/identity/v3/users", {"user": {"name": "bob", "password": "secret"}}),
    ("/identity/v3/projects", {"project": {"name": "red"}}),
    ("/placement/resource_providers", {"name": "rp"}),
)


@pytest.mark.parametrize(("path", "body"), CREATES, ids=[path for path, _ in CREATES])
async def test_what_is_created_is_created_once(cloud: TestCloud, path: str, body: Any) -> None:
    await add_host(cloud)
    await add_flavor(cloud)
    client = cloud.as_admin.with_headers(OpenStack_API_Version="compute 2.37")
    if path.endswith("servers"):
        body = {"server": {**body["server"], "networks": "none"}}
    first = await post(client, path, body)
    assert first.status < 300, first.body
    assert same(first, await post(client, path, body))
    assert same(first, await post(client, path, body))


async def test_actions_and_secrets_are_answered_again(cloud: TestCloud) -> None:
    ann = await cloud.add_user("ann", "p1")
    shown = (await ann.get("/identity/v3/auth/tokens", headers={"X-Subject-Token": ann.token})).json["token"]
    path = f"/identity/v3/users/{shown['user']['id']}/application_credentials"
    first = await post(ann, path, {"application_credential": {"name": "a"}})
    secret = first.json["application_credential"]["secret"]
    assert same(first, await post(ann, path, {"application_credential": {"name": "a"}}))
    (row,) = await cloud.db.read(lambda tx: KEPT_ANSWERS.list(tx))
    assert secret not in row.answer
    assert row.answer.startswith("gAAAA"), "sealed"


async def test_another_request_with_the_key_is_refused(cloud: TestCloud) -> None:
    await post(cloud.as_admin, NETWORKS, {"network": {"name": "n"}})
    for path, body in ((NETWORKS, {"network": {"name": "m"}}), (f"{NETWORKS}?x=1", {"network": {"name": "n"}})):
        other = await post(cloud.as_admin, path, body)
        assert other.status == 422
        assert "Idempotency-Key" in other.json["NeutronError"]["message"]
    assert await count(cloud.as_admin) == 1


async def test_keys_belong_to_caller_scope_and_path(cloud: TestCloud) -> None:
    clients = [await cloud.add_user("ann", "p1"), await cloud.add_user("bob", "p1"), cloud.as_admin]
    ids = {(await post(c, NETWORKS, {"network": {"name": "n"}})).json["network"]["id"] for c in clients}
    assert len(ids) == 3
    group = await post(clients[0], "/networking/v2.0/security-groups", {"security_group": {"name": "n"}})
    assert group.status == 201


async def test_an_error_is_not_kept(cloud: TestCloud) -> None:
    body = {"keypair": {"name": "k", "public_key": "nonsense"}}
    assert (await post(cloud.as_admin, "/compute/v2.1/os-keypairs", body)).status == 400
    body = {"server": {"name": "s", "imageRef": IMAGE_ID, "flavorRef": "f"}}
    assert (await post(cloud.as_admin, "/compute/v2.1/servers", body, "k2")).status in (400, 404)
    assert await cloud.db.read(lambda tx: KEPT_ANSWERS.count(tx)) == 0
    await add_host(cloud)
    await add_flavor(cloud)
    assert (await post(cloud.as_admin, "/compute/v2.1/servers", body, "k2")).status == 202


async def test_repeats_at_once_get_one_answer(cloud: TestCloud) -> None:
    answers: list[Answer] = []

    async def ask() -> None:
        answers.append(await post(cloud.as_admin, "/identity/v3/projects", {"project": {"name": "once"}}))

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(ask)
    assert {a.status for a in answers} == {201}
    assert len({a.body for a in answers}) == 1
    assert sum("Idempotency-Replayed" not in a.headers for a in answers) == 1


@pytest.mark.parametrize("key", ["", "x" * (KEY_MOST + 1), "t\xe9l"])
async def test_keys_are_bounded(cloud: TestCloud, key: str) -> None:
    answer = await post(cloud.as_admin, NETWORKS, {"network": {"name": "n"}}, key)
    assert answer.status == 400
    assert await count(cloud.as_admin) == 0


async def test_an_answer_too_large_to_keep_changes_nothing(cloud: TestCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ANSWER_MOST_BYTES >= 1 << 20
    monkeypatch.setattr("ostro.http.idempotency.ANSWER_MOST_BYTES", 10)
    assert (await post(cloud.as_admin, NETWORKS, {"network": {"name": "n"}})).status == 413
    assert await count(cloud.as_admin) == 0


async def test_streams_and_questions_to_hosts_refuse_a_key(cloud: TestCloud) -> None:
    token = (
        await cloud.as_admin.get("/identity/v3/auth/tokens", headers={"X-Subject-Token": cloud.as_admin.token})
    ).json
    account = f"/object-store/v1/AUTH_{token['token']['project']['id']}"
    refused = await post(cloud.as_admin, account, None)
    assert (refused.status, refused.body) == (400, b"This operation can't be done with an Idempotency-Key.")
    path = "/compute/v2.1/servers/any/action"
    assert (await post(cloud.as_admin, path, {"os-getConsoleOutput": {}})).status == 400


async def test_a_login_is_no_change_and_ignores_the_key(cloud: TestCloud) -> None:
    user = {"name": "admin", "domain": {"id": "default"}, "password": "correct horse"}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
    first, second = [await post(cloud.anonymous, "/identity/v3/auth/tokens", body) for _ in range(2)]
    assert first.status == second.status == 201
    assert first.headers["X-Subject-Token"] != second.headers["X-Subject-Token"]


async def test_a_repeat_leaves_one_record_in_the_audit_log(cloud: TestCloud) -> None:
    before = len(await cloud.db.read(list_inbox, 99))
    for _ in range(2):
        await post(cloud.as_admin, NETWORKS, {"network": {"name": "n"}})
    assert len(await cloud.db.read(list_inbox, 99)) == before + 1


async def test_keys_expire(cloud: TestCloud) -> None:
    first = await post(cloud.as_admin, NETWORKS, {"network": {"name": "n"}})
    await cloud.db.run(_age, (KEPT_S - 60) * 1_000_000)
    await forget_kept_answers(cloud.cloud)
    assert same(first, await post(cloud.as_admin, NETWORKS, {"network": {"name": "n"}}))
    await cloud.db.run(_age, 61_000_000)
    await forget_kept_answers(cloud.cloud)
    again = await post(cloud.as_admin, NETWORKS, {"network": {"name": "n"}})
    assert "Idempotency-Replayed" not in again.headers
    assert await count(cloud.as_admin) == 2


def _age(tx: Tx, by_us: int) -> None:
    tx.execute("UPDATE kept_answers SET created_at_us = created_at_us - ?", (by_us,))


async def test_through_both_ways_in(cloud: TestCloud) -> None:
    body = b'{"network": {"name": "n"}}'
    async with serve_cloud(cloud) as served:
        answers = []
        for expect in ({}, {"Expect": "100-continue"}):
            async with served.connect() as client:
                headers = {"X-Auth-Token": cloud.as_admin.token, "Content-Length": str(len(body)), **expect}
                await client.send(
                    head("POST", NETWORKS, {**headers, "Idempotency-Key": "k", "Connection": "close"}) + body
                )
                answers.append(await client.everything())
    assert b"idempotency-replayed" not in answers[0].lower()
    assert b"idempotency-replayed: true" in answers[1].lower()
    assert answers[0].rpartition(b"\r\n\r\n")[2] == answers[1].rpartition(b"\r\n\r\n")[2]


async def _boot(cloud: TestCloud, host: SimHost) -> None:
    body = {"server": {**SERVER["server"], "networks": "none"}}
    client = cloud.as_admin.with_headers(OpenStack_API_Version="compute 2.79")
    assert (await post(client, "/compute/v2.1/servers", body)).status == 202


async def _boot_again(cloud: TestCloud, host: SimHost) -> None:
    """After whatever crash, there is one server when the request has come again, and one answer."""
    body = {"server": {**SERVER["server"], "networks": "none"}}
    client = cloud.as_admin.with_headers(OpenStack_API_Version="compute 2.79")
    answer = await post(client, "/compute/v2.1/servers", body)
    assert answer.status == 202
    (server,) = (await client.get("/compute/v2.1/servers")).json["servers"]
    assert answer.json["server"]["id"] == server["id"]
    again = await post(client, "/compute/v2.1/servers", body)
    assert again.body == answer.body
    assert again.headers["Idempotency-Replayed"] == "true"


async def _prepare(cloud: TestCloud, host: SimHost) -> None:
    await add_flavor(cloud)


async def crash(sites: Sites) -> None:
    await sites.prepare(_prepare)
    passed = await crash_at_every_point(sites, _boot, _boot_again)
    assert {"server.create.committed", "idempotency.kept", "idempotency.committed"} <= passed


async def test_a_crash_at_any_point_leaves_both_or_neither(tmp_path: Path) -> None:
    await crash(Sites(tmp_path))


async def test_a_crash_on_postgres(tmp_path: Path, postgres: PostgresServer, postgres_template: str) -> None:
    sites = Sites(tmp_path, postgres, postgres_template)
    await crash(sites)
    sites.close()
