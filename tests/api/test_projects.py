"""Projects over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from ostro.testing.cloud import ApiClient, TestCloud

PATH = "/identity/v3/projects"


async def create(client: ApiClient, name: str, **more: Any) -> dict[str, Any]:
    answer = await client.post(PATH, {"project": {"name": name, **more}})
    assert answer.status == 201, answer.body
    project: dict[str, Any] = answer.json["project"]
    return project


async def names(client: ApiClient, query: str = "") -> list[str]:
    answer = await client.get(PATH + query)
    assert answer.status == 200, answer.body
    return [project["name"] for project in answer.json["projects"]]


async def test_create_show_update_delete(cloud: TestCloud) -> None:
    project = await create(cloud.as_admin, "blue", description="d", tags=["a"], cost_center="7")
    url = f"{PATH}/{project['id']}"
    assert project["links"]["self"].endswith(url)
    assert (project["domain_id"], project["parent_id"], project["is_domain"]) == ("default", "default", False)
    assert project["cost_center"] == "7", "fields of one's own are kept"
    assert (await cloud.as_admin.get(url)).json["project"] == project
    changed = await cloud.as_admin.patch(url, {"project": {"name": "green", "enabled": False, "cost_center": None}})
    assert changed.status == 200
    assert changed.json["project"] == {
        **{k: v for k, v in project.items() if k != "cost_center"},
        "name": "green",
        "enabled": False,
    }
    assert (await cloud.as_admin.delete(url)).status == 204
    gone = await cloud.as_admin.get(url)
    assert gone.status == 404
    assert gone.json["error"]["message"] == f"Could not find project: {project['id']}."


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"project": {}},
        {"project": {"name": ""}},
        {"project": {"name": "x" * 65}},
        {"project": {"name": "x", "enabled": "yes"}},
        {"project": {"name": "x", "tags": ["a,b"]}},
        {"project": {"name": "x", "tags": [str(i) for i in range(81)]}},
        {"project": {"name": "x"}, "more": 1},
    ],
)
async def test_malformed_bodies_are_400(cloud: TestCloud, body: Any) -> None:
    answer = await cloud.as_admin.post(PATH, body)
    assert answer.status == 400
    assert answer.json["error"]["title"] == "Bad Request"


async def test_too_much_of_ones_own_is_413(cloud: TestCloud) -> None:
    answer = await cloud.as_admin.post(PATH, {"project": {"name": "x", "story": "y" * 20_000}})
    assert answer.status == 413


async def test_a_name_is_taken_once_in_a_domain(cloud: TestCloud) -> None:
    await create(cloud.as_admin, "blue")
    again = await cloud.as_admin.post(PATH, {"project": {"name": "blue"}})
    assert again.status == 409
    assert "two projects with the same name" in again.json["error"]["message"]


async def test_filters_and_pages(cloud: TestCloud) -> None:
    for name in ("alpha", "Alpine", "beta"):
        await create(cloud.as_admin, name, tags=[name[0].lower(), "all"], enabled=name != "beta")
    assert await names(cloud.as_admin) == ["Alpine", "admin", "alpha", "beta"]
    assert await names(cloud.as_admin, "?name=alpha") == ["alpha"]
    assert await names(cloud.as_admin, "?name__contains=lp") == ["Alpine", "alpha"]
    assert await names(cloud.as_admin, "?name__startswith=Al") == ["Alpine"]
    assert await names(cloud.as_admin, "?name__istartswith=AL") == ["Alpine", "alpha"]
    assert await names(cloud.as_admin, "?name__endswith=a") == ["alpha", "beta"]
    assert await names(cloud.as_admin, "?name__iexact=ALPHA") == ["alpha"]
    assert await names(cloud.as_admin, "?enabled=false") == ["beta"]
    assert await names(cloud.as_admin, "?tags=a,all") == ["Alpine", "alpha"]
    assert await names(cloud.as_admin, "?tags-any=a,b") == ["Alpine", "alpha", "beta"]
    assert await names(cloud.as_admin, "?not-tags-any=a") == ["admin", "beta"]
    assert await names(cloud.as_admin, "?domain_id=nothing") == []
    first = await cloud.as_admin.get(PATH + "?limit=3")
    assert len(first.json["projects"]) == 3
    following = first.json["links"]["next"].split("/identity/v3/projects")[1]
    assert await names(cloud.as_admin, following) == ["beta"]


async def test_a_tree_of_projects(cloud: TestCloud) -> None:
    top = await create(cloud.as_admin, "top")
    below = await create(cloud.as_admin, "below", parent_id=top["id"])
    assert below["parent_id"] == top["id"]
    assert await names(cloud.as_admin, f"?parent_id={top['id']}") == ["below"]
    assert (await cloud.as_admin.delete(f"{PATH}/{top['id']}")).status == 403
    disabled = await cloud.as_admin.patch(f"{PATH}/{top['id']}", {"project": {"enabled": False}})
    assert disabled.status == 403, "its child is enabled"
    moved = await cloud.as_admin.patch(f"{PATH}/{below['id']}", {"project": {"parent_id": "default"}})
    assert moved.status == 403
    parent = below
    for i in range(3):
        parent = await create(cloud.as_admin, f"deep{i}", parent_id=parent["id"])
    too_deep = await cloud.as_admin.post(PATH, {"project": {"name": "deeper", "parent_id": parent["id"]}})
    assert too_deep.status == 403


async def test_a_member_sees_its_own_project_only(cloud: TestCloud) -> None:
    member = await cloud.add_user("ann", "blue")
    other = await create(cloud.as_admin, "red")
    own = (await cloud.as_admin.get(f"{PATH}?name=blue")).json["projects"][0]
    assert (await member.get(f"{PATH}/{own['id']}")).status == 200
    assert (await member.get(f"{PATH}/{other['id']}")).status == 403
    assert (await member.get(PATH)).status == 403
    assert (await member.post(PATH, {"project": {"name": "mine"}})).status == 403


async def test_disabling_and_deleting_end_tokens_at_once(cloud: TestCloud) -> None:
    member = await cloud.add_user("ann", "blue")
    own = (await cloud.as_admin.get(f"{PATH}?name=blue")).json["projects"][0]
    url = f"{PATH}/{own['id']}"
    assert (await member.get(url)).status == 200
    assert (await cloud.as_admin.patch(url, {"project": {"enabled": False}})).status == 200
    assert (await member.get(url)).status == 401
    assert (await cloud.as_admin.patch(url, {"project": {"enabled": True}})).status == 200
    assert (await member.get(url)).status == 200
    assert (await cloud.as_admin.delete(url)).status == 204
    assert (await member.get(url)).status == 401


async def test_an_immutable_project_stays(cloud: TestCloud) -> None:
    project = await create(cloud.as_admin, "rock", options={"immutable": True})
    url = f"{PATH}/{project['id']}"
    assert (await cloud.as_admin.patch(url, {"project": {"name": "sand"}})).status == 403
    assert (await cloud.as_admin.delete(url)).status == 403
    assert (await cloud.as_admin.patch(url, {"project": {"options": {"immutable": None}}})).status == 200
    assert (await cloud.as_admin.delete(url)).status == 204
