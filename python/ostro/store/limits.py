"""Unified limits: registered limits, which hold for everybody, and limits of single projects and domains."""

from __future__ import annotations

import msgspec

from ostro.store.table import Table


class RegisteredLimit(msgspec.Struct, frozen=True):
    """The default of a resource of a service, in one region or (empty) in all."""

    id: str
    service_id: str
    region_id: str
    resource_name: str
    default_limit: int
    description: str


class Limit(msgspec.Struct, frozen=True):
    """What one project, or one domain, has instead."""

    id: str
    project_id: str
    domain_id: str
    service_id: str
    region_id: str
    resource_name: str
    resource_limit: int
    description: str


REGISTERED_LIMITS = Table("registered_limits", RegisteredLimit, noun="registered limit")
LIMITS = Table("limits", Limit)
