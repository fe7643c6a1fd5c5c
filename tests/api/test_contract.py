"""What holds for every route of every service: it is documented, it asks who you are, and it minds your roles."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from ostro.http.catalog import SERVICES
from ostro.http.policy import Rule
from ostro.http.route import Route, Service
from ostro.http.versions import Version
from ostro.testing.cloud import ADMIN_PASSWORD, ApiClient, TestCloud

PUBLIC = {
    "join": r".*",  # shows a join token, after the authority's certificate was asked for
    "agent": r".*",  # shows the agent key instead of a token
    "health": r"GET /(healthz|readyz|metrics)?",  # asked by supervisors; metrics have a rule of their own
    "identity": r"(GET |GET /v3|POST /v3/auth/tokens|POST /v3/users/\{user_id\}/password|POST /v3/OS-OAUTH.*"
    r"|(GET|POST) /v3/OS-FEDERATION/.*/auth|GET /v3/auth/OS-FEDERATION/.*)",  # bring an identity provider's word instead
    "object": r".*",  # decides by containers' ACLs
}
"""Service -> the routes, as a pattern, that need no token. Version documents (paths without an object) may be public everywhere."""
VERSION_DOCUMENTS = r"GET (|/|/v\d+(\.\d+)?|/versions|/v\d+(\.\d+)?/)"


def every_route() -> Iterator[tuple[Service, Route]]:
    for service in SERVICES:
        for route in service.routes:
            yield service, route


def name_of(item: object) -> str:
    if isinstance(item, Service):
        return item.name
    if isinstance(item, Route):
        return f"{item.method}{item.path}" + (f"@{item.low}" if item.low else "")
    return str(item)


ROUTES = list(every_route())


def path_of(service: Service, route: Route) -> str:
    """A path that the route matches, of an object that does not exist."""
    return service.prefixes[0] + re.sub(r"\{\w+(?::\w+)?\}", "0" * 32, route.path)


async def call(client: ApiClient, service: Service, route: Route) -> int:
    """Call the route at a microversion that it covers; the status."""
    headers = {}
    version: Version | None = route.low or route.high or (service.versions.high if service.versions else None)
    if service.versions and version:
        headers["OpenStack-API-Version"] = f"{service.versions.names[0]} {version}"
        if service.versions.legacy_header:
            headers[service.versions.legacy_header] = str(version)
    answer = await client.request(route.method, path_of(service, route), headers=headers)
    return answer.status


@pytest.mark.parametrize(("service", "route"), ROUTES, ids=name_of)
def test_a_route_says_what_it_is(service: Service, route: Route) -> None:
    assert route.path == "" or route.path.startswith("/")
    assert route.policy and ":" in route.policy, "policy is named by upstream: service:noun:verb"
    assert route.summary and not route.summary.endswith(".")
    assert route.summary[0].isupper() and len(route.summary) <= 100
    assert not (route.streams and route.body), "a stream has no JSON body"
    if route.low and route.high:
        assert route.low <= route.high


def test_routes_do_not_overlap() -> None:
    for service in SERVICES:
        seen: dict[tuple[str, str], list[Route]] = {}
        for route in service.routes:
            for other in seen.setdefault((route.method, route.path), []):
                assert (other.high is not None and route.low is not None and other.high < route.low) or (
                    route.high is not None and other.low is not None and route.high < other.low
                ), f"{service.name}: {route.method} {route.path} is declared twice for a version"
            seen[(route.method, route.path)].append(route)


@pytest.mark.parametrize("service", SERVICES, ids=name_of)
def test_what_needs_no_token_is_listed(service: Service) -> None:
    allowed = PUBLIC.get(service.name, "")
    for route in service.routes:
        if route.rule is Rule.PUBLIC:
            name = f"{route.method} {route.path}"
            assert re.fullmatch(allowed, name) or re.fullmatch(VERSION_DOCUMENTS, name), f"{name} is public"


async def test_without_a_token_it_is_401(cloud: TestCloud) -> None:
    for service, route in ROUTES:
        if route.rule is Rule.PUBLIC and service.name != "agent":
            continue
        status = await call(cloud.anonymous, service, route)
        assert status == 401, f"{service.name} {name_of(route)}"


async def test_an_error_has_the_services_own_shape(cloud: TestCloud) -> None:
    for service in SERVICES:
        answer = await cloud.anonymous.get(service.prefixes[0] + "/v0/no/such/path")
        assert answer.status in (401, 404), service.name
        assert answer.headers["Content-Type"].startswith(("application/json", "text/html")), service.name


async def test_roles_are_minded(cloud: TestCloud) -> None:
    """A reader may do nothing that needs a member, a member nothing that needs an administrator."""
    reader = await cloud.add_user("reader", "somewhere", "reader")
    member = await cloud.add_user("member", "somewhere", "member")
    for service, route in ROUTES:
        if route.rule in (Rule.MEMBER, Rule.ADMIN):
            assert await call(reader, service, route) == 403, f"{service.name} {name_of(route)} by a reader"
        if route.rule is Rule.ADMIN:
            assert await call(member, service, route) == 403, f"{service.name} {name_of(route)} by a member"


async def test_only_tokens_of_projects_are_good_outside_of_identity(cloud: TestCloud) -> None:
    """An administrator of a domain, or of the system, is not one of the cloud's servers, networks, volumes and images."""
    user = {"name": "admin", "domain": {"id": "default"}, "password": ADMIN_PASSWORD}
    identity = {"methods": ["password"], "password": {"user": user}}
    role = (await cloud.as_admin.get("/identity/v3/roles?name=admin")).json["roles"][0]["id"]
    me = (await cloud.as_admin.get("/identity/v3/users?name=admin")).json["users"][0]["id"]
    assert (await cloud.as_admin.put(f"/identity/v3/domains/default/users/{me}/roles/{role}")).status == 204
    for scope in ({"domain": {"id": "default"}}, {"system": {"all": True}}):
        wanted = {"auth": {"identity": identity, "scope": scope}}
        answer = await cloud.anonymous.post("/identity/v3/auth/tokens", wanted)
        client = ApiClient(cloud.app, headers={"X-Auth-Token": answer.headers["X-Subject-Token"]})
        assert (await client.get("/identity/v3/users")).status == 200
        for service, route in ROUTES:
            if service.projects_only and route.rule is not Rule.PUBLIC:
                assert await call(client, service, route) == 403, f"{service.name} {name_of(route)} by {scope}"


def test_services_of_projects_are_these() -> None:
    assert {service.name for service in SERVICES if service.projects_only} == {
        *("compute", "network", "image", "volume", "placement")
    }
