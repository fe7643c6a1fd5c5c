"""Endpoint groups, and which endpoints and groups a project is tied to."""

from __future__ import annotations

from typing import Any

import msgspec

from ostro.store.database import Tx
from ostro.store.table import Table


class EndpointGroup(msgspec.Struct, frozen=True):
    """Endpoints by filter: of a service, a region, an interface."""

    id: str
    name: str
    description: str
    filters: dict[str, Any]
    extra: dict[str, Any]


class GroupTie(msgspec.Struct, frozen=True):
    """A project that an endpoint group is for."""

    endpoint_group_id: str
    project_id: str


class EndpointTie(msgspec.Struct, frozen=True):
    """A project that an endpoint is for."""

    project_id: str
    endpoint_id: str


ENDPOINT_GROUPS = Table("endpoint_groups", EndpointGroup, noun="endpoint group")
GROUP_TIES = Table("endpoint_group_projects", GroupTie, key="endpoint_group_id")
ENDPOINT_TIES = Table("project_endpoints", EndpointTie, key="endpoint_id")


def forget_endpoint(tx: Tx, endpoint_id: str) -> None:
    """No project is tied to an endpoint that goes away, and no policy."""
    ENDPOINT_TIES.delete_where(tx, endpoint_id=endpoint_id)
    tx.execute("DELETE FROM policy_associations WHERE endpoint_id = ?", (endpoint_id,))
