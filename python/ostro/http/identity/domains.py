"""``/v3/domains``."""

from __future__ import annotations

from typing import Any

from ostro.http.identity.service import IDENTITY
from ostro.http.identity.views import (
    DESCRIPTION,
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
from ostro.http.schema import ANY_OBJECT, BOOLEAN, STRING, array, shape, wrapped
from ostro.services.identity import domains
from ostro.store.projects import Project

KNOWN = ("name", "description", "enabled", "tags", "options", "explicit_domain_id")
GIVEN = {"name": NAME_64, "description": DESCRIPTION, "enabled": BOOLEAN, "tags": array(STRING), "options": OPTIONS}
EXPLICIT_ID = {"type": "string", "pattern": "^[a-f0-9]{32}$"}
CREATE = wrapped("domain", {**reference({**GIVEN, "explicit_domain_id": EXPLICIT_ID}), "required": ["name"]})
UPDATE = wrapped("domain", {**reference(GIVEN), "minProperties": 1})
DOMAIN = shape(
    {
        "id": STRING,
        "name": STRING,
        "description": STRING,
        "enabled": BOOLEAN,
        "tags": array(STRING),
        "options": ANY_OBJECT,
        "links": LINKS,
    }
)
ONE = shape({"domain": DOMAIN})


def view(req: Request, domain: Project) -> dict[str, Any]:
    """A domain as Identity shows it."""
    return {
        **domain.extra,
        "id": domain.id,
        "name": domain.name,
        "description": domain.description,
        "enabled": domain.enabled,
        "tags": domain.tags,
        "options": domain.options,
        "links": self_link(req, "domains", domain.id),
    }


@IDENTITY.route(
    "POST",
    "/v3/domains",
    policy="identity:create_domain",
    rule=Rule.POLICY,
    status=201,
    body=CREATE,
    response=ONE,
    summary="Create a domain",
)
async def create_domain(req: Request) -> Reply:
    given, extra = split_extra(req.body["domain"], KNOWN)
    return Reply({"domain": view(req, await req.run(domains.create_domain, given, extra))})


@IDENTITY.route(
    "GET",
    "/v3/domains",
    policy="identity:list_domains",
    rule=Rule.POLICY,
    response=list_shape("domains", DOMAIN),
    query={**NAME_QUERY, **PAGE_QUERY, "enabled": STRING},
    summary="List domains",
)
async def list_domains(req: Request) -> Reply:
    page = page_of(req, *name_filters(req, "projects"), *enabled_filter(req))
    rows = await req.read(domains.list_domains, page)
    return Reply(page_body(req, "domains", rows, page, [view(req, row) for row in cut(rows, page)[0]]))


@IDENTITY.route(
    "GET",
    "/v3/domains/{domain_id}",
    policy="identity:get_domain",
    rule=Rule.POLICY,
    response=ONE,
    summary="Show a domain",
)
async def show_domain(req: Request) -> Reply:
    return Reply({"domain": view(req, await req.read(domains.get_domain, req.params["domain_id"]))})


@IDENTITY.route(
    "PATCH",
    "/v3/domains/{domain_id}",
    policy="identity:update_domain",
    rule=Rule.TARGET,
    body=UPDATE,
    response=ONE,
    summary="Change a domain",
)
async def update_domain(req: Request) -> Reply:
    check_id(req.body["domain"], req.params["domain_id"])
    given, extra = split_extra(req.body["domain"], KNOWN)
    return Reply({"domain": view(req, await req.run(domains.update_domain, req.params["domain_id"], given, extra))})


@IDENTITY.route(
    "DELETE",
    "/v3/domains/{domain_id}",
    policy="identity:delete_domain",
    rule=Rule.TARGET,
    status=204,
    summary="Delete a disabled domain and all that it holds",
)
async def delete_domain(req: Request) -> Reply:
    await req.run(domains.delete_domain, req.params["domain_id"])
    return Reply()
