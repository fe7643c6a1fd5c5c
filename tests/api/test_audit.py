"""The audit log over HTTP: each change is there with its maker, refusals too, and no secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import trio
from click.testing import CliRunner

from ostro.cli.main import main
from ostro.store.audit import AuditRecord, Search, search_records
from ostro.testing.cloud import TestCloud
from ostro.testing.served import head, serve_cloud

NETWORKS = "/networking/v2.0/networks"


async def records(cloud: TestCloud, **search: Any) -> list[AuditRecord]:
    await cloud.cloud.audit.settle()
    return await cloud.db.read(search_records, Search(**search), 1 << 62, 100)


async def test_a_change_is_recorded_with_its_maker_and_target(cloud: TestCloud) -> None:
    client = (await cloud.add_user("ann", "p1")).with_headers(User_Agent="tester/1")
    made = await client.post(NETWORKS, {"network": {"name": "n"}})
    network = made.json["network"]
    await client.put(f"{NETWORKS}/{network['id']}", {"network": {"name": "m"}})
    await client.delete(f"{NETWORKS}/{network['id']}")
    await client.get(NETWORKS)
    found = await records(cloud, target=network["id"])
    assert [r.action for r in found] == ["delete", "update", "create"]
    event = orjson.loads(found[-1].body)
    assert event["target"] == {"id": network["id"], "typeURI": "service/network/networks"}
    assert event["initiator"]["name"] == "ann"
    assert event["initiator"]["project_id"] == network["project_id"]
    assert event["initiator"]["host"] == {"address": "127.0.0.1", "agent": "tester/1"}
    assert event["initiator"]["request_id"] == made.headers["X-Openstack-Request-Id"]
    assert (event["outcome"], event["requestPath"]) == ("success", NETWORKS)
    assert not await records(cloud, action="read")


async def test_what_fails_is_not_recorded_and_what_is_refused_is(cloud: TestCloud) -> None:
    reader = await cloud.add_user("ray", "p1", "reader")
    assert (await cloud.as_admin.post(NETWORKS, {"network": {"mtu": -5}})).status == 400
    assert not await records(cloud, target=NETWORKS)
    assert (await reader.post(NETWORKS, {"network": {"name": "n"}})).status == 403
    assert (await cloud.anonymous.get(NETWORKS)).status == 401
    refused = {r.action: orjson.loads(r.body) for r in await records(cloud, target=NETWORKS)}
    assert refused["create"]["reason"]["reasonCode"] == "403"
    assert refused["create"]["initiator"]["name"] == "ray"
    assert refused["read"]["initiator"]["id"] == "unknown"
    assert {event["outcome"] for event in refused.values()} == {"failure"}


async def test_what_is_no_deed_of_a_user_leaves_no_record_refused_or_not(cloud: TestCloud) -> None:
    """A host that shows a wrong key asks again and again: that is the log's, and must not fill what is held for users' refusals."""
    for path in ("/agent/v1/hosts/h/wishes", "/agent/v1/images/x/data"):
        assert (await cloud.anonymous.get(path)).status == 401
    assert (await cloud.as_admin.get("/agent/v1/hosts/h/wishes")).status == 401
    assert not await records(cloud, outcome="failure")


async def test_logins_good_and_bad_are_recorded(cloud: TestCloud) -> None:
    await cloud.add_user("ann", "p1")
    user = {"name": "ann", "domain": {"id": "default"}, "password": "wrong"}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
    assert (await cloud.anonymous.post("/identity/v3/auth/tokens", body)).status == 401
    found = await records(cloud, action="authenticate")
    names = {(r.outcome, orjson.loads(r.body)["initiator"]["name"]) for r in found}
    assert names == {("success", "ann"), ("success", "admin"), ("failure", "")}


async def test_an_action_is_named(cloud: TestCloud) -> None:
    made = await cloud.as_admin.post(
        "/compute/v2.1/flavors", {"flavor": {"name": "f", "ram": 1, "vcpus": 1, "disk": 0}}
    )
    path = f"/compute/v2.1/flavors/{made.json['flavor']['id']}/action"
    await cloud.as_admin.post(path, {"addTenantAccess": {"tenant": "nobody"}})
    await cloud.as_admin.post("/compute/v2.1/servers/nothing/action", {"reboot": {"type": "SOFT"}})
    actions = [r.action for r in await records(cloud, target=path)]
    assert actions in (["update/addTenantAccess"], [])


async def test_no_secret_gets_into_the_log(cloud: TestCloud) -> None:
    admin = cloud.as_admin
    user = (await admin.post("/identity/v3/users", {"user": {"name": "u", "password": "s3cretpass"}})).json["user"]
    ann = await cloud.add_user("ann", "p1")
    shown = (await ann.get("/identity/v3/auth/tokens", headers={"X-Subject-Token": ann.token})).json["token"]
    path = f"/identity/v3/users/{shown['user']['id']}"
    made = await ann.post(f"{path}/application_credentials", {"application_credential": {"name": "a"}})
    secrets = ["s3cretpass", made.json["application_credential"]["secret"], ann.token]
    ec2 = await ann.post(f"{path}/credentials/OS-EC2", {"tenant_id": shown["project"]["id"]})
    secrets.append(ec2.json["credential"]["secret"])
    pair = await ann.post("/compute/v2.1/os-keypairs", {"keypair": {"name": "k"}})
    secrets.append(pair.json["keypair"]["private_key"].splitlines()[1])
    found = await records(cloud)
    assert {user["id"], made.json["application_credential"]["id"]} <= {r.target_id for r in found}
    everything = "\n".join(r.body for r in found)
    assert not [secret for secret in secrets if secret in everything]


async def test_bytes_that_arrive_are_recorded(cloud: TestCloud) -> None:
    made = await cloud.as_admin.post("/image/v2/images", {"disk_format": "raw", "container_format": "bare"})
    path = f"/image/v2/images/{made.json['id']}/file"
    kind = {"Content-Type": "application/octet-stream"}
    assert (await cloud.as_admin.put(path, data=b"x" * 600, headers=kind)).status == 204
    (uploaded,) = await records(cloud, target=path)
    assert (uploaded.action, uploaded.target_id) == ("update", made.json["id"])
    account = f"/object-store/v1/AUTH_{(await cloud.db.read(_project)) or ''}"
    assert (await cloud.as_admin.put(f"{account}/box")).status == 201
    assert (await cloud.as_admin.put(f"{account}/box/a/b", data=b"x")).status == 201
    assert [r.target_id for r in await records(cloud, target=f"{account}/box/")] == ["a/b"]


def _project(tx: Any) -> str:
    return str(tx.one("SELECT id FROM projects WHERE name = 'admin'")[0])


async def test_the_address_is_told_through_both_ways_in(cloud: TestCloud) -> None:
    body = orjson.dumps({"network": {"name": "n"}})
    async with serve_cloud(cloud) as served:
        for expect in ({}, {"Expect": "100-continue"}):
            async with served.connect() as client:
                headers = {"X-Auth-Token": cloud.as_admin.token, "Content-Length": str(len(body)), **expect}
                await client.send(head("POST", NETWORKS, {**headers, "Connection": "close"}) + body)
                assert b"201" in await client.everything()
    addresses = [orjson.loads(r.body)["initiator"]["host"]["address"] for r in await records(cloud, target=NETWORKS)]
    assert addresses == ["127.0.0.1", "127.0.0.1"]


async def test_the_command_shows_and_verifies(cloud: TestCloud, tmp_path: Path, cloud_url: str) -> None:
    await cloud.as_admin.post(NETWORKS, {"network": {"name": "n"}})
    await cloud.cloud.audit.settle()
    (tmp_path / "up.lock").touch()
    where = ["--state", str(tmp_path), *(["--database", cloud_url] if cloud.db.shared else [])]

    async def run(*words: str) -> tuple[int, str]:
        done = await trio.to_thread.run_sync(lambda: CliRunner().invoke(main, ["audit", words[0], *where, *words[1:]]))
        return done.exit_code, done.output

    code, out = await run("verify")
    assert code == 0
    assert "Sound." in out
    code, out = await run("show", "--target", NETWORKS)
    assert code == 0
    assert "network/networks" in out
    code, out = await run("show", "--target", NETWORKS, "--json", "--since", "2020-01-01")
    assert orjson.loads(out)["action"] == "create"
    assert (await run("prune", "--before", "tomorrow"))[0] == 1
    assert await run("prune", "--before", "2020-01-01") == (0, "0 records removed.\n")
    await cloud.db.run(lambda tx: tx.execute("UPDATE audit_records SET user_id = 'other' WHERE seq = 1"))
    code, out = await run("verify")
    assert code == 1
    assert "Record 1 was changed" in out
