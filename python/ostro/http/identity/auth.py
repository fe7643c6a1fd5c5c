"""``/v3/auth/...``: what a token can be exchanged for, and its catalogue."""

from __future__ import annotations

from ostro.http.identity import domains as domain_routes
from ostro.http.identity import projects as project_routes
from ostro.http.identity.service import IDENTITY
from ostro.http.identity.views import LIST_LINKS, list_body, list_shape
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, array, shape
from ostro.model.errors import Forbidden
from ostro.services.identity.scopes import list_own_domains, list_own_projects, may_use_system


@IDENTITY.route(
    "GET",
    "/v3/auth/projects",
    policy="identity:get_auth_projects",
    rule=Rule.POLICY,
    response=list_shape("projects", project_routes.PROJECT),
    summary="List the projects that the caller can scope to",
)
async def list_auth_projects(req: Request) -> Reply:
    found = await req.read(list_own_projects)
    return Reply(list_body(req, "projects", [project_routes.view(req, project) for project in found]))


@IDENTITY.route(
    "GET",
    "/v3/auth/domains",
    policy="identity:get_auth_domains",
    rule=Rule.POLICY,
    response=list_shape("domains", domain_routes.DOMAIN),
    summary="List the domains that the caller can scope to",
)
async def list_auth_domains(req: Request) -> Reply:
    found = await req.read(list_own_domains)
    return Reply(list_body(req, "domains", [domain_routes.view(req, domain) for domain in found]))


@IDENTITY.route(
    "GET",
    "/v3/auth/system",
    policy="identity:get_auth_system",
    rule=Rule.POLICY,
    response=list_shape("system", ANY_OBJECT),
    summary="Say whether the caller can scope to the system",
)
async def list_auth_system(req: Request) -> Reply:
    return Reply(list_body(req, "system", [{"all": True}] if await req.read(may_use_system) else []))


@IDENTITY.route(
    "GET",
    "/v3/auth/catalog",
    policy="identity:get_auth_catalog",
    rule=Rule.POLICY,
    response=shape({"catalog": array(ANY_OBJECT), "links": LIST_LINKS}),
    summary="Show the catalogue of the caller's token",
)
async def show_auth_catalog(req: Request) -> Reply:
    actor = req.context.actor
    if not (actor.project_id or actor.domain_id or actor.system):
        raise Forbidden("You are not authorized to perform the requested action: the token has no scope.")
    catalog = await req.cloud.catalogs.show(actor, req.base_url)
    return Reply(list_body(req, "catalog", catalog))


@IDENTITY.route(
    "GET",
    "/v3/OS-FEDERATION/projects",
    policy="identity:list_projects_for_user",
    rule=Rule.POLICY,
    response=list_shape("projects", project_routes.PROJECT),
    summary="List the projects that the caller can scope to, by its older path",
)
async def list_federated_projects(req: Request) -> Reply:
    return await list_auth_projects(req)


@IDENTITY.route(
    "GET",
    "/v3/OS-FEDERATION/domains",
    policy="identity:list_domains_for_user",
    rule=Rule.POLICY,
    response=list_shape("domains", domain_routes.DOMAIN),
    summary="List the domains that the caller can scope to, by its older path",
)
async def list_federated_domains(req: Request) -> Reply:
    return await list_auth_domains(req)
