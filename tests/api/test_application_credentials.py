"""Application credentials over HTTP: what they can do, and everything that they can't."""

from __future__ import annotations

from typing import Any

import pytest

from ostro.testing.cloud import Answer, ApiClient, TestCloud

V3 = "/identity/v3"


async def own_path(client: ApiClient) -> str:
    token = await client.get(f"{V3}/auth/tokens", headers={"X-Subject-Token": client.token})
    return f"{V3}/users/{token.json['token']['user']['id']}"


async def create(client: ApiClient, **more: Any) -> dict[str, Any]:
    body = {"application_credential": {"name": "robot", **more}}
    answer = await client.post(f"{await own_path(client)}/application_credentials", body)
    assert answer.status == 201, answer.body
    credential: dict[str, Any] = answer.json["application_credential"]
    return credential


async def exchange(cloud: TestCloud, given: dict[str, Any], **scope: Any) -> Answer:
    shown = {"id": given["id"], "secret": given["secret"]}
    identity = {"methods": ["application_credential"], "application_credential": shown}
    return await cloud.anonymous.post(f"{V3}/auth/tokens", {"auth": {"identity": identity, **scope}})


async def login(cloud: TestCloud, given: dict[str, Any]) -> ApiClient:
    answer = await exchange(cloud, given)
    assert answer.status == 201, answer.body
    return ApiClient(cloud.app, answer.headers["X-Subject-Token"])


async def test_a_program_is_its_user(cloud: TestCloud) -> None:
    ann = await cloud.add_user("ann", "blue")
    credential = await create(ann, roles=[{"name": "reader"}])
    answer = await exchange(cloud, credential)
    token = answer.json["token"]
    assert [role["name"] for role in token["roles"]] == ["reader"]
    assert token["project"]["name"] == "blue" and token["methods"] == ["application_credential"]
    assert token["application_credential"] == {"id": credential["id"], "restricted": True}
    robot = ApiClient(cloud.app, answer.headers["X-Subject-Token"])
    assert (await robot.get("/networking/v2.0/networks")).status == 200
    assert (await robot.post("/networking/v2.0/networks", {"network": {}})).status == 403, "a reader only"
    path = f"{await own_path(ann)}/application_credentials"
    listed = (await ann.get(path)).json["application_credentials"]
    assert "secret" not in listed[0] and listed[0]["name"] == "robot"
    assert (await ann.get(f"{path}/{credential['id']}")).json["application_credential"] == listed[0]
    assert (await ann.post(path, {"application_credential": {"name": "robot"}})).status == 409
    assert (await ann.delete(f"{path}/{credential['id']}")).status == 204
    assert (await robot.get("/networking/v2.0/networks")).status == 401, "its tokens end with it"
    assert (await exchange(cloud, credential)).status == 401


async def test_a_wrong_secret_and_an_unknown_one_are_refused_alike(cloud: TestCloud) -> None:
    credential = await create(await cloud.add_user("ann", "blue"))
    wrong = await exchange(cloud, {**credential, "secret": "wrong"})
    unknown = await exchange(cloud, {**credential, "id": "0" * 32})
    assert (wrong.status, wrong.body) == (401, unknown.body)


async def test_a_role_that_the_token_lacks_is_refused(cloud: TestCloud) -> None:
    ann = await cloud.add_user("ann", "blue")
    body = {"application_credential": {"name": "robot", "roles": [{"name": "admin"}]}}
    assert (await ann.post(f"{await own_path(ann)}/application_credentials", body)).status == 400


async def test_it_is_gone_with_the_role_that_it_rests_on(cloud: TestCloud) -> None:
    ann = await cloud.add_user("ann", "blue")
    credential = await create(ann)
    robot = await login(cloud, credential)
    (role,) = (await cloud.as_admin.get(f"{V3}/roles?name=member")).json["roles"]
    user = (await own_path(ann)).removeprefix(f"{V3}/")
    project = credential["project_id"]
    assert (await cloud.as_admin.delete(f"{V3}/projects/{project}/{user}/roles/{role['id']}")).status == 204
    assert (await robot.get("/networking/v2.0/networks")).status == 401
    await cloud.as_admin.put(f"{V3}/projects/{project}/{user}/roles/{role['id']}")
    assert (await exchange(cloud, credential)).status == 401, "it does not come back with the role"


@pytest.mark.parametrize("unrestricted", [False, True])
async def test_what_a_restricted_one_may_not(cloud: TestCloud, unrestricted: bool) -> None:
    """CVE-2020-12691 and its like: nothing that outlives its limits is made with it."""
    ann = await cloud.add_user("ann", "blue")
    credential = await create(ann, unrestricted=unrestricted)
    robot = await login(cloud, credential)
    path, project = await own_path(ann), credential["project_id"]
    blob = {"credential": {"type": "ec2", "blob": '{"access": "a", "secret": "b"}', "project_id": project}}
    expected = 201 if unrestricted else 403
    created = await robot.post(f"{path}/application_credentials", {"application_credential": {"name": "second"}})
    assert created.status == expected
    assert (await robot.post(f"{V3}/credentials", blob)).status == expected
    assert (await robot.post(f"{path}/credentials/OS-EC2", {"tenant_id": project})).status == expected
    deleted = await robot.delete(f"{path}/application_credentials/{credential['id']}")
    assert deleted.status == (204 if unrestricted else 403)


async def test_its_token_can_not_be_exchanged_or_scoped_elsewhere(cloud: TestCloud) -> None:
    ann = await cloud.add_user("ann", "blue")
    credential = await create(ann, roles=[{"name": "reader"}])
    robot = await login(cloud, credential)
    again = {"auth": {"identity": {"methods": ["token"], "token": {"id": robot.token}}}}
    assert (await cloud.anonymous.post(f"{V3}/auth/tokens", again)).status == 403
    elsewhere = {"project": {"name": "admin", "domain": {"id": "default"}}}
    assert (await exchange(cloud, credential, scope=elsewhere)).status == 401


async def test_access_rules(cloud: TestCloud) -> None:
    ann = await cloud.add_user("ann", "blue")
    rules = [
        {"service": "network", "method": "GET", "path": "/v2.0/networks"},
        {"service": "network", "method": "GET", "path": "/v2.0/networks/*"},
        {"service": "object-store", "method": "GET", "path": "/v1/**"},
    ]
    credential = await create(ann, access_rules=rules)
    robot = await login(cloud, credential)
    assert (await robot.get("/networking/v2.0/networks")).status == 200
    assert (await robot.get("/networking/v2.0/networks/x")).status == 404
    assert (await robot.post("/networking/v2.0/networks", {"network": {}})).status == 403
    assert (await robot.get("/networking/v2.0/subnets")).status == 403
    assert (await robot.get("/compute/v2.1/servers")).status == 403
    account = f"/object-store/v1/AUTH_{credential['project_id']}"
    assert (await robot.get(account)).status in (200, 204)
    assert (await robot.put(f"{account}/box")).status == 403
    path = f"{await own_path(ann)}/access_rules"
    listed = (await ann.get(path)).json["access_rules"]
    assert {rule["path"] for rule in listed} == {rule["path"] for rule in rules}
    one = f"{path}/{listed[0]['id']}"
    assert (await ann.get(one)).json["access_rule"] == listed[0]
    assert (await ann.delete(one)).status == 403, "it is used"
    assert (await ann.delete(f"{await own_path(ann)}/application_credentials/{credential['id']}")).status == 204
    assert (await ann.delete(one)).status == 204
    assert (await ann.get(one)).status == 404


async def test_nobody_else_may(cloud: TestCloud) -> None:
    ann, bob = await cloud.add_user("ann", "blue"), await cloud.add_user("bob", "blue")
    credential = await create(ann)
    path = f"{await own_path(ann)}/application_credentials"
    assert (await bob.get(path)).status == 403
    assert (await bob.post(path, {"application_credential": {"name": "x"}})).status == 403
    assert (await bob.delete(f"{path}/{credential['id']}")).status == 403
    assert (await cloud.as_admin.post(path, {"application_credential": {"name": "x"}})).status == 403


async def test_an_expired_one_is_refused(cloud: TestCloud) -> None:
    ann = await cloud.add_user("ann", "blue")
    past = {"application_credential": {"name": "late", "expires_at": "2001-01-01T00:00:00"}}
    assert (await ann.post(f"{await own_path(ann)}/application_credentials", past)).status == 400
    credential = await create(ann, expires_at="2999-01-01T00:00:00.000000")
    assert credential["expires_at"] == "2999-01-01T00:00:00.000000"
