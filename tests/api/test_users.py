"""Users over HTTP."""

from __future__ import annotations

from typing import Any

from ostro.testing.cloud import ApiClient, TestCloud

PATH = "/identity/v3/users"


async def create(client: ApiClient, name: str, **more: Any) -> dict[str, Any]:
    answer = await client.post(PATH, {"user": {"name": name, **more}})
    assert answer.status == 201, answer.body
    user: dict[str, Any] = answer.json["user"]
    return user


async def status_of_login(cloud: TestCloud, user_id: str, password: str) -> int:
    identity = {"methods": ["password"], "password": {"user": {"id": user_id, "password": password}}}
    return (await cloud.anonymous.post("/identity/v3/auth/tokens", {"auth": {"identity": identity}})).status


async def test_create_show_update_delete(cloud: TestCloud) -> None:
    user = await create(cloud.as_admin, "ann", password="s3cret", email="ann@example.org", shoe_size=38)
    url = f"{PATH}/{user['id']}"
    assert "password" not in user and "default_project_id" not in user
    assert user["email"] == "ann@example.org" and user["shoe_size"] == 38
    assert user["password_expires_at"] is None
    assert (await cloud.as_admin.get(url)).json["user"] == user
    assert await status_of_login(cloud, user["id"], "s3cret") == 201
    assert await status_of_login(cloud, user["id"], "wrong") == 401
    changed = await cloud.as_admin.patch(url, {"user": {"name": "anna", "description": "x"}})
    assert changed.json["user"] == {**user, "name": "anna", "description": "x"}
    assert (await cloud.as_admin.delete(url)).status == 204
    assert (await cloud.as_admin.get(url)).status == 404
    assert await status_of_login(cloud, user["id"], "s3cret") == 401


async def test_refusals(cloud: TestCloud) -> None:
    await create(cloud.as_admin, "ann")
    assert (await cloud.as_admin.post(PATH, {"user": {"name": "ann"}})).status == 409
    assert (await cloud.as_admin.post(PATH, {"user": {"name": "bob", "domain_id": "nothing"}})).status == 404
    assert (await cloud.as_admin.post(PATH, {"user": {"name": "bob", "default_project_id": "default"}})).status == 400
    assert (await cloud.as_admin.post(PATH, {"user": {"name": "x" * 256}})).status == 400
    assert (await cloud.as_admin.post(PATH, {"user": {"name": "  "}})).status == 400


async def test_filters(cloud: TestCloud) -> None:
    await create(cloud.as_admin, "ann")
    await create(cloud.as_admin, "bob", enabled=False)

    async def names(query: str) -> list[str]:
        return [user["name"] for user in (await cloud.as_admin.get(PATH + query)).json["users"]]

    assert await names("") == ["admin", "ann", "bob"]
    assert await names("?name=ann") == ["ann"]
    assert await names("?enabled=False") == ["bob"]
    assert await names("?enabled") == ["admin", "ann"]
    assert await names("?domain_id=nothing") == []
    assert await names("?name__contains=b") == ["bob"]


async def test_a_user_without_a_password_can_not_log_in(cloud: TestCloud) -> None:
    user = await create(cloud.as_admin, "ann")
    assert await status_of_login(cloud, user["id"], "") == 401


async def test_a_new_password_ends_tokens_of_the_old_one(cloud: TestCloud) -> None:
    ann = await cloud.add_user("ann", "blue")
    user = (await cloud.as_admin.get(PATH + "?name=ann")).json["users"][0]
    url = f"{PATH}/{user['id']}"
    assert (await ann.get(url)).status == 200
    assert (await cloud.as_admin.patch(url, {"user": {"password": "new"}})).status == 200
    assert (await ann.get(url)).status == 401
    assert await status_of_login(cloud, user["id"], "ann") == 401
    assert await status_of_login(cloud, user["id"], "new") == 201


async def test_ones_own_password(cloud: TestCloud) -> None:
    ann = await cloud.add_user("ann", "blue")
    user = (await cloud.as_admin.get(PATH + "?name=ann")).json["users"][0]
    url = f"{PATH}/{user['id']}/password"
    wrong = await ann.post(url, {"user": {"original_password": "no", "password": "new"}})
    assert wrong.status == 401
    done = await ann.post(url, {"user": {"original_password": "ann", "password": "new"}})
    assert done.status == 204
    assert await status_of_login(cloud, user["id"], "new") == 201
    nobody = await ann.post(f"{PATH}/nobody/password", {"user": {"original_password": "a", "password": "b"}})
    assert nobody.status == 401, "it does not tell who exists"


async def test_disabling_ends_tokens_at_once(cloud: TestCloud) -> None:
    ann = await cloud.add_user("ann", "blue")
    user = (await cloud.as_admin.get(PATH + "?name=ann")).json["users"][0]
    assert (await ann.get("/identity/v3/auth/projects")).status == 200
    await cloud.as_admin.patch(f"{PATH}/{user['id']}", {"user": {"enabled": False}})
    assert (await ann.get("/identity/v3/auth/projects")).status == 401


async def test_what_a_user_may_see(cloud: TestCloud) -> None:
    ann = await cloud.add_user("ann", "blue")
    await cloud.add_user("bob", "red")
    by_name = {user["name"]: user["id"] for user in (await cloud.as_admin.get(PATH)).json["users"]}
    assert (await ann.get(f"{PATH}/{by_name['ann']}")).status == 200
    assert (await ann.get(f"{PATH}/{by_name['bob']}")).status == 403
    assert (await ann.get(PATH)).status == 403
    own = await ann.get(f"{PATH}/{by_name['ann']}/projects")
    assert [project["name"] for project in own.json["projects"]] == ["blue"]
    assert (await ann.get(f"{PATH}/{by_name['bob']}/projects")).status == 403


async def test_the_default_project_is_the_scope_when_none_is_asked_for(cloud: TestCloud) -> None:
    await cloud.add_user("ann", "blue")
    user = (await cloud.as_admin.get(PATH + "?name=ann")).json["users"][0]
    project = (await cloud.as_admin.get("/identity/v3/projects?name=blue")).json["projects"][0]
    body = {"user": {"default_project_id": project["id"]}}
    shown = await cloud.as_admin.patch(f"{PATH}/{user['id']}", body)
    assert shown.json["user"]["default_project_id"] == project["id"]
    identity = {"methods": ["password"], "password": {"user": {"id": user["id"], "password": "ann"}}}
    token = await cloud.anonymous.post("/identity/v3/auth/tokens", {"auth": {"identity": identity}})
    assert token.json["token"]["project"]["name"] == "blue"
