"""``/v3/groups``, and which users are in which."""

from __future__ import annotations

from typing import Any

from ostro.http.identity import users as user_routes
from ostro.http.identity.service import IDENTITY
from ostro.http.identity.views import (
    DESCRIPTION,
    ID,
    LINKS,
    NAME_64,
    NAME_QUERY,
    PAGE_QUERY,
    check_id,
    enabled_filter,
    list_shape,
    page_body,
    page_of,
    reference,
    self_link,
    shown_name_filters,
    split_extra,
)
from ostro.http.paging import cut
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import STRING, nullable, shape, wrapped
from ostro.model.times import iso_micro_z
from ostro.services.identity import groups
from ostro.store.groups import Group
from ostro.store.paging import Filter

KNOWN = ("name", "description", "domain_id")
GIVEN = {"name": NAME_64, "description": DESCRIPTION, "domain_id": nullable(ID)}
CREATE = wrapped("group", {**reference(GIVEN), "required": ["name"]})
UPDATE = wrapped("group", {**reference(GIVEN), "minProperties": 1})
GROUP = shape({"id": STRING, "name": STRING, "domain_id": STRING, "description": STRING, "links": LINKS})
ONE = shape({"group": GROUP})
MEMBER = "/v3/groups/{group_id}/users/{user_id}"


def view(req: Request, group: Group) -> dict[str, Any]:
    """A group as Identity shows it."""
    return {
        **group.extra,
        "id": group.id,
        "name": group.display_name,
        "domain_id": group.domain_id,
        "description": group.description,
        "links": self_link(req, "groups", group.id),
    }


@IDENTITY.route(
    "POST",
    "/v3/groups",
    policy="identity:create_group",
    rule=Rule.POLICY,
    status=201,
    body=CREATE,
    response=ONE,
    summary="Create a group",
)
async def create_group(req: Request) -> Reply:
    given, extra = split_extra(req.body["group"], KNOWN)
    return Reply({"group": view(req, await req.run(groups.create_group, given, extra))})


@IDENTITY.route(
    "GET",
    "/v3/groups",
    policy="identity:list_groups",
    rule=Rule.POLICY,
    response=list_shape("groups", GROUP),
    query={**NAME_QUERY, **PAGE_QUERY, "domain_id": STRING},
    summary="List groups",
)
async def list_groups(req: Request) -> Reply:
    filters = shown_name_filters(req, "groups")
    filters += [Filter("domain_id", req.query["domain_id"])] if "domain_id" in req.query else []
    page = page_of(req, *filters)
    await req.cloud.directories.refresh(req.query.get("domain_id") or req.context.actor.domain_id)
    rows = await req.read(groups.list_groups, page)
    return Reply(page_body(req, "groups", rows, page, [view(req, row) for row in cut(rows, page)[0]]))


@IDENTITY.route(
    "GET",
    "/v3/groups/{group_id}",
    policy="identity:get_group",
    rule=Rule.POLICY,
    response=ONE,
    summary="Show a group",
)
async def show_group(req: Request) -> Reply:
    await req.cloud.directories.refresh_of(group_id=req.params["group_id"])
    return Reply({"group": view(req, await req.read(groups.get_group, req.params["group_id"]))})


@IDENTITY.route(
    "PATCH",
    "/v3/groups/{group_id}",
    policy="identity:update_group",
    rule=Rule.POLICY,
    body=UPDATE,
    response=ONE,
    summary="Change a group",
)
async def update_group(req: Request) -> Reply:
    check_id(req.body["group"], req.params["group_id"])
    given, extra = split_extra(req.body["group"], KNOWN)
    return Reply({"group": view(req, await req.run(groups.update_group, req.params["group_id"], given, extra))})


@IDENTITY.route(
    "DELETE",
    "/v3/groups/{group_id}",
    policy="identity:delete_group",
    rule=Rule.TARGET,
    status=204,
    summary="Delete a group",
)
async def delete_group(req: Request) -> Reply:
    await req.run(groups.delete_group, req.params["group_id"])
    return Reply()


@IDENTITY.route(
    "GET",
    "/v3/groups/{group_id}/users",
    policy="identity:list_users_in_group",
    rule=Rule.POLICY,
    response=list_shape("users", user_routes.USER),
    query={**NAME_QUERY, **PAGE_QUERY, "enabled": STRING, "password_expires_at": STRING},
    summary="List a group's users",
)
async def list_members(req: Request) -> Reply:
    page = page_of(req, *shown_name_filters(req, "users"), *enabled_filter(req))
    await req.cloud.directories.refresh_of(group_id=req.params["group_id"])
    rows = await req.read(groups.list_members, req.params["group_id"], page)
    views = [user_routes.view(req, row) for row in cut(rows, page)[0]]
    return Reply(page_body(req, "users", rows, page, views))


@IDENTITY.route(
    "PUT", MEMBER, policy="identity:add_user_to_group", rule=Rule.POLICY, status=204, summary="Put a user into a group"
)
async def add_user(req: Request) -> Reply:
    await req.run(groups.add_user, req.params["group_id"], req.params["user_id"])
    return Reply()


@IDENTITY.route(
    "GET",
    MEMBER,
    policy="identity:check_user_in_group",
    rule=Rule.POLICY,
    status=204,
    summary="Check that a user is in a group",
)
async def check_user(req: Request) -> Reply:
    await req.cloud.directories.refresh_of(group_id=req.params["group_id"])
    await req.read(groups.check_user, req.params["group_id"], req.params["user_id"])
    return Reply()


@IDENTITY.route(
    "DELETE",
    MEMBER,
    policy="identity:remove_user_from_group",
    rule=Rule.POLICY,
    status=204,
    summary="Take a user out of a group",
)
async def remove_user(req: Request) -> Reply:
    await req.run(groups.remove_user_from_group, req.params["group_id"], req.params["user_id"])
    return Reply()


@IDENTITY.route(
    "GET",
    "/v3/users/{user_id}/groups",
    policy="identity:list_groups_for_user",
    rule=Rule.POLICY,
    response=list_shape("groups", GROUP),
    query={**NAME_QUERY, **PAGE_QUERY},
    summary="List the groups that a user is in",
)
async def list_groups_of_user(req: Request) -> Reply:
    page = page_of(req, *shown_name_filters(req, "groups"))
    await req.cloud.directories.refresh_of(user_id=req.params["user_id"])
    rows, ends = await req.read(groups.list_groups_of_user, req.params["user_id"], page)
    views = [
        view(req, row) | ({"membership_expires_at": iso_micro_z(ends[row.id])} if row.id in ends else {})
        for row in cut(rows, page)[0]
    ]
    return Reply(page_body(req, "groups", rows, page, views))
