"""Policies as objects, and what they are tied to: an endpoint, a service, or a service in a region.

The policy of an endpoint is the nearest one: its own, else its service's in its region or a region above, else its service's.
"""

from __future__ import annotations

from dataclasses import dataclass

from ostro.model.context import Context
from ostro.model.errors import NotFound
from ostro.services.identity.catalog import ENDPOINT, REGION, SERVICE
from ostro.services.identity.resources import Resource
from ostro.store.catalog import ENDPOINTS, REGIONS, Endpoint
from ostro.store.database import Tx
from ostro.store.policies import POLICIES, POLICY_TIES, Policy, PolicyTie

POLICY: Resource[Policy] = Resource(POLICIES, "policy", "policies", {"type": "", "blob": ""})


@dataclass(frozen=True)
class Place:
    """What a policy is for; what isn't set is empty."""

    endpoint_id: str = ""
    service_id: str = ""
    region_id: str = ""

    @property
    def kind(self) -> str:
        """As policies' names have it."""
        if self.endpoint_id:
            return "endpoint"
        return "region_and_service" if self.region_id else "service"


def _enforce(tx: Tx, context: Context, verb: str, policy_id: str, place: Place) -> None:
    context.enforce(f"identity:{verb}_policy_association_for_{place.kind}")
    POLICY.need(tx, policy_id)
    if place.endpoint_id:
        ENDPOINT.need(tx, place.endpoint_id)
    if place.service_id:
        SERVICE.need(tx, place.service_id)
    if place.region_id:
        REGION.need(tx, place.region_id)


def tie_policy(tx: Tx, context: Context, policy_id: str, place: Place) -> None:
    """Make this the place's policy, instead of whichever it had."""
    _enforce(tx, context, "create", policy_id, place)
    where = {"endpoint_id": place.endpoint_id, "service_id": place.service_id, "region_id": place.region_id}
    POLICY_TIES.delete_where(tx, **where)
    POLICY_TIES.insert(tx, PolicyTie(policy_id, **where))


def check_tie(tx: Tx, context: Context, policy_id: str, place: Place) -> None:
    """Raise NotFound unless this is the place's policy."""
    _enforce(tx, context, "check", policy_id, place)
    if POLICY_TIES.find(tx, policy_id=policy_id, **vars(place)) is None:
        raise NotFound("policy association", policy_id, "Could not find policy association.")


def untie_policy(tx: Tx, context: Context, policy_id: str, place: Place) -> None:
    """Take the policy from the place. Deleting what is gone succeeds, as upstream has it."""
    _enforce(tx, context, "delete", policy_id, place)
    POLICY_TIES.delete_where(tx, policy_id=policy_id, **vars(place))


def get_policy_of_endpoint(tx: Tx, context: Context, endpoint_id: str) -> Policy:
    """The nearest policy of an endpoint. Raises NotFound."""
    context.enforce("identity:get_policy_for_endpoint")
    tie = _nearest(tx, ENDPOINT.need(tx, endpoint_id))
    if tie is None:
        raise NotFound("policy", endpoint_id, f"No policy is associated with endpoint {endpoint_id}.")
    return POLICY.need(tx, tie.policy_id)


def _nearest(tx: Tx, endpoint: Endpoint) -> PolicyTie | None:
    own = POLICY_TIES.find(tx, endpoint_id=endpoint.id)
    region_id, seen = endpoint.region_id, set[str]()
    while own is None and region_id and region_id not in seen:
        seen.add(region_id)
        own = POLICY_TIES.find(tx, service_id=endpoint.service_id, region_id=region_id)
        region = REGIONS.find(tx, id=region_id)
        region_id = region.parent_region_id if region else ""
    return own or POLICY_TIES.find(tx, service_id=endpoint.service_id, region_id="")


def list_endpoints_of_policy(tx: Tx, context: Context, policy_id: str) -> list[Endpoint]:
    """The endpoints whose nearest policy this is."""
    context.enforce("identity:list_endpoints_for_policy")
    POLICY.need(tx, policy_id)
    out = []
    for endpoint in ENDPOINTS.list(tx, order="id"):
        tie = _nearest(tx, endpoint)
        if tie is not None and tie.policy_id == policy_id:
            out.append(endpoint)
    return out
