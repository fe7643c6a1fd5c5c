"""``/v3/projects``."""

from __future__ import annotations

from typing import Any

from ostro.http.identity.service import IDENTITY
from ostro.http.identity.views import (
    DESCRIPTION,
    ID,
    LINKS,
    NAME_64,
    NAME_QUERY,
    OPTIONS,
    PAGE_QUERY,
    check_id,
    enabled_filter,
    list_shape,
    name_filters,
    page_body,
    page_of,
    reference,
    self_link,
    split_extra,
)
from ostro.http.paging import cut
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, BOOLEAN, STRING, array, nullable, shape, wrapped
from ostro.services.identity import domains, projects
from ostro.store.paging import Filter, Op, Where, escape_like
from ostro.store.projects import Project

TAG = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^,/]*$"}
KNOWN = ("name", "description", "domain_id", "parent_id", "enabled", "is_domain", "tags", "options")
GIVEN = {
    "name": NAME_64,
    "description": DESCRIPTION,
    "domain_id": nullable(ID),
    "parent_id": nullable(ID),
    "enabled": BOOLEAN,
    "is_domain": BOOLEAN,
    "tags": array(TAG, maxItems=80, uniqueItems=True),
    "options": OPTIONS,
}
CREATE = wrapped("project", {**reference(GIVEN), "required": ["name"]})
UPDATE = wrapped("project", {**reference(GIVEN), "minProperties": 1})
PROJECT = shape(
    {
        "id": STRING,
        "name": STRING,
        "description": STRING,
        "domain_id": nullable(STRING),
        "parent_id": nullable(STRING),
        "enabled": BOOLEAN,
        "is_domain": BOOLEAN,
        "tags": array(STRING),
        "options": ANY_OBJECT,
        "links": LINKS,
    }
)
ONE = shape({"project": PROJECT})


def view(req: Request, project: Project) -> dict[str, Any]:
    """A project as Identity shows it."""
    return {
        **project.extra,
        "id": project.id,
        "name": project.name,
        "description": project.description,
        "domain_id": project.domain_id or None,
        "parent_id": project.parent_id or None,
        "enabled": project.enabled,
        "is_domain": project.is_domain,
        "tags": project.tags,
        "options": project.options,
        "links": self_link(req, "projects", project.id),
    }


def _has_tag(text: str) -> Filter:
    """Tags are stored as a JSON list, so each stands between quotes."""
    return Filter("tags", f'%"{escape_like(text)}"%', Op.LIKE)


def _any_tag(tags: list[str], *, negated: bool) -> Where:
    either = " OR ".join("projects.tags LIKE ? ESCAPE '\\'" for _ in tags)
    patterns = tuple(f'%"{escape_like(tag)}"%' for tag in tags)
    return Where(f"NOT ({either})" if negated else either, patterns)


def _all_tags_absent(tags: list[str]) -> Where:
    both = " AND ".join("projects.tags LIKE ? ESCAPE '\\'" for _ in tags)
    return Where(f"NOT ({both})", tuple(f'%"{escape_like(tag)}"%' for tag in tags))


def tag_filters(req: Request) -> list[Filter | Where]:
    """``tags``, ``tags-any``, ``not-tags`` and ``not-tags-any``."""
    out: list[Filter | Where] = []
    if tags := req.query.get("tags"):
        out += [_has_tag(tag) for tag in tags.split(",")]
    if tags := req.query.get("tags-any"):
        out.append(_any_tag(tags.split(","), negated=False))
    if tags := req.query.get("not-tags"):
        out.append(_all_tags_absent(tags.split(",")))
    if tags := req.query.get("not-tags-any"):
        out.append(_any_tag(tags.split(","), negated=True))
    return out


@IDENTITY.route(
    "POST",
    "/v3/projects",
    policy="identity:create_project",
    rule=Rule.ADMIN,
    status=201,
    body=CREATE,
    response=ONE,
    summary="Create a project",
)
async def create_project(req: Request) -> Reply:
    given, extra = split_extra(req.body["project"], KNOWN)
    create = domains.create_domain if given.get("is_domain") else projects.create_project
    return Reply({"project": view(req, await req.run(create, given, extra))})


@IDENTITY.route(
    "GET",
    "/v3/projects",
    policy="identity:list_projects",
    rule=Rule.READER,
    response=list_shape("projects", PROJECT),
    query={
        **NAME_QUERY,
        **PAGE_QUERY,
        **dict.fromkeys(
            ("domain_id", "parent_id", "enabled", "is_domain", "tags", "tags-any", "not-tags", "not-tags-any"), STRING
        ),
    },
    summary="List projects",
)
async def list_projects(req: Request) -> Reply:
    filters = [*name_filters(req, "projects"), *enabled_filter(req), *tag_filters(req)]
    filters += [Filter(name, req.query[name]) for name in ("domain_id", "parent_id") if name in req.query]
    page = page_of(req, *filters, Filter("is_domain", req.flag("is_domain")))
    rows = await req.read(projects.list_projects, page)
    return Reply(page_body(req, "projects", rows, page, [view(req, row) for row in cut(rows, page)[0]]))


@IDENTITY.route(
    "GET",
    "/v3/projects/{project_id}",
    policy="identity:get_project",
    rule=Rule.AUTHENTICATED,
    response=ONE,
    summary="Show a project",
)
async def show_project(req: Request) -> Reply:
    return Reply({"project": view(req, await req.read(projects.get_project, req.params["project_id"]))})


@IDENTITY.route(
    "PATCH",
    "/v3/projects/{project_id}",
    policy="identity:update_project",
    rule=Rule.ADMIN,
    body=UPDATE,
    response=ONE,
    summary="Change a project",
)
async def update_project(req: Request) -> Reply:
    check_id(req.body["project"], req.params["project_id"])
    given, extra = split_extra(req.body["project"], KNOWN)
    project = await req.run(projects.update_project, req.params["project_id"], given, extra)
    return Reply({"project": view(req, project)})


@IDENTITY.route(
    "DELETE",
    "/v3/projects/{project_id}",
    policy="identity:delete_project",
    rule=Rule.ADMIN,
    status=204,
    summary="Delete a project",
)
async def delete_project(req: Request) -> Reply:
    await req.run(projects.delete_project, req.params["project_id"])
    return Reply()
