"""``/v3/projects``."""

from __future__ import annotations

from typing import Any

from ostro.http.identity.service import IDENTITY
from ostro.http.identity.views import (
    DESCRIPTION,
    ID,
    LINKS,
    LIST_LINKS,
    NAME_64,
    NAME_QUERY,
    OPTIONS,
    PAGE_QUERY,
    check_id,
    enabled_filter,
    list_body,
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
from ostro.http.schema import ANY_OBJECT, BOOLEAN, STRING, array, nullable, shape, strict, wrapped
from ostro.model.errors import Invalid
from ostro.services.identity import domains, projects
from ostro.store.paging import Filter, Op, Where, escape_like
from ostro.store.projects import Project

TAG_MOST_CHARS = 255
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
TREES = ("parents_as_list", "parents_as_ids", "subtree_as_list", "subtree_as_ids")
TAGS = shape({"tags": array(STRING), "links": LIST_LINKS})
TAGS_PATH = "/v3/projects/{project_id}/tags"
TAG_LIST = array(TAG, maxItems=80, uniqueItems=True)


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
    rule=Rule.POLICY,
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
    rule=Rule.POLICY,
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
    rule=Rule.POLICY,
    response=ONE,
    query=dict.fromkeys(TREES, STRING),
    summary="Show a project, and if asked for what is above and below it",
)
async def show_project(req: Request) -> Reply:
    wanted = {name for name in TREES if name in req.query}
    for how in ("parents", "subtree"):
        if {f"{how}_as_list", f"{how}_as_ids"} <= wanted:
            raise Invalid(f"Use either {how}_as_list or {how}_as_ids.")
    found = await req.read(projects.get_project_tree, req.params["project_id"], wanted)
    shown = view(req, found.project)
    if "parents_as_list" in wanted:
        shown["parents"] = [{"project": view(req, row)} for row in found.parents]
    if "parents_as_ids" in wanted:
        shown["parents"] = _nest_parents(found.parents, found.project.domain_id)
    if "subtree_as_list" in wanted:
        shown["subtree"] = [{"project": view(req, row)} for row in found.subtree]
    if "subtree_as_ids" in wanted:
        shown["subtree"] = _nest_subtree(found.project.id, found.subtree)
    return Reply({"project": shown})


def _nest_parents(parents: list[Project], domain_id: str) -> dict[str, Any]:
    """``{parent: {grandparent: {domain: None}}}``."""
    out: dict[str, Any] | None = {domain_id: None}
    for row in reversed(parents):
        out = {row.id: out}
    return out or {}


def _nest_subtree(root_id: str, rows: list[Project]) -> dict[str, Any] | None:
    """``{child: {grandchild: None}}``; None for a leaf."""
    children: dict[str, list[str]] = {}
    for row in rows:
        children.setdefault(row.parent_id, []).append(row.id)

    def nest(id_: str) -> dict[str, Any] | None:
        return {child: nest(child) for child in children[id_]} if id_ in children else None

    return nest(root_id)


@IDENTITY.route(
    "PATCH",
    "/v3/projects/{project_id}",
    policy="identity:update_project",
    rule=Rule.POLICY,
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
    rule=Rule.POLICY,
    status=204,
    summary="Delete a project",
)
async def delete_project(req: Request) -> Reply:
    await req.run(projects.delete_project, req.params["project_id"])
    return Reply()


@IDENTITY.route(
    "GET",
    TAGS_PATH,
    policy="identity:list_project_tags",
    rule=Rule.POLICY,
    response=TAGS,
    summary="List a project's tags",
)
async def list_tags(req: Request) -> Reply:
    return Reply(list_body(req, "tags", await req.read(projects.list_tags, req.params["project_id"])))


@IDENTITY.route(
    "PUT",
    TAGS_PATH,
    policy="identity:update_project_tags",
    rule=Rule.POLICY,
    body=strict({"tags": TAG_LIST}, ("tags",)),
    response=TAGS,
    summary="Put tags in the place of a project's",
)
async def replace_tags(req: Request) -> Reply:
    args = (req.params["project_id"], req.body["tags"], "identity:update_project_tags")
    return Reply(list_body(req, "tags", await req.run(projects.set_tags, *args)))


@IDENTITY.route(
    "DELETE",
    TAGS_PATH,
    policy="identity:delete_project_tags",
    rule=Rule.POLICY,
    status=204,
    summary="Take all tags from a project",
)
async def delete_tags(req: Request) -> Reply:
    await req.run(projects.set_tags, req.params["project_id"], [], "identity:delete_project_tags")
    return Reply()


@IDENTITY.route(
    "GET",
    TAGS_PATH + "/{tag}",
    policy="identity:get_project_tag",
    rule=Rule.POLICY,
    status=204,
    summary="Check that a project has a tag",
)
async def check_tag(req: Request) -> Reply:
    await req.read(projects.get_tag, req.params["project_id"], req.params["tag"])
    return Reply()


@IDENTITY.route(
    "PUT",
    TAGS_PATH + "/{tag}",
    policy="identity:create_project_tag",
    rule=Rule.POLICY,
    status=201,
    summary="Give a project a tag",
)
async def add_tag(req: Request) -> Reply:
    tag = req.params["tag"]
    if len(tag) > TAG_MOST_CHARS or "," in tag:
        raise Invalid(f"A tag has at most {TAG_MOST_CHARS} characters, and no comma or slash.")
    await req.run(projects.add_tag, req.params["project_id"], tag)
    return Reply(headers=[("Location", req.url(req.path))])


@IDENTITY.route(
    "DELETE",
    TAGS_PATH + "/{tag}",
    policy="identity:delete_project_tag",
    rule=Rule.POLICY,
    status=204,
    summary="Take a tag from a project",
)
async def remove_tag(req: Request) -> Reply:
    await req.run(projects.remove_tag, req.params["project_id"], req.params["tag"])
    return Reply()
