"""Policies as objects: texts that Identity keeps for others, and what they are tied to. Ostro's own rules are in policy.yaml."""

from __future__ import annotations

from typing import Any

import msgspec

from ostro.store.table import Table


class Policy(msgspec.Struct, frozen=True):
    """A text of some media type."""

    id: str
    type: str
    blob: str
    extra: dict[str, Any]


class PolicyTie(msgspec.Struct, frozen=True):
    """What a policy is for: an endpoint, a service, or a service in a region. The others are empty."""

    policy_id: str
    endpoint_id: str
    service_id: str
    region_id: str


POLICIES = Table("policies", Policy, noun="policy")
POLICY_TIES = Table("policy_associations", PolicyTie, key="policy_id")
