"""``/v3/policies`` and OS-ENDPOINT-POLICY."""

from __future__ import annotations

from typing import Any

from ostro.http.identity.catalog import ENDPOINTS
from ostro.http.identity.resources import Wire, declare_resource
from ostro.http.identity.service import IDENTITY
from ostro.http.identity.views import NAME_255, list_body, list_shape
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import shape
from ostro.services.identity import policies
from ostro.services.identity.policies import POLICY, Place

BLOB: dict[str, Any] = {"type": "string", "maxLength": 524_288}
POLICIES = Wire(POLICY, "policies", {"type": NAME_255, "blob": BLOB}, required=("type", "blob"), filters=("type",))
declare_resource(POLICIES)


def declare(kind: str, path: str, words: str) -> None:
    """The three routes of ties to one kind of place."""
    whole = f"/v3/policies/{{policy_id}}/OS-ENDPOINT-POLICY/{path}"

    def place(req: Request) -> Place:
        return Place(**{name: value for name, value in req.params.items() if name != "policy_id"})

    async def tie(req: Request) -> Reply:
        await req.run(policies.tie_policy, req.params["policy_id"], place(req))
        return Reply()

    async def check(req: Request) -> Reply:
        await req.read(policies.check_tie, req.params["policy_id"], place(req))
        return Reply()

    async def untie(req: Request) -> Reply:
        await req.run(policies.untie_policy, req.params["policy_id"], place(req))
        return Reply()

    for method, verb, handler, summary in (
        ("PUT", "create", tie, f"Tie a policy to {words}"),
        ("GET", "check", check, f"Check that a policy is tied to {words}"),
        ("DELETE", "delete", untie, f"Untie a policy from {words}"),
    ):
        handler.__name__ = f"{verb}_policy_association_for_{kind}"
        policy = f"identity:{handler.__name__}"
        IDENTITY.route(method, whole, policy=policy, rule=Rule.POLICY, status=204, summary=summary)(handler)


declare("endpoint", "endpoints/{endpoint_id}", "an endpoint")
declare("service", "services/{service_id}", "a service")
declare("region_and_service", "services/{service_id}/regions/{region_id}", "a service in a region")


@IDENTITY.route(
    "GET",
    "/v3/policies/{policy_id}/OS-ENDPOINT-POLICY/endpoints",
    policy="identity:list_endpoints_for_policy",
    rule=Rule.POLICY,
    response=list_shape("endpoints", ENDPOINTS.schema),
    summary="List the endpoints whose policy this is",
)
async def list_endpoints_of_policy(req: Request) -> Reply:
    found = await req.read(policies.list_endpoints_of_policy, req.params["policy_id"])
    return Reply(list_body(req, "endpoints", [ENDPOINTS.view(req, row) for row in found]))


@IDENTITY.route(
    "GET",
    "/v3/endpoints/{endpoint_id}/OS-ENDPOINT-POLICY/policy",
    policy="identity:get_policy_for_endpoint",
    rule=Rule.POLICY,
    response=shape({"policy": POLICIES.schema}),
    summary="Show the policy of an endpoint",
)
async def show_policy_of_endpoint(req: Request) -> Reply:
    row = await req.read(policies.get_policy_of_endpoint, req.params["endpoint_id"])
    return Reply({"policy": POLICIES.view(req, row)})
